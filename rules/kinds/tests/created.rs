//! New objects of the core group against what upstream's API server answered for them: each line of
//! `core/created.json` has what was sent, and either the object or the errors that came back.

use corten_api::{Object, resource_of_kind};
use corten_core::{Time, Value, json_text};
use corten_kinds::{Context, strategy, validate_metadata};
use corten_meta::Snapshot;

/// Members that the API server or admission fill in, or that are of the moment.
const ASSIGNED: [&str; 13] = [
    "clusterIP",
    "clusterIPs",
    "ipFamilies",
    "ipFamilyPolicy",
    "nodePort",
    "creationTimestamp",
    "lastTransitionTime",
    "lastPhaseTransitionTime",
    "priority",
    "preemptionPolicy",
    "tolerations",
    "taints",
    "finalizers",
];

fn create(input: &Value) -> (Object, Vec<String>) {
    let mut object = Object::from_value(input).expect("fixtures hold built-in kinds");
    let (group, kind) = (object.gvk().group.to_owned(), object.kind().to_owned());
    let strategy = strategy(&group, &kind);
    let snapshot = Snapshot::new();
    let cx = Context {
        snapshot: &snapshot,
        now: Time::from_unix(1_790_000_000),
        caller: corten_kinds::Caller {
            name: "admin",
            ..corten_kinds::Caller::default()
        },
        random: 1,
    };
    strategy.default(&mut object);
    strategy.prepare_create(&cx, &mut object);
    let namespaced = resource_of_kind(object.gvk()).is_some_and(|r| r.namespaced);
    let mut errors = validate_metadata(
        object.meta(),
        namespaced,
        strategy,
        strategy.fixed_name(&object),
    );
    errors.extend(strategy.validate_create(&cx, &object));
    let mut texts: Vec<String> = errors
        .iter()
        .map(|e| format!("{}: {}", e.field, e.body()))
        .collect();
    texts.sort();
    texts.dedup();
    (object, texts)
}

/// Without empty members and what the API server assigns.
fn bare(value: &Value) -> Value {
    match value {
        Value::Map(map) => {
            let kept = map.iter().filter(|(k, _)| !ASSIGNED.contains(&k.as_str()));
            let kept = kept.map(|(k, v)| (k.clone(), bare(v)));
            Value::Map(kept.filter(|(_, v)| !is_empty(v)).collect())
        }
        Value::List(list) => Value::List(list.iter().map(bare).collect()),
        other => other.clone(),
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Map(map) => map.is_empty(),
        Value::Str(text) => text.is_empty(),
        Value::List(list) => list.is_empty(),
        _ => false,
    }
}

fn differences(path: &str, ours: &Value, theirs: &Value, out: &mut Vec<String>) {
    match (ours, theirs) {
        (Value::Map(a), Value::Map(b)) => {
            let keys: std::collections::BTreeSet<_> = a.keys().chain(b.keys()).collect();
            for key in keys {
                let (x, y) = (
                    a.get(key).unwrap_or(&Value::Null),
                    b.get(key).unwrap_or(&Value::Null),
                );
                differences(&format!("{path}.{key}"), x, y, out);
            }
        }
        (Value::List(a), Value::List(b)) if a.len() == b.len() => {
            for (i, (x, y)) in a.iter().zip(b).enumerate() {
                differences(&format!("{path}[{i}]"), x, y, out);
            }
        }
        (a, b) if a != b => {
            out.push(format!(
                "{path}: ours {} upstream {}",
                json_text::print(a),
                json_text::print(b)
            ));
        }
        _ => {}
    }
}

/// Columns and cells; ages, addresses and node ports are of the moment.
fn table(case: &Value, object: &Object, out: &mut Vec<String>) {
    let Some(theirs) = case.get("columns").and_then(Value::as_list) else {
        return;
    };
    let strategy = strategy(object.gvk().group, object.kind());
    let columns = strategy.columns();
    let text = |v: &Value, key: &str| v.str_at(&[key]).to_owned();
    for (ours, theirs) in columns.iter().zip(theirs) {
        let priority = theirs.get("priority").and_then(Value::as_i64).unwrap_or(0);
        let same = ours.name == text(theirs, "name")
            && ours.kind == text(theirs, "type")
            && ours.format == text(theirs, "format")
            && ours.description == text(theirs, "description")
            && i64::from(ours.priority) == priority;
        if !same {
            out.push(format!("  column {} differs", ours.name));
        }
    }
    let ours = strategy.cells(object, &Time::from_unix(1_790_000_000));
    let cells = case
        .get("cells")
        .and_then(Value::as_list)
        .unwrap_or_default();
    if columns.len() != theirs.len() || ours.len() != cells.len() {
        out.push("  the number of columns differs".to_owned());
    }
    for ((column, ours), theirs) in columns.iter().zip(&ours).zip(cells) {
        let moment = matches!(
            column.name,
            "Age" | "Cluster-IP" | "Created At" | "Last Seen" | "First Seen"
        );
        if !moment && ours != theirs {
            let (a, b) = (json_text::print(ours), json_text::print(theirs));
            out.push(format!("  cell {}: ours {a} upstream {b}", column.name));
        }
    }
}

fn check(case: &Value, out: &mut Vec<String>) {
    let input = case.get("input").expect("every case has an input");
    let (object, ours) = create(input);
    let mut found = Vec::new();
    let theirs: Vec<String> = match case.get("errors").and_then(Value::as_list) {
        Some(list) => list
            .iter()
            .filter_map(|e| e.as_str().map(str::to_owned))
            .collect(),
        None => vec![],
    };
    found.extend(
        ours.iter()
            .filter(|e| !theirs.contains(e))
            .map(|e| format!("  only ours: {e}")),
    );
    found.extend(
        theirs
            .iter()
            .filter(|e| !ours.contains(e))
            .map(|e| format!("  only upstream's: {e}")),
    );
    if let Some(output) = case.get("output") {
        let object = object.to_value().expect("a typed object is a value");
        differences("  ", &bare(&object), &bare(output), &mut found);
    }
    table(case, &object, &mut found);
    if !found.is_empty() {
        let text = json_text::print(input);
        out.push(format!(
            "{}\n{}",
            &text[..text.len().min(300)],
            found.join("\n")
        ));
    }
}

#[test]
fn new_objects_become_and_fail_as_upstreams() {
    let cases = json_text::parse(include_bytes!("core/created.json")).expect("the fixture is JSON");
    let mut out = Vec::new();
    let cases = cases.as_list().expect("the fixture is a list");
    cases.iter().for_each(|case| check(case, &mut out));
    assert!(cases.len() > 80);
    assert!(
        out.is_empty(),
        "{} of {} differ:\n{}",
        out.len(),
        cases.len(),
        out.join("\n")
    );
}
