//! The node itself: what it is, its object and status, its lease, and which pods it refuses.

pub(crate) mod admit;
pub(crate) mod collect;
pub(crate) mod facts;
pub(crate) mod register;
