//! Custom resources in several versions: a webhook that converts them, and defaults that come after objects were stored.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "support/hook.rs"]
mod hook;
mod support;

use hook::Hook;
use serde_json::{Value, json};
use support::Cluster;

/// `hostPort` in v1 is `host` and `port` in v2.
fn convert(object: &Value, wanted: &str) -> Value {
    let mut object = object.clone();
    let map = object.as_object_mut().unwrap();
    if wanted.ends_with("/v2") {
        let both = map.remove("hostPort").unwrap_or_default();
        let (host, port) = both.as_str().unwrap_or(":").split_once(':').unwrap();
        map.insert("host".into(), host.into());
        map.insert("port".into(), port.into());
    } else {
        let part = |map: &mut serde_json::Map<String, Value>, name: &str| {
            let part = map.remove(name).unwrap_or_default();
            part.as_str().unwrap_or_default().to_owned()
        };
        let (host, port) = (part(map, "host"), part(map, "port"));
        map.insert("hostPort".into(), format!("{host}:{port}").into());
    }
    object["apiVersion"] = wanted.into();
    // What is not the webhook's to change is put back.
    object["metadata"]["generation"] = 77.into();
    object["metadata"]["labels"]["converted"] = "yes".into();
    object
}

fn respond(path: &str, request: &Value) -> Value {
    let wanted = request["desiredAPIVersion"].as_str().unwrap();
    if path == "/refuse" {
        return json!({"result": {"status": "Failure", "message": "not today"}});
    }
    let objects = request["objects"].as_array().unwrap();
    let mut converted: Vec<Value> = objects.iter().map(|o| convert(o, wanted)).collect();
    match path {
        "/rename" => converted[0]["metadata"]["name"] = "other".into(),
        "/few" => converted.clear(),
        _ => {}
    }
    json!({"result": {"status": "Success"}, "convertedObjects": converted})
}

fn definition(hook: &Hook, path: &str, storage: &str) -> String {
    let text = json!({"type": "string"});
    let version = |name: &str, fields: &[&str]| {
        let properties: serde_json::Map<_, _> = fields
            .iter()
            .map(|f| ((*f).to_owned(), text.clone()))
            .collect();
        let selectable: Vec<Value> = fields
            .iter()
            .map(|f| json!({"jsonPath": format!(".{f}")}))
            .collect();
        json!({"name": name, "served": true, "storage": name == storage,
               "selectableFields": selectable,
               "schema": {"openAPIV3Schema": {"type": "object", "properties": properties}}})
    };
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "places.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": {"plural": "places", "singular": "place", "kind": "Place"},
            "versions": [version("v1", &["hostPort"]), version("v2", &["host", "port"])],
            "conversion": {"strategy": "Webhook", "webhook": {
                "clientConfig": {"url": format!("{}{path}", hook.url), "caBundle": hook.bundle},
                "conversionReviewVersions": ["v1", "v1beta1"]}}},
    })
    .to_string()
}

fn place(name: &str, version: &str, fields: &Value) -> String {
    let mut object = json!({"apiVersion": format!("example.com/{version}"), "kind": "Place",
                            "metadata": {"name": name}});
    for (key, value) in fields.as_object().unwrap() {
        object[key] = value.clone();
    }
    object.to_string()
}

#[test]
fn a_webhook_converts_between_versions() {
    let cluster = Cluster::start();
    let hook = cluster.block_on(Hook::start(respond));
    cluster.kubectl_with("create -f -", &definition(&hook, "/convert", "v1"));
    cluster.kubectl("wait --for=condition=Established crd/places.example.com --timeout=5s");
    let at = json!({"hostPort": "localhost:8080"});
    cluster.kubectl_with("create -f -", &place("one", "v1", &at));
    let parts = "-o jsonpath={.apiVersion}/{.host}/{.port}/{.hostPort}/{.metadata.generation}";
    assert_eq!(
        cluster.kubectl(&format!("get places.v2.example.com one {parts}")),
        "example.com/v2/localhost/8080//1"
    );
    // Another storage version: what is stored from now on is in it, and lists hold both.
    cluster.kubectl_with("replace -f -", &definition(&hook, "/convert", "v2"));
    cluster.kubectl_with(
        "create -f -",
        &place("two", "v1", &json!({"hostPort": "there:1"})),
    );
    let asked = hook.asked.lock().len();
    let names = "-o jsonpath={.items[*].metadata.name}/{.items[*].host}/{.items[*].hostPort}";
    assert_eq!(
        cluster.kubectl(&format!("get places.v1.example.com {names}")),
        "one two//localhost:8080 there:1"
    );
    assert_eq!(
        cluster.kubectl(&format!("get places.v2.example.com {names}")),
        "one two/localhost there/"
    );
    let asked = hook.asked.lock().split_off(asked);
    assert_eq!(asked.len(), 2, "{asked:?}");
    assert_eq!(asked[0].0, "/convert?timeout=30s");
    // Fields are selected as they are shown.
    let selected = cluster.kubectl("get places.v2.example.com --field-selector=host=there -o name");
    assert_eq!(selected.trim(), "place.example.com/two");
    let selected = cluster
        .kubectl("get places.v1.example.com --field-selector=hostPort=localhost:8080 -o name");
    assert_eq!(selected.trim(), "place.example.com/one");
    // Patches are made in the version they name.
    let patch = [
        "patch",
        "places.v2.example.com",
        "one",
        "--type=merge",
        "-p",
        r#"{"port":"9"}"#,
    ];
    let said = cluster.run(&patch, "");
    assert!(said.ok, "{said:?}");
    assert_eq!(
        cluster.kubectl(&format!("get places.v1.example.com one {parts}")),
        "example.com/v1///localhost:9/2"
    );
    watches_show_their_version(&cluster);
    cluster.kubectl("delete places.v1.example.com one two");
}

