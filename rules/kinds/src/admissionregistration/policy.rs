//! ValidatingAdmissionPolicies and MutatingAdmissionPolicies: defaults, generation, status, validation, table.

use super::policy_validation::{validate_mutating, validate_status, validate_validating};
use super::{columns, matching};
use crate::metadata::reset_for_status;
use crate::rules::{Generation, Rules, with_status};
use crate::{Column, Context, FieldError, cells};
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
    fn validate_create(&self, _cx: &Context, new: &ValidatingAdmissionPolicy) -> Vec<FieldError> {
        validate_validating(&new.metadata.name, &new.spec, None)
    }
    fn validate_update(
        &self,
        _cx: &Context,
        part: &str,
        new: &ValidatingAdmissionPolicy,
        old: &ValidatingAdmissionPolicy,
    ) -> Vec<FieldError> {
        match part {
            "status" => validate_status(&new.status),
            _ => validate_validating(&new.metadata.name, &new.spec, Some(&old.spec)),
        }
    }
    fn warnings(
        &self,
        _cx: &Context,
        new: &ValidatingAdmissionPolicy,
        _old: Option<&ValidatingAdmissionPolicy>,
    ) -> Vec<String> {
        matching::static_name_warnings(&new.metadata.name)
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
    fn checks_finalizers(&self) -> bool {
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
    fn validate_create(&self, _cx: &Context, new: &MutatingAdmissionPolicy) -> Vec<FieldError> {
        validate_mutating(&new.spec, None)
    }
    fn validate_update(
        &self,
        _cx: &Context,
        _part: &str,
        new: &MutatingAdmissionPolicy,
        old: &MutatingAdmissionPolicy,
    ) -> Vec<FieldError> {
        validate_mutating(&new.spec, Some(&old.spec))
    }
    fn warnings(
        &self,
        _cx: &Context,
        new: &MutatingAdmissionPolicy,
        _old: Option<&MutatingAdmissionPolicy>,
    ) -> Vec<String> {
        matching::static_name_warnings(&new.metadata.name)
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
    fn checks_finalizers(&self) -> bool {
        false
    }
}
