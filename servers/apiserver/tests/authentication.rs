//! Who is asking, over HTTPS: every kind of proof, good and bad, and acting as somebody else.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::time::{Duration, SystemTime};

use corten_apiserver::Disk;
use corten_pki::{Authority, Identity, Leaf, Usage};
use serde_json::json;
use support::Cluster;
use support::https::{Ask, Told};

const WHO: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";

fn who() -> Ask {
    Ask::post(
        WHO,
        r#"{"kind":"SelfSubjectReview","apiVersion":"authentication.k8s.io/v1"}"#,
    )
}

fn user(told: &Told) -> serde_json::Value {
    assert_eq!(told.code, 201, "{}", told.body);
    told.json()["status"]["userInfo"].clone()
}

fn cluster_with(change: impl FnOnce(&std::path::Path, &mut corten_apiserver::Config)) -> Cluster {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_owned();
    Cluster::start_with(directory, Disk::Memory, |config| change(&path, config))
}

#[test]
fn a_token_file_names_users() {
    let cluster = cluster_with(|directory, config| {
        let file = directory.join("tokens.csv");
        std::fs::write(&file, "t1,jane,7,\"a,b\"\n").unwrap();
        config.access.authentication.token_auth_file = Some(file);
    });
    let told = user(&who().bearer("t1").send(&cluster));
    let expected =
        json!({"username": "jane", "uid": "7", "groups": ["a", "b", "system:authenticated"]});
    assert_eq!(told, expected);
    assert_eq!(who().bearer("t2").send(&cluster).code, 401);
    // Nothing is left for whatever comes after an unknown scheme: the request is anonymous.
    let told = who().header("Authorization: Basic dDE6").send(&cluster);
    assert_eq!(told.code, 403, "{}", told.body);
    let told = who().header("Authorization: Bearer  t1").send(&cluster);
    assert_eq!(told.code, 403);
    let version = Ask::get("/version")
        .header("Authorization: Bearer  t1")
        .send(&cluster);
    assert_eq!(version.code, 200);
}

#[test]
fn without_a_proof_one_is_anonymous_or_nobody() {
    let cluster = Cluster::start();
    assert_eq!(Ask::get("/version").send(&cluster).code, 200);
    let told = Ask::get("/api/v1/pods").send(&cluster);
    let expected = "pods is forbidden: User \"system:anonymous\" cannot list resource \"pods\" in API group \"\" at the cluster scope";
    assert_eq!((told.code, told.message().as_str()), (403, expected));
    let cluster = cluster_with(|_, config| {
        config.access.authentication.anonymous_auth = Some(false);
    });
    let told = Ask::get("/version").send(&cluster);
    assert_eq!((told.code, told.message().as_str()), (401, "Unauthorized"));
}

#[test]
fn a_certificate_of_nobodys_is_401() {
    let cluster = Cluster::start();
    let leaf = Leaf {
        common_name: "jane".into(),
        organization: Some("readers".into()),
        dns: Vec::new(),
        ips: Vec::new(),
        usage: Usage::Client,
        lifetime: Duration::from_secs(3600),
    };
    let now = SystemTime::now();
    let good = cluster.server.pki().ca.issue(&leaf, now).unwrap();
    let told = user(
        &who()
            .certificate(&good.certificate, &good.key)
            .send(&cluster),
    );
    assert_eq!(told["username"], "jane");
    assert_eq!(told["groups"], json!(["readers", "system:authenticated"]));
    let credential = &told["extra"]["authentication.kubernetes.io/credential-id"][0];
    assert!(credential.as_str().unwrap().starts_with("X509SHA256="));
    let other = Authority::create("other", Duration::from_secs(3600), now).unwrap();
    let bad = other.issue(&leaf, now).unwrap();
    let told = who().certificate(&bad.certificate, &bad.key).send(&cluster);
    assert_eq!(told.code, 401);
    // Another proof helps.
    cluster.kubectl("create serviceaccount robot");
    let token = cluster.kubectl("create token robot");
    let ask = who()
        .certificate(&bad.certificate, &bad.key)
        .bearer(token.trim());
    assert_eq!(
        user(&ask.send(&cluster))["username"],
        "system:serviceaccount:default:robot"
    );
}

