//! Admission webhooks as users configure them, with real webhook servers.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "support/hook.rs"]
mod hook;
mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use corten_api::Kind;
use corten_api::core::v1::{ConfigMap, ResourceQuota};
use corten_apiserver::UserInfo;
use corten_client::Client;
use corten_core::Quantity;
use futures_util::future::join_all;
use hook::Hook;
use serde_json::{Value, json};
use support::Cluster;

fn root(cluster: &Cluster) -> Client {
    let user = UserInfo {
        name: "root".into(),
        groups: vec!["system:masters".into()],
        ..UserInfo::default()
    };
    Client::new(Arc::new(cluster.server.local(user)), "test")
}

/// One webhook of a configuration; `rest` adds to it or replaces.
fn webhook(hook: &Hook, name: &str, path: &str, rest: &Value) -> Value {
    let mut webhook = json!({
        "name": format!("{name}.example.com"),
        "clientConfig": {"url": format!("{}{path}", hook.url), "caBundle": hook.bundle},
        "rules": [{"operations": ["*"], "apiGroups": [""], "apiVersions": ["v1"],
                   "resources": ["configmaps"]}],
        "sideEffects": "None", "admissionReviewVersions": ["v1"],
        "namespaceSelector": {"matchExpressions": [
            {"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["default"]}]},
    });
    for (key, value) in rest.as_object().unwrap() {
        webhook[key] = value.clone();
    }
    webhook
}

fn configure(cluster: &Cluster, kind: &str, name: &str, webhooks: &[Value]) {
    let configuration = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": kind,
        "metadata": {"name": name}, "webhooks": webhooks,
    });
    cluster.kubectl_with("apply -f -", &configuration.to_string());
}

fn config_map(name: &str, data: &Value) -> String {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"},
           "data": data})
    .to_string()
}

const VALIDATING: &str = "ValidatingWebhookConfiguration";
const MUTATING: &str = "MutatingWebhookConfiguration";

#[test]
fn validating_webhooks_refuse_in_their_own_words() {
    let cluster = Cluster::start();
    let hook = cluster.block_on(Hook::start(|path, request| match path {
        "/warn" => json!({"allowed": true, "warnings": ["mind the gap"]}),
        _ if request["object"]["data"]["secret"].is_null() => json!({"allowed": true}),
        "/deny" => json!({"allowed": false, "status": {"message": "no secrets here"}}),
        "/teapot" => {
            json!({"allowed": false, "status": {"code": 418, "reason": "Teapot", "message": "short"}})
        }
        _ => json!({"allowed": false}),
    }));
    let hooks = [("deny", "/deny"), ("mute", "/mute"), ("teapot", "/teapot")];
    for (name, path) in hooks {
        let selector = json!({"objectSelector": {"matchLabels": {"by": name}}});
        let webhooks = [webhook(&hook, name, path, &selector)];
        configure(&cluster, VALIDATING, name, &webhooks);
    }
    let warning = [webhook(&hook, "warn", "/warn", &json!({}))];
    configure(&cluster, VALIDATING, "warn", &warning);
    let refused = |name: &str| {
        let mut object: Value =
            serde_json::from_str(&config_map("a", &json!({"secret": "x"}))).unwrap();
        object["metadata"]["labels"] = json!({"by": name});
        cluster.refused("create -f -", &object.to_string())
    };
    let text = |name: &str, why: &str| {
        format!("admission webhook \"{name}.example.com\" denied the request{why}\n")
    };
    let said = refused("deny");
    assert!(said.ends_with(&text("deny", ": no secrets here")), "{said}");
    let said = refused("mute");
    assert!(
        said.ends_with(&text("mute", " without explanation")),
        "{said}"
    );
    let said = refused("teapot");
    assert!(
        said.contains("(Teapot)") && said.ends_with(&text("teapot", ": short")),
        "{said}"
    );
    let said = cluster.try_kubectl("create -f -", &config_map("b", &json!({"fine": "y"})));
    assert!(
        said.ok && said.err.contains("Warning: mind the gap"),
        "{said:?}"
    );
    // Configurations are not asked about themselves.
    let everything = json!({"rules": [{"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"],
        "resources": ["*/*"]}], "namespaceSelector": {}});
    configure(
        &cluster,
        VALIDATING,
        "mute",
        &[webhook(&hook, "mute", "/mute", &everything)],
    );
    cluster.kubectl("delete validatingwebhookconfigurations --all");
    cluster.kubectl_with("create -f -", &config_map("a", &json!({"secret": "x"})));
}

