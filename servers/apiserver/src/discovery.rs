//! Discovery: what groups, versions and resources there are, in the legacy documents and in the aggregated one
//! (apidiscovery.k8s.io/v2 with an ETag), all made from the catalog.

use std::sync::Arc;

use hyper::{Response, StatusCode, header};
use serde_json::{Value, json};

use corten_client::Status;

use crate::body::Answer;
use crate::catalog::{Catalog, Served};
use crate::http::{Call, json, page_not_found, respond};
use crate::server::Server;

/// The content type of the aggregated document.
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

pub(crate) fn serve(server: &Arc<Server>, call: &Call) -> Result<Response<Answer>, Status> {
    let catalog = server.catalog();
    let path = call.info.path.trim_end_matches('/');
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    match parts.as_slice() {
        ["api"] if wants_aggregated(call) => {
            Ok(aggregated(call, &catalog, |group| group.is_empty()))
        }
        ["apis"] if wants_aggregated(call) => {
            Ok(aggregated(call, &catalog, |group| !group.is_empty()))
        }
        ["api"] => Ok(json(&json!({
            "kind": "APIVersions", "versions": ["v1"],
            "serverAddressByClientCIDRs":
                [{"clientCIDR": "0.0.0.0/0", "serverAddress": server.config.advertise.to_string()}],
        }))),
        ["apis"] => {
            let groups: Vec<Value> = catalog
                .group_versions()
                .iter()
                .filter(|(group, _)| !group.is_empty())
                .map(|(group, versions)| api_group(group, versions))
                .collect();
            Ok(json(
                &json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}),
            ))
        }
        ["api", version] => resource_list(&catalog, "", version),
        ["apis", group] => {
            let all = catalog.group_versions();
            let Some((group, versions)) = all.iter().find(|(g, _)| g == group) else {
                return Ok(page_not_found());
            };
            let mut document = api_group(group, versions);
            if let Some(map) = document.as_object_mut() {
                let rest = std::mem::take(map);
                map.insert("kind".into(), "APIGroup".into());
                map.insert("apiVersion".into(), "v1".into());
                map.extend(rest);
            }
            Ok(json(&document))
        }
        ["apis", group, version] => resource_list(&catalog, group, version),
        _ => Err(Status::no_such_path()),
    }
}

fn api_group(group: &str, versions: &[String]) -> Value {
    let listed: Vec<Value> = versions
        .iter()
        .map(|v| json!({"groupVersion": format!("{group}/{v}"), "version": v}))
        .collect();
    let preferred = listed.first().cloned().unwrap_or(Value::Null);
    json!({"name": group, "versions": listed, "preferredVersion": preferred})
}

fn resource_list(
    catalog: &Catalog,
    group: &str,
    version: &str,
) -> Result<Response<Answer>, Status> {
    let mut resources = Vec::new();
    for served in catalog.in_version(group, version) {
        resources.push(main_entry(served));
        for sub in &served.subresources {
            let mut entry = json!({
                "name": format!("{}/{}", served.plural, sub.name), "singularName": "",
                "namespaced": served.namespaced,
            });
            let foreign = (sub.group.as_str(), sub.version.as_str())
                != (served.group.as_str(), served.version.as_str());
            if foreign {
                if !sub.group.is_empty() {
                    entry["group"] = sub.group.clone().into();
                }
                entry["version"] = sub.version.clone().into();
            }
            entry["kind"] = sub.kind.clone().into();
            entry["verbs"] = json!(sub.verbs);
            resources.push(entry);
        }
    }
    if resources.is_empty() {
        return Err(Status::no_such_path());
    }
    resources.sort_by(|a, b| a["name"].as_str().cmp(&b["name"].as_str()));
    let group_version = if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    };
    let mut document = json!({"kind": "APIResourceList"});
    if !group.is_empty() {
        document["apiVersion"] = "v1".into();
    }
    document["groupVersion"] = group_version.into();
    document["resources"] = resources.into();
    Ok(json(&document))
}

