//! One API server: its store, catalog, typed snapshot, keys and settings. Everything a request needs hangs off here,
//! so a process can hold many of them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use corten_access::admission::PluginSet;
use corten_core::Time;
use corten_store::{Health, Resource, Store};
use tokio::sync::watch;

use crate::access::Access;
use crate::admission::{Configurations, Plugins};
use crate::aggregation::Remotes;
use crate::allocate::Ranges;
use crate::catalog::Catalog;
use crate::connect::NodeConnector;
use crate::custom;
use crate::flow::Flow;
use crate::jwt::TokenKeys;
use crate::metrics::Metrics;
use crate::outbound::Outbound;
use crate::runtime_config::RuntimeConfig;
use crate::spans::Tracing;
use crate::typed::Typed;

/// What a running server was told.
pub(crate) struct Settings {
    /// Issuer of service account tokens.
    pub issuer: String,
    /// Every issuer whose tokens are accepted, the one that signs first.
    pub issuers: Vec<String>,
    /// The longest lifetime of a service account token in seconds; 0 for no bound.
    pub token_seconds_max: i64,
    /// Whether kubelets' tokens live on for clients that do not read them again.
    pub extends_tokens: bool,
    /// Audiences that the API itself accepts.
    pub audiences: Vec<String>,
    /// Where clients reach the server.
    pub advertise: SocketAddr,
    /// `https://host:port`.
    pub external_url: String,
    /// Service addresses and node ports.
    pub ranges: Ranges,
    /// The admission plugins that run.
    pub plugins: PluginSet,
    /// What they are told.
    pub told: Plugins,
    /// Who signs client certificates, PEM.
    pub client_ca: String,
    /// Who signs the front proxy's certificate, PEM.
    pub front_proxy_ca: String,
    /// The pair shown to aggregated servers.
    pub front_proxy: corten_pki::Issued,
    /// Names and values, as `/flagz` shows them.
    pub flags: Vec<(String, String)>,
    /// Which APIs are served.
    pub runtime: RuntimeConfig,
    /// How long a request waits for its turn in its priority level.
    pub queue_wait_max: std::time::Duration,
}

/// The state behind every request.
pub(crate) struct Server {
    pub store: Store,
    pub config: Settings,
    pub typed: Arc<Typed>,
    /// The server as a client of webhooks and other servers.
    pub outbound: Arc<Outbound>,
    /// Webhooks and policies, ready to be asked.
    pub configurations: Configurations,
    pub token_keys: TokenKeys,
    pub access: Access,
    pub metrics: Arc<Metrics>,
    pub connector: Arc<dyn NodeConnector>,
    /// Where spans of requests go; none when nobody wants them.
    pub tracing: Option<Arc<Tracing>>,
    /// Priority and fairness.
    pub flow: Arc<Flow>,
    /// What aggregated servers serve.
    pub aggregated: ArcSwap<Remotes>,
    /// Held while service addresses and ports are chosen and committed.
    pub allocation: tokio::sync::Mutex<()>,
    /// The count of definition changes it was made at, and the catalog.
    catalog: ArcSwap<(u64, Arc<Catalog>)>,
    rebuilding: parking_lot::Mutex<()>,
    bootstrapped: AtomicBool,
    /// When it was made.
    pub started: std::time::Instant,
    stopping: watch::Sender<bool>,
    watches_end: watch::Sender<bool>,
    /// Requests in flight that do not stay open by their nature.
    inflight: watch::Sender<usize>,
}

/// Whether a request stays open as long as its client likes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stays {
    /// Watches, logs, streams.
    Open,
    /// Everything else.
    Briefly,
}

/// A request in flight, counted while it lives.
pub(crate) struct Inside(Arc<Server>);

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.inflight.send_modify(|count| *count -= 1);
    }
}

impl Server {
    pub(crate) fn new(
        store: Store,
        config: Settings,
        token_keys: TokenKeys,
        access: Access,
        metrics: Arc<Metrics>,
        connector: Arc<dyn NodeConnector>,
        tracing: Option<Arc<Tracing>>,
    ) -> Server {
        let queue_wait_max = config.queue_wait_max;
        let catalog = Arc::new(Catalog::built_in(&config.runtime));
        let typed = Arc::new(Typed::new(&store, &catalog, config.runtime.features()));
        let outbound = Arc::new(Outbound::new(typed.clone()));
        if let Some(audit) = &access.audit {
            audit.connect(&outbound);
        }
        Server {
            store,
            config,
            outbound,
            configurations: Configurations::default(),
            typed,
            token_keys,
            access,
            metrics,
            connector,
            tracing,
            flow: Flow::new(random_bits(), queue_wait_max),
            aggregated: ArcSwap::default(),
            allocation: tokio::sync::Mutex::new(()),
            // Definitions found in the store are looked at on first use.
            catalog: ArcSwap::from_pointee((u64::MAX, catalog)),
            rebuilding: parking_lot::Mutex::new(()),
            bootstrapped: AtomicBool::new(false),
            started: std::time::Instant::now(),
            stopping: watch::Sender::new(false),
            watches_end: watch::Sender::new(false),
            inflight: watch::Sender::new(0),
        }
    }

