//! Rules of a schema (`x-kubernetes-validations`), compiled once and evaluated on values as they are written.
//! Invariant: one write evaluates within one budget. Leaves out whether a definition may have such rules (`rules`).

use std::collections::BTreeMap;
use std::sync::Arc;

use corten_cel::{Activation, Budget, CALL_COST_MAX, Decl, Env, EvalError, Program, Schema, Type};
use corten_core::Value;

use super::fieldpath;
use crate::error::{ErrorKind, FieldError};

/// What all rules of one write may cost together.
const WRITE_COST_MAX: u64 = 10_000_000;
const MESSAGE_BYTES_MAX: usize = 5 * 1024;

/// The compiled rules of a schema and everything below it.
#[derive(Debug)]
pub struct SchemaRules {
    schema: Arc<Schema>,
    kind: String,
    rules: Vec<Rule>,
    items: Option<Box<SchemaRules>>,
    properties: BTreeMap<String, SchemaRules>,
    additional: Option<Box<SchemaRules>>,
    all_of: Vec<SchemaRules>,
    /// By which members elements of a list are the same as before; none when they cannot be told.
    keys: Option<Vec<String>>,
}

/// One rule, compiled.
#[derive(Debug)]
pub(super) struct Rule {
    pub program: Result<Program, String>,
    pub uses_old: bool,
    pub optional_old: bool,
    pub message_expression: Option<Result<Program, String>>,
    text: String,
    message: String,
    reason: String,
    field_path: String,
}

/// Where a rule's type is named after; rules cannot spell it.
const SELF_TYPE: &str = "selfType";

impl Rule {
    /// Compiles one entry of `x-kubernetes-validations`; none when it is empty.
    pub fn compile(rule: &Value, decl: &Arc<Decl>, base: &Env, schema: &Value) -> Option<Rule> {
        let text = rule.str_at(&["rule"]);
        if text.trim().is_empty() {
            return None;
        }
        let optional_old = rule.get("optionalOldSelf").and_then(Value::as_bool) == Some(true);
        let named = decl.named(SELF_TYPE);
        let t = named.cel_type();
        let old = if optional_old { Type::optional(t) } else { t };
        let env = base
            .extend()
            .declared("self", &named)
            .variable("oldSelf", old)
            .build();
        let program = match env.parse(text) {
            Err(issues) => Err(format!("compilation failed: {}", issues.display())),
            Ok(program) if *program.output() != Type::Bool => {
                Err("cel expression must evaluate to a bool".into())
            }
            Ok(program) => match program.instantiation_error() {
                Some(why) => Err(format!("program instantiation failed: {why}")),
                None => Ok(program),
            },
        };
        let uses_old = program.as_ref().is_ok_and(|p| p.refers_to("oldSelf"));
        let expression = rule.str_at(&["messageExpression"]);
        let message_expression =
            (!expression.is_empty() && program.is_ok()).then(|| match env.parse(expression) {
                Err(issues) => Err(format!(
                    "messageExpression compilation failed: {}",
                    issues.display()
                )),
                Ok(program) if *program.output() != Type::String => {
                    Err("messageExpression must evaluate to a string".into())
                }
                Ok(program) => Ok(program),
            });
        let path = rule.str_at(&["fieldPath"]);
        let field_path = if path.is_empty() {
            String::new()
        } else {
            fieldpath::normalized(path, schema, true).map_or_else(|_| String::new(), |f| f.path)
        };
        Some(Rule {
            program,
            uses_old,
            optional_old,
            message_expression,
            text: text.to_owned(),
            message: rule.str_at(&["message"]).to_owned(),
            reason: rule.str_at(&["reason"]).to_owned(),
            field_path,
        })
    }

    /// How messages about evaluation name the rule.
    fn shown(&self) -> &str {
        if self.message.is_empty() {
            self.text.trim()
        } else {
            self.message.trim()
        }
    }

    fn detail(&self) -> String {
        if self.message.is_empty() {
            format!("failed rule: {}", self.text.trim())
        } else {
            self.message.trim().to_owned()
        }
    }
}

/// What a value was before the write, for ratcheting: nothing is excused on create.
#[derive(Clone, Copy, Default)]
struct Before<'a> {
    current: Option<(&'a Value, &'a Value)>,
    parent: Option<(&'a Value, &'a Value)>,
    root: bool,
}

