//! Bindings of admission policies: defaults, generation, table.

use super::{columns, matching};
use crate::rules::{Generation, Rules};
use crate::{Column, cells, selectors};
use corten_api::admissionregistration::v1::{
    MutatingAdmissionPolicyBinding, ParamRef, ValidatingAdmissionPolicyBinding,
};
use corten_core::{Time, Value};

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

impl Rules for ValidatingAdmissionPolicyBindings {
    type Of = ValidatingAdmissionPolicyBinding;
    const GENERATION: Generation = Generation::Counted;

    fn default(&self, obj: &mut ValidatingAdmissionPolicyBinding) {
        if let Some(resources) = &mut obj.spec.match_resources {
            matching::default_match(resources);
        }
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
}

impl Rules for MutatingAdmissionPolicyBindings {
    type Of = MutatingAdmissionPolicyBinding;
    const GENERATION: Generation = Generation::Counted;

    fn default(&self, obj: &mut MutatingAdmissionPolicyBinding) {
        if let Some(resources) = &mut obj.spec.match_resources {
            matching::default_match(resources);
        }
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
}
