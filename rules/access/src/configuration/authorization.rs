//! `AuthorizationConfiguration`: the authorizers in the order in which they are asked.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use super::expression::Expression;
use super::{aggregate, check_type, duplicate, invalid, required};

/// The file.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AuthorizationConfiguration {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    /// In the order in which they are asked.
    #[serde(default)]
    pub authorizers: Vec<AuthorizerConfiguration>,
}

/// One authorizer.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct AuthorizerConfiguration {
    /// `Node`, `RBAC`, `Webhook`, `AlwaysAllow`, `AlwaysDeny`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its name, for metrics and logs.
    pub name: String,
    /// Of a webhook.
    pub webhook: Option<WebhookAuthorizer>,
}

/// What to do when a webhook gives no answer.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
pub enum FailurePolicy {
    /// The next authorizer is asked.
    #[default]
    NoOpinion,
    /// The request is refused.
    Deny,
}

/// A webhook that decides.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct WebhookAuthorizer {
    /// How long "allowed" is kept.
    #[serde(rename = "authorizedTTL", deserialize_with = "go_duration")]
    pub authorized_ttl: Duration,
    /// Whether it is kept at all.
    pub cache_authorized_requests: bool,
    /// How long "not allowed" is kept.
    #[serde(rename = "unauthorizedTTL", deserialize_with = "go_duration")]
    pub unauthorized_ttl: Duration,
    /// Whether it is kept at all.
    pub cache_unauthorized_requests: bool,
    /// How long it may take.
    #[serde(deserialize_with = "go_duration")]
    pub timeout: Duration,
    /// `v1` or `v1beta1`.
    pub subject_access_review_version: String,
    /// `v1`.
    pub match_condition_subject_access_review_version: String,
    /// When there is no answer; must be said.
    pub failure_policy: Option<FailurePolicy>,
    /// Where it is.
    pub connection_info: ConnectionInfo,
    /// Expressions over `request` that must all hold for it to be asked.
    pub match_conditions: Vec<MatchCondition>,
}

impl Default for WebhookAuthorizer {
    fn default() -> WebhookAuthorizer {
        WebhookAuthorizer {
            authorized_ttl: Duration::from_secs(300),
            cache_authorized_requests: true,
            unauthorized_ttl: Duration::from_secs(30),
            cache_unauthorized_requests: true,
            timeout: Duration::ZERO,
            subject_access_review_version: String::new(),
            match_condition_subject_access_review_version: String::new(),
            failure_policy: None,
            connection_info: ConnectionInfo::default(),
            match_conditions: Vec::new(),
        }
    }
}

/// Where a webhook is.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ConnectionInfo {
    /// `KubeConfigFile`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The file.
    pub kube_config_file: Option<String>,
}

/// An expression that must hold.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct MatchCondition {
    /// Over `request`, a SubjectAccessReviewSpec.
    pub expression: String,
}

/// A duration as Go writes it: `1h30m`, `500ms`, `0`.
pub fn duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut total = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (digits, after) = rest.split_at(number);
        let unit = after
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(unit);
        let factor = match unit {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        total += digits.parse::<f64>().ok()? * factor;
        rest = after;
    }
    Duration::try_from_secs_f64(total)
        .ok()
        .filter(|_| !text.is_empty())
}

fn go_duration<'de, D: Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(d)?;
    duration(&text).ok_or_else(|| serde::de::Error::custom(format!("invalid duration {text:?}")))
}

const KNOWN: [&str; 5] = ["AlwaysAllow", "AlwaysDeny", "Node", "RBAC", "Webhook"];

impl AuthorizationConfiguration {
    /// From JSON.
    pub fn parse(json: &str) -> Result<AuthorizationConfiguration, String> {
        let parsed: AuthorizationConfiguration =
            serde_json::from_str(json).map_err(|e| format!("strict decoding error: {e}"))?;
        check_type(
            &parsed.api_version,
            &parsed.kind,
            "AuthorizationConfiguration",
            &["v1", "v1beta1", "v1alpha1"],
        )?;
        parsed.check()?;
        Ok(parsed)
    }

    fn check(&self) -> Result<(), String> {
        let mut errors = Vec::new();
        if self.authorizers.is_empty() {
            let why = "at least one authorization mode must be defined";
            errors.push(required("authorizers", why));
        }
        let (mut kinds, mut names) = (BTreeSet::new(), BTreeSet::new());
        for (i, authorizer) in self.authorizers.iter().enumerate() {
            let path = format!("authorizers[{i}]");
            let kind = authorizer.kind.as_str();
            if kind.is_empty() {
                errors.push(required(&format!("{path}.type"), ""));
                continue;
            }
            if !KNOWN.contains(&kind) {
                let known = KNOWN.map(|k| format!("{k:?}")).join(", ");
                errors.push(format!(
                    "{path}.type: Unsupported value: {kind:?}: supported values: {known}"
                ));
                continue;
            }
            if !kinds.insert(kind) && kind != "Webhook" {
                errors.push(duplicate(&format!("{path}.type"), kind));
                continue;
            }
            if authorizer.name.is_empty() {
                errors.push(required(&format!("{path}.name"), ""));
            } else if !names.insert(&authorizer.name) {
                errors.push(duplicate(&format!("{path}.name"), &authorizer.name));
            }
            match (kind, &authorizer.webhook) {
                ("Webhook", None) => {
                    errors.push(required(
                        &format!("{path}.webhook"),
                        "required when type=Webhook",
                    ));
                }
                ("Webhook", Some(webhook)) => webhook.check(&path, &mut errors),
                (_, Some(_)) => {
                    let why = "may only be specified when type=Webhook";
                    errors.push(invalid(&format!("{path}.webhook"), "non-null", why));
                }
                (_, None) => {}
            }
        }
        aggregate(errors)
    }
}

