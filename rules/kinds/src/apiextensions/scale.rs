//! What upstream checks of the places that a definition's `scale` names. Invariant: an absent member is no error.

use corten_core::Value;

use crate::error::FieldError;

/// Where spec.replicas, status.replicas and the selector are.
type Paths = (String, String, String);

/// The number of replicas that is wanted.
pub(super) fn spec(value: &Value, paths: &Paths) -> Vec<FieldError> {
    replicas(value, &paths.0)
}

/// The number that there is, and the selector.
pub(super) fn status(value: &Value, paths: &Paths) -> Vec<FieldError> {
    let mut errors = replicas(value, &paths.1);
    let path = paths.2.as_str();
    if !path.is_empty()
        && let Err(why) = at(value, path, "string", |found| {
            matches!(found, Value::Str(_))
        })
    {
        errors.push(FieldError::invalid(path, "", why));
    }
    errors
}

fn replicas(value: &Value, path: &str) -> Vec<FieldError> {
    let found = at(value, path, "int64", |found| matches!(found, Value::Int(_)));
    let (number, why) = match found {
        Err(why) => (0, why),
        Ok(Some(Value::Int(n))) if *n < 0 => (*n, "should be a non-negative integer".into()),
        Ok(Some(Value::Int(n))) if *n > i64::from(i32::MAX) => {
            (*n, format!("should be less than or equal to {}", i32::MAX))
        }
        Ok(_) => return Vec::new(),
    };
    vec![FieldError::invalid(path, Value::Int(number), why)]
}

/// What is at a path, if it is as it must be.
fn at<'a>(
    value: &'a Value,
    path: &str,
    wanted: &str,
    fits: impl Fn(&Value) -> bool,
) -> Result<Option<&'a Value>, String> {
    let mut at = value;
    let mut walked = String::new();
    for step in path.trim_start_matches('.').split('.') {
        let Some(map) = at.as_map() else {
            return Err(wrong(&walked, at, "map[string]interface{}"));
        };
        walked.push('.');
        walked.push_str(step);
        match map.get(step) {
            None => return Ok(None),
            Some(inner) => at = inner,
        }
    }
    match fits(at) {
        true => Ok(Some(at)),
        false => Err(wrong(&walked, at, wanted)),
    }
}

fn wrong(path: &str, found: &Value, wanted: &str) -> String {
    let (shown, kind) = match found {
        Value::Null => ("<nil>".to_owned(), "<nil>"),
        Value::Bool(found) => (found.to_string(), "bool"),
        Value::Int(found) => (found.to_string(), "int64"),
        Value::Float(found) => (found.to_string(), "float64"),
        Value::Str(found) => (found.to_string(), "string"),
        Value::List(_) => ("[]".to_owned(), "[]interface {}"),
        Value::Map(_) => ("map[]".to_owned(), "map[string]interface {}"),
    };
    format!("{path} accessor error: {shown} is of the type {kind}, expected {wanted}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_are_numbers_that_may_be() {
        let paths = (".spec.n".to_owned(), ".status.n".to_owned(), String::new());
        let says = |n: Value| {
            let mut value = Value::map();
            value.set(&["spec", "n"], n);
            let errors = spec(&value, &paths);
            errors.first().map(ToString::to_string).unwrap_or_default()
        };
        assert_eq!(says(Value::Int(3)), "");
        assert_eq!(
            says(Value::Int(-1)),
            ".spec.n: Invalid value: -1: should be a non-negative integer"
        );
        assert_eq!(
            says(Value::from("x")),
            ".spec.n: Invalid value: 0: .spec.n accessor error: x is of the type string, expected int64"
        );
        assert!(spec(&Value::map(), &paths).is_empty());
    }
}
