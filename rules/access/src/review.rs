//! Everything that a user may do in a namespace, for SelfSubjectRulesReview.

use crate::attributes::UserInfo;
use crate::rbac::Rules;
use corten_api::authorization::v1::{NonResourceRule, ResourceRule};

/// What a user may do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SubjectRules {
    /// Rules about resources.
    pub resource: Vec<ResourceRule>,
    /// Rules about paths.
    pub non_resource: Vec<NonResourceRule>,
    /// Whether an authorizer could not list its rules.
    pub incomplete: bool,
    /// Why.
    pub error: String,
}

/// The rules that apply to `user` in `namespace`.
pub fn rules_for(rules: &Rules, user: &UserInfo, namespace: &str) -> SubjectRules {
    let mut found = SubjectRules::default();
    for applied in rules.applying(user, namespace) {
        let rule = applied.rule;
        if !rule.resources.is_empty() {
            found.resource.push(ResourceRule {
                verbs: rule.verbs.clone(),
                api_groups: rule.api_groups.clone(),
                resources: rule.resources.clone(),
                resource_names: rule.resource_names.clone(),
            });
        }
        if !rule.non_resource_urls.is_empty() {
            found.non_resource.push(NonResourceRule {
                verbs: rule.verbs.clone(),
                non_resource_urls: rule.non_resource_urls.clone(),
            });
        }
    }
    if crate::node::node_name(user).is_some() {
        found.incomplete = true;
        found.error = "node authorizer does not support user rule resolution".to_owned();
    }
    found
}
