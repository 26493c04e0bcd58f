//! From an executed shim to a ready pod: namespaces, sysctls, the pod's mounts and cgroup, the socket, the daemon,
//! and the init of a shared process namespace.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{MountAttrFlags, MoveMountFlags, move_mount};

use super::child;
use super::server::Server;
use crate::cgroup::{Cgroups, Group};
use crate::config::{NamespaceMode, PidMode, SandboxConfig};
use crate::records::{self, Places, SandboxRecord};
use crate::rootfs::{self, Step, at};
use crate::wire::Report;
use crate::{seqpacket, sys};

const SHM_SIZE: u64 = 64 << 20;

/// Makes the pod. Returns the server in the daemon, `None` in the process that was executed.
pub fn start(root: &Path, run: &Path, id: &str) -> Step<Option<Server>> {
    let places = Places::new(root, run, id);
    let record: SandboxRecord = records::read(&places.sandbox())
        .map_err(|e| e.to_string())?
        .ok_or_else(|| format!("sandbox {id} has no record"))?;
    std::env::set_current_dir("/").map_err(at("enter /"))?;
    rustix::process::umask(Mode::from_raw_mode(0o022));
    let _ = rustix::process::setsid();
    let config = &record.config;
    let cgroups = Cgroups::discover().map_err(at("find cgroups"))?;
    let pod = cgroups.group(&record.cgroup);
    pod.ensure().map_err(|e| e.to_string())?;
    pod.apply(&config.resources).map_err(|e| e.to_string())?;
    enter_namespaces(config)?;
    mount_pod(config, &places)?;
    let listener = seqpacket::listen(&places.socket()).map_err(at("listen"))?;
    let (ours, theirs) = seqpacket::pair().map_err(at("make socket pair"))?;
    // SAFETY: main has just begun; there is one thread.
    if unsafe { sys::fork(0, None) }.map_err(at("fork"))?.is_some() {
        drop(theirs);
        return match seqpacket::receive::<Result<(), String>>(ours.as_fd()) {
            Ok(Some((Ok(()), _))) => Ok(None),
            Ok(Some((Err(why), _))) => Err(why),
            _ => Err("the shim died before it was ready".to_owned()),
        };
    }
    drop(ours);
    let server = serve(record, places, cgroups, listener);
    let ready = server.as_ref().map(drop).map_err(Clone::clone);
    seqpacket::send(theirs.as_fd(), &ready, &[]).map_err(at("report"))?;
    server.map(Some)
}

/// In the daemon: everything up to the event loop.
fn serve(
    record: SandboxRecord,
    places: Places,
    cgroups: Cgroups,
    listener: OwnedFd,
) -> Step<Server> {
    become_daemon(&places)?;
    let init = match record.config.pid {
        PidMode::Pod => {
            let group = cgroups.group(&record.cgroup).child(&record.id);
            Some(start_init(&group, &places)?)
        }
        PidMode::Container | PidMode::Node => None,
    };
    Server::new(record, places, cgroups, listener, init)
}

fn enter_namespaces(config: &SandboxConfig) -> Step<()> {
    let own_network = config.network == NamespaceMode::Pod;
    let mut kinds = 0;
    if own_network {
        kinds |= libc::CLONE_NEWNET | libc::CLONE_NEWUTS;
    }
    if config.ipc == NamespaceMode::Pod {
        kinds |= libc::CLONE_NEWIPC;
    }
    if kinds != 0 {
        sys::unshare(kinds).map_err(at("make namespaces"))?;
    }
    if own_network {
        sys::loopback_up().map_err(at("bring loopback up"))?;
        if !config.hostname.is_empty() {
            sys::set_hostname(&config.hostname).map_err(at("set hostname"))?;
        }
        // As containerd 2 does: low ports and ping without capabilities, since the network is the pod's own.
        for (name, value) in [
            ("net/ipv4/ip_unprivileged_port_start", "0"),
            ("net/ipv4/ping_group_range", "0 2147483647"),
        ] {
            let _ = fs::write(Path::new("/proc/sys").join(name), value);
        }
    }
    for (name, value) in &config.sysctls {
        let path = if name.contains('/') {
            name.clone()
        } else {
            name.replace('.', "/")
        };
        let escapes = path.split('/').any(|part| part == "..");
        if escapes || path.starts_with('/') {
            return Err(format!("{name} is not a sysctl"));
        }
        fs::write(Path::new("/proc/sys").join(path), value)
            .map_err(at(format!("set sysctl {name} to {value:?}")))?;
    }
    Ok(())
}

/// Keeps the network namespace by a path, and makes the pod's shared memory.
fn mount_pod(config: &SandboxConfig, places: &Places) -> Step<()> {
    if config.network == NamespaceMode::Pod {
        let path = places.netns();
        fs::write(&path, "").map_err(at(format!("make {}", path.display())))?;
        rustix::mount::mount_bind("/proc/self/ns/net", &path)
            .map_err(at("bind network namespace"))?;
    }
    if config.ipc == NamespaceMode::Pod {
        let path = places.shm();
        fs::create_dir(&path).map_err(at(format!("make {}", path.display())))?;
        let size = config.shm_size.unwrap_or(SHM_SIZE).to_string();
        let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NODEV
            | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        let options = [("mode", "1777"), ("size", size.as_str())];
        let mount = rootfs::file_system("tmpfs", &options, attributes)?;
        move_mount(
            &mount,
            c"",
            CWD,
            &path,
            MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
        )
        .map_err(at("mount shared memory"))?;
    }
    Ok(())
}

fn become_daemon(places: &Places) -> Step<()> {
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .map_err(at("open /dev/null"))?;
    let log = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(places.shim_log())
        .map_err(at("open shim.log"))?;
    rustix::stdio::dup2_stdin(&null).map_err(at("set stdin"))?;
    rustix::stdio::dup2_stdout(&log).map_err(at("set stdout"))?;
    rustix::stdio::dup2_stderr(&log).map_err(at("set stderr"))?;
    // Orphans of containers that share the node's PIDs are ours to reap.
    sys::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0).map_err(at("become subreaper"))?;
    let _ = rustix::thread::set_name(c"corten-shim");
    Ok(())
}

fn start_init(group: &Group, places: &Places) -> Step<sys::Child> {
    group.ensure().map_err(|e| e.to_string())?;
    let (ours, theirs) = seqpacket::pair().map_err(at("make socket pair"))?;
    let birthplace = group.birthplace().map_err(at("open cgroup"))?;
    let kinds = libc::CLONE_NEWPID | libc::CLONE_NEWNS;
    // SAFETY: the shim has one thread.
    let child = unsafe { sys::fork(kinds, birthplace.as_ref().map(OwnedFd::as_fd)) }
        .map_err(at("fork the pod's init"))?;
    let Some(child) = child else {
        drop(ours);
        child::run_init(group, places.pivot(), theirs.as_fd());
    };
    drop(theirs);
    match seqpacket::receive::<Report>(ours.as_fd()) {
        Ok(Some((Report::Prepared { .. }, _))) => Ok(child),
        Ok(Some((Report::Failed(failure), _))) => Err(failure.why),
        _ => Err("the pod's init died".to_owned()),
    }
}
