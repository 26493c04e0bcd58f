//! Whether the user may: every request, in process or not, is decided here before it reaches a ladder. The authorizers
//! are asked in the order they were given; the first that has an opinion decides. What Node and RBAC decide is
//! `corten_access`'s; this file asks them, turns requests into attributes and refusals into 403s.
//! Invariant: `system:masters` may do everything, whatever authorizers there are.

mod rights;
mod webhook;

use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;

use corten_access::{Attributes, Decision, MASTERS, SubjectRules, UserInfo};
use corten_client::{Status, Target};

use crate::audit;
use crate::info::RequestInfo;
use crate::server::Server;
use crate::typed::View;

pub(crate) use rights::Rights;
pub(crate) use webhook::Webhook;

/// One authorizer.
pub(crate) enum Authorizer {
    /// Everything is allowed.
    AlwaysAllow,
    /// Nothing is.
    AlwaysDeny,
    /// What a node may, by what its pods refer to.
    Node,
    /// Roles and bindings.
    Rbac,
    /// A file of attributes.
    Abac(corten_access::abac::Policy),
    /// Another server.
    Webhook(Webhook),
}

/// The authorizers in the order in which they are asked.
pub(crate) struct Authorization {
    chain: ArcSwap<Vec<Authorizer>>,
}

/// An answer with what went wrong on the way to it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Ruling {
    pub decision: Decision,
    pub error: Option<String>,
}

impl From<Decision> for Ruling {
    fn from(decision: Decision) -> Ruling {
        Ruling {
            decision,
            error: None,
        }
    }
}

impl Ruling {
    /// As metrics name it.
    fn result(&self) -> &'static str {
        match (&self.decision, &self.error) {
            (Decision::Allow(_), _) => "allowed",
            (_, Some(_)) => "error",
            (Decision::Deny(_), None) => "denied",
            (Decision::NoOpinion(_), None) => "no-opinion",
        }
    }
}

impl Authorizer {
    /// As metrics name it.
    fn kind(&self) -> &'static str {
        match self {
            Authorizer::AlwaysAllow => "AlwaysAllow",
            Authorizer::AlwaysDeny => "AlwaysDeny",
            Authorizer::Node => "Node",
            Authorizer::Rbac => "RBAC",
            Authorizer::Abac(_) => "ABAC",
            Authorizer::Webhook(_) => "Webhook",
        }
    }

    /// As the settings name it.
    fn name(&self) -> &str {
        match self {
            Authorizer::AlwaysAllow => "alwaysallow",
            Authorizer::AlwaysDeny => "alwaysdeny",
            Authorizer::Node => "node",
            Authorizer::Rbac => "rbac",
            Authorizer::Abac(_) => "abac",
            Authorizer::Webhook(webhook) => &webhook.name,
        }
    }

    /// Decides without asking another server; none when that would be needed.
    fn decide_here(&self, view: &View, attributes: &Attributes<'_>) -> Option<Decision> {
        Some(match self {
            Authorizer::AlwaysAllow => Decision::Allow(String::new()),
            Authorizer::AlwaysDeny => Decision::NoOpinion("Everything is forbidden.".to_owned()),
            Authorizer::Node => corten_access::decide_node(&view.snapshot, attributes),
            Authorizer::Rbac => view.rules.decide(attributes),
            Authorizer::Abac(policy) => policy.decide(attributes),
            Authorizer::Webhook(_) => return None,
        })
    }

    async fn rule(&self, server: &Server, attributes: &Attributes<'_>) -> Ruling {
        match self {
            Authorizer::Webhook(webhook) => webhook.rule(server, attributes).await,
            here => {
                let decided = here.decide_here(&server.typed.view(), attributes);
                let nobody = Decision::NoOpinion(String::new());
                decided.unwrap_or(nobody).into()
            }
        }
    }
}

impl Authorization {
    pub(crate) fn new(chain: Vec<Authorizer>) -> Authorization {
        Authorization {
            chain: ArcSwap::from_pointee(chain),
        }
    }

    /// The same authorizers for what rules ask about during one request.
    pub(crate) fn rights(&self, view: &Arc<View>) -> Rights {
        Rights::new(view.clone(), self.chain.load_full())
    }

    /// Other authorizers from now on.
    pub(crate) fn replace(&self, chain: Vec<Authorizer>) {
        self.chain.store(Arc::new(chain));
    }

