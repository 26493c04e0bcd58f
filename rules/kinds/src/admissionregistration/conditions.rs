//! Match conditions of webhooks and policies: names, number, expressions.

use crate::checks::{Errors, qualified_name};
use crate::error::FieldError;
use corten_api::admissionregistration::v1::MatchCondition;
use corten_core::{Path, Str};

const CONDITIONS_MAX: usize = 64;

/// The conditions under which a webhook or a policy is asked at all.
pub(super) fn validate_conditions(errors: &mut Errors, path: &Path, conditions: &[MatchCondition]) {
    if conditions.len() > CONDITIONS_MAX {
        let count = conditions.len();
        errors.push(FieldError::too_many(path, count, CONDITIONS_MAX));
    }
    let mut seen: Vec<&Str> = Vec::new();
    for (i, condition) in conditions.iter().enumerate() {
        let path = path.i(i);
        if condition.expression.trim().is_empty() {
            errors.push(FieldError::required(path.f("expression"), ""));
        }
        let name_path = path.f("name");
        if condition.name.is_empty() {
            errors.push(FieldError::required(name_path, ""));
            continue;
        }
        qualified_name(errors, &name_path, &condition.name);
        if seen.contains(&&condition.name) {
            errors.push(FieldError::duplicate(name_path, &condition.name));
        }
        seen.push(&condition.name);
    }
}
