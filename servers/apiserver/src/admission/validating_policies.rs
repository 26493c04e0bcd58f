//! ValidatingAdmissionPolicies: every bound policy that matches is evaluated; the first validation that fails refuses,
//! warns or is noted for the audit, as its binding says.

use corten_api::Object;
use corten_client::Status;
use corten_codec::json;
use corten_core::Value;

use super::Notes;
use super::asked::Asked;
use super::conditions::Verdict;
use super::expressions::{Asking, COST_MAX, Evaluation, Expression, Facts, Outcome, Remaining};
use super::policies::{Binding, Validating, Validation, parameters};

const MESSAGE_MAX: usize = 5 * 1024;
const ANNOTATION_MAX: usize = 10 * 1024;
const FAILURE: &str = "validation.policy.admission.k8s.io/validation_failure";

/// Why a request is refused.
struct Denial {
    message: String,
    reason: String,
}

/// One validation's verdict against a request.
struct Failure {
    index: usize,
    message: String,
    reason: String,
}

/// What one evaluation of a policy came to.
#[derive(Default)]
struct Judged {
    failures: Vec<Failure>,
    /// Key and value.
    annotations: Vec<(String, String)>,
    /// Annotations that could not be made, which refuses.
    broken: Vec<String>,
}

/// Asks the policies about an object in its final form.
pub(super) async fn validate(
    asked: &Asked<'_>,
    object: Option<&Object>,
    policies: &[Validating],
    notes: &mut Notes,
) -> Result<(), Status> {
    let mut denials: Vec<Denial> = Vec::new();
    for policy in policies {
        judge(asked, object, policy, &mut denials, notes).await?;
    }
    match denials.into_iter().next() {
        None => Ok(()),
        Some(denial) => Err(asked.denied(object, &denial.message, &denial.reason)),
    }
}

/// A policy or binding that cannot be used refuses, unless its policy fails open.
fn misconfigured(
    policy: &Validating,
    binding: Option<&Binding>,
    why: &str,
    denials: &mut Vec<Denial>,
) {
    if policy.policy.fails_open {
        return;
    }
    let what = if binding.is_some() {
        "binding"
    } else {
        "policy"
    };
    denials.push(denied(
        policy,
        binding,
        &format!("failed to configure {what}: {why}"),
        "Invalid",
    ));
}

fn denied(policy: &Validating, binding: Option<&Binding>, why: &str, reason: &str) -> Denial {
    let name = &policy.policy.name;
    let by = match binding {
        Some(binding) => format!(" with binding '{}'", binding.name),
        None => String::new(),
    };
    Denial {
        message: format!("ValidatingAdmissionPolicy '{name}'{by} denied request: {why}"),
        reason: reason.to_owned(),
    }
}

async fn judge(
    asked: &Asked<'_>,
    object: Option<&Object>,
    policy: &Validating,
    denials: &mut Vec<Denial>,
    notes: &mut Notes,
) -> Result<(), Status> {
    let matched = match policy.policy.constraints.matches(asked, object) {
        Ok(Some(matched)) => matched,
        Ok(None) => return Ok(()),
        Err(status) => {
            misconfigured(policy, None, &status.message, denials);
            return Ok(());
        }
    };
    let mut facts: Option<Facts> = None;
    let mut published: Vec<(String, Vec<String>)> = Vec::new();
    for binding in &policy.policy.bindings {
        let applies = match &binding.constraints {
            None => Ok(true),
            Some(constraints) => constraints.matches(asked, object).map(|m| m.is_some()),
        };
        match applies {
            Ok(true) => {}
            Ok(false) => continue,
            Err(status) => {
                misconfigured(policy, Some(binding), &status.message, denials);
                continue;
            }
        }
        let params = match parameters(asked, &policy.policy, binding) {
            Ok(params) => params,
            Err(why) => {
                misconfigured(policy, Some(binding), &why, denials);
                continue;
            }
        };
        for param in params {
            if facts.is_none() {
                facts = Some(Facts::of(asked, &matched, object)?);
            }
            let Some(facts) = facts.as_mut() else {
                continue;
            };
            facts.params = param;
            let judged = evaluate(asked, facts, policy).await;
            settle(policy, binding, judged, &mut published, denials, notes);
        }
    }
    for (key, values) in published {
        let name = &policy.policy.name;
        notes.annotate(format!("{name}/{key}"), values.join(", "));
    }
    Ok(())
}

/// Does what the binding says about what was found.
fn settle(
    policy: &Validating,
    binding: &Binding,
    judged: Judged,
    published: &mut Vec<(String, Vec<String>)>,
    denials: &mut Vec<Denial>,
    notes: &mut Notes,
) {
    for failure in &judged.failures {
        for action in &binding.actions {
            match action.as_str() {
                "Deny" => denials.push(denied(
                    policy,
                    Some(binding),
                    &failure.message,
                    &failure.reason,
                )),
                "Warn" => notes.warn(format!(
                    "Validation failed for ValidatingAdmissionPolicy '{}' with binding '{}': {}",
                    policy.policy.name, binding.name, failure.message
                )),
                _ => notes.annotate(FAILURE, failure_text(policy, binding, failure)),
            }
        }
    }
    for (key, mut value) in judged.annotations {
        if value.len() > ANNOTATION_MAX {
            let end = (0..=ANNOTATION_MAX)
                .rev()
                .find(|i| value.is_char_boundary(*i));
            value.truncate(end.unwrap_or(0));
        }
        match published.iter_mut().find(|(k, _)| *k == key) {
            Some((_, values)) if values.contains(&value) => {}
            Some((_, values)) => values.push(value),
            None => published.push((key, vec![value])),
        }
    }
    for why in judged.broken {
        denials.push(denied(policy, Some(binding), &why, "Invalid"));
    }
}

