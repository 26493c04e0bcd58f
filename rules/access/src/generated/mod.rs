//! Facts taken from upstream.

pub(crate) mod policy;
