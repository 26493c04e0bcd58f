//! OpenAPI v3 (per group version, with content hashes) and v2 (JSON and protobuf), generated from the field table, the
//! catalog and the descriptions, which are in memory only while a document is made.

mod custom;
mod documents;
mod gnostic;
mod gnostic3;
mod merge;
mod naming;
mod operations;
mod parameters;
mod schema;
mod wire;

use std::cell::LazyCell;
use std::sync::Arc;

use hyper::{Response, StatusCode, header};
use serde_json::{Map, Value, json};

use corten_client::Status;
use corten_prose::Prose;

use crate::body::Answer;
use crate::catalog::{Catalog, Served};
use crate::http::{Call, respond};
use crate::server::Server;
use documents::{Document, hash_of};
use operations::Paths;
use schema::{Dialect, Schemas};

pub(crate) use documents::Documents;
pub(crate) use merge::part;

/// The descriptions, opened when the first document needs them.
type Texts = LazyCell<Prose>;

const JSON: &str = "application/json";
const PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
/// Its name in clients of before it was mended to be a media type.
const PROTOBUF_OLD: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
const PROTOBUF3: &str = "application/com.github.proto-openapi.spec.v3.v1.0+protobuf";
const PROTOBUF3_OLD: &str = "application/com.github.proto-openapi.spec.v3@v1.0+protobuf";
/// Paths that belong to no group and are described too.
const BESIDE: [&str; 5] = [
    ".well-known/openid-configuration",
    "api",
    "apis",
    "openid/v1/jwks",
    "version",
];

pub(crate) fn serve(server: &Arc<Server>, call: &Call) -> Result<Response<Answer>, Status> {
    let catalog = server.catalog();
    let prose = LazyCell::new(Prose::open as fn() -> Prose);
    let (document, media) = match call.info.path.as_str() {
        "/openapi/v2" => match chosen(call, &[JSON, PROTOBUF_OLD, PROTOBUF]) {
            None => return Ok(empty(StatusCode::NOT_ACCEPTABLE)),
            Some(JSON) => (v2(server, &catalog, &prose), JSON),
            Some(_) => (v2_protobuf(server, &catalog, &prose), PROTOBUF),
        },
        "/openapi/v3" => return Ok(index(server, &catalog, &prose)),
        path => {
            let name = path.strip_prefix("/openapi/v3/").unwrap_or_default();
            match chosen(call, &[JSON, PROTOBUF3, PROTOBUF3_OLD]) {
                None => return Ok(empty(StatusCode::NOT_ACCEPTABLE)),
                Some(JSON) => (v3_named(server, &catalog, name, &prose), JSON),
                Some(_) => (v3_protobuf(server, &catalog, name, &prose), PROTOBUF3),
            }
        }
    };
    let Some(document) = document else {
        return Ok(empty(StatusCode::NOT_FOUND));
    };
    match call.query.get("hash") {
        Some(asked) if asked == &*document.hash => {
            let mut response = answer(&document, media, call);
            let forever = header::HeaderValue::from_static("public, immutable");
            let headers = response.headers_mut();
            headers.insert(header::CACHE_CONTROL, forever);
            Ok(response)
        }
        Some(_) if call.info.path != "/openapi/v2" => {
            let mut response = empty(StatusCode::MOVED_PERMANENTLY);
            let path = &call.info.path;
            if let Ok(place) = format!("{path}?hash={}", document.hash).parse() {
                response.headers_mut().insert(header::LOCATION, place);
            }
            Ok(response)
        }
        _ => Ok(answer(&document, media, call)),
    }
}

fn empty(code: StatusCode) -> Response<Answer> {
    let mut response = Response::new(Answer::empty());
    *response.status_mut() = code;
    let vary = header::HeaderValue::from_static("Accept");
    response.headers_mut().insert(header::VARY, vary);
    response
}

