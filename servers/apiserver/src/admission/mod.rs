//! Admission that users configure: webhooks and policies around the built-in rules, in upstream's order.
//!
//! Invariant: a request sees one set of configurations from beginning to end, the newest that was committed when it
//! began; a server without configurations spends nothing on them. Left out: the built-in rules (`corten_access`).

mod asked;
mod call;
mod conditions;
mod configured;
mod event_rate;
mod expressions;
mod hook_clients;
mod image_policy;
mod matching;
mod mutating;
mod mutating_policies;
mod parameter_rights;
mod plugin_files;
mod policies;
mod review;
mod type_checking;
mod validating;
mod validating_policies;

pub(crate) use asked::{Asked, Subject};
pub(crate) use configured::{Configurations, endpoint};
pub(crate) use mutating::Round;
pub(crate) use plugin_files::Plugins;
pub(crate) use type_checking::follow as check_types;

use corten_access::admission::{Operation, Plugin};
use corten_api::Object;
use corten_api::core::v1::Event;
use corten_client::Status;

/// What admission has to say beside yes and no.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Notes {
    /// Texts for `Warning` headers.
    pub warnings: Vec<String>,
    /// Keys and values for the audit event.
    pub annotations: Vec<(String, String)>,
}

impl Notes {
    /// Adds a warning, once.
    pub(crate) fn warn(&mut self, text: impl Into<String>) {
        let text = text.into();
        if !self.warnings.contains(&text) {
            self.warnings.push(text);
        }
    }

    /// Adds an annotation for the audit event; the first value of a key stays.
    pub(crate) fn annotate(&mut self, key: impl Into<String>, value: impl Into<String>) {
        let key = key.into();
        if !self.annotations.iter().any(|(k, _)| *k == key) {
            self.annotations.push((key, value.into()));
        }
    }
}

/// Lets what is configured change an object: one round.
pub(crate) async fn mutate(
    asked: &Asked<'_>,
    object: Option<&mut Object>,
    round: &mut Round,
    notes: &mut Notes,
) -> Result<(), Status> {
    if is_exempt(asked) {
        return Ok(());
    }
    let on = |plugin| asked.server.config.plugins.has(plugin);
    let configured = asked.configured();
    let mut object = object;
    let policies = &configured.1.mutating_policies;
    if on(Plugin::MutatingAdmissionPolicy) && !policies.is_empty() && !is_review(asked) {
        mutating_policies::mutate(asked, object.as_deref_mut(), policies, round).await?;
    }
    if on(Plugin::MutatingAdmissionWebhook) {
        mutating::mutate_by_webhooks(asked, object, round, notes).await?;
    }
    Ok(())
}

/// Asks what is configured whether a finished object, or a deletion, may be.
pub(crate) async fn validate(
    asked: &Asked<'_>,
    object: Option<&Object>,
    notes: &mut Notes,
) -> Result<(), Status> {
    if is_exempt(asked) {
        return Ok(());
    }
    let on = |plugin| asked.server.config.plugins.has(plugin);
    let configured = asked.configured();
    let policies = &configured.1.validating_policies;
    if on(Plugin::ValidatingAdmissionPolicy) && !policies.is_empty() && !is_review(asked) {
        validating_policies::validate(asked, object, policies, notes).await?;
    }
    if on(Plugin::ValidatingAdmissionWebhook) {
        validating::validate_by_webhooks(asked, object, notes).await?;
    }
    Ok(())
}

/// Plugins that keep a state or ask others: which images may run, how many events are taken.
pub(crate) async fn check_plugins(
    asked: &Asked<'_>,
    object: Option<&Object>,
    notes: &mut Notes,
) -> Result<(), Status> {
    let told = &asked.server.config.told;
    if let Some(images) = &told.images {
        images.check(asked, object, notes).await?;
    }
    let written = matches!(asked.operation, Operation::Create | Operation::Update);
    let event = object.filter(|_| written && !asked.dry_run && asked.kind.group.is_empty());
    let event = event.and_then(|o| o.downcast_ref::<Event>());
    if let (Some(limits), Some(event)) = (&told.events, event) {
        let accepted = limits.accept(&asked.user.name, &asked.namespace, event);
        accepted.map_err(|why| {
            Status::new(429, "TooManyRequests", format!("Too many requests: {why}"))
        })?;
    }
    Ok(())
}

/// Refuses policies that read what their writer may not.
pub(crate) async fn check_parameter_rights(
    asked: &Asked<'_>,
    object: &Object,
) -> Result<(), Status> {
    parameter_rights::check(asked, object).await
}

/// Whether policies are not asked: reviews must work whatever policies say.
fn is_review(asked: &Asked<'_>) -> bool {
    let group = asked.resource.group.as_str();
    matches!(group, "authentication.k8s.io" | "authorization.k8s.io")
        && asked.resource.resource.ends_with("reviews")
}

/// Whether configurations are not asked about a kind: those that configure admission itself.
fn is_exempt(asked: &Asked<'_>) -> bool {
    asked.kind.group == "admissionregistration.k8s.io"
        && matches!(
            asked.kind.kind.as_str(),
            "ValidatingWebhookConfiguration"
                | "MutatingWebhookConfiguration"
                | "ValidatingAdmissionPolicy"
                | "ValidatingAdmissionPolicyBinding"
                | "MutatingAdmissionPolicy"
                | "MutatingAdmissionPolicyBinding"
        )
}

/// A refusal in upstream's words for one that is nobody's fault but the server's.
fn internal(text: impl std::fmt::Display) -> Status {
    Status::internal(text)
}