#[test]
fn a_review_says_everything_about_the_request() {
    let cluster = Cluster::start();
    let hook = cluster.block_on(Hook::start(|_, _| json!({"allowed": true})));
    configure(
        &cluster,
        VALIDATING,
        "all",
        &[webhook(&hook, "all", "/v", &json!({}))],
    );
    configure(
        &cluster,
        MUTATING,
        "all",
        &[webhook(&hook, "all", "/m", &json!({}))],
    );
    let made = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"generateName":"gen-"},"data":{"a":"1"}}"#;
    let name = cluster.kubectl_with("create -f - -o jsonpath={.metadata.name}", made);
    let (mutating, validating) = (hook.requests("/m"), hook.requests("/v"));
    let (before, after) = (&mutating[0], &validating[0]);
    let kind = json!({"group": "", "version": "v1", "kind": "ConfigMap"});
    let resource = json!({"group": "", "version": "v1", "resource": "configmaps"});
    for request in [before, after] {
        assert_eq!(request["kind"], kind);
        assert_eq!(request["requestKind"], kind);
        assert_eq!(request["resource"], resource);
        assert_eq!(request["requestResource"], resource);
        assert_eq!(request["operation"], "CREATE");
        assert_eq!(request["namespace"], "default");
        assert_eq!(request["dryRun"], false);
        assert_eq!(request["oldObject"], Value::Null);
        assert_eq!(request["object"]["data"]["a"], "1");
        assert_eq!(request["object"]["kind"], "ConfigMap");
        let options = &request["options"];
        assert_eq!(options["kind"], "CreateOptions");
        assert_eq!(options["apiVersion"], "meta.k8s.io/v1");
        assert_eq!(options["fieldManager"], "kubectl-create");
        assert_eq!(options["fieldValidation"], "Strict");
        let groups = request["userInfo"]["groups"].as_array().unwrap();
        assert!(groups.contains(&json!("system:authenticated")));
    }
    // The name is generated between the two.
    assert_eq!(before["name"], Value::Null);
    assert_eq!(before["object"]["metadata"]["uid"], Value::Null);
    assert_eq!(after["name"], name.as_str());
    assert!(after["object"]["metadata"]["uid"].is_string());
    assert_eq!(hook.asked.lock()[0].0, "/m?timeout=10s");
    hook.asked.lock().clear();
    cluster.kubectl(&format!(
        "patch configmap {name} --type=merge --dry-run=server -p {{\"data\":{{\"a\":\"2\"}}}}"
    ));
    cluster.kubectl(&format!("delete configmap {name}"));
    let requests = hook.requests("/v");
    let [patched, deleted] = requests.as_slice() else {
        panic!("{requests:#?}")
    };
    assert_eq!(patched["operation"], "UPDATE");
    assert_eq!(patched["dryRun"], true);
    assert_eq!(patched["options"]["kind"], "UpdateOptions");
    assert_eq!(patched["object"]["data"]["a"], "2");
    assert_eq!(patched["oldObject"]["data"]["a"], "1");
    assert_eq!(deleted["operation"], "DELETE");
    assert_eq!(deleted["object"], Value::Null);
    assert_eq!(deleted["oldObject"]["data"]["a"], "1");
    assert_eq!(deleted["options"]["kind"], "DeleteOptions");
    assert_eq!(deleted["options"]["propagationPolicy"], "Background");
}

/// Adds a letter to `data.seen`.
fn sign(request: &Value, letter: &str) -> Value {
    let seen = request["object"]["data"]["seen"]
        .as_str()
        .unwrap_or_default();
    let value = json!({"seen": format!("{seen}{letter}")});
    json!({"allowed": true, "patch": [{"op": "add", "path": "/data", "value": value}]})
}

