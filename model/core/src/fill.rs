//! Filling maps in whatever order keys come. Invariant: n entries cost n log n whoever chose their order; a map is in
//! order again when its filler is gone. Small maps and keys that ascend take no detour.

use std::collections::HashMap;
use std::mem::MaybeUninit;

use crate::access::{Slot, slot_at};
use crate::erased::KEY;
use crate::many::{MapMut, MapRef};
use crate::str::Str;
use crate::table::Kind;
use crate::value::{Value, ValueMap};

/// Maps up to this size are kept in order all the time: moving so few entries costs nothing.
const SMALL: usize = 128;

/// Puts entries into a map seen through a table.
pub struct MapFiller<'a> {
    map: MapMut<'a>,
    /// Where each key is, from the first one that came out of order.
    places: Option<HashMap<Str, usize>>,
}

impl<'a> MapFiller<'a> {
    /// Goes on with what the map has.
    pub fn new(map: MapMut<'a>) -> MapFiller<'a> {
        MapFiller { map, places: None }
    }

    /// What one value is.
    pub fn kind(&self) -> Kind {
        self.map.kind()
    }

    /// Number of entries so far.
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// The place of a zero value under `key`; a value that was there is dropped.
    pub fn insert(&mut self, key: Str) -> Slot<'_> {
        if self.places.is_none() {
            let (list, of) = (&*self.map.list, self.map.of);
            let view = MapRef { list, of };
            if view.len() < SMALL || view.last_key().is_none_or(|last| last < &key) {
                return self.map.insert(key);
            }
            let keys = view.iter().map(|(key, _)| key.clone());
            self.places = Some(keys.zip(0..).collect());
        }
        let entry = self.map.of.entry();
        let next = self.map.len();
        let places = self.places.get_or_insert_default();
        let found = places.get(&key).copied();
        // SAFETY: found places hold an entry; the place after the last one gets its key and a zero value at once.
        unsafe {
            let at = match found {
                Some(index) => {
                    let at = self.map.list.place(index, entry.size());
                    self.map.of.drop(at.add(KEY));
                    at
                }
                None => {
                    places.insert(key.clone(), next);
                    let at = self.map.list.open(next, entry);
                    (at as *mut Str).write(key);
                    at
                }
            };
            self.map.of.write_zero(at.add(KEY));
            slot_at(self.map.of, at.add(KEY))
        }
    }

    fn order(&mut self) {
        let size = self.map.of.entry().size();
        let count = self.map.len();
        let list = &*self.map.list;
        // SAFETY: every place below the length holds an entry, whose key is at its start.
        let key = |index: usize| unsafe { &*(list.place(index, size) as *const Str) };
        let mut order: Vec<usize> = (0..count).collect();
        order.sort_unstable_by(|a, b| key(*a).cmp(key(*b)));
        let mut moved: Vec<MaybeUninit<u8>> = Vec::with_capacity(size * count);
        // SAFETY: each entry is copied to the buffer once and back once, so that every one is in one place afterwards;
        // nothing between the two can fail.
        unsafe {
            for (to, from) in order.iter().enumerate() {
                let place = list.place(*from, size) as *const MaybeUninit<u8>;
                let target = moved.as_mut_ptr().add(to * size);
                std::ptr::copy_nonoverlapping(place, target, size);
            }
            let first = list.place(0, size) as *mut MaybeUninit<u8>;
            std::ptr::copy_nonoverlapping(moved.as_ptr(), first, size * count);
        }
    }
}

impl Drop for MapFiller<'_> {
    fn drop(&mut self) {
        if self.places.take().is_some() {
            self.order();
        }
    }
}

/// Collects the members of a `ValueMap`.
#[derive(Debug, Default)]
pub struct ValueMapFiller {
    members: Vec<(Str, Value)>,
    places: Option<HashMap<Str, usize>>,
}

impl ValueMapFiller {
    /// Goes on with what the map has.
    pub fn new(map: ValueMap) -> ValueMapFiller {
        ValueMapFiller {
            members: map.into_iter().collect(),
            places: None,
        }
    }