    /// What is served now, custom resources as the newest definitions have them.
    pub(crate) fn catalog(&self) -> Arc<Catalog> {
        let view = self.typed.view();
        let known = self.catalog.load();
        if known.0 == view.definitions {
            return known.1.clone();
        }
        let _one_at_a_time = self.rebuilding.lock();
        let known = self.catalog.load();
        if known.0 == view.definitions {
            return known.1.clone();
        }
        let catalog = Arc::new(custom::catalog(&view, &known.1));
        for served in catalog.stored().filter(|s| s.is_custom()) {
            self.typed.follow(served.clone());
        }
        self.catalog
            .store(Arc::new((view.definitions, catalog.clone())));
        catalog
    }

    /// The group versions that other servers serve.
    pub(crate) fn remotes(&self) -> Arc<Remotes> {
        self.aggregated.load_full()
    }

    /// The wall clock.
    pub(crate) fn now(&self) -> Time {
        wall_clock()
    }

    /// Seconds since the Unix epoch.
    pub(crate) fn unix_seconds(&self) -> i64 {
        self.since_epoch().as_secs() as i64
    }

    /// Time since the Unix epoch.
    pub(crate) fn since_epoch(&self) -> Duration {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
    }

    /// Whether an RFC 3339 time is over; texts that are not times are.
    pub(crate) fn is_past(&self, text: &str) -> bool {
        Time::parse(text).map_or(true, |t| t <= self.now())
    }

    /// Random bits.
    pub(crate) fn random(&self) -> u64 {
        random_bits()
    }

    /// A new random uid (UUID version 4).
    pub(crate) fn uid(&self) -> String {
        random_uid()
    }

    /// `base` and five random characters that spell no words, cut as upstream cuts it.
    pub(crate) fn generated_name(&self, base: &str) -> String {
        const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
        const BASE_MAX: usize = 63 - 5;
        let mut name: String = base.chars().take(BASE_MAX).collect();
        let mut random = self.random();
        for _ in 0..5 {
            name.push(char::from(
                ALPHABET[(random % ALPHABET.len() as u64) as usize],
            ));
            random /= ALPHABET.len() as u64;
        }
        name
    }

    /// Whether the store takes writes.
    pub(crate) fn store_is_open(&self) -> bool {
        matches!(self.store.health(), Health::Writable)
    }

    pub(crate) fn is_bootstrapped(&self) -> bool {
        self.bootstrapped.load(Ordering::Acquire)
    }

    pub(crate) fn set_bootstrapped(&self) {
        self.bootstrapped.store(true, Ordering::Release);
    }

    pub(crate) fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    /// Turns true when the server stops.
    pub(crate) fn stop_signal(&self) -> watch::Receiver<bool> {
        self.stopping.subscribe()
    }

    /// Counts a request whose end a stop waits for.
    pub(crate) fn enter(self: &Arc<Server>, stays: Stays) -> Option<Inside> {
        if stays == Stays::Open {
            return None;
        }
        self.inflight.send_modify(|count| *count += 1);
        Some(Inside(self.clone()))
    }

    /// Returns when no counted request is in flight.
    pub(crate) async fn drained(&self) {
        let _ = self
            .inflight
            .subscribe()
            .wait_for(|count| *count == 0)
            .await;
    }

    /// Turns true when nothing new is taken in and watches are to end.
    pub(crate) fn watch_end(&self) -> watch::Receiver<bool> {
        self.watches_end.subscribe()
    }

    pub(crate) fn close_doors(&self) {
        self.watches_end.send_replace(true);
    }

    pub(crate) fn set_stopping(&self) {
        self.stopping.send_replace(true);
    }

    /// Stored objects as (group, resource, count), for metrics.
    pub(crate) fn object_counts(&self) -> Vec<(String, String, usize)> {
        let all = self.store.snapshot_all();
        let catalog = self.catalog();
        let count = |r: &Resource| {
            let served = catalog.stored_under(r)?;
            Some((
                served.group.clone(),
                served.plural.clone(),
                all.resource(r).len(),
            ))
        };
        all.resources().filter_map(count).collect()
    }
}

/// Returns when a signal has turned true.
pub(crate) async fn signalled(signal: &mut watch::Receiver<bool>) {
    let _ = signal.wait_for(|on| *on).await;
}

fn random_bits() -> u64 {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).expect("the kernel gives randomness");
    u64::from_le_bytes(bytes)
}

/// A random uid (UUID version 4).
pub(crate) fn random_uid() -> String {
    let mut b = [0u8; 16];
    getrandom::fill(&mut b).expect("the kernel gives randomness");
    b[6] = b[6] & 0x0f | 0x40;
    b[8] = b[8] & 0x3f | 0x80;
    let mut out = String::with_capacity(36);
    for (i, byte) in b.iter().enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            out.push('-');
        }
        out.push(char::from(HEX[usize::from(byte >> 4)]));
        out.push(char::from(HEX[usize::from(byte & 15)]));
    }
    out
}

/// The wall clock.
pub(crate) fn wall_clock() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    Time::from_unix(since.unwrap_or_default().as_secs() as i64)
}

const HEX: &[u8; 16] = b"0123456789abcdef";
