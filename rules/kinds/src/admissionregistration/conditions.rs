//! Match conditions of webhooks and policies: names, number, expressions.

use super::expressions::{Compiler, Naming, Purpose};
use crate::checks::{Errors, qualified_name};
use crate::error::FieldError;
use corten_api::admissionregistration::v1::MatchCondition;
use corten_core::{Path, Str};

const CONDITIONS_MAX: usize = 64;

/// Whether conditions may name `params`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Params {
    Known,
    Unknown,
}

/// The conditions under which a webhook or a policy is asked at all.
pub(super) fn validate_conditions(
    errors: &mut Errors,
    path: &Path,
    conditions: &[MatchCondition],
    params: Params,
) {
    if conditions.is_empty() {
        return;
    }
    let compiler = Compiler::new(Naming {
        params: params == Params::Known,
        authorizer: true,
        patches: false,
    });
    if conditions.len() > CONDITIONS_MAX {
        let count = conditions.len();
        errors.push(FieldError::too_many(path, count, CONDITIONS_MAX));
    }
    let mut seen: Vec<&Str> = Vec::new();
    for (i, condition) in conditions.iter().enumerate() {
        let path = path.i(i);
        let expression = condition.expression.trim();
        let expression_path = path.f("expression");
        if expression.is_empty() {
            errors.push(FieldError::required(expression_path, ""));
        } else if let Err(why) = compiler.compile(expression, Purpose::Condition) {
            errors.push(FieldError::invalid(expression_path, expression, why));
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
