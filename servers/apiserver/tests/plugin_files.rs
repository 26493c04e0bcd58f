//! Plugins that are told something by `--admission-control-config-file`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use corten_access::admission::PluginSet;
use corten_apiserver::{Config, Disk};
use serde_json::json;
use support::Cluster;
use support::elsewhere::Elsewhere;
use support::https::Ask;

fn cluster_with(change: impl FnOnce(&std::path::Path, &mut Config)) -> Cluster {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_owned();
    Cluster::start_with(directory, Disk::Memory, |config| change(&path, config))
}

/// Puts a configuration file for plugins into place, with these entries.
fn tell(directory: &std::path::Path, config: &mut Config, enabled: &[&str], plugins: &str) {
    let file = directory.join("admission.yaml");
    let head = "apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\nplugins:\n";
    std::fs::write(&file, format!("{head}{plugins}")).unwrap();
    config.plugins_file = Some(file);
    config.plugins = PluginSet::with(enabled, &[]).unwrap();
}

#[test]
fn another_server_says_which_images_run() {
    let elsewhere = Elsewhere::start(|_, review| {
        let bad = review["spec"]["containers"]
            .as_array()
            .unwrap()
            .iter()
            .any(|c| c["image"] == "bad");
        json!({"apiVersion": "imagepolicy.k8s.io/v1alpha1", "kind": "ImageReview", "status": {"allowed": !bad, "reason": "it is bad"}})
    });
    let cluster = cluster_with(|directory, config| {
        let policy = format!(
            "imagePolicy: {{kubeConfigFile: {}, allowTTL: 30}}\n",
            elsewhere.kubeconfig(directory).display()
        );
        std::fs::write(directory.join("images.yaml"), policy).unwrap();
        let plugins = "- {name: ImagePolicyWebhook, path: images.yaml}\n";
        tell(directory, config, &["ImagePolicyWebhook"], plugins);
    });
    let account = r#"{"apiVersion":"v1","kind":"ServiceAccount","metadata":{"name":"default"}}"#;
    let made = Ask::post("/api/v1/namespaces/default/serviceaccounts", account)
        .admin(&cluster)
        .send(&cluster);
    assert_eq!(made.code, 201, "{}", made.body);
    let pod = |image: &str| {
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "p-", "annotations": {"a.image-policy.k8s.io/b": "c", "x": "y"}},
            "spec": {"containers": [{"name": "c", "image": image}]}});
        Ask::post("/api/v1/namespaces/default/pods", &pod.to_string())
            .admin(&cluster)
            .send(&cluster)
    };
    let made = pod("good");
    assert_eq!(made.code, 201, "{}", made.body);
    assert_eq!(pod("good").code, 201);
    let asked = elsewhere.asked.lock().clone();
    // The second answer was kept from the first.
    assert_eq!(asked.len(), 1);
    assert_eq!(
        asked[0].1["spec"],
        json!({"containers": [{"image": "good"}], "annotations": {"a.image-policy.k8s.io/b": "c"}, "namespace": "default"})
    );
    let refused = pod("bad");
    assert_eq!(refused.code, 403, "{}", refused.body);
    assert!(
        refused.message().ends_with(
            "is forbidden: image policy webhook backend denied one or more images: it is bad"
        ),
        "{}",
        refused.body
    );
}

#[test]
fn events_are_limited() {
    let cluster = cluster_with(|directory, config| {
        let plugins = "- name: EventRateLimit\n  configuration:\n    apiVersion: eventratelimit.admission.k8s.io/v1alpha1\n    kind: Configuration\n    limits: [{type: Namespace, qps: 1, burst: 1000, cacheSize: 2}, {type: User, qps: 1, burst: 2}]\n";
        tell(directory, config, &["EventRateLimit"], plugins);
    });
    let event = json!({"apiVersion": "v1", "kind": "Event", "metadata": {"generateName": "e-", "namespace": "default"},
        "involvedObject": {"kind": "Pod", "namespace": "default", "name": "p"}, "type": "Normal"});
    let send = |query: &str| {
        let path = format!("/api/v1/namespaces/default/events{query}");
        Ask::post(&path, &event.to_string())
            .admin(&cluster)
            .send(&cluster)
    };
    let made: Vec<_> = (0..4).map(|_| send("")).collect();
    assert_eq!(made[0].code, 201, "{}", made[0].body);
    let refused = made.iter().find(|m| m.code == 429);
    let refused = refused.expect("two events at once, one more each second");
    assert_eq!(refused.json()["reason"], "TooManyRequests");
    assert!(
        refused
            .message()
            .starts_with("Too many requests: limit reached on type User for key "),
        "{}",
        refused.body
    );
    assert_eq!(send("?dryRun=All").code, 201);
}

#[test]
fn webhooks_learn_who_asks() {
    let elsewhere = Elsewhere::start(
        |_, review| json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": {"uid": review["request"]["uid"], "allowed": true}}),
    );
    let host = elsewhere.url.trim_start_matches("https://").to_owned();
    let cluster = cluster_with(|directory, config| {
        let clients = directory.join("clients.yaml");
        let users = format!(
            "apiVersion: v1\nkind: Config\nusers: [{{name: \"{host}\", user: {{token: known}}}}, {{name: \"*\", user: {{token: other}}}}]\n"
        );
        std::fs::write(&clients, users).unwrap();
        let plugins = format!(
            "- name: ValidatingAdmissionWebhook\n  configuration: {{apiVersion: apiserver.config.k8s.io/v1, kind: WebhookAdmissionConfiguration, kubeConfigFile: {}}}\n",
            clients.display()
        );
        tell(directory, config, &[], &plugins);
    });
    let configuration = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration", "metadata": {"name": "w"}, "webhooks": [{
        "name": "w.example.com", "clientConfig": {"url": format!("{}/hook", elsewhere.url), "caBundle": STANDARD.encode(&elsewhere.certificate)},
        "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}],
        "sideEffects": "None", "admissionReviewVersions": ["v1"]}]});
    let made = Ask::post(
        "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations",
        &configuration.to_string(),
    )
    .admin(&cluster)
    .send(&cluster);
    assert_eq!(made.code, 201, "{}", made.body);
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}});
    let made = Ask::post("/api/v1/namespaces/default/configmaps", &map.to_string())
        .admin(&cluster)
        .send(&cluster);
    assert_eq!(made.code, 201, "{}", made.body);
    let proofs = elsewhere.proofs.lock();
    assert!(proofs.iter().any(|p| p == "Bearer known"), "{proofs:?}");
    assert!(proofs.iter().all(|p| p == "Bearer known"), "{proofs:?}");
}

#[test]
fn a_plugin_without_what_it_needs_keeps_the_server_from_starting() {
    let directory = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut config = Config::new(directory.path().join("pki"), Disk::Memory);
    config.plugins = PluginSet::with(&["ImagePolicyWebhook"], &[]).unwrap();
    let started = runtime.block_on(corten_apiserver::ApiServer::start(config));
    assert_eq!(
        started.err().unwrap().to_string(),
        "couldn't init admission plugin \"ImagePolicyWebhook\": no config specified"
    );
}
