//! An authorizer that is elsewhere: it is asked with a SubjectAccessReview and its answers are kept for a while.
//! Invariant: what it does not answer is decided by the failure policy, never by an older answer.

use bytes::Bytes;
use serde_json::{Value, json};

use corten_access::configuration::{Expression, FailurePolicy, WebhookAuthorizer};
use corten_access::{Attributes, Decision};
use corten_meta::{FieldSelector, Selector};

use super::Ruling;
use crate::remote::{Kept, Remote};
use crate::server::Server;

/// An authorizer that is elsewhere.
pub(crate) struct Webhook {
    pub name: String,
    pub config: WebhookAuthorizer,
    conditions: Vec<Expression>,
    remote: Remote,
    kept: Kept<Decision>,
}

impl Webhook {
    /// `Err` says which condition does not compile.
    pub(crate) fn new(
        name: String,
        config: WebhookAuthorizer,
        remote: Remote,
    ) -> Result<Webhook, String> {
        Ok(Webhook {
            conditions: config.conditions("webhook")?,
            name,
            config,
            remote,
            kept: Kept::new(),
        })
    }

    /// Whether all conditions hold; one that does not counts before any that fails.
    fn is_asked(&self, attributes: &Attributes<'_>) -> Result<bool, String> {
        if self.conditions.is_empty() {
            return Ok(true);
        }
        let request = filled(spec(attributes, "v1"));
        let request = corten_codec::json::decode_value(request.to_string().as_bytes());
        let request = request.map_err(|e| e.to_string())?;
        let mut errors = Vec::new();
        for condition in &self.conditions {
            match condition.evaluate(&request) {
                Ok(corten_core::Value::Bool(true)) => {}
                Ok(_) => return Ok(false),
                Err(why) => errors.push(why),
            }
        }
        match errors.is_empty() {
            true => Ok(true),
            false => Err(errors.join(", ")),
        }
    }

    /// What counts when there is no answer.
    fn failed(&self, why: String) -> Ruling {
        tracing::error!(why, webhook = self.name, "ask the authorization webhook");
        Ruling {
            decision: match self.config.failure_policy.unwrap_or_default() {
                FailurePolicy::Deny => Decision::Deny(String::new()),
                FailurePolicy::NoOpinion => Decision::NoOpinion(String::new()),
            },
            error: Some(why),
        }
    }

    /// Decides one request.
    pub(crate) async fn rule(&self, server: &Server, attributes: &Attributes<'_>) -> Ruling {
        match self.is_asked(attributes) {
            Ok(true) => {}
            Ok(false) => return Decision::NoOpinion(String::new()).into(),
            Err(why) => return self.failed(why),
        }
        let version = self.config.subject_access_review_version.as_str();
        let spec = spec(attributes, version);
        let key = spec.to_string();
        if let Some(decision) = self.kept.get(&key) {
            return decision.into();
        }
        let body = json!({
            "kind": "SubjectAccessReview",
            "apiVersion": format!("authorization.k8s.io/{version}"),
            "metadata": {"creationTimestamp": null},
            "spec": spec,
            "status": {"allowed": false},
        });
        let body = Bytes::from(body.to_string());
        let answer = self
            .remote
            .post(&server.outbound, body, self.config.timeout, false)
            .await;
        match answer.and_then(|answer| decision(&answer["status"])) {
            Ok(decision) => {
                let (keep, time) = match decision {
                    Decision::Allow(_) => (
                        self.config.cache_authorized_requests,
                        self.config.authorized_ttl,
                    ),
                    _ => (
                        self.config.cache_unauthorized_requests,
                        self.config.unauthorized_ttl,
                    ),
                };
                if keep {
                    self.kept.keep(key, decision.clone(), time);
                }
                decision.into()
            }
            Err(why) => self.failed(why),
        }
    }
}

/// With every field that expressions may read.
fn filled(mut spec: Value) -> Value {
    for (name, empty) in [
        ("user", json!("")),
        ("uid", json!("")),
        ("groups", json!([])),
        ("extra", json!({})),
    ] {
        if spec.get(name).is_none() {
            spec[name] = empty;
        }
    }
    let names = [
        "namespace",
        "verb",
        "group",
        "version",
        "resource",
        "subresource",
        "name",
    ];
    for (kind, names) in [
        ("resourceAttributes", &names[..]),
        ("nonResourceAttributes", &["path", "verb"][..]),
    ] {
        let Some(attributes) = spec.get_mut(kind) else {
            continue;
        };
        for name in names {
            if attributes.get(name).is_none() {
                attributes[name] = json!("");
            }
        }
    }
    spec
}

fn decision(status: &Value) -> Result<Decision, String> {
    let reason = status["reason"].as_str().unwrap_or_default().to_owned();
    let said = |name: &str| status[name].as_bool().unwrap_or_default();
    match (said("allowed"), said("denied")) {
        (true, true) => {
            Err("webhook subject access review returned both allow and deny response".to_owned())
        }
        (_, true) => Ok(Decision::Deny(reason)),
        (true, _) => Ok(Decision::Allow(reason)),
        (false, false) => Ok(Decision::NoOpinion(reason)),
    }
}