impl<'a> Before<'a> {
    /// Whether what a rule without transition finds wrong was so before.
    fn excuses(&self) -> bool {
        let same = |pair: Option<(&Value, &Value)>| pair.is_some_and(|(new, old)| new == old);
        if self.current.is_some() {
            same(self.current)
        } else {
            same(self.parent)
        }
    }

    fn member(self, name: &str) -> Before<'a> {
        let Some((new, old)) = self.current else {
            return Before {
                root: false,
                ..self
            };
        };
        if self.root && matches!(name, "apiVersion" | "kind") {
            return Before::default();
        }
        let pair = new.get(name).zip(old.get(name));
        Before {
            current: pair,
            parent: self.current,
            root: false,
        }
    }

    fn element(self, new: &'a Value, old: Option<&'a Value>) -> Before<'a> {
        if self.current.is_none() {
            return Before {
                root: false,
                ..self
            };
        }
        Before {
            current: old.map(|old| (new, old)),
            parent: self.current,
            root: false,
        }
    }
}

struct Run {
    budget: u64,
    exhausted: bool,
    errors: Vec<FieldError>,
    warnings: Vec<String>,
}

impl SchemaRules {
    /// Compiles the rules of a resource's schema; none when it has no rules.
    pub fn resource(schema: &Value) -> Option<SchemaRules> {
        if !has_rules(schema) {
            return None;
        }
        let env = Env::builder().build();
        SchemaRules::compile(&env, schema, schema, true)
    }

    /// Compiles the rules of any schema, as that of a default.
    pub(super) fn value(schema: &Value) -> Option<SchemaRules> {
        if !has_rules(schema) {
            return None;
        }
        let env = Env::builder().build();
        SchemaRules::compile(
            &env,
            schema,
            schema,
            flag(schema, "x-kubernetes-embedded-resource"),
        )
    }

    /// `rules` says which rules there are, `node` what values look like (they differ inside `allOf`).
    fn compile(env: &Env, rules: &Value, node: &Value, root: bool) -> Option<SchemaRules> {
        let schema = if root {
            Schema::resource(node)
        } else {
            Schema::new(node)
        };
        let decl = schema.decl();
        let list = rules
            .get("x-kubernetes-validations")
            .and_then(Value::as_list);
        let compiled = match (&decl, list) {
            (Some(decl), Some(list)) => list
                .iter()
                .filter_map(|r| Rule::compile(r, decl, env, node))
                .collect(),
            _ => Vec::new(),
        };
        let child = |name: &str| -> Option<Box<SchemaRules>> {
            let (rules, node) = (object(rules, name)?, object(node, name)?);
            let root = flag(node, "x-kubernetes-embedded-resource");
            SchemaRules::compile(env, rules, node, root).map(Box::new)
        };
        let mut properties = BTreeMap::new();
        for (name, rules) in members(rules, "properties") {
            let Some(node) = node.get("properties").and_then(|p| p.get(name)) else {
                continue;
            };
            let root = flag(node, "x-kubernetes-embedded-resource");
            if let Some(found) = SchemaRules::compile(env, rules, node, root) {
                properties.insert(name.to_string(), found);
            }
        }
        let all_of: Vec<SchemaRules> = rules
            .get("allOf")
            .and_then(Value::as_list)
            .unwrap_or_default()
            .iter()
            .filter_map(|part| SchemaRules::compile(env, part, node, root))
            .collect();
        let (items, additional) = (child("items"), child("additionalProperties"));
        let empty = compiled.is_empty() && items.is_none() && additional.is_none();
        if empty && properties.is_empty() && all_of.is_empty() {
            return None;
        }
        Some(SchemaRules {
            schema,
            kind: node.str_at(&["type"]).to_owned(),
            rules: compiled,
            items,
            properties,
            additional,
            all_of,
            keys: list_keys(node),
        })
    }

    /// What rules find wrong with a value. On update, errors of what has not changed are warnings.
    pub fn check(&self, value: &Value, old: Option<&Value>) -> (Vec<FieldError>, Vec<String>) {
        let before = Before {
            current: old.map(|old| (value, old)),
            parent: None,
            root: true,
        };
        self.run("", value, old, before)
    }

    /// The same for a default, which is checked as if it were and were not there before; nothing is excused.
    pub(super) fn check_default(&self, path: &str, value: &Value) -> Vec<FieldError> {
        let first = self.run(path, value, Some(value), Before::default()).0;
        if !first.is_empty() {
            return first;
        }
        self.run(path, value, None, Before::default()).0
    }

