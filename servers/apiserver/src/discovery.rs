//! Discovery: what groups, versions and resources there are, in the legacy documents and in the aggregated one
//! (apidiscovery.k8s.io/v2 with an ETag), made from the catalog and from what aggregated servers say of themselves.

use std::sync::Arc;

use corten_api::meta::v1::{
    APIGroup, APIGroupList, APIResource, APIResourceList, APIVersions, GroupVersionForDiscovery,
    ServerAddressByClientCIDR,
};
use corten_codec::{json, protobuf, yaml};
use corten_core::{List, MsgRef, Str};
use hyper::{Response, StatusCode, header};
use serde_json::{Value, json};

use corten_client::Status;

use crate::aggregation::{self, Remote};
use crate::body::Answer;
use crate::catalog::{Catalog, Served};
use crate::http::{self, Call, page_not_found, respond};
use crate::negotiate::{self, Media, Transforms};
use crate::resource::MEDIA;
use crate::server::Server;

/// The content type of the aggregated document.
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

pub(crate) fn serve(server: &Arc<Server>, call: &Call) -> Result<Response<Answer>, Status> {
    let catalog = server.catalog();
    let path = call.info.path.trim_end_matches('/');
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let simple = call.info.verb == "get";
    match parts.as_slice() {
        ["api"] if wants_aggregated(call) => Ok(aggregated(server, call, &catalog, Legacy::Only)),
        ["apis"] if wants_aggregated(call) => Ok(aggregated(server, call, &catalog, Legacy::No)),
        ["api"] if simple => {
            http::routed(&call.headers, &MEDIA)?;
            let versions = APIVersions {
                kind: "APIVersions".into(),
                versions: std::iter::once(Str::from("v1")).collect(),
                server_address_by_client_cidrs: std::iter::once(ServerAddressByClientCIDR {
                    client_cidr: "0.0.0.0/0".into(),
                    server_address: server.config.advertise.to_string().into(),
                })
                .collect(),
                ..APIVersions::default()
            };
            document(call, MsgRef::new(&versions), "", "APIVersions")
        }
        ["apis"] => {
            let list = APIGroupList {
                kind: "APIGroupList".into(),
                api_version: "v1".into(),
                groups: groups(server, &catalog)
                    .iter()
                    .filter(|group| !group.name.is_empty())
                    .map(api_group)
                    .collect(),
            };
            document(call, MsgRef::new(&list), "v1", "APIGroupList")
        }
        ["apis", name] => {
            let all = groups(server, &catalog);
            let Some(group) = all.iter().find(|g| g.name == *name && !name.is_empty()) else {
                return Ok(page_not_found());
            };
            let mut group = api_group(group);
            group.kind = "APIGroup".into();
            group.api_version = "v1".into();
            document(call, MsgRef::new(&group), "v1", "APIGroup")
        }
        ["api", version] if simple => resource_list(call, &catalog, "", version),
        ["apis", group, version] if simple => resource_list(call, &catalog, group, version),
        ["api"] | ["api", _] | ["apis", _, _] => Err(Status::method_not_allowed()),
        _ => Err(Status::no_such_path()),
    }
}

/// A group with its versions, the preferred one first.
pub(crate) struct Group {
    pub name: String,
    pub versions: Vec<String>,
}

/// Every group in upstream's order: by priority, then name.
pub(crate) fn groups(server: &Server, catalog: &Catalog) -> Vec<Group> {
    let mut all: Vec<(i32, Group)> = catalog
        .group_versions()
        .into_iter()
        .map(|(name, versions)| {
            let priority = aggregation::group_priority(&name);
            (priority, Group { name, versions })
        })
        .collect();
    let remotes = server.remotes();
    let mut theirs: Vec<&Arc<Remote>> = remotes.iter().collect();
    theirs.sort_by_key(|remote| std::cmp::Reverse(remote.version_priority));
    for remote in theirs {
        match all.iter_mut().find(|(_, g)| g.name == remote.group) {
            Some((_, group)) if group.versions.contains(&remote.version) => {}
            Some((priority, group)) => {
                *priority = (*priority).max(remote.group_priority);
                group.versions.push(remote.version.clone());
            }
            None => all.push((
                remote.group_priority,
                Group {
                    name: remote.group.clone(),
                    versions: vec![remote.version.clone()],
                },
            )),
        }
    }
    all.sort_by(|(a, x), (b, y)| b.cmp(a).then_with(|| x.name.cmp(&y.name)));
    all.into_iter().map(|(_, group)| group).collect()
}

