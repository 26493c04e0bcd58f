//! Verbs that reach into running pods: describe, logs, exec, cp, attach, port-forward, run.

use std::fs;

use anyhow::{Context, Result};
use corten_tests::{Cluster, Terminal, eventually, expect_equal, expect_parts, get, manifests};

pub fn describe(cluster: &Cluster) -> Result<()> {
    let kubectl = cluster.namespace("describe")?;
    kubectl.apply(&manifests::idle_pod("idle").to_string())?;
    kubectl.wait("condition=Ready", "pod/idle")?;
    let namespace = format!("Namespace: {}\n", kubectl.namespace());
    eventually("events are there", || {
        let text = kubectl.run("describe pod idle")?;
        // Columns are as wide as the longest value of the moment; words are what counts.
        let words: String = text
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ") + "\n")
            .collect();
        expect_parts(
            &words,
            &[
                "Name: idle\n",
                &namespace,
                "Service Account: default\n",
                "Status: Running\n",
                "Image: corten.test/busybox:1\n",
                "Restart Count: 0\n",
                "/var/run/secrets/kubernetes.io/serviceaccount from kube-api-access-",
                "PodScheduled True\n",
                "Ready True\n",
                "QoS Class: BestEffort\n",
                "Normal Scheduled ",
                " default-scheduler Successfully assigned ",
                " kubelet spec.containers{c}: Container started\n",
            ],
        )
    })
}

pub fn logs_follow(cluster: &Cluster) -> Result<()> {
    let kubectl = cluster.namespace("logs")?;
    let script = "echo first; read -r line < /tmp/fifo; echo \"got $line\"";
    let script = format!("mkfifo /tmp/fifo; {script}");
    let mut pod = manifests::shell_pod("talk", &script);
    pod["spec"]["restartPolicy"] = "Never".into();
    kubectl.apply(&pod.to_string())?;
    kubectl.wait("condition=Ready", "pod/talk")?;
    let mut follow = kubectl.start("logs -f talk")?;
    follow.expect("first")?;
    kubectl.run("exec talk -- sh -c 'echo second > /tmp/fifo'")?;
    follow.expect("got second")?;
    let (code, text) = follow.end()?;
    expect_equal((code, text.as_str()), (0, "first\ngot second\n"))?;
    let failed = kubectl.fail("logs nope")?;
    let namespace = kubectl.namespace();
    let said = format!(
        "error: error from server (NotFound): pods \"nope\" not found in namespace \"{namespace}\"\n"
    );
    expect_equal(failed.stderr, said)
}

pub fn logs_previous_tail_timestamps(cluster: &Cluster) -> Result<()> {
    let kubectl = cluster.namespace("logs2")?;
    let script = "for i in 1 2 3; do echo line $i; done; test -e /mark/x || { touch /mark/x; exit 3; }; exec sleep 1000000";
    let mut pod = manifests::shell_pod("twice", script);
    pod["spec"]["volumes"] = serde_json::json!([{ "name": "mark", "emptyDir": {} }]);
    pod["spec"]["containers"][0]["volumeMounts"] =
        serde_json::json!([{ "name": "mark", "mountPath": "/mark" }]);
    kubectl.apply(&pod.to_string())?;
    kubectl.wait(
        "jsonpath={.status.containerStatuses[0].restartCount}=1",
        "pod/twice",
    )?;
    kubectl.wait("condition=Ready", "pod/twice")?;
    expect_equal(
        kubectl.run("logs twice --previous")?,
        "line 1\nline 2\nline 3\n",
    )?;
    let code =
        "get pod twice -o 'jsonpath={.status.containerStatuses[0].lastState.terminated.exitCode}'";
    expect_equal(kubectl.run(code)?, "3")?;
    expect_equal(kubectl.run("logs twice --tail=1")?, "line 3\n")?;
    let stamped = kubectl.run("logs twice --tail=1 --timestamps")?;
    expect_equal(stamped.chars().nth(10), Some('T'))?;
    expect_parts(&stamped, &["Z line 3\n"])?;
    let failed = kubectl.fail("logs twice -c nope")?;
    expect_parts(
        &failed.stderr,
        &["container nope is not valid for pod twice"],
    )
}