#[test]
fn front_proxies_speak_for_others() {
    let cluster = Cluster::start();
    let pki = cluster.server.pki();
    let proxy = pki
        .client(&Identity::FrontProxyClient, SystemTime::now())
        .unwrap();
    let headers = |ask: Ask| {
        ask.header("X-Remote-User: jane")
            .header("X-Remote-Group: a")
            .header("X-Remote-Group: b")
            .header("X-Remote-Extra-Acme.io%2fProject: x")
    };
    let ask = headers(who()).certificate(&proxy.certificate, &proxy.key);
    let told = user(&ask.send(&cluster));
    assert_eq!(told["username"], "jane");
    assert_eq!(told["groups"], json!(["a", "b", "system:authenticated"]));
    assert_eq!(told["extra"], json!({"acme.io/project": ["x"]}));
    // Anybody else's headers are air.
    let told = user(&headers(who()).admin(&cluster).send(&cluster));
    assert_ne!(told["username"], "jane");
    assert_eq!(headers(Ask::get("/api/v1/pods")).send(&cluster).code, 403);
    // A proxy that names nobody is nobody, and its certificate is not one of the cluster's clients.
    let told = who()
        .certificate(&proxy.certificate, &proxy.key)
        .send(&cluster);
    assert_eq!(told.code, 401);
}

#[test]
fn tokens_of_accounts_end_with_what_they_are_bound_to() {
    let cluster = Cluster::start();
    cluster.kubectl("create serviceaccount robot");
    cluster.kubectl("create secret generic s");
    let uid = cluster.kubectl("get secret s -o jsonpath={.metadata.uid}");
    let token = cluster.kubectl(&format!(
        "create token robot --bound-object-kind Secret --bound-object-name s --bound-object-uid {uid}"
    ));
    let told = user(&who().bearer(token.trim()).send(&cluster));
    let extra = &told["extra"]["authentication.kubernetes.io/credential-id"][0];
    assert!(extra.as_str().unwrap().starts_with("JTI="));
    cluster.kubectl("delete secret s");
    assert_eq!(who().bearer(token.trim()).send(&cluster).code, 401);
    let review = json!({
        "kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1", "spec": {"token": token.trim()},
    });
    let path = "/apis/authentication.k8s.io/v1/tokenreviews";
    let told = Ask::post(path, &review.to_string())
        .admin(&cluster)
        .send(&cluster)
        .json();
    assert_eq!(
        told["status"]["error"],
        "service account token has been invalidated"
    );
    let other = cluster.kubectl("create token robot --audience other");
    let ask = |audiences: serde_json::Value| {
        let review = json!({
            "kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1",
            "spec": {"token": other.trim(), "audiences": audiences},
        });
        let told = Ask::post(path, &review.to_string())
            .admin(&cluster)
            .send(&cluster);
        told.json()["status"].clone()
    };
    let told = ask(json!(["other", "more"]));
    assert_eq!(
        (&told["authenticated"], &told["audiences"]),
        (&json!(true), &json!(["other"]))
    );
    let told = ask(json!([]));
    let expected = "token audiences [\"other\"] is invalid for the target audiences [\"https://kubernetes.default.svc.cluster.local\"]";
    assert_eq!(told["error"], expected);
}