/// A discovery document in the encoding that the client accepts.
fn document(
    call: &Call,
    message: MsgRef<'_>,
    api_version: &str,
    kind: &str,
) -> Result<Response<Answer>, Status> {
    let accepted = negotiate::accept(&call.headers, &call.query, Transforms::None)
        .map_err(|()| Status::not_acceptable(&MEDIA))?;
    let body: Answer = match accepted.media {
        Media::Protobuf => {
            let raw = protobuf::encode_message(message);
            protobuf::seal_envelope(api_version, kind, &raw).into()
        }
        Media::Yaml => {
            let value =
                json::decode_value(&json::encode_message(message)).map_err(Status::internal)?;
            yaml::encode_value(&value).into()
        }
        Media::Json => {
            let mut text = json::encode_message(message);
            if accepted.pretty {
                let value: Value = serde_json::from_slice(&text).map_err(Status::internal)?;
                text = serde_json::to_vec_pretty(&value).map_err(Status::internal)?;
            } else {
                text.push(b'\n');
            }
            text.into()
        }
    };
    let mut response = respond(StatusCode::OK, accepted.media.content_type(), body);
    http::compress(&mut response, accepted.gzip);
    Ok(response)
}

fn api_group(group: &Group) -> APIGroup {
    let listed: List<GroupVersionForDiscovery> = group
        .versions
        .iter()
        .map(|version| GroupVersionForDiscovery {
            group_version: format!("{}/{version}", group.name).into(),
            version: version.as_str().into(),
        })
        .collect();
    APIGroup {
        name: group.name.as_str().into(),
        preferred_version: listed.first().cloned().unwrap_or_default(),
        versions: listed,
        ..APIGroup::default()
    }
}

fn texts(list: &[String]) -> List<Str> {
    if list.is_empty() {
        return List::default();
    }
    list.iter().map(|text| Str::from(text.as_str())).collect()
}

fn resource_list(
    call: &Call,
    catalog: &Catalog,
    group: &str,
    version: &str,
) -> Result<Response<Answer>, Status> {
    let mut resources: Vec<APIResource> = Vec::new();
    for served in catalog.in_version(group, version) {
        resources.push(main_entry(served));
        for sub in &served.subresources {
            let foreign = (sub.group.as_str(), sub.version.as_str())
                != (served.group.as_str(), served.version.as_str());
            let mut entry = APIResource {
                name: format!("{}/{}", served.plural, sub.name).into(),
                namespaced: served.namespaced,
                kind: sub.kind.as_str().into(),
                verbs: texts(&sub.verbs),
                ..APIResource::default()
            };
            if foreign {
                entry.group = sub.group.as_str().into();
                entry.version = sub.version.as_str().into();
            }
            resources.push(entry);
        }
    }
    if resources.is_empty() {
        return match group {
            name if name.is_empty() || catalog.serves_group(name) => Err(Status::no_such_path()),
            _ => Ok(page_not_found()),
        };
    }
    http::routed(&call.headers, &MEDIA)?;
    // Custom resources are listed with their parts behind them.
    if catalog.serves_group(group) {
        resources.sort_by(|a, b| a.name.cmp(&b.name));
    }
    let (api_version, group_version) = match group {
        "" => ("", version.to_owned()),
        _ => ("v1", format!("{group}/{version}")),
    };
    let list = APIResourceList {
        kind: "APIResourceList".into(),
        api_version: api_version.into(),
        group_version: group_version.into(),
        api_resources: resources.into_iter().collect(),
    };
    document(call, MsgRef::new(&list), api_version, "APIResourceList")
}

fn main_entry(served: &Served) -> APIResource {
    APIResource {
        name: served.plural.as_str().into(),
        singular_name: served.singular.as_str().into(),
        namespaced: served.namespaced,
        kind: served.kind.as_str().into(),
        verbs: texts(&served.verbs),
        short_names: texts(&served.short_names),
        categories: texts(&served.categories),
        storage_version_hash: match served.is_stored() {
            true => served.storage_hash().into(),
            false => "".into(),
        },
        ..APIResource::default()
    }
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

/// Which groups an aggregated document holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Legacy {
    /// The one without a name.
    Only,
    /// All others.
    No,
}

fn aggregated(server: &Server, call: &Call, catalog: &Catalog, legacy: Legacy) -> Response<Answer> {
    let remotes = server.remotes();
    let items: Vec<Value> = groups(server, catalog)
        .iter()
        .filter(|group| group.name.is_empty() == (legacy == Legacy::Only))
        .map(|group| {
            let versions: Vec<Value> = group
                .versions
                .iter()
                .map(|v| {
                    let remote = remotes.find(&group.name, v);
                    remote.map_or_else(
                        || aggregated_version(catalog, &group.name, v),
                        |remote| remote_version(&remote),
                    )
                })
                .collect();
            let metadata = match group.name.as_str() {
                "" => json!({}),
                name => json!({"name": name}),
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

/// A version that another server serves, as that server last described it.
fn remote_version(remote: &Remote) -> Value {
    let (resources, freshness) = match remote.described() {
        Some(resources) => (resources, "Current"),
        None => (Vec::new(), "Stale"),
    };
    json!({"version": remote.version, "resources": resources, "freshness": freshness})
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
