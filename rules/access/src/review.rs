//! Everything that a user may do in a namespace, for SelfSubjectRulesReview.

use crate::attributes::UserInfo;
use crate::rbac::Rules;
use corten_api::authorization::v1::{NonResourceRule, ResourceRule};
use corten_core::List;

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

/// The rules that RBAC gives `user` in `namespace`; `error` names roles that bindings refer to in vain.
pub fn rbac_rules(rules: &Rules, user: &UserInfo, namespace: &str) -> SubjectRules {
    let mut found = SubjectRules {
        error: rules.missing_roles(user, namespace),
        ..SubjectRules::default()
    };
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
    found
}

/// What the node authorizer can say about `user`: nothing for others than nodes.
pub fn node_rules(user: &UserInfo) -> SubjectRules {
    let node = crate::node::is_node(user);
    SubjectRules {
        incomplete: node,
        error: match node {
            true => "node authorizer does not support user rule resolution".to_owned(),
            false => String::new(),
        },
        ..SubjectRules::default()
    }
}

/// What members of `system:masters` may, or everybody where every request is allowed.
pub fn all_rules() -> SubjectRules {
    let all = || List::from_iter(["*"]);
    SubjectRules {
        resource: vec![ResourceRule {
            verbs: all(),
            api_groups: all(),
            resources: all(),
            ..Default::default()
        }],
        non_resource: vec![NonResourceRule {
            verbs: all(),
            non_resource_urls: all(),
        }],
        ..SubjectRules::default()
    }
}