/// Watches show what is there, and what has happened, in the version they are opened in.
fn watches_show_their_version(cluster: &Cluster) {
    let watch = |from: &str| {
        let path = "/apis/example.com/v2/namespaces/default/places?watch=true&timeoutSeconds=1";
        let said = cluster.kubectl(&format!("get --raw {path}{from}"));
        let events = said
            .lines()
            .map(|l| serde_json::from_str::<Value>(l).unwrap());
        events.collect::<Vec<_>>()
    };
    let hosts = |events: &[Value]| {
        let one = |e: &Value| format!("{} {}", e["type"].as_str().unwrap(), e["object"]["port"]);
        events.iter().map(one).collect::<Vec<_>>()
    };
    let first = watch("");
    assert_eq!(hosts(&first), ["ADDED \"9\"", "ADDED \"1\""]);
    let since = first[1]["object"]["metadata"]["resourceVersion"].as_str();
    let happened = watch(&format!("&resourceVersion={}", since.unwrap()));
    assert_eq!(hosts(&happened), ["MODIFIED \"9\""]);
}

#[test]
fn what_a_webhook_may_not_do_is_refused() {
    let cluster = Cluster::start();
    let hook = cluster.block_on(Hook::start(respond));
    cluster.kubectl_with("create -f -", &definition(&hook, "/refuse", "v1"));
    cluster.kubectl("wait --for=condition=Established crd/places.example.com --timeout=5s");
    cluster.kubectl_with(
        "create -f -",
        &place("one", "v1", &json!({"hostPort": "a:1"})),
    );
    let get = "get places.v2.example.com one";
    let said = cluster.refused(get, "");
    let about = "conversion webhook for example.com/v1, Kind=Place";
    assert!(
        said.contains(&format!("{about} failed: not today")),
        "{said}"
    );
    cluster.kubectl_with("replace -f -", &definition(&hook, "/rename", "v1"));
    let said = cluster.refused(get, "");
    let why = "returned invalid object: must have the same name: one != other";
    assert!(said.contains(&format!("{about} {why}")), "{said}");
    cluster.kubectl_with("replace -f -", &definition(&hook, "/few", "v1"));
    let said = cluster.refused(get, "");
    assert!(
        said.contains(&format!("{about} returned 0 objects, expected 1")),
        "{said}"
    );
}

#[test]
fn defaults_that_came_later_are_seen_in_what_was_stored_before() {
    let cluster = Cluster::start();
    let definition = |default: &Value| {
        let a = match default {
            Value::Null => json!({"type": "string"}),
            default => json!({"type": "string", "default": default}),
        };
        json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": "things.example.com"},
            "spec": {"group": "example.com", "scope": "Cluster",
                     "names": {"plural": "things", "singular": "thing", "kind": "Thing"},
                     "versions": [{"name": "v1", "served": true, "storage": true, "schema":
                         {"openAPIV3Schema": {"type": "object", "properties": {"a": a}}}}]}})
        .to_string()
    };
    cluster.kubectl_with("create -f -", &definition(&Value::Null));
    cluster.kubectl("wait --for=condition=Established crd/things.example.com --timeout=5s");
    let thing = json!({"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "t"}});
    cluster.kubectl_with("create -f -", &thing.to_string());
    let shown = || cluster.kubectl("get thing t -o jsonpath={.a}");
    assert_eq!(shown(), "");
    for default in ["A", "B"] {
        cluster.kubectl_with("replace -f -", &definition(&default.into()));
        assert_eq!(shown(), default);
    }
}
