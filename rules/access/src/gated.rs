//! The part of upstream's bootstrap policy that exists only while a gate is open: roles of controllers, what nodes may
//! read, and who finds trust bundles.

use crate::bootstrap::{BindingFacts, RoleFacts, RuleFacts, SubjectFacts};
use corten_meta::{Feature, Features};

const CERTIFICATES: &[&str] = &["certificates.k8s.io"];
const READ: &[&str] = &["get", "list", "watch"];

const fn rule(
    verbs: &'static [&'static str],
    groups: &'static [&'static str],
    resources: &'static [&'static str],
) -> RuleFacts {
    RuleFacts {
        verbs,
        groups,
        resources,
        names: &[],
        urls: &[],
    }
}

const fn role(name: &'static str, rules: &'static [RuleFacts]) -> RoleFacts {
    RoleFacts {
        namespace: "",
        name,
        labels: &[],
        aggregates: &[],
        rules,
    }
}

const fn binding(name: &'static str, subjects: &'static [SubjectFacts]) -> BindingFacts {
    BindingFacts {
        namespace: "",
        name,
        role_kind: "ClusterRole",
        role: name,
        subjects,
    }
}

const fn account(name: &'static str) -> SubjectFacts {
    SubjectFacts {
        kind: "ServiceAccount",
        namespace: "kube-system",
        name,
    }
}

/// What one feature adds to the policy.
pub(crate) struct Gated {
    feature: Feature,
    /// Rules that nodes get.
    pub node: &'static [RuleFacts],
    pub roles: &'static [RoleFacts],
    pub bindings: &'static [BindingFacts],
}

static GATED: [Gated; 3] = [
    Gated {
        feature: Feature::ClusterTrustBundle,
        node: &[rule(READ, CERTIFICATES, &["clustertrustbundles"])],
        roles: &[
            role(
                "system:controller:kube-apiserver-serving-clustertrustbundle-publisher",
                &[
                    RuleFacts {
                        verbs: &["attest"],
                        groups: CERTIFICATES,
                        resources: &["signers"],
                        names: &["kubernetes.io/kube-apiserver-serving"],
                        urls: &[],
                    },
                    rule(
                        &["create", "delete", "list", "update", "watch"],
                        CERTIFICATES,
                        &["clustertrustbundles"],
                    ),
                    rule(
                        &["create", "patch", "update"],
                        &["", "events.k8s.io"],
                        &["events"],
                    ),
                ],
            ),
            role(
                "system:cluster-trust-bundle-discovery",
                &[rule(READ, CERTIFICATES, &["clustertrustbundles"])],
            ),
        ],
        bindings: &[
            binding(
                "system:controller:kube-apiserver-serving-clustertrustbundle-publisher",
                &[account(
                    "kube-apiserver-serving-clustertrustbundle-publisher",
                )],
            ),
            binding(
                "system:cluster-trust-bundle-discovery",
                &[SubjectFacts {
                    kind: "Group",
                    namespace: "",
                    name: "system:serviceaccounts",
                }],
            ),
        ],
    },
    Gated {
        feature: Feature::PodCertificateRequest,
        node: &[rule(
            &["create", "get", "list", "watch"],
            CERTIFICATES,
            &["podcertificaterequests"],
        )],
        roles: &[role(
            "system:controller:podcertificaterequestcleaner",
            &[rule(
                &["delete", "get", "list", "watch"],
                CERTIFICATES,
                &["podcertificaterequests"],
            )],
        )],
        bindings: &[binding(
            "system:controller:podcertificaterequestcleaner",
            &[account("podcertificaterequestcleaner")],
        )],
    },
    Gated {
        feature: Feature::StorageVersionMigrator,
        node: &[],
        roles: &[role(
            "system:controller:storage-version-migrator-controller",
            &[
                rule(&["create", "list", "patch"], &["*"], &["*"]),
                rule(
                    &["get"],
                    &["apiextensions.k8s.io"],
                    &["customresourcedefinitions"],
                ),
                rule(
                    &["patch"],
                    &["apiextensions.k8s.io"],
                    &["customresourcedefinitions/status"],
                ),
                rule(
                    &["update"],
                    &["storagemigration.k8s.io"],
                    &["storageversionmigrations/status"],
                ),
            ],
        )],
        bindings: &[binding(
            "system:controller:storage-version-migrator-controller",
            &[account("storage-version-migrator-controller")],
        )],
    },
];

/// What the open gates add.
pub(crate) fn of(features: Features) -> impl Iterator<Item = &'static Gated> {
    GATED.iter().filter(move |g| features.has(g.feature))
}
