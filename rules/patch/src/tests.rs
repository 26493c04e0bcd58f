//! Fixtures for what upstream answers with less detail than the functions here have.

use crate::{PatchError, fields_text, json, merge};
use corten_core::Value;
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
