//! How objects are kept: opening the store over its disk, what a stored key and its bytes are, encryption at rest,
//! and which writes may be answered before they are synced. Leaves out what the objects mean.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use corten_encryption::{Encryption, Providers};
use corten_store::engine::fjall::FjallEngine;
use corten_store::engine::memory::{MemoryDisk, MemoryEngine};
use corten_store::{
    Describe, Durability, Header, Key, Opened, Options, ROOT, Relaxed, Resource, Seal, Store,
    Transaction,
};
use parking_lot::RwLock;

use crate::catalog::Catalog;
use crate::runtime_config::RuntimeConfig;
use crate::start::Disk;
use crate::{Error, commit};

/// Resources whose writes are about the moment and are made again soon.
const OF_THE_MOMENT: [&str; 2] = ["leases", "events"];

/// How objects are kept on the disk.
#[derive(Clone, Default)]
pub struct Keeping {
    /// Which resources are encrypted, and how.
    pub encryption: Option<Ciphers>,
    /// The file that says so, if it is to be read again when it changes.
    pub encryption_followed: Option<PathBuf>,
    /// About how many bytes of memory objects may take; the rest of them is on the disk alone. All are in memory if
    /// none.
    pub memory: Option<usize>,
    /// Whether writes of Leases and Events may be lost with the power, and for how long.
    pub relaxed: Option<Relaxed>,
}

/// The ciphers in use; clones share them, so that they can be exchanged while the server runs.
#[derive(Clone)]
pub struct Ciphers(Arc<RwLock<Chosen>>);

struct Chosen {
    encryption: Encryption,
    known: HashMap<Resource, Providers>,
}

impl Ciphers {
    /// These.
    pub fn new(encryption: Encryption) -> Ciphers {
        let known = HashMap::new();
        Ciphers(Arc::new(RwLock::new(Chosen { encryption, known })))
    }

    /// Others from now on. What is stored stays as it is until it is written again.
    pub fn replace(&self, encryption: Encryption) {
        let known = HashMap::new();
        *self.0.write() = Chosen { encryption, known };
    }

    fn of(&self, catalog: &Catalog, resource: &Resource) -> Providers {
        if let Some(known) = self.0.read().known.get(resource) {
            return known.clone();
        }
        let mut chosen = self.0.write();
        let providers = match catalog.stored_under(resource) {
            Some(served) => chosen.encryption.of(&served.group, &served.plural),
            None => {
                // Custom resources are kept under their group and plural.
                let (group, plural) = resource
                    .as_str()
                    .rsplit_once('/')
                    .unwrap_or(("", resource.as_str()));
                chosen.encryption.of(group, plural)
            }
        };
        chosen.known.insert(resource.clone(), providers.clone());
        providers
    }
}

/// Opens the store. Blocks.
pub(crate) fn open(disk: Disk, keeping: Keeping, runtime: &RuntimeConfig) -> Result<Store, Error> {
    let catalog = Catalog::built_in(runtime);
    let seal = keeping
        .encryption
        .map(|ciphers| Sealing::new(ciphers, runtime));
    let describe = Described { catalog };
    let mut options = match disk {
        Disk::Etcd(_) => return Err(Error::Engine("an etcd is not opened as a directory".into())),
        Disk::Memory => Options::described(MemoryEngine::on(&MemoryDisk::new()), describe),
        Disk::Directory(path) => {
            let engine = FjallEngine::open(&path).map_err(|e| Error::Engine(e.to_string()))?;
            Options::described(engine, describe)
        }
    };
    options.relaxed = keeping.relaxed;
    if let Some(memory) = keeping.memory {
        options = options.bounded(memory);
    }
    if let Some(seal) = seal {
        options.seal = Arc::new(seal);
    }
    Ok(Store::open(options)?)
}

/// How durable a transaction must be before it is answered, where the store allows a choice.
pub(crate) fn durability(transaction: &Transaction) -> Durability {
    let of_the_moment = |key: &Key| OF_THE_MOMENT.contains(&key.resource().as_str());
    let mut keys = transaction.ops.iter().map(corten_store::Op::key);
    match !transaction.ops.is_empty() && keys.all(of_the_moment) {
        true => Durability::Relaxed,
        false => Durability::Synced,
    }
}

struct Described {
    catalog: Catalog,
}

impl Describe for Described {
    fn describe(&self, key: &Key, stored: &Bytes) -> Result<Header, String> {
        match key.is_raw() {
            // Not an object of the API: others keep such keys beside theirs.
            true => Ok(Header::default()),
            false => commit::describe(&self.catalog, key, stored),
        }
    }

    fn locate(&self, found: Key, stored: &Bytes) -> Result<Key, String> {
        match found.is_raw() {
            true => Ok(object_key(&found, stored).unwrap_or(found)),
            false => Ok(found),
        }
    }
}

