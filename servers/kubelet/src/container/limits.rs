//! Resources of pods and containers as cgroup limits, and the quality-of-service groups above them.

use corten_api::core::v1::{Container, PodSpec};
use corten_podplan::resources::{CPU_PERIOD, Side, cpu_quota, cpu_shares, pod_total, qos_class};
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

/// The limits of one container.
pub(crate) fn container_limits(container: &Container) -> Resources {
    let resources = &container.resources;
    let limit = |name: &str| resources.limits.get(name);
    let request = resources.requests.get("cpu").or_else(|| limit("cpu"));
    bounded(
        cpu_shares(request.map_or(0, |q| q.milli_value())),
        limit("cpu").map(|q| q.milli_value()),
        limit("memory").map(|q| q.value()),
    )
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
