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
const TEXT_BEFORE: usize = 60;

/// What is compared of an answer, as text.
pub fn essence(answer: &Answer) -> String {
    let mut out = answer.status.to_string();
    for name in HEADERS {
        for line in answer.all(name) {
            out.push_str(&format!("\n{name}: {}", normal::text(line)));
        }
    }
    format!("{out}\n{}", normal::body(&answer.body))
}

/// All differences, status code first.
pub fn differences(ours: &Answer, theirs: &Answer) -> Vec<Difference> {
    let mut found = Vec::new();
    if ours.status != theirs.status {
        let described = |a: &Answer| format!("{} {}", a.status, brief(&a.body));
        found.push(difference("code", described(ours), described(theirs)));
        return found;
    }
    for name in HEADERS {
        let lines = |answer: &Answer| -> Vec<String> {
            answer.all(name).iter().map(|l| normal::text(l)).collect()
        };
        let (a, b) = (lines(ours), lines(theirs));
        if a != b {
            let place = match sorted(a.clone()) == sorted(b.clone()) {
                true => format!("header.{name}.order"),
                false => format!("header.{name}"),
            };
            found.push(difference(&place, a.join(" // "), b.join(" // ")));
        }
    }
    let (a, b) = (normal::body(&ours.body), normal::body(&theirs.body));
    let mut bodies = Vec::new();
    let causes = |v: &Value| {
        v["details"]["causes"]
            .as_array()
            .cloned()
            .unwrap_or_default()
    };
    let (first, second) = (causes(&a), causes(&b));
    let texts = |all: &[Value]| sorted(all.iter().map(Value::to_string).collect());
    if first != second && texts(&first) == texts(&second) {
        let shown = |all: &[Value]| Value::Array(all.to_vec()).to_string();
        bodies.push(difference(
            "body.details.causes.order",
            shown(&first),
            shown(&second),
        ));
        found.extend(bodies);
        return found;
    }
    values("body", &a, &b, &mut bodies);
    // The message only repeats the causes.
    if bodies
        .iter()
        .any(|d| d.at.starts_with("body.details.causes"))
    {
        bodies.retain(|d| d.at != "body.message");
    }
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

fn sorted(mut lines: Vec<String>) -> Vec<String> {
    lines.sort();
    lines
}

fn difference(at: &str, ours: String, theirs: String) -> Difference {
    let same = ours.chars().zip(theirs.chars()).take_while(|(a, b)| a == b);
    let same = same.count();
    Difference {
        at: at.to_owned(),
        ours: cut(&ours, same),
        theirs: cut(&theirs, same),
    }
}

/// What is shown of a text that is like the other one for so many characters: it begins shortly before they part.
fn cut(text: &str, same: usize) -> String {
    let skipped = if same > TEXT_MAX / 2 {
        same - TEXT_BEFORE
    } else {
        0
    };
    let shown: String = text.chars().skip(skipped).take(TEXT_MAX).collect();
    let head = if skipped > 0 { "..." } else { "" };
    let tail = if text.chars().count() > skipped + TEXT_MAX {
        "..."
    } else {
        ""
    };
    format!("{head}{shown}{tail}")
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
