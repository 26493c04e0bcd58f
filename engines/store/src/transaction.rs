//! What callers ask the store to change, and what it answers.

use crate::cache::AnyObject;
use crate::engine::EngineError;
use crate::{Encoding, Entry, Header, Key, ReadError, Revision, StateSnapshot};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

/// What must hold of a key before a transaction, or the whole transaction is refused.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Precondition {
    /// Nothing.
    #[default]
    Any,
    /// The object does not exist.
    MustNotExist,
    /// The object exists.
    MustExist,
    /// The object exists and is at this revision; [`Revision::NONE`] means that it does not exist.
    ModRevision(Revision),
    /// The object exists and has this uid.
    Uid(String),
}

impl Precondition {
    /// Whether it holds of a key's current entry.
    pub fn holds(&self, current: Option<&Entry>) -> bool {
        match (self, current) {
            (Precondition::Any, _) => true,
            (Precondition::MustNotExist, current) => current.is_none(),
            (Precondition::MustExist, current) => current.is_some(),
            (Precondition::ModRevision(wanted), Some(entry)) => entry.mod_revision() == *wanted,
            (Precondition::ModRevision(wanted), None) => *wanted == Revision::NONE,
            (Precondition::Uid(wanted), current) => {
                current.is_some_and(|entry| entry.header().uid() == wanted)
            }
        }
    }
}

/// How long an object lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Expiry {
    /// Until it is deleted.
    #[default]
    Never,
    /// As its current version does; never, if there is none.
    Keep,
    /// The store deletes it this long after the commit.
    After(Duration),
}

/// Gives the typed object its resourceVersion (the entry's mod_revision) and shares it.
pub type FinishObject = Box<dyn FnOnce(&Entry) -> AnyObject + Send>;

/// Bytes with a hole where the commit writes the resourceVersion's decimal digits.
#[derive(Clone, Debug)]
pub struct Template {
    /// Which encoding this is.
    pub encoding: Encoding,
    /// The bytes without the digits.
    pub bytes: Bytes,
    /// Where the digits go, counted in bytes.
    pub revision_at: usize,
}

impl Template {
    /// The bytes with the revision in place.
    pub fn fill(&self, revision: Revision) -> Bytes {
        let digits = revision.0.to_string();
        let (head, tail) = self.bytes.split_at(self.revision_at.min(self.bytes.len()));
        let mut filled = Vec::with_capacity(self.bytes.len() + digits.len());
        filled.extend_from_slice(head);
        filled.extend_from_slice(digits.as_bytes());
        filled.extend_from_slice(tail);
        filled.into()
    }
}

/// Writes one object.
pub struct Put {
    /// Where.
    pub key: Key,
    /// What must hold of the key now.
    pub precondition: Precondition,
    /// The bytes to store, without a resourceVersion. They are kept as they are: a slice of a larger buffer
    /// keeps all of that buffer in memory.
    pub stored: Bytes,
    /// What selectors and others read without decoding.
    pub header: Header,
    /// How long the object lives.
    pub expiry: Expiry,
    /// The lease to attach it to, for whoever keeps leases; 0 is none.
    pub lease: u64,
    /// The typed object, so that nobody has to decode it, and its approximate size in bytes.
    pub object: Option<(FinishObject, usize)>,
    /// Encodings that the writer had to make anyway.
    pub encodings: Vec<Template>,
}

impl Put {
    /// A write with no precondition, no expiry and nothing cached.
    pub fn new(key: Key, stored: Bytes, header: Header) -> Put {
        Put {
            key,
            precondition: Precondition::Any,
            stored,
            header,
            expiry: Expiry::Never,
            lease: 0,
            object: None,
            encodings: Vec::new(),
        }
    }

    /// Sets what must hold of the key.
    pub fn when(self, precondition: Precondition) -> Put {
        Put {
            precondition,
            ..self
        }
    }

    /// Sets how long the object lives.
    pub fn expiring(self, expiry: Expiry) -> Put {
        Put { expiry, ..self }
    }

    /// Attaches it to a lease, which is a number that the store keeps and nothing more.
    pub fn leased(self, lease: u64) -> Put {
        Put { lease, ..self }
    }