impl WebhookAuthorizer {
    fn check(&self, path: &str, errors: &mut Vec<String>) {
        if self.timeout.is_zero() {
            errors.push(required(&format!("{path}.timeout"), ""));
        } else if self.timeout > Duration::from_secs(30) {
            let value = format!("{}s", self.timeout.as_secs());
            errors.push(invalid(
                &format!("{path}.timeout"),
                &value,
                "must be > 0s and <= 30s",
            ));
        }
        for (field, ttl) in [
            ("authorizedTTL", self.authorized_ttl),
            ("unauthorizedTTL", self.unauthorized_ttl),
        ] {
            if ttl.is_zero() {
                errors.push(required(&format!("{path}.{field}"), ""));
            }
        }
        let at = format!("{path}.subjectAccessReviewVersion");
        match self.subject_access_review_version.as_str() {
            "" => errors.push(required(&at, "")),
            "v1" | "v1beta1" => {}
            other => errors.push(format!(
                "{at}: Unsupported value: {other:?}: supported values: \"v1\", \"v1beta1\""
            )),
        }
        let at = format!("{path}.matchConditionSubjectAccessReviewVersion");
        match self.match_condition_subject_access_review_version.as_str() {
            "" if self.match_conditions.is_empty() => {}
            "" => errors.push(required(&at, "required if match conditions are specified")),
            "v1" => {}
            other => errors.push(format!(
                "{at}: Unsupported value: {other:?}: supported values: \"v1\""
            )),
        }
        if self.failure_policy.is_none() {
            errors.push(required(&format!("{path}.failurePolicy"), ""));
        }
        self.connection_info
            .check(&format!("{path}.connectionInfo"), errors);
        if let Err(why) = self.conditions(path) {
            errors.push(why);
        }
    }

    /// The conditions, compiled.
    pub fn conditions(&self, path: &str) -> Result<Vec<Expression>, String> {
        let compile = |(i, condition): (usize, &MatchCondition)| {
            let path = format!("{path}.matchConditions[{i}].expression");
            let source = condition.expression.trim();
            if source.is_empty() {
                return Err(required(&path, ""));
            }
            Expression::condition("request", source).map_err(|why| invalid(&path, source, &why))
        };
        self.match_conditions
            .iter()
            .enumerate()
            .map(compile)
            .collect()
    }
}

impl ConnectionInfo {
    fn check(&self, path: &str, errors: &mut Vec<String>) {
        let at = format!("{path}.kubeConfigFile");
        match (
            self.kind.as_str(),
            self.kube_config_file.as_deref().unwrap_or_default(),
        ) {
            ("", _) => errors.push(required(&format!("{path}.type"), "")),
            ("KubeConfigFile", "") => errors.push(required(&at, "")),
            ("KubeConfigFile", file) if !file.starts_with('/') => {
                errors.push(invalid(&at, file, "must be an absolute path"));
            }
            ("KubeConfigFile", _) => {}
            (other, _) => errors.push(format!(
                "{path}.type: Unsupported value: {other:?}: supported values: \"KubeConfigFile\""
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(authorizers: &str, expected: &str) {
        let json = format!(
            r#"{{"apiVersion":"apiserver.config.k8s.io/v1","kind":"AuthorizationConfiguration","authorizers":[{authorizers}]}}"#
        );
        let got = AuthorizationConfiguration::parse(&json);
        assert_eq!(
            got.map_or_else(|e| e, |_| "fine".to_owned()),
            expected,
            "{authorizers}"
        );
    }

    const HOOK: &str = r#""timeout":"3s","subjectAccessReviewVersion":"v1","failurePolicy":"Deny","connectionInfo":{"type":"KubeConfigFile","kubeConfigFile":"/a"}"#;

    #[test]
    fn chains() {
        check(
            r#"{"type":"Node","name":"node"},{"type":"RBAC","name":"rbac"}"#,
            "fine",
        );
        check(
            "",
            "authorizers: Required value: at least one authorization mode must be defined",
        );
        check(
            r#"{"type":"RBAC","name":"a"},{"type":"RBAC","name":"b"}"#,
            "authorizers[1].type: Duplicate value: \"RBAC\"",
        );
        check(
            r#"{"type":"ABAC","name":"a"}"#,
            "authorizers[0].type: Unsupported value: \"ABAC\": supported values: \"AlwaysAllow\", \"AlwaysDeny\", \"Node\", \"RBAC\", \"Webhook\"",
        );
    }

    #[test]
    fn webhooks() {
        check(
            &format!(r#"{{"type":"Webhook","name":"a","webhook":{{{HOOK}}}}}"#),
            "fine",
        );
        check(
            r#"{"type":"Webhook","name":"a","webhook":{"timeout":"31s","connectionInfo":{"type":"KubeConfigFile","kubeConfigFile":"a"}}}"#,
            "[authorizers[0].timeout: Invalid value: \"31s\": must be > 0s and <= 30s, authorizers[0].subjectAccessReviewVersion: Required value, \
             authorizers[0].failurePolicy: Required value, authorizers[0].connectionInfo.kubeConfigFile: Invalid value: \"a\": must be an absolute path]",
        );
    }

    #[test]
    fn durations() {
        assert_eq!(duration("1h30m"), Some(Duration::from_secs(5400)));
        assert_eq!(duration("1.5s"), Some(Duration::from_millis(1500)));
        assert_eq!(duration("0"), Some(Duration::ZERO));
        for wrong in ["", "1", "h", "1x", "-1s"] {
            assert_eq!(duration(wrong), None, "{wrong}");
        }
    }
}
