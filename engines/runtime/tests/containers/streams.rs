//! Exec, attach and port forwarding.

use std::time::Duration;

use corten_runtime::{
    ByteReader, ContainerConfig, Error, ExecRequest, Runtime, StdinMode, StreamSet, TerminalSize,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::node::{Node, PATIENCE, ended, list, log_text, logged};

const ALL: StreamSet = StreamSet {
    stdin: true,
    stdout: true,
    stderr: true,
};

async fn text(stream: Option<ByteReader>) -> String {
    let mut text = String::new();
    let mut stream = stream.expect("the stream was asked for");
    let read = stream.read_to_string(&mut text);
    tokio::time::timeout(PATIENCE, read)
        .await
        .expect("the stream ends")
        .unwrap();
    text
}

/// Reads until the text so far contains `wanted`.
async fn until(stream: &mut ByteReader, wanted: &str) -> String {
    let read = async {
        let mut text = String::new();
        let mut chunk = [0u8; 1024];
        while !text.contains(wanted) {
            let length = stream.read(&mut chunk).await.unwrap();
            assert!(length > 0, "the stream ended after {text:?}");
            text.push_str(&String::from_utf8_lossy(&chunk[..length]));
        }
        text
    };
    tokio::time::timeout(PATIENCE, read)
        .await
        .unwrap_or_else(|_| panic!("{wanted:?} never came"))
}

fn idle(node: &Node) -> ContainerConfig {
    node.script("idle", "trap 'exit 0' TERM; while :; do sleep 0.05; done")
}

fn shell(script: &str) -> ExecRequest {
    ExecRequest {
        command: list(&["sh", "-c", script]),
        streams: ALL,
        ..ExecRequest::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn exec_carries_streams_and_exit_codes() {
    let node = Node::new().await;
    let sandbox = node.sandbox().await;
    let mut config = idle(&node);
    config.env = vec![("FROM".into(), "the pod".into())];
    config.working_dir = "/data".into();
    let container = node.start(&sandbox, config).await;
    let script = "cat; echo oops >&2; echo $FROM $PWD $HOSTNAME $HOME; exit 5";
    let mut session = node.runtime.exec(&container, shell(script)).await.unwrap();
    let mut stdin = session.streams.stdin.take().unwrap();
    stdin.write_all(b"input\n").await.unwrap();
    drop(stdin);
    assert_eq!(
        text(session.streams.stdout.take()).await,
        "input\nthe pod /data pod-host /root\n"
    );
    assert_eq!(text(session.streams.stderr.take()).await, "oops\n");
    assert_eq!(session.exit.await.unwrap(), 5);
    let session = node
        .runtime
        .exec(&container, shell("kill -9 $$"))
        .await
        .unwrap();
    assert_eq!(session.exit.await.unwrap(), 137);
    let request = ExecRequest {
        command: list(&["nothing-here"]),
        ..ExecRequest::default()
    };
    let error = node.runtime.exec(&container, request).await.err().unwrap();
    assert_eq!(
        error.to_string(),
        "failed to exec in container: failed to start exec: exec: \"nothing-here\": executable file not found in $PATH"
    );
    let output = node.runtime.exec_sync(
        &container,
        list(&["sh", "-c", "echo a; echo b >&2; exit 3"]),
        PATIENCE,
    );
    let output = output.await.unwrap();
    assert_eq!(
        (output.stdout, output.stderr, output.exit_code),
        (b"a\n".to_vec(), b"b\n".to_vec(), 3)
    );
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn exec_sees_the_container_and_nothing_of_the_shim() {
    let node = Node::new().await;
    let sandbox = node.sandbox().await;
    let container = node.start(&sandbox, idle(&node)).await;
    let descriptors = node.exec(&container, "ls /proc/self/fd | wc -l").await;
    assert_eq!(
        descriptors.trim(),
        "4",
        "standard streams and the directory"
    );
    // Without a shell, which would ignore some itself.
    let command = list(&["grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"]);
    let signals = node
        .runtime
        .exec_sync(&container, command, PATIENCE)
        .await
        .unwrap()
        .stdout;
    let expected = "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n";
    assert_eq!(String::from_utf8_lossy(&signals), expected);
    let one = node.exec(&container, "cat /proc/1/cgroup").await;
    assert_eq!(node.exec(&container, "cat /proc/self/cgroup").await, one);
    assert!(one.lines().any(|line| line.ends_with(":memory:/")), "{one}");
    assert_eq!(
        node.exec(&container, "cat /proc/1/status | grep Cap").await,
        node.exec(&container, "grep Cap /proc/self/status").await
    );
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn exec_with_a_terminal_has_its_size_and_job_control() {
    let node = Node::new().await;
    let sandbox = node.sandbox().await;
    let container = node.start(&sandbox, idle(&node)).await;
    let request = ExecRequest {
        command: list(&["sh"]),
        tty: true,
        size: Some(TerminalSize {
            columns: 97,
            rows: 31,
        }),
        streams: ALL,
    };
    let mut session = node.runtime.exec(&container, request).await.unwrap();
    assert!(session.streams.stderr.is_none());
    let (mut stdin, mut stdout) = (
        session.streams.stdin.take().unwrap(),
        session.streams.stdout.take().unwrap(),
    );
    stdin
        .write_all(b"stty size; tty; echo $TERM\n")
        .await
        .unwrap();
    let got = until(&mut stdout, "xterm\r\n").await;
    assert!(got.contains("31 97") && got.contains("/dev/pts/0"), "{got}");
    session
        .terminal
        .as_ref()
        .unwrap()
        .resize(TerminalSize {
            columns: 50,
            rows: 20,
        })
        .unwrap();
    stdin.write_all(b"stty size\n").await.unwrap();
    until(&mut stdout, "20 50").await;
    stdin
        .write_all(b"sh -c 'echo st\"\"arted; sleep 1000'\n")
        .await
        .unwrap();
    until(&mut stdout, "started").await;
    stdin.write_all(b"\x03").await.unwrap(); // interrupts the sleep through the controlling terminal
    stdin.write_all(b"exit 9\n").await.unwrap();
    assert_eq!(
        tokio::time::timeout(PATIENCE, session.exit)
            .await
            .unwrap()
            .unwrap(),
        9
    );
    text(Some(stdout)).await;
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_takes_too_long_is_killed() {
    let node = Node::new().await;
    let sandbox = node.sandbox().await;
    let container = node.start(&sandbox, idle(&node)).await;
    let command = list(&["sleep", "1234"]);
    let error = node
        .runtime
        .exec_sync(&container, command, Duration::from_millis(200))
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "command \"sleep 1234\" timed out");
    let gone =
        "for i in $(ps -o args | grep -c '^sleep 1234'); do test $i = 0 && exit 0; done; exit 1";
    for _ in 0..200 {
        let command = list(&["sh", "-c", gone]);
        if node
            .runtime
            .exec_sync(&container, command, PATIENCE)
            .await
            .unwrap()
            .exit_code
            == 0
        {
            node.runtime
                .stop_container(&container, PATIENCE, None)
                .await
                .unwrap();
            let late = node
                .runtime
                .exec_sync(&container, list(&["true"]), PATIENCE)
                .await;
            assert!(matches!(late, Err(Error::NotRunning(_))));
            return node.finish().await;
        }
    }
    panic!("the command lives on");
}

#[tokio::test(flavor = "multi_thread")]
async fn attach_feeds_and_sees_the_container() {
    let node = Node::new().await;
    let sandbox = node.sandbox().await;
    let mut config = node.script("cat", "cat; echo done; exit 6");
    config.stdin = StdinMode::Once;
    let mut events = node.runtime.subscribe();
    let container = node
        .runtime
        .create_container(&sandbox, config)
        .await
        .unwrap();
    let mut first = node.runtime.attach(&container, ALL).await.unwrap();
    let onlooker = node
        .runtime
        .attach(
            &container,
            StreamSet {
                stdin: false,
                ..ALL
            },
        )
        .await
        .unwrap();
    node.runtime.start_container(&container).await.unwrap();
    let mut stdin = first.streams.stdin.take().unwrap();
    let many = "0123456789abcdef\n".repeat(40_000); // more than every pipe on the way holds
    let feed = {
        let many = many.clone();
        tokio::spawn(async move {
            stdin.write_all(many.as_bytes()).await.unwrap();
        })
    };
    let (one, two) = tokio::join!(
        text(first.streams.stdout.take()),
        text(onlooker.streams.stdout)
    );
    feed.await.unwrap();
    assert_eq!(
        (one.len(), &one[one.len() - 5..]),
        (many.len() + 5, "done\n")
    );
    assert_eq!(one, two);
    assert_eq!(ended(&mut events, &container).await.code, 6);
    assert_eq!(log_text(&node.path("cat.log")), one);
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_does_not_hold_the_container() {
    let node = Node::new().await;
    let sandbox = node.sandbox().await;
    let mut config = node.script("loud", "yes | head -c 3000000; echo; echo over");
    config.stdin = StdinMode::Open;
    let mut events = node.runtime.subscribe();
    let container = node
        .runtime
        .create_container(&sandbox, config)
        .await
        .unwrap();
    let mut session = node.runtime.attach(&container, ALL).await.unwrap();
    node.runtime.start_container(&container).await.unwrap();
    until(session.streams.stdout.as_mut().unwrap(), "y\ny\n").await;
    drop(session);
    assert_eq!(ended(&mut events, &container).await.code, 0);
    assert!(log_text(&node.path("loud.log")).ends_with("over\n"));
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_with_a_terminal_is_attached() {
    let node = Node::new().await;
    let sandbox = node.sandbox().await;
    let mut config = node.script("tty", "");
    config.command = list(&["sh"]);
    (config.tty, config.stdin) = (true, StdinMode::Open);
    let mut events = node.runtime.subscribe();
    let container = node.start(&sandbox, config).await;
    let mut session = node.runtime.attach(&container, ALL).await.unwrap();
    session
        .terminal
        .as_ref()
        .unwrap()
        .resize(TerminalSize {
            columns: 44,
            rows: 22,
        })
        .unwrap();
    let (mut stdin, mut stdout) = (
        session.streams.stdin.take().unwrap(),
        session.streams.stdout.take().unwrap(),
    );
    stdin
        .write_all(b"stty size; tty; test -c /dev/console && echo con''sole\n")
        .await
        .unwrap();
    let got = until(&mut stdout, "\r\nconsole").await;
    assert!(got.contains("22 44") && got.contains("/dev/pts/0"), "{got}");
    logged(&node.path("tty.log"), "22 44").await;
    stdin.write_all(b"exit 8\n").await.unwrap();
    assert_eq!(ended(&mut events, &container).await.code, 8);
    text(Some(stdout)).await;
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_of_the_pod_is_reached() {
    let node = Node::new().await;
    let sandbox = node.sandbox().await;
    let script = "nc -l -p 8080 -e echo hello from inside & echo up; wait; sleep 1000";
    let container = node.start(&sandbox, node.script("server", script)).await;
    logged(&node.path("server.log"), "up").await;
    let listening = "for i in $(seq 500 2>/dev/null || echo 1 2 3); do grep -q ':1F90 ' /proc/net/tcp /proc/net/tcp6 && exit 0; sleep 0.01; done; exit 1";
    node.exec(&container, listening).await;
    let mut stream = node.runtime.port_forward(&sandbox, 8080).await.unwrap();
    let mut got = String::new();
    tokio::time::timeout(PATIENCE, stream.read_to_string(&mut got))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(got, "hello from inside\n");
    let refused = node.runtime.port_forward(&sandbox, 9).await.err().unwrap();
    assert!(refused.to_string().contains("refused"), "{refused}");
    node.finish().await;
}
