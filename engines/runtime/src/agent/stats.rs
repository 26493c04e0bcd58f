//! Limits and statistics: straight from the cgroups, without the shims.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use super::{Core, blocking};
use crate::cgroup::Group;
use crate::config::{NamespaceMode, Resources};
use crate::error::{Error, Result};
use crate::records;
use crate::status::{ContainerId, ContainerState, InterfaceStats, Stats};

fn read(group: &Group, writable_layer: Option<PathBuf>) -> Stats {
    let (cpu, memory, pids) = group.stats();
    Stats {
        at: SystemTime::now(),
        cpu,
        memory,
        pids,
        network: Vec::new(),
        writable_layer,
    }
}

/// Interfaces in the text of /proc/<pid>/net/dev: after the name, received bytes, packets, errors and five more,
/// then the same sent.
fn interfaces(text: &str) -> Vec<InterfaceStats> {
    let parse = |line: &str| {
        let (name, numbers) = line.split_once(':')?;
        let numbers: Vec<u64> = numbers
            .split_whitespace()
            .filter_map(|n| n.parse().ok())
            .collect();
        let at = |index: usize| numbers.get(index).copied();
        Some(InterfaceStats {
            name: name.trim().to_owned(),
            received_bytes: at(0)?,
            received_errors: at(2)?,
            sent_bytes: at(8)?,
            sent_errors: at(10)?,
        })
    };
    text.lines()
        .filter_map(parse)
        .filter(|interface| interface.name != "lo")
        .collect()
}

impl Core {
    pub(super) async fn container_stats(&self, id: &str) -> Result<Stats> {
        let group = self.container_group(id)?;
        let layer = self.state().places_of(id)?.upper(id);
        Ok(blocking(move || read(&group, Some(layer))).await)
    }

    pub(super) async fn sandbox_stats(&self, id: &str) -> Result<Stats> {
        let (group, shim) = {
            let mut state = self.state();
            let sandbox = state.sandbox(id)?;
            let own = sandbox.record.config.network == NamespaceMode::Pod;
            (
                self.cgroups.group(&sandbox.record.cgroup),
                sandbox.shim.filter(|_| own),
            )
        };
        Ok(blocking(move || {
            let mut stats = read(&group, None);
            if let Some(pid) = shim {
                let text = std::fs::read_to_string(format!("/proc/{pid}/net/dev"));
                stats.network = interfaces(&text.unwrap_or_default());
            }
            stats
        })
        .await)
    }

    pub(super) async fn list_stats(&self) -> Result<BTreeMap<ContainerId, Stats>> {
        let running: Vec<String> = {
            let state = self.state();
            let running = state
                .containers
                .values()
                .filter(|c| c.state() == ContainerState::Running);
            running
                .map(|container| container.record.id.clone())
                .collect()
        };
        let mut work = Vec::new();
        for id in running {
            // One that was removed meanwhile is no reason to fail for the others.
            let layer = self.state().places_of(&id).map(|places| places.upper(&id));
            if let (Ok(group), Ok(layer)) = (self.container_group(&id), layer) {
                work.push((ContainerId(id), group, layer));
            }
        }
        let all = move || {
            work.into_iter()
                .map(|(id, group, layer)| (id, read(&group, Some(layer))))
                .collect()
        };
        Ok(blocking(all).await)
    }

    pub(super) async fn update_container(
        self: Arc<Self>,
        id: String,
        resources: Resources,
    ) -> Result<()> {
        let group = self.container_group(&id)?;
        let (places, record) = {
            let mut state = self.state();
            (state.places_of(&id)?, state.container(&id)?.record.clone())
        };
        let mut record = (*record).clone();
        merge(&mut record.config.resources, &resources);
        let (path, written) = (places.container(&id), record.clone());
        let object = id.clone();
        blocking(move || {
            group
                .apply(&resources)
                .map_err(Error::io("update limits of container", object))?;
            records::write(&path, &written)
        })
        .await?;
        self.state().container(&id)?.record = Arc::new(record);
        Ok(())
    }

    pub(super) async fn update_sandbox(&self, id: &str, resources: Resources) -> Result<()> {
        let group = self.cgroups.group(&self.state().sandbox(id)?.record.cgroup);
        let object = id.to_owned();
        let apply = move || group.apply(&resources);
        blocking(apply)
            .await
            .map_err(Error::io("update limits of sandbox", object))
    }

    pub(super) async fn set_group(&self, below: &str, resources: Resources) -> Result<()> {
        if below.split('/').any(|part| part == "..") {
            let why = "cgroup must be a path below the parent".to_owned();
            return Err(Error::Invalid {
                object: format!("cgroup {below}"),
                why,
            });
        }
        let group = self.group(below);
        let apply = move || group.ensure().and_then(|()| group.apply(&resources));
        blocking(apply)
            .await
            .map_err(Error::io("set limits of cgroup", below))
    }
}

/// Overwrites the limits that are set.
fn merge(old: &mut Resources, new: &Resources) {
    old.cpu_shares = new.cpu_shares.or(old.cpu_shares);
    old.cpu_quota = new.cpu_quota.or(old.cpu_quota);
    old.cpu_period = new.cpu_period.or(old.cpu_period);
    old.memory_limit = new.memory_limit.or(old.memory_limit);
    old.memory_swap_limit = new.memory_swap_limit.or(old.memory_swap_limit);
    old.pids_limit = new.pids_limit.or(old.pids_limit);
    for (old, new) in [
        (&mut old.cpuset_cpus, &new.cpuset_cpus),
        (&mut old.cpuset_mems, &new.cpuset_mems),
    ] {
        if !new.is_empty() {
            old.clone_from(new);
        }
    }
    old.hugepage_limits.extend(new.hugepage_limits.clone());
    old.unified.extend(new.unified.clone());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traffic_is_read() {
        let text = "Inter-|   Receive  |  Transmit\n face |bytes packets errs drop fifo frame compressed multicast|bytes\n\
            lo:  1 1 0 0 0 0 0 0  1 1 0 0 0 0 0 0\n  eth0: 100 2 3 0 0 0 0 0 200 4 5 0 0 0 0 0\n";
        let expected = InterfaceStats {
            name: "eth0".into(),
            received_bytes: 100,
            received_errors: 3,
            sent_bytes: 200,
            sent_errors: 5,
        };
        assert_eq!(interfaces(text), [expected]);
    }
}
