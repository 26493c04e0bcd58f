//! Every line of `facts.jsonl` is what upstream's environment of v1.36 says of one expression: why it does not compile,
//! or its type, the range of its estimated cost, what evaluating it cost, and its value or error.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::rc::Rc;

use corten_cel::{
    Activation, Authorizer, Authz, Budget, Check, Decision, Env, Key, MapVal, Program, Type, Val,
};
use corten_core::{Value, json_text};

struct Deny;

impl Authorizer for Deny {
    fn authorize(&self, _: &Check) -> Decision {
        Decision::default()
    }
}

/// A value as upstream prints it; none for values without a form of their own.
fn shown(value: &Val<'_>) -> Option<String> {
    Some(match value {
        Val::Null => "null".into(),
        Val::Bool(v) => v.to_string(),
        Val::Int(v) => v.to_string(),
        Val::Uint(v) => format!("{v}u"),
        Val::Double(v) if v.is_infinite() || v.is_nan() => return None,
        Val::Double(v) => {
            let text = format!("{v}");
            if text.contains('.') {
                text
            } else {
                text + ".0"
            }
        }
        Val::Str(v) => json_text::print(&Value::from(&**v)),
        Val::List(_) => {
            let mut all = Vec::new();
            for element in value.elements()? {
                all.push(shown(&element)?);
            }
            format!("[{}]", all.join(", "))
        }
        Val::Map(MapVal::Own(map)) => {
            let mut all = Vec::new();
            for (key, value) in map.iter() {
                let key = match key {
                    Key::Str(k) => json_text::print(&Value::from(&**k)),
                    Key::Int(k) => k.to_string(),
                    Key::Uint(k) => format!("{k}u"),
                    Key::Bool(k) => k.to_string(),
                };
                all.push(format!("{key}: {}", shown(value)?));
            }
            format!("{{{}}}", all.join(", "))
        }
        Val::Duration(_) => format!("duration({:?})", value.to_value().ok()?.as_str()?),
        Val::Timestamp(_) => format!("timestamp({:?})", value.to_value().ok()?.as_str()?),
        _ => return None,
    })
}

fn type_name(t: &Type) -> String {
    Env::type_name(t)
}

fn check(env: &Env, fact: &Value, wrong: &mut Vec<String>) {
    let source = fact.str_at(&["e"]);
    let mut expect = |what: &str, found: String| {
        let wanted = match fact.get(what) {
            Some(Value::Str(text)) => text.to_string(),
            Some(Value::List(list)) => {
                let all: Vec<String> = list.iter().map(json_text::print).collect();
                format!("[{}]", all.join(","))
            }
            Some(other) => json_text::print(other),
            None => String::new(),
        };
        if wanted != found {
            wrong.push(format!(
                "{source}\n  {what}: wanted {wanted}\n         found {found}"
            ));
        }
    };
    let program = match env.parse(source) {
        Err(issues) => return expect("issue", issues.display().to_owned()),
        Ok(program) => program,
    };
    if fact.get("issue").is_some() {
        return expect("issue", String::new());
    }
    expect("type", type_name(program.output()));
    let cost = program.cost_estimate(None);
    let print = |v: u64| match i64::try_from(v) {
        Ok(v) => json_text::print(&Value::Int(v)),
        Err(_) => json_text::print(&Value::Float(v as f64)),
    };
    expect("est", format!("[{},{}]", print(cost.min), print(cost.max)));
    expect("prog", program.instantiation_error().unwrap_or_default());
    if fact.get("prog").is_some() {
        return;
    }
    evaluate(&program, fact, &mut expect);
}

fn evaluate(program: &Program, fact: &Value, expect: &mut dyn FnMut(&str, String)) {
    let empty = Value::map();
    let data = fact.get("d").unwrap_or(&empty);
    let activation = Activation::new()
        .data("object", data)
        .authorizer("authorizer", Authz::authorizer(Rc::new(Deny)));
    let mut budget = Budget::default();
    match program.evaluate(&activation, &mut budget) {
        Err(error) => expect("err", error.to_string()),
        Ok(value) => {
            expect("err", String::new());
            expect("cost", budget.spent().to_string());
            if let Some(text) = shown(&value) {
                expect("val", text);
            }
        }
    }
}

#[test]
fn expressions_are_what_upstream_says() {
    let env = Env::builder()
        .variable("object", Type::Dyn)
        .variable(
            "authorizer",
            Type::object("kubernetes.authorization.Authorizer"),
        )
        .build();
    let mut wrong = Vec::new();
    let mut count = 0;
    for line in include_str!("facts.jsonl").lines() {
        count += 1;
        check(
            &env,
            &json_text::parse(line.as_bytes()).unwrap(),
            &mut wrong,
        );
    }
    assert!(count > 500, "only {count} facts");
    assert!(
        wrong.is_empty(),
        "{} of {count} differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}
