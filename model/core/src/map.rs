//! `Map<V>`: Go's string-keyed map as a sorted list of entries, 16 bytes, where nil and empty differ.
//! Invariant: entries ascend by the bytes of their keys, each key once.
//! Leaves out hashing: API maps are small and every format writes them sorted.

use crate::list::List;
use crate::str::Str;
use std::fmt;

/// One key and its value. The layout is fixed because the field table reads it.
#[derive(Clone, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Entry<V> {
    pub(crate) key: Str,
    pub(crate) value: V,
}

/// A map from texts that may be nil; iteration ascends by key.
#[repr(transparent)]
pub struct Map<V>(List<Entry<V>>);

impl<V> Map<V> {
    /// The nil map.
    pub const NIL: Map<V> = Map(List::NIL);

    /// A map without entries that is not nil.
    pub const fn empty() -> Map<V> {
        Map(List::empty())
    }

    /// Whether this is nil; an empty map is not.
    pub const fn is_nil(&self) -> bool {
        self.0.is_nil()
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no entries, nil or not.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn find(&self, key: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|e| e.key.as_str().cmp(key))
    }

    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&V> {
        self.find(key).ok().map(|i| &self.0[i].value)
    }

    /// The value of `key`, to change.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut V> {
        let i = self.find(key).ok()?;
        Some(&mut self.0[i].value)
    }

    /// Whether `key` has a value.
    pub fn contains_key(&self, key: &str) -> bool {
        self.find(key).is_ok()
    }

    /// Sets the value of `key` and returns the one it replaces.
    pub fn insert(&mut self, key: impl Into<Str>, value: impl Into<V>) -> Option<V> {
        let (key, value) = (key.into(), value.into());
        match self.find(&key) {
            Ok(i) => Some(std::mem::replace(&mut self.0[i].value, value)),
            Err(i) => {
                self.0.insert(i, Entry { key, value });
                None
            }
        }
    }

    /// Removes `key` and returns its value.
    pub fn remove(&mut self, key: &str) -> Option<V> {
        let i = self.find(key).ok()?;
        Some(self.0.remove(i).value)
    }

    /// The value of `key`, put there by `make` when missing.
    pub fn get_or_insert_with(&mut self, key: impl Into<Str>, make: impl FnOnce() -> V) -> &mut V {
        let key = key.into();
        let i = match self.find(&key) {
            Ok(i) => i,
            Err(i) => {
                self.0.insert(i, Entry { key, value: make() });
                i
            }
        };
        &mut self.0[i].value
    }

    /// Entries in ascending order of keys.
    pub fn iter(&self) -> Iter<'_, V> {
        Iter(self.0.iter())
    }

    /// Entries in ascending order of keys, values to change.
    pub fn iter_mut(&mut self) -> impl ExactSizeIterator<Item = (&Str, &mut V)> {
        self.0.iter_mut().map(|e| (&e.key, &mut e.value))
    }

    /// Keys in ascending order.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &Str> {
        self.0.iter().map(|e| &e.key)
    }

    /// Values in ascending order of keys.
    pub fn values(&self) -> impl ExactSizeIterator<Item = &V> {
        self.0.iter().map(|e| &e.value)
    }

    /// Values in ascending order of keys, to change.
    pub fn values_mut(&mut self) -> impl ExactSizeIterator<Item = &mut V> {
        self.0.iter_mut().map(|e| &mut e.value)
    }

    /// Keeps the entries that `keep` accepts.
    pub fn retain(&mut self, mut keep: impl FnMut(&Str, &V) -> bool) {
        self.0.retain(|e| keep(&e.key, &e.value));
    }

    /// Drops the entries; nil stays nil.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

/// Iterator over entries in ascending order of keys.
pub struct Iter<'a, V>(std::slice::Iter<'a, Entry<V>>);

impl<'a, V> Iterator for Iter<'a, V> {
    type Item = (&'a Str, &'a V);
    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(|e| (&e.key, &e.value))
    }
    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}
impl<V> ExactSizeIterator for Iter<'_, V> {}
impl<V> DoubleEndedIterator for Iter<'_, V> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.0.next_back().map(|e| (&e.key, &e.value))
    }
}
impl<V> Clone for Iter<'_, V> {
    fn clone(&self) -> Self {
        Iter(self.0.clone())
    }
}

impl<V> Default for Map<V> {
    fn default() -> Map<V> {
        Map::NIL
    }
}
impl<V: Clone> Clone for Map<V> {
    fn clone(&self) -> Map<V> {
        Map(self.0.clone())
    }
}
/// Exact: nil differs from empty.
impl<V: PartialEq> PartialEq for Map<V> {
    fn eq(&self, other: &Map<V>) -> bool {
        self.0 == other.0
    }
}
impl<V: Eq> Eq for Map<V> {}

impl<V: fmt::Debug> fmt::Debug for Map<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_nil() {
            f.write_str("nil")
        } else {
            f.debug_map().entries(self.iter()).finish()
        }
    }
}

impl<V> std::ops::Index<&str> for Map<V> {
    type Output = V;
    /// The value of a key that must be there.
    fn index(&self, key: &str) -> &V {
        self.get(key)
            .unwrap_or_else(|| panic!("no key {key:?} in the map"))
    }
}

/// Nil when there are no entries, as for lists.
impl<K: Into<Str>, W: Into<V>, V> FromIterator<(K, W)> for Map<V> {
    fn from_iter<I: IntoIterator<Item = (K, W)>>(iter: I) -> Map<V> {
        let mut map = Map::NIL;
        map.extend(iter);
        map
    }
}
impl<K: Into<Str>, W: Into<V>, V> Extend<(K, W)> for Map<V> {
    fn extend<I: IntoIterator<Item = (K, W)>>(&mut self, iter: I) {
        for (key, value) in iter {
            self.insert(key, value);
        }
    }
}
impl<K: Into<Str>, W: Into<V>, V, const N: usize> From<[(K, W); N]> for Map<V> {
    fn from(entries: [(K, W); N]) -> Map<V> {
        let mut map = Map::empty();
        map.extend(entries);
        map
    }
}

impl<'a, V> IntoIterator for &'a Map<V> {
    type Item = (&'a Str, &'a V);
    type IntoIter = Iter<'a, V>;
    fn into_iter(self) -> Iter<'a, V> {
        self.iter()
    }
}
/// Iterator over owned entries in ascending order of keys.
pub struct IntoIter<V>(std::vec::IntoIter<Entry<V>>);

impl<V> Iterator for IntoIter<V> {
    type Item = (Str, V);
    fn next(&mut self) -> Option<(Str, V)> {
        self.0.next().map(|e| (e.key, e.value))
    }
    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}
impl<V> ExactSizeIterator for IntoIter<V> {}

impl<V> IntoIterator for Map<V> {
    type Item = (Str, V);
    type IntoIter = IntoIter<V>;
    fn into_iter(self) -> IntoIter<V> {
        IntoIter(self.0.into_iter())
    }
}
