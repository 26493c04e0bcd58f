//! Attribute-based access control: a file with one policy per line, as `abac.authorization.kubernetes.io/v1beta1` or in the
//! form before versions. Invariant: what no line allows is left to other authorizers. Leaves out: reading the file.

use serde::Deserialize;

use crate::attributes::{Attributes, Decision, UserInfo};
use crate::review::SubjectRules;
use corten_api::authorization::v1::{NonResourceRule, ResourceRule};
use corten_core::List;

const VERSION: &str = "abac.authorization.kubernetes.io/v1beta1";
const ALL_AUTHENTICATED: &str = "system:authenticated";

/// What one line allows, and to whom.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
struct Rule {
    user: String,
    group: String,
    readonly: bool,
    api_group: String,
    resource: String,
    namespace: String,
    #[serde(rename = "nonResourcePath")]
    path: String,
}

/// A line with a version.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Versioned {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    spec: Rule,
}

/// The lines of a file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Policy(Vec<Rule>);

impl Policy {
    /// Reads a file's text.
    ///
    /// # Errors
    /// Upstream's words for the first line that cannot be read, without the file's name: `line 2: {…}: why`.
    pub fn parse(text: &str) -> Result<Policy, String> {
        let mut rules = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let trimmed = line.trim();
            if trimmed.is_empty() || trimmed.starts_with('#') {
                continue;
            }
            let rule = Rule::parse(trimmed);
            rules.push(rule.map_err(|why| format!("line {}: {line}: {why}", index + 1))?);
        }
        Ok(Policy(rules))
    }

    /// Decides one request.
    pub fn decide(&self, attributes: &Attributes) -> Decision {
        match self.0.iter().any(|rule| rule.matches(attributes)) {
            true => Decision::Allow(String::new()),
            false => Decision::NoOpinion("No policy matched.".to_owned()),
        }
    }

    /// What a user may do in a namespace.
    pub fn rules_for(&self, user: &UserInfo, namespace: &str) -> SubjectRules {
        let mut found = SubjectRules::default();
        let applying = self.0.iter().filter(|r| r.is_about(user));
        for rule in applying.filter(|r| is_or_all(&r.namespace, namespace)) {
            let verbs = match rule.readonly {
                true => List::from_iter(["get", "list", "watch"]),
                false => List::from_iter(["*"]),
            };
            let one = |text: &str| List::from_iter([text]);
            if !rule.resource.is_empty() {
                found.resource.push(ResourceRule {
                    verbs: verbs.clone(),
                    api_groups: one(&rule.api_group),
                    resources: one(&rule.resource),
                    ..ResourceRule::default()
                });
            }
            if !rule.path.is_empty() {
                found.non_resource.push(NonResourceRule {
                    verbs,
                    non_resource_urls: one(&rule.path),
                });
            }
        }
        found
    }
}

fn is_or_all(pattern: &str, text: &str) -> bool {
    pattern == "*" || pattern == text
}

impl Rule {
    fn parse(line: &str) -> Result<Rule, String> {
        let versioned: Versioned = serde_json::from_str(line).map_err(|e| e.to_string())?;
        if versioned.api_version == VERSION && versioned.kind == "Policy" {
            let mut rule = versioned.spec;
            if rule.user == "*" || rule.group == "*" {
                rule.group = ALL_AUTHENTICATED.to_owned();
                rule.user.clear();
            }
            return Ok(rule);
        }
        let old: Rule = serde_json::from_str(line).map_err(|e| e.to_string())?;
        Ok(old.of_before_versions())
    }

    /// What was left out matched everything.
    fn of_before_versions(self) -> Rule {
        let everywhere = self.namespace.is_empty() && self.resource.is_empty();
        let or_all = |text: String| match text.is_empty() {
            true => "*".to_owned(),
            false => text,
        };
        let mut rule = Rule {
            api_group: "*".to_owned(),
            namespace: or_all(self.namespace),
            resource: or_all(self.resource),
            path: match everywhere {
                true => "*".to_owned(),
                false => String::new(),
            },
            ..self
        };
        let nobody = rule.user.is_empty() && rule.group.is_empty();
        if nobody || rule.user == "*" || rule.group == "*" {
            rule.group = ALL_AUTHENTICATED.to_owned();
            rule.user.clear();
        }
        rule
    }

