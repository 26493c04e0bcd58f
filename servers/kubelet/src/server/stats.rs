//! What pods use, as `/stats/summary` and `/metrics/resource` tell it.

use crate::labels;
use crate::node::facts;
use crate::pod::context::Context;
use crate::server::{Response, json, text};
use corten_core::Time;
use corten_runtime::{ContainerStatus, Stats};
use serde_json::{Value, json as object};
use std::collections::BTreeMap;
use std::fmt::Write;

/// Pods by UID, with the containers that run and what they use.
type Used = BTreeMap<String, Vec<(ContainerStatus, Stats)>>;

async fn used(context: &Context) -> Used {
    let runtime = &context.engines.runtime;
    let stats = runtime.list_container_stats().await.unwrap_or_default();
    let mut used = Used::new();
    for status in runtime.list_containers().await.unwrap_or_default() {
        if let (Some(uid), Some(stats)) =
            (status.labels.get(labels::POD_UID), stats.get(&status.id))
        {
            used.entry(uid.clone())
                .or_default()
                .push((status.clone(), stats.clone()));
        }
    }
    used
}

fn time(at: std::time::SystemTime) -> String {
    crate::clock::of(at).time().to_string()
}

fn cpu(stats: &Stats) -> Value {
    object!({"time": time(stats.at), "usageCoreNanoSeconds": stats.cpu.usage_nanos})
}

fn memory(stats: &Stats) -> Value {
    object!({
        "time": time(stats.at),
        "usageBytes": stats.memory.usage,
        "workingSetBytes": stats.memory.working_set,
        "rssBytes": stats.memory.rss,
        "pageFaults": stats.memory.page_faults,
        "majorPageFaults": stats.memory.major_page_faults,
    })
}

/// `/stats/summary`.
pub(super) async fn summary(context: &Context) -> Response {
    let mut pods = Vec::new();
    for (uid, containers) in used(context).await {
        let Some((first, _)) = containers.first() else {
            continue;
        };
        let label = |key: &str| first.labels.get(key).cloned().unwrap_or_default();
        let each: Vec<Value> = containers
            .iter()
            .map(|(status, stats)| {
                let start = status.started_at.map(time);
                object!({"name": status.name, "startTime": start, "cpu": cpu(stats), "memory": memory(stats)})
            })
            .collect();
        let mut pod = object!({
            "podRef": {"name": label(labels::POD_NAME), "namespace": label(labels::POD_NAMESPACE), "uid": uid},
            "startTime": time(first.created_at),
            "containers": each,
        });
        if let Ok(total) = context.engines.runtime.sandbox_stats(&first.sandbox).await {
            pod["cpu"] = cpu(&total);
            pod["memory"] = memory(&total);
        }
        pods.push(pod);
    }
    let now = crate::clock::now().time();
    let available = facts::memory_available();
    let disk = context.engines.images.disk_usage().ok();
    let node = object!({
        "nodeName": context.options.node_name,
        "startTime": Time::to_string(&now),
        "memory": {"time": now.to_string(), "availableBytes": available},
        "fs": disk.map(|disk| object!({
            "time": now.to_string(),
            "availableBytes": disk.available,
            "capacityBytes": disk.capacity,
            "usedBytes": disk.capacity.saturating_sub(disk.available),
            "inodes": disk.inodes,
            "inodesFree": disk.inodes_free,
        })),
    });
    json(
        object!({"node": node, "pods": pods})
            .to_string()
            .into_bytes(),
    )
}

/// `/metrics/resource` in Prometheus' text format.
pub(super) async fn metrics(context: &Context) -> Response {
    let mut out = String::new();
    let all = used(context).await;
    let families: [(&str, &str, fn(&Stats) -> f64); 2] = [
        ("container_cpu_usage_seconds_total", "counter", |s| {
            s.cpu.usage_nanos as f64 / 1e9
        }),
        ("container_memory_working_set_bytes", "gauge", |s| {
            s.memory.working_set as f64
        }),
    ];
    for (name, kind, value) in families {
        let _ = writeln!(out, "# TYPE {name} {kind}");
        for (status, stats) in all.values().flatten() {
            let label = |key: &str| status.labels.get(key).cloned().unwrap_or_default();
            let millis = crate::clock::of(stats.at).0;
            let _ = writeln!(
                out,
                "{name}{{container=\"{}\",namespace=\"{}\",pod=\"{}\"}} {} {millis}",
                status.name,
                label(labels::POD_NAMESPACE),
                label(labels::POD_NAME),
                value(stats)
            );
        }
    }
    text(200, out)
}
