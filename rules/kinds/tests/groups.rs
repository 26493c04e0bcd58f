//! Objects of all groups but the core one against what upstream's API server answered: each line of `groups/*.jsonl`
//! has what was posted, what came back (the object with its row, or errors), and updates with their answers.

use corten_api::{Object, resource_of_kind};
use corten_core::{Time, Value, json_text};
use corten_kinds::{
    Context, FieldError, Strategy, convert, strategy, validate_metadata, validate_metadata_update,
};
use corten_meta::{GroupVersionKind, Snapshot};
use std::path::Path;

/// When all of it happened, and the uid of every object in the fixtures.
const NOW: &str = "2026-11-21T00:00:00Z";
const UID: &str = "11111111-1111-1111-1111-111111111111";

struct Case {
    strategy: &'static dyn Strategy,
    snapshot: Snapshot,
}

impl Case {
    fn of(object: &Object) -> Case {
        let gvk = object.gvk();
        Case {
            strategy: strategy(gvk.group, gvk.kind),
            snapshot: Snapshot::new(),
        }
    }
    fn context(&self) -> Context<'_> {
        Context {
            snapshot: &self.snapshot,
            now: Time::parse(NOW).expect("the constant is a time"),
            caller: corten_kinds::Caller {
                name: "admin",
                ..corten_kinds::Caller::default()
            },
            random: 1,
        }
    }
    fn create(&self, object: &mut Object) -> Vec<FieldError> {
        object.meta_mut().uid = UID.into();
        object.meta_mut().creation_timestamp = self.context().now;
        self.strategy.default(object);
        self.strategy.prepare_create(&self.context(), object);
        let namespaced = resource_of_kind(object.gvk()).is_some_and(|r| r.namespaced);
        let mut errors = validate_metadata(
            object.meta(),
            namespaced,
            self.strategy,
            self.strategy.fixed_name(object),
        );
        errors.extend(self.strategy.validate_create(&self.context(), object));
        errors
    }
    fn update(&self, part: &str, new: &mut Object, old: &Object) -> Vec<FieldError> {
        let cx = self.context();
        self.strategy.default(new);
        self.strategy.prepare_update(&cx, part, new, old);
        // Each thing once, however often a kind says it.
        let mut errors: Vec<FieldError> = Vec::new();
        for error in validate_metadata_update(new.meta(), old.meta(), &[]) {
            if !errors.contains(&error) {
                errors.push(error);
            }
        }
        errors.extend(self.strategy.validate_update(&cx, part, new, old));
        errors
    }
}

fn texts(errors: &[FieldError]) -> Vec<String> {
    let mut all: Vec<String> = errors
        .iter()
        .map(|e| format!("{} {}: {}", e.reason(), e.field, e.body()))
        .collect();
    all.sort();
    all.dedup();
    all
}

fn expected_texts(errors: &Value) -> Vec<String> {
    let text = |e: &Value, i: usize| e[i].as_str().unwrap_or_default().to_owned();
    let mut all: Vec<String> = errors
        .as_list()
        .into_iter()
        .flatten()
        .map(|e| format!("{} {}: {}", text(e, 0), text(e, 1), text(e, 2)))
        .collect();
    all.sort();
    all.dedup();
    all
}

fn compare(path: &str, ours: &Value, theirs: &Value, out: &mut Vec<String>) {
    match (ours, theirs) {
        (Value::Map(a), Value::Map(b)) => {
            let keys: std::collections::BTreeSet<_> = a.keys().chain(b.keys()).collect();
            for key in keys.into_iter().filter(|k| *k != "managedFields") {
                let get = |m: &corten_core::ValueMap| m.get(key).cloned().unwrap_or(Value::Null);
                compare(&format!("{path}.{key}"), &get(a), &get(b), out);
            }
        }
        (Value::List(a), Value::List(b)) if a.len() == b.len() => {
            for (i, (a, b)) in a.iter().zip(b).enumerate() {
                compare(&format!("{path}[{i}]"), a, b, out);
            }
        }
        _ if ours != theirs => out.push(format!(
            "{path}: ours {} theirs {}",
            json_text::print(ours),
            json_text::print(theirs)
        )),
        _ => {}
    }
}

fn answer(errors: &[FieldError], object: &Object, case: &Value, out: &mut Vec<String>) {
    let Some(stored) = case.get("stored") else {
        let (ours, theirs) = (texts(errors), expected_texts(&case["errors"]));
        let only = |a: &[String], b: &[String]| -> Vec<String> {
            a.iter().filter(|t| !b.contains(t)).cloned().collect()
        };
        out.extend(
            only(&ours, &theirs)
                .iter()
                .map(|t| format!("only here: {t}")),
        );
        out.extend(
            only(&theirs, &ours)
                .iter()
                .map(|t| format!("only upstream: {t}")),
        );
        return;
    };
    out.extend(texts(errors).iter().map(|t| format!("not upstream: {t}")));
    let ours = object.to_value().expect("typed objects become values");
    compare("", &ours, stored, out);
}