fn main_entry(served: &Served) -> Value {
    let mut entry = json!({
        "name": served.plural, "singularName": served.singular, "namespaced": served.namespaced,
        "kind": served.kind, "verbs": served.verbs,
    });
    if !served.short_names.is_empty() {
        entry["shortNames"] = json!(served.short_names);
    }
    if !served.categories.is_empty() {
        entry["categories"] = json!(served.categories);
    }
    if served.is_stored() {
        entry["storageVersionHash"] = served.storage_hash().into();
    }
    entry
}

fn wants_aggregated(call: &Call) -> bool {
    let accept = call
        .headers
        .get(header::ACCEPT)
        .and_then(|v| v.to_str().ok())
        .unwrap_or_default();
    accept.split(',').any(|clause| {
        let has = |part: &str| clause.split(';').any(|p| p.trim() == part);
        has("as=APIGroupDiscoveryList") && has("g=apidiscovery.k8s.io") && has("v=v2")
    })
}

fn aggregated(call: &Call, catalog: &Catalog, wanted: impl Fn(&str) -> bool) -> Response<Answer> {
    let items: Vec<Value> = catalog
        .group_versions()
        .iter()
        .filter(|(group, _)| wanted(group))
        .map(|(group, versions)| {
            let versions: Vec<Value> = versions
                .iter()
                .map(|v| aggregated_version(catalog, group, v))
                .collect();
            let metadata = if group.is_empty() {
                json!({})
            } else {
                json!({"name": group})
            };
            json!({"metadata": metadata, "versions": versions})
        })
        .collect();
    let body = json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items,
    })
    .to_string();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA512, body.as_bytes());
    let tag: String = digest.as_ref().iter().map(|b| format!("{b:02X}")).collect();
    let tag = format!("\"{tag}\"");
    let same = call
        .headers
        .get(header::IF_NONE_MATCH)
        .is_some_and(|v| v.as_bytes() == tag.as_bytes());
    let mut response = match same {
        true => respond(StatusCode::NOT_MODIFIED, AGGREGATED, Answer::empty()),
        false => respond(StatusCode::OK, AGGREGATED, body.into()),
    };
    if let Ok(value) = tag.parse() {
        response.headers_mut().insert(header::ETAG, value);
    }
    response
        .headers_mut()
        .insert(header::VARY, header::HeaderValue::from_static("Accept"));
    response.headers_mut().insert(
        header::CACHE_CONTROL,
        header::HeaderValue::from_static("public"),
    );
    response
}

fn aggregated_version(catalog: &Catalog, group: &str, version: &str) -> Value {
    let mut resources = Vec::new();
    for served in catalog.in_version(group, version) {
        let mut entry = json!({
            "resource": served.plural,
            // As upstream has it, the group and version are named only where they are others.
            "responseKind": {"group": "", "version": "", "kind": served.kind},
            "scope": if served.namespaced { "Namespaced" } else { "Cluster" },
            "singularResource": served.singular,
            "verbs": served.verbs,
        });
        if !served.short_names.is_empty() {
            entry["shortNames"] = json!(served.short_names);
        }
        if !served.categories.is_empty() {
            entry["categories"] = json!(served.categories);
        }
        if !served.subresources.is_empty() {
            let subs: Vec<Value> = served
                .subresources
                .iter()
                .map(|sub| {
                    let own = (&sub.group, &sub.version) == (&served.group, &served.version);
                    let (group, version) = if own {
                        ("", "")
                    } else {
                        (sub.group.as_str(), sub.version.as_str())
                    };
                    json!({
                        "subresource": sub.name,
                        "responseKind": {"group": group, "version": version, "kind": sub.kind},
                        "verbs": sub.verbs,
                    })
                })
                .collect();
            entry["subresources"] = subs.into();
        }
        resources.push(entry);
    }
    json!({"version": version, "resources": resources, "freshness": "Current"})
}
