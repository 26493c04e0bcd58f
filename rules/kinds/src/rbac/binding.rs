//! RoleBindings and ClusterRoleBindings: defaults, names, table.

use super::{GROUP, columns};
use crate::checks::{Errors, dns_subdomain};
use crate::rules::Rules;
use crate::{Column, Context, FieldError, cells, names};
use corten_api::meta::v1::ObjectMeta;
use corten_api::rbac::v1::{ClusterRoleBinding, RoleBinding, RoleRef, Subject};
use corten_core::{Path, Time, Value};

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
    fn validate_create(&self, _cx: &Context, new: &RoleBinding) -> Vec<FieldError> {
        validate(&new.role_ref, &new.subjects, &["Role", "ClusterRole"])
    }
    fn validate_update(
        &self,
        _cx: &Context,
        _part: &str,
        new: &RoleBinding,
        old: &RoleBinding,
    ) -> Vec<FieldError> {
        let mut errors = validate(&new.role_ref, &new.subjects, &["Role", "ClusterRole"]);
        role_kept(&mut errors, &new.role_ref, &old.role_ref);
        errors
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
    fn validate_create(&self, _cx: &Context, new: &ClusterRoleBinding) -> Vec<FieldError> {
        validate(&new.role_ref, &new.subjects, &["ClusterRole"])
    }
    fn validate_update(
        &self,
        _cx: &Context,
        _part: &str,
        new: &ClusterRoleBinding,
        old: &ClusterRoleBinding,
    ) -> Vec<FieldError> {
        let mut errors = validate(&new.role_ref, &new.subjects, &["ClusterRole"]);
        role_kept(&mut errors, &new.role_ref, &old.role_ref);
        errors
    }
    fn columns(&self) -> &'static [Column] {
        &columns::CLUSTER_ROLE_BINDING
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

/// `roles`: the kinds of role that can be bound; only namespaced bindings bind Roles.
fn validate(role: &RoleRef, subjects: &[Subject], roles: &[&str]) -> Errors {
    let mut errors = Vec::new();
    let path = Path::Root.f("roleRef");
    if role.api_group != GROUP {
        errors.push(FieldError::not_supported(
            path.f("apiGroup"),
            &role.api_group,
            &[GROUP],
        ));
    }
    if !roles.contains(&role.kind.as_str()) {
        errors.push(FieldError::not_supported(path.f("kind"), &role.kind, roles));
    }
    if role.name.is_empty() {
        errors.push(FieldError::required(path.f("name"), ""));
    } else {
        let wrong = names::path_segment(&role.name, false).into_iter();
        errors.extend(wrong.map(|m| FieldError::invalid(path.f("name"), &role.name, m)));
    }
    let path = Path::Root.f("subjects");
    for (i, subject) in subjects.iter().enumerate() {
        validate_subject(&mut errors, &path.i(i), subject, roles.len() > 1);
    }
    errors
}

fn validate_subject(errors: &mut Errors, path: &Path, subject: &Subject, namespaced: bool) {
    if subject.name.is_empty() {
        errors.push(FieldError::required(path.f("name"), ""));
    }
    match subject.kind.as_str() {
        "ServiceAccount" => {
            if !subject.name.is_empty() {
                dns_subdomain(errors, &path.f("name"), &subject.name);
            }
            if !subject.api_group.is_empty() {
                let path = path.f("apiGroup");
                errors.push(FieldError::not_supported(path, &subject.api_group, &[""]));
            }
            if !namespaced && subject.namespace.is_empty() {
                errors.push(FieldError::required(path.f("namespace"), ""));
            }
        }
        "User" | "Group" => {
            if subject.api_group != GROUP {
                let path = path.f("apiGroup");
                errors.push(FieldError::not_supported(
                    path,
                    &subject.api_group,
                    &[GROUP],
                ));
            }
        }
        other => {
            let known = ["ServiceAccount", "User", "Group"];
            errors.push(FieldError::not_supported(path.f("kind"), other, &known));
        }
    }
}

fn role_kept(errors: &mut Errors, new: &RoleRef, old: &RoleRef) {
    if new != old {
        let members = [
            ("APIGroup", &new.api_group),
            ("Kind", &new.kind),
            ("Name", &new.name),
        ];
        let shown = Value::Map(
            members
                .into_iter()
                .map(|(k, v)| (k, Value::from(v)))
                .collect(),
        );
        let path = Path::Root.f("roleRef");
        errors.push(FieldError::invalid(path, shown, "cannot change roleRef"));
    }
}
