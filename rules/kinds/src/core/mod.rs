//! The kinds of the core group, one file or folder each.

pub mod claim;
mod columns;
pub mod component_status;
pub mod configmap;
pub mod endpoints;
pub mod event;
pub mod limitrange;
pub mod namespace;
pub mod node;
pub mod pod;
pub mod podtemplate;
pub mod quota;
pub mod replicationcontroller;
pub mod secret;
pub mod service;
pub mod serviceaccount;
pub mod volume;
pub(crate) mod volume_spec;
