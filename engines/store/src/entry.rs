//! Entries and events: what readers and watchers get. Both are immutable and shared; only their slots fill.

use crate::cache::{AnyObject, Budget, Encoding, Slots};
use crate::cold::Stored;
use crate::{Header, Key, ReadError, Revision};
use bytes::Bytes;
use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// One version of one stored object.
pub struct Entry {
    key: Key,
    create_revision: Revision,
    mod_revision: Revision,
    version: u64,
    /// Milliseconds since the Unix epoch; 0 is never.
    expires_at: u64,
    /// The lease it is attached to; 0 is none.
    lease: u64,
    is_stale: bool,
    header: Header,
    stored: Stored,
    slots: Slots,
    /// 0 is none.
    note: AtomicU64,
}

pub(crate) struct EntryParts {
    pub(crate) key: Key,
    pub(crate) create_revision: Revision,
    pub(crate) mod_revision: Revision,
    pub(crate) version: u64,
    pub(crate) expires_at: u64,
    pub(crate) lease: u64,
    pub(crate) is_stale: bool,
    pub(crate) header: Header,
    pub(crate) stored: Stored,
}

impl Entry {
    pub(crate) fn new(parts: EntryParts, budget: &Arc<Budget>) -> Entry {
        let EntryParts {
            key,
            create_revision,
            mod_revision,
            version,
            expires_at,
            lease,
            is_stale,
            header,
            stored,
        } = parts;
        Entry {
            key,
            create_revision,
            mod_revision,
            version,
            expires_at,
            lease,
            is_stale,
            header,
            stored,
            slots: Slots::new(budget),
            note: AtomicU64::new(0),
        }
    }

    /// A number that its reader has worked out about the stored bytes; none if it has not yet.
    pub fn note(&self) -> Option<NonZeroU64> {
        NonZeroU64::new(self.note.load(Relaxed))
    }

    /// Keeps a number for as long as the entry is in memory. It must follow from the stored bytes and the revision.
    pub fn keep_note(&self, note: u64) {
        self.note.store(note, Relaxed);
    }

    /// The object's key.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// The namespace, empty for a cluster-scoped object.
    pub fn namespace(&self) -> &str {
        self.key.namespace()
    }

    /// The name.
    pub fn name(&self) -> &str {
        self.key.name()
    }

    /// The revision at which the object was created.
    pub fn create_revision(&self) -> Revision {
        self.create_revision
    }

    /// The revision of this version: the object's `resourceVersion`.
    pub fn mod_revision(&self) -> Revision {
        self.mod_revision
    }

    /// How many times the object was written since it was created, that time included.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// When the store deletes the object by itself, as time since the Unix epoch.
    pub fn expires_at(&self) -> Option<Duration> {
        (self.expires_at != 0).then(|| Duration::from_millis(self.expires_at))
    }

    /// The lease that the writer attached it to; 0 is none. The store only keeps the number.
    pub fn lease(&self) -> u64 {
        self.lease
    }

    /// Whether its bytes at rest are to be written again: another key than the one in use now encrypted them.
    pub fn is_stale(&self) -> bool {
        self.is_stale
    }

    pub(crate) fn expires_at_millis(&self) -> u64 {
        self.expires_at
    }

    /// What selectors, garbage collection and authorization read.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The stored bytes, without a resourceVersion. Where memory is bounded ([`crate::Options::bounded`]) they may
    /// have to be read back from the disk, which may fail.
    pub fn stored(&self) -> Result<Bytes, ReadError> {
        match &self.stored {
            Stored::Kept(bytes) => Ok(bytes.clone()),
            Stored::Paged(paged) => paged.read(self),
        }
    }

    /// How many bytes are stored.
    pub fn stored_len(&self) -> usize {
        match &self.stored {
            Stored::Kept(bytes) => bytes.len(),
            Stored::Paged(paged) => paged.len(),
        }
    }

    /// The stored bytes for somebody who reads everything once: what is not in memory stays out of it.
    pub(crate) fn peek(&self) -> Result<Bytes, ReadError> {
        match &self.stored {
            Stored::Kept(bytes) => Ok(bytes.clone()),
            Stored::Paged(paged) => paged.peek(self),
        }
    }

    /// The log is about to replace it.
    pub(crate) fn pin(&self) -> Result<(), ReadError> {
        match &self.stored {
            Stored::Kept(_) => Ok(()),
            Stored::Paged(paged) => paged.pin(self),
        }
    }

    /// The log has it.
    pub(crate) fn release(&self) {
        if let Stored::Paged(paged) = &self.stored {
            paged.release();
        }
    }

    /// The typed object, if it is in memory.
    pub fn object(&self) -> Option<AnyObject> {
        self.slots.object()
    }

    /// The typed object; `make` answers it with its approximate size in bytes when it is not in memory.
    pub fn object_or<E>(
        &self,
        make: impl FnOnce(&Entry) -> Result<(AnyObject, usize), E>,
    ) -> Result<AnyObject, E> {
        match self.slots.object() {
            Some(object) => Ok(object),
            None => make(self).map(|(object, size)| self.slots.keep_object(object, size)),
        }
    }

    /// Lets go of the typed object: it is made again when it is asked for.
    pub fn forget_object(&self) {
        self.slots.forget_object();
    }

