//! One file per controller, always the same shape: what is observed of a snapshot, and the plan made from it.
//!
//! Invariant: pure. A reconcile depends on the snapshot, the key and the moment alone, and applying its plans again and
//! again comes to rest. Carrying plans out, retrying and recording events is the driver's.

pub mod autoscaler;
pub mod bootstrap_signer;
pub mod certificates;
pub mod claim;
pub mod clusterrole_aggregation;
pub mod cronjob;
pub mod custom;
pub mod daemonset;
pub mod deployment;
pub mod disruption;
pub mod endpoints;
pub mod endpointslice;
pub mod endpointslice_mirroring;
pub mod ephemeral_volume;
pub mod garbage;
pub mod job;
pub mod legacy_token_cleaner;
pub mod namespace;
pub mod node_fit;
pub mod node_lifecycle;
pub mod persistent_volume;
pub mod plan;
pub mod pod_gc;
pub mod pods;
pub mod protection;
pub mod registry;
pub mod replicaset;
pub mod replicationcontroller;
pub mod resource_claim;
pub mod resourcequota;
pub mod revisions;
pub mod root_ca;
pub mod service_address;
#[cfg(test)]
mod service_address_tests;
pub mod service_cidr;
pub mod serviceaccount;
#[cfg(test)]
mod settle_tests;
pub mod statefulset;
pub mod storage_migration;
pub mod taint_eviction;
pub mod template;
#[cfg(test)]
mod testing;
pub mod token_cleaner;
pub mod ttl;
pub mod ttl_after_finished;

pub use plan::{Context, Fact, Failure, Note, Plan, Propagation, Step, Target, Told, Write};
pub use registry::{API_SERVER, CONTROLLERS, Controller, Wake};