    /// Whether a user is meant: both user and group must fit when both are given.
    fn is_about(&self, user: &UserInfo) -> bool {
        let named = !self.user.is_empty();
        let grouped = !self.group.is_empty();
        let fits_user = !named || is_or_all(&self.user, &user.name);
        let fits_group = !grouped || self.group == "*" || user.in_group(&self.group);
        (named || grouped) && fits_user && fits_group
    }

    fn matches(&self, a: &Attributes) -> bool {
        let reads = matches!(a.verb, "get" | "list" | "watch");
        if !self.is_about(a.user) || (!reads && self.readonly) {
            return false;
        }
        if a.resource_request {
            return is_or_all(&self.namespace, a.namespace)
                && is_or_all(&self.resource, a.resource)
                && is_or_all(&self.api_group, a.group);
        }
        let below = self.path.ends_with('*') && a.path.starts_with(self.path.trim_end_matches('*'));
        is_or_all(&self.path, a.path) || below
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
# who may what
{"apiVersion":"abac.authorization.kubernetes.io/v1beta1","kind":"Policy","spec":{"user":"jane","namespace":"*","resource":"*","apiGroup":"*","nonResourcePath":"*"}}
{"apiVersion":"abac.authorization.kubernetes.io/v1beta1","kind":"Policy","spec":{"group":"readers","readonly":true,"namespace":"web","resource":"pods","apiGroup":""}}
{"apiVersion":"abac.authorization.kubernetes.io/v1beta1","kind":"Policy","spec":{"user":"*","nonResourcePath":"/version*"}}
{"user":"old","namespace":"web"}
"#;

    fn may(user: &str, group: &str, verb: &str, what: (&str, &str, &str)) -> bool {
        let user = UserInfo {
            name: user.to_owned(),
            groups: vec![group.to_owned(), ALL_AUTHENTICATED.to_owned()],
            ..UserInfo::default()
        };
        let (group, resource, namespace) = what;
        let path = resource.starts_with('/');
        let attributes = Attributes {
            user: &user,
            verb,
            group,
            version: "v1",
            resource: if path { "" } else { resource },
            subresource: "",
            namespace,
            name: "",
            path: if path { resource } else { "" },
            resource_request: !path,
            field_selector: "",
            label_selector: "",
        };
        Policy::parse(FILE)
            .unwrap()
            .decide(&attributes)
            .is_allowed()
    }

    #[test]
    fn lines_allow_what_they_name() {
        assert!(may("jane", "", "delete", ("apps", "deployments", "x")));
        assert!(may("jane", "", "get", ("", "/healthz", "")));
        assert!(may("joe", "readers", "list", ("", "pods", "web")));
        assert!(!may("joe", "readers", "delete", ("", "pods", "web")));
        assert!(!may("joe", "readers", "list", ("", "pods", "other")));
        assert!(!may("joe", "readers", "list", ("", "secrets", "web")));
        assert!(may("joe", "", "get", ("", "/version/x", "")));
        assert!(may("old", "", "create", ("apps", "anything", "web")));
        assert!(!may("old", "", "get", ("", "/metrics", "")));
    }

    #[test]
    fn a_bad_line_is_named() {
        let why = Policy::parse("# fine\n{").unwrap_err();
        assert!(why.starts_with("line 2: {: "), "{why}");
    }

    #[test]
    fn rules_are_told() {
        let jane = UserInfo {
            name: "jane".to_owned(),
            ..UserInfo::default()
        };
        let rules = Policy::parse(FILE).unwrap().rules_for(&jane, "default");
        assert_eq!((rules.resource.len(), rules.non_resource.len()), (1, 1));
    }
}
