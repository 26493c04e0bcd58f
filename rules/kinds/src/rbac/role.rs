//! Roles and ClusterRoles: names, table.

use crate::rules::Rules;
use crate::{Column, names, plain_table};
use corten_api::rbac::v1::{ClusterRole, Role};
use corten_core::{Time, Value};

/// The strategy of Roles.
pub struct Roles;
/// The strategy of ClusterRoles.
pub struct ClusterRoles;

impl Rules for Roles {
    type Of = Role;

    fn columns(&self) -> &'static [Column] {
        &plain_table::COLUMNS
    }
    fn cells(&self, obj: &Role, _now: &Time) -> Vec<Value> {
        plain_table::cells(&obj.metadata)
    }
    fn create_on_update(&self) -> bool {
        true
    }
    fn invalid_name(&self, name: &str, prefix: bool) -> Vec<String> {
        names::path_segment(name, prefix)
    }
}

impl Rules for ClusterRoles {
    type Of = ClusterRole;

    fn columns(&self) -> &'static [Column] {
        &plain_table::COLUMNS
    }
    fn cells(&self, obj: &ClusterRole, _now: &Time) -> Vec<Value> {
        plain_table::cells(&obj.metadata)
    }
    fn create_on_update(&self) -> bool {
        true
    }
    fn invalid_name(&self, name: &str, prefix: bool) -> Vec<String> {
        names::path_segment(name, prefix)
    }
}
