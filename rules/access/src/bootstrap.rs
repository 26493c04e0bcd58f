//! The roles and bindings that every cluster has, and how existing ones are brought up to date.
//!
//! Invariant: what an administrator added is kept, what a release needs is added; an object whose annotation
//! `rbac.authorization.kubernetes.io/autoupdate` is `false` is left alone.

use crate::gated;
use crate::generated::policy::{BINDINGS, ROLES};
use corten_api::meta::v1::{LabelSelector, ObjectMeta};
use corten_api::rbac::v1::{
    AggregationRule, ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef,
    Subject,
};
use corten_api::{Kind, Object};
use corten_core::{List, Map, Str};
use corten_meta::Features;

const GROUP: &str = "rbac.authorization.k8s.io";
const AUTOUPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";
const NODE_ROLE: &str = "system:node";
const BOOTSTRAPPING: (&str, &str) = ("kubernetes.io/bootstrapping", "rbac-defaults");

pub(crate) struct RuleFacts {
    pub verbs: &'static [&'static str],
    pub groups: &'static [&'static str],
    pub resources: &'static [&'static str],
    pub names: &'static [&'static str],
    pub urls: &'static [&'static str],
}

pub(crate) struct RoleFacts {
    /// Empty for a ClusterRole.
    pub namespace: &'static str,
    pub name: &'static str,
    /// Keys of further labels, with the value `true`.
    pub labels: &'static [&'static str],
    /// Keys of the labels of the roles that are put together into this one.
    pub aggregates: &'static [&'static str],
    pub rules: &'static [RuleFacts],
}

pub(crate) struct SubjectFacts {
    pub kind: &'static str,
    pub namespace: &'static str,
    pub name: &'static str,
}

pub(crate) struct BindingFacts {
    /// Empty for a ClusterRoleBinding.
    pub namespace: &'static str,
    pub name: &'static str,
    pub role_kind: &'static str,
    pub role: &'static str,
    pub subjects: &'static [SubjectFacts],
}

/// What upstream's installers add to the API server's own policy: administrators by group, the API server's identity
/// towards kubelets, and the cluster's DNS server.
const INSTALLED_ROLES: &[RoleFacts] = &[RoleFacts {
    namespace: "",
    name: "system:coredns",
    labels: &[],
    aggregates: &[],
    rules: &[
        RuleFacts {
            verbs: &["list", "watch"],
            groups: &[""],
            resources: &["endpoints", "services", "pods", "namespaces"],
            names: &[],
            urls: &[],
        },
        RuleFacts {
            verbs: &["list", "watch"],
            groups: &["discovery.k8s.io"],
            resources: &["endpointslices"],
            names: &[],
            urls: &[],
        },
    ],
}];

const INSTALLED_BINDINGS: &[BindingFacts] = &[
    BindingFacts {
        namespace: "",
        name: "kubeadm:cluster-admins",
        role_kind: "ClusterRole",
        role: "cluster-admin",
        subjects: &[SubjectFacts {
            kind: "Group",
            namespace: "",
            name: "kubeadm:cluster-admins",
        }],
    },
    BindingFacts {
        namespace: "",
        name: "kube-apiserver-kubelet-client",
        role_kind: "ClusterRole",
        role: "system:kubelet-api-admin",
        subjects: &[SubjectFacts {
            kind: "User",
            namespace: "",
            name: "kube-apiserver-kubelet-client",
        }],
    },
    BindingFacts {
        namespace: "",
        name: "system:coredns",
        role_kind: "ClusterRole",
        role: "system:coredns",
        subjects: &[SubjectFacts {
            kind: "ServiceAccount",
            namespace: "kube-system",
            name: "coredns",
        }],
    },
];

