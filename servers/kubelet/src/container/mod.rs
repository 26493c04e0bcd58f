//! From a container of the spec to what the runtime is asked for.

pub(crate) mod downward;
pub(crate) mod env;
pub(crate) mod expand;
pub(crate) mod files;
pub(crate) mod limits;
pub(crate) mod mounts;
pub(crate) mod security;
