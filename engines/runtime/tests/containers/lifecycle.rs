//! Creating, starting, stopping and removing, with exit codes, logs and events.

use std::time::Duration;

use corten_runtime::{ContainerState, Error, Event, Runtime, SandboxState};

use crate::node::{Node, PATIENCE, ended, list, log_text, logged};

#[tokio::test(flavor = "multi_thread")]
async fn a_container_runs_ends_and_is_reported() {
    let node = Node::new().await;
    let mut events = node.runtime.subscribe();
    let sandbox = node.sandbox().await;
    let status = node.runtime.pod_sandbox_status(&sandbox).await.unwrap();
    assert_eq!(
        (status.state, status.name.as_str()),
        (SandboxState::Ready, "pod")
    );
    let config = node.script("one", "echo out; echo err >&2; printf end; exit 7");
    let container = node
        .runtime
        .create_container(&sandbox, config)
        .await
        .unwrap();
    let created = node.runtime.container_status(&container).await.unwrap();
    assert_eq!(created.state, ContainerState::Created);
    assert_eq!(
        created.user.as_ref().map(|u| (u.uid, u.groups.clone())),
        Some((0, vec![0]))
    );
    node.runtime.start_container(&container).await.unwrap();
    let exit = ended(&mut events, &container).await;
    assert_eq!((exit.code, exit.signal, exit.oom), (7, None, false));
    let status = node.runtime.container_status(&container).await.unwrap();
    assert_eq!(
        (status.state, status.reason.as_str()),
        (ContainerState::Exited, "Error")
    );
    assert!(status.started_at.unwrap() <= status.finished_at.unwrap());
    let log = std::fs::read_to_string(node.path("one.log")).unwrap();
    for wanted in [" stdout F out\n", " stderr F err\n", " stdout P end\n"] {
        assert!(log.contains(wanted), "{log}");
    }
    node.runtime.remove_container(&container).await.unwrap();
    node.runtime.remove_container(&container).await.unwrap();
    assert!(
        node.runtime
            .container_status(&container)
            .await
            .unwrap_err()
            .is_not_found()
    );
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_come_in_order() {
    let node = Node::new().await;
    let mut events = node.runtime.subscribe();
    let sandbox = node.sandbox().await;
    let mut ends = node.runtime.subscribe();
    let container = node.start(&sandbox, node.script("one", "true")).await;
    ended(&mut ends, &container).await;
    node.runtime.remove_container(&container).await.unwrap();
    node.runtime.remove_pod_sandbox(&sandbox).await.unwrap();
    let mut names = Vec::new();
    while names.last() != Some(&"SandboxRemoved") {
        names.push(match events.next().await.unwrap() {
            Event::SandboxReady { .. } => "SandboxReady",
            Event::ContainerCreated { .. } => "ContainerCreated",
            Event::ContainerStarted { .. } => "ContainerStarted",
            Event::ContainerExited { .. } => "ContainerExited",
            Event::ContainerRemoved { .. } => "ContainerRemoved",
            Event::SandboxStopped { .. } => "SandboxStopped",
            Event::SandboxRemoved { .. } => "SandboxRemoved",
            Event::Lost => "Lost",
        });
    }
    let expected = [
        "SandboxReady",
        "ContainerCreated",
        "ContainerStarted",
        "ContainerExited",
        "ContainerRemoved",
        "SandboxStopped",
        "SandboxRemoved",
    ];
    assert_eq!(names, expected);
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_asks_first_and_kills_then() {
    let node = Node::new().await;
    let sandbox = node.sandbox().await;
    let script = "trap 'echo asked; exit 3' TERM; echo ready; while :; do sleep 0.05; done";
    let polite = node.start(&sandbox, node.script("polite", script)).await;
    logged(&node.path("polite.log"), "ready").await;
    node.runtime
        .stop_container(&polite, PATIENCE, None)
        .await
        .unwrap();
    let status = node.runtime.container_status(&polite).await.unwrap();
    assert_eq!(status.exit_code, 3);
    assert_eq!(log_text(&node.path("polite.log")), "ready\nasked\n");
    let script = "trap '' TERM; echo ready; while :; do sleep 0.05; done";
    let deaf = node.start(&sandbox, node.script("deaf", script)).await;
    logged(&node.path("deaf.log"), "ready").await;
    node.runtime
        .stop_container(&deaf, Duration::from_millis(100), None)
        .await
        .unwrap();
    let status = node.runtime.container_status(&deaf).await.unwrap();
    assert_eq!(
        (status.exit_code, status.signal, status.reason.as_str()),
        (137, Some(9), "Error")
    );
    let mut config = node.script(
        "other",
        "trap 'exit 4' USR1; echo ready; while :; do sleep 0.05; done",
    );
    config.stop_signal = Some("SIGUSR1".into());
    let other = node.start(&sandbox, config).await;
    logged(&node.path("other.log"), "ready").await;
    node.runtime
        .stop_container(&other, PATIENCE, None)
        .await
        .unwrap();
    assert_eq!(
        node.runtime
            .container_status(&other)
            .await
            .unwrap()
            .exit_code,
        4
    );
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_cannot_run_is_a_start_error() {
    let node = Node::new().await;
    let sandbox = node.sandbox().await;
    std::fs::write(node.path("image/etc/plain"), "x").unwrap();
    std::fs::create_dir_all(node.path("image/etc/dir")).unwrap();
    for (command, expected) in [
        ("foo", "exec: \"foo\": executable file not found in $PATH"),
        (
            "/foo",
            "exec: \"/foo\": stat /foo: no such file or directory",
        ),
        ("/etc/plain", "exec: \"/etc/plain\": permission denied"),
        ("/etc/dir", "exec: \"/etc/dir\": is a directory"),
    ] {
        let mut config = node.script("bad", "");
        config.command = list(&[command]);
        let container = node
            .runtime
            .create_container(&sandbox, config)
            .await
            .unwrap();
        let error = node.runtime.start_container(&container).await.unwrap_err();
        assert!(matches!(error, Error::StartContainer { .. }));
        assert_eq!(
            error.to_string(),
            format!("failed to start container process: {expected}")
        );
        let status = node.runtime.container_status(&container).await.unwrap();
        assert_eq!(
            (status.state, status.exit_code),
            (ContainerState::Exited, 128)
        );
        assert_eq!(
            (status.reason.as_str(), status.message),
            ("StartError", error.to_string())
        );
        assert!(node.runtime.start_container(&container).await.is_err());
    }
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_honoured_is_refused_at_creation() {
    let node = Node::new().await;
    let sandbox = node.sandbox().await;
    let mut config = node.script("a", "true");
    config.image.config.user = "nobody-here".into();
    let error = node
        .runtime
        .create_container(&sandbox, config)
        .await
        .unwrap_err();
    assert!(
        matches!(&error, Error::Invalid { why, .. } if why.contains("unable to find user")),
        "{error}"
    );
    let mut config = node.script("b", "true");
    config.security.add_capabilities = list(&["FLY"]);
    assert!(matches!(
        node.runtime.create_container(&sandbox, config).await,
        Err(Error::Invalid { .. })
    ));
    let mut config = node.script("c", "true");
    config.command.clear();
    assert!(matches!(
        node.runtime.create_container(&sandbox, config).await,
        Err(Error::Invalid { .. })
    ));
    let mut config = node.script("d", "true");
    config.image.layers = vec![node.path("no-such-layer")];
    let error = node
        .runtime
        .create_container(&sandbox, config)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("no-such-layer"), "{error}");
    assert!(node.runtime.list_containers().await.unwrap().is_empty());
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_with_living_containers_is_stopped_and_removed() {
    let node = Node::new().await;
    let sandbox = node.sandbox().await;
    let script = "sleep 1000 & trap '' TERM; sleep 1000";
    let one = node.start(&sandbox, node.script("one", script)).await;
    let two = node.start(&sandbox, node.script("two", script)).await;
    let three = node
        .runtime
        .create_container(&sandbox, node.script("three", "true"))
        .await
        .unwrap();
    node.runtime.stop_pod_sandbox(&sandbox).await.unwrap();
    node.runtime.stop_pod_sandbox(&sandbox).await.unwrap();
    let status = node.runtime.pod_sandbox_status(&sandbox).await.unwrap();
    assert_eq!(
        (status.state, status.netns, status.shim_pid),
        (SandboxState::NotReady, None, None)
    );
    for container in [&one, &two, &three] {
        let status = node.runtime.container_status(container).await.unwrap();
        assert_eq!(
            (status.state, status.exit_code),
            (ContainerState::Exited, 137)
        );
    }
    let refused = node
        .runtime
        .create_container(&sandbox, node.script("late", "true"))
        .await;
    assert!(matches!(refused, Err(Error::SandboxNotReady(_))));
    node.runtime.remove_container(&one).await.unwrap();
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_log_goes_on_in_a_new_file() {
    let node = Node::new().await;
    let sandbox = node.sandbox().await;
    let script = "echo first; while ! test -e /data/go; do sleep 0.02; done; echo second";
    let mut events = node.runtime.subscribe();
    let container = node.start(&sandbox, node.script("one", script)).await;
    logged(&node.path("one.log"), "first").await;
    std::fs::rename(node.path("one.log"), node.path("one.log.1")).unwrap();
    node.runtime.reopen_log(&container).await.unwrap();
    node.let_go(&container).await;
    ended(&mut events, &container).await;
    assert_eq!(log_text(&node.path("one.log.1")), "first\n");
    assert_eq!(log_text(&node.path("one.log")), "second\n");
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_lines_arrive_whole_and_in_order() {
    let node = Node::new().await;
    let sandbox = node.sandbox().await;
    let script = "i=0; while test $i -lt 20000; do echo line $i; i=$((i+1)); done; \
        head -c 40000 /dev/zero | tr '\\0' x; echo; yes | head -n 3";
    let text = node.output(&sandbox, node.script("one", script)).await;
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 20_004);
    assert!((0..20_000).all(|i| lines[i] == format!("line {i}")));
    assert_eq!((lines[20_000].len(), lines[20_003]), (40_000, "y"));
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_pods_live_at_once() {
    let node = std::sync::Arc::new(Node::new().await);
    let mut tasks = Vec::new();
    for number in 0..20 {
        let node = node.clone();
        tasks.push(tokio::spawn(async move {
            let mut config = node.sandbox_config();
            config.cgroup = format!("burstable/pod{number}");
            let sandbox = node.runtime.run_pod_sandbox(config).await.unwrap();
            for name in ["a", "b", "c"] {
                let config =
                    node.script(&format!("{name}{number}"), &format!("echo {name}{number}"));
                assert_eq!(
                    node.output(&sandbox, config).await,
                    format!("{name}{number}\n")
                );
            }
            node.runtime.remove_pod_sandbox(&sandbox).await.unwrap();
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    std::sync::Arc::into_inner(node)
        .expect("all tasks are done")
        .finish()
        .await;
}
