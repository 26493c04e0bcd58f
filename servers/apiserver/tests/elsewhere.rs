//! Who comes in, what they may do and what is written down, decided and kept by other servers.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::sync::{Arc, OnceLock};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use corten_apiserver::{Config, Disk};
use serde_json::{Value, json};
use support::Cluster;
use support::elsewhere::Elsewhere;
use support::https::{Ask, Told};

const WHO: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";

fn who(token: &str) -> Ask {
    let body = r#"{"kind":"SelfSubjectReview","apiVersion":"authentication.k8s.io/v1"}"#;
    Ask::post(WHO, body).bearer(token)
}

fn user(told: &Told) -> Value {
    assert_eq!(told.code, 201, "{}", told.body);
    told.json()["status"]["userInfo"].clone()
}

fn cluster_with(change: impl FnOnce(&std::path::Path, &mut Config)) -> Cluster {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_owned();
    Cluster::start_with(directory, Disk::Memory, |config| change(&path, config))
}

#[test]
fn a_webhook_knows_tokens() {
    let elsewhere = Elsewhere::start(|path, review| {
        assert_eq!(path, "/ask");
        assert_eq!(review["apiVersion"], "authentication.k8s.io/v1");
        let known = review["spec"]["token"] == "good";
        json!({"status": {"authenticated": known, "user": {"username": "jane", "groups": ["a"]}}})
    });
    let cluster = cluster_with(|directory, config| {
        let webhook = &mut config.access.authentication.webhook;
        webhook.config_file = Some(elsewhere.kubeconfig(directory));
        webhook.version = "v1".into();
    });
    for _ in 0..2 {
        let told = user(&who("good").send(&cluster));
        assert_eq!(
            told,
            json!({"username": "jane", "groups": ["a", "system:authenticated"]})
        );
        assert_eq!(who("bad").send(&cluster).code, 401);
    }
    // Each answer was kept.
    assert_eq!(elsewhere.asked.lock().len(), 2);
}

#[test]
fn a_webhook_decides() {
    let elsewhere = Elsewhere::start(|_, review| {
        let spec = &review["spec"];
        assert_eq!(review["apiVersion"], "authorization.k8s.io/v1");
        let allowed = spec["resourceAttributes"]["resource"] == "pods";
        json!({"status": {"allowed": allowed, "reason": "said so"}})
    });
    let cluster = cluster_with(|directory, config| {
        let file = directory.join("authorization.yaml");
        let text = format!(
            "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthorizationConfiguration\nauthorizers:\n\
             - {{type: RBAC, name: rbac}}\n\
             - type: Webhook\n  name: other\n  webhook:\n    timeout: 3s\n    subjectAccessReviewVersion: v1\n\
             \x20   failurePolicy: Deny\n    matchConditionSubjectAccessReviewVersion: v1\n\
             \x20   matchConditions: [{{expression: \"request.resourceAttributes.namespace != 'b'\"}}]\n    connectionInfo: {{type: KubeConfigFile, kubeConfigFile: {}}}\n",
            elsewhere.kubeconfig(directory).display()
        );
        std::fs::write(&file, text).unwrap();
        config.access.authorization.config_file = Some(file);
    });
    let ask = |path: &str| {
        Ask::get(path)
            .admin(&cluster)
            .header("Impersonate-User: jane")
            .send(&cluster)
    };
    assert_eq!(
        ask("/api/v1/namespaces/a/pods?fieldSelector=spec.nodeName%3Dn").code,
        200
    );
    let asked = elsewhere.asked.lock().last().unwrap().1["spec"].clone();
    assert_eq!(asked["user"], "jane");
    let selector =
        json!({"requirements": [{"key": "spec.nodeName", "operator": "In", "values": ["n"]}]});
    assert_eq!(asked["resourceAttributes"]["fieldSelector"], selector);
    assert_eq!(ask("/api/v1/namespaces/b/pods").code, 403);
    assert_eq!(elsewhere.asked.lock().len(), 1);
    let told = ask("/api/v1/namespaces/a/secrets");
    assert_eq!(told.code, 403);
    assert!(
        told.message().ends_with("in the namespace \"a\": said so"),
        "{}",
        told.body
    );
}

/// A policy that asks who may launch.
fn rockets() -> Value {
    json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": {"name": "rockets"}, "spec": {
        "matchConstraints": {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}]},
        "validations": [{"expression": "authorizer.group('').resource('rockets').namespace('default').check('launch').allowed()",
            "message": "you may not launch"}, {"expression": "authorizer.group('').resource('rockets').check('launch').reason() == 'the moon'"}]}})
}

/// A cluster that asks RBAC first and then a webhook.
fn asking(elsewhere: &Elsewhere) -> Cluster {
    cluster_with(|directory, config| {
        let access = &mut config.access.authorization;
        access.modes = vec!["RBAC".into(), "Webhook".into()];
        access.webhook_config_file = Some(elsewhere.kubeconfig(directory));
        access.webhook_version = "v1".into();
    })
}

