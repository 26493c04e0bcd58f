//! Which rights of some rules others do not cover, and how they are worded.
//!
//! Invariant: rules are compared one verb, resource and name at a time; a right is covered by a single rule or not
//! at all, so `missing` may name a right that only several rules together give.

use corten_api::rbac::v1::PolicyRule;
use corten_core::{List, Str};

/// The single rights in `wanted` that none of `held` covers.
pub(crate) fn missing(held: &[&PolicyRule], wanted: &[PolicyRule]) -> Vec<PolicyRule> {
    let single = wanted.iter().flat_map(single_rights);
    single
        .filter(|right| !held.iter().any(|rule| covers(rule, right)))
        .collect()
}

fn one(text: &Str) -> List<Str> {
    List::from_iter([text.clone()])
}

/// A rule taken apart into rights of one verb, one resource and at most one name.
fn single_rights(rule: &PolicyRule) -> Vec<PolicyRule> {
    let mut rights = Vec::new();
    for group in rule.api_groups.iter() {
        for resource in rule.resources.iter() {
            for verb in rule.verbs.iter() {
                let right = PolicyRule {
                    api_groups: one(group),
                    resources: one(resource),
                    verbs: one(verb),
                    ..Default::default()
                };
                if rule.resource_names.is_empty() {
                    rights.push(right);
                    continue;
                }
                rights.extend(rule.resource_names.iter().map(|name| PolicyRule {
                    resource_names: one(name),
                    ..right.clone()
                }));
            }
        }
    }
    for url in rule.non_resource_urls.iter() {
        rights.extend(rule.verbs.iter().map(|verb| PolicyRule {
            non_resource_urls: one(url),
            verbs: one(verb),
            ..Default::default()
        }));
    }
    rights
}

fn has_all(list: &[Str], wanted: &[Str]) -> bool {
    wanted.iter().all(|item| list.contains(item))
}

fn star_or_all(list: &[Str], wanted: &[Str]) -> bool {
    list.iter().any(|item| item == "*") || has_all(list, wanted)
}

fn covers(rule: &PolicyRule, right: &PolicyRule) -> bool {
    let names = rule.resource_names.is_empty()
        || (!right.resource_names.is_empty()
            && has_all(&rule.resource_names, &right.resource_names));
    star_or_all(&rule.verbs, &right.verbs)
        && star_or_all(&rule.api_groups, &right.api_groups)
        && resources_cover(&rule.resources, &right.resources)
        && names
        && right.non_resource_urls.iter().all(|url| {
            let urls = rule.non_resource_urls.iter();
            urls.into_iter().any(|held| url_covers(held, url))
        })
}

fn resources_cover(held: &[Str], wanted: &[Str]) -> bool {
    if star_or_all(held, wanted) {
        return true;
    }
    wanted.iter().all(|path| {
        let subresource = path.split_once('/').map(|(_, sub)| format!("*/{sub}"));
        held.contains(path) || subresource.is_some_and(|any| held.iter().any(|h| *h == *any))
    })
}

fn url_covers(held: &str, url: &str) -> bool {
    held == url || (held.ends_with('*') && url.starts_with(held.trim_end_matches('*')))
}

/// Rights about the same resource (and name) put together, their verbs in the order of the rights.
pub(crate) fn compact(rights: Vec<PolicyRule>) -> Vec<PolicyRule> {
    let mut found: Vec<PolicyRule> = Vec::new();
    for right in rights {
        let same = |other: &&mut PolicyRule| {
            right.non_resource_urls.is_empty()
                && other.non_resource_urls.is_empty()
                && other.api_groups == right.api_groups
                && other.resources == right.resources
                && other.resource_names == right.resource_names
        };
        match found.iter_mut().find(same) {
            Some(other) => other.verbs.extend(right.verbs),
            None => found.push(right),
        }
    }
    found
}

/// A rule on one line, as refusals print it.
pub(crate) fn describe(rule: &PolicyRule) -> String {
    let parts = [
        ("APIGroups", &rule.api_groups),
        ("Resources", &rule.resources),
        ("NonResourceURLs", &rule.non_resource_urls),
        ("ResourceNames", &rule.resource_names),
        ("Verbs", &rule.verbs),
    ];
    let parts: Vec<String> = parts
        .into_iter()
        .filter(|(_, list)| !list.is_empty())
        .map(|(name, list)| {
            let items: Vec<String> = list.iter().map(|i| format!("{:?}", i.as_str())).collect();
            format!("{name}:[{}]", items.join(" "))
        })
        .collect();
    format!("{{{}}}", parts.join(", "))
}
