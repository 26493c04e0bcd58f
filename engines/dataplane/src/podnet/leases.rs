//! Address leases on disk: one symbolic link per sandbox, named by its id, whose target holds the address and the host
//! ports. Making a link is one atomic system call, so a crash leaves a lease either whole or absent.
//! Addresses are given out in turn: one that was freed comes back as late as possible.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::PathBuf;

use corten_netplan::{Cidr, Protocol};

use super::HostPort;
use crate::{Error, Result};

/// What a sandbox holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    pub ip: Ipv4Addr,
    pub host_ports: Vec<HostPort>,
}

/// The leases of one pod CIDR.
#[derive(Debug)]
pub struct Leases {
    directory: PathBuf,
    cidr: Cidr,
    /// The addresses that pods can have.
    first: u32,
    last: u32,
    next: u32,
    by_sandbox: BTreeMap<String, Lease>,
    by_address: BTreeMap<u32, String>,
}

impl Leases {
    /// Reads the leases in `directory`, which is made if missing. Entries that are no leases are ignored.
    pub fn open(directory: PathBuf, cidr: Cidr, network: u32, size: u32) -> Result<Self> {
        let failed = |attempt, path: &PathBuf| {
            let path = path.clone();
            move |source| Error::Lease {
                attempt,
                path,
                source,
            }
        };
        fs::create_dir_all(&directory).map_err(failed("make the directory of", &directory))?;
        let (first, last) = (network + 2, network + size - 2);
        let mut leases = Leases {
            cidr,
            first,
            last,
            next: first,
            by_sandbox: BTreeMap::new(),
            by_address: BTreeMap::new(),
            directory: directory.clone(),
        };
        let mut newest = (0, 0);
        for entry in fs::read_dir(&directory).map_err(failed("list", &directory))? {
            let entry = entry.map_err(failed("list", &directory))?;
            let Ok(target) = fs::read_link(entry.path()) else {
                continue;
            };
            let (Some(sandbox), Some(lease)) = (
                entry.file_name().to_str().map(str::to_owned),
                parse(&target),
            ) else {
                continue;
            };
            let metadata = entry.metadata().map_err(failed("read", &entry.path()))?;
            let age = (metadata.ctime(), metadata.ctime_nsec());
            if age >= newest {
                newest = age;
                leases.next = u32::from(lease.ip) + 1;
            }
            leases.by_address.insert(lease.ip.into(), sandbox.clone());
            leases.by_sandbox.insert(sandbox, lease);
        }
        Ok(leases)
    }

    /// The lease of a sandbox.
    pub fn get(&self, sandbox: &str) -> Option<&Lease> {
        self.by_sandbox.get(sandbox)
    }

    /// Every sandbox with its lease.
    pub fn iter(&self) -> impl Iterator<Item = (&String, &Lease)> {
        self.by_sandbox.iter()
    }

    /// Gives a sandbox an address, and notes its host ports. One that has a lease with the same ports keeps it.
    pub fn take(&mut self, sandbox: &str, host_ports: &[HostPort]) -> Result<Lease> {
        if sandbox.is_empty() || sandbox.starts_with('.') || sandbox.contains(['/', '\0']) {
            return Err(Error::SandboxId {
                id: sandbox.to_owned(),
            });
        }
        if let Some(lease) = self.by_sandbox.get(sandbox) {
            if lease.host_ports == host_ports {
                return Ok(lease.clone());
            }
            let ip = lease.ip;
            self.release(sandbox)?;
            self.next = ip.into();
        }
        let address = self.free()?;
        let lease = Lease {
            ip: address.into(),
            host_ports: host_ports.to_vec(),
        };
        let path = self.directory.join(sandbox);
        symlink(text(&lease), &path).map_err(|source| Error::Lease {
            attempt: "write",
            path,
            source,
        })?;
        self.next = address + 1;
        self.by_address.insert(address, sandbox.to_owned());
        self.by_sandbox.insert(sandbox.to_owned(), lease.clone());
        Ok(lease)
    }

    /// Frees the address of a sandbox, if it has one.
    pub fn release(&mut self, sandbox: &str) -> Result<()> {
        let Some(lease) = self.by_sandbox.get(sandbox) else {
            return Ok(());
        };
        let path = self.directory.join(sandbox);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(Error::Lease {
                    attempt: "remove",
                    path,
                    source,
                });
            }
            _ => {}
        }
        self.by_address.remove(&lease.ip.into());
        self.by_sandbox.remove(sandbox);
        Ok(())
    }

    fn free(&self) -> Result<u32> {
        let start = if (self.first..=self.last).contains(&self.next) {
            self.next
        } else {
            self.first
        };
        let mut candidates = (start..=self.last).chain(self.first..start);
        candidates
            .find(|address| !self.by_address.contains_key(address))
            .ok_or_else(|| Error::NoFreeAddress {
                cidr: self.cidr.to_string(),
            })
    }
}

