//! ValidatingAdmissionPolicies and MutatingAdmissionPolicies: defaults, generation, status, table.

use super::{columns, matching};
use crate::metadata::reset_for_status;
use crate::rules::{Generation, Rules, with_status};
use crate::{Column, Context, cells};
use corten_api::admissionregistration::v1::{
    MutatingAdmissionPolicy, ParamKind, ValidatingAdmissionPolicy,
};
use corten_core::{Time, Value};

/// The strategy of ValidatingAdmissionPolicies.
pub struct ValidatingAdmissionPolicies;
/// The strategy of MutatingAdmissionPolicies.
pub struct MutatingAdmissionPolicies;

fn kind_cell(kind: Option<&ParamKind>) -> Value {
    let text = kind.map(|k| format!("{}/{}", k.api_version, k.kind));
    Value::from(text.unwrap_or_else(|| "<unset>".to_owned()))
}

impl Rules for ValidatingAdmissionPolicies {
    type Of = ValidatingAdmissionPolicy;
    const GENERATION: Generation = Generation::Counted;
    with_status!();

    fn default(&self, obj: &mut ValidatingAdmissionPolicy) {
        obj.spec.failure_policy.get_or_insert_with(|| "Fail".into());
        if let Some(constraints) = &mut obj.spec.match_constraints {
            matching::default_match(constraints);
        }
    }
    fn prepare_update(
        &self,
        _cx: &Context,
        part: &str,
        new: &mut ValidatingAdmissionPolicy,
        old: &ValidatingAdmissionPolicy,
    ) {
        if part == "status" {
            reset_for_status(&mut new.metadata, &old.metadata);
        }
    }
    fn columns(&self) -> &'static [Column] {
        &columns::VALIDATING_ADMISSION_POLICY
    }
    fn cells(&self, obj: &ValidatingAdmissionPolicy, now: &Time) -> Vec<Value> {
        vec![
            Value::from(&obj.metadata.name),
            Value::from(obj.spec.validations.len() as i64),
            kind_cell(obj.spec.param_kind.as_deref()),
            cells::age(&obj.metadata.creation_timestamp, now),
        ]
    }
    fn unconditional_update(&self) -> bool {
        false
    }
}

impl Rules for MutatingAdmissionPolicies {
    type Of = MutatingAdmissionPolicy;
    const GENERATION: Generation = Generation::Counted;

    fn default(&self, obj: &mut MutatingAdmissionPolicy) {
        obj.spec.failure_policy.get_or_insert_with(|| "Fail".into());
        if let Some(constraints) = &mut obj.spec.match_constraints {
            matching::default_match(constraints);
        }
    }
    fn columns(&self) -> &'static [Column] {
        &columns::MUTATING_ADMISSION_POLICY
    }
    fn cells(&self, obj: &MutatingAdmissionPolicy, now: &Time) -> Vec<Value> {
        vec![
            Value::from(&obj.metadata.name),
            Value::from(obj.spec.mutations.len() as i64),
            kind_cell(obj.spec.param_kind.as_deref()),
            cells::age(&obj.metadata.creation_timestamp, now),
        ]
    }
    fn unconditional_update(&self) -> bool {
        false
    }
}
