//! What nobody should send: the server refuses it in upstream's words, and serves on.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use support::Cluster;
use support::raw::{self, get, send};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[test]
fn bodies_that_are_no_objects() {
    let cluster = Cluster::with_tokens(&["admin"]);
    let server = &cluster.server;
    let deep = |open: &str, times: usize| open.repeat(times).into_bytes();
    let huge = vec![b'x'; 3 * 1024 * 1024 + 1];
    let bomb = (b'b'..=b'j').fold("a: &a [x,x,x,x,x,x,x,x,x]\n".to_owned(), |text, c| {
        let (this, last) = (char::from(c), char::from(c - 1));
        let uses = vec![format!("*{last}"); 9].join(",");
        format!("{text}{this}: &{this} [{uses}]\n")
    });
    cluster.block_on(async {
        for (kind, body, code) in [
            ("application/json", b"".to_vec(), 400),
            ("application/json", b"\xff\xfe".to_vec(), 400),
            ("application/json", b"null".to_vec(), 422),
            ("application/json", deep("[", 100_000), 400),
            ("application/json", deep("{\"a\":", 100_000), 400),
            ("application/json", b"{\"kind\":\"ConfigMap\",\"apiVersion\":\"v1\",\"metadata\":{\"generation\":1e400}}".to_vec(), 400),
            ("application/json", b"{\"kind\":\"ConfigMap\",\"apiVersion\":\"v1\",\"metadata\":{\"generation\":NaN}}".to_vec(), 400),
            ("application/json", huge.clone(), 413),
            ("application/yaml", deep("[", 20_000), 400),
            ("application/yaml", deep("- ", 20_000), 400),
            ("application/yaml", bomb.into_bytes(), 400),
            ("application/vnd.kubernetes.protobuf", b"k8s\0\x0a\xff\xff\xff\xff\x0f".to_vec(), 400),
            ("application/vnd.kubernetes.protobuf", b"k8s\0".to_vec(), 400),
        ] {
            let headers = format!("Content-Type: {kind}\r\n");
            let got = send(server, "admin", "POST", MAPS, &headers, &body).await;
            let shown = String::from_utf8_lossy(&body[..body.len().min(40)]).into_owned();
            assert_eq!(got.code, code, "{kind} {shown}: {}", got.text());
        }
        let target = b"{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"target\"}}";
        assert_eq!(send(server, "admin", "POST", MAPS, "", target).await.code, 201);
        for kind in ["json-patch+json", "merge-patch+json", "strategic-merge-patch+json", "apply-patch+yaml"] {
            for body in [b"".to_vec(), b"\xff".to_vec(), deep("[", 50_000), deep("{\"a\":", 50_000)] {
                let headers = format!("Content-Type: application/{kind}\r\n");
                let path = format!("{MAPS}/target?fieldManager=x");
                let got = send(server, "admin", "PATCH", &path, &headers, &body).await;
                assert!((400..500).contains(&got.code), "{kind}: {} {}", got.code, got.text());
            }
        }
        assert_eq!(get(server, "/readyz").await.code, 200);
    });
}

#[test]
fn paths_and_headers_out_of_shape() {
    let cluster = Cluster::with_tokens(&["admin"]);
    let server = &cluster.server;
    cluster.block_on(async {
        assert_eq!(
            get(server, &format!("{MAPS}/%zz")).await.text(),
            "400 Bad Request"
        );
        assert_eq!(get(server, &format!("{MAPS}/%ff")).await.code, 404);
        // An escaped slash divides: this is a subresource that does not exist, for authorization as well.
        let slash = get(server, &format!("{MAPS}/a%2Fb")).await;
        assert_eq!(
            slash.message(),
            "the server could not find the requested resource"
        );
        assert_eq!(
            get(server, &format!("{MAPS}/{}", "x".repeat(5000)))
                .await
                .code,
            404
        );
        let many: String = (0..5000).map(|i| format!("X-{i}: y\r\n")).collect();
        let flood = send(server, "admin", "GET", "/readyz", &many, b"").await;
        assert!(flood.code == 431 || flood.code == 0, "{}", flood.head);
        let wide = format!("X: {}\r\n", "y".repeat(3 * 1024 * 1024));
        let flood = send(server, "admin", "GET", "/readyz", &wide, b"").await;
        assert!(matches!(flood.code, 0 | 400 | 431), "{}", flood.head);
        for bytes in [
            "\r\n\r\n",
            "GET\r\n\r\n",
            "GET / HTTP/9.9\r\n\r\n",
            "\u{0}\u{1}\u{2}",
        ] {
            raw::exchange(server, bytes.as_bytes()).await;
        }
        assert_eq!(get(server, "/readyz").await.code, 200);
    });
}

/// HTTP/2 streams opened and reset as fast as can be: the connection is ended, the server is not.
#[test]
fn rapid_resets_end_the_connection() {
    let cluster = Cluster::with_tokens(&["admin"]);
    let server = &cluster.server;
    cluster.block_on(async {
        let mut stream = raw::connect_with(server, b"h2").await;
        stream
            .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
            .await
            .unwrap();
        // HEADERS: GET https / with a literal authority; then RST_STREAM (CANCEL).
        let block = [0x82, 0x87, 0x84, 0x41, 0x01, b'x'];
        let mut ended = false;
        for id in (1..200_000u32).step_by(2) {
            let mut bytes = vec![0, 0, block.len() as u8, 1, 5];
            bytes.extend_from_slice(&id.to_be_bytes());
            bytes.extend_from_slice(&block);
            bytes.extend_from_slice(&[0, 0, 4, 3, 0]);
            bytes.extend_from_slice(&id.to_be_bytes());
            bytes.extend_from_slice(&8u32.to_be_bytes());
            if stream.write_all(&bytes).await.is_err() {
                ended = true;
                break;
            }
        }
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
        // GOAWAY (7) or a closed connection: either way it did not go on to the end.
        let goaway = rest.windows(5).any(|w| w[3] == 7);
        assert!(ended || goaway, "the connection was let go on");
        assert_eq!(get(server, "/readyz").await.code, 200);
    });
}
