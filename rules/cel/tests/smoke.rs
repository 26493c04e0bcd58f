//! The interface, used the way policies and definitions use it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::cell::Cell;
use std::rc::Rc;

use corten_cel::{
    Activation, Authorizer, Authz, Budget, Check, Decision, Decl, Env, EvalError, Schema, Type,
    Variables,
};
use corten_core::{Value, json_text};

fn json(text: &str) -> Value {
    json_text::parse(text.as_bytes()).unwrap()
}

#[test]
fn typed_data_is_checked_and_evaluated() {
    let schema = Schema::resource(&json(
        r#"{"type":"object","properties":{"spec":{"type":"object","properties":{
            "replicas":{"type":"integer"},"namespace":{"type":"string"}}}}}"#,
    ));
    let decl = schema.decl().unwrap().named("selfType");
    let env = Env::builder().declared("self", &decl).build();
    let object = json(r#"{"spec":{"replicas":3,"namespace":"x"}}"#);
    let holds = |source: &str| {
        let program = env.compile(source, &[Type::Bool]).unwrap();
        let activation = Activation::new().typed("self", &object, &schema);
        program
            .evaluate(&activation, &mut Budget::default())
            .map(|v| v.as_bool())
    };
    assert_eq!(holds("self.spec.replicas == 3"), Ok(Some(true)));
    assert_eq!(holds("self.spec.__namespace__ == 'x'"), Ok(Some(true)));
    assert_eq!(
        holds("has(self.metadata.name)").unwrap_err().to_string(),
        "no such key: metadata"
    );
    let wrong = env
        .compile("self.spec.nothing == 1", &[Type::Bool])
        .unwrap_err();
    assert_eq!(
        wrong,
        "compilation failed: ERROR: <input>:1:10: undefined field 'nothing'\n | self.spec.nothing == 1\n | .........^"
    );
    let wrong = env.compile("x", &[Type::Bool]).unwrap_err();
    assert_eq!(
        wrong,
        "compilation failed: ERROR: <input>:1:1: undeclared reference to 'x' (in container '')\n | x\n | ^"
    );
    let wrong = env
        .compile("self.spec.replicas", &[Type::Bool])
        .unwrap_err();
    assert_eq!(wrong, "must evaluate to bool but got int");
}

#[test]
fn budgets_end_evaluation() {
    let env = Env::builder().variable("object", Type::Dyn).build();
    let program = env
        .compile(
            "object.all(x, object.all(y, object.all(z, x + y + z > 0)))",
            &[],
        )
        .unwrap();
    let object = Value::List((0..200).map(|_| Value::Int(1)).collect());
    let activation = Activation::new().data("object", &object);
    let result = program.evaluate(&activation, &mut Budget::default());
    assert_eq!(result.unwrap_err(), EvalError::CostLimit);
}

#[test]
fn variables_are_evaluated_once_and_only_when_used() {
    let decl = Decl::object("kubernetes.variables", [("a", Decl::scalar(Type::Int))]);
    let env = Env::builder()
        .variable("object", Type::Dyn)
        .declared("variables", &decl)
        .build();
    let a = env.compile("object.n + 1", &[]).unwrap();
    let bad = env.compile("object.missing", &[]).unwrap();
    let use_a = env.compile("variables.a + variables.a", &[]).unwrap();
    let object = json(r#"{"n":2}"#);
    let variables = Variables::new(vec![("a", &a), ("bad", &bad)]);
    let activation = variables.activate(Activation::new().data("object", &object));
    let value = use_a.evaluate(&activation, &mut Budget::default()).unwrap();
    assert_eq!(value.to_value().unwrap(), Value::Int(6));
    assert_eq!(variables.take_spent(), 3);
}

struct Counting(Cell<u32>);

impl Authorizer for Counting {
    fn authorize(&self, check: &Check) -> Decision {
        self.0.set(self.0.get() + 1);
        Decision {
            allowed: check.verb == "get" && check.resource == "pods" && check.namespace == "a",
            ..Decision::default()
        }
    }
}

#[test]
fn authorizers_decide() {
    let env = Env::builder()
        .variable(
            "authorizer",
            Type::object("kubernetes.authorization.Authorizer"),
        )
        .build();
    let source = "authorizer.group('').resource('pods').namespace('a').check('get').allowed()";
    let program = env.compile(source, &[Type::Bool]).unwrap();
    let by = Rc::new(Counting(Cell::new(0)));
    let activation = Activation::new().authorizer("authorizer", Authz::authorizer(by.clone()));
    let mut budget = Budget::default();
    let value = program.evaluate(&activation, &mut budget).unwrap();
    assert_eq!(value.as_bool(), Some(true));
    assert_eq!((by.0.get(), budget.spent()), (1, 350_005));
}

#[test]
fn patches_are_made() {
    let env = Env::builder()
        .variable("object", Type::Dyn)
        .with_patches()
        .build();
    let source = "Object{spec: Object.spec{replicas: object.spec.replicas + 1}}";
    let program = env.compile(source, &[Type::object("Object")]).unwrap();
    let object = json(r#"{"spec":{"replicas":3}}"#);
    let activation = Activation::new().data("object", &object);
    let value = program
        .evaluate(&activation, &mut Budget::default())
        .unwrap();
    assert_eq!(
        value.to_value().unwrap(),
        json(r#"{"spec":{"replicas":4}}"#)
    );
    let source = "[JSONPatch{op: 'add', path: '/a/' + jsonpatch.escapeKey('b/c~'), value: 'x'}]";
    let program = env
        .compile(source, &[Type::list(Type::object("JSONPatch"))])
        .unwrap();
    let value = program
        .evaluate(&activation, &mut Budget::default())
        .unwrap();
    let wanted = r#"[{"op":"add","path":"/a/b~1c~0","value":"x"}]"#;
    assert_eq!(value.to_value().unwrap(), json(wanted));
}
