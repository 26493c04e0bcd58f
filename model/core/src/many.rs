//! Lists and maps seen through a table: `ListRef`/`ListMut` and `MapRef`/`MapMut`.
//! Invariant: a view pairs a list or map with the type of its elements or values; maps ascend by key.

use crate::access::{Ref, Slot, ref_at, slot_at};
use crate::erased::{KEY, RawList, Type};
use crate::str::Str;
use crate::table::{Kind, Msg};

/// A shared view of a list of any element.
#[derive(Clone, Copy)]
pub struct ListRef<'a> {
    pub(crate) list: &'a RawList,
    pub(crate) of: Type,
}

/// An exclusive view of a list of any element.
pub struct ListMut<'a> {
    pub(crate) list: &'a mut RawList,
    pub(crate) of: Type,
}

/// A shared view of a map of any value.
#[derive(Clone, Copy)]
pub struct MapRef<'a> {
    pub(crate) list: &'a RawList,
    pub(crate) of: Type,
}

/// An exclusive view of a map of any value.
pub struct MapMut<'a> {
    pub(crate) list: &'a mut RawList,
    pub(crate) of: Type,
}

impl<'a> ListRef<'a> {
    pub(crate) fn of(self) -> Type {
        self.of
    }
    /// Number of elements.
    #[inline]
    pub fn len(self) -> usize {
        self.list.len as usize
    }
    /// Whether there are no elements, nil or not.
    pub fn is_empty(self) -> bool {
        self.list.len == 0
    }
    /// Whether the list is nil.
    #[inline]
    pub fn is_nil(self) -> bool {
        self.list.ptr.is_null()
    }
    /// What one element is.
    pub fn kind(self) -> Kind {
        self.of.kind
    }
    /// The table of the elements, for messages.
    pub fn msg(self) -> Option<&'static Msg> {
        self.of.msg
    }
    /// The element at `index`, which must exist.
    #[inline]
    pub fn get(self, index: usize) -> Ref<'a> {
        assert!(index < self.len());
        // SAFETY: the place exists and holds an element of the list's type.
        unsafe { ref_at(self.of, self.list.place(index, self.of.size)) }
    }
    /// The elements in order.
    pub fn iter(self) -> impl DoubleEndedIterator<Item = Ref<'a>> + ExactSizeIterator {
        (0..self.len()).map(move |i| self.get(i))
    }
}

impl ListMut<'_> {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.list.len as usize
    }
    /// Whether there are no elements, nil or not.
    pub fn is_empty(&self) -> bool {
        self.list.len == 0
    }
    /// What one element is.
    pub fn kind(&self) -> Kind {
        self.of.kind
    }
    /// The table of the elements, for messages.
    pub fn msg(&self) -> Option<&'static Msg> {
        self.of.msg
    }
    /// A nil list becomes empty.
    pub fn make(&mut self) {
        self.list.make_empty(self.of.element());
    }
    /// Appends a zero element and gives its place (a message, scalar or text; never nil).
    #[inline]
    pub fn push(&mut self) -> Slot<'_> {
        let len = self.len();
        // SAFETY: the new place is filled with the type's zero at once.
        unsafe {
            let at = self.list.open(len, self.of.element());
            self.of.write_zero(at);
            slot_at(self.of, at)
        }
    }
    /// The place of the element at `index`, which must exist.
    pub fn get(&mut self, index: usize) -> Slot<'_> {
        assert!(index < self.len());
        // SAFETY: the place exists and holds an element of the type.
        unsafe { slot_at(self.of, self.list.place(index, self.of.size)) }
    }
    /// Drops all elements and makes the list nil.
    pub fn set_nil(&mut self) {
        drop_places(self.list, self.of, self.of.element(), 0);
    }
}

