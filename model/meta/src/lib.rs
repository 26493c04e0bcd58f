//! Object keys, revisions, selectors and snapshots.
