//! Revisions and keys. A key's path is upstream's `/registry/<resource>/<namespace>/<name>`, and keys of
//! one resource order as their paths do, so lists and continue tokens agree with upstream byte for byte.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Bound;
use std::sync::Arc;

/// The root under which every key lives.
pub const ROOT: &str = "/registry/";

/// A point in the store's history. Every transaction that changes something takes the next one.
/// 0 means "none"; an empty store is at 1, as etcd's is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Revision(pub u64);

impl Revision {
    /// No revision: of an object that does not exist.
    pub const NONE: Revision = Revision(0);

    /// The revision after this one.
    pub fn next(self) -> Revision {
        Revision(self.0 + 1)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "r{}", self.0)
    }
}

/// The storage prefix of a resource, without slashes at its ends: `pods`, `services/specs`,
/// `apiextensions.k8s.io/customresourcedefinitions`. Cheap to clone.
#[derive(Clone, Eq, PartialOrd, Ord)]
pub struct Resource(Arc<str>);

impl Resource {
    /// Names a resource by its storage prefix.
    pub fn new(prefix: &str) -> Resource {
        Resource(Arc::from(prefix.trim_matches('/')))
    }

    /// What raw keys live under (see [`Key::raw`]).
    pub fn raw() -> Resource {
        Resource(Arc::from(""))
    }

    /// Whether it is [`Resource::raw`].
    pub fn is_raw(&self) -> bool {
        self.0.is_empty()
    }

    /// The storage prefix.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Any bytes as text of the same order: one character for each byte.
pub(crate) fn raw_tail(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

impl PartialEq for Resource {
    fn eq(&self, other: &Resource) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

impl Hash for Resource {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The identity of one stored object: resource, namespace (empty for cluster-scoped objects) and name.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Key {
    resource: Resource,
    /// `namespace/name`, or `name` alone: what orders keys inside a resource.
    tail: Arc<str>,
    namespace_len: u16,
}

impl Key {
    /// The key of an object; `namespace` is empty for a cluster-scoped one. A commit refuses a key whose
    /// name is empty or whose namespace holds a slash.
    pub fn new(resource: &Resource, namespace: &str, name: &str) -> Key {
        let tail = if namespace.is_empty() {
            Arc::from(name)
        } else {
            Arc::from(format!("{namespace}/{name}"))
        };
        let namespace_len = u16::try_from(namespace.len()).unwrap_or(u16::MAX);
        Key {
            resource: resource.clone(),
            tail,
            namespace_len,
        }
    }

    /// The key of a cluster-scoped object.
    pub fn cluster(resource: &Resource, name: &str) -> Key {
        Key::new(resource, "", name)
    }

    /// The key of a raw entry: any bytes, outside every resource. Raw keys order as their bytes do.
    pub fn raw(bytes: &[u8]) -> Key {
        Key {
            resource: Resource::raw(),
            tail: raw_tail(bytes).into(),
            namespace_len: 0,
        }
    }

    /// Whether it was made by [`Key::raw`].
    pub fn is_raw(&self) -> bool {
        self.resource.is_raw()
    }

    /// The bytes under which engines keep the entry: upstream's path, or a raw key's own bytes.
    pub fn bytes(&self) -> Vec<u8> {
        match self.is_raw() {
            true => self.tail.chars().map(|char| char as u32 as u8).collect(),
            false => self.path().into_bytes(),
        }
    }

    pub(crate) fn with_resource(self, resource: Resource) -> Key {
        Key { resource, ..self }
    }

    /// The storage prefix this key lives under.
    pub fn resource(&self) -> &Resource {
        &self.resource
    }

    /// The namespace, empty for a cluster-scoped object.
    pub fn namespace(&self) -> &str {
        self.tail.get(..self.namespace_len as usize).unwrap_or("")
    }

    /// The name.
    pub fn name(&self) -> &str {
        match self.namespace_len {
            0 => &self.tail,
            n => self.tail.get(n as usize + 1..).unwrap_or(""),
        }
    }

    /// `namespace/name`, or the name alone for a cluster-scoped object: the part of the path below the
    /// resource, which orders lists and is what a continue token carries.
    pub fn tail(&self) -> &str {
        &self.tail
    }

    /// `/registry/<resource>/<namespace>/<name>`.
    pub fn path(&self) -> String {
        if self.is_raw() {
            return String::from_utf8_lossy(&self.bytes()).into_owned();
        }
        let mut path =
            String::with_capacity(ROOT.len() + self.resource.0.len() + 1 + self.tail.len());
        path.push_str(ROOT);
        path.push_str(&self.resource.0);
        path.push('/');
        path.push_str(&self.tail);
        path
    }

    /// The length of [`Key::bytes`].
    pub(crate) fn len(&self) -> usize {
        match self.is_raw() {
            true => self.tail.chars().count(),
            false => ROOT.len() + self.resource.0.len() + 1 + self.tail.len(),
        }
    }

    pub(crate) fn problem(&self) -> Option<&'static str> {
        if self.is_raw() {
            return self.tail.is_empty().then_some("its key is empty");
        }
        if self.resource.0.is_empty() {
            Some("its resource is empty")
        } else if self.name().is_empty() {
            Some("its name is empty")
        } else if self.namespace().contains('/') || self.namespace_len == u16::MAX {
            Some("its namespace is not one path segment")
        } else {
            None
        }
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Key) -> Ordering {
        self.resource
            .cmp(&other.resource)
            .then_with(|| self.tail.cmp(&other.tail))
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Key) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path())
    }
}

/// Which keys of a resource a list or a watch covers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Every object of the resource.
    All,
    /// The objects of one namespace.
    Namespace(Arc<str>),
    /// One object; the namespace is empty for a cluster-scoped one.
    Object(Arc<str>, Arc<str>),
    /// The keys from the first tail (inclusive) to the second (exclusive; none is no end).
    Tails(Arc<str>, Option<Arc<str>>),
}

