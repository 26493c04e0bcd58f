//! OpenAPI v3 as protobuf, in the message layout of `openapi.v3.Document`. Invariant: it says what the JSON document says.
//! Leaves out what the document never has (links, callbacks, headers, OAuth).

use serde_json::Value;

use super::wire::{Writer, elements, extensions, members};

/// The document of a JSON document.
pub(super) fn document(json: &Value) -> Vec<u8> {
    let mut out = Writer::default();
    out.text(1, json.get("openapi"));
    out.part(2, json.get("info"), |info, out| {
        out.text(1, info.get("title"));
        out.text(2, info.get("description"));
        out.text(6, info.get("version"));
        extensions(7, info, out);
    });
    out.part(4, json.get("paths"), |paths, out| {
        for (name, item) in members(paths).filter(|(name, _)| name.starts_with('/')) {
            out.named(1, name, |out| path_item(item, out));
        }
        extensions(2, paths, out);
    });
    out.part(5, json.get("components"), |components, out| {
        out.part(1, components.get("schemas"), |all, out| {
            for (name, value) in members(all) {
                out.named(1, name, |out| schema_or_reference(value, out));
            }
        });
        out.part(7, components.get("securitySchemes"), |all, out| {
            for (name, scheme) in members(all) {
                out.named(1, name, |out| out.message(1, |out| security(scheme, out)));
            }
        });
    });
    out.0
}

fn security(scheme: &Value, out: &mut Writer) {
    let fields = [
        (1, "type"),
        (2, "description"),
        (3, "name"),
        (4, "in"),
        (5, "scheme"),
        (6, "bearerFormat"),
        (8, "openIdConnectUrl"),
    ];
    for (number, key) in fields {
        out.text(number, scheme.get(key));
    }
}

fn path_item(item: &Value, out: &mut Writer) {
    let texts = [(1, "$ref"), (2, "summary"), (3, "description")];
    for (number, key) in texts {
        out.text(number, item.get(key));
    }
    let methods = [
        "get", "put", "post", "delete", "options", "head", "patch", "trace",
    ];
    for (method, number) in methods.iter().zip(4..) {
        out.part(number, item.get(*method), operation);
    }
    parameters(13, item, out);
    extensions(14, item, out);
}

fn operation(operation: &Value, out: &mut Writer) {
    out.texts(1, operation.get("tags"));
    out.text(2, operation.get("summary"));
    out.text(3, operation.get("description"));
    out.text(5, operation.get("operationId"));
    parameters(6, operation, out);
    out.part(7, operation.get("requestBody"), |body, out| {
        or_reference(body, out, |out| {
            out.text(1, body.get("description"));
            content(2, body, out);
            out.boolean(3, body.get("required"));
            extensions(4, body, out);
        });
    });
    out.part(8, operation.get("responses"), |all, out| {
        out.part(1, all.get("default"), response);
        for (code, of) in members(all).filter(|(code, _)| *code != "default") {
            out.named(2, code, |out| response(of, out));
        }
    });
    out.boolean(10, operation.get("deprecated"));
    extensions(13, operation, out);
}

fn response(response: &Value, out: &mut Writer) {
    or_reference(response, out, |out| {
        out.text(1, response.get("description"));
        content(3, response, out);
        extensions(5, response, out);
    });
}

/// Media types and their schemas.
fn content(number: u32, of: &Value, out: &mut Writer) {
    out.part(number, of.get("content"), |all, out| {
        for (media, value) in members(all) {
            out.named(1, media, |out| {
                out.part(1, value.get("schema"), schema_or_reference);
                out.any(2, value.get("example"));
                extensions(5, value, out);
            });
        }
    });
}

fn parameters(number: u32, of: &Value, out: &mut Writer) {
    for parameter in elements(of.get("parameters")) {
        let get = |key: &str| parameter.get(key);
        out.message(number, |out| {
            or_reference(parameter, out, |out| {
                out.text(1, get("name"));
                out.text(2, get("in"));
                out.text(3, get("description"));
                out.boolean(4, get("required"));
                out.boolean(5, get("deprecated"));
                out.boolean(6, get("allowEmptyValue"));
                out.text(7, get("style"));
                out.boolean(8, get("explode"));
                out.boolean(9, get("allowReserved"));
                out.part(10, get("schema"), schema_or_reference);
                out.any(11, get("example"));
                content(13, parameter, out);
                extensions(14, parameter, out);
            });
        });
    }
}

/// Either the thing itself or a reference to one.
fn or_reference(of: &Value, out: &mut Writer, itself: impl FnOnce(&mut Writer)) {
    match of.get("$ref") {
        None => out.message(1, itself),
        reference => out.message(2, |out| {
            out.text(1, reference);
            out.text(2, of.get("summary"));
            out.text(3, of.get("description"));
        }),
    }
}

fn schema_or_reference(of: &Value, out: &mut Writer) {
    or_reference(of, out, |out| schema(of, out));
}

