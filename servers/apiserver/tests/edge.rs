//! Lists, watches and negotiation at the wire, compared with what kube-apiserver v1.36.3 answered to the same requests.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use corten_apiserver::ApiServer;
use support::Cluster;
use support::raw::{self, get, send};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// Ten config maps c0..c9; answers the revision of the last.
async fn fill(server: &ApiServer) -> u64 {
    let mut last = 0;
    for index in 0..10 {
        let body = format!(
            "{{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{{\"name\":\"c{index}\",\"labels\":{{\"n\":\"{index}\"}}}}}}"
        );
        let got = send(server, "admin", "POST", MAPS, "", body.as_bytes()).await;
        assert_eq!(got.code, 201, "{}", got.text());
        last = got.json()["metadata"]["resourceVersion"]
            .as_str()
            .unwrap()
            .parse()
            .unwrap();
    }
    last
}

#[test]
fn options_of_lists_are_judged_as_upstream_does() {
    let cluster = Cluster::with_tokens(&["admin"]);
    let server = &cluster.server;
    cluster.block_on(async {
        let revision = fill(server).await;
        let forbidden = "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden";
        let unsupported = "resourceVersionMatch: Unsupported value";
        let cases: [(String, u16, String); 14] = [
            ("resourceVersionMatch=Exact".into(), 422, format!("is invalid: {forbidden} unless resourceVersion is provided")),
            (
                "resourceVersionMatch=exact".into(),
                422,
                format!("is invalid: [{forbidden} unless resourceVersion is provided, {unsupported}: \"exact\": supported values: \"Exact\", \"NotOlderThan\", \"\"]"),
            ),
            ("resourceVersion=0&resourceVersionMatch=Exact".into(), 422, "\"exact\" is forbidden for resourceVersion \"0\"".into()),
            ("sendInitialEvents=false".into(), 422, "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list".into()),
            ("watch=1&resourceVersionMatch=Exact".into(), 422, format!("[{forbidden} for watch unless sendInitialEvents is provided, {unsupported}: \"Exact\": supported values: \"NotOlderThan\"]")),
            ("watch=1&continue=abc".into(), 422, format!("{forbidden} when continue is provided")),
            ("watch=1&sendInitialEvents=true&resourceVersion=5".into(), 422, "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan".into()),
            ("limit=".into(), 400, "strconv.ParseInt: parsing \"\": invalid syntax".into()),
            ("limit=99999999999999999999".into(), 400, "value out of range".into()),
            ("resourceVersion=abc".into(), 400, "invalid resource version: resourceVersion: Invalid value: \"abc\"".into()),
            ("continue=!!!".into(), 400, "continue key is not valid: illegal base64 data at input byte 0".into()),
            (format!("resourceVersion={}", revision + 1_000_000), 504, "Too large resource version".into()),
            ("fieldSelector=data%3Dx".into(), 400, "\"data\" is not a known field selector".into()),
            ("labelSelector=n%20in%20x".into(), 400, "unable to parse requirement".into()),
        ];
        for (query, code, message) in cases {
            let got = get(server, &format!("{MAPS}?{query}")).await;
            assert_eq!(got.code, code, "{query}: {}", got.text());
            assert!(got.message().contains(&message), "{query}: {}", got.message());
        }
        assert_eq!(get(server, &format!("{MAPS}/c1?resourceVersion=abc")).await.code, 500);
    });
}

#[test]
fn pages_show_one_state_and_tokens_say_where_they_are() {
    let cluster = Cluster::with_tokens(&["admin"]);
    let server = &cluster.server;
    cluster.block_on(async {
        fill(server).await;
        let first = get(server, &format!("{MAPS}?limit=4")).await.json();
        assert_eq!(first["metadata"]["remainingItemCount"], 6, "{first}");
        let token = first["metadata"]["continue"].as_str().unwrap();
        let gone = send(server, "admin", "DELETE", &format!("{MAPS}/c7"), "", b"").await;
        assert_eq!(gone.code, 200);
        let rest = get(server, &format!("{MAPS}?continue={token}"))
            .await
            .json();
        let names: Vec<&str> = rest["items"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|i| i["metadata"]["name"].as_str())
            .collect();
        assert!(
            names.contains(&"c7"),
            "the page is of the first page's revision: {names:?}"
        );
        assert_eq!(
            rest["metadata"]["resourceVersion"],
            first["metadata"]["resourceVersion"]
        );
    });
}

