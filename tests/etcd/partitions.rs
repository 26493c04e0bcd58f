//! Clients on several machines write and read few keys while the network between them parts and heals; what they were
//! told must have an order in which it all happened: over HTTP with API servers cut from etcd, and over the etcd face.

use crate::checker::{Op, What, check};
use crate::history::{Load, Shared, judge, start_at};
use crate::network::{Network, Plug};
use crate::ours::{Corten, MAPS, map};
use crate::process::{client, etcd_with, ready};
use crate::requests::Random;
use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use corten_etcd::client::Client;
use corten_etcd::proto::etcdserverpb as pb;
use corten_tests::{ApiClient, eventually};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

const KEYS: u64 = 3;
const FRONT: &str = "/registry/configmaps/default/key-";

type History = BTreeMap<u64, Vec<Op>>;

fn runtime() -> Result<Runtime> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}

/// One client of both API servers.
struct Asker<'a> {
    servers: &'a [Corten; 2],
    connections: [Option<ApiClient>; 2],
    shared: &'a Shared,
    /// How often each server did not answer as it should.
    failed: &'a [AtomicU64; 2],
    succeeded: &'a [AtomicU64; 2],
}

impl Asker<'_> {
    fn ask(
        &mut self,
        at: usize,
        method: &str,
        path: &str,
        body: &[u8],
    ) -> Result<serde_json::Value> {
        let mut connection = match self.connections[at].take() {
            Some(connection) => connection,
            None => self.servers[at].api()?,
        };
        let answer = connection.request(method, path, body)?;
        self.connections[at] = Some(connection);
        ensure!(answer.status < 300, "{method} {path}: {}", answer.status);
        answer.json()
    }

    fn once(&mut self, at: usize, key: u64, kind: u64) -> Result<What> {
        let path = format!("{MAPS}/key-{key}");
        match kind {
            0 => {
                let object = self.ask(at, "GET", &path, b"")?;
                let (value, changed) = seen(&object)?;
                Ok(What::Get { value, changed })
            }
            1 => {
                let query = format!("{MAPS}?fieldSelector=metadata.name=key-{key}");
                let list = self.ask(at, "GET", &query, b"")?;
                let store = revision(&list)?;
                let (value, changed) = seen(&list["items"][0])?;
                Ok(What::Read {
                    value,
                    changed,
                    store,
                })
            }
            _ => {
                let value = self.shared.value();
                let body = map(&format!("key-{key}"), &format!("value-{value}-"));
                let written = self.ask(at, "PUT", &path, &body).and_then(|o| revision(&o));
                Ok(What::Write(value, written.ok()))
            }
        }
    }

    fn run(mut self, seed: u64) -> History {
        let mut random = Random::new(seed);
        let mut done = History::new();
        while !self.shared.is_stopped() {
            let (at, key, kind) = (
                random.below(2) as usize,
                random.below(KEYS),
                random.below(4),
            );
            let start = self.shared.now();
            let what = self.once(at, key, kind);
            let mut end = self.shared.now();
            match &what {
                Err(_) | Ok(What::Write(_, None)) => {
                    self.connections[at] = None;
                    self.failed[at].fetch_add(1, Ordering::Relaxed);
                    // Its answer was lost: it may take effect at any time.
                    end = u64::MAX;
                }
                Ok(What::Write(..)) => {
                    self.shared.acknowledge();
                    self.succeeded[at].fetch_add(1, Ordering::Relaxed);
                }
                Ok(_) => {}
            }
            if let Ok(what) = what {
                done.entry(key).or_default().push(Op { start, end, what });
            }
        }
        done
    }
}

fn revision(object: &serde_json::Value) -> Result<i64> {
    let text = object["metadata"]["resourceVersion"].as_str();
    Ok(text.context("no revision")?.parse()?)
}

fn seen(object: &serde_json::Value) -> Result<(u64, i64)> {
    let value = object["data"]["v"].as_str().context("no value")?;
    Ok((
        number(value.as_bytes()).context("no number")?,
        revision(object)?,
    ))
}

