//! Agents and shims that die: containers outlive the former, and end with the latter.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use corten_runtime::{
    ContainerConfig, ContainerId, ContainerState, CoreRuntime, Event, Runtime, SandboxConfig,
    SandboxId, SandboxState,
};

use crate::node::{Node, PATIENCE, ended, log_text, logged, options, until_changed};

/// Starts an agent process that runs one pod with one container.
fn agent(
    node: &Node,
    sandbox: &SandboxConfig,
    container: &ContainerConfig,
) -> (Child, SandboxId, ContainerId) {
    let options = options(node.directory.path(), &node.cgroup);
    let mut agent = Command::new(env!("CARGO_BIN_EXE_corten-runtime-testbed"))
        .arg("agent")
        .args([&options.root, &options.run])
        .arg(&options.cgroup_parent)
        .arg(serde_json::to_string(sandbox).unwrap())
        .arg(serde_json::to_string(container).unwrap())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(agent.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let (sandbox, container) = line.trim().split_once(' ').expect("two ids");
    (agent, SandboxId::new(sandbox), ContainerId::new(container))
}

async fn reopen(node: &mut Node) {
    let options = options(node.directory.path(), &node.cgroup);
    node.runtime = CoreRuntime::open(options).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_agent_takes_over_from_a_killed_one() {
    let mut node = Node::new().await;
    let script = "i=0; echo begin; while ! test -e /data/go; do echo $i; i=$((i+1)); sleep 0.01; done; echo end $i; exit 42";
    let (mut killed, sandbox, container) =
        agent(&node, &node.sandbox_config(), &node.script("one", script));
    logged(&node.path("one.log"), "begin").await;
    killed.kill().unwrap();
    killed.wait().unwrap();
    reopen(&mut node).await;
    let status = node.runtime.pod_sandbox_status(&sandbox).await.unwrap();
    assert_eq!(
        (status.state, status.name.as_str()),
        (SandboxState::Ready, "pod")
    );
    let before = node.runtime.container_status(&container).await.unwrap();
    assert_eq!(
        (before.state, before.user.map(|user| user.uid)),
        (ContainerState::Running, Some(0))
    );
    assert!(before.started_at.is_some() && before.pid.is_some());
    let mut events = node.runtime.subscribe();
    node.let_go(&container).await;
    let exit = ended(&mut events, &container).await;
    assert_eq!(exit.code, 42);
    let text = log_text(&node.path("one.log"));
    let count = text.lines().count() - 2;
    let expected: String = (0..count).map(|i| format!("{i}\n")).collect();
    assert_eq!(
        text,
        format!("begin\n{expected}end {count}\n"),
        "no line is lost"
    );
    let more = node
        .output(&sandbox, node.script("two", "echo again"))
        .await;
    assert_eq!(more, "again\n");
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_without_an_agent_is_remembered() {
    let mut node = Node::new().await;
    let (mut killed, sandbox, container) = agent(
        &node,
        &node.sandbox_config(),
        &node.script("one", "cat /data/fifo; exit 11"),
    );
    killed.kill().unwrap();
    killed.wait().unwrap();
    let exit = node.path(&format!("root/sandboxes/{sandbox}/{container}.exit"));
    until_changed(exit.parent().unwrap(), || exit.exists());
    reopen(&mut node).await;
    let status = node.runtime.container_status(&container).await.unwrap();
    assert_eq!(
        (status.state, status.exit_code, status.reason.as_str()),
        (ContainerState::Exited, 11, "Error")
    );
    assert!(status.started_at.unwrap() <= status.finished_at.unwrap());
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_end_with_their_shim() {
    let node = Node::new().await;
    let sandbox = node.sandbox().await;
    let container = node
        .start(
            &sandbox,
            node.script("one", "echo up; sleep 9876 & sleep 9877"),
        )
        .await;
    logged(&node.path("one.log"), "up").await;
    let mut events = node.runtime.subscribe();
    let shim = node
        .runtime
        .pod_sandbox_status(&sandbox)
        .await
        .unwrap()
        .shim_pid
        .unwrap();
    let pid = node
        .runtime
        .container_status(&container)
        .await
        .unwrap()
        .pid
        .unwrap();
    assert!(
        Command::new("kill")
            .args(["-9", &shim.to_string()])
            .status()
            .unwrap()
            .success()
    );
    let exit = ended(&mut events, &container).await;
    assert_eq!((exit.code, exit.signal), (255, None));
    let stopped = tokio::time::timeout(PATIENCE, events.next()).await.unwrap();
    assert_eq!(
        stopped,
        Some(Event::SandboxStopped {
            sandbox: sandbox.clone()
        })
    );
    let status = node.runtime.container_status(&container).await.unwrap();
    assert_eq!(status.reason, "ContainerStatusUnknown");
    let state = node
        .runtime
        .pod_sandbox_status(&sandbox)
        .await
        .unwrap()
        .state;
    assert_eq!(state, SandboxState::NotReady);
    assert!(
        !std::path::Path::new(&format!("/proc/{pid}/exe")).exists(),
        "the container is dead"
    );
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shim_that_died_without_an_agent_is_cleaned_up_after() {
    let mut node = Node::new().await;
    let (mut killed, sandbox, container) = agent(
        &node,
        &node.sandbox_config(),
        &node.script("one", "sleep 9878"),
    );
    killed.kill().unwrap();
    killed.wait().unwrap();
    let shims = crate::node::processes(sandbox.as_str());
    assert_eq!(shims.len(), 1);
    assert!(
        Command::new("kill")
            .args(["-9", &shims[0]])
            .status()
            .unwrap()
            .success()
    );
    reopen(&mut node).await;
    let status = node.runtime.container_status(&container).await.unwrap();
    assert_eq!(
        (status.state, status.exit_code),
        (ContainerState::Exited, 255)
    );
    let state = node
        .runtime
        .pod_sandbox_status(&sandbox)
        .await
        .unwrap()
        .state;
    assert_eq!(state, SandboxState::NotReady);
    node.finish().await;
}
