//! Printer columns of custom resources, and the small part of JSONPath they and `scale` use: members, indexes and
//! one equality filter (`.status.conditions[?(@.type=="Ready")].status`).

use corten_api::apiextensions::v1::CustomResourceColumnDefinition;
use corten_core::{Time, Value};

/// One column.
pub(crate) struct CustomColumn {
    pub name: String,
    pub kind: String,
    pub format: String,
    pub description: String,
    pub priority: i32,
    path: String,
}

/// The columns of a version; Age alone when it names none.
pub(crate) fn of(definitions: &[CustomResourceColumnDefinition]) -> Vec<CustomColumn> {
    let mut all = vec![CustomColumn {
        name: "Name".into(),
        kind: "string".into(),
        format: "name".into(),
        description: corten_kinds::cells::NAME.description.into(),
        priority: 0,
        path: ".metadata.name".into(),
    }];
    all.extend(definitions.iter().map(|d| CustomColumn {
        name: d.name.to_string(),
        kind: d.type_.to_string(),
        format: d.format.to_string(),
        description: match d.description.is_empty() {
            true => format!(
                "Custom resource definition column (in JSONPath format): {}",
                d.json_path
            ),
            false => d.description.to_string(),
        },
        priority: d.priority,
        path: d.json_path.to_string(),
    }));
    if definitions.is_empty() {
        all.push(CustomColumn {
            name: "Age".into(),
            kind: "date".into(),
            format: String::new(),
            description: corten_kinds::cells::CREATED.into(),
            priority: 0,
            path: ".metadata.creationTimestamp".into(),
        });
    }
    all
}

impl CustomColumn {
    /// The cell of one object.
    pub(crate) fn cell(&self, object: &Value, now: &Time) -> Value {
        let Some(found) = at(object, &self.path) else {
            return Value::Null;
        };
        match (self.kind.as_str(), found) {
            ("date", Value::Str(text)) => match Time::parse(text) {
                Ok(time) => Value::from(age(now.seconds_since(time)).as_str()),
                Err(_) => Value::from("<unknown>"),
            },
            ("string", Value::Str(_))
            | ("integer", Value::Int(_))
            | ("boolean", Value::Bool(_)) => found.clone(),
            ("number", Value::Int(_) | Value::Float(_)) => found.clone(),
            ("integer", Value::Float(f)) => Value::Int(*f as i64),
            ("string", other) => {
                let text = corten_codec::json::encode_value(other);
                Value::from(String::from_utf8_lossy(&text).as_ref())
            }
            _ => Value::Null,
        }
    }
}

/// A duration as kubectl prints ages.
fn age(seconds: i64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let two = |big: i64, unit: char, small: i64, sub: char| {
        if small == 0 {
            format!("{big}{unit}")
        } else {
            format!("{big}{unit}{small}{sub}")
        }
    };
    match seconds {
        s if s < 0 => "0s".into(),
        s if s < 120 => format!("{s}s"),
        s if s < 600 => two(minutes, 'm', s % 60, 's'),
        s if s < 3 * 3600 => format!("{minutes}m"),
        s if s < 8 * 3600 => two(hours, 'h', minutes % 60, 'm'),
        s if s < 48 * 3600 => format!("{hours}h"),
        s if s < 8 * 86_400 => two(days, 'd', hours % 24, 'h'),
        s if s < 2 * 365 * 86_400 => format!("{days}d"),
        s if s < 8 * 365 * 86_400 => two(days / 365, 'y', days % 365, 'd'),
        _ => format!("{}y", days / 365),
    }
}

/// The value a path leads to.
fn at<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    let mut now = value;
    let mut rest = path.trim().trim_start_matches('$');
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('[') {
            let (inside, after) = after.split_once(']')?;
            now = inside_brackets(now, inside)?;
            rest = after;
            continue;
        }
        let member = rest.strip_prefix('.').unwrap_or(rest);
        let end = member.find(['.', '[']).unwrap_or(member.len());
        let (key, after) = member.split_at(end);
        if !key.is_empty() {
            now = now.get(key)?;
        }
        rest = after;
    }
    Some(now)
}

fn inside_brackets<'a>(value: &'a Value, inside: &str) -> Option<&'a Value> {
    if let Some(filter) = inside
        .strip_prefix("?(@.")
        .and_then(|f| f.strip_suffix(')'))
    {
        let (key, wanted) = filter.split_once("==")?;
        let wanted = wanted.trim().trim_matches(['"', '\'']);
        return value
            .as_list()?
            .iter()
            .find(|v| v.str_at(&[key.trim()]) == wanted);
    }
    let quoted = inside.trim_matches(['"', '\'']);
    match inside.parse::<usize>() {
        Ok(index) => value.as_list()?.get(index),
        Err(_) => value.get(quoted),
    }
}

/// The number a path leads to.
pub(crate) fn number_at(value: &Value, path: &str) -> Option<i32> {
    at(value, path)
        .and_then(Value::as_i64)
        .and_then(|n| i32::try_from(n).ok())
}

/// The text a path leads to, empty for none.
pub(crate) fn text_at(value: &Value, path: &str) -> String {
    if path.is_empty() {
        return String::new();
    }
    at(value, path)
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

/// Puts a number where a path of members leads.
pub(crate) fn set_number_at(value: &mut Value, path: &str, number: i32) {
    let keys: Vec<&str> = path.split('.').filter(|k| !k.is_empty()).collect();
    value.set(&keys, Value::Int(i64::from(number)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let value = corten_codec::yaml::decode_value(
            b"{a: {b: [{c: 1}, {c: 2}]}, s: [{type: Ready, status: 'True'}]}",
        )
        .unwrap();
        assert_eq!(number_at(&value, ".a.b[1].c"), Some(2));
        assert_eq!(text_at(&value, ".s[?(@.type==\"Ready\")].status"), "True");
        assert_eq!(number_at(&value, ".a.x"), None);
    }

    #[test]
    fn ages() {
        let all = [
            (5, "5s"),
            (125, "2m5s"),
            (4000, "66m"),
            (11_000, "3h3m"),
            (200_000, "2d7h"),
        ];
        for (seconds, text) in all {
            assert_eq!(age(seconds), text);
        }
    }
}
