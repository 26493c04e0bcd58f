//! The state in an etcd that other API servers, Corten's and upstream's, write to as well: commits are transactions
//! there (`commit`), what happens there is followed by one watch (`follow`), and a consistent read asks there how far
//! it is (`Elsewhere::fresh`). Keys and values are upstream's.

mod commit;
mod compact;
mod follow;
mod keys;
mod leases;
mod members;
mod reading;
mod vault;

pub(crate) use members::Members;
pub use vault::describe_by_object;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use corten_etcd::client::Client;
use corten_etcd::proto::etcdserverpb::RangeRequest;
use corten_etcd::{Code, Refusal};
use corten_store::engine::EngineError;
use corten_store::remote::{Answering, Recalled, Recalling, Remote};
use corten_store::{CommitError, Committed, Resource, Revision, RevisionError, Store, Transaction};
use tokio::sync::{Mutex, Notify};
use tokio::task::JoinHandle;

use crate::Error;
use crate::keeping::{Keeping, Sealing};
use crate::runtime_config::RuntimeConfig;
use keys::Keys;
use reading::again;
use vault::Vault;

/// How long a consistent read may take altogether.
const FRESH_MAX: Duration = Duration::from_secs(10);
/// How often etcd is asked for progress while a read waits.
const PROGRESS_EVERY: Duration = Duration::from_millis(50);

/// An etcd cluster that holds the state.
#[derive(Clone, Debug)]
pub struct EtcdConfig {
    /// Where it is, and the certificates for it.
    pub client: corten_etcd::client::Config,
    /// What every key begins with; upstream's default is `/registry`.
    pub prefix: String,
    /// How often old revisions are compacted there, in agreement with the other servers; zero for never.
    pub compaction_interval: Duration,
}

impl EtcdConfig {
    /// With upstream's prefix and interval.
    pub fn new(client: corten_etcd::client::Config) -> EtcdConfig {
        EtcdConfig {
            client,
            prefix: "/registry".to_owned(),
            compaction_interval: Duration::from_secs(300),
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
    vault: Vault,
    leases: leases::Leases,
    asked: AtomicU64,
    read_index: Mutex<ReadIndex>,
    /// Somebody waits for progress.
    progress: Notify,
    /// The last resource that was read at an old revision: the pages of one list follow each other.
    recalled: Mutex<Option<(Resource, Revision, Arc<Vec<Recalled>>)>>,
}

/// What runs beside a server whose state is elsewhere.
pub(crate) struct Following {
    /// Follows and compacts until it is aborted.
    pub(crate) task: JoinHandle<()>,
    /// This server among the others.
    pub(crate) members: Members,
}

/// Reads everything and follows it from there.
pub(crate) async fn open(
    config: &EtcdConfig,
    keeping: Keeping,
    runtime: &RuntimeConfig,
) -> Result<(Store, Following), Error> {
    let client = Client::new(&config.client).map_err(|error| Error::Engine(error.to_string()))?;
    let sealing = keeping
        .encryption
        .map(|encryption| Sealing::new(encryption, runtime));
    let vault = Vault::new(Keys::new(&config.prefix), sealing, runtime);
    let read = reading::begin(&client, &vault)
        .await
        .map_err(|why| Error::Engine(format!("read the state from etcd: {why}")))?;
    let describe = vault.describe.clone();
    let elsewhere = Arc::new(Elsewhere {
        leases: leases::Leases::new(client.clone()),
        client: client.clone(),
        vault,
        asked: AtomicU64::new(0),
        read_index: Mutex::default(),
        progress: Notify::new(),
        recalled: Mutex::default(),
    });
    let (store, follower) = Store::open_remote(
        read.cluster_id,
        Revision(read.revision as u64),
        read.entries,
        describe,
        elsewhere.clone(),
    )?;
    let members = Members::new(client.clone(), elsewhere.vault.keys.clone());
    let following = follow::run(follower, elsewhere, read.revision);
    let compacting = compact::run(client, config.compaction_interval);
    let task = tokio::spawn(async move {
        tokio::join!(following, compacting);
    });
    Ok((store, Following { task, members }))
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
            key: self.vault.keys.start(),
            ..RangeRequest::default()
        };
        let response = again(&self.client, &request).await?;
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

    fn recall(&self, resource: Resource, revision: Revision) -> Recalling<'_> {
        Box::pin(async move {
            let mut last = self.recalled.lock().await;
            if let Some((same, at, entries)) = &*last
                && (same, *at) == (&resource, revision)
            {
                return Ok(entries.clone());
            }
            let entries = reading::at(&self.client, &self.vault, &resource, revision).await?;
            let entries = Arc::new(entries);
            *last = Some((resource, revision, entries.clone()));
            Ok(entries)
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

/// A revision that etcd does not have any more, in the store's terms.
fn compacted(requested: Revision) -> RevisionError {
    RevisionError::Compacted(corten_store::Compacted {
        requested,
        oldest: requested.next(),
        current: requested,
    })
}
