//! The state in an etcd that other API servers, Corten's and upstream's, write to as well: commits are transactions
//! there (`commit`), what happens there is followed by one watch (`follow`), and a consistent read asks there how far
//! it is (`Elsewhere::fresh`). Keys and values are upstream's.

mod commit;
mod follow;
mod leases;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use corten_etcd::client::Client;
use corten_etcd::proto::etcdserverpb::RangeRequest;
use corten_etcd::proto::mvccpb::KeyValue;
use corten_etcd::{Code, Refusal};
use corten_store::engine::EngineError;
use corten_store::remote::{Answering, Remote, RemoteEntry};
use corten_store::{
    CommitError, Committed, Describe, Header, Key, Resource, Revision, Store, Transaction,
};
use tokio::sync::{Mutex, Notify};
use tokio::task::JoinHandle;

use crate::catalog::Catalog;
use crate::runtime_config::RuntimeConfig;
use crate::{Error, commit as objects};

/// The keys of one page when everything is read.
const PAGE: i64 = 1000;
/// How long a consistent read may take altogether.
const FRESH_MAX: Duration = Duration::from_secs(10);
/// How often etcd is asked for progress while a read waits.
const PROGRESS_EVERY: Duration = Duration::from_millis(50);
/// How often a read that may be repeated is repeated.
const READS_MAX: usize = 5;

/// An etcd cluster that holds the state.
#[derive(Clone, Debug)]
pub struct EtcdConfig {
    /// Where it is, and the certificates for it.
    pub client: corten_etcd::client::Config,
    /// What every key begins with; upstream's default is `/registry`.
    pub prefix: String,
}

impl EtcdConfig {
    /// With upstream's prefix.
    pub fn new(client: corten_etcd::client::Config) -> EtcdConfig {
        EtcdConfig {
            client,
            prefix: "/registry".to_owned(),
        }
    }
}

/// The last answer to "how far is etcd?", and which questions it covers.
#[derive(Default)]
struct ReadIndex {
    covers: u64,
    revision: i64,
}

/// What commits and reads need to know about etcd.
pub(crate) struct Elsewhere {
    client: Client,
    keys: Keys,
    leases: leases::Leases,
    asked: AtomicU64,
    read_index: Mutex<ReadIndex>,
    /// Somebody waits for progress.
    progress: Notify,
}

/// Between paths here (`/registry/…`) and keys there.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    prefix: String,
}

impl Keys {
    fn new(prefix: &str) -> Keys {
        Keys {
            prefix: format!("/{}/", prefix.trim_matches('/')),
        }
    }

    fn there(&self, path: &str) -> Bytes {
        let rest = path.strip_prefix(corten_store::ROOT).unwrap_or(path);
        format!("{}{rest}", self.prefix).into()
    }

    fn here(&self, key: &[u8]) -> Option<Bytes> {
        let rest = key.strip_prefix(self.prefix.as_bytes())?;
        Some([corten_store::ROOT.as_bytes(), rest].concat().into())
    }

    fn start(&self) -> Bytes {
        self.prefix.clone().into()
    }

    /// The first key after all of them: '0' is the byte after '/'.
    fn end(&self) -> Bytes {
        format!("{}0", self.prefix.trim_end_matches('/')).into()
    }

    fn entry(&self, kv: &KeyValue) -> Option<RemoteEntry> {
        Some(RemoteEntry {
            path: self.here(&kv.key)?,
            create_revision: Revision(kv.create_revision as u64),
            mod_revision: Revision(kv.mod_revision as u64),
            version: kv.version as u64,
            lease: kv.lease as u64,
            // Its own bytes: the message it came in is larger.
            stored: Bytes::copy_from_slice(&kv.value),
        })
    }
}

/// Finds out what an object's key says and what its header is.
struct Objects(Catalog);

impl Describe for Objects {
    fn describe(&self, key: &Key, stored: &Bytes) -> Result<Header, String> {
        objects::describe(&self.0, key, stored)
    }

