//! Evaluating expressions about a request: what their variables stand for, what they may cost, how failures read.
//! Invariant: nothing waits while an expression is evaluated; one that asks an authorizer elsewhere is evaluated again with
//! its answer (`Rights::settle`).

use std::rc::Rc;

use corten_access::{Attributes, Decision as Decided, UserInfo};
use corten_api::Object;
use corten_cel::{Activation, Authorizer, Authz, Budget, Check, Decision, Program, Subject, Val};
use corten_cel::{EvalError, Variables};
use corten_client::Status;
use corten_core::{Value, ValueMap};

use super::asked::Asked;
use super::internal;
use super::matching::Matched;
use crate::authorization::Rights;

/// What all expressions about one object with one parameter may cost together.
pub(super) const COST_MAX: u64 = 10_000_000;
/// What match conditions may cost together.
pub(super) const CONDITIONS_COST_MAX: u64 = 2_500_000;
const EXHAUSTED: &str =
    "validation failed due to running out of cost budget, no further validation rules will be run";

/// An expression with its text.
#[derive(Debug)]
pub(super) struct Expression {
    pub source: String,
    pub program: Result<Program, String>,
}

/// The data behind the variables.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub object: Value,
    pub old: Value,
    pub request: Value,
    pub namespace: Value,
    /// Null when there are none.
    pub params: Value,
}

impl Facts {
    /// What expressions may know of a request that matched.
    pub(super) fn of(
        asked: &Asked<'_>,
        matched: &Matched,
        object: Option<&Object>,
    ) -> Result<Facts, Status> {
        Ok(Facts {
            object: shown(asked, matched, object)?,
            old: shown(asked, matched, asked.old)?,
            request: request(asked, matched),
            namespace: namespace(asked)?,
            params: Value::Null,
        })
    }

    fn activation(&self) -> Activation<'_> {
        Activation::new()
            .data("object", &self.object)
            .data("oldObject", &self.old)
            .data("request", &self.request)
            .data("namespaceObject", &self.namespace)
            .data("params", &self.params)
    }
}

/// An object as a value in the version of a match.
pub(super) fn shown(
    asked: &Asked<'_>,
    matched: &Matched,
    object: Option<&Object>,
) -> Result<Value, Status> {
    let Some(object) = object else {
        return Ok(Value::Null);
    };
    let other = asked.shown(object, &matched.resource)?;
    other
        .as_ref()
        .unwrap_or(object)
        .to_value()
        .map_err(internal)
}

fn text(value: &str) -> Value {
    Value::from(value)
}

fn names(fields: &[(&str, &str)]) -> Value {
    let mut map = ValueMap::new();
    for (name, value) in fields {
        map.insert(*name, text(value));
    }
    Value::Map(map)
}

fn request(asked: &Asked<'_>, matched: &Matched) -> Value {
    let kind = |k: &corten_meta::GroupVersionKind| {
        names(&[
            ("group", &k.group),
            ("version", &k.version),
            ("kind", &k.kind),
        ])
    };
    let resource = |r: &corten_meta::GroupVersionResource| {
        names(&[
            ("group", &r.group),
            ("version", &r.version),
            ("resource", &r.resource),
        ])
    };
    let mut request = Value::map();
    request.set(&["uid"], "");
    request.set(&["kind"], kind(&matched.kind));
    request.set(&["resource"], resource(&matched.resource));
    request.set(&["requestKind"], kind(&asked.kind));
    request.set(&["requestResource"], resource(&asked.resource));
    for (name, value) in [
        ("subResource", asked.subresource),
        ("requestSubResource", asked.subresource),
        ("name", &asked.name),
        ("namespace", &asked.namespace),
    ] {
        if !value.is_empty() {
            request.set(&[name], value);
        }
    }
    request.set(&["operation"], asked.verb());
    request.set(&["userInfo"], user(asked.user));
    request.set(&["dryRun"], asked.dry_run);
    request.set(&["options"], asked.options.clone());
    request
}

fn user(user: &UserInfo) -> Value {
    let list = |texts: &[String]| Value::List(texts.iter().map(|t| text(t)).collect());
    let mut info = Value::map();
    for (name, value) in [("username", &user.name), ("uid", &user.uid)] {
        if !value.is_empty() {
            info.set(&[name], value.as_str());
        }
    }
    if !user.groups.is_empty() {
        info.set(&["groups"], list(&user.groups));
    }
    if !user.extra.is_empty() {
        let mut extra = ValueMap::new();
        for (key, values) in &user.extra {
            extra.insert(key.as_str(), list(values));
        }
        info.set(&["extra"], Value::Map(extra));
    }
    info
}

/// What expressions may know of the request's namespace; null for what lies in none.
fn namespace(asked: &Asked<'_>) -> Result<Value, Status> {
    let is_namespace = asked.kind.group.is_empty() && asked.kind.kind == "Namespace";
    if asked.namespace.is_empty() || is_namespace {
        return Ok(Value::Null);
    }
    let found = asked.namespace_object().ok_or_else(|| {
        Status::not_found(corten_client::Target {
            group: "",
            resource: "namespaces",
            name: &asked.namespace,
        })
    })?;
    let mut value = Object::from(found.clone()).to_value().map_err(internal)?;
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_map_mut) {
        metadata.remove("managedFields");
        metadata.remove("ownerReferences");
        metadata.remove("selfLink");
    }
    Ok(value)
}

/// Decides for expressions as the request itself was decided on.
struct Asker {
    rights: Rights,
    user: UserInfo,
}

