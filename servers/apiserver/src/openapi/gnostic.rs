//! OpenAPI v2 as protobuf, in the message layout of `openapi.v2.Document`. Invariant: it says what the JSON document
//! says; extensions and free values travel as YAML text. Leaves out what the document never has (forms, headers, OAuth).

use serde_json::Value;

use super::wire::{Writer, elements, extensions, members};

/// The document of a JSON document.
pub(super) fn document(json: &Value) -> Vec<u8> {
    let mut out = Writer::default();
    out.text(1, json.get("swagger"));
    out.part(2, json.get("info"), |info, out| {
        out.text(1, info.get("title"));
        out.text(2, info.get("version"));
    });
    out.part(8, json.get("paths"), |paths, out| {
        for (name, item) in members(paths) {
            out.named(2, name, |out| path_item(item, out));
        }
    });
    out.part(9, json.get("definitions"), |all, out| {
        for (name, value) in members(all) {
            out.named(1, name, |out| schema(value, out));
        }
    });
    for requirement in elements(json.get("security")) {
        out.message(12, |out| {
            for (name, scopes) in members(requirement) {
                out.named(1, name, |out| out.texts(1, Some(scopes)));
            }
        });
    }
    out.part(13, json.get("securityDefinitions"), |all, out| {
        for (name, key) in members(all) {
            // The one kind of security there is: an API key.
            out.named(1, name, |out| {
                out.message(2, |out| {
                    out.text(1, key.get("type"));
                    out.text(2, key.get("name"));
                    out.text(3, key.get("in"));
                    out.text(4, key.get("description"));
                });
            });
        }
    });
    out.0
}

fn path_item(item: &Value, out: &mut Writer) {
    let methods = ["get", "put", "post", "delete", "options", "head", "patch"];
    for (method, number) in methods.iter().zip(2..) {
        out.part(number, item.get(*method), operation);
    }
    parameters(9, item, out);
    extensions(10, item, out);
}

fn operation(operation: &Value, out: &mut Writer) {
    out.texts(1, operation.get("tags"));
    out.text(2, operation.get("summary"));
    out.text(3, operation.get("description"));
    out.text(5, operation.get("operationId"));
    out.texts(6, operation.get("produces"));
    out.texts(7, operation.get("consumes"));
    parameters(8, operation, out);
    out.part(9, operation.get("responses"), |all, out| {
        for (code, response) in members(all) {
            out.named(1, code, |out| {
                out.message(1, |out| {
                    out.text(1, response.get("description"));
                    out.part(2, response.get("schema"), |value, out| {
                        out.message(1, |out| schema(value, out));
                    });
                    extensions(5, response, out);
                });
            });
        }
    });
    out.texts(10, operation.get("schemes"));
    out.boolean(11, operation.get("deprecated"));
    extensions(13, operation, out);
}

fn parameters(number: u32, of: &Value, out: &mut Writer) {
    for parameter in elements(of.get("parameters")) {
        out.message(number, |out| match parameter.get("$ref") {
            Some(reference) => out.message(2, |out| out.text(1, Some(reference))),
            None => out.message(1, |out| one_parameter(parameter, out)),
        });
    }
}

fn one_parameter(parameter: &Value, out: &mut Writer) {
    let get = |key: &str| parameter.get(key);
    match get("in").and_then(Value::as_str) {
        Some("body") => out.message(1, |out| {
            out.text(1, get("description"));
            out.text(2, get("name"));
            out.text(3, get("in"));
            out.boolean(4, get("required"));
            out.part(5, get("schema"), schema);
            extensions(6, parameter, out);
        }),
        // The two layouts differ by one field that query parameters have after the name.
        place => out.message(2, |out| {
            let (which, after) = match place {
                Some("path") => (4, 0),
                _ => (3, 1),
            };
            out.message(which, |out| {
                out.boolean(1, get("required"));
                out.text(2, get("in"));
                out.text(3, get("description"));
                out.text(4, get("name"));
                out.text(5 + after, get("type"));
                out.text(6 + after, get("format"));
                out.boolean(19 + after, get("uniqueItems"));
                extensions(22 + after, parameter, out);
            });
        }),
    }
}

fn schema(schema_of: &Value, out: &mut Writer) {
    let get = |key: &str| schema_of.get(key);
    for (number, key) in [(1, "$ref"), (2, "format"), (3, "title"), (4, "description")] {
        out.text(number, get(key));
    }
    out.any(5, get("default"));
    out.double(6, get("multipleOf"));
    out.double(7, get("maximum"));
    out.boolean(8, get("exclusiveMaximum"));
    out.double(9, get("minimum"));
    out.boolean(10, get("exclusiveMinimum"));
    out.integer(11, get("maxLength"));
    out.integer(12, get("minLength"));
    out.text(13, get("pattern"));
    out.integer(14, get("maxItems"));
    out.integer(15, get("minItems"));
    out.boolean(16, get("uniqueItems"));
    out.integer(17, get("maxProperties"));
    out.integer(18, get("minProperties"));
    out.texts(19, get("required"));
    for value in elements(get("enum")) {
        out.any(20, Some(value));
    }
    out.part(21, get("additionalProperties"), |value, out| match value {
        Value::Bool(_) => out.varint_field(2, u64::from(value == &Value::Bool(true))),
        value => out.message(1, |out| schema(value, out)),
    });
    match get("type") {
        Some(Value::String(_)) => out.message(22, |out| out.text(1, get("type"))),
        Some(Value::Array(_)) => out.message(22, |out| out.texts(1, get("type"))),
        _ => {}
    }
    out.part(23, get("items"), |items, out| match items {
        Value::Array(all) => all
            .iter()
            .for_each(|one| out.message(1, |out| schema(one, out))),
        one => out.message(1, |out| schema(one, out)),
    });
    for one in elements(get("allOf")) {
        out.message(24, |out| schema(one, out));
    }
    out.part(25, get("properties"), |all, out| {
        for (name, value) in members(all) {
            out.named(1, name, |out| schema(value, out));
        }
    });
    out.part(29, get("externalDocs"), |docs, out| {
        out.text(1, docs.get("description"));
        out.text(2, docs.get("url"));
    });
    out.any(30, get("example"));
    extensions(31, schema_of, out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_document_in_the_layout_of_gnostic() {
        let bytes = document(&json!({
            "swagger": "2.0",
            "paths": {"/a": {"get": {"operationId": "b", "x-kubernetes-action": "get"}}},
            "definitions": {"D": {"type": "object", "properties": {"p": {"minimum": 1, "enum": ["E"]}}}},
        }));
        let field = |number: u8, parts: &[&[u8]]| {
            let body = parts.concat();
            [&[number << 3 | 2, body.len() as u8][..], &body[..]].concat()
        };
        let text = |number: u8, text: &str| field(number, &[text.as_bytes()]);
        let action = field(
            13,
            &[
                &text(1, "x-kubernetes-action"),
                &field(2, &[&text(2, "get\n")]),
            ],
        );
        let get = field(2, &[&text(5, "b"), &action]);
        let paths = field(8, &[&field(2, &[&text(1, "/a"), &field(2, &[&get])])]);
        let expected = [text(1, "2.0"), paths].concat();
        assert_eq!(bytes[..expected.len()], expected);
        assert!(bytes.windows(8).any(|w| w == 1.0f64.to_le_bytes()));
        assert!(bytes.windows(2).any(|w| w == b"E\n"));
    }
}
