//! Role-based access control: roles and bindings compiled so that a decision looks only at the bindings of its user.
//!
//! Invariant: cluster bindings are asked before those of the namespace, each in the order of their names, and the
//! first rule that fits decides; the reason names the binding as upstream does.

use crate::attributes::{Attributes, Decision, UserInfo};
use corten_api::rbac::v1::{
    ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject,
};
use corten_core::Str;
use corten_meta::Snapshot;
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// Compiled roles and bindings.
#[derive(Debug, Default)]
pub struct Rules {
    cluster: Bindings,
    namespaced: FxHashMap<Str, Bindings>,
}

/// The bindings of one scope, findable by each of their subjects.
#[derive(Debug, Default)]
struct Bindings {
    all: Vec<Binding>,
    by_subject: FxHashMap<String, Vec<u32>>,
}

#[derive(Debug)]
struct Binding {
    name: Str,
    role: RoleRef,
    subjects: Vec<Subject>,
    /// Nothing when the role does not exist.
    rules: Option<Arc<[PolicyRule]>>,
}

/// A rule that applies to a user, with the binding that gives it.
pub(crate) struct Applied<'a> {
    pub rule: &'a PolicyRule,
    binding: &'a Binding,
    subject: &'a Subject,
    namespace: &'a str,
}

impl Rules {
    /// Compiles what the snapshot holds.
    pub fn build(snapshot: &Snapshot) -> Rules {
        let cluster_roles: FxHashMap<&Str, Arc<[PolicyRule]>> = snapshot
            .list::<ClusterRole>()
            .map(|r| (&r.metadata.name, r.rules.iter().cloned().collect()))
            .collect();
        let roles: FxHashMap<(&Str, &Str), Arc<[PolicyRule]>> = snapshot
            .list::<Role>()
            .map(|r| {
                (
                    (&r.metadata.namespace, &r.metadata.name),
                    r.rules.iter().cloned().collect(),
                )
            })
            .collect();
        let mut rules = Rules::default();
        for binding in snapshot.list::<ClusterRoleBinding>() {
            let granted = cluster_roles.get(&binding.role_ref.name);
            rules.cluster.add(
                &binding.metadata.name,
                &binding.role_ref,
                &binding.subjects,
                granted,
                "",
            );
        }
        for binding in snapshot.list::<RoleBinding>() {
            let namespace = &binding.metadata.namespace;
            let granted = match binding.role_ref.kind.as_str() {
                "ClusterRole" => cluster_roles.get(&binding.role_ref.name),
                _ => roles.get(&(namespace, &binding.role_ref.name)),
            };
            let scope = rules.namespaced.entry(namespace.clone()).or_default();
            scope.add(
                &binding.metadata.name,
                &binding.role_ref,
                &binding.subjects,
                granted,
                namespace,
            );
        }
        rules
    }

    /// Decides one request.
    pub fn decide(&self, attributes: &Attributes) -> Decision {
        let fits = |applied: &Applied| allows(applied.rule, attributes);
        match self
            .applying(attributes.user, attributes.namespace)
            .find(fits)
        {
            Some(applied) => Decision::Allow(applied.reason()),
            None => {
                let missing = self.missing_roles(attributes.user, attributes.namespace);
                Decision::NoOpinion(match missing.is_empty() {
                    true => String::new(),
                    false => format!("RBAC: {missing}"),
                })
            }
        }
    }

    /// What bindings of `user` refer to in vain, as upstream words it; empty when every role exists.
    pub(crate) fn missing_roles(&self, user: &UserInfo, namespace: &str) -> String {
        let scoped = self.namespaced.get(namespace);
        let scopes = [Some((&self.cluster, "")), scoped.map(|b| (b, namespace))];
        let mut errors: Vec<String> = Vec::new();
        for (bindings, namespace) in scopes.into_iter().flatten() {
            for (index, _) in bindings.found(user, namespace) {
                let binding = &bindings.all[index];
                let error = format!(
                    "{}.rbac.authorization.k8s.io {:?} not found",
                    binding.role.kind.to_ascii_lowercase(),
                    binding.role.name.as_str()
                );
                if binding.rules.is_none() && !errors.contains(&error) {
                    errors.push(error);
                }
            }
        }
        match errors.len() {
            0 | 1 => errors.pop().unwrap_or_default(),
            _ => format!("[{}]", errors.join(", ")),
        }
    }

    /// The rules that apply to `user` in `namespace` (in no namespace when empty).
    pub(crate) fn applying<'a>(
        &'a self,
        user: &'a UserInfo,
        namespace: &'a str,
    ) -> impl Iterator<Item = Applied<'a>> + 'a {
        let scoped = match namespace.is_empty() {
            true => None,
            false => self.namespaced.get(namespace),
        };
        let cluster = self.cluster.applying(user, "");
        cluster.chain(
            scoped
                .into_iter()
                .flat_map(move |bindings| bindings.applying(user, namespace)),
        )
    }
}

