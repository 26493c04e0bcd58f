//! Limits and statistics.

use std::path::PathBuf;

use corten_runtime::{ContainerId, Resources, Runtime, SandboxId};

use crate::node::{Node, cgroup_mounts, logged};

/// A control file of a container in whichever hierarchy has it.
fn file(node: &Node, container: &ContainerId, names: &[&str]) -> Option<PathBuf> {
    let below = format!(
        "{}/burstable/podu1/{container}",
        node.cgroup.trim_start_matches('/')
    );
    let mounts = cgroup_mounts();
    let all = mounts
        .iter()
        .flat_map(|mount| names.iter().map(move |name| (mount, name)));
    all.map(|(mount, name)| mount.join(&below).join(name))
        .find(|path| path.exists())
}

fn read(node: &Node, container: &ContainerId, names: &[&str]) -> String {
    let path = file(node, container, names).unwrap_or_else(|| panic!("no {names:?}"));
    std::fs::read_to_string(path).unwrap().trim().to_owned()
}

fn memory(limit: i64) -> Resources {
    Resources {
        memory_limit: Some(limit),
        ..Resources::default()
    }
}

/// A pod of 256 MiB with a container of 64 MiB that has used some CPU time.
async fn limited(node: &Node) -> (SandboxId, ContainerId) {
    let mut config = node.sandbox_config();
    config.resources = memory(256 << 20);
    let sandbox = node.runtime.run_pod_sandbox(config).await.unwrap();
    let script =
        "i=0; while test $i -lt 3000; do i=$((i+1)); done; echo ready; sleep 1000 & sleep 1000";
    let mut config = node.script("one", script);
    config.resources = Resources {
        cpu_shares: Some(1024),
        cpu_quota: Some(50_000),
        cpu_period: Some(100_000),
        pids_limit: Some(50),
        cpuset_cpus: "0".into(),
        ..memory(64 << 20)
    };
    config.oom_score_adj = Some(700);
    let container = node.start(&sandbox, config).await;
    logged(&node.path("one.log"), "ready").await;
    (sandbox, container)
}

const MEMORY: &[&str] = &["memory.limit_in_bytes", "memory.max"];

#[tokio::test(flavor = "multi_thread")]
async fn limits_are_set_and_measured() {
    let node = Node::new().await;
    let (sandbox, container) = limited(&node).await;
    let read = |names: &[&str]| read(&node, &container, names);
    assert_eq!(read(MEMORY), (64 << 20).to_string());
    assert_eq!(
        (read(&["pids.max"]), read(&["cpuset.cpus"])),
        ("50".into(), "0".into())
    );
    assert!(["1024", "100"].contains(&read(&["cpu.shares", "cpu.weight"]).as_str()));
    assert!(["50000", "50000 100000"].contains(&read(&["cpu.cfs_quota_us", "cpu.max"]).as_str()));
    let scores = node
        .exec(
            &container,
            "cat /proc/1/oom_score_adj /proc/self/oom_score_adj",
        )
        .await;
    assert_eq!(scores, "700\n700\n");
    let stats = node.runtime.container_stats(&container).await.unwrap();
    assert!(
        stats.cpu.usage_nanos > 0 && stats.memory.usage > 0 && stats.pids >= 2,
        "{stats:?}"
    );
    assert!(stats.memory.working_set <= stats.memory.usage && stats.memory.limit == Some(64 << 20));
    assert!(stats.writable_layer.unwrap().is_dir());
    let pod = node.runtime.sandbox_stats(&sandbox).await.unwrap();
    assert!(pod.memory.limit == Some(256 << 20) && pod.cpu.usage_nanos >= stats.cpu.usage_nanos);
    assert_eq!(node.runtime.list_container_stats().await.unwrap().len(), 1);
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_change_while_containers_run() {
    let node = Node::new().await;
    let (sandbox, container) = limited(&node).await;
    let change = Resources {
        cpu_quota: Some(-1),
        ..memory(128 << 20)
    };
    node.runtime
        .update_resources(&container, &change)
        .await
        .unwrap();
    assert_eq!(read(&node, &container, MEMORY), (128 << 20).to_string());
    let now = node
        .runtime
        .container_status(&container)
        .await
        .unwrap()
        .resources;
    let expected = (Some(128 << 20), Some(-1), Some(1024));
    assert_eq!((now.memory_limit, now.cpu_quota, now.cpu_shares), expected);
    node.runtime
        .update_sandbox_resources(&sandbox, &memory(200 << 20))
        .await
        .unwrap();
    let stats = node.runtime.sandbox_stats(&sandbox).await.unwrap();
    assert_eq!(stats.memory.limit, Some(200 << 20));
    let class = Resources {
        cpu_shares: Some(2),
        ..Resources::default()
    };
    node.runtime
        .set_group_resources("besteffort", &class)
        .await
        .unwrap();
    assert!(
        node.runtime
            .set_group_resources("../x", &class)
            .await
            .is_err()
    );
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_much_memory_is_reported_as_such() {
    let node = Node::new().await;
    let sandbox = node.sandbox().await;
    let mut config = node.script("first", "exec dd if=/dev/zero of=/dev/null bs=200M count=1");
    config.resources.memory_limit = Some(20 << 20);
    let mut events = node.runtime.subscribe();
    let container = node.start(&sandbox, config).await;
    let exit = crate::node::ended(&mut events, &container).await;
    assert_eq!((exit.code, exit.signal, exit.oom), (137, Some(9), true));
    let status = node.runtime.container_status(&container).await.unwrap();
    assert_eq!(status.reason, "OOMKilled");
    let mut config = node.script(
        "child",
        "dd if=/dev/zero of=/dev/null bs=200M count=1; exit 4",
    );
    config.resources.memory_limit = Some(20 << 20);
    let (exit, _) = node.run(&sandbox, config).await;
    assert_eq!((exit.code, exit.oom), (4, true));
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_processes_are_refused() {
    let node = Node::new().await;
    let sandbox = node.sandbox().await;
    let mut config = node.script(
        "one",
        "for i in 1 2 3 4 5 6 7 8 9 10; do sleep 1000 & done; echo all",
    );
    config.resources.pids_limit = Some(5);
    let (exit, text) = node.run(&sandbox, config).await;
    assert!(exit.code != 0 && text.contains("can't fork"), "{text}");
    node.finish().await;
}
