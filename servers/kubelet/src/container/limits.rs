//! Resources of pods and containers as cgroup limits, and the quality-of-service groups above them.

use corten_api::core::v1::{Container, PodSpec};
use corten_podplan::Knob;
use corten_podplan::resources::{
    CPU_PERIOD, Side, Sizes, cpu_quota, cpu_shares, pod_total, qos_class,
};
use corten_runtime::Resources;

/// The cgroup of a pod below the kubelet's parent.
pub(crate) fn pod_group(spec: &PodSpec, uid: &str) -> String {
    match qos_class(spec) {
        "Guaranteed" => format!("pod{uid}"),
        class => format!("{}/pod{uid}", class.to_lowercase()),
    }
}

fn bounded(shares: u64, cpu: Option<i64>, memory: Option<i64>) -> Resources {
    let quota = cpu.and_then(cpu_quota);
    Resources {
        cpu_shares: Some(shares),
        cpu_quota: quota,
        cpu_period: quota.map(|_| CPU_PERIOD),
        memory_limit: memory.filter(|bytes| *bytes > 0),
        ..Resources::default()
    }
}

/// The limits of a pod as a whole.
pub(crate) fn pod_limits(spec: &PodSpec) -> Resources {
    let request = pod_total(spec, Side::Requests, "cpu").map_or(0, |q| q.milli_value());
    let limit = |name: &str| pod_total(spec, Side::Limits, name);
    bounded(
        cpu_shares(request),
        limit("cpu").map(|q| q.milli_value()),
        limit("memory").map(|q| q.value()),
    )
}

/// The limits of one container; those of its pod stand in for what it does not limit itself.
pub(crate) fn container_limits(spec: &PodSpec, container: &Container) -> Resources {
    let sizes = Sizes::of_container(spec, container);
    bounded(
        shares(&sizes, container.resources.requests.contains_key("cpu")),
        Some(sizes.cpu_limit).filter(|milli| *milli > 0),
        Some(sizes.memory_limit),
    )
}

fn shares(sizes: &Sizes, named: bool) -> u64 {
    // A limit stands in for a request that was not given.
    let milli = if named {
        sizes.cpu_request
    } else {
        sizes.cpu_limit
    };
    cpu_shares(milli)
}

/// One of the limits of `sizes`, and nothing else.
pub(crate) fn part(sizes: &Sizes, knob: Knob) -> Resources {
    let quota = cpu_quota(sizes.cpu_limit);
    match knob {
        Knob::Memory => Resources {
            memory_limit: Some(sizes.memory_limit).filter(|bytes| *bytes > 0),
            ..Resources::default()
        },
        Knob::CpuLimit => Resources {
            cpu_quota: quota,
            cpu_period: quota.map(|_| CPU_PERIOD),
            ..Resources::default()
        },
        Knob::CpuRequest => Resources {
            cpu_shares: Some(shares(sizes, sizes.cpu_request > 0)),
            ..Resources::default()
        },
    }
}

/// Makes the groups of the quality-of-service classes.
pub(crate) async fn make_groups(
    runtime: &dyn corten_runtime::Runtime,
) -> corten_runtime::Result<()> {
    runtime
        .set_group_resources("", &Resources::default())
        .await?;
    let least = Resources {
        cpu_shares: Some(2),
        ..Resources::default()
    };
    runtime.set_group_resources("besteffort", &least).await?;
    runtime.set_group_resources("burstable", &least).await
}
