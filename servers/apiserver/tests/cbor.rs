//! CBOR on the wire: refused while its gate is closed, as upstream has it by default; with the gate open every verb
//! takes and gives it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use corten_apiserver::{Disk, RuntimeConfig};
use corten_codec::cbor;
use corten_core::{Value, json_text};
use support::Cluster;
use support::raw::{self, Got, send};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const CBOR: &str = "Content-Type: application/cbor\r\nAccept: application/cbor\r\n";

fn encoded(json: &str) -> Vec<u8> {
    cbor::encode_value(&json_text::parse(json.as_bytes()).unwrap())
}

fn decoded(got: &Got) -> Value {
    assert_eq!(
        got.header("content-type"),
        Some("application/cbor"),
        "{}",
        got.text()
    );
    assert!(cbor::is_self_described(&got.body));
    cbor::decode_value(&got.body).unwrap()
}

#[test]
fn a_closed_gate_knows_no_cbor() {
    let cluster = Cluster::with_tokens(&["admin"]);
    let server = &cluster.server;
    cluster.block_on(async {
        let got = send(
            server,
            "admin",
            "GET",
            MAPS,
            "Accept: application/cbor\r\n",
            b"",
        )
        .await;
        assert_eq!(
            (got.code, got.header("content-type")),
            (406, Some("application/json"))
        );
        let body = encoded(r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"}}"#);
        let headers = "Content-Type: application/cbor\r\n";
        assert_eq!(
            send(server, "admin", "POST", MAPS, headers, &body)
                .await
                .code,
            415
        );
        let headers = "Content-Type: application/apply-patch+cbor\r\n";
        let path = format!("{MAPS}/a?fieldManager=x");
        assert_eq!(
            send(server, "admin", "PATCH", &path, headers, &body)
                .await
                .code,
            415
        );
        let both = "Accept: application/cbor, application/json;q=0.5\r\n";
        let got = send(server, "admin", "GET", MAPS, both, b"").await;
        assert_eq!(
            (got.code, got.header("content-type")),
            (200, Some("application/json"))
        );
    });
}

#[test]
fn an_open_gate_takes_and_gives_cbor() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = Cluster::start_with(directory, Disk::Memory, |config| {
        config.static_tokens = raw::tokens(&["admin"]);
        let gates = ["CBORServingAndStorage=true".to_owned()];
        config.runtime = RuntimeConfig::parse(&[], &gates).unwrap();
    });
    let server = &cluster.server;
    cluster.block_on(async {
        let map = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":{"x":"1"},"binaryData":{"b":"AAEC"}}"#;
        let got = send(server, "admin", "POST", MAPS, CBOR, &encoded(map)).await;
        assert_eq!(got.code, 201, "{}", got.text());
        assert_eq!(decoded(&got).str_at(&["data", "x"]), "1");
        // A byte string that is to become base64 is what the field holds.
        let mut bytes = cbor::SELF_DESCRIBED.to_vec();
        bytes.extend(b"\xa4\x44kind\x49ConfigMap\x4aapiVersion\x42v1\x48metadata\xa1\x44name\x41c");
        bytes.extend(b"\x4abinaryData\xa1\x41b\xd6\x43\x00\x01\x02");
        let got = send(server, "admin", "POST", MAPS, CBOR, &bytes).await;
        assert_eq!(decoded(&got).str_at(&["binaryData", "b"]), "AAEC");
        let apply = "Content-Type: application/apply-patch+cbor\r\nAccept: application/cbor\r\n";
        let path = format!("{MAPS}/a?fieldManager=x&force=true");
        let patch = r#"{"apiVersion":"v1","kind":"ConfigMap","data":{"y":"2"}}"#;
        let got = send(server, "admin", "PATCH", &path, apply, &encoded(patch)).await;
        assert_eq!(got.code, 200, "{}", got.text());
        assert_eq!(decoded(&got).str_at(&["data", "y"]), "2");
        let got = send(server, "admin", "GET", MAPS, CBOR, b"").await;
        assert_eq!(decoded(&got).str_at(&["kind"]), "ConfigMapList");
        let got = send(server, "admin", "GET", &format!("{MAPS}/none"), CBOR, b"").await;
        assert_eq!((got.code, decoded(&got).str_at(&["reason"])), (404, "NotFound"));
        let got = send(server, "admin", "POST", MAPS, CBOR, b"\xff\xff").await;
        assert_eq!((got.code, decoded(&got).str_at(&["reason"])), (400, "BadRequest"));
        let watch = format!("{MAPS}?watch=true&timeoutSeconds=1");
        let got = send(server, "admin", "GET", &watch, CBOR, b"").await;
        assert_eq!(got.header("content-type"), Some("application/cbor-seq"));
        let event = encoded(r#"{"type":"ADDED"}"#);
        assert_eq!(got.body[..3], event[..3]);
        assert!(got.body.windows(9).any(|w| w == b"ConfigMap"));
        let got = send(server, "admin", "GET", "/apis", CBOR, b"").await;
        assert_eq!(decoded(&got).str_at(&["kind"]), "APIGroupList");
    });
}
