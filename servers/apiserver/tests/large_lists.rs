//! Lists that are made while they are sent say what the same list in pages says, in every form.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::io::Read as _;

use corten_apiserver::ApiServer;
use serde_json::Value;
use support::Cluster;
use support::raw::{Got, get, send};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
/// Together more than the server makes at once.
const COUNT: usize = 40;

async fn fill(server: &ApiServer) {
    let text = "0123456789abcdef".repeat(56_250);
    for index in 0..COUNT {
        let body = serde_json::json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": { "name": format!("c{index:02}"), "annotations": { "n": "<&>" } },
            "data": { "text": text },
        });
        let body = body.to_string();
        let got = send(server, "admin", "POST", MAPS, "", body.as_bytes()).await;
        assert_eq!(got.code, 201, "{}", got.text());
    }
}

async fn whole(server: &ApiServer, headers: &str) -> Got {
    let got = send(server, "admin", "GET", MAPS, headers, b"").await;
    assert_eq!(got.code, 200, "{}", got.text());
    got
}

/// `part` of the list in pages, joined, and the first page.
async fn paged(server: &ApiServer, headers: &str, part: &str, limit: usize) -> (Vec<Value>, Value) {
    let mut all = Vec::new();
    let mut first = None;
    let mut token = String::new();
    for _ in 0..COUNT {
        let path = format!("{MAPS}?limit={limit}&continue={token}");
        let page = send(server, "admin", "GET", &path, headers, b"").await;
        let page = page.json();
        all.extend(page[part].as_array().unwrap().iter().cloned());
        let next = page["metadata"]["continue"].as_str().unwrap_or_default();
        token = next.to_owned();
        first.get_or_insert(page);
        if token.is_empty() {
            break;
        }
    }
    (all, first.unwrap())
}

/// Items, or rows without their cells, which tell how old objects are.
fn ageless(items: &Value) -> Vec<Value> {
    let mut items = items.as_array().unwrap().clone();
    for item in &mut items {
        item.as_object_mut().unwrap().remove("cells");
    }
    items
}

#[test]
fn large_lists_are_the_pages_of_themselves() {
    let cluster = Cluster::with_tokens(&["admin"]);
    let server = &cluster.server;
    cluster.block_on(async {
        fill(server).await;
        let forms = [
            ("Accept: application/json\r\n", "items", 7),
            (
                "Accept: application/json;as=Table;g=meta.k8s.io;v=v1\r\n",
                "rows",
                1,
            ),
            (
                "Accept: application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1\r\n",
                "items",
                1,
            ),
        ];
        for (headers, part, limit) in forms {
            let got = whole(server, headers).await;
            assert_eq!(
                got.header("transfer-encoding"),
                Some("chunked"),
                "{headers}"
            );
            assert!(got.body.ends_with(b"]}\n"), "{headers}");
            let list = got.json();
            let (pages, first) = paged(server, headers, part, limit).await;
            let items = ageless(&list[part]);
            assert_eq!(items.len(), COUNT, "{headers}");
            assert!(items == ageless(&Value::Array(pages)), "{headers}");
            for member in ["kind", "apiVersion", "columnDefinitions"] {
                assert_eq!(list[member], first[member], "{headers}");
            }
            let packed = whole(server, &format!("{headers}Accept-Encoding: gzip\r\n")).await;
            assert_eq!(packed.header("content-encoding"), Some("gzip"), "{headers}");
            let mut text = Vec::new();
            let mut reader = flate2::read::GzDecoder::new(packed.body.as_slice());
            reader.read_to_end(&mut text).unwrap();
            let unpacked: Value = serde_json::from_slice(&text).unwrap();
            assert!(ageless(&unpacked[part]) == items, "{headers}");
        }
    });
}

#[test]
fn large_protobuf_lists_say_how_long_they_are() {
    let cluster = Cluster::with_tokens(&["admin"]);
    let server = &cluster.server;
    cluster.block_on(async {
        fill(server).await;
        let protobuf = "Accept: application/vnd.kubernetes.protobuf";
        let forms = [
            format!("{protobuf}\r\n"),
            format!("{protobuf};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1\r\n"),
        ];
        for headers in forms {
            let got = whole(server, &headers).await;
            let length: usize = got.header("content-length").unwrap().parse().unwrap();
            assert_eq!(length, got.body.len(), "{headers}");
            let envelope = corten_codec::protobuf::open_envelope(&got.body).unwrap();
            // Field 2 of the list, as often as there are objects, and nothing but that and its metadata.
            let (mut rest, mut items) = (envelope.raw, 0);
            while let [tag, after @ ..] = rest {
                let (size, used) = varint(after);
                items += usize::from(*tag == 0x12);
                rest = &after[used + size..];
            }
            assert_eq!(items, COUNT, "{headers}");
        }
        // One of the items is the object itself.
        let one = send(
            server,
            "admin",
            "GET",
            &format!("{MAPS}/c07"),
            &format!("{protobuf}\r\n"),
            b"",
        )
        .await;
        let one = corten_codec::protobuf::open_envelope(&one.body)
            .unwrap()
            .raw
            .to_vec();
        let all = whole(server, &format!("{protobuf}\r\n")).await;
        assert!(all.body.windows(one.len()).any(|w| w == one));
        let none = get(
            server,
            &format!("{MAPS}?fieldSelector=metadata.name%3Dnone"),
        )
        .await;
        assert_eq!(none.json()["items"], serde_json::json!([]));
    });
}

fn varint(bytes: &[u8]) -> (usize, usize) {
    let mut value = 0;
    for (index, byte) in bytes.iter().enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return (value, index + 1);
        }
    }
    (value, bytes.len())
}
