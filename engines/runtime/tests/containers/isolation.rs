//! What a container can see and do: namespaces, identity, capabilities, system calls, hidden paths, devices.

use corten_runtime::{
    Device, IdGroups, NamespaceMode, PidMode, RunAs, Runtime, SandboxConfig, SeccompProfile,
    SecurityConfig, SupplementalGroupsPolicy,
};

use crate::node::{Node, PATIENCE, list, logged};

const IDLE: &str = "trap 'exit 0' TERM; while :; do sleep 0.05; done";

fn own(namespace: &str) -> String {
    std::fs::read_link(format!("/proc/self/ns/{namespace}"))
        .unwrap()
        .to_string_lossy()
        .into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_and_containers_have_their_namespaces() {
    let node = Node::new().await;
    let sandbox = node.sandbox().await;
    let script = format!(
        "for n in net ipc uts pid mnt cgroup user; do readlink /proc/self/ns/$n; done; echo $$; {IDLE}"
    );
    let one = node.start(&sandbox, node.script("one", &script)).await;
    let two = node.start(&sandbox, node.script("two", &script)).await;
    logged(&node.path("one.log"), "\n1\n").await;
    logged(&node.path("two.log"), "\n1\n").await;
    let links = |name: &str| -> Vec<String> {
        crate::node::log_text(&node.path(name))
            .lines()
            .map(str::to_owned)
            .collect()
    };
    let (first, second) = (links("one.log"), links("two.log"));
    for (index, namespace) in ["net", "ipc", "uts", "pid", "mnt", "cgroup", "user"]
        .into_iter()
        .enumerate()
    {
        let shared = first[index] == second[index];
        assert_eq!(
            shared,
            ["net", "ipc", "uts", "user"].contains(&namespace),
            "{namespace}"
        );
        assert_eq!(
            first[index] == own(namespace),
            namespace == "user",
            "{namespace}"
        );
    }
    assert_eq!(
        node.exec(&one, "hostname; cat /proc/sys/kernel/hostname")
            .await,
        "pod-host\npod-host\n"
    );
    assert_eq!(
        node.exec(&one, "cat /sys/class/net/lo/operstate; ls /sys/class/net")
            .await,
        "unknown\nlo\n"
    );
    let netns = node
        .runtime
        .pod_sandbox_status(&sandbox)
        .await
        .unwrap()
        .netns
        .unwrap();
    let inode = std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(netns).unwrap());
    assert_eq!(first[0], format!("net:[{inode}]"));
    node.exec(&one, "echo shared > /dev/shm/x").await;
    assert_eq!(
        node.exec(&two, "cat /dev/shm/x; ps -o pid,args | grep -c 'script'")
            .await
            .lines()
            .next(),
        Some("shared")
    );
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_nodes_namespaces_are_used_on_request() {
    let node = Node::new().await;
    let config = SandboxConfig {
        network: NamespaceMode::Node,
        ipc: NamespaceMode::Node,
        pid: PidMode::Node,
        ..node.sandbox_config()
    };
    let sandbox = node.runtime.run_pod_sandbox(config).await.unwrap();
    assert_eq!(
        node.runtime
            .pod_sandbox_status(&sandbox)
            .await
            .unwrap()
            .netns,
        None
    );
    let script = "for n in net ipc uts pid; do readlink /proc/self/ns/$n; done; hostname";
    let text = node.output(&sandbox, node.script("one", script)).await;
    let lines: Vec<&str> = text.lines().collect();
    for (index, namespace) in ["net", "ipc", "uts", "pid"].into_iter().enumerate() {
        assert_eq!(lines[index], own(namespace));
    }
    // Without an own process namespace the rest of the container's processes must be killed too.
    let mut events = node.runtime.subscribe();
    let container = node
        .start(
            &sandbox,
            node.script(
                "two",
                &format!("sleep 4321{0} & sleep 4322{0} & exit 0", std::process::id()),
            ),
        )
        .await;
    assert_eq!(crate::node::ended(&mut events, &container).await.code, 0);
    for number in ["4321", "4322"] {
        let left = crate::node::processes(&format!("sleep {number}{} ", std::process::id()));
        assert_eq!(left, Vec::<String>::new());
    }
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_process_namespace_has_an_init_that_keeps_nothing() {
    let node = Node::new().await;
    let config = SandboxConfig {
        pid: PidMode::Pod,
        ..node.sandbox_config()
    };
    let sandbox = node.runtime.run_pod_sandbox(config).await.unwrap();
    let mut config = node.script("one", &format!("echo $$; {IDLE}"));
    config.security.add_capabilities = list(&["SYS_PTRACE"]);
    let one = node.start(&sandbox, config).await;
    let two = node.start(&sandbox, node.script("two", IDLE)).await;
    let seen = node.exec(&one, "ps -o pid,user,args").await;
    assert!(
        seen.lines()
            .any(|line| line.trim().starts_with("1 65535") && line.ends_with("/pause")),
        "{seen}"
    );
    assert!(seen.matches("trap").count() >= 2, "both containers: {seen}");
    assert_eq!(
        node.exec(
            &one,
            "ls /proc/1/root/ | wc -l; grep -E 'CapPrm|NoNewPrivs' /proc/1/status"
        )
        .await,
        "0\nCapPrm:\t0000000000000000\nNoNewPrivs:\t1\n"
    );
    // Orphans become the init's children and vanish.
    node.exec(
        &two,
        "sh -c 'sleep 0.01 & exit 0'; sleep 0.1; ! ps -o stat | grep Z",
    )
    .await;
    node.runtime
        .stop_container(&one, PATIENCE, None)
        .await
        .unwrap();
    assert_eq!(node.exec(&two, "echo fine").await, "fine\n");
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn users_and_groups_are_those_of_pod_and_image() {
    let node = Node::new().await;
    let sandbox = node.sandbox().await;
    let show = "id -u; id -g; id -G; echo $HOME; pwd";
    let mut config = node.script("image", show);
    config.image.config.user = "web".into();
    config.image.config.working_dir = "/srv/made/here".into();
    assert_eq!(
        node.output(&sandbox, config).await,
        "33\n33\n33 50\n/srv\n/srv/made/here\n"
    );
    let mut config = node.script("pod", show);
    config.security = SecurityConfig {
        run_as: RunAs::Uid(1234),
        run_as_group: Some(77),
        supplemental_groups: vec![9, 8],
        supplemental_groups_policy: SupplementalGroupsPolicy::Strict,
        ..config.security
    };
    let mut events = node.runtime.subscribe();
    let container = node.start(&sandbox, config).await;
    crate::node::ended(&mut events, &container).await;
    assert_eq!(
        crate::node::log_text(&node.path("pod.log")),
        "1234\n77\n77 8 9\n/\n/\n"
    );
    let expected = IdGroups {
        uid: 1234,
        gid: 77,
        groups: vec![8, 9, 77],
    };
    assert_eq!(
        node.runtime
            .container_status(&container)
            .await
            .unwrap()
            .user,
        Some(expected)
    );
    // The streams belong to the user, who may open them anew.
    let mut config = node.script(
        "reopen",
        "echo again > /dev/stdout; echo more > /proc/self/fd/2",
    );
    config.security.run_as = RunAs::Uid(1234);
    assert_eq!(node.output(&sandbox, config).await, "again\nmore\n");
    node.finish().await;
}

fn status(text: &str, field: &str) -> String {
    let line = text
        .lines()
        .find(|line| line.starts_with(field))
        .unwrap_or_else(|| panic!("{field}"));
    line.split_whitespace().nth(1).unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn capabilities_are_the_default_ones_or_those_asked_for() {
    let node = Node::new().await;
    let sandbox = node.sandbox().await;
    let show = "cat /proc/self/status";
    let text = node.output(&sandbox, node.script("default", show)).await;
    for field in ["CapPrm", "CapEff", "CapBnd"] {
        assert_eq!(status(&text, field), "00000000a80425fb", "{field}");
    }
    assert_eq!(
        (status(&text, "CapInh"), status(&text, "CapAmb")),
        ("0".repeat(16), "0".repeat(16))
    );
    assert_eq!(
        (status(&text, "NoNewPrivs"), status(&text, "Seccomp")),
        ("0".into(), "0".into())
    );
    let mut config = node.script("some", show);
    config.security.drop_capabilities = list(&["ALL"]);
    config.security.add_capabilities = list(&["NET_ADMIN", "CAP_CHOWN"]);
    config.security.no_new_privileges = true;
    config.security.seccomp = SeccompProfile::RuntimeDefault;
    let text = node.output(&sandbox, config).await;
    assert_eq!(status(&text, "CapBnd"), "0000000000001001");
    assert_eq!(
        (status(&text, "NoNewPrivs"), status(&text, "Seccomp")),
        ("1".into(), "2".into())
    );
    let mut config = node.script("user", show);
    config.security.run_as = RunAs::Uid(1000);
    let text = node.output(&sandbox, config).await;
    assert_eq!(
        (status(&text, "CapEff"), status(&text, "CapBnd")),
        ("0".repeat(16), "00000000a80425fb".into())
    );
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn system_calls_are_filtered() {
    let node = Node::new().await;
    let sandbox = node.sandbox().await;
    let script = "unshare -U true 2>&1; echo $?; mount -t tmpfs x /tmp 2>&1; echo $?";
    let mut config = node.script("default", script);
    config.security.seccomp = SeccompProfile::RuntimeDefault;
    let text = node.output(&sandbox, config).await;
    assert_eq!(
        text.matches("Operation not permitted").count() + text.matches("ermission denied").count(),
        2,
        "{text}"
    );
    let mut config = node.script("none", "unshare -U true; echo $?");
    config.security.seccomp = SeccompProfile::Unconfined;
    assert_eq!(node.output(&sandbox, config).await, "0\n");
    let profile = node.path("profile.json");
    let rule = r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}]}"#;
    std::fs::write(&profile, rule).unwrap();
    for no_new_privileges in [false, true] {
        let mut config = node.script("local", "mkdir /tmp/x 2>&1; touch /tmp/y; ls /tmp");
        config.security.seccomp = SeccompProfile::Localhost(profile.clone());
        config.security.no_new_privileges = no_new_privileges;
        let text = node.output(&sandbox, config).await;
        assert!(text.contains("No space left on device\ny\n"), "{text}");
        std::fs::remove_file(node.path("local.log")).unwrap();
    }
    let mut config = node.script("missing", "true");
    config.security.seccomp = SeccompProfile::Localhost(node.path("no-such-profile"));
    let error = node
        .runtime
        .create_container(&sandbox, config)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("no-such-profile"), "{error}");
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_are_hidden_and_protected() {
    let node = Node::new().await;
    let sandbox = node.sandbox().await;
    let script = "exec 2>&1; wc -c < /proc/keys; wc -c < /proc/interrupts; ls /sys/firmware | wc -l; ls /proc/scsi 2>/dev/null | wc -l
        echo 1 > /proc/sys/net/ipv4/ip_forward; mkdir /sys/x
        mkdir /sys/fs/cgroup/memory/x; echo 1 > /sys/fs/cgroup/memory/memory.limit_in_bytes
        touch /sys/fs/cgroup/x; cat /etc/image-file; touch /etc/new && echo written";
    let config = node.script("one", script);
    let text = node.output(&sandbox, config.clone()).await;
    assert!(
        text.starts_with("0\n0\n0\n0\n") && text.ends_with("from the image\nwritten\n"),
        "{text}"
    );
    assert_eq!(text.matches("Read-only file system").count(), 5, "{text}");
    let mut config = node.script(
        "readonly",
        "exec 2>&1; touch /etc/x; touch /dev/shm/y && echo shm; echo z > /dev/null && echo null",
    );
    config.security.readonly_rootfs = true;
    let text = node.output(&sandbox, config).await;
    assert!(
        text.contains("/etc/x: Read-only file system") && text.ends_with("shm\nnull\n"),
        "{text}"
    );
    let mut config = node.script(
        "unmasked",
        "head -c 1 /proc/interrupts | wc -c; echo 1 > /proc/sys/net/ipv4/ip_forward && echo set",
    );
    (config.security.masked_paths, config.security.readonly_paths) = (vec![], vec![]);
    config.security.add_capabilities = list(&["NET_ADMIN"]);
    assert_eq!(node.output(&sandbox, config).await, "1\nset\n");
    assert!(
        !node.path("image/etc/new").exists(),
        "the image stays as it is"
    );
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_are_the_usual_ones_and_those_given() {
    let node = Node::new().await;
    let sandbox = node.sandbox().await;
    let script = "exec 2>&1; ls /dev; mknod /tmp/kmsg c 1 11 && cat /tmp/kmsg; head -c 3 /dev/zero | wc -c; readlink /dev/ptmx; readlink /dev/stdout";
    let text = node.output(&sandbox, node.script("usual", script)).await;
    let expected = "fd\nfull\nmqueue\nnull\nptmx\npts\nrandom\nshm\nstderr\nstdin\nstdout\ntty\nurandom\nzero\n";
    assert!(
        text.trim_start_matches("core\n").starts_with(expected),
        "{text}"
    );
    assert!(
        text.contains("Operation not permitted")
            && text.ends_with("3\npts/ptmx\n/proc/self/fd/1\n"),
        "{text}"
    );
    let mut config = node.script("given", "ls -l /dev/my/null; echo x > /dev/my/null && echo fine; head -c 1 /dev/my/null; cat /dev/my/null");
    config.devices = vec![Device {
        host_path: "/dev/null".into(),
        container_path: "/dev/my/null".into(),
        permissions: "rw".into(),
    }];
    assert!(node.output(&sandbox, config).await.contains("1,   3"));
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_privileged_container_may_do_everything_the_node_can() {
    let node = Node::new().await;
    let sandbox = node.sandbox().await;
    let script = "grep CapEff /proc/self/status; test -c /dev/kmsg && echo kmsg; mount -t tmpfs x /tmp && echo mounted
        mkdir /sys/fs/cgroup/memory/below && rmdir /sys/fs/cgroup/memory/below; head -c 1 /proc/interrupts | wc -c; unshare -m true && echo unshared";
    let mut config = node.script("all", script);
    config.security.privileged = true;
    config.security.seccomp = SeccompProfile::RuntimeDefault;
    let text = node.output(&sandbox, config).await;
    let own = std::fs::read_to_string("/proc/self/status").unwrap();
    assert!(text.contains(&status(&own, "CapEff")), "{text}");
    assert!(
        text.contains("kmsg\nmounted\n") && text.ends_with("1\nunshared\n"),
        "{text}"
    );
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sysctls_belong_to_the_pod() {
    let node = Node::new().await;
    let mut config = node.sandbox_config();
    config.sysctls = [
        ("kernel.shm_rmid_forced", "1"),
        ("net.ipv4.tcp_syncookies", "0"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    let sandbox = node.runtime.run_pod_sandbox(config.clone()).await.unwrap();
    let script = "cat /proc/sys/kernel/shm_rmid_forced /proc/sys/net/ipv4/tcp_syncookies /proc/sys/net/ipv4/ip_unprivileged_port_start";
    assert_eq!(
        node.output(&sandbox, node.script("one", script)).await,
        "1\n0\n0\n"
    );
    assert_eq!(
        std::fs::read_to_string("/proc/sys/kernel/shm_rmid_forced").unwrap(),
        "0\n"
    );
    for bad in ["../x", "no.such.knob"] {
        config.sysctls = [(bad.to_owned(), "1".to_owned())].into();
        let error = node
            .runtime
            .run_pod_sandbox(config.clone())
            .await
            .unwrap_err();
        assert!(error.to_string().contains(bad), "{error}");
    }
    assert_eq!(node.runtime.list_pod_sandboxes().await.unwrap().len(), 1);
    node.finish().await;
}