    /// The object's own namespace and name tell where the resource ends in the path.
    fn locate(&self, found: Key, stored: &Bytes) -> Result<Key, String> {
        let object = crate::decode::stored(None, stored)?;
        let path = found.path();
        let rest = path
            .strip_prefix(corten_store::ROOT)
            .ok_or("it is not below /registry")?;
        let (namespace, name) = (&*object.meta().namespace, &*object.meta().name);
        let misplaced = || format!("the object {namespace}/{name} is at another path");
        let front = rest
            .strip_suffix(name)
            .and_then(|front| front.strip_suffix('/'))
            .filter(|_| !name.is_empty())
            .ok_or_else(misplaced)?;
        let as_namespaced = front
            .strip_suffix(namespace)
            .and_then(|front| front.strip_suffix('/'))
            .filter(|_| !namespace.is_empty());
        match as_namespaced {
            Some(resource) => Ok(Key::new(&Resource::new(resource), namespace, name)),
            None => Ok(Key::new(&Resource::new(front), "", name)),
        }
    }
}

/// Tells keys apart by what the objects under them say: what makes an embedded store of an etcd's keys.
pub fn describe_by_object() -> Arc<dyn Describe> {
    Arc::new(Objects(Catalog::built_in(&RuntimeConfig::default())))
}

/// Reads everything and follows it from there; the task ends when it is aborted.
pub(crate) async fn open(
    config: &EtcdConfig,
    runtime: &RuntimeConfig,
) -> Result<(Store, JoinHandle<()>), Error> {
    let client = Client::new(&config.client).map_err(|error| Error::Engine(error.to_string()))?;
    let keys = Keys::new(&config.prefix);
    let (cluster_id, revision, entries) = read_all(&client, &keys)
        .await
        .map_err(|refusal| Error::Engine(format!("read the state from etcd: {refusal}")))?;
    let elsewhere = Arc::new(Elsewhere {
        leases: leases::Leases::new(client.clone()),
        client,
        keys,
        asked: AtomicU64::new(0),
        read_index: Mutex::default(),
        progress: Notify::new(),
    });
    let describe = Arc::new(Objects(Catalog::built_in(runtime)));
    let (store, follower) = Store::open_remote(
        cluster_id,
        Revision(revision as u64),
        entries,
        describe,
        elsewhere.clone(),
    )?;
    let task = tokio::spawn(follow::run(follower, elsewhere, revision));
    Ok((store, task))
}

/// Every key at one revision: the cluster's id, the revision, the entries.
async fn read_all(client: &Client, keys: &Keys) -> Result<(u64, i64, Vec<RemoteEntry>), Refusal> {
    let mut entries = Vec::new();
    let mut start = keys.start();
    let (mut revision, mut cluster_id) = (0, 0);
    loop {
        let request = RangeRequest {
            key: start.clone(),
            range_end: keys.end(),
            limit: PAGE,
            revision,
            ..RangeRequest::default()
        };
        let response = again(client, || client.range(&request)).await?;
        if let (0, Some(header)) = (revision, &response.header) {
            (revision, cluster_id) = (header.revision, header.cluster_id);
        }
        entries.extend(response.kvs.iter().filter_map(|kv| keys.entry(kv)));
        match response.kvs.last().filter(|_| response.more) {
            Some(last) => start = [&last.key[..], &[0]].concat().into(),
            None => return Ok((cluster_id, revision, entries)),
        }
    }
}

/// Repeats a read that fails for reasons that pass: a lost connection, a change of leader, too much to do.
async fn again<T, F>(client: &Client, read: impl Fn() -> F) -> Result<T, Refusal>
where
    F: Future<Output = Result<T, Refusal>>,
{
    let mut wait = Duration::from_millis(20);
    for _ in 1..READS_MAX {
        match read().await {
            Err(refusal) if refusal.is_transient() => {
                if refusal.code == Code::Unavailable {
                    client.move_on().await;
                }
                tokio::time::sleep(wait).await;
                wait *= 3;
            }
            other => return other,
        }
    }
    read().await
}