#[test]
fn mutating_webhooks_change_objects_in_order_and_once_more() {
    let cluster = Cluster::start();
    let hook = cluster.block_on(Hook::start(|path, request| {
        let seen = request["object"]["data"]["seen"]
            .as_str()
            .unwrap_or_default();
        match path {
            // Settles after its second look.
            "/a" if seen.contains("aa") => json!({"allowed": true}),
            "/name" => json!({"allowed": true,
                "patch": [{"op": "add", "path": "/metadata/labels", "value": {"signed": "yes"}}]}),
            _ => sign(request, path.trim_start_matches('/')),
        }
    }));
    let again = json!({"reinvocationPolicy": "IfNeeded"});
    let webhooks = [
        webhook(&hook, "a", "/a", &again),
        webhook(&hook, "b", "/b", &json!({})),
        webhook(&hook, "c", "/c", &json!({})),
        webhook(&hook, "name", "/name", &json!({})),
    ];
    configure(&cluster, MUTATING, "signers", &webhooks);
    let out = "create -f - -o jsonpath={.data.seen},{.metadata.labels.signed}";
    let said = cluster.kubectl_with(out, &config_map("signed", &json!({})));
    assert_eq!(said, "abca,yes");
    let patch = json!([{"op": "add", "path": "/spec/nonsense", "value": 1}]);
    let broken = cluster.block_on(Hook::start(
        move |_, _| json!({"allowed": true, "patch": patch.clone()}),
    ));
    configure(
        &cluster,
        MUTATING,
        "signers",
        &[webhook(&broken, "a", "/a", &json!({}))],
    );
    let said = cluster.refused("create -f -", &config_map("x", &json!({})));
    let text = "Internal error occurred: add operation does not apply: doc is missing path: \"/spec/nonsense\": missing value\n";
    assert!(
        said.starts_with("Error from server (InternalError): ") && said.ends_with(text),
        "{said}"
    );
}

#[test]
fn what_cannot_be_asked_fails_as_its_policy_says() {
    let cluster = Cluster::start();
    let hook = cluster.block_on(Hook::start(|path, _| match path {
        "/never" => Value::Null,
        "/broken" => json!({"raw": {"code": 500, "text": "out of order"}}),
        "/nothing" => json!({"raw": {"code": 200, "text": "{}"}}),
        _ => json!({"raw": {"code": 404, "text": "no such page"}}),
    }));
    let failing = |path: &str, rest: Value| {
        configure(
            &cluster,
            VALIDATING,
            "failing",
            &[webhook(&hook, "failing", path, &rest)],
        );
        cluster.try_kubectl("create -f -", &config_map("x", &json!({})))
    };
    let expect = |said: &support::Said, why: &str| {
        let text = format!(
            "Error from server (InternalError): error when creating \"STDIN\": Internal error occurred: failed \
             calling webhook \"failing.example.com\": {why}\n"
        );
        assert_eq!(said.err, text);
    };
    expect(
        &failing("/broken", json!({})),
        "failed to call webhook: an error on the server (\"out of order\") has prevented the request from succeeding",
    );
    expect(
        &failing("/missing", json!({})),
        "failed to call webhook: the server could not find the requested resource",
    );
    expect(
        &failing("/nothing", json!({})),
        "received invalid webhook response: webhook response was absent",
    );
    let said = failing("/never", json!({"timeoutSeconds": 1}));
    let why = format!(
        "failed to call webhook: Post \"{}/never?timeout=1s\": context deadline exceeded",
        hook.url
    );
    expect(&said, &why);
    let nowhere = json!({"clientConfig": {"service": {"name": "none", "namespace": "default", "path": "/x"}}});
    expect(
        &failing("/x", nowhere),
        "failed to call webhook: Post \"https://none.default.svc:443/x?timeout=10s\": service \"none\" not found",
    );
    assert!(failing("/broken", json!({"failurePolicy": "Ignore"})).ok);
}

#[test]
fn an_equivalent_resource_is_shown_in_the_webhooks_version() {
    let cluster = Cluster::start();
    let hook = cluster.block_on(Hook::start(|_, _| json!({"allowed": true})));
    let rules = json!({"namespaceSelector": {}, "rules": [{"operations": ["CREATE"], "apiGroups": ["autoscaling"],
        "apiVersions": ["v1"], "resources": ["horizontalpodautoscalers"]}]});
    let mut exact = rules.clone();
    exact["matchPolicy"] = "Exact".into();
    let webhooks = [
        webhook(&hook, "equivalent", "/equivalent", &rules),
        webhook(&hook, "exact", "/exact", &exact),
    ];
    configure(&cluster, VALIDATING, "scalers", &webhooks);
    let scaler = json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "h"}, "spec": {"maxReplicas": 3,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"},
            "metrics": [{"type": "Resource", "resource": {"name": "cpu",
                "target": {"type": "Utilization", "averageUtilization": 70}}}]}});
    cluster.kubectl_with("create -f -", &scaler.to_string());
    assert!(hook.requests("/exact").is_empty());
    let requests = hook.requests("/equivalent");
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0]["kind"]["version"], "v1");
    assert_eq!(requests[0]["requestKind"]["version"], "v2");
    assert_eq!(requests[0]["object"]["apiVersion"], "autoscaling/v1");
    assert_eq!(
        requests[0]["object"]["spec"]["targetCPUUtilizationPercentage"],
        70
    );
}

