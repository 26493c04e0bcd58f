//! CEL: a source is refused, or checked, estimated and evaluated within its budget; regular expressions in it too.
#![no_main]

use std::cell::OnceCell;

use corten_cel::{Activation, Budget, Env, Type};
use corten_core::{Value, json_text};
use libfuzzer_sys::fuzz_target;

const OBJECT: &[u8] = br#"{"metadata":{"name":"n","labels":{"a":"b","c":"d"}},
    "spec":{"replicas":3,"ratio":0.5,"ports":[80,443],"names":["x","yy"],"nested":[{"k":"v"},{"k":"w"}],"none":null}}"#;

thread_local! {
    static WORLD: OnceCell<(Env, Value)> = const { OnceCell::new() };
}

fuzz_target!(|data: &[u8]| {
    let Ok(source) = std::str::from_utf8(data) else {
        return;
    };
    WORLD.with(|world| {
        let (env, object) = world.get_or_init(|| {
            let env = Env::builder()
                .variable("object", Type::Dyn)
                .variable("text", Type::String)
                .build();
            (env, json_text::parse(OBJECT).expect("the object is JSON"))
        });
        let Ok(program) = env.parse(source) else {
            return;
        };
        let _ = program.cost_estimate(None);
        let text = Value::from("some text");
        let activation = Activation::new().data("object", object).data("text", &text);
        let _ = program.evaluate(&activation, &mut Budget::default());
    });
    let _ = corten_cel::regular_expression(source);
});