impl Elsewhere {
    /// A revision that etcd's majority had reached when, or after, this was called. Calls that come together share
    /// one question.
    async fn read_index(&self) -> Result<i64, Refusal> {
        let mine = self.asked.fetch_add(1, Ordering::AcqRel);
        let mut last = self.read_index.lock().await;
        if last.covers > mine {
            return Ok(last.revision);
        }
        let covers = self.asked.load(Ordering::Acquire);
        let request = RangeRequest {
            key: self.keys.start(),
            ..RangeRequest::default()
        };
        let response = again(&self.client, || self.client.range(&request)).await?;
        *last = ReadIndex {
            covers,
            revision: response.header.map_or(0, |header| header.revision),
        };
        Ok(last.revision)
    }

    /// Waits until the store shows a revision, asking etcd to tell how far it is: changes of keys that are not
    /// followed raise its revision too.
    async fn reach(&self, store: &Store, revision: i64) -> Result<Revision, CommitError> {
        let wanted = Revision(revision as u64);
        loop {
            if store.revision() >= wanted {
                return Ok(store.revision());
            }
            self.progress.notify_one();
            let waiting = store.wait_for(wanted);
            if let Ok(reached) = tokio::time::timeout(PROGRESS_EVERY, waiting).await {
                return reached;
            }
        }
    }
}

impl Remote for Elsewhere {
    fn commit(&self, store: Store, transaction: Transaction) -> Answering<'_, Committed> {
        Box::pin(commit::run(self, store, transaction))
    }

    fn fresh(&self, store: Store) -> Answering<'_, Revision> {
        Box::pin(async move {
            let reading = async {
                let revision = self.read_index().await.map_err(|refusal| lost(&refusal))?;
                self.reach(&store, revision).await
            };
            match tokio::time::timeout(FRESH_MAX, reading).await {
                Ok(reached) => reached,
                Err(_) => Err(CommitError::ReadOnly(
                    "etcd does not answer in time".to_owned(),
                )),
            }
        })
    }
}

/// What is known to have changed nothing, and what may have.
fn lost(refusal: &Refusal) -> CommitError {
    if refusal.code != Code::Unavailable {
        return CommitError::ReadOnly(refusal.to_string());
    }
    CommitError::Storage(Arc::new(EngineError::Io {
        attempt: "asking etcd".to_owned(),
        source: std::io::Error::other(refusal.to_string()),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_take_the_prefix_there_and_lose_it_here() {
        let keys = Keys::new("/my/prefix");
        assert_eq!(keys.there("/registry/pods/a/b"), "/my/prefix/pods/a/b");
        assert_eq!(
            keys.here(b"/my/prefix/pods/a/b").unwrap(),
            "/registry/pods/a/b"
        );
        assert_eq!(keys.here(b"/other"), None);
        assert_eq!(
            (keys.start(), keys.end()),
            ("/my/prefix/".into(), "/my/prefix0".into())
        );
    }

    #[test]
    fn objects_tell_where_their_resource_ends() {
        let objects = Objects(Catalog::built_in(&RuntimeConfig::default()));
        let locate = |path: &str, json: &'static str| {
            let found = objects.locate(
                Key::raw(path.as_bytes()),
                &Bytes::from_static(json.as_bytes()),
            );
            found.map(|key| {
                (
                    key.resource().to_string(),
                    key.namespace().to_owned(),
                    key.name().to_owned(),
                )
            })
        };
        let widget = r#"{"apiVersion":"example.com/v1","kind":"Widget","metadata":{"name":"w","namespace":"n"}}"#;
        let split = |r: &str, n: &str, m: &str| Ok((r.to_owned(), n.to_owned(), m.to_owned()));
        assert_eq!(
            locate("/registry/example.com/widgets/n/w", widget),
            split("example.com/widgets", "n", "w")
        );
        let cluster = r#"{"apiVersion":"example.com/v1","kind":"Gadget","metadata":{"name":"g"}}"#;
        assert_eq!(
            locate("/registry/example.com/gadgets/g", cluster),
            split("example.com/gadgets", "", "g")
        );
        assert!(locate("/registry/example.com/gadgets/other", cluster).is_err());
    }
}
