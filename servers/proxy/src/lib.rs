//! The node's proxy: keeps the packet filter equal to the plan made of Services and EndpointSlices, answers health
//! checks of load balancers, and forgets datagram flows that lead nowhere.
//! Invariant: it acts on every snapshot it is told of, at once and on nothing else; a failed change is retried with the
//! snapshot of that moment. The rules are `corten-netplan`'s, the kernel is `corten-dataplane`'s.

mod health;
mod kernel;
mod source;

use std::net::SocketAddr;
use std::time::Duration;

use corten_dataplane::Netns;
use corten_meta::Snapshot;
use corten_netplan::proxy::{Node, ProxyConfig, ProxyPlanner};
use tokio::time::Instant;

use health::HealthChecks;
use kernel::Kernel;

pub use health::ProxyHealth;
pub use source::{Source, follow, watched};

const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(30);

/// What a proxy is to do, and where.
#[derive(Debug, Clone)]
pub struct ProxyOptions {
    pub config: ProxyConfig,
    /// The node by name, with the addresses to assume until its object says others.
    pub node: Node,
    /// The network namespace to work in; `None` for the process's own.
    pub netns: Option<Netns>,
    /// Where to answer `/healthz` and `/livez`; `None` for nowhere.
    pub healthz: Option<SocketAddr>,
}

/// A failure to start.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    #[error("cannot use the packet filter: {0}")]
    Kernel(#[from] corten_dataplane::Error),
    #[error("cannot listen on {address} for health checks: {source}")]
    Listen {
        address: SocketAddr,
        source: std::io::Error,
    },
}

/// A proxy that is ready to run.
#[derive(Debug)]
pub struct Proxy {
    planner: ProxyPlanner,
    kernel: Kernel,
    checks: HealthChecks,
    health: ProxyHealth,
}

impl Proxy {
    /// Opens the kernel's side and listens for health checks. The packet filter is not touched yet.
    pub async fn start(options: ProxyOptions) -> Result<Self, ProxyError> {
        let ProxyOptions {
            config,
            node,
            netns,
            healthz,
        } = options;
        let kernel = Kernel::open(netns.as_ref(), config.families.len())?;
        let health = ProxyHealth::default();
        let checks = HealthChecks::new(netns, health.clone());
        if let Some(address) = healthz {
            health::serve_proxy(checks.listen(address).await?, health.clone());
        }
        Ok(Proxy {
            planner: ProxyPlanner::new(config, node),
            kernel,
            checks,
            health,
        })
    }

    /// What the proxy says about itself.
    pub fn health(&self) -> ProxyHealth {
        self.health.clone()
    }

    /// Follows the source until it ends. The rules stay in place then: connections go on without a proxy.
    pub async fn run(mut self, mut source: impl Source) {
        let mut retry: Option<(Instant, Duration)> = None;
        loop {
            if let Some(snapshot) = source.snapshot() {
                retry = match self.apply(&snapshot).await {
                    Ok(()) => None,
                    Err(_) => {
                        let wait = retry.map_or(RETRY_MIN, |(_, wait)| (wait * 2).min(RETRY_MAX));
                        Some((Instant::now() + wait, wait))
                    }
                };
            }
            let retry_at = async {
                match retry {
                    Some((at, _)) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                more = source.changed() => if !more { return },
                () = retry_at => {}
            }
        }
    }

    /// Makes the kernel what the snapshot asks for.
    async fn apply(&mut self, snapshot: &Snapshot) -> Result<(), ProxyError> {
        self.planner.observe(snapshot);
        let plan = self.planner.plan();
        self.checks.set(&plan.health).await;
        let applied = self.kernel.apply(plan).await;
        if let Err(error) = &applied {
            tracing::error!(%error, "the packet filter could not be changed; trying again");
        }
        self.health.note(&applied);
        Ok(applied?)
    }

    /// Removes what proxies of this configuration put into the kernel.
    pub fn reset(options: &ProxyOptions) -> Result<(), ProxyError> {
        let mut planner = ProxyPlanner::new(options.config.clone(), options.node.clone());
        let mut kernel = Kernel::open(options.netns.as_ref(), options.config.families.len())?;
        Ok(kernel.remove(&planner.plan())?)
    }
}
