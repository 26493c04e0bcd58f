//! Whether a definition may have the rules it has: compiled, typed, and cheap enough for the largest request.

use corten_cel::{Decl, Env, Schema};
use corten_core::{Value, json_text};
use std::sync::Arc;

use super::evaluate::{Rule, flag};
use crate::checks::Errors;
use crate::error::FieldError;

/// The most that one rule may be estimated to cost.
const RULE_COST_MAX: u64 = 10_000_000;
/// The most that all rules of a version may be estimated to cost together.
const SCHEMA_COST_MAX: u64 = 100_000_000;

/// What rules of a schema cost together, and the dearest of them.
#[derive(Default)]
pub(super) struct Total {
    sum: u64,
    dearest: Vec<(String, u64)>,
}

impl Total {
    fn add(&mut self, path: String, cost: u64) {
        self.sum = self.sum.saturating_add(cost);
        if cost < SCHEMA_COST_MAX / 100 {
            return;
        }
        self.dearest.push((path, cost));
        self.dearest.sort_by_key(|d| std::cmp::Reverse(d.1));
        self.dearest.truncate(4);
    }

    /// What is wrong with the sum.
    pub fn check(&self, path: &str, errors: &mut Errors) {
        if self.sum <= SCHEMA_COST_MAX {
            return;
        }
        for (path, _) in &self.dearest {
            let text = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema";
            errors.push(FieldError::forbidden(path, text));
        }
        let name = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema";
        errors.push(FieldError::forbidden(
            path,
            too_dear(name, self.sum, SCHEMA_COST_MAX),
        ));
    }
}

/// Where in a schema rules stand.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    /// How many values there can be here; none when nothing says it.
    pub cardinality: Option<u64>,
    /// The part of the schema in which old and new values cannot be told to be the same.
    pub uncorrelatable: Option<&'a str>,
    pub root: bool,
}

impl<'a> Place<'a> {
    /// The place of parts of a schema.
    pub fn below(self, schema: &Value, uncorrelatable: Option<&'a str>) -> Place<'a> {
        Place {
            cardinality: self
                .cardinality
                .zip(elements_max(schema))
                .map(|(a, b)| a.saturating_mul(b)),
            uncorrelatable: self.uncorrelatable.or(uncorrelatable),
            root: false,
        }
    }
}

fn elements_max(schema: &Value) -> Option<u64> {
    let limit = |name: &str| {
        let most = schema.get(name).and_then(Value::as_i64)?;
        Some(u64::try_from(most).unwrap_or(0))
    };
    match schema.str_at(&["type"]) {
        "object" if schema.get("additionalProperties").is_some() => limit("maxProperties"),
        "array" => limit("maxItems"),
        _ => Some(1),
    }
}

fn too_dear(what: &str, cost: u64, limit: u64) -> String {
    let factor = cost as f64 / limit as f64;
    let factor = if factor > 100.0 {
        "more than 100x".to_owned()
    } else if factor < 1.5 {
        format!("{factor:.6}x")
    } else {
        format!("{factor:.1}x")
    };
    format!(
        "{what} exceeds budget by factor of {factor} (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)"
    )
}

/// Checks the rules of one schema; `path` is the schema's.
pub(super) fn check(
    env: &Env,
    path: &str,
    schema: &Value,
    place: Place<'_>,
    total: &mut Total,
    errors: &mut Errors,
) {
    let Some(list) = schema
        .get("x-kubernetes-validations")
        .and_then(Value::as_list)
    else {
        return;
    };
    if list.is_empty() {
        return;
    }
    let typed = if place.root || flag(schema, "x-kubernetes-embedded-resource") {
        Schema::resource(schema)
    } else {
        Schema::new(schema)
    };
    let Some(decl) = typed.decl() else {
        let text = "internal error: failed to construct type information for x-kubernetes-validations rules: unable to convert structural schema to CEL declarations";
        errors.push(FieldError::new(
            crate::error::ErrorKind::Internal,
            format!("{path}.x-kubernetes-validations"),
            Value::Null,
            text,
        ));
        return;
    };
    for (i, entry) in list.iter().enumerate() {
        let at = format!("{path}.x-kubernetes-validations[{i}]");
        if let Some(rule) = Rule::compile(entry, &decl, env, schema) {
            one(&at, entry, &rule, &decl, place, total, errors);
        }
    }
}

fn one(
    at: &str,
    entry: &Value,
    rule: &Rule,
    decl: &Arc<Decl>,
    place: Place<'_>,
    total: &mut Total,
    errors: &mut Errors,
) {
    let path = format!("{at}.rule");
    match &rule.program {
        Err(why) => errors.push(FieldError::invalid(&path, go_rule(entry), why)),
        Ok(program) => {
            let each = program.cost_estimate(Some(decl)).max;
            let count = place.cardinality.unwrap_or_else(|| decl.cardinality_max());
            let cost = each.saturating_mul(count);
            if cost > RULE_COST_MAX {
                let text = too_dear("estimated rule cost", cost, RULE_COST_MAX);
                errors.push(FieldError::forbidden(&path, text));
            }
            total.add(path.clone(), cost);
        }
    }
    let path = format!("{at}.messageExpression");
    match &rule.message_expression {
        Some(Err(why)) => errors.push(FieldError::invalid(&path, go_rule(entry), why)),
        Some(Ok(program)) => {
            let cost = program.cost_estimate(Some(decl)).max;
            if cost > RULE_COST_MAX {
                let text = too_dear("estimated messageExpression cost", cost, RULE_COST_MAX);
                errors.push(FieldError::forbidden(&path, text));
            }
            total.add(path, cost);
        }
        None => {}
    }
    if rule.uses_old {
        if let Some(within) = place.uncorrelatable {
            let text = format!(
                "oldSelf cannot be used on the uncorrelatable portion of the schema within {within}"
            );
            errors.push(FieldError::invalid(
                format!("{at}.rule"),
                entry.str_at(&["rule"]),
                text,
            ));
        }
    } else if let Some(set) = entry.get("optionalOldSelf") {
        let text = "may not be set if oldSelf is not used in rule";
        errors.push(FieldError::invalid(
            format!("{at}.optionalOldSelf"),
            set.clone(),
            text,
        ));
    }
}

/// A rule the way Go prints the struct as a bad value.
fn go_rule(entry: &Value) -> Value {
    let text = |name: &str| json_text::print(&Value::from(entry.str_at(&[name])));
    let other = |name: &str| json_text::print(&entry.get(name).cloned().unwrap_or_default());
    crate::error::verbatim(format!(
        "{{\"Rule\":{},\"Message\":{},\"MessageExpression\":{},\"Reason\":{},\"FieldPath\":{},\"OptionalOldSelf\":{}}}",
        text("rule"),
        text("message"),
        text("messageExpression"),
        other("reason"),
        text("fieldPath"),
        other("optionalOldSelf"),
    ))
}