    /// Sets the member `key` and returns what it replaces.
    pub fn insert(&mut self, key: Str, value: Value) -> Option<Value> {
        if self.places.is_none() {
            if self.members.last().is_none_or(|(last, _)| *last < key) {
                self.members.push((key, value));
                return None;
            }
            if self.members.len() < SMALL {
                let found = self.members.binary_search_by(|(k, _)| k.cmp(&key));
                return match found {
                    Ok(at) => Some(std::mem::replace(&mut self.members[at].1, value)),
                    Err(at) => {
                        self.members.insert(at, (key, value));
                        None
                    }
                };
            }
            let keys = self.members.iter().map(|(key, _)| key.clone());
            self.places = Some(keys.zip(0..).collect());
        }
        let places = self.places.get_or_insert_default();
        if let Some(at) = places.get(&key) {
            return Some(std::mem::replace(&mut self.members[*at].1, value));
        }
        places.insert(key.clone(), self.members.len());
        self.members.push((key, value));
        None
    }

    /// Whether there is a member `key`.
    pub fn contains_key(&self, key: &str) -> bool {
        match &self.places {
            Some(places) => places.contains_key(key),
            None => self
                .members
                .binary_search_by(|(k, _)| k.as_str().cmp(key))
                .is_ok(),
        }
    }

    /// The map.
    pub fn finish(mut self) -> ValueMap {
        if self.places.is_some() {
            self.members.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        }
        ValueMap::from_ordered(self.members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::MsgMut;
    use crate::{List, Map, Message};

    pub struct Maps {
        pub texts: Map<Str>,
        pub lists: Map<List<Str>>,
    }
    crate::message! { Maps "t" Struct false 1 b"" b"\x00\x01" {
        texts: Map<Str>, "texts" 1 0;
        lists: Map<List<Str>>, "lists" 2 0;
    } }

    fn fill(maps: &mut Maps, field: usize, keys: impl Iterator<Item = String>) {
        let mut message = MsgMut::new(maps);
        let Slot::Map(map) = message.field(field) else {
            panic!("the field is a map");
        };
        let mut filler = MapFiller::new(map);
        for key in keys {
            match filler.insert(Str::from(key.as_str())) {
                Slot::Str(text) => *text = Str::from(format!("of {key}, which is long")),
                Slot::List(mut list) => {
                    if let Slot::Str(text) = list.push() {
                        *text = Str::from(key);
                    }
                }
                _ => panic!("the value is a text or a list"),
            }
        }
    }

    /// Every number below `count` twice, in an order that neither ascends nor descends.
    fn keys(count: usize) -> impl Iterator<Item = String> {
        (0..2 * count).map(move |i| format!("key-{:06}", (i * 7_919) % count))
    }

    /// As many as a body of the allowed size may hold.
    const DESCENDING: usize = if cfg!(miri) { 150 } else { 300_000 };

    /// More keys than are searched for one by one; Miri takes its time for each.
    const MANY: usize = if cfg!(miri) { 129 } else { 1_000 };

    #[test]
    fn maps_are_in_order_whatever_came() {
        let counts: &[usize] = match cfg!(miri) {
            true => &[1, MANY],
            false => &[1, 100, 127, 128, 129, MANY],
        };
        for &count in counts {
            let mut maps = Maps::ZERO;
            fill(&mut maps, 0, keys(count));
            fill(&mut maps, 1, keys(count));
            assert_eq!(maps.texts.len(), count);
            assert!(maps.texts.keys().is_sorted() && maps.lists.keys().is_sorted());
            let key = format!("key-{:06}", count / 2);
            assert!(maps.texts[&*key].contains(&key));
            assert_eq!(maps.lists[&*key].len(), 1);
        }
    }

    #[test]
    fn values_are_in_order_and_say_what_they_replace() {
        let mut filler = ValueMapFiller::default();
        let mut replaced = 0;
        for (at, key) in keys(MANY).enumerate() {
            let old = filler.insert(Str::from(key), Value::Int(at as i64));
            replaced += usize::from(old.is_some());
        }
        assert!(filler.contains_key("key-000100") && !filler.contains_key("key-x"));
        let map = filler.finish();
        assert_eq!((map.len(), replaced), (MANY, MANY));
        assert!(map.keys().is_sorted());
    }

    #[test]
    fn many_descending_keys_take_no_time() {
        let mut maps = Maps::ZERO;
        fill(
            &mut maps,
            0,
            (0..DESCENDING).rev().map(|i| format!("{i:06}")),
        );
        assert!(maps.texts.keys().is_sorted());
        let map: ValueMap = (0..DESCENDING)
            .rev()
            .map(|i| (format!("{i:06}"), 0))
            .collect();
        assert_eq!(map.len(), DESCENDING);
    }
}