impl Authorizer for Asker {
    fn authorize(&self, check: &Check) -> Decision {
        let account;
        let user = match &check.subject {
            Subject::Requester => &self.user,
            Subject::ServiceAccount(namespace, name) => {
                account = UserInfo {
                    name: format!("system:serviceaccount:{namespace}:{name}"),
                    groups: vec![
                        "system:serviceaccounts".into(),
                        format!("system:serviceaccounts:{namespace}"),
                        "system:authenticated".into(),
                    ],
                    ..UserInfo::default()
                };
                &account
            }
        };
        let attributes = Attributes {
            user,
            verb: &check.verb,
            group: &check.group,
            version: "*",
            resource: &check.resource,
            subresource: &check.subresource,
            namespace: &check.namespace,
            name: &check.name,
            path: &check.path,
            resource_request: check.path.is_empty(),
            field_selector: &check.field_selector,
            label_selector: &check.label_selector,
        };
        let ruling = self.rights.rule(&attributes);
        let (allowed, reason) = match ruling.decision {
            Decided::Allow(reason) => (true, reason),
            Decided::Deny(reason) | Decided::NoOpinion(reason) => (false, reason),
        };
        Decision {
            allowed,
            reason,
            error: ruling.error,
        }
    }
}

/// Whether expressions may ask what the user may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asking {
    Allowed,
    Unknown,
}

/// What an expression came to.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Outcome {
    Bool(bool),
    Text(String),
    Null,
    Other,
    /// Why it came to nothing, in upstream's words.
    Failed(String),
}

/// What remains of a budget.
#[derive(Clone, Copy, Debug)]
pub(super) struct Remaining(pub u64);

impl Remaining {
    /// Takes away what was spent.
    pub(super) fn spend(&mut self, spent: u64) -> Result<(), String> {
        self.0 = self.0.checked_sub(spent).ok_or(EXHAUSTED)?;
        Ok(())
    }
}

/// Evaluates expressions about one request.
pub(super) struct Evaluation<'a> {
    asked: &'a Asked<'a>,
    facts: &'a Facts,
    asking: Asking,
}

impl<'a> Evaluation<'a> {
    pub(super) fn new(asked: &'a Asked<'a>, facts: &'a Facts, asking: Asking) -> Evaluation<'a> {
        Evaluation {
            asked,
            facts,
            asking,
        }
    }

    fn activation(&self) -> Activation<'_> {
        let activation = self.facts.activation();
        if self.asking == Asking::Unknown {
            return activation;
        }
        let rights: Rc<dyn Authorizer> = Rc::new(Asker {
            rights: self.asked.rights.clone(),
            user: self.asked.user.clone(),
        });
        let check = Check {
            subject: Subject::Requester,
            verb: String::new(),
            path: String::new(),
            group: self.asked.resource.group.to_string(),
            resource: self.asked.resource.resource.to_string(),
            subresource: self.asked.subresource.to_owned(),
            namespace: self.asked.namespace.clone(),
            name: self.asked.name.clone(),
            field_selector: String::new(),
            label_selector: String::new(),
        };
        activation
            .authorizer("authorizer", Authz::authorizer(rights.clone()))
            .authorizer("authorizer.requestResource", Authz::resource(rights, check))
    }

    /// Evaluates expressions in turn; those before may be named through `variables`. A missing expression gives null.
    ///
    /// # Errors
    /// When the budget is exhausted.
    pub(super) fn all(
        &self,
        variables: &[(String, Expression)],
        expressions: &[Option<&Expression>],
        remaining: &mut Remaining,
    ) -> Result<Vec<Outcome>, String> {
        let mut outcomes = Vec::with_capacity(expressions.len());
        self.each(variables, expressions, remaining, &mut |value| {
            outcomes.push(match value {
                None => Outcome::Null,
                Some(Ok(value)) => outcome(&value),
                Some(Err(why)) => Outcome::Failed(why),
            });
        })?;
        Ok(outcomes)
    }

    /// The same, with the values given to `take`.
    pub(super) fn each(
        &self,
        variables: &[(String, Expression)],
        expressions: &[Option<&Expression>],
        remaining: &mut Remaining,
        take: &mut dyn FnMut(Option<Result<Val<'_>, String>>),
    ) -> Result<(), String> {
        let named = variables.iter().filter_map(|(name, expression)| {
            let program = expression.program.as_ref().ok()?;
            Some((name.as_str(), program))
        });
        let named = Variables::new(named.collect());
        let activation = named.activate(self.activation());
        for expression in expressions {
            let Some(expression) = expression else {
                take(None);
                continue;
            };
            let program = match &expression.program {
                Ok(program) => program,
                Err(why) => {
                    take(Some(Err(format!("compilation error: {why}"))));
                    continue;
                }
            };
            let mut budget = Budget::default();
            let value = program.evaluate(&activation, &mut budget);
            remaining.spend(named.take_spent())?;
            remaining.spend(budget.spent())?;
            let value = value.map_err(|e: EvalError| {
                format!("expression '{}' resulted in error: {e}", expression.source)
            });
            take(Some(value));
        }
        Ok(())
    }
}

fn outcome(value: &Val<'_>) -> Outcome {
    match value {
        Val::Null => Outcome::Null,
        Val::Bool(value) => Outcome::Bool(*value),
        other => match other.as_str() {
            Some(text) => Outcome::Text(text.to_owned()),
            None => Outcome::Other,
        },
    }
}