/// `10.244.0.5`, then `,<protocol>/<host address or *>/<host port>/<container port>` for each host port.
fn text(lease: &Lease) -> String {
    let mut text = lease.ip.to_string();
    for port in &lease.host_ports {
        let ip = port
            .host_ip
            .map_or_else(|| "*".to_owned(), |ip| ip.to_string());
        text += &format!(
            ",{}/{ip}/{}/{}",
            port.protocol, port.host_port, port.container_port
        );
    }
    text
}

fn parse(target: &std::path::Path) -> Option<Lease> {
    let mut parts = target.to_str()?.split(',');
    let ip = parts.next()?.parse().ok()?;
    let host_ports = parts.map(parse_port).collect::<Option<Vec<_>>>()?;
    Some(Lease { ip, host_ports })
}

fn parse_port(text: &str) -> Option<HostPort> {
    let mut parts = text.split('/');
    let protocol = match parts.next()? {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        "sctp" => Protocol::Sctp,
        _ => return None,
    };
    let host_ip = match parts.next()? {
        "*" => None,
        ip => Some(ip.parse().ok()?),
    };
    let host_port = parts.next()?.parse().ok()?;
    let container_port = parts.next()?.parse().ok()?;
    Some(HostPort {
        protocol,
        host_ip,
        host_port,
        container_port,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(directory: &tempfile::TempDir) -> Leases {
        let cidr = "10.1.0.0/29".parse().unwrap();
        Leases::open(directory.path().join("leases"), cidr, 0x0a01_0000, 8).unwrap()
    }

    #[test]
    fn addresses_are_given_in_turn_and_survive() {
        let directory = tempfile::tempdir().unwrap();
        let mut leases = open(&directory);
        let ip = |leases: &mut Leases, id: &str| leases.take(id, &[]).unwrap().ip.to_string();
        assert_eq!(ip(&mut leases, "a"), "10.1.0.2");
        assert_eq!(ip(&mut leases, "b"), "10.1.0.3");
        assert_eq!(ip(&mut leases, "a"), "10.1.0.2");
        leases.release("a").unwrap();
        leases.release("a").unwrap();
        assert_eq!(ip(&mut leases, "c"), "10.1.0.4");
        // A new owner goes on behind the newest lease.
        let mut leases = open(&directory);
        assert_eq!(leases.get("b").unwrap().ip.to_string(), "10.1.0.3");
        assert_eq!(ip(&mut leases, "d"), "10.1.0.5");
        assert_eq!(ip(&mut leases, "e"), "10.1.0.6");
        assert_eq!(ip(&mut leases, "f"), "10.1.0.2");
        let full = leases.take("g", &[]).unwrap_err();
        assert!(matches!(full, Error::NoFreeAddress { .. }), "{full}");
    }

    #[test]
    fn host_ports_are_part_of_the_lease() {
        let directory = tempfile::tempdir().unwrap();
        let port = |host_ip| HostPort {
            protocol: Protocol::Udp,
            host_ip,
            host_port: 53,
            container_port: 5353,
        };
        let ports = [port(None), port(Some(Ipv4Addr::LOCALHOST))];
        let first = open(&directory).take("a", &ports).unwrap();
        let mut leases = open(&directory);
        assert_eq!(leases.get("a"), Some(&first));
        // Other ports replace the lease but keep the address.
        assert_eq!(leases.take("a", &ports[..1]).unwrap().ip, first.ip);
        assert_eq!(open(&directory).get("a").unwrap().host_ports, ports[..1]);
    }

    #[test]
    fn foreign_files_and_bad_ids_do_no_harm() {
        let directory = tempfile::tempdir().unwrap();
        let mut leases = open(&directory);
        fs::write(directory.path().join("leases/file"), "x").unwrap();
        symlink("elsewhere", directory.path().join("leases/link")).unwrap();
        assert_eq!(open(&directory).iter().count(), 0);
        for bad in ["", "../x", "a/b", ".x", "a\0"] {
            assert!(
                matches!(leases.take(bad, &[]), Err(Error::SandboxId { .. })),
                "{bad:?}"
            );
        }
    }
}