/// The first of the client's types that is made here.
fn chosen(call: &Call, made: &[&'static str]) -> Option<&'static str> {
    let accept = call
        .headers
        .get(header::ACCEPT)
        .and_then(|v| v.to_str().ok())
        .unwrap_or_default();
    if accept.is_empty() {
        return made.first().copied();
    }
    let mut clauses: Vec<(&str, f32)> = accept.split(',').map(weighed).collect();
    clauses.sort_by(|a, b| b.1.total_cmp(&a.1));
    clauses.iter().find_map(|(name, _)| {
        let fits = |made: &&&'static str| match *name {
            "*/*" | "application/*" => true,
            name => **made == name,
        };
        made.iter().find(fits).copied()
    })
}

/// A type of an Accept header and how much the client wants it.
fn weighed(clause: &str) -> (&str, f32) {
    let mut parts = clause.split(';').map(str::trim);
    let name = parts.next().unwrap_or_default();
    let quality = parts.find_map(|p| p.strip_prefix("q=")?.parse().ok());
    (name, quality.unwrap_or(1.0))
}

/// Where the documents are.
fn index(server: &Server, catalog: &Catalog, prose: &Texts) -> Response<Answer> {
    let mut paths = Map::new();
    let mut add = |name: String, hash: &str| {
        let url = format!("/openapi/v3/{name}?hash={hash}");
        paths.insert(name, json!({"serverRelativeURL": url}));
    };
    for name in names(catalog) {
        if let Some(document) = v3_own(catalog, &name, prose) {
            add(name, &document.hash);
        }
    }
    for remote in server.remotes().iter() {
        if let Some(body) = remote.schema.load_full() {
            add(prefix(&remote.group, &remote.version), &hash_of(&body));
        }
    }
    paths.sort_keys();
    let text = json!({"paths": paths}).to_string();
    respond(StatusCode::OK, "text/plain; charset=utf-8", text.into())
}

/// The names of all own documents.
fn names(catalog: &Catalog) -> Vec<String> {
    let mut all: Vec<String> = BESIDE.map(str::to_owned).into();
    for (group, versions) in catalog.group_versions() {
        if !group.is_empty() {
            all.push(format!("apis/{group}"));
        }
        all.extend(versions.iter().map(|version| prefix(&group, version)));
    }
    all
}

fn answer(document: &Document, media: &str, call: &Call) -> Response<Answer> {
    let tag = format!("\"{}\"", document.hash);
    let same = call.headers.get(header::IF_NONE_MATCH);
    let same = same.is_some_and(|v| v.as_bytes() == tag.as_bytes());
    let packed = crate::negotiate::takes_gzip(&call.headers);
    let mut response = match (same, packed) {
        (true, _) => respond(StatusCode::NOT_MODIFIED, media, Answer::empty()),
        (false, true) => {
            let mut response = respond(StatusCode::OK, media, Answer::Whole(document.packed()));
            let gzip = header::HeaderValue::from_static("gzip");
            response
                .headers_mut()
                .insert(header::CONTENT_ENCODING, gzip);
            response
        }
        (false, false) => match document.whole() {
            Some(whole) => respond(StatusCode::OK, media, Answer::Whole(whole)),
            None => return empty(StatusCode::NOT_FOUND),
        },
    };
    let headers = response.headers_mut();
    for vary in ["Accept-Encoding", "Accept"] {
        headers.append(header::VARY, header::HeaderValue::from_static(vary));
    }
    if let Ok(value) = tag.parse() {
        headers.insert(header::ETAG, value);
    }
    response
}

fn prefix(group: &str, version: &str) -> String {
    if group.is_empty() {
        format!("api/{version}")
    } else {
        format!("apis/{group}/{version}")
    }
}

fn v3_named(server: &Server, catalog: &Catalog, name: &str, prose: &Texts) -> Option<Document> {
    let remote = name
        .strip_prefix("apis/")
        .and_then(|rest| rest.split_once('/'))
        .and_then(|(group, version)| server.remotes().find(group, version));
    match remote {
        Some(remote) => Document::new(&remote.schema.load_full()?, None),
        None => v3_own(catalog, name, prose),
    }
}

/// The same as protobuf; it has the hash of the JSON.
fn v3_protobuf(server: &Server, catalog: &Catalog, name: &str, prose: &Texts) -> Option<Document> {
    let json = v3_named(server, catalog, name, prose)?;
    let value: Value = serde_json::from_slice(&json.whole()?).ok()?;
    Document::new(&gnostic3::document(&value), Some(json.hash))
}

fn v3_own(catalog: &Catalog, name: &str, prose: &Texts) -> Option<Document> {
    let parts: Vec<&str> = name.split('/').collect();
    let (group, version) = match parts.as_slice() {
        ["api", version] => ("", *version),
        ["apis", group, version] => (*group, *version),
        _ => return beside(catalog, name, prose),
    };
    let of: Vec<Arc<Served>> = catalog.in_version(group, version).cloned().collect();
    let custom = of.iter().all(|s| s.is_custom());
    catalog.documents.get(name, &of, "", || {
        let mut schemas = Schemas::new(Dialect::V3, prose);
        let mut paths = Paths::new(&mut schemas, Dialect::V3);
        let any = paths.add(catalog, group, version);
        let paths = paths.finish();
        schemas.shared(group, version);
        let mut components = json!({"schemas": schemas.finish()});
        let info = match custom {
            true => json!({"title": "Kubernetes CRD Swagger", "version": "v0.1.0"}),
            false => {
                components["securitySchemes"] = security();
                json!({"title": "Kubernetes", "version": "1.36"})
            }
        };
        let document = json!({
            "openapi": "3.0.0", "info": info, "paths": paths, "components": components,
        });
        any.then(|| Document::new(document.to_string().as_bytes(), None))?
    })
}

/// The document of a path outside the group versions.
fn beside(catalog: &Catalog, name: &str, prose: &Texts) -> Option<Document> {
    catalog.documents.get(name, &[], "", || {
        let mut schemas = Schemas::new(Dialect::V3, prose);
        let item = operations::beside(catalog, name, &mut schemas, Dialect::V3)?;
        let path = format!("/{name}/");
        let mut components = json!({"securitySchemes": security()});
        let schemas = schemas.finish();
        if !schemas.is_empty() {
            components["schemas"] = schemas.into();
        }
        let document = json!({
            "openapi": "3.0.0",
            "info": {"title": "Kubernetes", "version": "1.36"},
            "paths": {path: item},
            "components": components,
        });
        Document::new(document.to_string().as_bytes(), None)
    })
}

fn security() -> Value {
    json!({"BearerToken": {
        "description": "Bearer Token authentication",
        "type": "apiKey",
        "name": "authorization",
        "in": "header",
    }})
}

/// What the documents of other servers are at present.
fn elsewhere(server: &Server) -> String {
    let remotes = server.remotes();
    let hashes = remotes.iter().filter_map(|remote| {
        let swagger = remote.swagger.load_full()?;
        Some(hash_of(&swagger)[..32].to_owned())
    });
    hashes.collect::<Vec<_>>().join(" ")
}

fn v2(server: &Server, catalog: &Catalog, prose: &Texts) -> Option<Document> {
    catalog
        .documents
        .get("v2", catalog.all(), &elsewhere(server), || {
            let mut document = swagger(catalog, prose);
            for remote in server.remotes().iter() {
                let part = remote.swagger.load_full();
                if let Some(part) = part.and_then(|part| serde_json::from_slice(&part).ok()) {
                    merge::add(&mut document, part);
                }
            }
            Document::new(document.to_string().as_bytes(), None)
        })
}

/// The same as protobuf; it has the hash of the JSON.
fn v2_protobuf(server: &Server, catalog: &Catalog, prose: &Texts) -> Option<Document> {
    let json = v2(server, catalog, prose)?;
    catalog
        .documents
        .get("v2.pb", catalog.all(), &json.hash, || {
            let value: Value = serde_json::from_slice(&json.whole()?).ok()?;
            Document::new(&gnostic::document(&value), Some(json.hash.clone()))
        })
}

fn swagger(catalog: &Catalog, prose: &Texts) -> Value {
    let mut schemas = Schemas::new(Dialect::V2, prose);
    let mut all = Map::new();
    for name in names(catalog) {
        if let Some(item) = operations::beside(catalog, &name, &mut schemas, Dialect::V2) {
            all.insert(format!("/{name}/"), item);
        }
    }
    let mut paths = Paths::new(&mut schemas, Dialect::V2);
    for (group, versions) in catalog.group_versions() {
        for version in versions {
            paths.add(catalog, &group, &version);
        }
    }
    all.extend(paths.finish());
    for (group, versions) in catalog.group_versions() {
        for version in versions {
            schemas.shared(&group, &version);
        }
    }
    all.sort_keys();
    json!({
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": "1.36"},
        "paths": all,
        "definitions": schemas.finish(),
        "securityDefinitions": security(),
        "security": [{"BearerToken": []}],
    })
}
