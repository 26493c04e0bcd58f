//! Deployments, ReplicaSets, StatefulSets, DaemonSets, ControllerRevisions: one file per kind.

pub(crate) mod checks;
mod columns;
mod controller_revision;
mod daemon_set;
mod deployment;
mod replica_set;
mod stateful_set;
mod stateful_set_validation;

pub use controller_revision::ControllerRevisions;
pub use daemon_set::DaemonSets;
pub use deployment::Deployments;
pub use replica_set::ReplicaSets;
pub use stateful_set::StatefulSets;
