//! Whether a request is one that a webhook or policy wants to see: selectors, rules, and equivalent resources.

use corten_api::Object;
use corten_api::admissionregistration::v1::{NamedRuleWithOperations, RuleWithOperations};
use corten_api::meta::v1::LabelSelector;
use corten_client::Status;
use corten_core::Str;
use corten_meta::{GroupVersionKind, GroupVersionResource, Selector};

use super::asked::Asked;
use super::internal;

/// The selectors of a webhook or policy, parsed once; a selector that cannot be parsed fails what it would select.
#[derive(Clone, Debug)]
pub(super) struct Selectors {
    namespaces: Result<Selector, String>,
    objects: Result<Selector, String>,
}

/// What a request is to a webhook or policy that matches it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Matched {
    pub resource: GroupVersionResource,
    pub kind: GroupVersionKind,
}

impl Selectors {
    pub(super) fn new(
        namespaces: Option<&LabelSelector>,
        objects: Option<&LabelSelector>,
    ) -> Selectors {
        // An absent selector selects everything here, other than in most of the API.
        let parse = |selector: Option<&LabelSelector>| match selector {
            None => Ok(Selector::everything()),
            Some(selector) => {
                Selector::from_label_selector(Some(selector)).map_err(|e| e.to_string())
            }
        };
        Selectors {
            namespaces: parse(namespaces),
            objects: parse(objects),
        }
    }

    /// `Ok(false)`: does not apply. An error counts only if the rules apply.
    fn select(
        &self,
        asked: &Asked<'_>,
        object: Option<&Object>,
    ) -> (Result<bool, Status>, Result<bool, Status>) {
        (
            self.select_namespace(asked, object),
            self.select_object(asked, object),
        )
    }

    fn select_namespace(&self, asked: &Asked<'_>, object: Option<&Object>) -> Result<bool, Status> {
        if asked.namespace.is_empty() && asked.resource.resource != "namespaces" {
            return Ok(true);
        }
        let selector = self.namespaces.as_ref().map_err(internal)?;
        if selector.is_everything() {
            return Ok(true);
        }
        let labels = asked.namespace_labels(object)?;
        Ok(selector.matches(&labels))
    }

    fn select_object(&self, asked: &Asked<'_>, object: Option<&Object>) -> Result<bool, Status> {
        let selector = self.objects.as_ref().map_err(internal)?;
        if selector.is_everything() {
            return Ok(true);
        }
        let selects = |object: Option<&Object>| {
            object.is_some_and(|o| o.has_meta() && selector.matches(&o.meta().labels))
        };
        Ok(selects(object) || selects(asked.old))
    }
}

/// Whether a request matches, and as what.
pub(super) fn matches<'r>(
    asked: &Asked<'_>,
    object: Option<&Object>,
    selectors: &Selectors,
    find: impl FnOnce() -> Option<Matched> + 'r,
) -> Result<Option<Matched>, Status> {
    let (by_namespace, by_object) = selectors.select(asked, object);
    if matches!(by_namespace, Ok(false)) || matches!(by_object, Ok(false)) {
        return Ok(None);
    }
    let Some(matched) = find() else {
        return Ok(None);
    };
    by_namespace?;
    by_object?;
    Ok(Some(matched))
}

/// How the rules of a webhook see a request.
pub(super) fn match_rules(
    asked: &Asked<'_>,
    rules: &[RuleWithOperations],
    equivalent: bool,
) -> Option<Matched> {
    let exact = |rule: &RuleWithOperations| applies(rule, asked, &asked.resource);
    if rules.iter().any(exact) {
        return Some(as_sent(asked));
    }
    if !equivalent {
        return None;
    }
    let others = asked.equivalents();
    rules
        .iter()
        .flat_map(|rule| others.iter().map(move |other| (rule, other)))
        .find(|(rule, (resource, _))| *resource != asked.resource && applies(rule, asked, resource))
        .map(|(_, (resource, kind))| Matched {
            resource: resource.clone(),
            kind: kind.clone(),
        })
}

/// How the rules of a policy see a request; these may name objects.
pub(super) fn match_named_rules(
    asked: &Asked<'_>,
    rules: &[NamedRuleWithOperations],
    equivalent: bool,
) -> Option<Matched> {
    let named = |rule: &NamedRuleWithOperations| {
        rule.resource_names.is_empty() || rule.resource_names.iter().any(|n| *n == *asked.name)
    };
    let exact = |rule: &&NamedRuleWithOperations| {
        applies(&rule.rule_with_operations, asked, &asked.resource) && named(rule)
    };
    if rules.iter().any(|rule| exact(&rule)) {
        return Some(as_sent(asked));
    }
    if !equivalent {
        return None;
    }
    let others = asked.equivalents();
    rules
        .iter()
        .filter(|rule| named(rule))
        .flat_map(|rule| others.iter().map(move |other| (rule, other)))
        .find(|(rule, (resource, _))| {
            *resource != asked.resource && applies(&rule.rule_with_operations, asked, resource)
        })
        .map(|(_, (resource, kind))| Matched {
            resource: resource.clone(),
            kind: kind.clone(),
        })
}

/// The request under the client's own names.
pub(super) fn as_sent(asked: &Asked<'_>) -> Matched {
    Matched {
        resource: asked.resource.clone(),
        kind: asked.kind.clone(),
    }
}

fn has(items: &[Str], wanted: &str) -> bool {
    items.iter().any(|item| item == "*" || *item == wanted)
}

/// Whether a rule is about a request, were it for `resource`.
fn applies(rule: &RuleWithOperations, asked: &Asked<'_>, resource: &GroupVersionResource) -> bool {
    let namespaces =
        resource.group.is_empty() && resource.version == "v1" && resource.resource == "namespaces";
    let in_namespace = !namespaces && !asked.namespace.is_empty();
    let in_scope = match rule.rule.scope.as_deref() {
        None | Some("*") => true,
        Some("Namespaced") => in_namespace,
        Some("Cluster") => !in_namespace,
        Some(_) => false,
    };
    let named = |pattern: &Str| {
        let (name, part) = pattern.split_once('/').unwrap_or((pattern, ""));
        (name == "*" || resource.resource == name) && (part == "*" || part == asked.subresource)
    };
    in_scope
        && has(&rule.operations, asked.verb())
        && has(&rule.rule.api_groups, &resource.group)
        && has(&rule.rule.api_versions, &resource.version)
        && rule.rule.resources.iter().any(named)
}
