//! RoleBindings and ClusterRoleBindings: defaults, names, table.

use super::{GROUP, columns};
use crate::rules::Rules;
use crate::{Column, cells, names};
use corten_api::meta::v1::ObjectMeta;
use corten_api::rbac::v1::{ClusterRoleBinding, RoleBinding, RoleRef, Subject};
use corten_core::{Time, Value};

/// The strategy of RoleBindings.
pub struct RoleBindings;
/// The strategy of ClusterRoleBindings.
pub struct ClusterRoleBindings;

fn default_binding(role: &mut RoleRef, subjects: &mut [Subject]) {
    if role.api_group.is_empty() {
        role.api_group = GROUP.into();
    }
    for subject in subjects {
        if subject.api_group.is_empty() && matches!(subject.kind.as_str(), "User" | "Group") {
            subject.api_group = GROUP.into();
        }
    }
}

fn cells_of(meta: &ObjectMeta, role: &RoleRef, subjects: &[Subject], now: &Time) -> Vec<Value> {
    let names = |kind: &str| {
        let named = subjects
            .iter()
            .filter(|s| s.kind == kind)
            .map(|s| match kind {
                "ServiceAccount" => format!("{}/{}", s.namespace, s.name),
                _ => s.name.to_string(),
            });
        Value::from(named.collect::<Vec<_>>().join(", "))
    };
    vec![
        Value::from(&meta.name),
        Value::from(format!("{}/{}", role.kind, role.name)),
        cells::age(&meta.creation_timestamp, now),
        names("User"),
        names("Group"),
        names("ServiceAccount"),
    ]
}

impl Rules for RoleBindings {
    type Of = RoleBinding;

    fn default(&self, obj: &mut RoleBinding) {
        default_binding(&mut obj.role_ref, &mut obj.subjects);
    }
    fn columns(&self) -> &'static [Column] {
        &columns::ROLE_BINDING
    }
    fn cells(&self, obj: &RoleBinding, now: &Time) -> Vec<Value> {
        cells_of(&obj.metadata, &obj.role_ref, &obj.subjects, now)
    }
    fn create_on_update(&self) -> bool {
        true
    }
    fn invalid_name(&self, name: &str, prefix: bool) -> Vec<String> {
        names::path_segment(name, prefix)
    }
}

impl Rules for ClusterRoleBindings {
    type Of = ClusterRoleBinding;

    fn default(&self, obj: &mut ClusterRoleBinding) {
        default_binding(&mut obj.role_ref, &mut obj.subjects);
    }
    fn columns(&self) -> &'static [Column] {
        &columns::ROLE_BINDING
    }
    fn cells(&self, obj: &ClusterRoleBinding, now: &Time) -> Vec<Value> {
        cells_of(&obj.metadata, &obj.role_ref, &obj.subjects, now)
    }
    fn create_on_update(&self) -> bool {
        true
    }
    fn invalid_name(&self, name: &str, prefix: bool) -> Vec<String> {
        names::path_segment(name, prefix)
    }
}
