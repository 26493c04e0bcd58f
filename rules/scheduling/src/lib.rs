//! Which node a pod goes to: filters, scores and preemption over one view of the cluster.
//!
//! Invariant: pure and deterministic; the same view, pod and seed give the same node, and a pod is never put where a
//! filter refuses it. Leaves out: binding, waiting and telling, which are the scheduler's loop.

mod cluster;
mod decide;
pub mod filters;
mod pod;
pub mod preempt;
pub mod queue;
mod resources;
pub mod scores;

pub use cluster::{Cluster, NodeInfo, PodInfo};
pub use decide::{Decision, Unschedulable, schedule};
pub use filters::Refusal;
pub use pod::PodView;
pub use preempt::Budgets;
pub use resources::{Amounts, requests};