/// What is asked.
fn spec(a: &Attributes<'_>, version: &str) -> Value {
    let mut spec = json!({});
    let set = |to: &mut Value, name: &str, value: &str| {
        if !value.is_empty() {
            to[name] = json!(value);
        }
    };
    if a.resource_request {
        let mut resource = json!({});
        let fields = [
            ("namespace", a.namespace),
            ("verb", a.verb),
            ("group", a.group),
            ("version", a.version),
            ("resource", a.resource),
            ("subresource", a.subresource),
            ("name", a.name),
        ];
        for (name, value) in fields {
            set(&mut resource, name, value);
        }
        if let Some(selector) = field_selector(a.field_selector) {
            resource["fieldSelector"] = selector;
        }
        if let Some(selector) = label_selector(a.label_selector) {
            resource["labelSelector"] = selector;
        }
        spec["resourceAttributes"] = resource;
    } else {
        let mut path = json!({});
        set(&mut path, "path", a.path);
        set(&mut path, "verb", a.verb);
        spec["nonResourceAttributes"] = path;
    }
    set(&mut spec, "user", &a.user.name);
    set(&mut spec, "uid", &a.user.uid);
    if !a.user.groups.is_empty() {
        let name = if version == "v1beta1" {
            "group"
        } else {
            "groups"
        };
        spec[name] = json!(a.user.groups);
    }
    if !a.user.extra.is_empty() {
        spec["extra"] = json!(a.user.extra);
    }
    spec
}

fn field_selector(text: &str) -> Option<Value> {
    let selector = FieldSelector::parse(text).ok()?;
    let terms: Vec<Value> = selector
        .terms()
        .map(|(field, value, equal)| {
            let operator = if equal { "In" } else { "NotIn" };
            json!({"key": field, "operator": operator, "values": [value]})
        })
        .collect();
    (!terms.is_empty()).then(|| json!({ "requirements": terms }))
}

fn label_selector(text: &str) -> Option<Value> {
    use corten_meta::Operator;
    let selector = Selector::parse(text).ok()?;
    let mut terms = Vec::new();
    for requirement in selector.requirements() {
        let operator = match requirement.operator {
            Operator::In | Operator::Equals | Operator::DoubleEquals => "In",
            Operator::NotIn | Operator::NotEquals => "NotIn",
            Operator::Exists => "Exists",
            Operator::DoesNotExist => "DoesNotExist",
            // Others cannot be told: leaving them out only widens the question.
            _ => continue,
        };
        let mut term = json!({"key": requirement.key.as_str(), "operator": operator});
        if !requirement.values.is_empty() {
            let values: Vec<&str> = requirement.values.iter().map(|v| v.as_str()).collect();
            term["values"] = json!(values);
        }
        terms.push(term);
    }
    (!terms.is_empty()).then(|| json!({ "requirements": terms }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use corten_access::UserInfo;

    #[test]
    fn questions() {
        let user = UserInfo {
            name: "jane".into(),
            groups: vec!["a".into()],
            ..UserInfo::default()
        };
        let mut attributes = Attributes {
            user: &user,
            verb: "list",
            group: "",
            version: "v1",
            resource: "pods",
            subresource: "",
            namespace: "b",
            name: "",
            path: "",
            resource_request: true,
            field_selector: "spec.nodeName=n",
            label_selector: "x in (y),!z",
        };
        let expected = json!({
            "resourceAttributes": {
                "namespace": "b", "verb": "list", "version": "v1", "resource": "pods",
                "fieldSelector": {"requirements": [{"key": "spec.nodeName", "operator": "In", "values": ["n"]}]},
                "labelSelector": {"requirements": [
                    {"key": "x", "operator": "In", "values": ["y"]}, {"key": "z", "operator": "DoesNotExist"},
                ]},
            },
            "user": "jane", "groups": ["a"],
        });
        assert_eq!(spec(&attributes, "v1"), expected);
        attributes.resource_request = false;
        attributes.path = "/x";
        let expected = json!({"nonResourceAttributes": {"path": "/x", "verb": "list"}, "user": "jane", "group": ["a"]});
        assert_eq!(spec(&attributes, "v1beta1"), expected);
    }

    #[test]
    fn answers() {
        let decide = |status: Value| decision(&status);
        assert_eq!(
            decide(json!({"allowed": true, "reason": "x"})),
            Ok(Decision::Allow("x".into()))
        );
        assert_eq!(
            decide(json!({"allowed": false, "denied": true})),
            Ok(Decision::Deny(String::new()))
        );
        assert_eq!(
            decide(json!({"allowed": false})),
            Ok(Decision::NoOpinion(String::new()))
        );
        assert!(decide(json!({"allowed": true, "denied": true})).is_err());
    }
}
