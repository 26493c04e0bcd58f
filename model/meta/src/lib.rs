//! Object keys, revisions, selectors and snapshots: the words in which every layer speaks of objects.
//!
//! Invariant: pure values; equal keys mean the same object, and a snapshot never changes after it was handed out.
//! Leaves out: anything that reads or writes objects' bytes.

mod feature;
mod field_selector;
mod group;
mod key;
pub mod labels;
mod owners;
mod selector;
mod selector_parse;
mod snapshot;

pub use feature::{Feature, Features};
pub use field_selector::FieldSelector;
pub use group::{GroupResource, GroupVersionKind, GroupVersionResource};
pub use key::{ObjectKey, Revision};
pub use selector::{Operator, Requirement, Selector, SelectorError};
pub use snapshot::{Found, Snapshot, Source, Table};
