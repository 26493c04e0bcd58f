//! Replays writes that upstream's API server answered (tests/fixtures): the same owners, texts and objects must come out.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use corten_api::{Gvk, kind_info};
use corten_core::{Time, Value};
use corten_meta::GroupVersionKind;
use corten_patch::{Apply, PatchError, Schema, Track};

fn parse(text: &str) -> Value {
    corten_core::json_text::parse(text.as_bytes()).unwrap()
}

struct Replay {
    schema: Option<Value>,
    live: Option<Value>,
}

impl Replay {
    fn schema(&self, object: &Value) -> Schema<'_> {
        match &self.schema {
            Some(schema) => Schema::OpenApi(schema),
            None => {
                let gvk = Gvk::parse(object.str_at(&["apiVersion"]), object.str_at(&["kind"]));
                kind_info(gvk).map_or(Schema::Free, |info| Schema::Table(info.msg()))
            }
        }
    }

    fn step(&mut self, at: &str, step: &Value) {
        let null = Value::Null;
        let body = if step["body"] == "null" {
            &null
        } else {
            &step["body"]
        };
        let result = &step["result"];
        if step["fresh"].as_bool() == Some(true) {
            self.live = None;
        }
        let ok = step["code"].as_i64().unwrap() < 300;
        let how = step.str_at(&["do"]);
        match how {
            _ if step.get("scale").is_some() => self.scale(at, step),
            "apply" => self.apply(at, step),
            "create" | "update" => {
                let sent = body["metadata"]["managedFields"].clone();
                self.track(at, step, sent);
            }
            _ => {
                let live = self.live.clone().unwrap();
                let gvk = GroupVersionKind {
                    group: "".into(),
                    version: "".into(),
                    kind: "".into(),
                };
                let patched = match (how, self.schema(&live)) {
                    ("json", _) => corten_patch::json(live, body),
                    ("strategic", Schema::Table(msg)) => {
                        corten_patch::strategic(live, body, msg, &gvk)
                    }
                    _ => corten_patch::merge(live, body),
                };
                let message = result.str_at(&["message"]);
                let rejected = "the server rejected our request due to an error in our request";
                match (&patched, step["code"].as_i64()) {
                    // Refused by validation, after the patch.
                    (Ok(_), Some(422)) if message.contains(" is invalid: ") => return,
                    (Err(PatchError::Invalid(_)), Some(422)) => {
                        assert_eq!(message, rejected, "{at}")
                    }
                    (Err(PatchError::Bad(text)), Some(400..)) => assert_eq!(text, message, "{at}"),
                    _ => assert_eq!(patched.is_ok(), ok, "{at}: {patched:?}"),
                }
                if let Ok(patched) = patched {
                    if step.get("subresource").is_none() {
                        let mut known = patched.clone();
                        if let (Schema::Table(msg), Some(map)) =
                            (self.schema(result), known.as_map_mut())
                        {
                            map.retain(|key, _| msg.field(key).is_some());
                        }
                        assert_within(at, &known, result);
                    }
                    self.track(at, step, patched["metadata"]["managedFields"].clone());
                }
            }
        }
        if ok {
            self.live = Some(result.clone());
        }
    }

    fn track(&self, at: &str, step: &Value, sent: Value) {
        let result = &step["result"];
        let mut new = result.clone();
        new.set(&["metadata", "managedFields"], sent);
        let now = latest(result);
        let list = corten_patch::track(&Track {
            live: self.live.as_ref(),
            new: &new,
            schema: self.schema(&new),
            manager: step.str_at(&["manager"]),
            subresource: step.str_at(&["subresource"]),
            now: &now,
        });
        assert_same(at, &list, &result["metadata"]["managedFields"]);
    }

    /// A merge patch of the Scale.
    fn scale(&self, at: &str, step: &Value) {
        let result = &step["result"];
        let path = ["spec", "replicas"];
        let parent = &self.live.as_ref().unwrap()["metadata"]["managedFields"];
        let mut live = step["scale"].clone();
        live.set(
            &path,
            self.live.as_ref().unwrap()["spec"]["replicas"].clone(),
        );
        let managers = corten_patch::managers_of_scale(parent, &path);
        live.set(&["metadata", "managedFields"], managers);
        let now = latest(result);
        let list = corten_patch::track(&Track {
            live: Some(&live),
            new: &step["scale"],
            schema: self.schema(&live),
            manager: step.str_at(&["manager"]),
            subresource: "scale",
            now: &now,
        });
        let list = corten_patch::managers_from_scale(parent, &list, "apps/v1", &path);
        assert_same(at, &list, &result["metadata"]["managedFields"]);
    }

    fn apply(&self, at: &str, step: &Value) {
        let (body, result) = (&step["body"], &step["result"]);
        let now = latest(result);
        let applied = corten_patch::apply(&Apply {
            live: self.live.as_ref(),
            patch: body,
            schema: self.schema(body),
            manager: step.str_at(&["manager"]),
            subresource: step.str_at(&["subresource"]),
            force: step["force"].as_bool() == Some(true),
            now: &now,
        });
        match (applied, step["code"].as_i64().unwrap()) {
            (Ok(applied), 200 | 201) => {
                assert_within(at, &applied, result);
                assert_same(
                    at,
                    &applied["metadata"]["managedFields"],
                    &result["metadata"]["managedFields"],
                );
            }
            (Err(PatchError::Conflict(conflicts)), 409) => {
                assert_eq!(
                    PatchError::Conflict(conflicts.clone()).to_string(),
                    result.str_at(&["message"]),
                    "{at}"
                );
                let mut given: Vec<_> = conflicts
                    .into_iter()
                    .map(|c| (c.field, c.message))
                    .collect();
                let causes = result["details"]["causes"].as_list().unwrap();
                let mut wanted: Vec<_> = causes
                    .iter()
                    .map(|c| (c.str_at(&["field"]).into(), c.str_at(&["message"]).into()))
                    .collect();
                given.sort();
                wanted.sort();
                assert_eq!(given, wanted, "{at}");
            }
            // Refused by validation, after the merge.
            (Ok(_), 422) => {}
            (Err(error), 400..) => {
                assert_eq!(error.to_string(), result.str_at(&["message"]), "{at}")
            }
            (other, code) => panic!("{at}: upstream answered {code}: {result}\nhere: {other:?}"),
        }
    }
}

