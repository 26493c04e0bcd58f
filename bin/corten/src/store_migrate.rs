//! `corten store migrate`: a state from one kind of store to another, and a comparison of both afterwards. The kinds:
//! an etcd (a URL), the store of `corten store serve` (its directory), a stopped cluster's embedded store (its data
//! directory). The target has to be empty.

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use clap::Args;
use corten_etcd::client::{Client, Config, TlsFiles};
use corten_etcd::mvcc::{Command, Parts, Position, Record, Store, StoreOptions};
use corten_etcd::proto::etcdserverpb as pb;
use corten_etcd::proto::etcdserverpb::request_op::Request;
use corten_store::Revision;
use corten_store::engine::fjall::FjallEngine;
use corten_store::raw::RawStore;
use corten_store::remote::RemoteEntry;
use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Keys of one request.
const PAGE: usize = 100;
/// Bytes of one request.
const PAGE_BYTES: usize = 1 << 20;

/// Flags of `corten store migrate`.
#[derive(Clone, Debug, Args)]
pub struct Migrate {
    /// Where the state is: an etcd's URL, a directory of `corten store serve`, or a stopped cluster's data directory.
    #[arg(long, value_name = "DIR|URL")]
    pub from: String,
    /// Where it goes, of another or the same kind; it has to be empty.
    #[arg(long, value_name = "DIR|URL")]
    pub to: String,
    /// Make `--to DIR` a store for `corten store serve` instead of a cluster's data directory.
    #[arg(long)]
    pub to_served: bool,
    /// What keys begin with.
    #[arg(long, value_name = "PATH", default_value = "/registry/")]
    pub prefix: String,
    /// The authority that etcd's certificates are from.
    #[arg(long, value_name = "FILE")]
    pub etcd_cafile: Option<PathBuf>,
    /// The certificate to show to etcd.
    #[arg(long, value_name = "FILE")]
    pub etcd_certfile: Option<PathBuf>,
    /// Its key.
    #[arg(long, value_name = "FILE")]
    pub etcd_keyfile: Option<PathBuf>,
}

/// A state: its revision, and its keys in the order in which they were last written.
struct State {
    revision: i64,
    keys: Vec<Kept>,
}

#[derive(Clone)]
struct Kept {
    key: Bytes,
    value: Bytes,
    create: i64,
    modified: i64,
    version: i64,
}

impl State {
    fn new(revision: i64, mut keys: Vec<Kept>) -> State {
        keys.sort_by(|a, b| (a.modified, &a.key).cmp(&(b.modified, &b.key)));
        State { revision, keys }
    }

    fn values(&self) -> BTreeMap<&Bytes, &Bytes> {
        self.keys
            .iter()
            .map(|kept| (&kept.key, &kept.value))
            .collect()
    }
}

/// Copies and compares.
pub async fn run(flags: Migrate) -> Result<()> {
    let state = read(&flags, &flags.from)
        .await
        .with_context(|| format!("cannot read {}", flags.from))?;
    ensure!(
        !state.keys.is_empty(),
        "{} holds no key that begins with {}",
        flags.from,
        flags.prefix
    );
    let preserved = write(&flags, &state)
        .await
        .with_context(|| format!("cannot write {}", flags.to))?;
    let seen = read(&flags, &flags.to)
        .await
        .with_context(|| format!("cannot read {} again", flags.to))?;
    ensure!(
        seen.values() == state.values(),
        "{} does not hold what {} does: do not use it",
        flags.to,
        flags.from
    );
    println!(
        "{} keys copied and compared; revision {} there, {} here",
        seen.keys.len(),
        seen.revision,
        state.revision
    );
    if !preserved {
        println!(
            "an etcd counts its own revisions: restart what watches this state, so that it lists anew"
        );
    }
    Ok(())
}

fn client(flags: &Migrate, url: &str) -> Result<Client> {
    Ok(Client::new(&Config {
        endpoints: url.split(',').map(str::to_owned).collect(),
        tls: TlsFiles {
            ca: flags.etcd_cafile.clone(),
            certificate: flags.etcd_certfile.clone(),
            key: flags.etcd_keyfile.clone(),
        },
    })?)
}

fn is_url(place: &str) -> bool {
    place.contains("://")
}

/// The embedded store of a cluster's data directory.
fn embedded(place: &str) -> PathBuf {
    Path::new(place).join("store")
}

async fn read(flags: &Migrate, place: &str) -> Result<State> {
    if is_url(place) {
        return read_etcd(&client(flags, place)?, &flags.prefix).await;
    }
    let (place, prefix) = (place.to_owned(), flags.prefix.clone());
    tokio::task::spawn_blocking(move || match embedded(&place).is_dir() {
        true => read_embedded(&embedded(&place), prefix.as_bytes()),
        false => read_served(Path::new(&place), prefix.as_bytes()),
    })
    .await?
}