pub fn exec(cluster: &Cluster) -> Result<()> {
    let kubectl = cluster.namespace("exec")?;
    kubectl.apply(&manifests::idle_pod("idle").to_string())?;
    kubectl.wait("condition=Ready", "pod/idle")?;
    expect_equal(kubectl.run("exec idle -- hostname")?, "idle\n")?;
    let echoed = kubectl.run_with_input("exec -i idle -- cat", "in and out\n")?;
    expect_equal(echoed, "in and out\n")?;
    let failed = kubectl.fail("exec idle -- sh -c 'echo oops >&2; exit 7'")?;
    expect_equal(failed.code, 7)?;
    expect_equal(failed.stderr, "oops\ncommand terminated with exit code 7\n")?;
    let failed = kubectl.fail("exec idle -- /no/such/program")?;
    expect_parts(&failed.stderr, &["no such file or directory"])?;
    let big = kubectl.run("exec idle -- sh -c 'head -c 3000000 /dev/zero | tr \"\\0\" x'")?;
    expect_equal(big.len(), 3_000_000)
}

pub fn exec_terminal(cluster: &Cluster) -> Result<()> {
    let kubectl = cluster.namespace("tty")?;
    kubectl.apply(&manifests::idle_pod("idle").to_string())?;
    kubectl.wait("condition=Ready", "pod/idle")?;
    let mut terminal = Terminal::start(&kubectl, "exec -it idle -- sh")?;
    terminal.write("test -t 0 && echo is-a-$((40+2))-terminal\n")?;
    terminal.expect("is-a-42-terminal")?;
    terminal.write("stty size\n")?;
    terminal.expect("33 101")?;
    terminal.write("exit 5\n")?;
    expect_equal(terminal.end()?, 5)
}

pub fn cp(cluster: &Cluster) -> Result<()> {
    let kubectl = cluster.namespace("cp")?;
    kubectl.apply(&manifests::idle_pod("idle").to_string())?;
    kubectl.wait("condition=Ready", "pod/idle")?;
    let directory = cluster.directory().join("cp");
    fs::create_dir_all(directory.join("tree/sub")).context("making files to copy")?;
    fs::write(directory.join("tree/a"), "one\n")?;
    fs::write(directory.join("tree/sub/b"), vec![b'x'; 1_000_000])?;
    let shown = directory.display();
    kubectl.run(&format!("cp {shown}/tree idle:/tmp/tree"))?;
    expect_equal(kubectl.run("exec idle -- cat /tmp/tree/a")?, "one\n")?;
    kubectl.run(&format!("cp idle:/tmp/tree {shown}/back"))?;
    expect_equal(fs::read(directory.join("back/sub/b"))?.len(), 1_000_000)?;
    fs::remove_dir_all(&directory).context("removing copied files")
}

pub fn attach(cluster: &Cluster) -> Result<()> {
    let kubectl = cluster.namespace("attach")?;
    // It speaks now and then, which tells when an attached session has begun.
    let script = "while :; do read -r -t 1 line && echo \"heard $line\" || echo waiting; test \"$line\" = bye && exit 0; done";
    let mut pod = manifests::shell_pod("parrot", script);
    pod["spec"]["containers"][0]["stdin"] = true.into();
    pod["spec"]["restartPolicy"] = "Never".into();
    kubectl.apply(&pod.to_string())?;
    kubectl.wait("condition=Ready", "pod/parrot")?;
    let mut watcher = kubectl.start("attach parrot")?;
    watcher.expect("waiting")?;
    let said = kubectl.run_with_input("attach -i parrot", "hello\nbye\n")?;
    expect_parts(&said, &["heard bye"])?;
    watcher.expect("heard bye")?;
    kubectl.wait("jsonpath={.status.phase}=Succeeded", "pod/parrot")
}

pub fn port_forward(cluster: &Cluster) -> Result<()> {
    let kubectl = cluster.namespace("forward")?;
    kubectl.apply(&manifests::server_pod("server").to_string())?;
    kubectl.wait("condition=Ready", "pod/server")?;
    let mut forward = kubectl.start("port-forward pod/server :8080")?;
    let line = forward.expect("Forwarding from 127.0.0.1:")?;
    let port = line
        .split("127.0.0.1:")
        .nth(1)
        .and_then(|rest| rest.split(' ').next())
        .context("the line names a port")?;
    for _ in 0..3 {
        let page = kubectl.inside(|| get(&format!("127.0.0.1:{port}"), "/hostname"))??;
        expect_equal((page.status, page.body.as_str()), (200, "server"))?;
    }
    Ok(())
}

pub fn run_with_input(cluster: &Cluster) -> Result<()> {
    let kubectl = cluster.namespace("run")?;
    let line =
        "run once --rm -i --restart=Never --image=corten.test/busybox:1 --override-type=strategic";
    let overrides = r#"{"spec":{"terminationGracePeriodSeconds":1}}"#;
    let said = kubectl.run_with_input(
        &format!("{line} --overrides='{overrides}' -- sh -c 'wc -c'"),
        "12345",
    )?;
    expect_parts(&said, &["5\n", "pod \"once\" deleted"])
}
