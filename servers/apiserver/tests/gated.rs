//! What is served only while a gate is open, through a running server: requests of pods for certificates, and writing
//! objects again in the version that is stored now.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use corten_apiserver::{Disk, RuntimeConfig};
use corten_core::{Value, json_text};
use rcgen::{CertificateParams, KeyPair, PKCS_ED25519};
use support::Cluster;
use support::raw::{self, send};

const JSON: &str = "Content-Type: application/json\r\n";

fn cluster() -> Cluster {
    let directory = tempfile::tempdir().unwrap();
    Cluster::start_with(directory, Disk::Memory, |config| {
        config.static_tokens = raw::tokens(&["admin"]);
        let gates = ["AllBeta=true".to_owned()];
        config.runtime = RuntimeConfig::parse(&["api/beta=true".to_owned()], &gates).unwrap();
    })
}

async fn call(
    cluster: &Cluster,
    verb: &str,
    path: &str,
    headers: &str,
    body: &str,
) -> (u16, Value) {
    let got = send(
        &cluster.server,
        "admin",
        verb,
        path,
        headers,
        body.as_bytes(),
    )
    .await;
    let body = json_text::parse(&got.body).unwrap_or_default();
    (got.code, body)
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[test]
fn a_pods_request_proves_its_key() {
    let cluster = cluster();
    let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let request = CertificateParams::default()
        .serialize_request(&key)
        .unwrap();
    let mut forged = request.der().to_vec();
    *forged.last_mut().unwrap() ^= 1;
    let path = "/apis/certificates.k8s.io/v1beta1/namespaces/default/podcertificaterequests";
    let body = |name: &str, der: &[u8]| {
        format!(
            r#"{{"apiVersion":"certificates.k8s.io/v1beta1","kind":"PodCertificateRequest","metadata":{{"name":"{name}"}},
            "spec":{{"signerName":"example.com/s","podName":"p","podUID":"u","serviceAccountName":"s","serviceAccountUID":"u",
            "nodeName":"n","nodeUID":"u","stubPKCS10Request":"{}"}}}}"#,
            base64(der)
        )
    };
    cluster.block_on(async {
        let (code, got) = call(&cluster, "POST", path, JSON, &body("a", request.der())).await;
        assert_eq!(code, 201, "{got}");
        assert_eq!(got.at(&["spec", "maxExpirationSeconds"]), Some(&Value::Int(86400)));
        let (code, got) = call(&cluster, "POST", path, JSON, &body("b", &forged)).await;
        assert_eq!(code, 422);
        assert_eq!(
            got.str_at(&["message"]),
            "PodCertificateRequest.certificates.k8s.io \"b\" is invalid: spec.stubPKCS10Request: Invalid value: invalid signature"
        );
        let table = "Accept: application/json;as=Table;v=v1;g=meta.k8s.io\r\n";
        let (_, got) = call(&cluster, "GET", path, table, "").await;
        let rows = got.at(&["rows"]).and_then(Value::as_list).unwrap();
        let cells = rows[0].at(&["cells"]).and_then(Value::as_list).unwrap();
        assert_eq!(cells[5], "Pending");
        let one = format!("{path}?fieldSelector=spec.podName%3Dother");
        let (_, got) = call(&cluster, "GET", &one, "", "").await;
        assert!(got.at(&["items"]).and_then(Value::as_list).unwrap().is_empty());
    });
}

#[test]
fn pods_keep_what_open_gates_let_them_have() {
    let sources = r#"[{"clusterTrustBundle":{"name":"b","path":"ca.pem"}},{"podCertificate":{"signerName":"a.b/c","keyType":"ED25519","keyPath":"k"}}]"#;
    let pod = format!(
        r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"p"}},"spec":{{"serviceAccountName":"default","automountServiceAccountToken":false,
        "containers":[{{"name":"c","image":"i"}}],"volumes":[{{"name":"v","projected":{{"sources":{sources}}}}}]}}}}"#
    );
    let kept = |cluster: &Cluster| {
        cluster.block_on(async {
            let account =
                r#"{"apiVersion":"v1","kind":"ServiceAccount","metadata":{"name":"default"}}"#;
            let accounts = "/api/v1/namespaces/default/serviceaccounts";
            call(cluster, "POST", accounts, JSON, account).await;
            let (code, got) = call(
                cluster,
                "POST",
                "/api/v1/namespaces/default/pods",
                JSON,
                &pod,
            )
            .await;
            assert_eq!(code, 201, "{got}");
            let text = got.to_string();
            (
                text.contains("clusterTrustBundle"),
                text.contains("podCertificate"),
            )
        })
    };
    assert_eq!(kept(&cluster()), (true, true));
    assert_eq!(kept(&Cluster::with_tokens(&["admin"])), (false, false));
}

const DEFINITION: &str = r#"{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"things.example.com"},
"spec":{"group":"example.com","scope":"Namespaced","names":{"plural":"things","singular":"thing","kind":"Thing","listKind":"ThingList"},
"versions":[{"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":{"type":"object","x-kubernetes-preserve-unknown-fields":true}}},
{"name":"v2","served":true,"storage":false,"schema":{"openAPIV3Schema":{"type":"object","x-kubernetes-preserve-unknown-fields":true}}}]}}"#;

#[test]
fn applying_nothing_writes_an_object_again_in_the_version_that_is_stored_now() {
    let cluster = cluster();
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let things = "/apis/example.com/v2/namespaces/default/things";
    cluster.block_on(async {
        let (code, got) = call(&cluster, "POST", definitions, JSON, DEFINITION).await;
        assert_eq!(code, 201, "{got}");
        let thing = r#"{"apiVersion":"example.com/v2","kind":"Thing","metadata":{"name":"a"},"x":1}"#;
        let (code, old) = call(&cluster, "POST", things, JSON, thing).await;
        assert_eq!(code, 201, "{old}");
        let merge = "Content-Type: application/json-patch+json\r\n";
        let swap = r#"[{"op":"replace","path":"/spec/versions/0/storage","value":false},{"op":"replace","path":"/spec/versions/1/storage","value":true}]"#;
        let one = format!("{definitions}/things.example.com");
        let (code, got) = call(&cluster, "PATCH", &one, merge, swap).await;
        assert_eq!(code, 200, "{got}");
        let nothing = |of: &Value| {
            format!(
                r#"{{"apiVersion":"example.com/v2","kind":"Thing","metadata":{{"uid":"{}","resourceVersion":"{}"}}}}"#,
                of.str_at(&["metadata", "uid"]),
                of.str_at(&["metadata", "resourceVersion"])
            )
        };
        let apply = "Content-Type: application/apply-patch+yaml\r\n";
        let path = format!("{things}/a?fieldManager=migrator");
        let (code, new) = call(&cluster, "PATCH", &path, apply, &nothing(&old)).await;
        assert_eq!(code, 200, "{new}");
        let version = |of: &Value| of.str_at(&["metadata", "resourceVersion"]).to_owned();
        assert_ne!(version(&new), version(&old), "it is stored in another version now");
        assert!(!new.to_string().contains("migrator"), "nobody owns nothing: {new}");
        let (_, again) = call(&cluster, "PATCH", &path, apply, &nothing(&new)).await;
        assert_eq!(version(&again), version(&new), "there is nothing left to write");
        let (code, _) = call(&cluster, "PATCH", &path, apply, &nothing(&old)).await;
        assert_eq!(code, 409, "what was written meanwhile is left alone");
    });
}
