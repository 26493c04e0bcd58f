//! OpenAPI v3 (per group version, with content hashes) and v2, generated from the field table and the catalog.
//! Left out: descriptions of built-in kinds beyond object metadata (the table
//! carries none) and the protobuf form of v2.

mod custom;
mod schema;

use std::sync::Arc;

use bytes::Bytes;
use hyper::{Response, StatusCode, header};
use serde_json::{Map, Value, json};

use corten_client::Status;

use crate::body::Answer;
use crate::catalog::{Catalog, Served};
use crate::http::{Call, respond};
use crate::server::Server;
use schema::{Dialect, Schemas};

/// Finished documents of one catalog.
#[derive(Default)]
pub(crate) struct Documents {
    made: parking_lot::Mutex<std::collections::HashMap<String, (Bytes, String)>>,
}

impl Documents {
    fn get(&self, name: &str, make: impl FnOnce() -> Option<Value>) -> Option<(Bytes, String)> {
        if let Some(found) = self.made.lock().get(name) {
            return Some(found.clone());
        }
        let body = Bytes::from(make()?.to_string());
        let hash = hash_of(&body);
        self.made
            .lock()
            .insert(name.to_owned(), (body.clone(), hash.clone()));
        Some((body, hash))
    }
}

pub(crate) fn serve(server: &Arc<Server>, call: &Call) -> Result<Response<Answer>, Status> {
    let catalog = server.catalog();
    match call.info.path.as_str() {
        "/openapi/v2" => {
            if !makes_v2(call) {
                return Ok(empty(StatusCode::NOT_ACCEPTABLE));
            }
            let (body, hash) = catalog
                .documents
                .get("v2", || Some(swagger(&catalog)))
                .ok_or_else(Status::no_such_path)?;
            Ok(document(body, &hash, call))
        }
        "/openapi/v3" => Ok(index(server, &catalog)),
        path => {
            let rest = path.strip_prefix("/openapi/v3/").unwrap_or_default();
            let parts: Vec<&str> = rest.split('/').collect();
            let found = match parts.as_slice() {
                ["api", version] => v3(&catalog, "", version),
                ["apis", group, version] => match server.remotes().find(group, version) {
                    Some(remote) => remote.schema.load_full().map(|body| {
                        let body = Bytes::clone(&body);
                        (body.clone(), hash_of(&body))
                    }),
                    None => v3(&catalog, group, version),
                },
                _ => None,
            };
            let Some((body, hash)) = found else {
                return Ok(empty(StatusCode::NOT_FOUND));
            };
            match call.query.get("hash") {
                Some(asked) if asked == hash => {
                    let mut response = document(body, &hash, call);
                    let forever = header::HeaderValue::from_static("public, immutable");
                    let headers = response.headers_mut();
                    headers.insert(header::CACHE_CONTROL, forever);
                    Ok(response)
                }
                Some(_) => {
                    let mut response = empty(StatusCode::MOVED_PERMANENTLY);
                    if let Ok(place) = format!("{path}?hash={hash}").parse() {
                        response.headers_mut().insert(header::LOCATION, place);
                    }
                    Ok(response)
                }
                None => Ok(document(body, &hash, call)),
            }
        }
    }
}

fn empty(code: StatusCode) -> Response<Answer> {
    let mut response = Response::new(Answer::empty());
    *response.status_mut() = code;
    response
}

/// Whether the client takes the JSON form of v2.
fn makes_v2(call: &Call) -> bool {
    let accept = call
        .headers
        .get(header::ACCEPT)
        .and_then(|v| v.to_str().ok())
        .unwrap_or_default();
    accept.is_empty()
        || accept.split(',').any(|clause| {
            let name = clause.split(';').next().unwrap_or_default().trim();
            matches!(name, "*/*" | "application/*" | "application/json")
        })
}

/// Where the documents of the group versions are.
fn index(server: &Server, catalog: &Catalog) -> Response<Answer> {
    let mut paths = Map::new();
    for (group, versions) in catalog.group_versions() {
        for version in versions {
            let name = prefix(&group, &version);
            if let Some((_, hash)) = v3(catalog, &group, &version) {
                let url = format!("/openapi/v3/{name}?hash={hash}");
                paths.insert(name, json!({"serverRelativeURL": url}));
            }
        }
    }
    for remote in server.remotes().iter() {
        if let Some(body) = remote.schema.load_full() {
            let name = prefix(&remote.group, &remote.version);
            let url = format!("/openapi/v3/{name}?hash={}", hash_of(&body));
            paths.insert(name, json!({"serverRelativeURL": url}));
        }
    }
    respond(
        StatusCode::OK,
        "text/plain; charset=utf-8",
        json!({"paths": paths}).to_string().into(),
    )
}