fn schema(of: &Value, out: &mut Writer) {
    let get = |key: &str| of.get(key);
    out.boolean(1, get("nullable"));
    out.boolean(3, get("readOnly"));
    out.boolean(4, get("writeOnly"));
    out.part(6, get("externalDocs"), |docs, out| {
        out.text(1, docs.get("description"));
        out.text(2, docs.get("url"));
    });
    out.any(7, get("example"));
    out.boolean(8, get("deprecated"));
    out.text(9, get("title"));
    out.double(10, get("multipleOf"));
    out.double(11, get("maximum"));
    out.boolean(12, get("exclusiveMaximum"));
    out.double(13, get("minimum"));
    out.boolean(14, get("exclusiveMinimum"));
    out.integer(15, get("maxLength"));
    out.integer(16, get("minLength"));
    out.text(17, get("pattern"));
    out.integer(18, get("maxItems"));
    out.integer(19, get("minItems"));
    out.boolean(20, get("uniqueItems"));
    out.integer(21, get("maxProperties"));
    out.integer(22, get("minProperties"));
    out.texts(23, get("required"));
    for value in elements(get("enum")) {
        out.any(24, Some(value));
    }
    out.text(25, get("type"));
    for (number, key) in [(26, "allOf"), (27, "oneOf"), (28, "anyOf")] {
        for one in elements(get(key)) {
            out.message(number, |out| schema_or_reference(one, out));
        }
    }
    out.part(29, get("not"), schema);
    out.part(30, get("items"), |items, out| {
        out.message(1, |out| schema_or_reference(items, out));
    });
    out.part(31, get("properties"), |all, out| {
        for (name, value) in members(all) {
            out.named(1, name, |out| schema_or_reference(value, out));
        }
    });
    out.part(32, get("additionalProperties"), |value, out| match value {
        Value::Bool(allowed) => out.varint_field(2, u64::from(*allowed)),
        value => out.message(1, |out| schema_or_reference(value, out)),
    });
    out.part(33, get("default"), default_value);
    out.text(34, get("description"));
    out.text(35, get("format"));
    extensions(36, of, out);
}

/// Scalars only: of other defaults the layout has but the place.
fn default_value(value: &Value, out: &mut Writer) {
    match value {
        Value::Number(number) => out.set_double(1, number.as_f64().unwrap_or_default()),
        Value::Bool(value) => out.varint_field(2, u64::from(*value)),
        Value::String(text) => out.bytes(3, text.as_bytes()),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    const DOCUMENT: &str = r##"{"openapi":"3.0.0","info":{"title":"T","version":"1"},"paths":{"/a/{n}":{"get":{"tags":["t"],"description":"d","operationId":"o","parameters":[{"name":"q","in":"query","schema":{"type":"boolean","uniqueItems":true}}],"requestBody":{"required":true,"content":{"*/*":{"schema":{"$ref":"#/components/schemas/D"}}}},"responses":{"200":{"description":"OK","content":{"application/json":{"schema":{"$ref":"#/components/schemas/D"}}}}},"x-kubernetes-action":"get"},"parameters":[{"name":"n","in":"path","required":true,"schema":{"type":"string"}}]}},"components":{"schemas":{"D":{"description":"D","type":"object","required":["s"],"properties":{"s":{"type":"string","default":"","enum":["E","F"]},"n":{"type":"integer","format":"int32","default":0,"minimum":1.5},"b":{"type":"boolean","default":false,"nullable":true},"o":{"default":{},"allOf":[{"$ref":"#/components/schemas/D"}]},"l":{"type":"array","items":{"type":"string","default":""},"x-kubernetes-list-map-keys":["k"]},"m":{"type":"object","additionalProperties":{"type":"string"}},"f":{"oneOf":[{"type":"string"},{"type":"integer"}]}}}},"securitySchemes":{"BearerToken":{"type":"apiKey","description":"x","name":"authorization","in":"header"}}}}"##;
    /// What gnostic makes of it.
    const BYTES: &str = "CgUzLjAuMBIGCgFUMgExIuYBCuMBCgYvYS97bn0S2AEiuQEKAXQaAWQqAW8yHQobCgFxEgVxdWVyeVIPCg2gAQHKAQdib29sZWFuOisKKRIlCiMKAyovKhIcChoSGAoWIy9jb21wb25lbnRzL3NjaGVtYXMvRBgBQkMSQQoDMjAwEjoKOAoCT0saMgowChBhcHBsaWNhdGlvbi9qc29uEhwKGhIYChYjL2NvbXBvbmVudHMvc2NoZW1hcy9Eah0KE3gta3ViZXJuZXRlcy1hY3Rpb24SBhIEZ2V0CmoaChgKAW4SBHBhdGggAVILCgnKAQZzdHJpbmcqiAMKzgIKywIKAUQSxQIKwgK6AQFzygEGb2JqZWN0+gGtAgojCgFzEh4KHMIBBBICRQrCAQQSAkYKygEGc3RyaW5nigICGgAKLgoBbhIpCidpAAAAAAAA+D/KAQdpbnRlZ2VyigIJCQAAAAAAAAAAmgIFaW50MzIKGAoBYhITChEIAcoBB2Jvb2xlYW6KAgIQAAonCgFvEiIKINIBGhIYChYjL2NvbXBvbmVudHMvc2NoZW1hcy9EigIACksKAWwSRgpEygEFYXJyYXnyARIKEAoOygEGc3RyaW5nigICGgCiAiQKGngta3ViZXJuZXRlcy1saXN0LW1hcC1rZXlzEgYSBC0gawoKIAoBbRIbChnKAQZvYmplY3SCAg0KCwoJygEGc3RyaW5nCiQKAWYSHwod2gELCgnKAQZzdHJpbmfaAQwKCsoBB2ludGVnZXKSAgFEOjUKMwoLQmVhcmVyVG9rZW4SJAoiCgZhcGlLZXkSAXgaDWF1dGhvcml6YXRpb24iBmhlYWRlcg==";

    #[test]
    fn a_document_in_the_layout_of_gnostic() {
        let json: Value = serde_json::from_str(DOCUMENT).unwrap();
        assert_eq!(STANDARD.encode(document(&json)), BYTES);
    }
}
