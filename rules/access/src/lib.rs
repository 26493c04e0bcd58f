//! Who may do what: authentication claims, RBAC, the node authorizer and built-in admission.
//!
//! Invariant: pure. A decision depends on the attributes of one request and a snapshot alone, and nothing is allowed
//! that no rule allows. Leaves out: reading credentials, which is the API server's.

pub mod abac;
pub mod admission;
mod attributes;
pub mod audit;
mod bootstrap;
pub mod configuration;
mod gated;
mod generated;
mod node;
mod node_references;
mod rbac;
mod review;
mod rules_cover;

pub use attributes::{Attributes, Decision, UserInfo};
pub use bootstrap::{bootstrap_objects, reconcile};
pub use node::decide as decide_node;
pub use rbac::Rules;
pub use review::{SubjectRules, all_rules, node_rules, rbac_rules};

use corten_meta::Snapshot;

/// The group whose members may do everything, whatever the rules say.
pub const MASTERS: &str = "system:masters";

/// Decides one request: members of `system:masters`, then the node authorizer, then RBAC.
pub fn authorize(rules: &Rules, snapshot: &Snapshot, attributes: &Attributes) -> Decision {
    if attributes.user.in_group(MASTERS) {
        return Decision::Allow(String::new());
    }
    match node::decide(snapshot, attributes) {
        Decision::NoOpinion(node_reason) => match rules.decide(attributes) {
            Decision::NoOpinion(reason) => Decision::NoOpinion(join(node_reason, reason)),
            decision => decision,
        },
        decision => decision,
    }
}

/// Reasons of several authorizers, as upstream's union prints them.
fn join(first: String, second: String) -> String {
    match (first.is_empty(), second.is_empty()) {
        (true, _) => second,
        (_, true) => first,
        _ => format!("{first}\n{second}"),
    }
}