    fn run(
        &self,
        path: &str,
        value: &Value,
        old: Option<&Value>,
        before: Before<'_>,
    ) -> (Vec<FieldError>, Vec<String>) {
        let mut run = Run {
            budget: WRITE_COST_MAX,
            exhausted: false,
            errors: Vec::new(),
            warnings: Vec::new(),
        };
        self.visit(path, value, old, before, &mut run);
        (run.errors, run.warnings)
    }

    fn visit(
        &self,
        path: &str,
        value: &Value,
        old: Option<&Value>,
        before: Before<'_>,
        run: &mut Run,
    ) {
        let old = old.filter(|o| !o.is_null());
        if value.is_null() {
            return;
        }
        self.own(path, value, old, before, run);
        for part in &self.all_of {
            if run.exhausted {
                return;
            }
            let before = Before {
                current: None,
                ..before
            };
            part.visit(path, value, old, before, run);
        }
        match value {
            Value::List(list) => {
                let Some(items) = &self.items else { return };
                let old_list = old.and_then(Value::as_list).unwrap_or_default();
                for (i, element) in list.iter().enumerate() {
                    if run.exhausted {
                        return;
                    }
                    let same = self.same_element(element, old_list);
                    let at = format!("{path}[{i}]");
                    items.visit(&at, element, same, before.element(element, same), run);
                }
            }
            Value::Map(map) => {
                for (key, member) in map.iter() {
                    if run.exhausted {
                        return;
                    }
                    let same = old.and_then(|o| o.get(key));
                    let before = before.member(key);
                    if let Some(rules) = self.properties.get(key.as_str()) {
                        rules.visit(&join(path, key), member, same, before, run);
                    } else if let Some(rules) = &self.additional {
                        rules.visit(&format!("{path}[{key}]"), member, same, before, run);
                    }
                }
            }
            _ => {}
        }
    }

