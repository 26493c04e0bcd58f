//! Network namespaces on one bridge, and ways to part them. They end with their keeper.

use crate::process::Killed;
use anyhow::{Context, Result, bail, ensure};
use corten_tests::eventually;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::os::fd::AsFd;
use std::process::{Command, Stdio};

/// One machine of the network.
pub struct Machine {
    keeper: Killed,
    file: File,
    pub address: String,
}

/// A bridge and its machines, `10.99.0.1` and so on.
pub struct Network {
    hub: Machine,
    pub machines: Vec<Machine>,
}

impl Machine {
    fn new(address: String) -> Result<Machine> {
        let keeper = Command::new("unshare")
            .args(["--net", "cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .context("could not start unshare (are you root?)")?;
        let keeper = Killed(keeper);
        let ours = std::fs::read_link("/proc/self/ns/net")?;
        let theirs = format!("/proc/{}/ns/net", keeper.0.id());
        let file = eventually("unshare --net", || {
            ensure!(
                std::fs::read_link(&theirs)? != ours,
                "still in our namespace"
            );
            Ok(File::open(&theirs)?)
        })?;
        Ok(Machine {
            keeper,
            file,
            address,
        })
    }

    /// Runs `work` on a thread inside; processes and threads that it starts are inside too.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                move_into_link_name_space(self.file.as_fd(), Some(LinkNameSpaceType::Network))
                    .context("entering a network namespace")?;
                work()
            });
            match inside.join() {
                Ok(outcome) => outcome,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    fn run(&self, line: &str) -> Result<()> {
        self.enter(|| {
            let mut words = line.split(' ');
            let program = words.next().unwrap_or_default();
            let output = Command::new(program).args(words).output()?;
            if !output.status.success() {
                bail!("{line}: {}", String::from_utf8_lossy(&output.stderr));
            }
            Ok(())
        })
    }

    /// Drops every packet from and to an address, without a word.
    pub fn cut_from(&self, other: &Machine) -> Result<()> {
        let address = &other.address;
        for line in [
            "nft add table inet cut".to_owned(),
            "nft add chain inet cut out { type filter hook output priority 0 ; }".to_owned(),
            "nft add chain inet cut in { type filter hook input priority 0 ; }".to_owned(),
            format!("nft add rule inet cut out ip daddr {address} drop"),
            format!("nft add rule inet cut in ip saddr {address} drop"),
        ] {
            self.run(&line)?;
        }
        Ok(())
    }

    /// Ends every cut that was made here.
    pub fn heal(&self) -> Result<()> {
        self.run("nft delete table inet cut")
    }
}

impl Network {
    pub fn new(count: usize) -> Result<Network> {
        let hub = Machine::new("10.99.0.254".to_owned())?;
        hub.run("ip link add bridge type bridge")?;
        hub.run("ip link set bridge up")?;
        let mut machines = Vec::new();
        for number in 1..=count {
            let machine = Machine::new(format!("10.99.0.{number}"))?;
            let process = machine.keeper.0.id();
            hub.run(&format!(
                "ip link add port{number} type veth peer name uplink netns {process}"
            ))?;
            hub.run(&format!("ip link set port{number} master bridge up"))?;
            machine.run("ip link set lo up")?;
            machine.run(&format!("ip address add {}/24 dev uplink", machine.address))?;
            machine.run("ip link set uplink up")?;
            machines.push(machine);
        }
        Ok(Network { hub, machines })
    }

    /// Unplugs a machine, or plugs it in again.
    pub fn plug(&self, machine: usize, state: Plug) -> Result<()> {
        let state = match state {
            Plug::In => "up",
            Plug::Out => "down",
        };
        self.hub
            .run(&format!("ip link set port{} {state}", machine + 1))
    }
}

/// Whether a machine's cable is in.
#[derive(Clone, Copy, Debug)]
pub enum Plug {
    In,
    Out,
}