    /// Decides one request.
    pub(crate) async fn rule(&self, server: &Server, attributes: &Attributes<'_>) -> Ruling {
        if attributes.user.in_group(MASTERS) {
            return Decision::Allow(String::new()).into();
        }
        let chain = self.chain.load_full();
        let mut reasons: Vec<String> = Vec::new();
        let mut errors: Vec<String> = Vec::new();
        for authorizer in chain.iter() {
            let ruling = authorizer.rule(server, attributes).await;
            match ruling.decision {
                Decision::NoOpinion(reason) => {
                    reasons.extend(Some(reason).filter(|r| !r.is_empty()));
                    errors.extend(ruling.error);
                }
                _ => {
                    let word = match ruling.decision {
                        Decision::Allow(_) => "allowed",
                        _ => "denied",
                    };
                    server
                        .metrics
                        .decided(authorizer.kind(), authorizer.name(), word);
                    return ruling;
                }
            }
        }
        let error = (!errors.is_empty()).then(|| crate::authentication::aggregate(errors));
        Ruling {
            decision: Decision::NoOpinion(reasons.join("\n")),
            error,
        }
    }

    /// Everything that a user may do in a namespace, as far as the authorizers can tell.
    pub(crate) fn rules_for(
        &self,
        server: &Server,
        user: &UserInfo,
        namespace: &str,
    ) -> SubjectRules {
        let view = server.typed.view();
        let mut all = SubjectRules::default();
        let mut errors = Vec::new();
        for authorizer in self.chain.load().iter() {
            let found = match authorizer {
                Authorizer::AlwaysAllow => corten_access::all_rules(),
                Authorizer::AlwaysDeny => SubjectRules::default(),
                Authorizer::Node => corten_access::node_rules(user),
                Authorizer::Rbac => corten_access::rbac_rules(&view.rules, user, namespace),
                Authorizer::Abac(policy) => policy.rules_for(user, namespace),
                Authorizer::Webhook(_) => SubjectRules {
                    incomplete: true,
                    error: "webhook authorizer does not support user rule resolution".to_owned(),
                    ..SubjectRules::default()
                },
            };
            all.resource.extend(found.resource);
            all.non_resource.extend(found.non_resource);
            all.incomplete |= found.incomplete;
            errors.extend(Some(found.error).filter(|e| !e.is_empty()));
        }
        if !errors.is_empty() {
            all.error = crate::authentication::aggregate(errors);
        }
        all
    }
}

/// A request as authorizers see it.
pub(crate) fn attributes<'a>(user: &'a UserInfo, info: &'a RequestInfo) -> Attributes<'a> {
    Attributes {
        user,
        verb: &info.verb,
        group: &info.group,
        version: &info.version,
        resource: &info.resource,
        subresource: &info.subresource,
        namespace: &info.namespace,
        name: &info.name,
        path: &info.path,
        resource_request: info.is_resource,
        field_selector: "",
        label_selector: "",
    }
}

/// Decides one request. `Err` = 403.
pub(crate) async fn authorize(
    server: &Server,
    user: &UserInfo,
    info: &RequestInfo,
    field_selector: &str,
    label_selector: &str,
) -> Result<(), Status> {
    let attributes = Attributes {
        field_selector,
        label_selector,
        ..attributes(user, info)
    };
    let started = Instant::now();
    let ruling = server.access.authorization.rule(server, &attributes).await;
    server
        .metrics
        .authorized(ruling.result(), started.elapsed());
    match ruling.decision {
        Decision::Allow(reason) => {
            audit::annotate("authorization.k8s.io/decision", "allow");
            audit::annotate("authorization.k8s.io/reason", &reason);
            Ok(())
        }
        Decision::Deny(reason) | Decision::NoOpinion(reason) => {
            if let Some(error) = ruling.error {
                audit::annotate("authorization.k8s.io/reason", "internal error");
                let message = format!("Internal Server Error: {:?}: {error}", info.path);
                return Err(Status::new(500, "InternalError", message));
            }
            audit::annotate("authorization.k8s.io/decision", "forbid");
            audit::annotate("authorization.k8s.io/reason", &reason);
            Err(forbidden(&attributes, &reason))
        }
    }
}
/// Upstream's 403 text.
pub(crate) fn forbidden(a: &Attributes<'_>, reason: &str) -> Status {
    if !a.resource_request {
        let why = format!("User {:?} cannot {} path {:?}", a.user.name, a.verb, a.path);
        let target = Target {
            group: "",
            resource: "",
            name: "",
        };
        return Status::forbidden(target, &with_reason(sanitized(&why), reason));
    }
    let mut resource = a.resource.to_owned();
    if !a.subresource.is_empty() {
        resource = format!("{resource}/{}", a.subresource);
    }
    let mut why = format!(
        "User {:?} cannot {} resource {resource:?} in API group {:?}",
        a.user.name, a.verb, a.group
    );
    match a.namespace {
        "" => why.push_str(" at the cluster scope"),
        namespace => why.push_str(&format!(" in the namespace {namespace:?}")),
    }
    let target = Target {
        group: a.group,
        resource: a.resource,
        name: a.name,
    };
    Status::forbidden(target, &with_reason(sanitized(&why), reason))
}

/// Nothing in a refusal looks like HTML.
fn sanitized(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

fn with_reason(text: String, reason: &str) -> String {
    if reason.is_empty() {
        text
    } else {
        format!("{text}: {reason}")
    }
}