impl<'a> MapRef<'a> {
    pub(crate) fn of(self) -> Type {
        self.of
    }
    /// Number of entries.
    #[inline]
    pub fn len(self) -> usize {
        self.list.len as usize
    }
    /// Whether there are no entries, nil or not.
    pub fn is_empty(self) -> bool {
        self.list.len == 0
    }
    /// Whether the map is nil.
    #[inline]
    pub fn is_nil(self) -> bool {
        self.list.ptr.is_null()
    }
    /// What one value is (`StrList` for `map[string]ExtraValue`).
    pub fn kind(self) -> Kind {
        self.of.kind
    }
    /// The table of the values, for messages.
    pub fn msg(self) -> Option<&'static Msg> {
        self.of.msg
    }
    /// The entry at `index`, which must exist; entries ascend by key.
    #[inline]
    pub fn get(self, index: usize) -> (&'a Str, Ref<'a>) {
        assert!(index < self.len());
        // SAFETY: the place exists and holds a key and a value of the type.
        unsafe {
            let at = self.list.place(index, self.of.entry().size());
            (&*(at as *const Str), ref_at(self.of, at.add(KEY)))
        }
    }
    /// The entries, ascending by key.
    pub fn iter(self) -> impl DoubleEndedIterator<Item = (&'a Str, Ref<'a>)> + ExactSizeIterator {
        (0..self.len()).map(move |i| self.get(i))
    }
    fn find(self, key: &str) -> Result<usize, usize> {
        // Formats write keys in order, so the usual place is the end.
        match self.len().checked_sub(1) {
            None => return Err(0),
            Some(last) if self.get(last).0.as_str() < key => return Err(last + 1),
            Some(_) => {}
        }
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = (low + high) / 2;
            match self.get(middle).0.as_str().cmp(key) {
                std::cmp::Ordering::Equal => return Ok(middle),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }
}

impl<'a> MapRef<'a> {
    /// The greatest key.
    pub(crate) fn last_key(self) -> Option<&'a Str> {
        let last = self.len().checked_sub(1)?;
        // SAFETY: the place of a live entry, whose key is at its start.
        Some(unsafe { &*(self.list.place(last, self.of.entry().size()) as *const Str) })
    }
}

impl MapMut<'_> {
    /// What one value is (`StrList` for `map[string]ExtraValue`).
    pub fn kind(&self) -> Kind {
        self.of.kind
    }
    /// The table of the values, for messages.
    pub fn msg(&self) -> Option<&'static Msg> {
        self.of.msg
    }
    /// Number of entries.
    pub fn len(&self) -> usize {
        self.list.len as usize
    }
    /// Whether there are no entries, nil or not.
    pub fn is_empty(&self) -> bool {
        self.list.len == 0
    }
    /// A nil map becomes empty.
    pub fn make(&mut self) {
        self.list.make_empty(self.of.entry());
    }
    /// The place of a zero value under `key`; a value that was there is dropped.
    pub fn insert(&mut self, key: Str) -> Slot<'_> {
        let entry = self.of.entry();
        let found = MapRef {
            list: self.list,
            of: self.of,
        }
        .find(&key);
        // SAFETY: found places hold an entry; a new place gets its key and a zero value at once.
        unsafe {
            let at = match found {
                Ok(i) => {
                    let at = self.list.place(i, entry.size());
                    self.of.drop(at.add(KEY));
                    at
                }
                Err(i) => {
                    let at = self.list.open(i, entry);
                    (at as *mut Str).write(key);
                    at
                }
            };
            self.of.write_zero(at.add(KEY));
            slot_at(self.of, at.add(KEY))
        }
    }
    /// Drops all entries and makes the map nil.
    pub fn set_nil(&mut self) {
        for i in 0..self.len() {
            // SAFETY: the key of a live entry, dead afterwards; the values and the block go with drop_places.
            unsafe {
                std::ptr::drop_in_place(self.list.place(i, self.of.entry().size()) as *mut Str)
            }
        }
        drop_places(self.list, self.of, self.of.entry(), KEY);
    }
}

/// Drops the values at `offset` of every place, frees the block and makes the list nil.
fn drop_places(list: &mut RawList, of: Type, place: std::alloc::Layout, offset: usize) {
    let old = std::mem::replace(
        list,
        RawList {
            ptr: std::ptr::null_mut(),
            len: 0,
            cap: 0,
        },
    );
    // SAFETY: all places hold live values, and the block was allocated with `cap` places.
    unsafe {
        if !of.plain() {
            for i in 0..old.len as usize {
                of.drop(old.place(i, place.size()).add(offset));
            }
        }
        if old.cap > 0 && place.size() > 0 {
            let bytes = std::alloc::Layout::from_size_align_unchecked(
                place.size() * old.cap as usize,
                place.align(),
            );
            std::alloc::dealloc(old.ptr, bytes);
        }
    }
}
