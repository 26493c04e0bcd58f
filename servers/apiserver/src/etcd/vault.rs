//! What lies under etcd's keys: objects in upstream's encodings, encrypted where the configuration says so. Invariant:
//! the place that an encrypted object is bound to is its key there, as upstream's.

use std::sync::Arc;

use bytes::Bytes;
use corten_etcd::proto::mvccpb::KeyValue;
use corten_store::remote::RemoteEntry;
use corten_store::{Describe, Header, Key, Resource, Revision};

use super::keys::Keys;
use crate::catalog::Catalog;
use crate::commit as objects;
use crate::keeping::Sealing;
use crate::runtime_config::RuntimeConfig;

/// Finds out what an object's key says and what its header is.
pub(super) struct Objects(pub(super) Catalog);

impl Describe for Objects {
    fn describe(&self, key: &Key, stored: &Bytes) -> Result<Header, String> {
        objects::describe(&self.0, key, stored)
    }

    /// The object's own namespace and name tell where the resource ends in the path; what is encrypted is placed by
    /// the prefixes that are known.
    fn locate(&self, found: Key, stored: &Bytes) -> Result<Key, String> {
        let path = found.path();
        if stored.starts_with(corten_encryption::PREFIX) {
            return key_of(&self.0, &path).ok_or_else(|| "its resource is not known".to_owned());
        }
        let object = crate::decode::stored(None, stored)?;
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

/// Where the resource ends in a path, by the prefixes of what is built in; custom resources are kept under their group,
/// which has a dot, and their plural.
fn key_of(catalog: &Catalog, path: &str) -> Option<Key> {
    let rest = path.strip_prefix(corten_store::ROOT)?;
    let known = rest.match_indices('/').rev().find_map(|(at, _)| {
        let resource = Resource::new(&rest[..at]);
        let served = catalog.stored_under(&resource)?;
        Some((resource, served.namespaced, &rest[at + 1..]))
    });
    if let Some((resource, namespaced, tail)) = known {
        return match namespaced {
            true => tail
                .split_once('/')
                .map(|(namespace, name)| Key::new(&resource, namespace, name)),
            false => Some(Key::new(&resource, "", tail)),
        };
    }
    let (group, below) = rest.split_once('/')?;
    let (plural, tail) = below.split_once('/')?;
    if !group.contains('.') {
        return None;
    }
    let resource = Resource::new(&format!("{group}/{plural}"));
    Some(match tail.split_once('/') {
        Some((namespace, name)) => Key::new(&resource, namespace, name),
        None => Key::new(&resource, "", tail),
    })
}

/// Puts objects in and takes them out.
pub(crate) struct Vault {
    pub(super) keys: Keys,
    catalog: Catalog,
    sealing: Option<Sealing>,
    pub(super) describe: Arc<dyn Describe>,
}

impl Vault {
    pub(super) fn new(keys: Keys, sealing: Option<Sealing>, runtime: &RuntimeConfig) -> Vault {
        Vault {
            keys,
            catalog: Catalog::built_in(runtime),
            sealing,
            describe: Arc::new(Objects(Catalog::built_in(runtime))),
        }
    }

    /// The bytes to keep there.
    pub(super) fn seal(&self, key: &Key, there: &Bytes, plain: &Bytes) -> Result<Bytes, String> {
        let Some(sealing) = &self.sealing else {
            return Ok(plain.clone());
        };
        let providers = sealing.providers(key.resource());
        if providers.writes_plain() {
            return Ok(plain.clone());
        }
        let sealed = providers.to_storage(plain, there);
        sealed.map(Bytes::from).map_err(|error| error.to_string())
    }

    /// A version of a key as readers are to see it; none outside the prefix, why not if it cannot be decrypted.
    pub(super) fn entry(&self, kv: &KeyValue) -> Result<Option<RemoteEntry>, String> {
        let Some(path) = self.keys.here(&kv.key) else {
            return Ok(None);
        };
        let (stored, is_stale) = self.open(&path, kv)?;
        Ok(Some(RemoteEntry {
            path,
            create_revision: Revision(kv.create_revision as u64),
            mod_revision: Revision(kv.mod_revision as u64),
            version: kv.version as u64,
            lease: kv.lease as u64,
            is_stale,
            stored,
        }))
    }

    fn open(&self, path: &Bytes, kv: &KeyValue) -> Result<(Bytes, bool), String> {
        // Its own bytes: the message it came in is larger.
        let as_is = || Bytes::copy_from_slice(&kv.value);
        let path = String::from_utf8_lossy(path);
        let Some(key) = key_of(&self.catalog, &path) else {
            return Ok((as_is(), false));
        };
        let Some(sealing) = &self.sealing else {
            return match kv.value.starts_with(corten_encryption::PREFIX) {
                true => Err("it is encrypted; --encryption-provider-config says how".to_owned()),
                false => Ok((as_is(), false)),
            };
        };
        let read = sealing
            .providers(key.resource())
            .from_storage(&kv.value, &kv.key)
            .map_err(|error| error.to_string())?;
        Ok((Bytes::from(read.bytes), read.is_stale))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_tell_where_the_resource_ends() {
        let catalog = Catalog::built_in(&RuntimeConfig::default());
        let split = |path: &str| {
            let key = key_of(&catalog, path)?;
            let resource = key.resource().to_string();
            Some((resource, key.namespace().to_owned(), key.name().to_owned()))
        };
        let is = |resource: &str, namespace: &str, name: &str| {
            Some((resource.to_owned(), namespace.to_owned(), name.to_owned()))
        };
        assert_eq!(split("/registry/secrets/a/b"), is("secrets", "a", "b"));
        assert_eq!(
            split("/registry/services/specs/a/b"),
            is("services/specs", "a", "b")
        );
        assert_eq!(split("/registry/minions/n1"), is("minions", "", "n1"));
        assert_eq!(
            split("/registry/example.com/widgets/a/b"),
            is("example.com/widgets", "a", "b")
        );
        assert_eq!(split("/registry/masterleases/10.0.0.1"), None);
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
