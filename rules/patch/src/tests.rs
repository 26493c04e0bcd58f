//! Fixtures for what upstream answers with less detail than the functions here have.

use crate::{PatchError, fields_text, json, merge};
use corten_api::meta::v1::{ManagedFieldsEntry, ObjectMeta};
use corten_core::{List, Value};
use expect_test::{Expect, expect};

fn parse(text: &str) -> Value {
    corten_core::json_text::parse(text.as_bytes()).unwrap()
}

fn show(result: Result<Value, PatchError>) -> String {
    match result {
        Ok(value) => value.to_string(),
        Err(error) => format!("{error:?}"),
    }
}

fn json_becomes(doc: &str, patch: &str, expected: Expect) {
    expected.assert_eq(&show(json(parse(doc), &parse(patch))));
}

#[test]
fn json_operations() {
    let doc = r#"{"a":{"b":[1,2,3]},"x/y":1,"~":2}"#;
    json_becomes(doc, "[]", expect![[r#"{"a":{"b":[1,2,3]},"x/y":1,"~":2}"#]]);
    json_becomes(
        doc,
        r#"[{"op":"move","from":"/a/b/0","path":"/c"},{"op":"copy","from":"/a","path":"/d"}]"#,
        expect![[r#"{"a":{"b":[2,3]},"c":1,"d":{"b":[2,3]},"x/y":1,"~":2}"#]],
    );
    json_becomes(
        doc,
        r#"[{"op":"remove","path":"/x~1y"},{"op":"test","path":"/~0","value":2},{"op":"replace","path":"/~0","value":3}]"#,
        expect![[r#"{"a":{"b":[1,2,3]},"~":3}"#]],
    );
    json_becomes(
        doc,
        r#"[{"op":"add","path":"/a/b/-1","value":9},{"op":"add","path":"/a/b/-","value":8},{"op":"remove","path":"/a/b/-3"}]"#,
        expect![[r#"{"a":{"b":[1,2,9,8]},"x/y":1,"~":2}"#]],
    );
    json_becomes(
        doc,
        r#"[{"op":"replace","path":"","value":{"q":1}}]"#,
        expect![[r#"{"q":1}"#]],
    );
}

#[test]
fn json_refusals() {
    let doc = r#"{"a":{"b":[1]}}"#;
    let refused = |patch: &str, expected: Expect| json_becomes(doc, patch, expected);
    refused(
        r#"[{"op":"test","path":"/a/b/0","value":2}]"#,
        expect![[r#"Invalid("testing value /a/b/0 failed: test failed")"#]],
    );
    refused(
        r#"[{"op":"add","path":"/x/y","value":2}]"#,
        expect![[
            r#"Invalid("add operation does not apply: doc is missing path: \"/x/y\": missing value")"#
        ]],
    );
    refused(
        r#"[{"op":"remove","path":"/x"}]"#,
        expect![[
            r#"Invalid("error in remove for path: '/x': Unable to remove nonexistent key: x: missing value")"#
        ]],
    );
    refused(
        r#"[{"op":"replace","path":"/a/b/7","value":2}]"#,
        expect![[
            r#"Invalid("replace operation does not apply: doc is missing key: /a/b/7: missing value")"#
        ]],
    );
    refused(
        r#"[{"op":"add","path":"/a/b/x","value":2}]"#,
        expect![[
            r#"Invalid("error in add for path: '/a/b/x': value was not a proper array index: 'x': strconv.Atoi: parsing \"x\": invalid syntax")"#
        ]],
    );
    refused(
        r#"[{"op":"nap","path":"/a"}]"#,
        expect![[r#"Invalid("Unexpected kind: nap")"#]],
    );
}

#[test]
fn merge_prunes_nulls_of_what_is_added() {
    let becomes = |doc: &str, patch: &str, expected: Expect| {
        expected.assert_eq(&show(merge(parse(doc), &parse(patch))));
    };
    becomes(
        r#"{"a":{"b":1,"c":2}}"#,
        r#"{"a":{"b":null},"d":null}"#,
        expect![[r#"{"a":{"c":2}}"#]],
    );
    becomes(
        "{}",
        r#"{"a":{"b":null,"c":[{"d":null},null]}}"#,
        expect![[r#"{"a":{"c":[{},null]}}"#]],
    );
    becomes(
        r#"{"a":{"x":1}}"#,
        r#"{"a":[{"d":null}]}"#,
        expect![[r#"{"a":[{"d":null}]}"#]],
    );
    becomes("{}", "null", expect![[r#"Bad("Invalid JSON Patch")"#]]);
}

#[test]
fn numeric_keys_are_ordered_by_size() {
    let fields = r#"{"f:ports":{"k:{\"port\":1000}":{"f:port":{}},"k:{\"port\":443}":{".":{},"f:port":{}},"k:{\"port\":80}":{}},"f:a":{}}"#;
    let text = fields_text(&parse(fields));
    expect![[r#"{"f:a":{},"f:ports":{"k:{\"port\":80}":{},"k:{\"port\":443}":{".":{},"f:port":{}},"k:{\"port\":1000}":{"f:port":{}}}}"#]]
        .assert_eq(&String::from_utf8_lossy(text.as_bytes()));
}

fn deployment() -> crate::schema::Type<'static> {
    let kind = corten_api::kind_info(corten_api::Gvk::parse("apps/v1", "Deployment"));
    crate::schema::Type::root(crate::Schema::Table(kind.unwrap().msg()))
}

#[test]
fn owners_below_an_atomic_place_own_the_place() {
    let granular = r#"{"f:spec":{"f:replicas":{},"f:selector":{"f:matchLabels":{"f:a":{}}}}}"#;
    let set = crate::fields::FieldSet::parse(&parse(granular)).unwrap();
    let now = crate::typed::reconcile(deployment(), &set).unwrap();
    expect![[r#"{"f:spec":{"f:replicas":{},"f:selector":{}}}"#]]
        .assert_eq(&now.to_value().to_string());
    assert_eq!(crate::typed::reconcile(deployment(), &now), None);
}

#[test]
fn a_resize_owns_resources_only() {
    let (text, now) = (
        r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","uid":"u","managedFields":[
        {"manager":"a","operation":"Update","apiVersion":"v1","fieldsType":"FieldsV1","fieldsV1":{"f:metadata":{"f:labels":{"f:l":{}}}}}]},
        "spec":{"containers":[{"name":"c","image":"i"}]}}"#,
        corten_core::Time::from_unix(9),
    );
    let live = parse(text);
    let new = parse(&text.replace(
        r#""image":"i""#,
        r#""image":"j","resources":{"limits":{"cpu":"1"}}"#,
    ));
    let kind = corten_api::kind_info(corten_api::Gvk::parse("v1", "Pod"));
    let list = crate::track(&crate::Track {
        live: Some(&live),
        new: &new,
        schema: crate::Schema::Table(kind.unwrap().msg()),
        manager: "b",
        subresource: "resize",
        now: &now,
    });
    expect![[r#"{"f:spec":{"f:containers":{"k:{\"name\":\"c\"}":{"f:resources":{".":{},"f:limits":{".":{},"f:cpu":{}}}}}}}"#]]
        .assert_eq(&list[1]["fieldsV1"].to_string());
}

/// managedFields as entries, from JSON.
fn entries(text: &str) -> List<ManagedFieldsEntry> {
    let mut holder = Value::map();
    holder.set(&["managedFields"], parse(text));
    let meta = corten_core::from_value::<ObjectMeta>(&holder).unwrap();
    meta.managed_fields
}

#[test]
fn entries_are_tracked_as_values_are() {
    let lists = [
        "null",
        r#"[{}]"#,
        r#"[{"manager":"a","operation":"Update","apiVersion":"v1","time":"2026-01-01T00:00:00Z","fieldsType":"FieldsV1",
            "fieldsV1":{"f:metadata":{"f:labels":{".":{},"f:l":{}}},"f:spec":{"f:containers":{"k:{\"name\":\"c\"}":{"f:image":{}}}}}},
           {"manager":"b","operation":"Update","apiVersion":"v1","time":"2026-01-02T00:00:00Z","fieldsType":"FieldsV1",
            "fieldsV1":{"f:spec":{"f:nodeName":{}}}},
           {"manager":"c","operation":"Update","apiVersion":"v1","time":"2026-01-03T00:00:00Z","fieldsType":"FieldsV1",
            "fieldsV1":{"f:status":{"f:phase":{}}},"subresource":"status"}]"#,
        r#"[{"manager":"z","operation":"Apply","apiVersion":"v1","fieldsType":"FieldsV1","fieldsV1":{"f:metadata":{"f:labels":{"f:l":{}}}}},
           {"manager":"a","operation":"Update","apiVersion":"v1","fieldsType":"FieldsV1","fieldsV1":{"f:spec":{"f:nodeName":{}}}}]"#,
        r#"[{"manager":"a","operation":"Delete","apiVersion":"v1","fieldsType":"FieldsV1","fieldsV1":{}}]"#,
    ];
    let objects = [
        r#"{"metadata":{"uid":"u","labels":{"l":"1"}},"spec":{"nodeName":"n","containers":[{"name":"c","image":"i"}]},"status":{"phase":"A"}}"#,
        r#"{"metadata":{"uid":"u","labels":{"l":"2"}},"spec":{"nodeName":"n","containers":[{"name":"c","image":"i"}]},"status":{"phase":"A"}}"#,
        r#"{"metadata":{"uid":"u"},"spec":{"nodeName":"m","containers":[{"name":"c","image":"j"}]},"status":{"phase":"B"}}"#,
        r#"{"metadata":{"uid":"u","annotations":{"n":"1"}},"spec":{"containers":[{"name":"d"}]}}"#,
    ];
    let kind = corten_api::kind_info(corten_api::Gvk::parse("v1", "Pod")).unwrap();
    let now = corten_core::Time::from_unix(9);
    let of = |object: &str, managers: Option<&str>| {
        let mut object = parse(object);
        object.set(&["apiVersion"], "v1");
        object.set(&["kind"], "Pod");
        if let Some(managers) = managers {
            object.set(&["metadata", "managedFields"], parse(managers));
        }
        object
    };
    for [live, new, before, sent, part] in all_of(&objects, &lists) {
        let whole = [of(live, Some(before)), of(new, Some(sent))];
        let bare = [of(live, None), of(new, None)];
        let track = crate::Track {
            live: Some(&whole[0]),
            new: &whole[1],
            schema: crate::Schema::Table(kind.msg()),
            manager: "a",
            subresource: part,
            now: &now,
        };
        let list = crate::track(&track).to_string();
        let track = crate::Track {
            live: Some(&bare[0]),
            new: &bare[1],
            ..track
        };
        let made = crate::track_entries(&track, &entries(before), &entries(sent));
        assert_eq!(made, entries(&list), "{live}\n{new}\n{before}\n{sent}");
    }
}

/// Every two objects with every two lists, as the whole object and as its status.
fn all_of<'a>(objects: &[&'a str], lists: &[&'a str]) -> Vec<[&'a str; 5]> {
    let mut out = Vec::new();
    for (live, new) in objects
        .iter()
        .flat_map(|a| objects.iter().map(move |b| (a, b)))
    {
        for (before, sent) in lists.iter().flat_map(|a| lists.iter().map(move |b| (a, b))) {
            out.extend(["", "status"].map(|part| [*live, *new, *before, *sent, part]));
        }
    }
    out
}

#[test]
fn copies_that_double_end_early() {
    let doc = corten_core::json_text::parse(br#"{"a":["0123456789"]}"#).unwrap();
    let double = r#"{"op":"copy","from":"/a","path":"/a/0"}"#;
    let patch = format!("[{}]", vec![double; 64].join(","));
    let patch = corten_core::json_text::parse(patch.as_bytes()).unwrap();
    let refused = json(doc, &patch).unwrap_err().to_string();
    assert!(
        refused.contains("accumulated size increase of copy"),
        "{refused}"
    );
}
