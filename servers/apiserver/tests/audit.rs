//! What the audit log says of requests.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use corten_apiserver::Disk;
use serde_json::{Value, json};
use support::Cluster;
use support::https::Ask;

struct Audited {
    cluster: Cluster,
    log: std::path::PathBuf,
    _kept: tempfile::TempDir,
}

fn audited(policy: &str) -> Audited {
    let kept = tempfile::tempdir().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let log = kept.path().join("logs/audit.log");
    let file = kept.path().join("policy.yaml");
    std::fs::write(
        &file,
        format!("apiVersion: audit.k8s.io/v1\nkind: Policy\n{policy}"),
    )
    .unwrap();
    let cluster = Cluster::start_with(directory, Disk::Memory, |config| {
        config.access.audit.policy_file = Some(file);
        config.access.audit.log.path = Some(log.clone());
    });
    Audited {
        cluster,
        log,
        _kept: kept,
    }
}

impl Audited {
    /// All events, as soon as there are so many: the end of a watch is written by a task of its own.
    fn until(&self, count: usize) -> Vec<Value> {
        let mut events = Vec::new();
        for _ in 0..100_000 {
            let text = std::fs::read_to_string(&self.log).unwrap();
            let lines = text.lines();
            events = lines.map(|l| serde_json::from_str(l).unwrap()).collect();
            if events.len() >= count {
                break;
            }
            std::thread::yield_now();
        }
        events
    }

    /// The events with this id, in order.
    fn events(&self, id: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.log).unwrap();
        let events = text
            .lines()
            .map(|l| serde_json::from_str::<Value>(l).unwrap());
        events.filter(|e| e["auditID"] == id).collect()
    }
}

#[test]
fn levels_and_stages() {
    let it = audited(
        r#"
rules:
- {level: None, nonResourceURLs: [/version]}
- {level: RequestResponse, resources: [{group: "", resources: [configmaps]}], omitManagedFields: true}
- {level: Metadata, omitStages: [RequestReceived]}
"#,
    );
    let cluster = &it.cluster;
    let told = Ask::get("/version")
        .header("Audit-ID: v")
        .admin(cluster)
        .send(cluster);
    assert!(told.head.contains("audit-id: v") && it.events("v").is_empty());
    let body = json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "a"}, "data": {"k": "v"}});
    let path = "/api/v1/namespaces/default/configmaps";
    let create = Ask::post(path, &body.to_string()).admin(cluster);
    create
        .header("Audit-ID: c")
        .header("User-Agent: test/1")
        .send(cluster);
    let events = it.events("c");
    let stages: Vec<&str> = events
        .iter()
        .map(|e| e["stage"].as_str().unwrap())
        .collect();
    assert_eq!(stages, ["RequestReceived", "ResponseComplete"]);
    let event = &events[1];
    assert_eq!(event["kind"], "Event");
    assert_eq!(event["apiVersion"], "audit.k8s.io/v1");
    assert_eq!(event["level"], "RequestResponse");
    assert_eq!(event["verb"], "create");
    assert_eq!(event["requestURI"], path);
    assert_eq!(event["sourceIPs"], json!(["127.0.0.1"]));
    assert_eq!(event["userAgent"], "test/1");
    assert_eq!(event["user"]["groups"][0], "system:masters");
    let object =
        json!({"resource": "configmaps", "namespace": "default", "name": "a", "apiVersion": "v1"});
    assert_eq!(event["objectRef"], object);
    assert_eq!(
        event["responseStatus"],
        json!({"metadata": {}, "code": 201})
    );
    assert_eq!(event["requestObject"]["data"], json!({"k": "v"}));
    assert_eq!(event["responseObject"]["metadata"]["name"], "a");
    assert_eq!(
        event["responseObject"]["metadata"]["managedFields"],
        Value::Null
    );
    let annotations =
        json!({"authorization.k8s.io/decision": "allow", "authorization.k8s.io/reason": ""});
    assert_eq!(event["annotations"], annotations);
    let path = "/api/v1/namespaces/default/secrets/none";
    Ask::get(path)
        .header("Audit-ID: s")
        .admin(cluster)
        .send(cluster);
    let events = it.events("s");
    assert_eq!(events.len(), 1);
    let status = json!({
        "metadata": {}, "status": "Failure", "message": "secrets \"none\" not found", "reason": "NotFound",
        "details": {"name": "none", "kind": "secrets"}, "code": 404,
    });
    assert_eq!(events[0]["responseStatus"], status);
    assert_eq!(events[0]["responseObject"], Value::Null);
}

#[test]
fn refusals_and_other_identities() {
    let it = audited("rules: [{level: Metadata}]");
    let cluster = &it.cluster;
    Ask::get("/api/v1/pods")
        .header("Audit-ID: u")
        .bearer("nonsense")
        .send(cluster);
    let events = it.events("u");
    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["stage"], "ResponseStarted");
    assert_eq!(events[0]["user"], json!({}));
    assert_eq!(events[0]["responseStatus"]["code"], 401);
    let ask = Ask::get("/api/v1/pods")
        .header("Audit-ID: f")
        .admin(cluster);
    ask.header("Impersonate-User: jane").send(cluster);
    let events = it.events("f");
    let event = &events[1];
    assert_eq!(event["impersonatedUser"]["username"], "jane");
    assert_eq!(
        event["annotations"]["authorization.k8s.io/decision"],
        "forbid"
    );
    assert_eq!(event["responseStatus"]["code"], 403);
}

