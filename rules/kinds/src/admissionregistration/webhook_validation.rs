//! Validation that both sorts of webhook share. What older versions let through stays valid on update when the stored
//! object has it.

use super::client_config::{validate_service, validate_url};
use super::conditions::{Params, validate_conditions};
use super::matching::{FAILURE_POLICIES, MATCH_POLICIES, REINVOCATION_POLICIES, validate_rule};
use crate::checks::{Errors, known};
use crate::error::FieldError;
use crate::metadata::{SelectorValues, validate_selector, value_of_texts};
use crate::{names, selectors};
use corten_api::admissionregistration::v1::{
    MatchCondition, MutatingWebhook, RuleWithOperations, ValidatingWebhook, WebhookClientConfig,
};
use corten_api::meta::v1::LabelSelector;
use corten_core::{Path, Str, Value};

const REVIEW_VERSIONS: [&str; 2] = ["v1", "v1beta1"];
const NO_SIDE_EFFECTS: [&str; 2] = ["None", "NoneOnDryRun"];
const SIDE_EFFECTS: [&str; 4] = ["None", "NoneOnDryRun", "Some", "Unknown"];

/// The members of a webhook of either sort.
pub(super) struct Hook<'a> {
    name: &'a Str,
    client: &'a WebhookClientConfig,
    rules: &'a [RuleWithOperations],
    failure_policy: Option<&'a str>,
    match_policy: Option<&'a str>,
    namespaces: Option<&'a LabelSelector>,
    objects: Option<&'a LabelSelector>,
    side_effects: Option<&'a str>,
    timeout: Option<i32>,
    versions: &'a [Str],
    reinvocation: Option<&'a str>,
    conditions: &'a [MatchCondition],
}

macro_rules! hook_of {
    ($webhook:expr, $reinvocation:expr) => {
        Hook {
            name: &$webhook.name,
            client: &$webhook.client_config,
            rules: &$webhook.rules,
            failure_policy: $webhook.failure_policy.as_deref(),
            match_policy: $webhook.match_policy.as_deref(),
            namespaces: $webhook.namespace_selector.as_deref(),
            objects: $webhook.object_selector.as_deref(),
            side_effects: $webhook.side_effects.as_deref(),
            timeout: $webhook.timeout_seconds,
            versions: &$webhook.admission_review_versions,
            reinvocation: $reinvocation,
            conditions: &$webhook.match_conditions,
        }
    };
}

impl<'a> From<&'a ValidatingWebhook> for Hook<'a> {
    fn from(webhook: &'a ValidatingWebhook) -> Hook<'a> {
        hook_of!(webhook, None)
    }
}

impl<'a> From<&'a MutatingWebhook> for Hook<'a> {
    fn from(webhook: &'a MutatingWebhook) -> Hook<'a> {
        hook_of!(webhook, webhook.reinvocation_policy.as_deref())
    }
}

impl Hook<'_> {
    fn has_known_version(&self) -> bool {
        self.versions.is_empty() || self.versions.iter().any(|v| is_known(v))
    }

    fn has_no_side_effects(&self) -> bool {
        self.side_effects
            .is_some_and(|s| NO_SIDE_EFFECTS.contains(&s))
    }

    fn has_wrong_selector(&self) -> bool {
        let selectors = [self.namespaces, self.objects];
        selectors.into_iter().flatten().any(selectors::is_wrong)
    }
}

fn is_known(version: &str) -> bool {
    REVIEW_VERSIONS.contains(&version)
}

/// How strictly a configuration is read.
struct Strictness {
    unique_names: bool,
    no_side_effects: bool,
    known_versions: bool,
    selectors: SelectorValues,
    conditions: bool,
}

impl Strictness {
    /// As strictly as a new one, except for what the stored one has.
    fn of(new: &[Hook], old: Option<&[Hook]>) -> Strictness {
        let Some(old) = old else {
            return Strictness {
                unique_names: true,
                no_side_effects: true,
                known_versions: true,
                selectors: SelectorValues::Checked,
                conditions: true,
            };
        };
        let twice = |(i, hook): (usize, &Hook)| old[..i].iter().any(|o| o.name == hook.name);
        let same_conditions = new.len() == old.len()
            && new
                .iter()
                .zip(old)
                .all(|(n, o)| n.conditions == o.conditions);
        Strictness {
            unique_names: !old.iter().enumerate().any(twice),
            no_side_effects: old.iter().all(Hook::has_no_side_effects),
            known_versions: old.iter().all(Hook::has_known_version),
            selectors: match old.iter().any(Hook::has_wrong_selector) {
                true => SelectorValues::Unchecked,
                false => SelectorValues::Checked,
            },
            conditions: !same_conditions,
        }
    }
}

