//! Pods that are resized on a real runtime.

use crate::bed::{Bed, pod, ready};
use corten_api::core::v1::{ContainerResizePolicy, Pod, PodStatus};
use corten_core::Quantity;
use corten_runtime::{ContainerId, Runtime};

fn quantity(text: &str) -> Quantity {
    Quantity::parse(text).unwrap()
}

fn sized(name: &str, cpu: &str, memory: &str) -> Pod {
    let mut pod = pod(name, &[("main", "trap 'exit 0' TERM; sleep 1000 & wait")]);
    pod.metadata.generation = 1;
    pod.spec.containers[0]
        .resize_policy
        .push(ContainerResizePolicy {
            resource_name: "memory".into(),
            restart_policy: "RestartContainer".into(),
        });
    size(&mut pod, cpu, memory);
    pod
}

fn size(pod: &mut Pod, cpu: &str, memory: &str) {
    let resources = &mut pod.spec.containers[0].resources;
    for map in [&mut resources.requests, &mut resources.limits] {
        map.insert("cpu", quantity(cpu));
        map.insert("memory", quantity(memory));
    }
}

/// Asks for other resources as a client does.
fn resize(bed: &Bed, name: &str, cpu: &str, memory: &str) -> i64 {
    let mut pod: Pod = bed.api.get("default", name).unwrap();
    pod.metadata.generation += 1;
    size(&mut pod, cpu, memory);
    let generation = pod.metadata.generation;
    bed.api.put(pod);
    generation
}

fn settled(status: &PodStatus, generation: i64, cpu: &str, memory: &str) -> bool {
    let has = |c: &corten_api::core::v1::ContainerStatus| {
        let resources = c.resources.as_deref().unwrap();
        resources.limits.get("cpu") == Some(&quantity(cpu))
            && resources.limits.get("memory") == Some(&quantity(memory))
            && c.allocated_resources.get("cpu") == Some(&quantity(cpu))
    };
    ready(status)
        && status.observed_generation == generation
        && !status
            .conditions
            .iter()
            .any(|c| c.type_.starts_with("PodResize"))
        && status.container_statuses.first().is_some_and(has)
}

async fn limits(bed: &Bed, pod: &Pod) -> (Option<i64>, Option<u64>) {
    let id = pod.status.container_statuses[0]
        .container_id
        .rsplit('/')
        .next()
        .unwrap()
        .to_owned();
    let id = ContainerId::new(id);
    let quota = bed
        .runtime
        .container_status(&id)
        .await
        .unwrap()
        .resources
        .cpu_quota;
    let memory = bed.runtime.container_stats(&id).await.unwrap().memory.limit;
    (quota, memory)
}

pub async fn in_place() {
    let mut bed = Bed::new("resize").await;
    bed.api.put(sized("web", "100m", "64Mi"));
    let before = bed.until("web", ready).await;
    assert_eq!(limits(&bed, &before).await, (Some(10_000), Some(64 << 20)));
    let generation = resize(&bed, "web", "200m", "64Mi");
    let grown = bed
        .until("web", |s| settled(s, generation, "200m", "64Mi"))
        .await;
    assert_eq!(limits(&bed, &grown).await, (Some(20_000), Some(64 << 20)));
    let id = |pod: &Pod| pod.status.container_statuses[0].container_id.clone();
    assert_eq!(id(&before), id(&grown), "it runs on");
    // Asked for while no agent is there.
    bed.kubelet = None;
    let generation = resize(&bed, "web", "50m", "64Mi");
    bed.start().await;
    let shrunk = bed
        .until("web", |s| settled(s, generation, "50m", "64Mi"))
        .await;
    assert_eq!(limits(&bed, &shrunk).await, (Some(5_000), Some(64 << 20)));
    assert_eq!(id(&before), id(&shrunk), "it runs on");
    let generation = resize(&bed, "web", "50m", "96Mi");
    let anew = bed
        .until("web", |s| settled(s, generation, "50m", "96Mi"))
        .await;
    assert_eq!(limits(&bed, &anew).await, (Some(5_000), Some(96 << 20)));
    assert_eq!(
        anew.status.container_statuses[0].restart_count, 1,
        "memory restarts it"
    );
    bed.end().await;
}

pub async fn waits() {
    let bed = Bed::new("resize-waits").await;
    bed.api.put(sized("web", "100m", "64Mi"));
    bed.until("web", ready).await;
    let generation = resize(&bed, "web", "4000", "64Mi");
    let deferred = |s: &PodStatus| {
        s.conditions.iter().any(|c| {
            c.type_ == "PodResizePending"
                && c.reason == "Deferred"
                && c.observed_generation == generation
                && c.message
                    .starts_with("Node didn't have enough resource: cpu, requested: 4000000")
        })
    };
    let held = bed.until("web", deferred).await;
    assert_eq!(limits(&bed, &held).await, (Some(10_000), Some(64 << 20)));
    let generation = resize(&bed, "web", "100m", "64Mi");
    bed.until("web", |s| settled(s, generation, "100m", "64Mi"))
        .await;
    bed.end().await;
}
