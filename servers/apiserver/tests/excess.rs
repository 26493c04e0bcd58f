//! Requests that are well formed and far too much: each is answered in a time that grows with its size, none makes the
//! server fail, hang or keep what it was sent.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use support::Cluster;
use support::raw::{self, Got, get, send};
use tokio::io::AsyncWriteExt;

const NAMESPACED: &str = "/api/v1/namespaces/default";
/// Keys of a map: about what fits a request.
const MANY: usize = 100_000;
/// Items of lists, each of which is tracked as a field of its manager.
const ITEMS: usize = 20_000;

/// Every answer is upstream's kind of refusal, or success: never the server's own failure.
fn sound(what: &str, got: &Got) {
    let served = (200..500).contains(&got.code);
    assert!(served, "{what}: {} {}", got.code, got.text());
}

async fn post(cluster: &Cluster, path: &str, body: &str) -> Got {
    let headers = "Content-Type: application/json\r\n";
    send(
        &cluster.server,
        "admin",
        "POST",
        path,
        headers,
        body.as_bytes(),
    )
    .await
}

async fn patch(cluster: &Cluster, kind: &str, path: &str, body: &str) -> Got {
    let headers = format!("Content-Type: application/{kind}\r\n");
    let path = format!("{path}?fieldManager=x&force={}", kind.starts_with("apply"));
    let path = path.replace("&force=false", "");
    send(
        &cluster.server,
        "admin",
        "PATCH",
        &path,
        &headers,
        body.as_bytes(),
    )
    .await
}

/// Members of an object whose keys descend, which is the hardest order for what keeps them ascending.
fn members(count: usize) -> String {
    let all = (0..count).rev().map(|i| format!("\"k{i:06}\":\"v\""));
    all.collect::<Vec<_>>().join(",")
}