    /// Gives the typed object; `finish` sets its resourceVersion, `size` is about what it takes in memory.
    pub fn with_object(
        self,
        size: usize,
        finish: impl FnOnce(&Entry) -> AnyObject + Send + 'static,
    ) -> Put {
        Put {
            object: Some((Box::new(finish), size)),
            ..self
        }
    }

    /// Gives an encoding with a hole for the resourceVersion.
    pub fn with_encoding(mut self, template: Template) -> Put {
        self.encodings.push(template);
        self
    }
}

/// One step of a transaction.
pub enum Op {
    /// Writes an object.
    Put(Put),
    /// Deletes an object; deleting what does not exist changes nothing unless the precondition forbids it.
    Delete(Key, Precondition),
    /// Changes nothing, but must hold.
    Check(Key, Precondition),
}

impl Op {
    /// The key it concerns.
    pub fn key(&self) -> &Key {
        match self {
            Op::Put(put) => &put.key,
            Op::Delete(key, _) | Op::Check(key, _) => key,
        }
    }

    /// What must hold of the key.
    pub fn precondition(&self) -> &Precondition {
        match self {
            Op::Put(put) => &put.precondition,
            Op::Delete(_, precondition) | Op::Check(_, precondition) => precondition,
        }
    }

    pub(crate) fn size(&self) -> usize {
        self.key().tail().len()
            + if let Op::Put(put) = self {
                put.stored.len()
            } else {
                0
            }
    }
}

/// Steps that happen all together, at one revision, or not at all. No key may occur twice; every precondition
/// is checked against the state before the transaction.
#[derive(Default)]
pub struct Transaction {
    /// The steps.
    pub ops: Vec<Op>,
    /// Changes beside the revisions, durable with the steps.
    pub notes: Vec<Note>,
    /// Adds steps when the transaction's turn comes.
    pub plan: Option<Plan>,
    /// How durable it must be before it is answered.
    pub durability: Durability,
}

/// How durable something is before it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Durability {
    /// It survives the power.
    #[default]
    Synced,
    /// It survives the process, and the power only a little later, where the store allows that
    /// ([`crate::Options::relaxed`]).
    Relaxed,
}

/// Decides what a transaction does when its turn comes, on the state that it will change. Runs on the writer's
/// thread, so it must neither block nor take long.
pub type Plan = Box<dyn FnOnce(&StateSnapshot) -> Planned + Send>;

/// What a [`Plan`] decided.
#[derive(Default)]
pub struct Planned {
    /// Steps after those of the transaction.
    pub ops: Vec<Op>,
    /// Changes beside the revisions.
    pub notes: Vec<Note>,
}

/// A named text beside the objects: durable, outside of revisions, history and watches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Its name.
    pub name: Arc<str>,
    /// Its text; none removes it.
    pub text: Option<Bytes>,
}

impl Note {
    /// Writes a note.
    pub fn set(name: &str, text: impl Into<Bytes>) -> Note {
        Note {
            name: name.into(),
            text: Some(text.into()),
        }
    }

    /// Removes a note.
    pub fn remove(name: &str) -> Note {
        Note {
            name: name.into(),
            text: None,
        }
    }
}

impl Transaction {
    /// A transaction that writes one object.
    pub fn put(put: Put) -> Transaction {
        Transaction::of(vec![Op::Put(put)])
    }

    /// A transaction that deletes one object.
    pub fn delete(key: Key, precondition: Precondition) -> Transaction {
        Transaction::of(vec![Op::Delete(key, precondition)])
    }

    /// A transaction of these steps.
    pub fn of(ops: Vec<Op>) -> Transaction {
        Transaction {
            ops,
            ..Transaction::default()
        }
    }

    /// A transaction whose steps are decided when its turn comes.
    pub fn planned(plan: impl FnOnce(&StateSnapshot) -> Planned + Send + 'static) -> Transaction {
        Transaction {
            plan: Some(Box::new(plan)),
            ..Transaction::default()
        }
    }

    /// Adds a step.
    pub fn and(mut self, op: Op) -> Transaction {
        self.ops.push(op);
        self
    }
}

