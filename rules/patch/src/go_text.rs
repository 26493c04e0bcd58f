//! Values as Go's `%v` prints them and Go's names of their types, which upstream's error texts contain.

use corten_core::Value;

/// As `%v` prints it.
pub(crate) fn go_text(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".into(),
        Value::Bool(v) => v.to_string(),
        Value::Int(v) => v.to_string(),
        Value::Float(v) => corten_core::json_text::float_text(*v),
        Value::Str(v) => v.to_string(),
        Value::List(list) => {
            let parts: Vec<String> = list.iter().map(go_text).collect();
            format!("[{}]", parts.join(" "))
        }
        Value::Map(map) => {
            let parts: Vec<String> = map
                .iter()
                .map(|(k, v)| format!("{k}:{}", go_text(v)))
                .collect();
            format!("map[{}]", parts.join(" "))
        }
    }
}

/// The name of the type that decoded JSON has in Go.
pub(crate) fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "%!s(<nil>)",
        Value::Bool(_) => "bool",
        Value::Int(_) => "int64",
        Value::Float(_) => "float64",
        Value::Str(_) => "string",
        Value::List(_) => "[]interface {}",
        Value::Map(_) => "map[string]interface {}",
    }
}

/// What `encoding/json` calls the value in its errors.
pub(crate) fn json_word(value: &Value) -> &'static str {
    match value {
        Value::Bool(_) => "bool",
        other => other.type_name(),
    }
}
