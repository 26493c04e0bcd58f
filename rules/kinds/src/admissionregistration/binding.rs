//! Bindings of admission policies: defaults, generation, validation, table.

use super::{columns, matching};
use crate::checks::{Errors, known};
use crate::metadata::value_of_texts;
use crate::rules::{Generation, Rules};
use crate::{Column, Context, FieldError, cells, selectors};
use corten_api::admissionregistration::v1::{
    MatchResources, MutatingAdmissionPolicyBinding, ParamRef, ValidatingAdmissionPolicyBinding,
};
use corten_core::{Path, Str, Time, Value};

/// The strategy of ValidatingAdmissionPolicyBindings.
pub struct ValidatingAdmissionPolicyBindings;
/// The strategy of MutatingAdmissionPolicyBindings.
pub struct MutatingAdmissionPolicyBindings;

fn parameter_cell(parameter: Option<&ParamRef>) -> Value {
    let text = parameter.and_then(|p| match (p.name.as_str(), p.namespace.as_str()) {
        ("", _) => p.selector.as_deref().map(selectors::go_text),
        (name, "") => Some(format!("*/{name}")),
        (name, namespace) => Some(format!("{namespace}/{name}")),
    });
    Value::from(text.unwrap_or_else(|| "<unset>".to_owned()))
}

/// Parameters and what is matched.
fn validate_choice(
    errors: &mut Errors,
    path: &Path,
    parameter: Option<&ParamRef>,
    resources: Option<&MatchResources>,
) {
    if let Some(parameter) = parameter {
        matching::validate_param_ref(errors, &path.f("paramRef"), parameter);
    }
    if let Some(resources) = resources {
        matching::validate_match(errors, &path.f("matchResources"), resources);
    }
}

fn validate_actions(errors: &mut Errors, path: &Path, actions: &[Str]) {
    for (i, action) in actions.iter().enumerate() {
        let path = path.i(i);
        known(errors, &path, action, &["Audit", "Deny", "Warn"]);
        if actions[..i].contains(action) {
            errors.push(FieldError::duplicate(path, action));
        }
    }
    let has = |name: &str| actions.iter().any(|a| a == name);
    if has("Deny") && has("Warn") {
        let text = "must not contain both Deny and Warn (repeating the same validation failure information in the API \
                    response and headers serves no purpose)";
        errors.push(FieldError::invalid(path, value_of_texts(actions), text));
    }
    if actions.is_empty() {
        let text = "at least one validation action is required";
        errors.push(FieldError::required(path, text));
    }
}

impl Rules for ValidatingAdmissionPolicyBindings {
    type Of = ValidatingAdmissionPolicyBinding;
    const GENERATION: Generation = Generation::Counted;

    fn default(&self, obj: &mut ValidatingAdmissionPolicyBinding) {
        if let Some(resources) = &mut obj.spec.match_resources {
            matching::default_match(resources);
        }
    }
    fn validate_create(
        &self,
        _cx: &Context,
        new: &ValidatingAdmissionPolicyBinding,
    ) -> Vec<FieldError> {
        let (spec, path) = (&new.spec, Path::Root.f("spec"));
        let mut errors = Errors::new();
        matching::validate_policy_name(&mut errors, &path.f("policyName"), &spec.policy_name);
        validate_choice(
            &mut errors,
            &path,
            spec.param_ref.as_deref(),
            spec.match_resources.as_deref(),
        );
        validate_actions(
            &mut errors,
            &path.f("validationActions"),
            &spec.validation_actions,
        );
        errors
    }
    fn validate_update(
        &self,
        cx: &Context,
        _part: &str,
        new: &ValidatingAdmissionPolicyBinding,
        _old: &ValidatingAdmissionPolicyBinding,
    ) -> Vec<FieldError> {
        self.validate_create(cx, new)
    }
    fn warnings(
        &self,
        _cx: &Context,
        new: &ValidatingAdmissionPolicyBinding,
        _old: Option<&ValidatingAdmissionPolicyBinding>,
    ) -> Vec<String> {
        matching::static_name_warnings(&new.metadata.name)
    }
    fn columns(&self) -> &'static [Column] {
        &columns::VALIDATING_ADMISSION_POLICY_BINDING
    }
    fn cells(&self, obj: &ValidatingAdmissionPolicyBinding, now: &Time) -> Vec<Value> {
        vec![
            Value::from(&obj.metadata.name),
            Value::from(&obj.spec.policy_name),
            parameter_cell(obj.spec.param_ref.as_deref()),
            cells::age(&obj.metadata.creation_timestamp, now),
        ]
    }
    fn unconditional_update(&self) -> bool {
        false
    }
    fn checks_finalizers(&self) -> bool {
        false
    }
}

impl Rules for MutatingAdmissionPolicyBindings {
    type Of = MutatingAdmissionPolicyBinding;
    const GENERATION: Generation = Generation::Counted;

    fn default(&self, obj: &mut MutatingAdmissionPolicyBinding) {
        if let Some(resources) = &mut obj.spec.match_resources {
            matching::default_match(resources);
        }
    }
    fn validate_create(
        &self,
        _cx: &Context,
        new: &MutatingAdmissionPolicyBinding,
    ) -> Vec<FieldError> {
        let (spec, path) = (&new.spec, Path::Root.f("spec"));
        let mut errors = Errors::new();
        matching::validate_policy_name(&mut errors, &path.f("policyName"), &spec.policy_name);
        validate_choice(
            &mut errors,
            &path,
            spec.param_ref.as_deref(),
            spec.match_resources.as_deref(),
        );
        errors
    }
    fn validate_update(
        &self,
        cx: &Context,
        _part: &str,
        new: &MutatingAdmissionPolicyBinding,
        _old: &MutatingAdmissionPolicyBinding,
    ) -> Vec<FieldError> {
        self.validate_create(cx, new)
    }
    fn warnings(
        &self,
        _cx: &Context,
        new: &MutatingAdmissionPolicyBinding,
        _old: Option<&MutatingAdmissionPolicyBinding>,
    ) -> Vec<String> {
        matching::static_name_warnings(&new.metadata.name)
    }
    fn columns(&self) -> &'static [Column] {
        &columns::MUTATING_ADMISSION_POLICY_BINDING
    }
    fn cells(&self, obj: &MutatingAdmissionPolicyBinding, now: &Time) -> Vec<Value> {
        vec![
            Value::from(&obj.metadata.name),
            Value::from(&obj.spec.policy_name),
            parameter_cell(obj.spec.param_ref.as_deref()),
            cells::age(&obj.metadata.creation_timestamp, now),
        ]
    }
    fn unconditional_update(&self) -> bool {
        false
    }
    fn checks_finalizers(&self) -> bool {
        false
    }
}