#[test]
fn sixty_four_creates_at_once_fill_a_quota_exactly_with_a_webhook_asked_over_few_connections() {
    let cluster = Cluster::start();
    let hook = cluster.block_on(Hook::start(|_, _| json!({"allowed": true})));
    let rules = json!({"rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"],
        "resources": ["configmaps"]}]});
    configure(
        &cluster,
        VALIDATING,
        "all",
        &[webhook(&hook, "all", "/v", &rules)],
    );
    let client = root(&cluster);
    cluster.kubectl("create quota few --hard=count/configmaps=40");
    cluster.block_on(async {
        let mut quota = client.get::<ResourceQuota>("default", "few").await.unwrap();
        quota.status.hard = quota.spec.hard.clone();
        let none = Quantity::parse("0").unwrap();
        quota.status.used.insert("count/configmaps", none);
        client.update_status(quota).await.unwrap();
        let racing = (0..64).map(|i| {
            let client = client.clone();
            tokio::spawn(async move {
                let made = ConfigMap::namespaced("default", &format!("racer-{i}"));
                client.create(made).await
            })
        });
        let results = join_all(racing).await;
        let made = results
            .iter()
            .filter(|r| r.as_ref().unwrap().is_ok())
            .count();
        assert_eq!(made, 40);
        let quota = client.get::<ResourceQuota>("default", "few").await.unwrap();
        let used = quota.status.used.get("count/configmaps").unwrap();
        assert_eq!(used.to_string(), "40");
    });
    // Everybody is asked about once, however often a quota is charged anew.
    assert_eq!(hook.requests("/v").len(), 64);
    assert!(hook.connections.load(Ordering::SeqCst) <= 64);
    hook.connections.store(0, Ordering::SeqCst);
    cluster.kubectl("delete quota few");
    cluster.block_on(async {
        for i in 0..20 {
            let made = ConfigMap::namespaced("default", &format!("later-{i}"));
            client.create(made).await.unwrap();
        }
    });
    assert_eq!(hook.connections.load(Ordering::SeqCst), 0);
}

#[test]
fn streams_reviews_evictions_and_bindings_are_asked_about_too() {
    let cluster = Cluster::start();
    let hook = cluster.block_on(Hook::start(|_, request| {
        let kind = request["kind"]["kind"].as_str().unwrap();
        let message = format!("no {kind} here");
        json!({"allowed": kind == "Pod", "status": {"message": message}})
    }));
    let rules = json!({"namespaceSelector": {}, "rules": [
        {"operations": ["CREATE", "CONNECT"], "apiGroups": [""], "apiVersions": ["v1"],
         "resources": ["pods/*", "serviceaccounts/token"]},
        {"operations": ["CREATE"], "apiGroups": ["authentication.k8s.io"], "apiVersions": ["v1"],
         "resources": ["tokenreviews"]}]});
    configure(
        &cluster,
        VALIDATING,
        "parts",
        &[webhook(&hook, "parts", "/v", &rules)],
    );
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "c", "image": "i"}]}});
    cluster.kubectl("create serviceaccount default");
    cluster.kubectl_with("create -f -", &pod.to_string());
    let refused = |said: String, kind: &str| {
        let text =
            format!("admission webhook \"parts.example.com\" denied the request: no {kind} here");
        assert!(said.contains(&text), "{said}");
    };
    let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p"},
        "target": {"kind": "Node", "name": "n"}});
    let raw = "/api/v1/namespaces/default/pods/p";
    let said = cluster.refused(
        &format!("create --raw {raw}/binding -f -"),
        &binding.to_string(),
    );
    refused(said, "Binding");
    let eviction =
        json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}});
    let said = cluster.refused(
        &format!("create --raw {raw}/eviction -f -"),
        &eviction.to_string(),
    );
    refused(said, "Eviction");
    refused(cluster.refused("create token default", ""), "TokenRequest");
    refused(cluster.refused("exec p -- id", ""), "PodExecOptions");
    refused(cluster.refused("attach p", ""), "PodAttachOptions");
    refused(
        cluster.refused(&format!("get --raw {raw}/proxy/"), ""),
        "PodProxyOptions",
    );
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
        "spec": {"token": "x"}});
    refused(
        cluster.refused("create --validate=false -f -", &review.to_string()),
        "TokenReview",
    );
    let asked = hook.requests("/v");
    let exec = asked
        .iter()
        .find(|r| r["kind"]["kind"] == "PodExecOptions")
        .unwrap();
    assert_eq!(exec["operation"], "CONNECT");
    assert_eq!(exec["subResource"], "exec");
    assert_eq!(exec["object"]["command"], json!(["id"]));
    assert_eq!(exec["options"], Value::Null);
}