    /// The typed object as a `T`, if it is in memory and is one.
    pub fn object_as<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        self.object()?.downcast().ok()
    }

    /// An encoding of the object, if it is in memory.
    pub fn encoded(&self, encoding: Encoding) -> Option<Bytes> {
        self.slots.encoded(encoding)
    }

    /// An encoding of the object; `make` makes it when it is not in memory.
    pub fn encoded_or<E>(
        &self,
        encoding: Encoding,
        make: impl FnOnce(&Entry) -> Result<Bytes, E>,
    ) -> Result<Bytes, E> {
        match self.slots.encoded(encoding) {
            Some(bytes) => Ok(bytes),
            None => make(self).map(|bytes| self.slots.keep_encoded(encoding, bytes)),
        }
    }

    pub(crate) fn slots(&self) -> &Slots {
        &self.slots
    }

    /// The memory it takes without its slots, in bytes.
    pub(crate) fn size(&self) -> usize {
        size_of::<Entry>() + 32 + self.key.tail().len() + self.header.size() + self.stored_len()
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} @{} v{} ({} B)",
            self.key,
            self.mod_revision,
            self.version,
            self.stored_len()
        )
    }
}

/// An entry as it is ordered in its tree.
#[derive(Clone)]
pub(crate) struct ByKey(pub(crate) Arc<Entry>);

impl Borrow<str> for ByKey {
    fn borrow(&self) -> &str {
        self.0.key.tail()
    }
}

impl PartialEq for ByKey {
    fn eq(&self, other: &ByKey) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for ByKey {}

impl PartialOrd for ByKey {
    fn partial_cmp(&self, other: &ByKey) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ByKey {
    fn cmp(&self, other: &ByKey) -> Ordering {
        self.0.key.tail().cmp(other.0.key.tail())
    }
}

/// What happened to an object.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum EventKind {
    /// It did not exist before.
    Created,
    /// It existed before.
    Updated,
    /// It exists no longer.
    Deleted,
}

/// One change of one object.
pub struct Event {
    revision: Revision,
    entry: Option<Arc<Entry>>,
    previous: Option<Arc<Entry>>,
    /// On the store's monotonic clock, in milliseconds.
    pub(crate) at: u64,
    slots: Slots,
}

/// How an event looks to a watcher that sees only the objects a selector selects.
#[derive(Clone, Copy, Debug)]
pub enum Transition<'a> {
    /// The object came into view: show it.
    Enter(&'a Arc<Entry>),
    /// The object changed within view: show its new state.
    Change(&'a Arc<Entry>),
    /// The object left view or was deleted: show this last visible state, at the event's revision.
    Leave(&'a Arc<Entry>),
}

impl Event {
    pub(crate) fn new(
        revision: Revision,
        entry: Option<Arc<Entry>>,
        previous: Option<Arc<Entry>>,
        at: u64,
        budget: &Arc<Budget>,
    ) -> Event {
        debug_assert!(entry.is_some() || previous.is_some());
        Event {
            revision,
            entry,
            previous,
            at,
            slots: Slots::new(budget),
        }
    }

    /// The revision of the change; for a deletion the `resourceVersion` that watchers show.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// What happened.
    pub fn kind(&self) -> EventKind {
        match (&self.entry, &self.previous) {
            (Some(_), None) => EventKind::Created,
            (Some(_), Some(_)) => EventKind::Updated,
            (None, _) => EventKind::Deleted,
        }
    }

    /// The object after the change; none for a deletion.
    pub fn entry(&self) -> Option<&Arc<Entry>> {
        self.entry.as_ref()
    }

    /// The object before the change; none for a creation.
    pub fn previous(&self) -> Option<&Arc<Entry>> {
        self.previous.as_ref()
    }

    /// The object after the change, or the last state of a deleted one.
    pub fn latest(&self) -> &Arc<Entry> {
        self.entry
            .as_ref()
            .or(self.previous.as_ref())
            .expect("an event has a state before or after it")
    }

    /// The object's key.
    pub fn key(&self) -> &Key {
        self.latest().key()
    }

    /// How the event looks through a selector; none if the object was out of view before and after.
    pub fn transition(&self, selects: impl Fn(&Entry) -> bool) -> Option<Transition<'_>> {
        let before = self.previous.as_ref().filter(|entry| selects(entry));
        let after = self.entry.as_ref().filter(|entry| selects(entry));
        match (before, after) {
            (None, None) => None,
            (None, Some(after)) => Some(Transition::Enter(after)),
            (Some(_), Some(after)) => Some(Transition::Change(after)),
            (Some(before), None) => Some(Transition::Leave(before)),
        }
    }

    /// A frame of this event (format, version and event type are the caller's to number), if in memory.
    pub fn frame(&self, encoding: Encoding) -> Option<Bytes> {
        self.slots.encoded(encoding)
    }

    /// A frame of this event, made once and shared by all watchers.
    pub fn frame_or<E>(
        &self,
        encoding: Encoding,
        make: impl FnOnce(&Event) -> Result<Bytes, E>,
    ) -> Result<Bytes, E> {
        match self.slots.encoded(encoding) {
            Some(bytes) => Ok(bytes),
            None => make(self).map(|bytes| self.slots.keep_encoded(encoding, bytes)),
        }
    }

    /// About the memory its retention costs, in bytes: the previous entry, and its share of retained trees.
    pub(crate) fn cost(&self) -> usize {
        size_of::<Event>() + 280 + self.previous.as_ref().map_or(0, |entry| entry.size())
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?} {}", self.revision, self.kind(), self.key())
    }
}