fn row(case: &Case, object: &Object, theirs: &Value, out: &mut Vec<String>) {
    let columns = case.strategy.columns();
    let cells = case.strategy.cells(object, &case.context().now);
    let theirs = theirs.as_list().unwrap_or_default();
    if cells.len() != theirs.len() {
        out.push(format!("{} cells, upstream {}", cells.len(), theirs.len()));
    }
    for (i, (ours, theirs)) in cells.iter().zip(theirs).enumerate() {
        let name = columns.get(i).map_or("", |c| c.name);
        let of_the_moment =
            matches!(name, "Age" | "") || json_text::print(theirs).starts_with("\"0s");
        if ours != theirs && !of_the_moment {
            let (ours, theirs) = (json_text::print(ours), json_text::print(theirs));
            out.push(format!("cell {name}: ours {ours} theirs {theirs}"));
        }
    }
}

fn check(line: &str) -> Vec<String> {
    let case = json_text::parse(line.as_bytes()).expect("fixtures are JSON");
    let read = |v: &Value| Object::from_value(v).expect("fixtures hold built-in kinds");
    let mut object = read(&case["post"]);
    let name = format!("{} {}", object.kind(), object.meta().name);
    let rules = Case::of(&object);
    let mut out = Vec::new();
    let errors = rules.create(&mut object);
    answer(&errors, &object, &case, &mut out);
    if let Some(cells) = case.get("cells") {
        row(&rules, &object, cells, &mut out);
    }
    for (i, put) in case
        .get("puts")
        .and_then(Value::as_list)
        .into_iter()
        .flatten()
        .enumerate()
    {
        let (mut new, old) = (read(&put["put"]), read(&put["old"]));
        let errors = rules.update(put.str_at(&["part"]), &mut new, &old);
        let mut found = Vec::new();
        answer(&errors, &new, put, &mut found);
        out.extend(found.iter().map(|t| format!("update {i}: {t}")));
    }
    out.into_iter().map(|t| format!("{name}: {t}")).collect()
}

#[test]
fn answers_are_upstreams() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/groups");
    let mut found = Vec::new();
    let mut cases = 0;
    for entry in std::fs::read_dir(folder).expect("the fixtures are there") {
        let path = entry.expect("the folder can be listed").path();
        let text = std::fs::read_to_string(&path).expect("fixtures are text");
        for line in text.lines() {
            cases += 1;
            found.extend(check(line));
        }
    }
    assert!(cases > 50, "only {cases} cases");
    assert!(
        found.is_empty(),
        "{} differences:\n{}",
        found.len(),
        found.join("\n")
    );
}

fn to(api_version: &str, kind: &str) -> GroupVersionKind {
    let gvk = corten_api::Gvk::parse(api_version, kind);
    GroupVersionKind {
        group: gvk.group.into(),
        version: gvk.version.into(),
        kind: gvk.kind.into(),
    }
}

#[test]
fn autoscalers_survive_the_older_version() {
    let text = r#"{"apiVersion":"autoscaling/v2","kind":"HorizontalPodAutoscaler","metadata":{"name":"a"},
        "spec":{"scaleTargetRef":{"kind":"Deployment","name":"d","apiVersion":"apps/v1"},"minReplicas":1,"maxReplicas":5,
        "metrics":[{"type":"Pods","pods":{"metric":{"name":"m"},"target":{"type":"AverageValue","averageValue":"3"}}},
        {"type":"Resource","resource":{"name":"cpu","target":{"type":"Utilization","averageUtilization":60}}}],
        "behavior":{"scaleUp":{"stabilizationWindowSeconds":5,"selectPolicy":"Max",
        "policies":[{"type":"Pods","value":4,"periodSeconds":15}]}}},
        "status":{"currentReplicas":2,"desiredReplicas":3,"currentMetrics":[{"type":"Resource",
        "resource":{"name":"cpu","current":{"averageUtilization":70,"averageValue":"7m"}}}],
        "conditions":[{"type":"AbleToScale","status":"True","lastTransitionTime":"2026-11-21T00:00:00Z"}]}}"#;
    let value = json_text::parse(text.as_bytes()).expect("the text is JSON");
    let new = Object::from_value(&value).expect("the text is an autoscaler");
    let kind = "HorizontalPodAutoscaler";
    let old = convert(new.clone(), &to("autoscaling/v1", kind)).expect("both versions are known");
    let shown = old.to_value().expect("typed objects become values");
    assert_eq!(
        shown["spec"]["targetCPUUtilizationPercentage"].as_i64(),
        Some(60)
    );
    assert_eq!(
        shown["status"]["currentCPUUtilizationPercentage"].as_i64(),
        Some(70)
    );
    let back = convert(old, &to("autoscaling/v2", kind)).expect("both versions are known");
    assert_eq!(back.to_value(), new.to_value());
}

#[test]
fn events_have_one_form_in_the_store() {
    let text = r#"{"apiVersion":"events.k8s.io/v1","kind":"Event","metadata":{"name":"a","namespace":"b"},
        "regarding":{"kind":"Pod","name":"p"},"note":"hello","reason":"R","type":"Normal","action":"A",
        "reportingController":"c","reportingInstance":"i","eventTime":"2026-11-21T00:00:00.000000Z"}"#;
    let value = json_text::parse(text.as_bytes()).expect("the text is JSON");
    let event = Object::from_value(&value).expect("the text is an event");
    let core = convert(event.clone(), &to("v1", "Event")).expect("both versions are known");
    let shown = core.to_value().expect("typed objects become values");
    assert_eq!(shown["message"], "hello");
    assert_eq!(shown["involvedObject"]["name"], "p");
    let back = convert(core, &to("events.k8s.io/v1", "Event")).expect("both versions are known");
    assert_eq!(back.to_value(), event.to_value());
}