fn latest(result: &Value) -> Time {
    let entries = result["metadata"]["managedFields"].as_list().unwrap_or(&[]);
    let times = entries
        .iter()
        .filter_map(|e| Time::parse(e.str_at(&["time"])).ok());
    times.max().unwrap_or(Time::from_unix(1))
}

fn assert_same(at: &str, given: &Value, wanted: &Value) {
    let lines = |list: &Value| -> String {
        let entries = list.as_list().unwrap_or(&[]).iter();
        entries.map(|entry| format!("{entry}\n")).collect()
    };
    assert_eq!(
        lines(given),
        lines(wanted),
        "{at}:\n{}\nupstream:\n{}",
        lines(given),
        lines(wanted)
    );
}

/// All that `part` says is in `whole`, which has defaults and server-set members beside it.
fn assert_within(at: &str, part: &Value, whole: &Value) {
    match (part, whole) {
        (Value::Null, _) => {}
        // Quantities are written in their canonical form when they are stored.
        (Value::Float(_) | Value::Str(_), Value::Str(_)) if at.contains(" limits ") => {}
        // Admission adds some.
        (Value::List(_), _) if at.ends_with(" tolerations") || at.ends_with(" taints") => {}
        (Value::List(part), Value::Null) if part.is_empty() => {}
        (Value::Map(part), Value::Map(_)) => {
            for (key, value) in part.iter() {
                let server_set = [
                    "managedFields",
                    "resourceVersion",
                    "generation",
                    "time",
                    "stringData",
                ];
                let empty = value.as_map().is_some_and(|m| m.is_empty());
                if !server_set.contains(&key.as_str()) && !empty {
                    assert_within(&format!("{at} {key}"), value, &whole[key.as_str()]);
                }
            }
        }
        (Value::List(part), Value::List(whole)) => {
            assert_eq!(part.len(), whole.len(), "{at}: {part:?} {whole:?}");
            for (i, (part, whole)) in part.iter().zip(whole).enumerate() {
                assert_within(&format!("{at} {i}"), part, whole);
            }
        }
        (part, whole) => assert_eq!(part, whole, "{at}"),
    }
}

fn replay(name: &str, text: &str) {
    let recorded = parse(text);
    let mut replay = Replay {
        schema: recorded.get("schema").cloned(),
        live: None,
    };
    for (i, step) in recorded["steps"].as_list().unwrap().iter().enumerate() {
        let at = format!(
            "{name} step {i} ({} by {})",
            step.str_at(&["do"]),
            step.str_at(&["manager"])
        );
        replay.step(&at, step);
    }
}

macro_rules! replays {
    ($($name:ident)*) => { $(
        #[test]
        fn $name() {
            replay(stringify!($name), include_str!(concat!("fixtures/", stringify!($name), ".json")));
        }
    )* };
}

replays! { configmap deployment client_side service many_updaters custom custom_patch kinds strategic json_patch pod scale }