/// The hash by which a document is named.
fn hash_of(body: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA512, body);
    digest.as_ref().iter().map(|b| format!("{b:02X}")).collect()
}

fn document(body: Bytes, hash: &str, call: &Call) -> Response<Answer> {
    let tag = format!("\"{hash}\"");
    let same = call
        .headers
        .get(header::IF_NONE_MATCH)
        .is_some_and(|v| v.as_bytes() == tag.as_bytes());
    let mut response = match same {
        true => respond(
            StatusCode::NOT_MODIFIED,
            "application/json",
            Answer::empty(),
        ),
        false => respond(StatusCode::OK, "application/json", Answer::Whole(body)),
    };
    let headers = response.headers_mut();
    headers.insert(header::VARY, header::HeaderValue::from_static("Accept"));
    if let Ok(value) = tag.parse() {
        headers.insert(header::ETAG, value);
    }
    crate::http::compress(&mut response, crate::negotiate::takes_gzip(&call.headers));
    response
}

fn prefix(group: &str, version: &str) -> String {
    if group.is_empty() {
        format!("api/{version}")
    } else {
        format!("apis/{group}/{version}")
    }
}

fn v3(catalog: &Catalog, group: &str, version: &str) -> Option<(Bytes, String)> {
    catalog.documents.get(&prefix(group, version), || {
        let mut schemas = Schemas::new(Dialect::V3);
        let mut paths = Map::new();
        let mut any = false;
        for served in catalog.in_version(group, version) {
            any = true;
            let reference = schemas.of(served);
            add_paths(&mut paths, served, &reference, Dialect::V3);
        }
        any.then(|| {
            json!({
                "openapi": "3.0.0",
                "info": {"title": "Kubernetes", "version": "1.36"},
                "paths": paths,
                "components": {"schemas": schemas.finish()},
            })
        })
    })
}

fn swagger(catalog: &Catalog) -> Value {
    let mut schemas = Schemas::new(Dialect::V2);
    let mut paths = Map::new();
    for served in catalog.all() {
        let reference = schemas.of(served);
        add_paths(&mut paths, served, &reference, Dialect::V2);
    }
    json!({
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": "1.36"},
        "paths": paths,
        "definitions": schemas.finish(),
    })
}

/// The paths of one resource. Clients read from them which operations take `dryRun` and `fieldValidation`.
fn add_paths(paths: &mut Map<String, Value>, served: &Served, reference: &Value, dialect: Dialect) {
    let base = format!("/{}", prefix(&served.group, &served.version));
    let collection = match served.namespaced {
        true => format!("{base}/namespaces/{{namespace}}/{}", served.plural),
        false => format!("{base}/{}", served.plural),
    };
    let has = |verb: &str| served.verbs.iter().any(|v| v == verb);
    let mut on_collection = Map::new();
    for (method, verb) in [
        ("get", "list"),
        ("post", "create"),
        ("delete", "deletecollection"),
    ] {
        if has(verb) {
            on_collection.insert(method.into(), operation(served, verb, reference, dialect));
        }
    }
    let mut on_item = Map::new();
    for (method, verb) in [
        ("get", "get"),
        ("put", "update"),
        ("patch", "patch"),
        ("delete", "delete"),
    ] {
        if has(verb) {
            on_item.insert(method.into(), operation(served, verb, reference, dialect));
        }
    }
    if !on_collection.is_empty() {
        paths.insert(collection.clone(), Value::Object(on_collection));
    }
    if !on_item.is_empty() {
        paths.insert(format!("{collection}/{{name}}"), Value::Object(on_item));
    }
}

fn operation(served: &Served, verb: &str, reference: &Value, dialect: Dialect) -> Value {
    let parameter = |name: &str, kind: &str| match dialect {
        Dialect::V3 => {
            json!({"name": name, "in": "query", "schema": {"type": kind, "uniqueItems": true}})
        }
        Dialect::V2 => json!({"name": name, "in": "query", "type": kind, "uniqueItems": true}),
    };
    let mut parameters = Vec::new();
    if matches!(verb, "create" | "update" | "patch") {
        parameters
            .extend(["dryRun", "fieldManager", "fieldValidation"].map(|p| parameter(p, "string")));
    }
    if verb == "patch" {
        parameters.push(parameter("force", "boolean"));
    }
    if matches!(verb, "delete" | "deletecollection") {
        parameters.push(parameter("dryRun", "string"));
    }
    let ok = match dialect {
        Dialect::V3 => {
            json!({"description": "OK", "content": {"application/json": {"schema": reference}}})
        }
        Dialect::V2 => json!({"description": "OK", "schema": reference}),
    };
    let action = match verb {
        "create" => "post",
        "update" => "put",
        other => other,
    };
    json!({
        "parameters": parameters,
        "responses": {"200": ok},
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind":
            {"group": served.group, "version": served.version, "kind": served.kind},
    })
}
