//! A network namespace that a test owns: loopback up, one address and a default route that leads
//! nowhere. It lives as long as its handle or a process in it, and leaves nothing behind.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::os::fd::AsFd;

use crate::eventually::eventually;

/// A handle on a network namespace.
#[derive(Debug)]
pub struct NetworkNamespace {
    file: File,
}

impl NetworkNamespace {
    /// A new namespace with address 10.77.0.2/24.
    pub fn create() -> Result<NetworkNamespace> {
        let file = open_new().context("making a network namespace (are you root?)")?;
        let namespace = NetworkNamespace { file };
        for line in [
            "link set lo up",
            "link add uplink type veth peer name nowhere",
            // Link-local IPv6 routes appear a while after a link is up; a footprint would see them come.
            "link set uplink addrgenmode none",
            "link set nowhere addrgenmode none",
            "address add 10.77.0.2/24 dev uplink",
            "link set uplink up",
            "link set nowhere up",
            "route add default via 10.77.0.1 dev uplink",
        ] {
            namespace.enter(|| ip(line))??;
        }
        Ok(namespace)
    }

    /// Runs `work` on a thread inside the namespace; processes it starts are inside too.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| -> Result<T> {
                move_into_link_name_space(self.file.as_fd(), Some(LinkNameSpaceType::Network))
                    .context("entering a network namespace")?;
                Ok(work())
            });
            match inside.join() {
                Ok(outcome) => outcome,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }
}

/// `unshare` makes the namespace; it stays when its process ends because we hold its file.
fn open_new() -> Result<File> {
    let mut keeper = Command::new("unshare")
        .args(["--net", "cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .context("could not start unshare")?;
    let ours = std::fs::read_link("/proc/self/ns/net")?;
    let theirs = format!("/proc/{}/ns/net", keeper.id());
    let opened = eventually("unshare --net", || {
        if std::fs::read_link(&theirs)? == ours {
            bail!("still in our namespace");
        }
        File::open(Path::new(&theirs)).context("opening the namespace")
    });
    drop(keeper.stdin.take());
    keeper.wait().context("waiting for unshare")?;
    opened
}

fn ip(line: &str) -> Result<()> {
    let output = Command::new("ip")
        .args(line.split(' '))
        .output()
        .context("running ip")?;
    if !output.status.success() {
        bail!("ip {line}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}