#[test]
fn impersonation_tries_the_constrained_modes_first() {
    let cluster = Cluster::start();
    cluster.kubectl("create serviceaccount agent");
    let token = cluster.kubectl("create token agent");
    let list = || Ask::get("/api/v1/namespaces/default/pods").bearer(token.trim());
    let told = list().header("Impersonate-User: jane").send(&cluster);
    let expected = "pods is forbidden: User \"system:serviceaccount:default:agent\" cannot impersonate-on:user-info:list resource \"pods\" in API group \"\" in the namespace \"default\"";
    assert_eq!((told.code, told.message().as_str()), (403, expected));
    let role = r#"
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: act}
rules:
- {apiGroups: [""], resources: [pods], verbs: ["impersonate-on:user-info:list"]}
- {apiGroups: [authentication.k8s.io], resources: [users], verbs: ["impersonate:user-info"], resourceNames: [jane]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: act}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: act}
subjects: [{kind: ServiceAccount, namespace: default, name: agent}]
"#;
    cluster.kubectl_with("apply -f -", role);
    let told = list().header("Impersonate-User: jane").send(&cluster);
    let expected = "pods is forbidden: User \"jane\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\"";
    assert_eq!(told.message(), expected);
    let told = list().header("Impersonate-User: joe").send(&cluster);
    let expected = "users.authentication.k8s.io \"joe\" is forbidden: User \"system:serviceaccount:default:agent\" cannot impersonate:user-info resource \"users\" in API group \"authentication.k8s.io\" at the cluster scope";
    assert_eq!(told.message(), expected);
    let told = list()
        .header("Impersonate-User: jane")
        .header("Impersonate-Group: system:masters")
        .send(&cluster);
    let expected = "groups.authentication.k8s.io \"system:masters\" is forbidden: User \"system:serviceaccount:default:agent\" cannot impersonate:user-info resource \"groups\" in API group \"authentication.k8s.io\" at the cluster scope: impersonating the system:masters group is not allowed";
    assert_eq!(told.message(), expected);
    let told = list().header("Impersonate-Group: a").send(&cluster);
    assert_eq!(told.code, 400);
    // The old way still works.
    let told = who()
        .admin(&cluster)
        .header("Impersonate-User: system:serviceaccount:a:b")
        .header("Impersonate-Uid: 9")
        .header("Impersonate-Extra-Acme.io%2fx: y")
        .send(&cluster);
    let expected = json!({
        "username": "system:serviceaccount:a:b", "uid": "9", "extra": {"acme.io/x": ["y"]},
        "groups": ["system:serviceaccounts", "system:serviceaccounts:a", "system:authenticated"],
    });
    assert_eq!(user(&told), expected);
}

#[test]
fn reviews_say_what_is_wrong_with_them() {
    let cluster = Cluster::start();
    let ask = |kind: &str, spec: serde_json::Value| {
        let plural = format!("{}s", kind.to_lowercase());
        let body = json!({"kind": kind, "apiVersion": "authorization.k8s.io/v1", "spec": spec});
        let path = match kind.starts_with("Local") {
            true => format!("/apis/authorization.k8s.io/v1/namespaces/a/{plural}"),
            false => format!("/apis/authorization.k8s.io/v1/{plural}"),
        };
        Ask::post(&path, &body.to_string())
            .admin(&cluster)
            .send(&cluster)
    };
    let pods = json!({"verb": "list", "resource": "pods", "namespace": "b"});
    let told = ask(
        "LocalSubjectAccessReview",
        json!({"user": "x", "resourceAttributes": pods}),
    );
    let expected = " \"\" is invalid: spec.resourceAttributes.namespace: Invalid value: \"b\": must match metadata.namespace";
    assert!(
        told.code == 422 && told.message().ends_with(expected),
        "{}",
        told.body
    );
    let selector =
        json!({"requirements": [{"key": "spec.nodeName", "operator": "In", "values": ["n"]}]});
    let node = json!({"verb": "list", "resource": "pods", "fieldSelector": selector});
    let spec =
        json!({"user": "system:node:n", "groups": ["system:nodes"], "resourceAttributes": node});
    let told = ask("SubjectAccessReview", spec).json();
    assert_eq!(told["status"], json!({"allowed": true}));
    let selector = json!({"rawSelector": "a==b,c=d!!=,"});
    let node = json!({"verb": "list", "resource": "pods", "fieldSelector": selector});
    let spec =
        json!({"user": "system:node:n", "groups": ["system:nodes"], "resourceAttributes": node});
    let told = ask("SubjectAccessReview", spec).json();
    assert_eq!(told["status"]["allowed"], false);
}

#[test]
fn missing_roles_are_named() {
    let cluster = Cluster::start();
    cluster.kubectl("create rolebinding r --clusterrole=nothing --user=jane");
    let said = cluster.refused("get pods --as=jane", "");
    let expected = "cannot list resource \"pods\" in API group \"\" in the namespace \"default\": RBAC: clusterrole.rbac.authorization.k8s.io \"nothing\" not found";
    assert!(said.contains(expected), "{said}");
}