/// What a subject is found by: a text that tells users, groups and service accounts apart.
fn subject_key(subject: &Subject, binding_namespace: &str) -> Option<String> {
    match subject.kind.as_str() {
        "User" => Some(format!("u/{}", subject.name)),
        "Group" => Some(format!("g/{}", subject.name)),
        "ServiceAccount" => {
            let namespace = if subject.namespace.is_empty() {
                binding_namespace
            } else {
                &subject.namespace
            };
            (!namespace.is_empty())
                .then(|| format!("u/system:serviceaccount:{namespace}:{}", subject.name))
        }
        _ => None,
    }
}

impl Bindings {
    fn add(
        &mut self,
        name: &Str,
        role: &RoleRef,
        subjects: &[Subject],
        rules: Option<&Arc<[PolicyRule]>>,
        namespace: &str,
    ) {
        let index = self.all.len() as u32;
        for key in subjects.iter().filter_map(|s| subject_key(s, namespace)) {
            let found = self.by_subject.entry(key).or_default();
            if found.last() != Some(&index) {
                found.push(index);
            }
        }
        self.all.push(Binding {
            name: name.clone(),
            role: role.clone(),
            subjects: subjects.to_vec(),
            rules: rules.cloned(),
        });
    }

    /// The bindings of a user, by index, each with the first of its subjects that is the user.
    fn found(&self, user: &UserInfo, namespace: &str) -> Vec<(usize, usize)> {
        let groups = user.groups.iter().map(|g| format!("g/{g}"));
        let keys: Vec<String> = std::iter::once(format!("u/{}", user.name))
            .chain(groups)
            .collect();
        let mut found: Vec<u32> = keys
            .iter()
            .filter_map(|k| self.by_subject.get(k))
            .flatten()
            .copied()
            .collect();
        found.sort_unstable();
        found.dedup();
        let is_key = |s: &Subject| subject_key(s, namespace).is_some_and(|k| keys.contains(&k));
        let with_subject = |index: u32| {
            let index = index as usize;
            let subject = self.all[index].subjects.iter().position(is_key)?;
            Some((index, subject))
        };
        found.into_iter().filter_map(with_subject).collect()
    }

    fn applying<'a>(
        &'a self,
        user: &UserInfo,
        namespace: &'a str,
    ) -> impl Iterator<Item = Applied<'a>> + 'a {
        let found = self.found(user, namespace);
        found.into_iter().flat_map(move |(index, subject)| {
            let binding = &self.all[index];
            let rules = binding.rules.as_deref().unwrap_or_default();
            rules.iter().map(move |rule| Applied {
                rule,
                binding,
                subject: &binding.subjects[subject],
                namespace,
            })
        })
    }
}

impl Applied<'_> {
    fn reason(&self) -> String {
        let subject = match self.subject.kind.as_str() {
            "ServiceAccount" => {
                let namespace = if self.subject.namespace.is_empty() {
                    self.namespace
                } else {
                    &self.subject.namespace
                };
                format!("ServiceAccount \"{}/{namespace}\"", self.subject.name)
            }
            kind => format!("{kind} \"{}\"", self.subject.name),
        };
        let role = format!("{} \"{}\"", self.binding.role.kind, self.binding.role.name);
        match self.namespace.is_empty() {
            true => {
                format!(
                    "RBAC: allowed by ClusterRoleBinding \"{}\" of {role} to {subject}",
                    self.binding.name
                )
            }
            false => format!(
                "RBAC: allowed by RoleBinding \"{}/{}\" of {role} to {subject}",
                self.binding.name, self.namespace
            ),
        }
    }
}

fn has(list: &[Str], wanted: &str) -> bool {
    list.iter().any(|item| item == "*" || item == wanted)
}

/// Whether `rule` allows the request.
pub(crate) fn allows(rule: &PolicyRule, attributes: &Attributes) -> bool {
    if !has(&rule.verbs, attributes.verb) {
        return false;
    }
    if !attributes.resource_request {
        return rule
            .non_resource_urls
            .iter()
            .any(|url| path_fits(url, attributes.path));
    }
    has(&rule.api_groups, attributes.group)
        && resource_fits(&rule.resources, attributes.resource, attributes.subresource)
        && (rule.resource_names.is_empty()
            || rule.resource_names.iter().any(|n| n == attributes.name))
}

fn path_fits(url: &str, path: &str) -> bool {
    match url.strip_suffix('*') {
        Some(prefix) => path.starts_with(prefix),
        None => url == path,
    }
}

fn resource_fits(rules: &[Str], resource: &str, subresource: &str) -> bool {
    rules.iter().any(|rule| {
        if rule == "*" {
            return true;
        }
        match (subresource.is_empty(), rule.split_once('/')) {
            (true, None) => rule == resource,
            (false, Some(("*", sub))) => sub == subresource,
            (false, Some((main, sub))) => main == resource && sub == subresource,
            _ => false,
        }
    })
}
