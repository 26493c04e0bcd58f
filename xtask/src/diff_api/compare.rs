//! Two answers to one request: what differs, place by place. Invariant: what cannot be equal (times, uids, revisions,
//! drawn addresses) was made equal by `normal` before.

use std::fmt;

use serde_json::Value;

use super::http::Answer;
use super::normal;

/// One place where two answers differ.
#[derive(Debug, PartialEq)]
pub struct Difference {
    /// `code`, `header.warning`, `body.spec.replicas`.
    pub at: String,
    ours: String,
    theirs: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} | upstream: {}", self.at, self.ours, self.theirs)
    }
}

/// Headers that clients act on.
const HEADERS: [&str; 7] = [
    "content-type",
    "warning",
    "retry-after",
    "location",
    "www-authenticate",
    "cache-control",
    "allow",
];
/// More differences than this in one body say no more.
const DIFFERENCES_MAX: usize = 12;
const TEXT_MAX: usize = 300;

/// All differences, status code first.
pub fn differences(ours: &Answer, theirs: &Answer) -> Vec<Difference> {
    let mut found = Vec::new();
    if ours.status != theirs.status {
        let described = |a: &Answer| format!("{} {}", a.status, brief(&a.body));
        found.push(difference("code", described(ours), described(theirs)));
        return found;
    }
    for name in HEADERS {
        let (a, b) = (ours.all(name).join(" // "), theirs.all(name).join(" // "));
        let (a, b) = (normal::text(&a), normal::text(&b));
        if a != b {
            found.push(difference(&format!("header.{name}"), a, b));
        }
    }
    let (a, b) = (normal::body(&ours.body), normal::body(&theirs.body));
    let mut bodies = Vec::new();
    values("body", &a, &b, &mut bodies);
    let more = bodies.len().saturating_sub(DIFFERENCES_MAX);
    bodies.truncate(DIFFERENCES_MAX);
    found.extend(bodies);
    if more > 0 {
        found.push(difference(
            "body...",
            format!("{more} more differences"),
            String::new(),
        ));
    }
    found
}

fn difference(at: &str, ours: String, theirs: String) -> Difference {
    Difference {
        at: at.to_owned(),
        ours: cut(ours),
        theirs: cut(theirs),
    }
}

fn cut(text: String) -> String {
    match text.char_indices().nth(TEXT_MAX) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text,
    }
}

/// The message of a Status, else the beginning.
fn brief(body: &[u8]) -> String {
    let value: Value = serde_json::from_slice(body).unwrap_or_default();
    match value["message"].as_str() {
        Some(message) => message.to_owned(),
        None => String::from_utf8_lossy(&body[..body.len().min(100)]).into_owned(),
    }
}

fn values(at: &str, ours: &Value, theirs: &Value, found: &mut Vec<Difference>) {
    match (ours, theirs) {
        (Value::Object(a), Value::Object(b)) => {
            let mut keys: Vec<&String> = a
                .keys()
                .chain(b.keys().filter(|k| !a.contains_key(*k)))
                .collect();
            keys.sort();
            for key in keys {
                let at = format!("{at}.{key}");
                match (a.get(key), b.get(key)) {
                    (Some(a), Some(b)) => values(&at, a, b, found),
                    (a, b) => {
                        let text = |v: Option<&Value>| {
                            v.map_or_else(|| "(absent)".into(), Value::to_string)
                        };
                        found.push(difference(&at, text(a), text(b)));
                    }
                }
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (i, (a, b)) in a.iter().zip(b).enumerate() {
                values(&format!("{at}[{i}]"), a, b, found);
            }
        }
        (a, b) if a != b => found.push(difference(at, a.to_string(), b.to_string())),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        Answer {
            status,
            headers: vec![("content-type".into(), "application/json".into())],
            body: body.as_bytes().to_vec(),
        }
    }

    #[test]
    fn times_and_uids_are_equal_and_the_rest_is_named() {
        let ours = answer(
            200,
            r#"{"metadata":{"uid":"c4a35a0e-7d2b-4f0e-8d2a-000000000000"},"a":[1,{"b":2}]}"#,
        );
        let theirs = answer(
            200,
            r#"{"metadata":{"uid":"d4a35a0e-7d2b-4f0e-8d2a-000000000000"},"a":[1,{"b":3}],"c":1}"#,
        );
        let found: Vec<String> = differences(&ours, &theirs)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            found,
            [
                "body.a[1].b: 2 | upstream: 3",
                "body.c: (absent) | upstream: 1"
            ]
        );
    }

    #[test]
    fn a_different_code_says_all() {
        let found = differences(&answer(200, "{}"), &answer(422, r#"{"message":"bad"}"#));
        assert_eq!(found[0].to_string(), "code: 200 {} | upstream: 422 bad");
        assert_eq!(found.len(), 1);
    }
}