async fn read_etcd(client: &Client, prefix: &str) -> Result<State> {
    let mut end = prefix.as_bytes().to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    let mut start = Bytes::copy_from_slice(prefix.as_bytes());
    let mut revision = 0;
    let mut keys = Vec::new();
    loop {
        let request = pb::RangeRequest {
            key: start.clone(),
            range_end: end.clone().into(),
            limit: 1000,
            revision,
            ..Default::default()
        };
        let response = client.range(&request).await?;
        if revision == 0 {
            revision = response.header.map_or(0, |header| header.revision);
        }
        let last = response.kvs.last().map(|kv| kv.key.clone());
        keys.extend(response.kvs.into_iter().map(|kv| Kept {
            key: Bytes::copy_from_slice(&kv.key),
            value: Bytes::copy_from_slice(&kv.value),
            create: kv.create_revision,
            modified: kv.mod_revision,
            version: kv.version,
        }));
        match last.filter(|_| response.more) {
            Some(last) => start = [&last[..], &[0]].concat().into(),
            None => return Ok(State::new(revision, keys)),
        }
    }
}

fn read_served(directory: &Path, prefix: &[u8]) -> Result<State> {
    ensure!(directory.is_dir(), "there is no such directory");
    let store = Store::open(StoreOptions::new(directory.to_owned()))?;
    let (revision, records) = store.current();
    let keys = records
        .iter()
        .filter(|record| record.key().starts_with(prefix))
        .map(|record| Kept {
            key: Bytes::copy_from_slice(record.key()),
            value: Bytes::copy_from_slice(record.value()),
            create: record.create(),
            modified: record.main(),
            version: record.version(),
        });
    let state = State::new(revision, keys.collect());
    store.close();
    Ok(state)
}

fn read_embedded(directory: &Path, prefix: &[u8]) -> Result<State> {
    let store = corten_store::Store::open(RawStore::options(FjallEngine::open(directory)?))?;
    let all = store.snapshot_all();
    let mut keys = Vec::new();
    for resource in all.resources() {
        for entry in all.resource(resource).iter() {
            keys.push(Kept {
                key: entry.key().bytes().to_vec().into(),
                value: entry.stored().clone(),
                create: entry.create_revision().0 as i64,
                modified: entry.mod_revision().0 as i64,
                version: entry.version() as i64,
            });
        }
    }
    keys.retain(|kept: &Kept| kept.key.starts_with(prefix));
    let state = State::new(all.revision().0 as i64, keys);
    store.close();
    Ok(state)
}

/// Writes everything; answers whether revisions are the same there.
async fn write(flags: &Migrate, state: &State) -> Result<bool> {
    if is_url(&flags.to) {
        write_etcd(&client(flags, &flags.to)?, &flags.prefix, state).await?;
        return Ok(false);
    }
    match flags.to_served {
        true => write_served(Path::new(&flags.to), state).await?,
        false => write_embedded(&embedded(&flags.to), state)?,
    }
    Ok(true)
}

async fn write_etcd(client: &Client, prefix: &str, state: &State) -> Result<()> {
    if !read_etcd(client, prefix).await?.keys.is_empty() {
        bail!("it already holds keys that begin with {prefix}");
    }
    let mut request = pb::TxnRequest::default();
    let mut bytes = 0;
    for kept in &state.keys {
        let put = pb::PutRequest {
            key: kept.key.clone(),
            value: kept.value.clone(),
            ..Default::default()
        };
        let length = kept.key.len() + kept.value.len();
        if request.success.len() == PAGE || bytes + length > PAGE_BYTES {
            client.txn(&std::mem::take(&mut request)).await?;
            bytes = 0;
        }
        bytes += length;
        request.success.push(pb::RequestOp {
            request: Some(Request::RequestPut(put)),
        });
    }
    client.txn(&request).await?;
    Ok(())
}

async fn write_served(directory: &Path, state: &State) -> Result<()> {
    let store = Store::open(StoreOptions::new(directory.to_owned()))?;
    ensure!(store.revision() == 1, "its store is not empty");
    let mut records: Vec<Arc<Record>> = Vec::with_capacity(state.keys.len());
    for kept in &state.keys {
        let sub = match records.last() {
            Some(last) if last.main() == kept.modified => last.position().sub + 1,
            _ => 0,
        };
        let parts = Parts {
            key: &kept.key,
            value: &kept.value,
            create: kept.create,
            version: kept.version,
            lease: 0,
        };
        let position = Position {
            main: kept.modified,
            sub,
        };
        records.push(Arc::new(Record::put(&parts, position, 1)));
    }
    store
        .submit(Command::Import(records, state.revision))
        .await?;
    store.close();
    Ok(())
}

fn write_embedded(directory: &Path, state: &State) -> Result<()> {
    ensure!(
        !directory.exists(),
        "{} exists already",
        directory.display()
    );
    let entries = state.keys.iter().map(|kept| RemoteEntry {
        path: kept.key.clone(),
        create_revision: Revision(kept.create as u64),
        mod_revision: Revision(kept.modified as u64),
        version: kept.version as u64,
        lease: 0,
        stored: kept.value.clone(),
    });
    let mut engine = FjallEngine::open(directory)?;
    let describe = corten_apiserver::describe_by_object();
    corten_store::remote::build(
        &mut engine,
        RandomState::new().hash_one(state.revision),
        Revision(state.revision as u64),
        entries.collect(),
        &*describe,
    )?;
    Ok(())
}