#[test]
fn accept_and_content_type() {
    let cluster = Cluster::with_tokens(&["admin"]);
    let server = &cluster.server;
    cluster.block_on(async {
        fill(server).await;
        let table = "application/json;as=Table;g=meta.k8s.io;v=";
        for (accept, code, text) in [
            ("text/html".to_owned(), 406, "Available representations: application/json, application/yaml"),
            ("application/*".to_owned(), 406, "Available representations"),
            ("garbage".to_owned(), 406, "Available representations"),
            (format!("{table}v2"), 406, "only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf"),
            (format!("{table}v1"), 200, "\"apiVersion\":\"meta.k8s.io/v1\""),
            (format!("{table}v1beta1"), 200, "\"apiVersion\":\"meta.k8s.io/v1beta1\""),
            ("text/html, */*;q=0.1".to_owned(), 200, "ConfigMap"),
            ("application/yaml".to_owned(), 200, "kind: ConfigMap"),
        ] {
            let path = format!("{MAPS}/c1");
            let got = send(server, "admin", "GET", &path, &format!("Accept: {accept}\r\n"), b"").await;
            assert_eq!(got.code, code, "{accept}");
            assert!(got.text().contains(text), "{accept}: {}", got.text());
        }
        // What no form of the client's fits is told in indented JSON without a last newline.
        let got = send(server, "admin", "GET", &format!("{MAPS}/c1"), "Accept: text/html\r\n", b"").await;
        assert!(got.text().starts_with("{\n  \"kind\": \"Status\"") && got.text().ends_with('}'));
        let yaml = "Accept: application/yaml\r\n";
        let got = send(server, "admin", "GET", "/apis/apps", yaml, b"").await;
        assert!(got.text().contains("- groupVersion: apps/v1"), "{}", got.text());
        let none = format!("Accept: {table}v1\r\n");
        let bogus = send(server, "admin", "GET", &format!("{MAPS}?includeObject=Bogus"), &none, b"").await;
        assert_eq!(bogus.code, 400);
        let empty = send(server, "admin", "GET", &format!("{MAPS}?includeObject=None&limit=1"), &none, b"").await;
        assert!(empty.text().contains("\"object\":null"));
        for (kind, code) in [("text/plain", 415), ("application/json;foo", 415), ("APPLICATION/JSON", 201)] {
            let headers = format!("Content-Type: {kind}\r\n");
            let path = format!("{MAPS}?dryRun=All");
            let body = b"{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"new\"}}";
            assert_eq!(send(server, "admin", "POST", &path, &headers, body).await.code, code, "{kind}");
        }
    });
}

#[test]
fn watches_of_every_shape() {
    let cluster = Cluster::with_tokens(&["admin"]);
    let server = &cluster.server;
    cluster.block_on(async {
        fill(server).await;
        let one = format!(
            "/api/v1/watch{}/c2?resourceVersion=0&timeoutSeconds=1",
            &MAPS["/api/v1".len()..]
        );
        let got = get(server, &one).await;
        assert_eq!(got.text().lines().count(), 1, "{}", got.text());
        assert!(got.text().contains("\"name\":\"c2\""));
        let other = format!("{one}&fieldSelector=metadata.name%3Dc3");
        assert_eq!(
            get(server, &other).await.message(),
            "fieldSelector metadata.name doesn't match requested name"
        );
        let streamed = format!(
            "{MAPS}?watch=1&timeoutSeconds=1&allowWatchBookmarks=true&labelSelector=n%20in%20(1,2)"
        );
        let got = get(server, &streamed).await;
        let events: Vec<serde_json::Value> = got
            .text()
            .lines()
            .map(|l| serde_json::from_str(l).unwrap())
            .collect();
        assert_eq!(events.len(), 3, "{events:?}");
        assert_eq!(
            events[2]["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"],
            "true"
        );
        let table = "Accept: application/json;as=Table;v=v1;g=meta.k8s.io\r\n";
        let got = send(server, "admin", "GET", &streamed, table, b"")
            .await
            .text();
        let columns: Vec<bool> = got
            .lines()
            .map(|l| {
                serde_json::from_str::<serde_json::Value>(l).unwrap()["object"]["columnDefinitions"]
                    .is_null()
            })
            .collect();
        assert_eq!(
            columns,
            [false, true, true],
            "only the first says what the columns are"
        );
        let yaml = send(
            server,
            "admin",
            "GET",
            &streamed,
            "Accept: application/yaml\r\n",
            b"",
        )
        .await;
        assert_eq!(yaml.code, 406);
        assert!(yaml.text().contains("application/json;stream=watch"));
    });
}

#[test]
fn a_watch_over_websocket() {
    let cluster = Cluster::with_tokens(&["admin"]);
    let server = &cluster.server;
    cluster.block_on(async {
        fill(server).await;
        let ask = |origin: &str| {
            format!(
                "GET {MAPS}?watch=1&resourceVersion=0&fieldSelector=metadata.name%3Dc2 HTTP/1.1\r\nHost: x\r\n\
                 Authorization: Bearer admin\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n{origin}\
                 Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
            )
        };
        let mut stream = raw::connect(server).await;
        stream.write_all(ask("Origin: http://x\r\n").as_bytes()).await.unwrap();
        let mut all = Vec::new();
        while !all.ends_with(b"}}\n") {
            assert_ne!(stream.read_buf(&mut all).await.unwrap(), 0, "{}", String::from_utf8_lossy(&all));
        }
        let got = raw::parse(&all);
        assert_eq!(got.code, 101);
        assert_eq!(got.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        assert_eq!(got.body[0], 0x81, "a text message");
        assert!(got.text().contains("\"type\":\"ADDED\""));
        // A ping is answered, a goodbye too.
        stream.write_all(&[0x89, 0x81, 0, 0, 0, 0, b'!', 0x88, 0x80, 0, 0, 0, 0]).await.unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.ok();
        assert_eq!(rest, [0x8a, 1, b'!', 0x88, 0]);
        let mut stream = raw::connect(server).await;
        stream.write_all(ask("").as_bytes()).await.unwrap();
        let mut all = Vec::new();
        while !all.ends_with(b"\r\n\r\n") {
            assert_ne!(stream.read_buf(&mut all).await.unwrap(), 0);
        }
        let refused = raw::parse(&all);
        assert_eq!(refused.code, 403, "browsers say where they come from");
    });
}
