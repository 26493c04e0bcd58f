//! The same container under runc and under this runtime: a probe inside prints what it finds, and both texts must
//! agree. What differs on purpose is named with its reason in [`EXPECTED`].

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[allow(dead_code, reason = "shared with the other test program")]
#[path = "../containers/node.rs"]
mod node;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use corten_runtime::{RunAs, SeccompProfile, SecurityConfig};
use node::{Node, list};
use serde_json::{Value, json};

/// A difference that is wanted: the probe's section, a text that the line contains, and why.
const EXPECTED: &[(&str, &str, &str)] = &[
    (
        "status",
        "SigIgn:",
        "ours resets what the agent inherited as ignored; runc passes it on",
    ),
    (
        "stdin",
        "",
        "ours gives /dev/null of the container; `runc run` relays through a pipe",
    ),
    (
        "mounts",
        " /sys ro,nosuid,nodev,noexec,relatime ",
        "ours marks the mount only: the file system is shared with the network namespace's other mounts",
    ),
    (
        "mounts",
        " /sys/fs/cgroup r",
        "ours makes the directory of the v1 hierarchies read-only as well; runc leaves it writable",
    ),
    ("readonly", "/sys/fs/cgroup ", "the same as seen by touch"),
];

/// What the probe prints, section by section. `cat` instead of the shell's own reading: the shell ignores SIGQUIT.
const PROBE: &str = r#"
section() { echo "== $1"; }
section status; grep -E '^(Uid|Gid|Groups|Umask|NoNewPrivs|Seccomp|Seccomp_filters|Cap...|Sig(Blk|Ign)):' /proc/self/status
section limits; cat /proc/self/limits
section cgroup; cat /proc/self/cgroup
section mounts; cat /proc/self/mountinfo
section dev; ls -l /dev | sed 's/ [A-Z][a-z][a-z] .*:.. / /'
section devpts; ls -l /dev/pts | sed 's/ [A-Z][a-z][a-z] .*:.. / /'
section descriptors; ls /proc/self/fd | wc -l
section stdin; readlink /proc/self/fd/0
section environment; cat /proc/self/environ | tr '\0' '\n' | sort
section place; pwd; hostname; cat /proc/self/oom_score_adj; cat /proc/self/sessionid; echo $$
section masked
for path in /proc/asound /proc/acpi /proc/interrupts /proc/kcore /proc/keys /proc/latency_stats /proc/timer_list /proc/scsi; do
    test -d $path && echo $path directory $(ls $path | wc -l); test -f $path && echo $path file $(wc -c < $path); test -c $path && echo $path device
done
section readonly
for path in /proc/bus /proc/fs /proc/irq /proc/sys/kernel /sys /sys/fs/cgroup /sys/fs/cgroup/memory; do
    touch $path/x 2>&1 | sed 's/.*: //' | sed "s|^|$path |"
done
section filter; mkdir /tmp/probe 2>&1 | sed 's/.*: //'
section network; ls /sys/class/net; cat /proc/net/dev | wc -l
section process; cut -d ' ' -f 4-8 /proc/1/stat; cat /proc/1/comm; tr '\0' ' ' < /proc/1/cmdline | cut -c 1-20
section shm; ls -ld /dev/shm /tmp / /data | sed 's/ [A-Z][a-z][a-z] .*:.. / /'
"#;

const FILTER: &str = r#"{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
    "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}]}"#;

fn runc() -> PathBuf {
    let places = ["/usr/sbin/runc", "/usr/bin/runc"].map(PathBuf::from);
    if !places.iter().any(|place| place.exists()) {
        let status = Command::new("apt-get")
            .args(["install", "-y", "runc"])
            .status();
        assert!(
            status.is_ok_and(|s| s.success()),
            "runc cannot be installed"
        );
    }
    places
        .into_iter()
        .find(|place| place.exists())
        .expect("installed above")
}

/// One variant of the container.
struct Case {
    name: &'static str,
    security: SecurityConfig,
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
    capabilities: Vec<String>,
}

fn cases(node: &Node) -> Vec<Case> {
    let base = SecurityConfig {
        seccomp: SeccompProfile::Localhost(node.path("filter.json")),
        masked_paths: list(corten_runtime::DEFAULT_MASKED_PATHS),
        readonly_paths: list(corten_runtime::DEFAULT_READONLY_PATHS),
        ..SecurityConfig::default()
    };
    let default: Vec<String> = corten_runtime::DEFAULT_CAPABILITIES
        .iter()
        .map(|name| format!("CAP_{name}"))
        .collect();
    let case = |name, security, uid, gid, groups: &[u32], capabilities: &[String]| Case {
        name,
        security,
        uid,
        gid,
        groups: groups.to_vec(),
        capabilities: capabilities.to_vec(),
    };
    let user = SecurityConfig {
        run_as: RunAs::Uid(1000),
        run_as_group: Some(1001),
        supplemental_groups: vec![5, 2000],
        no_new_privileges: true,
        readonly_rootfs: true,
        ..base.clone()
    };
    let few = SecurityConfig {
        drop_capabilities: list(&["ALL"]),
        add_capabilities: list(&["NET_ADMIN", "SYS_TIME"]),
        ..base.clone()
    };
    vec![
        case("default", base, 0, 0, &[0], &default),
        case("user", user, 1000, 1001, &[5, 1001, 2000], &default),
        case(
            "few",
            few,
            0,
            0,
            &[0],
            &list(&["CAP_NET_ADMIN", "CAP_SYS_TIME"]),
        ),
    ]
}

