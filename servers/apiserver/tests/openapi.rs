//! OpenAPI: the structure of every document is upstream's, as its module publishes it; v2 comes as JSON and as protobuf
//! with the same tag; kubectl explains fields in upstream's words.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use support::Cluster;
use support::raw::{Got, get, send};

const MODULE: &str = "k8s.io/kubernetes@v1.36.3";

/// The documents that upstream's module publishes.
fn published() -> PathBuf {
    let go = |arguments: &[&str]| {
        let mut go = Command::new("go");
        let said = go
            .args(arguments)
            .current_dir(std::env::temp_dir())
            .output();
        let said = said.expect("upstream's documents are in a Go module");
        assert!(said.status.success(), "go {arguments:?}");
        String::from_utf8(said.stdout).unwrap().trim().to_owned()
    };
    let module = Path::new(&go(&["env", "GOMODCACHE"])).join(MODULE);
    if !module.is_dir() {
        go(&["mod", "download", MODULE]);
    }
    module.join("api/openapi-spec/v3")
}

/// Without what says the same in other words, and what docs/deviations.md lists.
fn structure(value: &mut Value) {
    match value {
        Value::Object(members) => {
            if members.get("description").is_some_and(Value::is_string) {
                members.remove("description");
            }
            members.remove("x-kubernetes-unions");
            members.retain(|key, _| !(key.starts_with("application/") && key.contains("cbor")));
            // The module publishes what a server says that has CBOR and no enumerations; by default it is the other way.
            if members.get("enum").is_some_and(Value::is_array) {
                members.remove("enum");
            }
            for (key, member) in members.iter_mut() {
                structure(member);
                let unordered = ["required", "parameters", "x-kubernetes-group-version-kind"];
                if let (true, Value::Array(all)) = (unordered.contains(&key.as_str()), member) {
                    all.sort_by_key(Value::to_string);
                }
            }
            members.sort_keys();
        }
        Value::Array(all) => all.iter_mut().for_each(structure),
        _ => {}
    }
}

/// Where two documents differ, at most a few places of each.
fn differences(ours: &Value, theirs: &Value, path: &str, found: &mut Vec<String>) {
    match (ours, theirs) {
        (Value::Object(ours), Value::Object(theirs)) => {
            let more = theirs.keys().filter(|k| !ours.contains_key(*k));
            for key in ours.keys().chain(more) {
                let (ours, theirs) = (ours.get(key), theirs.get(key));
                let null = Value::Null;
                let path = format!("{path}/{key}");
                differences(ours.unwrap_or(&null), theirs.unwrap_or(&null), &path, found);
            }
        }
        (Value::Array(ours), Value::Array(theirs)) if ours.len() == theirs.len() => {
            for (at, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
                differences(ours, theirs, &format!("{path}/{at}"), found);
            }
        }
        _ if ours != theirs => {
            let short = |value: &Value| value.to_string().chars().take(120).collect::<String>();
            found.push(format!("{path}: {} for {}", short(ours), short(theirs)));
        }
        _ => {}
    }
}

#[test]
fn every_document_has_upstreams_structure() {
    let cluster = Cluster::with_tokens(&["admin"]);
    let published = published();
    cluster.block_on(async {
        let index = get(&cluster.server, "/openapi/v3").await.json();
        let mut compared = 0;
        let mut found = Vec::new();
        for (name, at) in index["paths"].as_object().unwrap() {
            let file = published.join(format!("{}_openapi.json", name.replace('/', "__")));
            let Ok(text) = std::fs::read(&file) else {
                continue;
            };
            let mut theirs: Value = serde_json::from_slice(&text).unwrap();
            let url = at["serverRelativeURL"].as_str().unwrap();
            let got = get(&cluster.server, url).await;
            assert_eq!(got.header("cache-control"), Some("public, immutable"));
            let mut ours = got.json();
            structure(&mut ours);
            structure(&mut theirs);
            for part in ["paths", "components"] {
                let path = format!("{name}/{part}");
                differences(&ours[part], &theirs[part], &path, &mut found);
            }
            compared += 1;
        }
        found.truncate(40);
        assert!(found.is_empty(), "{}", found.join("\n"));
        assert!(compared > 40, "{compared} documents");
    });
}

async fn v2(cluster: &Cluster, headers: &str) -> Got {
    send(&cluster.server, "admin", "GET", "/openapi/v2", headers, b"").await
}

#[test]
fn version_2_comes_as_json_and_as_protobuf() {
    let cluster = Cluster::with_tokens(&["admin"]);
    cluster.block_on(async {
        let json = v2(&cluster, "").await;
        let tag = json.header("etag").unwrap().to_owned();
        let whole = json.json();
        assert_eq!(whole["swagger"], "2.0");
        let list = &whole["paths"]["/api/v1/namespaces/{namespace}/pods"]["get"];
        assert_eq!(list["operationId"], "listCoreV1NamespacedPod");
        assert!(whole["paths"]["/version/"]["get"].is_object());
        for name in ["v2@v1.0", "v2.v1.0"] {
            let accept =
                format!("Accept: application/com.github.proto-openapi.spec.{name}+protobuf\r\n");
            let got = v2(&cluster, &accept).await;
            let served = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
            assert_eq!(got.header("content-type"), Some(served));
            assert_eq!(got.header("etag"), Some(tag.as_str()));
            // swagger = 1, and the first path's name.
            assert!(got.body.starts_with(b"\x0a\x032.0"));
            let path = b"/api/v1/namespaces/{namespace}/pods";
            assert!(got.body.windows(path.len()).any(|w| w == path));
        }
        let same = v2(&cluster, &format!("If-None-Match: {tag}\r\n")).await;
        assert_eq!(same.code, 304);
        let other = v2(&cluster, "Accept: application/cbor\r\n").await;
        assert_eq!((other.code, other.body.len()), (406, 0));
        let packed = v2(&cluster, "Accept-Encoding: gzip\r\n").await;
        assert_eq!(packed.header("content-encoding"), Some("gzip"));
        assert!(packed.body.len() < json.body.len() / 4);
    });
}

#[test]
fn kubectl_explains_in_upstreams_words() {
    let cluster = Cluster::start();
    let explained = |what: &str| cluster.kubectl(&format!("explain {what}"));
    let pod = explained("pod");
    assert!(
        pod.contains("Pod is a collection of containers that can run on a host"),
        "{pod}"
    );
    let policy = explained("pod.spec.restartPolicy");
    assert!(policy.contains("FIELD: restartPolicy <string>"), "{policy}");
    assert!(
        policy.contains("ENUM:\n    Always\n    Never\n    OnFailure"),
        "{policy}"
    );
    assert!(
        policy.contains("Restart policy for all containers within the pod."),
        "{policy}"
    );
    for what in [
        "deployments.spec.strategy",
        "hpa.spec.metrics",
        "crd.spec.versions",
        "apiservice.spec",
    ] {
        let said = explained(what);
        assert!(
            said.contains("DESCRIPTION:\n    ") && !said.contains("<empty>"),
            "{what}: {said}"
        );
    }
    let all = explained("networkpolicy --recursive");
    assert!(
        all.contains("namespaceSelector") && all.contains("matchExpressions"),
        "{all}"
    );
    let old = explained("service.spec.ports --output=plaintext-openapiv2");
    assert!(
        old.contains("The list of ports that are exposed by this service"),
        "{old}"
    );
}