/// Everything that is decided inside asks the same authorizers: expressions, grants, parameters of policies.
#[test]
fn a_webhook_decides_what_rules_ask() {
    let elsewhere = Elsewhere::start(|_, review| {
        let spec = &review["spec"];
        let asked = &spec["resourceAttributes"];
        // A fact of the webhook's own: RBAC knows nothing of jane and joe.
        let allowed = matches!(
            (spec["user"].as_str(), asked["verb"].as_str()),
            (Some("jane"), Some("create" | "escalate" | "launch")) | (Some("joe"), Some("create"))
        );
        json!({"status": {"allowed": allowed, "reason": "the moon"}})
    });
    let cluster = asking(&elsewhere);
    let post = |user: &str, path: &str, body: &Value| {
        Ask::post(path, &body.to_string())
            .admin(&cluster)
            .header(&format!("Impersonate-User: {user}"))
            .send(&cluster)
    };
    let policies = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies";
    let policy = rockets();
    let binding = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": "rockets"},
        "spec": {"policyName": "rockets", "validationActions": ["Deny"]}});
    let admin = |path: &str, body: &Value| {
        let told = Ask::post(path, &body.to_string())
            .admin(&cluster)
            .send(&cluster);
        assert_eq!(told.code, 201, "{}", told.body);
    };
    admin(policies, &policy);
    admin(
        "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings",
        &binding,
    );
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "m-"}});
    let maps = "/api/v1/namespaces/default/configmaps";
    let told = post("jane", maps, &map);
    assert_eq!(told.code, 201, "{}", told.body);
    let told = post("joe", maps, &map);
    assert_eq!(told.code, 422, "{}", told.body);
    assert!(
        told.message()
            .ends_with("denied request: you may not launch"),
        "{}",
        told.body
    );

    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"generateName": "r-"},
        "rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}]});
    let roles = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles";
    assert_eq!(post("jane", roles, &role).code, 201);
    let told = post("joe", roles, &role);
    assert_eq!(told.code, 403, "{}", told.body);
    assert!(
        told.message()
            .contains("is attempting to grant RBAC permissions not currently held"),
        "{}",
        told.body
    );

    let mut named = policy.clone();
    named["metadata"]["name"] = "named".into();
    named["spec"]["paramKind"] = json!({"apiVersion": "v1", "kind": "Secret"});
    let told = post("joe", policies, &named);
    assert_eq!(told.code, 422, "{}", told.body);
    assert!(
        told.message().ends_with("spec.paramKind: Forbidden: user &{joe  [system:authenticated] map[]} must have \"get\" permission on all objects of the referenced paramKind (kind=Secret, apiVersion=v1)"),
        "{}", told.body
    );
}

#[test]
fn a_file_of_attributes_decides() {
    let cluster = cluster_with(|directory, config| {
        let file = directory.join("abac.jsonl");
        let text = "# comments are fine\n{\"apiVersion\":\"abac.authorization.kubernetes.io/v1beta1\",\"kind\":\"Policy\",\"spec\":{\"user\":\"jane\",\"readonly\":true,\"namespace\":\"default\",\"resource\":\"pods\",\"apiGroup\":\"\"}}\n";
        std::fs::write(&file, text).unwrap();
        let access = &mut config.access.authorization;
        access.modes = vec!["RBAC".into(), "ABAC".into()];
        access.policy_file = Some(file);
    });
    let ask = |path: &str| {
        Ask::get(path)
            .admin(&cluster)
            .header("Impersonate-User: jane")
            .send(&cluster)
    };
    assert_eq!(ask("/api/v1/namespaces/default/pods").code, 200);
    let told = ask("/api/v1/namespaces/kube-system/pods");
    assert_eq!(told.code, 403);
    assert!(
        told.message().ends_with("No policy matched."),
        "{}",
        told.body
    );
}

