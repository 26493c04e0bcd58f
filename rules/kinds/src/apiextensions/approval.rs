//! Definitions in groups of the Kubernetes community need an annotation that says who approved them.

use corten_api::apiextensions::v1::CustomResourceDefinition;

use crate::checks::Errors;
use crate::error::FieldError;

const ANNOTATION: &str = "api-approved.kubernetes.io";

#[derive(PartialEq, Eq)]
enum State {
    Missing,
    Bypassed,
    Approved,
    Invalid,
}

fn is_protected(group: &str) -> bool {
    ["k8s.io", "kubernetes.io"]
        .iter()
        .any(|g| group == *g || group.strip_suffix(g).is_some_and(|r| r.ends_with('.')))
}

fn state(definition: &CustomResourceDefinition) -> (State, String) {
    let text = definition
        .metadata
        .annotations
        .get(ANNOTATION)
        .map_or("", |t| t.as_str());
    let url = text.split_once("://").is_some_and(|(scheme, rest)| {
        !scheme.is_empty() && !rest.is_empty() && !rest.starts_with('/')
    });
    if text.is_empty() {
        (
            State::Missing,
            format!(
                "protected groups must have approval annotation {ANNOTATION:?}, see https://github.com/kubernetes/enhancements/pull/1111"
            ),
        )
    } else if text.starts_with("unapproved") {
        (State::Bypassed, format!("not approved: {text:?}"))
    } else if url {
        (State::Approved, format!("approved in {text}"))
    } else {
        (
            State::Invalid,
            format!(
                "protected groups must have approval annotation {ANNOTATION:?} with either a URL or a reason starting with \"unapproved\", see https://github.com/kubernetes/enhancements/pull/1111"
            ),
        )
    }
}

/// What is wrong with the annotation.
pub(super) fn check(
    new: &CustomResourceDefinition,
    old: Option<&CustomResourceDefinition>,
) -> Errors {
    if !is_protected(&new.spec.group) {
        return Vec::new();
    }
    let (now, reason) = state(new);
    if old.is_some_and(|o| state(o).0 == now) {
        return Vec::new();
    }
    let path = format!("metadata.annotations[{ANNOTATION}]");
    match now {
        State::Missing => vec![FieldError::required(path, reason)],
        State::Invalid => {
            let text = new.metadata.annotations.get(ANNOTATION);
            vec![FieldError::invalid(
                path,
                text.map_or("", |t| t.as_str()),
                reason,
            )]
        }
        _ => Vec::new(),
    }
}

/// The condition for it: whether it conforms, reason and message; none for other groups.
pub(super) fn condition(
    definition: &CustomResourceDefinition,
) -> Option<(bool, &'static str, String)> {
    if !is_protected(&definition.spec.group) {
        return None;
    }
    let (state, message) = state(definition);
    Some(match state {
        State::Approved => (true, "ApprovedAnnotation", message),
        State::Bypassed => (false, "UnapprovedAnnotation", message),
        State::Missing => (false, "MissingAnnotation", message),
        State::Invalid => (false, "InvalidAnnotation", message),
    })
}