    /// The element that this one was before: by its keys.
    fn same_element<'a>(&self, element: &Value, old: &'a [Value]) -> Option<&'a Value> {
        let keys = self.keys.as_ref()?;
        old.iter()
            .find(|o| keys.iter().all(|key| o.get(key) == element.get(key)))
    }

    fn own(
        &self,
        path: &str,
        value: &Value,
        old: Option<&Value>,
        before: Before<'_>,
        run: &mut Run,
    ) {
        let invalid =
            |detail: String| FieldError::invalid(shown_path(path), self.kind.as_str(), detail);
        for rule in &self.rules {
            if run.budget == 0 {
                run.errors.push(invalid("validation failed due to running out of cost budget, no further validation rules will be run".into()));
                run.exhausted = true;
                return;
            }
            let program = match &rule.program {
                Ok(program) => program,
                Err(why) => {
                    run.errors
                        .push(invalid(format!("rule compile error: {why}")));
                    continue;
                }
            };
            if rule.uses_old && old.is_none() && !rule.optional_old {
                continue;
            }
            let activation = self.activation(rule, value, old);
            let mut budget = Budget::new(CALL_COST_MAX);
            let result = program.evaluate(&activation, &mut budget);
            if budget.spent() > run.budget {
                run.errors.push(invalid("validation failed due to running out of cost budget, no further validation rules will be run".into()));
                run.exhausted = true;
                return;
            }
            run.budget -= budget.spent();
            match result {
                Err(EvalError::CostLimit) => {
                    run.errors.push(invalid(format!("'{}': no further validation rules will be run due to call cost exceeds limit for rule: {}", EvalError::CostLimit, rule.shown())));
                    run.exhausted = true;
                    return;
                }
                Err(error) => {
                    let error = error.to_string();
                    run.errors.push(invalid(if error.starts_with("no such overload") {
                        format!("'{error}': call arguments did not match a supported operator, function or macro signature for rule: {}", rule.shown())
                    } else {
                        format!("{error} evaluating rule: {}", rule.shown())
                    }));
                }
                Ok(answer) if answer.as_bool() == Some(true) => {}
                Ok(_) => self.broken(path, value, rule, &activation, before, run),
            }
            if run.exhausted {
                return;
            }
        }
    }

    fn activation<'a>(
        &'a self,
        rule: &Rule,
        value: &'a Value,
        old: Option<&'a Value>,
    ) -> Activation<'a> {
        let activation = Activation::new().typed("self", value, &self.schema);
        match old {
            _ if rule.optional_old => activation.optional("oldSelf", old, &self.schema),
            Some(old) => activation.typed("oldSelf", old, &self.schema),
            None => activation,
        }
    }

    /// A rule does not hold.
    fn broken<'a>(
        &'a self,
        path: &str,
        value: &'a Value,
        rule: &'a Rule,
        activation: &Activation<'a>,
        before: Before<'_>,
        run: &mut Run,
    ) {
        let mut at = path.to_owned();
        if !rule.field_path.is_empty() {
            at = join(path, &rule.field_path);
        }
        let at = shown_path(&at);
        let mut message = None;
        let mut fatal = None;
        if let Some(Ok(program)) = &rule.message_expression {
            let mut budget = Budget::new(CALL_COST_MAX);
            let result = program.evaluate(activation, &mut budget);
            if budget.spent() > run.budget {
                fatal = Some("messageExpression evaluation failed due to running out of cost budget, no further validation rules will be run".to_owned());
            } else {
                run.budget -= budget.spent();
                match result {
                    Err(EvalError::CostLimit) => {
                        fatal = Some("no further validation rules will be run due to call cost exceeds limit for messageExpression".to_owned());
                    }
                    Err(_) => {}
                    Ok(text) => {
                        message = text
                            .as_str()
                            .map(str::trim)
                            .filter(|t| usable(t))
                            .map(str::to_owned);
                    }
                }
            }
        }
        let (kind, bad, detail) = match fatal {
            Some(why) => {
                run.exhausted = true;
                (ErrorKind::Invalid, Value::from(self.kind.as_str()), why)
            }
            None => self.error(rule, value, message),
        };
        let error = FieldError::new(kind, at, bad, detail);
        if !rule.uses_old && before.excuses() {
            run.warnings.push(error.to_string());
        } else {
            run.errors.push(error);
        }
    }

    fn error(
        &self,
        rule: &Rule,
        value: &Value,
        message: Option<String>,
    ) -> (ErrorKind, Value, String) {
        let detail = message.unwrap_or_else(|| rule.detail());
        let omitted = matches!(self.kind.as_str(), "object" | "array");
        let bad = if omitted { Value::Null } else { value.clone() };
        match rule.reason.as_str() {
            "FieldValueForbidden" => (ErrorKind::Forbidden, Value::Null, detail),
            "FieldValueRequired" => (ErrorKind::Required, Value::Null, detail),
            "FieldValueDuplicate" => (ErrorKind::Duplicate, bad, String::new()),
            _ => (ErrorKind::Invalid, bad, detail),
        }
    }
}

fn usable(text: &str) -> bool {
    !text.is_empty() && text.len() <= MESSAGE_BYTES_MAX && !text.contains('\n')
}

/// Errors at the root name no field.
fn shown_path(path: &str) -> String {
    if path.is_empty() {
        "<nil>".into()
    } else {
        path.to_owned()
    }
}

pub(super) fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

pub(super) fn flag(schema: &Value, name: &str) -> bool {
    schema.get(name).and_then(Value::as_bool) == Some(true)
}

pub(super) fn object<'a>(schema: &'a Value, name: &str) -> Option<&'a Value> {
    schema.get(name).filter(|v| v.as_map().is_some())
}

pub(super) fn members<'a>(
    schema: &'a Value,
    name: &str,
) -> impl Iterator<Item = (&'a corten_core::Str, &'a Value)> {
    schema
        .get(name)
        .and_then(Value::as_map)
        .into_iter()
        .flat_map(corten_core::ValueMap::iter)
}

/// The members that make elements of a list the same; none for lists without.
pub(super) fn list_keys(schema: &Value) -> Option<Vec<String>> {
    if schema.str_at(&["x-kubernetes-list-type"]) != "map" {
        return None;
    }
    let keys = schema.get("x-kubernetes-list-map-keys")?.as_list()?;
    Some(
        keys.iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect(),
    )
}

/// Whether there is a rule anywhere in a schema.
fn has_rules(schema: &Value) -> bool {
    match schema {
        Value::Map(map) => {
            map.get("x-kubernetes-validations")
                .and_then(Value::as_list)
                .is_some_and(|l| !l.is_empty())
                || map.iter().any(|(k, v)| {
                    !matches!(k.as_str(), "default" | "enum" | "example") && has_rules(v)
                })
        }
        Value::List(list) => list.iter().any(has_rules),
        _ => false,
    }
}