/// The number in `value-N-`, wherever it stands.
fn number(bytes: &[u8]) -> Option<u64> {
    let front = b"value-";
    let at = bytes.windows(front.len()).position(|w| w == front)? + front.len();
    let digits: Vec<u8> = bytes[at..]
        .iter()
        .copied()
        .take_while(u8::is_ascii_digit)
        .collect();
    std::str::from_utf8(&digits).ok()?.parse().ok()
}

/// Every change of the keys, up to the last one of `sentinel`.
async fn order(client: &Client, sentinel: &str) -> Result<BTreeMap<Bytes, Vec<(i64, u64)>>> {
    let mut watch = client.watch().await?;
    watch
        .create_as(pb::WatchCreateRequest {
            key: FRONT.into(),
            range_end: FRONT.replace("key-", "key.").into(),
            start_revision: 1,
            ..Default::default()
        })
        .await?;
    let mut all: BTreeMap<Bytes, Vec<(i64, u64)>> = BTreeMap::new();
    loop {
        let response = watch.next().await?.context("the watch ended")?;
        ensure!(!response.canceled, "the watch was cancelled");
        for kv in response.events.into_iter().filter_map(|event| event.kv) {
            if kv.key.ends_with(sentinel.as_bytes()) {
                return Ok(all);
            }
            let value = number(&kv.value).unwrap_or(0);
            all.entry(kv.key)
                .or_default()
                .push((kv.mod_revision, value));
        }
    }
}

/// Two API servers on one etcd, five machines.
fn servers(network: &Network, etcd: &str) -> Result<[Corten; 2]> {
    let start = |at: usize| {
        let machine = &network.machines[at];
        machine.enter(|| {
            let flags = [
                format!("--bind-address={}", machine.address),
                "--api-port=6443".to_owned(),
                "--etcd-compaction-interval=0".to_owned(),
            ];
            Corten::start_with(etcd, &flags)
        })
    };
    let servers = [start(1)?, start(2)?];
    // Each knows of the other: both are endpoints of the service that stands for them.
    network.machines[1].enter(|| {
        eventually("both servers are endpoints", || {
            let line = "get endpointslices kubernetes -o jsonpath={.endpoints[*].addresses[*]}";
            let said = servers[0].kubectl(line, "")?;
            ensure!(said == "10.99.0.2 10.99.0.3", "{said}");
            Ok(())
        })
    })?;
    Ok(servers)
}

/// Cuts one server from etcd, or both, until that is noticed; the other one goes on meanwhile.
fn part(
    network: &Network,
    shared: &Shared,
    (failed, succeeded): (&[AtomicU64; 2], &[AtomicU64; 2]),
) -> Result<()> {
    let etcd = &network.machines[0];
    let rounds: [&[usize]; 4] = [&[0], &[1], &[0, 1], &[0]];
    for cut in rounds {
        shared.more(20)?;
        for at in cut {
            network.machines[1 + at].cut_from(etcd)?;
        }
        let past = |counters: &[AtomicU64; 2], at: usize, count: u64| {
            let wanted = counters[at].load(Ordering::Relaxed) + count;
            eventually("it is noticed", || {
                let now = counters[at].load(Ordering::Relaxed);
                if now < wanted {
                    bail!("{now} of {wanted}");
                }
                Ok(())
            })
        };
        for at in cut {
            past(failed, *at, 1)?;
        }
        for at in cut {
            network.machines[1 + at].heal()?;
        }
        for at in 0..2 {
            past(succeeded, at, 5)?;
        }
    }
    Ok(())
}

