//! Roles, ClusterRoles and their bindings. Who may grant what is decided by admission, not here.

mod binding;
mod columns;
mod role;

pub use binding::{ClusterRoleBindings, RoleBindings};
pub use role::{ClusterRoles, Roles};

/// The group of users, groups and roles.
const GROUP: &str = "rbac.authorization.k8s.io";