#[test]
fn a_webhook_keeps_what_is_written_down() {
    let elsewhere = Elsewhere::start(|_, _| json!({}));
    let cluster = cluster_with(|directory, config| {
        let file = directory.join("policy.yaml");
        let text = "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules: [{level: Metadata}]";
        std::fs::write(&file, text).unwrap();
        config.access.audit.policy_file = Some(file);
        config.access.audit.webhook.config_file = Some(elsewhere.kubeconfig(directory));
    });
    Ask::get("/version")
        .header("Audit-ID: a")
        .admin(&cluster)
        .send(&cluster);
    Ask::get("/api")
        .header("Audit-ID: b")
        .admin(&cluster)
        .send(&cluster);
    // The end waits until what was gathered is out.
    cluster.stop();
    let asked = elsewhere.asked.lock();
    let lists: Vec<&Value> = asked.iter().map(|(_, list)| list).collect();
    assert_eq!(lists.len(), 1, "{lists:?}");
    assert_eq!(lists[0]["kind"], "EventList");
    let ids: Vec<&str> = lists[0]["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["auditID"].as_str().unwrap())
        .collect();
    assert_eq!(ids, ["a", "b"]);
}

/// An issuer of tokens.
struct Issuer {
    elsewhere: Elsewhere,
    key: EcdsaKeyPair,
}

impl Issuer {
    fn start() -> Issuer {
        let der =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
                .unwrap();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.as_ref()).unwrap();
        let point = key.public_key().as_ref().to_vec();
        let url: Arc<OnceLock<String>> = Arc::default();
        let known = url.clone();
        let elsewhere = Elsewhere::start(move |path, _| {
            let url = known.get().unwrap();
            match path {
                "/.well-known/openid-configuration" => {
                    json!({"issuer": url, "jwks_uri": format!("{url}/keys")})
                }
                _ => json!({"keys": [{
                    "kty": "EC", "use": "sig", "kid": "k", "alg": "ES256", "crv": "P-256",
                    "x": URL_SAFE_NO_PAD.encode(&point[1..33]), "y": URL_SAFE_NO_PAD.encode(&point[33..]),
                }]}),
            }
        });
        url.set(elsewhere.url.clone()).unwrap();
        Issuer { elsewhere, key }
    }

    fn token(&self, mut claims: Value) -> String {
        claims["iss"] = json!(self.elsewhere.url);
        let header = json!({"alg": "ES256", "kid": "k"}).to_string();
        let text = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header),
            URL_SAFE_NO_PAD.encode(claims.to_string())
        );
        let signature = self
            .key
            .sign(&SystemRandom::new(), text.as_bytes())
            .unwrap();
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

const FAR: i64 = 4_000_000_000;

#[test]
fn issuers_by_flags() {
    let issuer = Issuer::start();
    let cluster = cluster_with(|directory, config| {
        let ca = directory.join("issuer.crt");
        std::fs::write(&ca, &issuer.elsewhere.certificate).unwrap();
        let oidc = &mut config.access.authentication.oidc;
        oidc.issuer_url = Some(issuer.elsewhere.url.clone());
        oidc.client_id = "corten".into();
        oidc.ca_file = Some(ca);
        oidc.groups_claim = "groups".into();
        oidc.groups_prefix = "g:".into();
        oidc.signing_algs = vec!["ES256".into()];
    });
    let good = json!({"sub": "jane", "aud": "corten", "exp": FAR, "groups": ["a"], "jti": "1"});
    let told = user(&who(&issuer.token(good.clone())).send(&cluster));
    let expected = json!({
        "username": format!("{}#jane", issuer.elsewhere.url), "groups": ["g:a", "system:authenticated"],
        "extra": {"authentication.kubernetes.io/credential-id": ["JTI=1"]},
    });
    assert_eq!(told, expected);
    let refused = |change: &dyn Fn(&mut Value)| {
        let mut claims = good.clone();
        change(&mut claims);
        who(&issuer.token(claims)).send(&cluster).code
    };
    assert_eq!(refused(&|c| c["aud"] = json!("other")), 401);
    assert_eq!(refused(&|c| c["exp"] = json!(1)), 401);
    assert_eq!(refused(&|c| c["sub"] = json!(1)), 401);
    let mut forged = issuer.token(good.clone());
    forged.truncate(forged.len() - 4);
    forged.push_str("AAAA");
    assert_eq!(who(&forged).send(&cluster).code, 401);
    // The document and the keys were asked for once.
    assert!(issuer.elsewhere.asked.lock().len() <= 4);
}

#[test]
fn issuers_and_anonymity_by_file() {
    let issuer = Issuer::start();
    let cluster = cluster_with(|directory, config| {
        let file = directory.join("authentication.yaml");
        let config_file = json!({
            "apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration",
            "anonymous": {"enabled": true, "conditions": [{"path": "/version"}]},
            "jwt": [{
                "issuer": {
                    "url": issuer.elsewhere.url, "audiences": ["x", "y"], "audienceMatchPolicy": "MatchAny",
                    "certificateAuthority": issuer.elsewhere.certificate,
                },
                "claimMappings": {"username": {"claim": "email", "prefix": "o:"}, "uid": {"claim": "oid"}},
                "claimValidationRules": [{"claim": "hd", "requiredValue": "acme"}],
            }],
        });
        std::fs::write(&file, config_file.to_string()).unwrap();
        config.access.authentication.config_file = Some(file);
    });
    assert_eq!(Ask::get("/version").send(&cluster).code, 200);
    assert_eq!(Ask::get("/api").send(&cluster).code, 401);
    let good =
        json!({"email": "jane@acme", "oid": "7", "hd": "acme", "aud": ["z", "y"], "exp": FAR});
    let told = user(&who(&issuer.token(good.clone())).send(&cluster));
    assert_eq!(
        (&told["username"], &told["uid"]),
        (&json!("o:jane@acme"), &json!("7"))
    );
    let mut other = good;
    other["hd"] = json!("other");
    assert_eq!(who(&issuer.token(other)).send(&cluster).code, 401);
}