pub fn histories_over_http_are_linearizable_through_partitions() -> Result<()> {
    let network = Network::new(5)?;
    let directory = TempDir::new()?;
    let etcd = format!("http://{}:2379", network.machines[0].address);
    let _etcd = network.machines[0].enter(|| {
        let flags = ["--snapshot-count=100000".to_owned()];
        let process = etcd_with(directory.path(), &etcd, 2380, &flags)?;
        runtime()?.block_on(ready(&client(&etcd)?))?;
        Ok(process)
    })?;
    let servers = servers(&network, &etcd)?;
    network.machines[3].enter(|| {
        let mut api = servers[0].api()?;
        (0..KEYS).try_for_each(|key| {
            // No client writes it: theirs count from one.
            let first = format!("value-{}-", u64::from(u32::MAX) + key);
            let body = map(&format!("key-{key}"), &first);
            let status = api.request("POST", MAPS, &body)?.status;
            ensure!(status == 201, "create: {status}");
            Ok(())
        })
    })?;
    let shared = Shared::new();
    let failed = [AtomicU64::new(0), AtomicU64::new(0)];
    let succeeded = [AtomicU64::new(0), AtomicU64::new(0)];
    let histories = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..6u64)
            .map(|seed| {
                let machine = &network.machines[3 + seed as usize % 2];
                let asker = Asker {
                    servers: &servers,
                    connections: [None, None],
                    shared: &shared,
                    failed: &failed,
                    succeeded: &succeeded,
                };
                scope.spawn(move || machine.enter(|| Ok(asker.run(seed + 11))))
            })
            .collect();
        let parted = part(&network, &shared, (&failed, &succeeded));
        shared.stop();
        let histories: Result<Vec<History>> = clients
            .into_iter()
            .map(|one| one.join().unwrap_or_else(|_| bail!("a client failed")))
            .collect();
        parted.and(histories)
    })?;
    let changes = network.machines[0].enter(|| {
        let mut api = servers[1].api()?;
        let status = api.request("POST", MAPS, &map("key-z", "end"))?.status;
        ensure!(status == 201, "create: {status}");
        runtime()?.block_on(order(&client(&etcd)?, "key-z"))
    })?;
    let mut ops = History::new();
    for history in histories {
        for (key, mut some) in history {
            ops.entry(key).or_default().append(&mut some);
        }
    }
    for (key, ops) in &ops {
        let key = format!("{FRONT}{key}");
        let changes = changes.get(key.as_bytes()).cloned().unwrap_or_default();
        check(ops, &changes).with_context(|| key)?;
    }
    Ok(())
}

pub fn histories_of_the_face_are_linearizable_through_partitions() -> Result<()> {
    let network = Network::new(3)?;
    let directory = TempDir::new()?;
    let url = format!("http://{}:2379", network.machines[0].address);
    let _face = network.machines[0].enter(|| {
        let process = start_at(directory.path(), &url)?;
        runtime()?.block_on(ready(&client(&url)?))?;
        Ok(process)
    })?;
    let shared = Shared::new();
    let histories = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..6u64)
            .map(|seed| {
                let machine = &network.machines[1 + seed as usize % 2];
                let (shared, url) = (shared.clone(), url.clone());
                scope.spawn(move || {
                    machine.enter(|| {
                        let client = client(&url)?;
                        let load = Arc::new(Load { client, shared });
                        Ok(runtime()?.block_on(load.run(seed + 5)))
                    })
                })
            })
            .collect();
        let parted = (0..4).try_for_each(|round| {
            shared.more(50)?;
            let unplugged = 1 + round % 2;
            network.plug(unplugged, Plug::Out)?;
            // The other machine goes on.
            shared.more(200)?;
            network.plug(unplugged, Plug::In)
        });
        shared.stop();
        let histories: Result<Vec<History>> = clients
            .into_iter()
            .map(|one| one.join().unwrap_or_else(|_| bail!("a client failed")))
            .collect();
        parted.and(histories)
    })?;
    let mut ops = History::new();
    for history in histories {
        for (key, mut some) in history {
            ops.entry(key).or_default().append(&mut some);
        }
    }
    network.machines[0].enter(|| runtime()?.block_on(async { judge(&ops, &client(&url)?).await }))
}
