//! The kernel's side of the proxy: one packet filter for each family and the connection table, used on a blocking
//! thread, one change at a time.

use std::sync::Arc;

use corten_dataplane::{Conntrack, Error, Netns, PacketFilter, Result};
use corten_netplan::proxy::{Datagrams, ProxyPlan};
use parking_lot::Mutex;

/// The kernel's objects. Only one change is under way at a time.
#[derive(Debug)]
pub struct Kernel {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    filters: Vec<PacketFilter>,
    connections: Conntrack,
    /// Flows to forget once the filters are in place, of changes that failed half-way too.
    stale: Vec<Datagrams>,
}

impl Kernel {
    /// Opens a filter for each family.
    pub fn open(netns: Option<&Netns>, families: usize) -> Result<Self> {
        let filter = || match netns {
            Some(netns) => PacketFilter::open_in(netns),
            None => PacketFilter::open(),
        };
        let filters = (0..families)
            .map(|_| filter())
            .collect::<Result<Vec<_>>>()?;
        let connections = match netns {
            Some(netns) => Conntrack::open_in(netns)?,
            None => Conntrack::open()?,
        };
        Ok(Kernel {
            state: Arc::new(Mutex::new(State {
                filters,
                connections,
                stale: Vec::new(),
            })),
        })
    }

    /// Makes the kernel what the plan says.
    pub async fn apply(&mut self, plan: ProxyPlan) -> Result<()> {
        let state = self.state.clone();
        let done = tokio::task::spawn_blocking(move || state.lock().apply(plan)).await;
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
    }

    /// Removes the plan's tables.
    pub fn remove(&mut self, plan: &ProxyPlan) -> Result<()> {
        let mut state = self.state.lock();
        state
            .filters
            .iter_mut()
            .zip(&plan.rulesets)
            .try_for_each(|(filter, rules)| filter.remove(rules))
    }
}

impl State {
    fn apply(&mut self, plan: ProxyPlan) -> Result<()> {
        if !plan.datagrams.is_empty() {
            self.stale.push(plan.datagrams);
        }
        for (filter, rules) in self.filters.iter_mut().zip(&plan.rulesets) {
            let change = filter.apply(rules)?;
            tracing::debug!(table = &*rules.table, ?change, "packet filter changed");
        }
        let Some(_) = self.stale.first() else {
            return Ok(());
        };
        let stale = &self.stale;
        let families = plan.rulesets.iter().map(|rules| rules.family);
        let removed = families.map(|family| {
            self.connections.remove(family, |flow| {
                stale.iter().any(|datagrams| datagrams.is_stale(flow))
            })
        });
        let removed: std::result::Result<Vec<usize>, Error> = removed.collect();
        tracing::debug!(
            flows = removed?.iter().sum::<usize>(),
            "stale flows forgotten"
        );
        self.stale.clear();
        Ok(())
    }
}