impl From<Put> for Transaction {
    fn from(put: Put) -> Transaction {
        Transaction::put(put)
    }
}

/// What bounds one transaction; what is beyond is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The longest key, in bytes of its path.
    pub key_bytes: usize,
    /// The largest value, in bytes.
    pub value_bytes: usize,
    /// The most steps that a caller may ask for; a plan may decide on more.
    pub ops: usize,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds {
            key_bytes: 4 << 10,
            value_bytes: 3 << 20,
            ops: 128,
        }
    }
}

/// What one step of a committed transaction did.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The object as it now is.
    Put(Arc<Entry>),
    /// The object as it was.
    Deleted(Arc<Entry>),
    /// There was nothing to delete, or nothing but a check was asked for.
    Unchanged,
}

impl Outcome {
    /// The entry written or deleted.
    pub fn entry(&self) -> Option<&Arc<Entry>> {
        match self {
            Outcome::Put(entry) | Outcome::Deleted(entry) => Some(entry),
            Outcome::Unchanged => None,
        }
    }
}

/// A transaction that is durable and visible to every reader.
#[derive(Clone, Debug)]
pub struct Committed {
    /// Its revision; for a deletion the resourceVersion to show. If nothing changed, the store's revision.
    pub revision: Revision,
    /// What each step did, in order.
    pub outcomes: Vec<Outcome>,
}

impl Committed {
    /// The entry that the first step wrote or deleted.
    pub fn entry(&self) -> Option<&Arc<Entry>> {
        self.outcomes.first()?.entry()
    }
}

/// A precondition that did not hold.
#[derive(Clone, Debug)]
pub struct Conflict {
    /// Which step of the transaction.
    pub op: usize,
    /// The key it concerns.
    pub key: Key,
    /// What was to hold.
    pub precondition: Precondition,
    /// What is there instead.
    pub current: Option<Arc<Entry>>,
    /// The store's revision at that moment.
    pub revision: Revision,
}

/// Why a transaction was not committed.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// A precondition did not hold; nothing changed.
    #[error("commit of {key}: it must satisfy {precondition:?}, but {}", Current(.0), key = .0.key, precondition = .0.precondition)]
    Conflict(Box<Conflict>),
    /// The transaction itself is wrong; nothing changed.
    #[error("commit of {key}: the transaction is refused because {reason}")]
    Invalid {
        /// The key at fault.
        key: Key,
        /// What is wrong.
        reason: &'static str,
    },
    /// The object could not be encrypted; nothing changed.
    #[error("commit of {key}: it could not be encrypted: {reason}")]
    Seal {
        /// The key.
        key: Key,
        /// Why not.
        reason: String,
    },
    /// What it replaces could not be read back, which watchers and old views would need; nothing changed.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The transaction is larger than the store takes; nothing changed.
    #[error("commit of {key}: {what} is {size}, at most {max} is stored")]
    TooLarge {
        /// The key at fault, shortened.
        key: String,
        /// What is too large, and in which unit.
        what: &'static str,
        /// How large it is.
        size: usize,
        /// How large it may be.
        max: usize,
    },
    /// The store accepts no writes now; nothing changed. [`crate::Store::health`] tells when it does again.
    #[error("the store is read-only: {0}")]
    ReadOnly(String),
    /// The log could not be written. Readers do not see the change, but if the process ends before the store
    /// is writable again, it may be there afterwards.
    #[error(
        "the log could not be written; whether the change outlives a restart is not known: {0}"
    )]
    Storage(Arc<EngineError>),
    /// The store was closed; nothing changed.
    #[error("the store is closed")]
    Closed,
}

struct Current<'a>(&'a Conflict);

impl std::fmt::Display for Current<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0.current {
            None => f.write_str("it does not exist"),
            Some(entry) => write!(
                f,
                "it is at revision {} with uid {:?}",
                entry.mod_revision(),
                entry.header().uid()
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_takes_the_revision() {
        let template = Template {
            encoding: Encoding(1),
            bytes: Bytes::from_static(b"{\"rv\":\"\"}"),
            revision_at: 7,
        };
        assert_eq!(template.fill(Revision(1042)), "{\"rv\":\"1042\"}");
    }
}
