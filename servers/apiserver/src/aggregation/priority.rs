//! In which order groups and versions are shown: upstream's table for its own, and what custom resources get.

/// The priority of groups of custom resources.
const CUSTOM_GROUP: i32 = 1000;
const CUSTOM_VERSION: i32 = 100;

const GROUPS: [(&str, i32); 25] = [
    ("", 18_000),
    ("apps", 17_800),
    ("events.k8s.io", 17_750),
    ("authentication.k8s.io", 17_700),
    ("authorization.k8s.io", 17_600),
    ("autoscaling", 17_500),
    ("batch", 17_400),
    ("certificates.k8s.io", 17_300),
    ("networking.k8s.io", 17_200),
    ("policy", 17_100),
    ("rbac.authorization.k8s.io", 17_000),
    ("storage.k8s.io", 16_800),
    ("apiextensions.k8s.io", 16_700),
    ("admissionregistration.k8s.io", 16_700),
    ("scheduling.k8s.io", 16_600),
    ("coordination.k8s.io", 16_500),
    ("node.k8s.io", 16_300),
    ("discovery.k8s.io", 16_200),
    ("resource.k8s.io", 16_200),
    ("flowcontrol.apiserver.k8s.io", 16_100),
    ("internal.apiserver.k8s.io", 16_000),
    ("storagemigration.k8s.io", 15_800),
    // The aggregator's own group stands before all others.
    ("apiregistration.k8s.io", 20_000),
    ("imagepolicy.k8s.io", 15_700),
    ("apidiscovery.k8s.io", 15_600),
];

/// The priority of a group served here.
pub(crate) fn group_priority(group: &str) -> i32 {
    let known = GROUPS.iter().find(|(name, _)| *name == group);
    known.map_or(CUSTOM_GROUP, |(_, priority)| *priority)
}

/// Whether the group comes with the server.
pub(crate) fn is_built_in(group: &str) -> bool {
    GROUPS.iter().any(|(name, _)| *name == group)
}

/// The priority of a version within its group.
pub(crate) fn version_priority(group: &str, version: &str) -> i32 {
    match (group, version) {
        ("", _) => 1,
        _ if !is_built_in(group) => CUSTOM_VERSION,
        ("autoscaling", "v2") => 30,
        ("flowcontrol.apiserver.k8s.io" | "resource.k8s.io", "v1") => 21,
        ("flowcontrol.apiserver.k8s.io", "v1beta3") => 18,
        ("flowcontrol.apiserver.k8s.io" | "resource.k8s.io", "v1beta2") => 15,
        ("coordination.k8s.io", "v1beta1") => 13,
        ("coordination.k8s.io", "v1alpha2")
        | ("admissionregistration.k8s.io" | "discovery.k8s.io", "v1beta1") => 12,
        ("scheduling.k8s.io", "v1alpha2") => 2,
        ("admissionregistration.k8s.io" | "internal.apiserver.k8s.io", "v1alpha1") => 9,
        ("events.k8s.io", "v1beta1") => 5,
        (_, "v1") => 15,
        (_, beta) if beta.contains("beta") => 9,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upstreams_figures() {
        assert_eq!(
            (group_priority(""), version_priority("", "v1")),
            (18_000, 1)
        );
        assert_eq!(version_priority("autoscaling", "v2"), 30);
        assert_eq!(version_priority("resource.k8s.io", "v1"), 21);
        assert_eq!(group_priority("example.com"), 1000);
        assert_eq!(version_priority("example.com", "v1"), 100);
    }
}