/// The audit annotation of a failure, as upstream writes it.
fn failure_text(policy: &Validating, binding: &Binding, failure: &Failure) -> String {
    let quoted =
        |text: &str| String::from_utf8_lossy(&json::encode_value(&Value::from(text))).into_owned();
    let actions: Vec<String> = binding.actions.iter().map(|a| quoted(a)).collect();
    format!(
        "[{{\"message\":{},\"policy\":{},\"binding\":{},\"expressionIndex\":{},\"validationActions\":[{}]}}]",
        quoted(&failure.message),
        quoted(&policy.policy.name),
        quoted(&binding.name),
        failure.index,
        actions.join(",")
    )
}

/// A failure of the whole policy to be evaluated; nothing when it fails open.
fn wrong(policy: &Validating, why: String) -> Judged {
    let failure = Failure {
        index: 0,
        message: why,
        reason: "Invalid".into(),
    };
    Judged {
        failures: match policy.policy.fails_open {
            true => Vec::new(),
            false => vec![failure],
        },
        ..Judged::default()
    }
}

async fn evaluate(asked: &Asked<'_>, facts: &Facts, policy: &Validating) -> Judged {
    let conditions = &policy.policy.conditions;
    match conditions
        .judge(asked, facts, &policy.policy.variables)
        .await
    {
        Verdict::Hold => {}
        Verdict::Fail => return Judged::default(),
        Verdict::Wrong(why) => return wrong(policy, why),
    }
    let evaluate = || evaluate_once(asked, facts, policy);
    asked.rights.settle(asked.server, evaluate).await
}

/// The validations, once the match conditions hold.
fn evaluate_once(asked: &Asked<'_>, facts: &Facts, policy: &Validating) -> Judged {
    let variables = &policy.policy.variables;
    let mut remaining = Remaining(COST_MAX);
    let evaluation = Evaluation::new(asked, facts, Asking::Allowed);
    let expressions: Vec<Option<&Expression>> = policy
        .validations
        .iter()
        .map(|v| Some(&v.expression))
        .collect();
    let outcomes = match evaluation.all(variables, &expressions, &mut remaining) {
        Ok(outcomes) => outcomes,
        Err(why) => return wrong(policy, why),
    };
    let plain = Evaluation::new(asked, facts, Asking::Unknown);
    let expressions: Vec<Option<&Expression>> = policy
        .validations
        .iter()
        .map(|v| v.message_expression.as_ref())
        .collect();
    let messages = plain.all(variables, &expressions, &mut remaining);
    let mut judged = Judged::default();
    for (index, (validation, outcome)) in policy.validations.iter().zip(outcomes).enumerate() {
        let (message, reason, broken) = match (&outcome, &messages) {
            (Outcome::Failed(why), _) => (why.clone(), "Invalid", true),
            (_, Err(why)) => (format!("failed messageExpression: {why}"), "Invalid", true),
            (Outcome::Bool(true), Ok(_)) => continue,
            (_, Ok(messages)) => {
                let said = messages.get(index);
                (message(validation, said), validation.reason.as_str(), false)
            }
        };
        if !(broken && policy.policy.fails_open) {
            judged.failures.push(Failure {
                index,
                message,
                reason: reason.to_owned(),
            });
        }
    }
    annotate(policy, &plain, &mut judged);
    judged
}

/// The message of a failed validation: what its expression says if that fits on a line, else its text, else the
/// expression that failed.
fn message(validation: &Validation, said: Option<&Outcome>) -> String {
    if let Some(Outcome::Text(text)) = said {
        let text = text.trim();
        if !text.is_empty() && text.len() <= MESSAGE_MAX && !text.contains('\n') {
            return text.to_owned();
        }
    }
    match validation.message.trim() {
        "" => format!("failed expression: {}", validation.expression.source.trim()),
        text => text.to_owned(),
    }
}

fn annotate(policy: &Validating, evaluation: &Evaluation<'_>, judged: &mut Judged) {
    let variables = &policy.policy.variables;
    let expressions: Vec<Option<&Expression>> =
        policy.annotations.iter().map(|(_, e)| Some(e)).collect();
    let mut remaining = Remaining(COST_MAX);
    let outcomes = match evaluation.all(variables, &expressions, &mut remaining) {
        Ok(outcomes) => outcomes,
        Err(why) => {
            *judged = wrong(policy, why);
            return;
        }
    };
    for ((key, _), outcome) in policy.annotations.iter().zip(outcomes) {
        match outcome {
            Outcome::Text(text) if !text.trim().is_empty() => {
                judged
                    .annotations
                    .push((key.clone(), text.trim().to_owned()));
            }
            Outcome::Failed(why) if !policy.policy.fails_open => judged.broken.push(why),
            _ => {}
        }
    }
}