/// The key of an object that was written by its path alone: namespace and name end the path.
fn object_key(found: &Key, stored: &Bytes) -> Option<Key> {
    let object = crate::decode::stored(None, stored).ok()?;
    let meta = object.meta();
    if meta.name.is_empty() {
        return None;
    }
    let path = found.path();
    let prefix = path.strip_prefix(ROOT)?.strip_suffix(&*meta.name)?;
    let prefix = prefix.strip_suffix('/')?;
    let prefix = match meta.namespace.is_empty() {
        true => prefix,
        false => prefix.strip_suffix(&*meta.namespace)?.strip_suffix('/')?,
    };
    let key = Key::new(&Resource::new(prefix), &meta.namespace, &meta.name);
    (!prefix.is_empty() && key.path() == path).then_some(key)
}

/// Encryption at rest by the resource that a key is of.
pub(crate) struct Sealing {
    ciphers: Ciphers,
    catalog: Catalog,
}

impl Sealing {
    pub(crate) fn new(ciphers: Ciphers, runtime: &RuntimeConfig) -> Sealing {
        Sealing {
            ciphers,
            catalog: Catalog::built_in(runtime),
        }
    }

    /// What encrypts and decrypts the objects of a resource.
    pub(crate) fn providers(&self, resource: &Resource) -> Providers {
        self.ciphers.of(&self.catalog, resource)
    }
}

impl Seal for Sealing {
    fn seal(&self, key: &Key, plain: &Bytes) -> Result<Bytes, String> {
        let providers = self.providers(key.resource());
        if providers.writes_plain() {
            return Ok(plain.clone());
        }
        let sealed = providers.to_storage(plain, &key.bytes());
        sealed.map(Bytes::from).map_err(|error| error.to_string())
    }

    fn open(&self, key: &Key, kept: &[u8]) -> Result<Opened, String> {
        let read = self
            .providers(key.resource())
            .from_storage(kept, &key.bytes())
            .map_err(|error| error.to_string())?;
        Ok(Opened {
            plain: Bytes::from(read.bytes),
            is_stale: read.is_stale,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "
apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
- resources: [secrets, pandas.bears.example]
  providers: [{aesgcm: {keys: [{name: one, secret: c2VjcmV0IGlzIHNlY3VyZQ==}]}}, {identity: {}}]
- resources: ['*.apps']
  providers: [{secretbox: {keys: [{name: box, secret: YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXoxMjM0NTY=}]}}, {identity: {}}]
";

    fn sealing() -> Sealing {
        Sealing::new(
            Ciphers::new(Encryption::parse(CONFIG.as_bytes()).unwrap()),
            &RuntimeConfig::default(),
        )
    }

    #[test]
    fn resources_are_found_by_their_storage_prefix() {
        let sealing = sealing();
        let sealed = |prefix: &str| {
            let key = Key::new(&Resource::new(prefix), "default", "a");
            let sealed = sealing.seal(&key, &Bytes::from_static(b"{}")).unwrap();
            assert_eq!(sealing.open(&key, &sealed).unwrap().plain, "{}");
            String::from_utf8_lossy(&sealed[..sealed.len().min(22)]).into_owned()
        };
        assert!(sealed("secrets").starts_with("k8s:enc:aesgcm:v1:one:"));
        assert!(sealed("bears.example/pandas").starts_with("k8s:enc:aesgcm:v1:one:"));
        assert!(sealed("deployments").starts_with("k8s:enc:secretbox:v1:"));
        assert_eq!(sealed("configmaps"), "{}");
        assert_eq!(sealed("services/specs"), "{}");
    }

    #[test]
    fn objects_kept_by_path_alone_are_found() {
        let stored = Bytes::from_static(
            br#"{"apiVersion":"bears.example/v1","kind":"Panda","metadata":{"name":"bao","namespace":"zoo"}}"#,
        );
        let path = "/registry/bears.example/pandas/zoo/bao";
        let key = object_key(&Key::raw(path.as_bytes()), &stored).unwrap();
        assert_eq!(
            (key.resource().as_str(), key.namespace(), key.name()),
            ("bears.example/pandas", "zoo", "bao")
        );
        assert!(object_key(&Key::raw(b"/registry/pandas/zoo/other"), &stored).is_none());
        assert!(object_key(&Key::raw(b"compact_rev_key"), &Bytes::from_static(b"17")).is_none());
    }

    #[test]
    fn only_what_is_of_the_moment_is_relaxed() {
        let delete = |prefixes: &[&str]| {
            let ops = prefixes.iter().map(|prefix| {
                let key = Key::new(&Resource::new(prefix), "a", "b");
                corten_store::Op::Delete(key, corten_store::Precondition::Any)
            });
            durability(&Transaction::of(ops.collect()))
        };
        assert_eq!(delete(&["leases"]), Durability::Relaxed);
        assert_eq!(delete(&["events", "leases"]), Durability::Relaxed);
        assert_eq!(delete(&["leases", "pods"]), Durability::Synced);
        assert_eq!(delete(&[]), Durability::Synced);
    }
}