fn bundle_config(case: &Case, cgroup: &str, upper: &Path) -> Value {
    let mount = |target: &str, kind: &str, options: &[&str]| json!({"destination": target, "type": kind, "source": kind, "options": options});
    let filter: Value = serde_json::from_str(FILTER).unwrap();
    let caps = &case.capabilities;
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": case.uid, "gid": case.gid, "additionalGids": case.groups},
            "args": ["/bin/sh", "-c", PROBE],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOSTNAME=pod-host", "PLACE=probe"],
            "cwd": "/data",
            "capabilities": {"bounding": caps, "effective": caps, "permitted": caps},
            "noNewPrivileges": case.security.no_new_privileges,
            "oomScoreAdj": 500,
        },
        "root": {"path": upper, "readonly": case.security.readonly_rootfs},
        "hostname": "pod-host",
        "mounts": [
            mount("/proc", "proc", &["nosuid", "noexec", "nodev"]),
            mount("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
            mount("/dev/pts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
            mount("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
            mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
            mount("/sys/fs/cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", "ro"]),
            mount("/dev/shm", "tmpfs", &["nosuid", "noexec", "nodev", "mode=1777", "size=67108864"]),
        ],
        "linux": {
            "cgroupsPath": cgroup,
            "resources": {"devices": [{"allow": false, "access": "rwm"}]},
            "namespaces": [
                {"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}, {"type": "network"}, {"type": "cgroup"},
            ],
            "maskedPaths": case.security.masked_paths,
            "readonlyPaths": case.security.readonly_paths,
            "seccomp": filter,
        },
    })
}

fn under_runc(node: &Node, case: &Case) -> String {
    let bundle = node.path(&format!("bundle-{}", case.name));
    for directory in ["rootfs", "upper", "work"] {
        fs::create_dir_all(bundle.join(directory)).unwrap();
    }
    let rootfs = bundle.join("rootfs");
    let (image, upper, work) = (
        node.path("image"),
        bundle.join("upper"),
        bundle.join("work"),
    );
    let options = format!(
        "lowerdir={},upperdir={},workdir={},volatile",
        image.display(),
        upper.display(),
        work.display()
    );
    let mount = Command::new("mount")
        .args(["-t", "overlay", "overlay", "-o", &options])
        .arg(&rootfs)
        .status();
    assert!(mount.unwrap().success());
    let cgroup = format!("{}-runc/{}", node.cgroup, case.name);
    let config = bundle_config(case, &cgroup, &rootfs);
    fs::write(
        bundle.join("config.json"),
        serde_json::to_vec(&config).unwrap(),
    )
    .unwrap();
    let id = format!("parity-{}-{}", std::process::id(), case.name);
    let output = Command::new(runc())
        .arg("--root")
        .arg(node.path("runc"))
        .args(["run", "--bundle"])
        .arg(&bundle)
        .arg(&id)
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    assert!(
        Command::new("umount")
            .arg(&rootfs)
            .status()
            .unwrap()
            .success()
    );
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

async fn under_ours(node: &Node, case: &Case) -> String {
    let sandbox = node.sandbox().await;
    let mut config = node.script(case.name, PROBE);
    config.env = vec![("PLACE".into(), "probe".into())];
    config.working_dir = "/data".into();
    config.oom_score_adj = Some(500);
    config.security = case.security.clone();
    node.output(&sandbox, config).await
}

/// Sections with their lines, without what must differ: numbers of mounts and devices, paths of the two bundles.
fn sections(text: &str) -> Vec<(String, String)> {
    let mut section = String::new();
    let mut lines = Vec::new();
    for line in text.lines() {
        match line.strip_prefix("== ") {
            Some(name) => section = name.to_owned(),
            None if section == "mounts" => lines.push((section.clone(), mount(line))),
            None => lines.push((section.clone(), line.trim_end().to_owned())),
        }
    }
    lines
}

/// Mount point, options, type and file system options; the overlay's directories are named by kind only.
fn mount(line: &str) -> String {
    let (place, kind) = line.split_once(" - ").unwrap();
    let place: Vec<&str> = place.split(' ').collect();
    let kind: Vec<&str> = kind.split(' ').collect();
    let options: Vec<&str> = kind[2]
        .split(',')
        .map(|option| match option.split_once('=') {
            Some((key, _)) if key.contains("dir") => key.trim_end_matches('+'),
            _ => option,
        })
        .collect();
    let propagation = place[6..].join(" ");
    format!(
        "{} {} {} [{propagation}] {} {}",
        place[3],
        place[4],
        place[5],
        kind[0],
        options.join(",")
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_finds_what_it_finds_under_runc() {
    let node = Node::new().await;
    fs::write(node.path("filter.json"), FILTER).unwrap();
    let mut differences = Vec::new();
    for case in cases(&node) {
        let (theirs, ours) = (
            sections(&under_runc(&node, &case)),
            sections(&under_ours(&node, &case).await),
        );
        let missing = theirs
            .iter()
            .filter(|line| !ours.contains(line))
            .map(|line| ("runc only", line));
        let extra = ours
            .iter()
            .filter(|line| !theirs.contains(line))
            .map(|line| ("ours only", line));
        for (side, (section, line)) in missing.chain(extra) {
            let wanted = EXPECTED
                .iter()
                .any(|(s, text, _)| s == section && line.contains(text));
            if !wanted {
                differences.push(format!("{} {side}, {section}: {line}", case.name));
            }
        }
    }
    for hierarchy in node::cgroup_mounts() {
        // runc makes the parent and leaves it.
        let _ =
            fs::remove_dir(hierarchy.join(format!("{}-runc", node.cgroup.trim_start_matches('/'))));
    }
    assert!(differences.is_empty(), "{differences:#?}");
    node.finish().await;
}