/// The roles and bindings of a fresh cluster with these features.
pub fn bootstrap_objects(features: Features) -> Vec<Object> {
    let more = || gated::of(features);
    let roles = ROLES.iter().chain(INSTALLED_ROLES);
    let roles = roles.chain(more().flat_map(|g| g.roles)).map(role);
    let bindings = BINDINGS.iter().chain(INSTALLED_BINDINGS);
    let bindings = bindings.chain(more().flat_map(|g| g.bindings)).map(binding);
    let mut all: Vec<Object> = roles.chain(bindings).collect();
    let nodes = |o: &&mut ClusterRole| o.metadata.name == NODE_ROLE;
    if let Some(nodes) = all.iter_mut().filter_map(|o| o.downcast_mut()).find(nodes) {
        nodes
            .rules
            .extend(more().flat_map(|g| g.node).map(policy_rule));
    }
    all
}

fn texts(list: &[&'static str]) -> List<Str> {
    list.iter().map(|text| Str::from_static(text)).collect()
}

fn metadata(namespace: &'static str, name: &'static str, labels: &[&'static str]) -> ObjectMeta {
    let bootstrapping = [(
        Str::from_static(BOOTSTRAPPING.0),
        Str::from_static(BOOTSTRAPPING.1),
    )];
    let labels = labels
        .iter()
        .map(|key| (Str::from_static(key), Str::from_static("true")));
    ObjectMeta {
        namespace: Str::from_static(namespace),
        name: Str::from_static(name),
        labels: Map::from_iter(bootstrapping.into_iter().chain(labels)),
        annotations: Map::from_iter([(Str::from_static(AUTOUPDATE), Str::from_static("true"))]),
        ..Default::default()
    }
}

fn policy_rule(rule: &RuleFacts) -> PolicyRule {
    PolicyRule {
        verbs: texts(rule.verbs),
        api_groups: texts(rule.groups),
        resources: texts(rule.resources),
        resource_names: texts(rule.names),
        non_resource_urls: texts(rule.urls),
    }
}

fn role(facts: &RoleFacts) -> Object {
    let metadata = metadata(facts.namespace, facts.name, facts.labels);
    let rules = facts.rules.iter().map(policy_rule).collect();
    if !facts.namespace.is_empty() {
        return Object::from(
            Role {
                metadata,
                rules,
                ..Default::default()
            }
            .with_type(),
        );
    }
    let selector = |label: &&'static str| LabelSelector {
        match_labels: Map::from_iter([(Str::from_static(label), Str::from_static("true"))]),
        ..Default::default()
    };
    let aggregation_rule = (!facts.aggregates.is_empty()).then(|| {
        Box::new(AggregationRule {
            cluster_role_selectors: facts.aggregates.iter().map(selector).collect(),
        })
    });
    Object::from(
        ClusterRole {
            metadata,
            rules,
            aggregation_rule,
            ..Default::default()
        }
        .with_type(),
    )
}

fn binding(facts: &BindingFacts) -> Object {
    let subject = |s: &SubjectFacts| Subject {
        kind: Str::from_static(s.kind),
        api_group: Str::from_static(if s.kind == "ServiceAccount" {
            ""
        } else {
            GROUP
        }),
        namespace: Str::from_static(s.namespace),
        name: Str::from_static(s.name),
    };
    let metadata = metadata(facts.namespace, facts.name, &[]);
    let subjects = facts.subjects.iter().map(subject).collect();
    let role_ref = RoleRef {
        api_group: Str::from_static(GROUP),
        kind: Str::from_static(facts.role_kind),
        name: Str::from_static(facts.role),
    };
    match facts.namespace.is_empty() {
        true => Object::from(
            ClusterRoleBinding {
                metadata,
                subjects,
                role_ref,
                ..Default::default()
            }
            .with_type(),
        ),
        false => Object::from(
            RoleBinding {
                metadata,
                subjects,
                role_ref,
                ..Default::default()
            }
            .with_type(),
        ),
    }
}

/// What `existing` must become so that it grants at least what `wanted` does; nothing when it does already.
pub fn reconcile(existing: &Object, wanted: &Object) -> Option<Object> {
    if existing
        .meta()
        .annotations
        .get(AUTOUPDATE)
        .is_some_and(|v| v == "false")
    {
        return None;
    }
    let mut new = existing.clone();
    merge_missing(&mut new, wanted);
    if let (Some(new), Some(wanted)) = (
        new.downcast_mut::<ClusterRole>(),
        wanted.downcast_ref::<ClusterRole>(),
    ) {
        match &wanted.aggregation_rule {
            Some(rule) => new.aggregation_rule = Some(rule.clone()),
            None => add_missing(&mut new.rules, &wanted.rules),
        }
    } else if let (Some(new), Some(wanted)) =
        (new.downcast_mut::<Role>(), wanted.downcast_ref::<Role>())
    {
        add_missing(&mut new.rules, &wanted.rules);
    } else if let (Some(new), Some(wanted)) = (
        new.downcast_mut::<ClusterRoleBinding>(),
        wanted.downcast_ref::<ClusterRoleBinding>(),
    ) {
        add_missing(&mut new.subjects, &wanted.subjects);
    } else if let (Some(new), Some(wanted)) = (
        new.downcast_mut::<RoleBinding>(),
        wanted.downcast_ref::<RoleBinding>(),
    ) {
        add_missing(&mut new.subjects, &wanted.subjects);
    }
    (new != *existing).then_some(new)
}

fn merge_missing(new: &mut Object, wanted: &Object) {
    let (new, wanted) = (new.meta_mut(), wanted.meta());
    for (key, value) in wanted.labels.iter() {
        new.labels.insert(key.clone(), value.clone());
    }
    for (key, value) in wanted.annotations.iter() {
        if !new.annotations.contains_key(key) {
            new.annotations.insert(key.clone(), value.clone());
        }
    }
}

fn add_missing<T: PartialEq + Clone>(have: &mut List<T>, wanted: &[T]) {
    for item in wanted {
        if !have.contains(item) {
            have.push(item.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use corten_meta::Feature;

    #[test]
    fn a_fresh_object_needs_nothing() {
        let all = [
            Feature::ClusterTrustBundle,
            Feature::PodCertificateRequest,
            Feature::StorageVersionMigrator,
        ];
        for object in bootstrap_objects(Features::from_iter(all)) {
            assert_eq!(reconcile(&object, &object), None, "{}", object.meta().name);
        }
    }

    #[test]
    fn open_gates_add_roles_and_rights_of_nodes() {
        let names = |features| -> Vec<String> {
            let all = bootstrap_objects(features);
            all.iter().map(|o| o.meta().name.to_string()).collect()
        };
        let open = Features::default().with(Feature::PodCertificateRequest);
        let (before, after) = (names(Features::default()), names(open));
        let cleaner = "system:controller:podcertificaterequestcleaner";
        assert!(!before.contains(&cleaner.to_owned()));
        assert_eq!(after.iter().filter(|name| *name == cleaner).count(), 2);
        let rules = |features| {
            let all = bootstrap_objects(features);
            let role = all.iter().find(|o| o.meta().name == NODE_ROLE);
            let role = role.and_then(|o| o.downcast_ref::<ClusterRole>());
            role.expect("there is one").rules.len()
        };
        assert_eq!(rules(open), rules(Features::default()) + 1);
    }

    #[test]
    fn removed_rules_come_back_and_added_ones_stay() {
        let wanted = bootstrap_objects(Features::default())
            .into_iter()
            .find(|o| o.meta().name == "system:node-proxier")
            .unwrap();
        let mut existing = wanted.clone();
        let role = existing.downcast_mut::<ClusterRole>().unwrap();
        let removed = role.rules.remove(0);
        role.rules.push(PolicyRule {
            verbs: texts(&["get"]),
            ..Default::default()
        });
        let fixed = reconcile(&existing, &wanted).unwrap();
        let rules = &fixed.downcast_ref::<ClusterRole>().unwrap().rules;
        assert!(rules.contains(&removed));
        assert!(rules.iter().any(|r| r.verbs.iter().eq(["get"].iter())));
        existing.meta_mut().annotations.insert(AUTOUPDATE, "false");
        assert_eq!(reconcile(&existing, &wanted), None);
    }
}