#[test]
fn maps_of_a_hundred_thousand_keys() {
    let cluster = Cluster::with_tokens(&["admin"]);
    cluster.block_on(async {
        let members = members(MANY);
        let head = r#""apiVersion":"v1","kind":"ConfigMap""#;
        let data = format!(r#"{{{head},"metadata":{{"name":"a"}},"data":{{{members}}}}}"#);
        let path = format!("{NAMESPACED}/configmaps");
        assert_eq!(post(&cluster, &path, &data).await.code, 201);
        let labels = format!(r#"{{{head},"metadata":{{"name":"a","labels":{{{members}}}}}}}"#);
        let got = post(&cluster, &format!("{NAMESPACED}/configmaps"), &labels).await;
        sound("labels", &got);
        let doubled = format!(
            r#"{{{head},"metadata":{{"name":"b"}},"data":{{{members}}},"data":{{{members}}}}}"#
        );
        let strict = format!("{NAMESPACED}/configmaps?fieldValidation=Strict");
        assert_eq!(post(&cluster, &strict, &doubled).await.code, 400);
        let unknown = format!(r#"{{{head},"metadata":{{"name":"c"}},{members}}}"#);
        assert_eq!(post(&cluster, &strict, &unknown).await.code, 400);
        sound(
            "unknown",
            &post(&cluster, &format!("{NAMESPACED}/configmaps"), &unknown).await,
        );
        assert_eq!(get(&cluster.server, "/readyz").await.code, 200);
    });
}

#[test]
fn lists_of_thousands_of_items() {
    let cluster = Cluster::with_tokens(&["admin"]);
    cluster.block_on(async {
        let repeat = |item: &dyn Fn(usize) -> String, count: usize| {
            (0..count).map(item).collect::<Vec<_>>().join(",")
        };
        let pod = |spec: String| {
            format!(
                r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"p"}},"spec":{{{spec}}}}}"#
            )
        };
        let one = r#""containers":[{"name":"c","image":"i"}]"#;
        let containers = repeat(&|i| format!(r#"{{"name":"c{i}"}}"#), ITEMS);
        let env = repeat(&|i| format!(r#"{{"name":"E{i}"}}"#), ITEMS);
        let taints = repeat(&|i| format!(r#"{{"key":"t{i}"}}"#), ITEMS);
        let gates = repeat(&|i| format!(r#"{{"name":"g/{i}"}}"#), ITEMS);
        for (what, spec) in [
            ("containers", format!(r#""containers":[{containers}]"#)),
            ("env", format!(r#""containers":[{{"name":"c","image":"i","env":[{env}]}}]"#)),
            ("tolerations", format!(r#"{one},"tolerations":[{taints}]"#)),
            ("gates", format!(r#"{one},"schedulingGates":[{gates}]"#)),
        ] {
            let got = post(&cluster, &format!("{NAMESPACED}/pods?dryRun=All"), &pod(spec)).await;
            sound(what, &got);
        }
        let finalizers = repeat(&|i| format!(r#""a.b/{i}""#), ITEMS);
        let whole = format!(
            r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"m","finalizers":[{finalizers}]}}}}"#
        );
        let path = format!("{NAMESPACED}/configmaps/m");
        sound("apply", &patch(&cluster, "apply-patch+yaml", &path, &whole).await);
        assert_eq!(get(&cluster.server, "/readyz").await.code, 200);
    });
}

#[test]
fn patches_that_grow() {
    let cluster = Cluster::with_tokens(&["admin"]);
    cluster.block_on(async {
        let map = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"m"},"data":{"a":"0123456789"}}"#;
        assert_eq!(post(&cluster, &format!("{NAMESPACED}/configmaps"), map).await.code, 201);
        let path = format!("{NAMESPACED}/configmaps/m");
        // Each copies all there is into itself: after 64 of them it would be 2^64 times as large.
        let double = r#"{"op":"copy","from":"/data","path":"/data/a"}"#;
        let bomb = format!("[{}]", vec![double; 64].join(","));
        assert_eq!(patch(&cluster, "json-patch+json", &path, &bomb).await.code, 422);
        let many = vec![r#"{"op":"test","path":"/a","value":1}"#; 10_001].join(",");
        let got = patch(&cluster, "json-patch+json", &path, &format!("[{many}]")).await;
        sound("operations", &got);
        assert!(got.code >= 400, "{}", got.text());
        assert_eq!(get(&cluster.server, "/readyz").await.code, 200);
    });
}

#[test]
fn numbers_beyond_all_bounds() {
    let cluster = Cluster::with_tokens(&["admin"]);
    cluster.block_on(async {
        let digits = "9".repeat(1_000_000);
        let quantity = |text: &str| {
            format!(
                r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"p"}},"spec":{{"containers":[{{"name":"c","image":"i","resources":{{"limits":{{"cpu":"{text}"}}}}}}]}}}}"#
            )
        };
        for text in [
            digits.as_str(),
            "1e2147483647",
            "1e-2147483648",
            "1e99999999999999999999",
            "0.000000000000000000000000000000001",
            "NaN",
            "Infinity",
            "-1e999999999",
        ] {
            let pods = format!("{NAMESPACED}/pods?dryRun=All");
            let got = post(&cluster, &pods, &quantity(text)).await;
            sound(&text[..text.len().min(30)], &got);
        }
        for number in [digits.as_str(), "1e999999999", "-0", "1E400", "9223372036854775808", "NaN"] {
            let deployment = format!(
                r#"{{"apiVersion":"apps/v1","kind":"Deployment","metadata":{{"name":"d"}},"spec":{{"replicas":{number}}}}}"#
            );
            let path = "/apis/apps/v1/namespaces/default/deployments?dryRun=All";
            let got = post(&cluster, path, &deployment).await;
            sound(&number[..number.len().min(30)], &got);
            assert!(got.code >= 400, "{}", got.text());
        }
        let seconds = format!("{NAMESPACED}/configmaps?limit={digits}");
        sound("limit", &get(&cluster.server, &seconds[..60_000]).await);
        let timeout = format!("{NAMESPACED}/configmaps?timeoutSeconds=1e99");
        sound("timeout", &get(&cluster.server, &timeout).await);
        assert_eq!(get(&cluster.server, "/readyz").await.code, 200);
    });
}

/// A definition with one property `spec.v`.
fn definition(schema: &str) -> String {
    format!(
        r#"{{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{{"name":"ws.e.com"}},
        "spec":{{"group":"e.com","scope":"Cluster","names":{{"plural":"ws","kind":"W"}},"versions":[{{"name":"v1","served":true,
        "storage":true,"schema":{{"openAPIV3Schema":{{"type":"object","properties":{{"spec":{{"type":"object","properties":
        {{"v":{schema}}}}}}}}}}}}}]}}}}"#
    )
}

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

#[test]
fn expressions_that_cost_too_much_are_not_taken() {
    let cluster = Cluster::with_tokens(&["admin"]);
    cluster.block_on(async {
        let list = |rule: &str| {
            definition(&format!(
                r#"{{"type":"array","items":{{"type":"string"}},"x-kubernetes-validations":[{{"rule":"{rule}"}}]}}"#
            ))
        };
        let nested = "self.all(a, self.all(b, self.all(c, self.all(d, a + b != c + d))))";
        let got = post(&cluster, DEFINITIONS, &list(nested)).await;
        assert_eq!(got.code, 422, "{}", got.text());
        assert!(got.message().contains("cost"), "{}", got.message());
        let deep = format!("{}true{}", "(".repeat(5_000), ")".repeat(5_000));
        let long = vec!["true"; 20_000].join(" && ");
        let chain = format!("self{}.size() > 0", ".map(x, x)".repeat(2_000));
        for rule in [deep, long, chain, "'x'.matches('((a{900}){900}){900}')".to_owned()] {
            let got = post(&cluster, DEFINITIONS, &list(&rule)).await;
            assert_eq!(got.code, 422, "{}", &rule[..40]);
        }
        assert_eq!(get(&cluster.server, "/readyz").await.code, 200);
    });
}

#[test]
fn patterns_that_explode_elsewhere() {
    let cluster = Cluster::with_tokens(&["admin"]);
    cluster.block_on(async {
        let text = |pattern: &str| {
            definition(&format!(r#"{{"type":"string","pattern":"{pattern}"}}"#))
        };
        for pattern in ["((a{900}){900}){900}", "(", "a{1001}"] {
            let got = post(&cluster, DEFINITIONS, &text(pattern)).await;
            sound(pattern, &got);
        }
        let got = post(&cluster, DEFINITIONS, &text("^(a+)+$")).await;
        sound("nested", &got);
        let value = format!("{}b", "a".repeat(1_000_000));
        let body = format!(
            r#"{{"apiVersion":"e.com/v1","kind":"W","metadata":{{"name":"w"}},"spec":{{"v":"{value}"}}}}"#
        );
        sound("value", &post(&cluster, "/apis/e.com/v1/ws", &body).await);
        assert_eq!(get(&cluster.server, "/readyz").await.code, 200);
    });
}

#[test]
fn selectors_of_every_length() {
    let cluster = Cluster::with_tokens(&["admin"]);
    cluster.block_on(async {
        let values = (0..5_000).map(|i| format!("v{i}")).collect::<Vec<_>>();
        let set = format!("a+in+({})", values.join(","));
        let terms = (0..5_000).map(|i| format!("k{i}%21=v")).collect::<Vec<_>>();
        let brackets = "(".repeat(30_000);
        for query in [
            format!("labelSelector={set}"),
            format!("labelSelector={}", terms.join(",")),
            format!("labelSelector=a+in+{brackets}"),
            format!("fieldSelector={}", vec!["metadata.name=a"; 2_000].join(",")),
        ] {
            let got = get(&cluster.server, &format!("{NAMESPACED}/pods?{query}")).await;
            sound(&query[..30], &got);
        }
        assert_eq!(get(&cluster.server, "/readyz").await.code, 200);
    });
}

/// Clients that announce a body and never send it: they hold up nobody, and nothing is left of them when they go.
#[test]
fn bodies_that_do_not_come() {
    let cluster = Cluster::with_tokens(&["admin"]);
    let server = &cluster.server;
    cluster.block_on(async {
        let mut stalled = Vec::new();
        for _ in 0..100 {
            let mut stream = raw::connect(server).await;
            let head = format!(
                "POST {NAMESPACED}/configmaps HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer admin\r\n\
                 Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{{\"a\":"
            );
            stream.write_all(head.as_bytes()).await.unwrap();
            stalled.push(stream);
        }
        let body = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"quick"}}"#;
        let got = post(&cluster, &format!("{NAMESPACED}/configmaps"), body).await;
        assert_eq!(got.code, 201, "{}", got.text());
        drop(stalled);
        assert_eq!(get(server, "/readyz").await.code, 200);
    });
}