#[test]
fn long_requests_are_said_to_have_begun() {
    let it = audited("omitStages: [RequestReceived]\nrules: [{level: Metadata}]");
    let cluster = &it.cluster;
    let path = "/api/v1/pods?watch=true&timeoutSeconds=1";
    Ask::get(path)
        .header("Audit-ID: w")
        .admin(cluster)
        .send(cluster);
    // The end is written by a task of its own, which the stop of the server waits for in vain: ask until it is there.
    let mut events = it.events("w");
    for _ in 0..10_000 {
        if events.len() == 2 {
            break;
        }
        std::thread::yield_now();
        events = it.events("w");
    }
    let stages: Vec<&str> = events
        .iter()
        .map(|e| e["stage"].as_str().unwrap())
        .collect();
    assert_eq!(stages, ["ResponseStarted", "ResponseComplete"]);
    assert_eq!(events[1]["requestURI"], path);
}

/// Creates, lists and watches as a controller of this process.
async fn act(cluster: &Cluster) {
    use corten_api::Kind as _;
    use corten_api::core::v1::ConfigMap;
    use corten_client::{Client, Transport as _, WatchRequest};
    use std::sync::Arc;
    let user = corten_apiserver::UserInfo {
        name: "system:serviceaccount:kube-system:job-controller".into(),
        groups: vec!["system:masters".into()],
        ..Default::default()
    };
    let local = Arc::new(cluster.server.local(user));
    let client = Client::new(local.clone(), "kube-controller-manager");
    let mut map = ConfigMap::named("seen");
    map.metadata.namespace = "default".into();
    client.create(map).await.unwrap();
    let request = WatchRequest {
        resource: corten_meta::GroupVersionResource::new("", "v1", "configmaps"),
        label_selector: "a=b".into(),
        ..WatchRequest::default()
    };
    local.list(request.clone()).await.unwrap();
    drop(local.watch(request).await.unwrap());
}

/// What asks without HTTP leaves the same trail.
#[test]
fn requests_of_this_process() {
    let it = audited(
        "omitStages: [RequestReceived]\nrules: [{level: RequestResponse, users: [\"system:serviceaccount:kube-system:job-controller\"]}]",
    );
    it.cluster.block_on(act(&it.cluster));
    let events = it.until(4);
    let told: Vec<(&str, &str, &str)> = events
        .iter()
        .map(|e| {
            let text = |name: &str| e[name].as_str().unwrap();
            (
                text("verb"),
                text("stage"),
                text("requestURI").split("&resourceVersion").next().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            (
                "create",
                "ResponseComplete",
                "/api/v1/namespaces/default/configmaps"
            ),
            (
                "list",
                "ResponseComplete",
                "/api/v1/configmaps?labelSelector=a%3Db"
            ),
            (
                "watch",
                "ResponseStarted",
                "/api/v1/configmaps?allowWatchBookmarks=true&labelSelector=a%3Db"
            ),
            (
                "watch",
                "ResponseComplete",
                "/api/v1/configmaps?allowWatchBookmarks=true&labelSelector=a%3Db"
            ),
        ]
    );
    assert_eq!(events[0]["requestObject"]["metadata"]["name"], "seen");
    assert!(events[0]["responseObject"]["metadata"]["uid"].is_string());
    assert_eq!(events[0]["responseStatus"]["code"], 201);
    assert_eq!(events[0]["sourceIPs"], json!(["127.0.0.1"]));
    assert_eq!(
        events[0]["annotations"]["authorization.k8s.io/decision"],
        "allow"
    );
}

#[test]
fn what_a_pods_standard_says_is_told() {
    let it = audited("rules: [{level: Metadata, omitStages: [RequestReceived]}]\n");
    let post = |path: &str, id: &str, body: Value| {
        let ask = Ask::post(path, &body.to_string()).admin(&it.cluster);
        ask.header(&format!("Audit-ID: {id}")).send(&it.cluster)
    };
    let labels = json!({"pod-security.kubernetes.io/audit": "baseline"});
    let metadata = json!({"name": "s", "labels": labels});
    post("/api/v1/namespaces", "n", json!({"metadata": metadata}));
    let account = json!({"metadata": {"name": "default"}});
    post("/api/v1/namespaces/s/serviceaccounts", "a", account);
    let spec = json!({"hostNetwork": true, "containers": [{"name": "c", "image": "i"}]});
    let pod = json!({"metadata": {"name": "p"}, "spec": spec});
    post("/api/v1/namespaces/s/pods", "p", pod);
    let events = it.events("p");
    assert_eq!(events[0]["responseStatus"]["code"], 201, "{}", events[0]);
    let said =
        |key: &str| events[0]["annotations"][format!("pod-security.kubernetes.io/{key}")].clone();
    assert_eq!(said("enforce-policy"), "privileged:latest");
    assert_eq!(
        said("audit-violations"),
        "would violate PodSecurity \"baseline:latest\": host namespaces (hostNetwork=true)"
    );
}
