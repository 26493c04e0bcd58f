//! The node itself: what it is, its object and status, its lease, which pods it refuses and which resizes it grants.

pub(crate) mod admit;
pub(crate) mod allocate;
pub(crate) mod collect;
pub(crate) mod facts;
pub(crate) mod register;
