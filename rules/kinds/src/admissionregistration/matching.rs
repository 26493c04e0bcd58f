//! What webhooks and policies match, and its defaults.

use corten_api::admissionregistration::v1::{MatchResources, Rule};

/// Rules hold for objects of all scopes.
pub(super) fn default_rule(rule: &mut Rule) {
    rule.scope.get_or_insert_with(|| "*".into());
}

/// Everything equivalent, everywhere.
pub(super) fn default_match(resources: &mut MatchResources) {
    resources
        .match_policy
        .get_or_insert_with(|| "Equivalent".into());
    resources.namespace_selector.get_or_insert_default();
    resources.object_selector.get_or_insert_default();
    let excluded = resources.exclude_resource_rules.iter_mut();
    for rule in resources.resource_rules.iter_mut().chain(excluded) {
        default_rule(&mut rule.rule_with_operations.rule);
    }
}
