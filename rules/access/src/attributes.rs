//! Who asks, what for, and the answer.

use std::collections::BTreeMap;

/// An authenticated user.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UserInfo {
    /// The user's name, such as `system:node:a`.
    pub name: String,
    /// A unique id, when the authenticator has one.
    pub uid: String,
    /// Groups that the user is in.
    pub groups: Vec<String>,
    /// Further facts, such as the pod that a service account's token is bound to.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl UserInfo {
    /// Whether the user is in `group`.
    pub fn in_group(&self, group: &str) -> bool {
        self.groups.iter().any(|g| g == group)
    }
}

/// One request to be decided. For requests about paths, `path` is set and everything about resources is empty.
#[derive(Clone, Copy, Debug)]
pub struct Attributes<'a> {
    /// Who asks.
    pub user: &'a UserInfo,
    /// `get`, `list`, `create` …
    pub verb: &'a str,
    /// API group; empty for the core group.
    pub group: &'a str,
    /// API version.
    pub version: &'a str,
    /// Plural name.
    pub resource: &'a str,
    /// Empty, or `status`, `log` …
    pub subresource: &'a str,
    /// Empty for cluster-scoped requests and for all namespaces.
    pub namespace: &'a str,
    /// Empty for collections.
    pub name: &'a str,
    /// The path of a request that is not about a resource.
    pub path: &'a str,
    /// Whether the request is about a resource.
    pub resource_request: bool,
    /// The field selector of a list, watch or delete collection.
    pub field_selector: &'a str,
    /// The label selector of a list, watch or delete collection.
    pub label_selector: &'a str,
}

/// An authorizer's answer, with its reason.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// Allowed; nobody else is asked.
    Allow(String),
    /// Refused; nobody else is asked.
    Deny(String),
    /// Not allowed by this authorizer; others may.
    NoOpinion(String),
}

impl Decision {
    /// Whether the request is allowed.
    pub fn is_allowed(&self) -> bool {
        matches!(self, Decision::Allow(_))
    }
}
