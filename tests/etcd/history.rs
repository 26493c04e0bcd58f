//! Concurrent clients write and read few keys while the store's process is killed and started again; what they were
//! told must have an order in which it all happened.

use crate::checker::{Op, What, check};
use crate::process::{Killed, client, free_port, ready};
use crate::requests::Random;
use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use corten_etcd::client::Client;
use corten_etcd::proto::etcdserverpb as pb;
use corten_tests::{corten, eventually};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

const CLIENTS: u64 = 8;
const KEYS: u64 = 4;
const KILLS: usize = 12;

fn start(data: &Path, port: u16) -> Result<Killed> {
    start_at(data, &format!("http://127.0.0.1:{port}"))
}

/// `corten store serve` at a URL.
pub fn start_at(data: &Path, url: &str) -> Result<Killed> {
    let child = Command::new(corten()?)
        .args(["store", "serve", "--data-dir"])
        .arg(data)
        .arg(format!("--listen-client-urls={url}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("starting corten store serve")?;
    Ok(Killed(child))
}

/// What all clients of one history have in common.
pub struct Shared {
    clock: Instant,
    values: AtomicU64,
    acknowledged: AtomicU64,
    stop: AtomicBool,
}

impl Shared {
    pub fn new() -> Arc<Shared> {
        Arc::new(Shared {
            clock: Instant::now(),
            values: AtomicU64::new(0),
            acknowledged: AtomicU64::new(0),
            stop: AtomicBool::new(false),
        })
    }

    pub fn now(&self) -> u64 {
        self.clock.elapsed().as_nanos() as u64
    }

    /// A value that nobody else writes.
    pub fn value(&self) -> u64 {
        self.values.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub fn acknowledge(&self) {
        self.acknowledged.fetch_add(1, Ordering::Relaxed);
    }

    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Waits until so many more writes were acknowledged.
    pub fn more(&self, more: u64) -> Result<()> {
        let wanted = self.acknowledged.load(Ordering::Relaxed) + more;
        eventually("writes are acknowledged", || {
            match self.acknowledged.load(Ordering::Relaxed) {
                enough if enough >= wanted => Ok(()),
                so_far => bail!("{so_far} writes were acknowledged"),
            }
        })
    }
}

/// One client of the etcd face.
pub struct Load {
    pub client: Client,
    pub shared: Arc<Shared>,
}

impl Load {
    pub async fn run(self: Arc<Self>, seed: u64) -> BTreeMap<u64, Vec<Op>> {
        let mut random = Random::new(seed);
        let mut done: BTreeMap<u64, Vec<Op>> = BTreeMap::new();
        while !self.shared.is_stopped() {
            let key = random.below(KEYS);
            let start = self.shared.now();
            let what = match random.one_in(3) {
                true => self.read(key).await,
                false => Some(self.write(key).await),
            };
            let end = match what {
                // Its answer was lost: it may take effect at any time.
                Some(What::Write(_, None)) => u64::MAX,
                _ => self.shared.now(),
            };
            if let Some(what) = what {
                done.entry(key).or_default().push(Op { start, end, what });
            }
        }
        done
    }

    async fn write(&self, key: u64) -> What {
        let value = self.shared.value();
        let put = pb::PutRequest {
            key: name(key),
            value: value.to_string().into(),
            ..Default::default()
        };
        match self.client.put(&put).await {
            Ok(answer) => {
                self.shared.acknowledge();
                What::Write(value, answer.header.map(|h| h.revision))
            }
            Err(_) => {
                // It is being started again.
                let _ = ready(&self.client).await;
                What::Write(value, None)
            }
        }
    }

    async fn read(&self, key: u64) -> Option<What> {
        let range = pb::RangeRequest {
            key: name(key),
            ..Default::default()
        };
        let answer = self.client.range(&range).await.ok()?;
        let kv = answer.kvs.first();
        Some(What::Read {
            value: kv
                .and_then(|kv| std::str::from_utf8(&kv.value).ok()?.parse().ok())
                .unwrap_or(0),
            changed: kv.map_or(0, |kv| kv.mod_revision),
            store: answer.header?.revision,
        })
    }
}

fn name(key: u64) -> Bytes {
    format!("key-{key}").into()
}

/// Every change since the beginning, by key: revision and value.
async fn order(client: &Client) -> Result<BTreeMap<Bytes, Vec<(i64, u64)>>> {
    let now = client
        .range(&pb::RangeRequest {
            key: "x".into(),
            ..Default::default()
        })
        .await?
        .header
        .context("no header")?
        .revision;
    let mut watch = client.stream("/etcdserverpb.Watch/Watch").await?;
    let create = pb::WatchCreateRequest {
        range_end: Bytes::from_static(&[0]),
        start_revision: 1,
        ..Default::default()
    };
    let union = Some(pb::watch_request::RequestUnion::CreateRequest(create));
    watch
        .send(&pb::WatchRequest {
            request_union: union,
        })
        .await?;
    let mut all: BTreeMap<Bytes, Vec<(i64, u64)>> = BTreeMap::new();
    let mut seen = 1;
    while seen < now {
        let response: pb::WatchResponse = watch.next().await?.context("the stream ended")?;
        for kv in response.events.into_iter().filter_map(|event| event.kv) {
            let value = std::str::from_utf8(&kv.value)
                .ok()
                .and_then(|text| text.parse().ok());
            ensure!(
                kv.mod_revision == seen + 1,
                "revision {} follows {seen}",
                kv.mod_revision
            );
            seen = kv.mod_revision;
            all.entry(kv.key)
                .or_default()
                .push((kv.mod_revision, value.unwrap_or(0)));
        }
    }
    Ok(all)
}

pub fn histories_are_linearizable_through_kill_9() -> Result<()> {
    let directory = tempfile::TempDir::new()?;
    let port = free_port()?;
    tokio::runtime::Runtime::new()?.block_on(async {
        let mut process = start(directory.path(), port)?;
        let client = client(&format!("http://127.0.0.1:{port}"))?;
        ready(&client).await?;
        let load = Arc::new(Load {
            client: client.clone(),
            shared: Shared::new(),
        });
        let clients: Vec<_> = (0..CLIENTS)
            .map(|seed| tokio::spawn(load.clone().run(seed + 5)))
            .collect();
        let mut random = Random::new(3);
        for _ in 0..KILLS {
            let (shared, count) = (load.shared.clone(), 20 + random.below(600));
            tokio::task::spawn_blocking(move || shared.more(count)).await??;
            drop(process);
            process = start(directory.path(), port)?;
            ready(&client).await?;
        }
        load.shared.stop();
        let mut ops: BTreeMap<u64, Vec<Op>> = BTreeMap::new();
        for one in clients {
            for (key, mut some) in one.await? {
                ops.entry(key).or_default().append(&mut some);
            }
        }
        judge(&ops, &client).await?;
        drop(process);
        Ok(())
    })
}

/// Whether the histories of all keys fit what the store says happened.
pub async fn judge(ops: &BTreeMap<u64, Vec<Op>>, client: &Client) -> Result<()> {
    let order = order(client).await?;
    let acknowledged: usize = ops
        .values()
        .flatten()
        .filter(|op| matches!(op.what, What::Write(_, Some(_))))
        .count();
    ensure!(
        acknowledged > 100,
        "only {acknowledged} writes were acknowledged"
    );
    for (key, ops) in ops {
        let changes = order.get(&name(*key)).cloned().unwrap_or_default();
        check(ops, &changes).with_context(|| format!("key {key}"))?;
    }
    Ok(())
}
