//! Makes equal what two servers cannot have in common: times, uids, revisions, drawn addresses, ports and names.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

/// What is replaced in every text, and by what.
static REPLACED: LazyLock<Vec<(Regex, &'static str)>> = LazyLock::new(|| {
    let rules = [
        (
            r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}(\.[0-9]+)?Z",
            "<time>",
        ),
        (
            r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
            "<uid>",
        ),
        (r"\b10\.96\.[0-9]{1,3}\.[0-9]{1,3}\b", "<clusterIP>"),
        (r":3[0-2][0-9]{3}/", ":<nodePort>/"),
        (r"127\.0\.0\.1:[0-9]+", "<server>"),
        (
            r"-generated-[bcdfghjklmnpqrstvwxz2456789]{5}\b",
            "-generated-<random>",
        ),
        (
            r"\bkube-api-access-[bcdfghjklmnpqrstvwxz2456789]{5}\b",
            "kube-api-access-<random>",
        ),
        (
            r#"(\\?"resourceVersion\\?"):\\?"[0-9]+\\?""#,
            "$1:<revision>",
        ),
        (
            r#"resourceVersion: "[0-9]+""#,
            "resourceVersion: <revision>",
        ),
        (r"current: [0-9]+$", "current: <revision>"),
        (
            r"ResourceVersion in record \([0-9]+\)",
            "ResourceVersion in record (<revision>)",
        ),
        (
            r"ResourceVersion in object meta: [0-9]+",
            "ResourceVersion in object meta: <revision>",
        ),
        // Go's differ mixes in spaces that do not break, so that nobody takes its text for a format.
        ("\u{a0}", " "),
    ];
    let compiled = rules.map(|(pattern, by)| Regex::new(pattern).ok().map(|r| (r, by)));
    compiled.into_iter().flatten().collect()
});

static AGE: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new("^([0-9]{1,2}s|[0-9]+y([0-9]+d)?)$").ok());

/// A text with what differs by nature replaced.
pub fn text(text: &str) -> String {
    let mut out = text.to_owned();
    for (pattern, by) in REPLACED.iter() {
        if pattern.is_match(&out) {
            out = pattern.replace_all(&out, *by).into_owned();
        }
    }
    if AGE.as_ref().is_some_and(|age| age.is_match(&out)) {
        out = "<age>".into();
    }
    out
}

/// A body as a value: JSON, a sequence of JSON documents, or text.
pub fn body(bytes: &[u8]) -> Value {
    let documents = serde_json::Deserializer::from_slice(bytes).into_iter::<Value>();
    let parsed: Result<Vec<Value>, _> = documents.collect();
    match parsed {
        Ok(mut all) if all.len() == 1 => {
            let mut one = all.remove(0);
            without_type_checking(&mut one);
            value("", &mut one);
            one
        }
        Ok(all) if !all.is_empty() => {
            let mut all = Value::Array(all);
            value("", &mut all);
            all
        }
        _ => Value::String(text(&String::from_utf8_lossy(bytes))),
    }
}

/// Takes out of a policy, or a list of them, what is noted when its types were checked: by a controller that is not there
/// beside upstream's API server, and here some moment after the write.
fn without_type_checking(body: &mut Value) {
    const CHECKER: &str = "validatingadmissionpolicy-status";
    let one = |policy: &mut Value| {
        let managers = policy.pointer_mut("/metadata/managedFields");
        if let Some(managers) = managers.and_then(Value::as_array_mut) {
            managers.retain(|entry| entry["manager"] != CHECKER);
        }
        if let Some(status) = policy.get_mut("status").and_then(Value::as_object_mut) {
            status.retain(|key, _| !matches!(key.as_str(), "observedGeneration" | "typeChecking"));
        }
    };
    match body["kind"].as_str() {
        Some("ValidatingAdmissionPolicy" | "PartialObjectMetadata") => one(body),
        Some("ValidatingAdmissionPolicyList" | "PartialObjectMetadataList") => {
            let items = body.get_mut("items").and_then(Value::as_array_mut);
            items.into_iter().flatten().for_each(one);
        }
        Some("Table") => {
            let rows = body.get_mut("rows").and_then(Value::as_array_mut);
            let objects = rows
                .into_iter()
                .flatten()
                .filter_map(|row| row.get_mut("object"));
            objects.for_each(one);
        }
        _ => {}
    }
}

fn value(key: &str, at: &mut Value) {
    match at {
        Value::Object(map) => {
            for (key, inner) in map.iter_mut() {
                value(key, inner);
            }
        }
        Value::Array(list) => {
            list.iter_mut().for_each(|inner| value(key, inner));
            if key == "managedFields" {
                list.sort_by_key(|entry| {
                    let text = |k: &str| entry[k].as_str().unwrap_or_default().to_owned();
                    (
                        text("manager"),
                        text("operation"),
                        text("subresource"),
                        text("apiVersion"),
                    )
                });
            }
        }
        Value::String(s) => {
            *s = match key {
                "resourceVersion" if !s.is_empty() => "<revision>".into(),
                "continue" if !s.is_empty() => "<continue>".into(),
                _ => text(s),
            }
        }
        Value::Number(_) if matches!(key, "nodePort" | "healthCheckNodePort") => {
            *at = Value::String("<nodePort>".into());
        }
        _ => {}
    }
}
