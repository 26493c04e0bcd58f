//! Asking whether somebody may do something, from within an expression. Who decides comes from the caller.

use std::fmt;
use std::rc::Rc;

use crate::val::Val;

/// Decides checks for the requesting user. Called while an expression is evaluated.
pub trait Authorizer {
    /// Whether what a check describes is allowed.
    fn authorize(&self, check: &Check) -> Decision;
}

/// Who a check is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The user of the request.
    Requester,
    /// A service account: namespace and name.
    ServiceAccount(String, String),
}

/// What is asked: a path, or a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Who.
    pub subject: Subject,
    /// Does what.
    pub verb: String,
    /// A path that is no resource; empty for resources.
    pub path: String,
    /// The API group.
    pub group: String,
    /// The resource.
    pub resource: String,
    /// Its subresource.
    pub subresource: String,
    /// Where.
    pub namespace: String,
    /// Which one.
    pub name: String,
    /// A field selector, as text.
    pub field_selector: String,
    /// A label selector, as text.
    pub label_selector: String,
}

/// The answer to a check.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// Whether it is allowed.
    pub allowed: bool,
    /// Why.
    pub reason: String,
    /// What went wrong while deciding.
    pub error: Option<String>,
}

/// A value of the authorizer's library.
#[derive(Clone)]
pub struct Authz {
    pub(crate) stage: Stage,
    pub(crate) check: Check,
    pub(crate) by: Rc<dyn Authorizer>,
    pub(crate) decision: Decision,
}

/// Which of the library's types a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Authorizer,
    Path,
    Group,
    Resource,
    Decision,
}

impl fmt::Debug for Authz {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}({:?})", self.stage, self.check)
    }
}

impl Authz {
    /// The variable `authorizer`.
    pub fn authorizer(by: Rc<dyn Authorizer>) -> Authz {
        Authz {
            stage: Stage::Authorizer,
            check: Check {
                subject: Subject::Requester,
                verb: String::new(),
                path: String::new(),
                group: String::new(),
                resource: String::new(),
                subresource: String::new(),
                namespace: String::new(),
                name: String::new(),
                field_selector: String::new(),
                label_selector: String::new(),
            },
            by,
            decision: Decision::default(),
        }
    }

    /// The variable `authorizer.requestResource`: a check of a resource, filled in.
    pub fn resource(by: Rc<dyn Authorizer>, check: Check) -> Authz {
        Authz {
            stage: Stage::Resource,
            check,
            ..Authz::authorizer(by)
        }
    }

    pub(crate) const fn type_name(&self) -> &'static str {
        match self.stage {
            Stage::Authorizer => "kubernetes.authorization.Authorizer",
            Stage::Path => "kubernetes.authorization.PathCheck",
            Stage::Group => "kubernetes.authorization.GroupCheck",
            Stage::Resource => "kubernetes.authorization.ResourceCheck",
            Stage::Decision => "kubernetes.authorization.Decision",
        }
    }

    /// Calls a member function.
    pub(crate) fn member<'a>(
        &self,
        function: &str,
        args: &[Val<'a>],
    ) -> Option<Result<Val<'a>, String>> {
        let text = |i: usize| args.get(i).and_then(Val::as_str).map(str::to_owned);
        let mut next = self.clone();
        match (self.stage, function, args.len()) {
            (Stage::Authorizer, "path", 1) => {
                next.check.path = text(0)?;
                if next.check.path.trim().is_empty() {
                    return Some(Err("path must not be empty".into()));
                }
                next.stage = Stage::Path;
            }
            (Stage::Authorizer, "group", 1) => {
                next.check.group = text(0)?;
                next.stage = Stage::Group;
            }
            (Stage::Authorizer, "serviceAccount", 2) => {
                let (namespace, name) = (text(0)?, text(1)?);
                let fine = |format: &str, text: &str| {
                    crate::formats::named(format).is_some_and(|f| f.check(text).is_empty())
                };
                if !fine("dns1123Subdomain", &name) {
                    return Some(Err("Invalid service account name".into()));
                }
                if !fine("dns1123Label", &namespace) {
                    return Some(Err("Invalid service account namespace".into()));
                }
                next.check.subject = Subject::ServiceAccount(namespace, name);
            }
            (Stage::Group, "resource", 1) => {
                next.check.resource = text(0)?;
                if next.check.resource.trim().is_empty() {
                    return Some(Err("resource must not be empty".into()));
                }
                next.stage = Stage::Resource;
            }
            (Stage::Resource, "subresource", 1) => next.check.subresource = text(0)?,
            (Stage::Resource, "namespace", 1) => next.check.namespace = text(0)?,
            (Stage::Resource, "name", 1) => next.check.name = text(0)?,
            (Stage::Resource, "fieldSelector", 1) => next.check.field_selector = text(0)?,
            (Stage::Resource, "labelSelector", 1) => next.check.label_selector = text(0)?,
            (Stage::Path | Stage::Resource, "check", 1) => {
                next.check.verb = text(0)?;
                next.decision = self.by.authorize(&next.check);
                next.stage = Stage::Decision;
            }
            (Stage::Decision, "allowed", 0) => return Some(Ok(Val::Bool(self.decision.allowed))),
            (Stage::Decision, "reason", 0) => {
                return Some(Ok(Val::text(self.decision.reason.as_str())));
            }
            (Stage::Decision, "errored", 0) => {
                return Some(Ok(Val::Bool(self.decision.error.is_some())));
            }
            (Stage::Decision, "error", 0) => {
                let error = self.decision.error.clone().unwrap_or_default();
                return Some(Ok(Val::text(error)));
            }
            _ => return None,
        }
        Some(Ok(Val::Authz(Rc::new(next))))
    }
}
