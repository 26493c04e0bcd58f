//! Metadata of updates, with causes as often as upstream's API server answered them.

use corten_api::meta::v1::ObjectMeta;
use corten_kinds::{CUSTOM_ROUNDS, metadata_rounds, validate_metadata_update};

/// One letter for each cause: labels, finalizers.
fn causes(rounds: &[corten_kinds::Round]) -> String {
    let mut new = ObjectMeta::default();
    new.labels.insert("a", "not ok!");
    new.finalizers.push("bare");
    let errors = validate_metadata_update(&new, &ObjectMeta::default(), rounds);
    let letter = |field: &str| match field {
        "metadata.labels" => 'L',
        "metadata.finalizers[0]" => 'F',
        _ => '?',
    };
    errors.iter().map(|error| letter(&error.field)).collect()
}

#[test]
fn updates_are_checked_as_often_as_upstream_does() {
    for (group, kind, wanted) in [
        ("apps", "Deployment", "LLLF"),
        ("", "ConfigMap", "LLLFLF"),
        ("batch", "Job", "LLLFLF"),
        ("", "Event", "LL"),
        ("events.k8s.io", "Event", "LLLF"),
        ("", "LimitRange", "LLLF"),
        ("coordination.k8s.io", "Lease", "LLL"),
        (
            "admissionregistration.k8s.io",
            "MutatingAdmissionPolicy",
            "LLL",
        ),
        ("apiregistration.k8s.io", "APIService", "LLLL"),
    ] {
        assert_eq!(causes(metadata_rounds(group, kind)), wanted, "{kind}");
    }
    assert_eq!(causes(CUSTOM_ROUNDS), "LLL");
}