/// What is wrong with the webhooks of a configuration.
pub(super) fn validate_hooks(new: &[Hook], old: Option<&[Hook]>) -> Errors {
    let strictness = Strictness::of(new, old);
    let mut errors = Errors::new();
    for (i, hook) in new.iter().enumerate() {
        let base = Path::Root.f("webhooks");
        let path = base.i(i);
        validate_hook(&mut errors, &path, hook, &strictness);
        validate_versions(
            &mut errors,
            &path.f("admissionReviewVersions"),
            hook.versions,
            &strictness,
        );
        let again = new[..i].iter().any(|h| h.name == hook.name);
        if strictness.unique_names && again && !hook.name.is_empty() {
            errors.push(FieldError::duplicate(path.f("name"), hook.name));
        }
    }
    errors
}

fn validate_hook(errors: &mut Errors, path: &Path, hook: &Hook, strictness: &Strictness) {
    validate_name(errors, &path.f("name"), hook.name);
    for (i, rule) in hook.rules.iter().enumerate() {
        validate_rule(errors, &path.f("rules").i(i), rule);
    }
    if let Some(policy) = hook.failure_policy {
        known(errors, &path.f("failurePolicy"), policy, &FAILURE_POLICIES);
    }
    if let Some(policy) = hook.match_policy {
        known(errors, &path.f("matchPolicy"), policy, &MATCH_POLICIES);
    }
    validate_side_effects(errors, &path.f("sideEffects"), hook, strictness);
    if let Some(seconds) = hook.timeout.filter(|t| !(1..=30).contains(t)) {
        let text = "the timeout value must be between 1 and 30 seconds";
        errors.push(FieldError::invalid(path.f("timeoutSeconds"), seconds, text));
    }
    for (name, selector) in [
        ("namespaceSelector", hook.namespaces),
        ("objectSelector", hook.objects),
    ] {
        if let Some(selector) = selector {
            let found = validate_selector(selector, strictness.selectors, &path.f(name));
            errors.extend(found);
        }
    }
    if let Some(policy) = hook.reinvocation {
        let path = path.f("reinvocationPolicy");
        known(errors, &path, policy, &REINVOCATION_POLICIES);
    }
    validate_client(errors, &path.f("clientConfig"), hook.client);
    if strictness.conditions {
        let path = path.f("matchConditions");
        validate_conditions(errors, &path, hook.conditions, Params::Unknown);
    }
}

/// At least three labels.
fn validate_name(errors: &mut Errors, path: &Path, name: &Str) {
    let found = names::dns_subdomain(name);
    if name.is_empty() {
        errors.push(FieldError::required(path, ""));
    } else if !found.is_empty() {
        errors.push(FieldError::invalid(path, name, found.join(",")));
    } else if name.split('.').count() < 3 {
        let text = "should be a domain with at least three segments separated by dots";
        errors.push(FieldError::invalid(path, name, text));
    }
}

fn validate_side_effects(errors: &mut Errors, path: &Path, hook: &Hook, strictness: &Strictness) {
    let allowed: &[&str] = match strictness.no_side_effects {
        true => &NO_SIDE_EFFECTS,
        false => &SIDE_EFFECTS,
    };
    match hook.side_effects {
        None => {
            let text = format!("must specify one of {}", allowed.join(", "));
            errors.push(FieldError::required(path, text));
        }
        Some(effects) => known(errors, path, effects, allowed),
    }
}

fn validate_client(errors: &mut Errors, path: &Path, client: &WebhookClientConfig) {
    match (&client.url, &client.service) {
        (None, None) | (Some(_), Some(_)) => {
            let text = "exactly one of url or service is required";
            errors.push(FieldError::required(path, text));
        }
        (Some(url), None) => validate_url(errors, &path.f("url"), url),
        (None, Some(service)) => validate_service(
            errors,
            &path.f("service"),
            // Upstream checks admission webhooks with these two mixed up; the paths of its messages show it.
            (&service.name, &service.namespace),
            service.path.as_deref(),
            service.port.unwrap_or(443),
        ),
    }
}

fn validate_versions(errors: &mut Errors, path: &Path, versions: &[Str], strictness: &Strictness) {
    let all = REVIEW_VERSIONS.join(", ");
    if versions.is_empty() {
        let text = format!("must specify one of {all}");
        errors.push(FieldError::required(path, text));
        return;
    }
    for (i, version) in versions.iter().enumerate() {
        let path = path.i(i);
        if versions[..i].contains(version) {
            let value = Value::from(version);
            errors.push(FieldError::invalid(path, value, "duplicate version"));
            continue;
        }
        for text in names::dns_1035_label(version) {
            errors.push(FieldError::invalid(&path, version, text));
        }
    }
    if strictness.known_versions && !versions.iter().any(|v| is_known(v)) {
        let text = format!("must include at least one of {all}");
        errors.push(FieldError::invalid(path, value_of_texts(versions), text));
    }
}
