//! What an aggregated server says of its resources: in its own aggregated discovery document, or in the older list of
//! one group version. Invariant: what it last said of itself stays until it says something else.

use std::sync::Arc;

use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use super::front;
use super::remote::Remote;
use crate::server::Server;

/// Asks the server for its own aggregated document, and takes its part of it. False when it has none.
pub(super) async fn by_itself(server: &Server, remote: &Remote) -> bool {
    let tag = remote.tag.load_full();
    let tag = tag.as_deref().filter(|_| remote.resources.load().is_some());
    let Ok(answer) = front::discovery(server, remote, tag.map(String::as_str)).await else {
        return false;
    };
    if answer.status() == StatusCode::NOT_MODIFIED {
        return true;
    }
    if answer.status() != StatusCode::OK || !is_document(answer.headers()) {
        return false;
    }
    let new = answer.headers().get("etag").and_then(|t| t.to_str().ok());
    let new = new.map(|tag| Arc::new(tag.to_owned()));
    let Ok(document) = serde_json::from_slice::<Value>(answer.body()) else {
        return false;
    };
    let Some(own) = part(&document, &remote.group, &remote.version) else {
        return false;
    };
    remote.resources.store(Some(Arc::new(own)));
    remote.tag.store(new);
    true
}

/// Whether an answer is a document of either version: servers that know none answer something else.
fn is_document(headers: &HeaderMap) -> bool {
    let text = headers.get("content-type").and_then(|t| t.to_str().ok());
    let has = |wanted: &str| {
        let parts = text.into_iter().flat_map(|t| t.split(';'));
        parts.map(str::trim).any(|part| part == wanted)
    };
    has("g=apidiscovery.k8s.io")
        && has("as=APIGroupDiscoveryList")
        && (has("v=v2") || has("v=v2beta1"))
}

/// The resources of one group version in a document.
fn part(document: &Value, group: &str, version: &str) -> Option<Vec<Value>> {
    let groups = document["items"].as_array()?.iter();
    let mut groups = groups.filter(|g| g["metadata"]["name"] == group);
    let versions = groups.find_map(|g| g["versions"].as_array())?;
    let own = versions.iter().find(|v| v["version"] == version)?;
    let mut resources = own["resources"].as_array().cloned().unwrap_or_default();
    let nobody = || json!({"group": "", "version": "", "kind": ""});
    for resource in &mut resources {
        // Older clients fall over one without a kind.
        if !resource["responseKind"].is_object() {
            resource["responseKind"] = nobody();
        }
        let parts = resource
            .get_mut("subresources")
            .and_then(Value::as_array_mut);
        for part in parts.into_iter().flatten() {
            if !part["responseKind"].is_object() {
                part["responseKind"] = nobody();
            }
        }
    }
    Some(resources)
}

/// An APIResourceList as the aggregated document shows it.
pub(super) fn of_list(list: &Value) -> Vec<Value> {
    let none = Vec::new();
    let all = list["resources"].as_array().unwrap_or(&none);
    let kind = |entry: &Value| json!({"group": entry["group"].as_str().unwrap_or(""), "version": entry["version"].as_str().unwrap_or(""), "kind": entry["kind"]});
    let mut out: Vec<Value> = Vec::new();
    for entry in all {
        let name = entry["name"].as_str().unwrap_or_default();
        if let Some((main, sub)) = name.split_once('/') {
            let sub =
                json!({"subresource": sub, "responseKind": kind(entry), "verbs": entry["verbs"]});
            if let Some(owner) = out.iter_mut().find(|r| r["resource"] == main) {
                match owner["subresources"].as_array_mut() {
                    Some(subs) => subs.push(sub),
                    None => owner["subresources"] = json!([sub]),
                }
            }
            continue;
        }
        let scope = match entry["namespaced"].as_bool() {
            Some(true) => "Namespaced",
            _ => "Cluster",
        };
        let mut made = json!({
            "resource": name, "responseKind": kind(entry), "scope": scope,
            "singularResource": entry["singularName"], "verbs": entry["verbs"],
        });
        for field in ["shortNames", "categories"] {
            if entry[field].is_array() {
                made[field] = entry[field].clone();
            }
        }
        out.push(made);
    }
    out
}