impl Scope {
    /// The scope of a namespace; the empty namespace means all of them.
    pub fn namespace(namespace: &str) -> Scope {
        if namespace.is_empty() {
            Scope::All
        } else {
            Scope::Namespace(Arc::from(namespace))
        }
    }

    /// The raw keys from `start` (inclusive) to `end` (exclusive; none is no end).
    pub fn raw(start: &[u8], end: Option<&[u8]>) -> Scope {
        let end = end.map(|end| raw_tail(end).into());
        Scope::Tails(raw_tail(start).into(), end)
    }

    /// The scope of one object.
    pub fn object(namespace: &str, name: &str) -> Scope {
        Scope::Object(Arc::from(namespace), Arc::from(name))
    }

    /// Whether a key (of the resource in question) is covered.
    pub fn covers(&self, key: &Key) -> bool {
        match self {
            Scope::All => true,
            Scope::Namespace(namespace) => key.namespace() == &**namespace,
            Scope::Object(namespace, name) => {
                key.namespace() == &**namespace && key.name() == &**name
            }
            Scope::Tails(start, end) => {
                key.tail() >= &**start && end.as_ref().is_none_or(|end| key.tail() < &**end)
            }
        }
    }

    /// The same for a key whose tail is inside of [`Scope::bounds`]: without a look at texts, of which lists would look at
    /// thousands.
    pub(crate) fn covers_inside(&self, key: &Key) -> bool {
        match self {
            Scope::Namespace(namespace) => usize::from(key.namespace_len) == namespace.len(),
            other => other.covers(key),
        }
    }

    /// The tails this scope covers, from `start` on: the first (inclusive) and the end.
    pub(crate) fn bounds(&self, start: Option<&str>) -> (String, Bound<String>) {
        let (low, high) = match self {
            Scope::All => (String::new(), Bound::Unbounded),
            // '0' is the byte after '/'.
            Scope::Namespace(namespace) => (
                format!("{namespace}/"),
                Bound::Excluded(format!("{namespace}0")),
            ),
            Scope::Object(namespace, name) => {
                let tail = if namespace.is_empty() {
                    name.to_string()
                } else {
                    format!("{namespace}/{name}")
                };
                (tail.clone(), Bound::Included(tail))
            }
            Scope::Tails(start, end) => {
                let end = end.as_ref().map(|end| Bound::Excluded(end.to_string()));
                (start.to_string(), end.unwrap_or(Bound::Unbounded))
            }
        };
        let low = match start {
            Some(start) if start > low.as_str() => start.to_owned(),
            _ => low,
        };
        (low, high)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_follow_upstream() {
        let services = Resource::new("services/specs");
        assert_eq!(
            Key::new(&services, "default", "kubernetes").path(),
            "/registry/services/specs/default/kubernetes"
        );
        let nodes = Resource::new("/minions/");
        let key = Key::cluster(&nodes, "a");
        assert_eq!(
            (key.path().as_str(), key.namespace(), key.name()),
            ("/registry/minions/a", "", "a")
        );
    }

    #[test]
    fn keys_order_as_their_paths_do() {
        let pods = Resource::new("pods");
        let mut keys = [
            Key::new(&pods, "a", "z"),
            Key::new(&pods, "a-b", "a"),
            Key::new(&pods, "a.b", "a"),
        ];
        keys.sort();
        let mut paths: Vec<String> = keys.iter().map(Key::path).collect();
        assert_eq!(
            paths,
            [
                "/registry/pods/a-b/a",
                "/registry/pods/a.b/a",
                "/registry/pods/a/z"
            ]
        );
        paths.sort();
        assert_eq!(paths, keys.iter().map(Key::path).collect::<Vec<_>>());
    }

    #[test]
    fn raw_keys_are_any_bytes_in_their_order() {
        let all: Vec<Vec<u8>> = (0..=255u8)
            .flat_map(|byte| [vec![byte], vec![b'a', byte], vec![byte, 0]])
            .collect();
        let mut keys: Vec<Key> = all.iter().map(|bytes| Key::raw(bytes)).collect();
        let mut sorted = all.clone();
        sorted.sort();
        keys.sort();
        assert_eq!(keys.iter().map(Key::bytes).collect::<Vec<_>>(), sorted);
        let scope = Scope::raw(b"a", Some(b"a\xff"));
        let covered = keys.iter().filter(|key| scope.covers(key)).count();
        assert_eq!(
            covered,
            1 + 255 + 1,
            "a, a and any byte but the last, a with NUL"
        );
        assert!(Key::raw(b"").problem().is_some());
    }

    #[test]
    fn keys_that_are_no_path_are_refused() {
        let pods = Resource::new("pods");
        assert!(Key::new(&pods, "a/b", "c").problem().is_some());
        assert!(Key::new(&pods, "a", "").problem().is_some());
        assert!(
            Key::new(&pods, &"n".repeat(70_000), "c")
                .problem()
                .is_some()
        );
        assert!(Key::new(&pods, "a", "system:node").problem().is_none());
    }
}
