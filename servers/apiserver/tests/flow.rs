//! Priority and fairness over HTTPS: who is let in, who is told to come later, and what can be seen of it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use corten_apiserver::Disk;
use std::time::Duration;
use support::Cluster;
use support::raw::{self, get, send};
use tokio::io::AsyncWriteExt;

const QUEUE_OF_ONE: &str =
    "{\"type\":\"Queue\",\"queuing\":{\"queues\":1,\"handSize\":1,\"queueLengthLimit\":1}}";
const API: &str = "/apis/flowcontrol.apiserver.k8s.io/v1";

fn level(name: &str, shares: u32, response: &str) -> String {
    format!(
        "{{\"apiVersion\":\"flowcontrol.apiserver.k8s.io/v1\",\"kind\":\"PriorityLevelConfiguration\",\"metadata\":{{\"name\":\"{name}\"}},\
         \"spec\":{{\"type\":\"Limited\",\"limited\":{{\"nominalConcurrencyShares\":{shares},\"borrowingLimitPercent\":0,\"limitResponse\":{response}}}}}}}"
    )
}

fn schema(name: &str, level: &str, user: &str) -> String {
    format!(
        "{{\"apiVersion\":\"flowcontrol.apiserver.k8s.io/v1\",\"kind\":\"FlowSchema\",\"metadata\":{{\"name\":\"{name}\"}},\
         \"spec\":{{\"priorityLevelConfiguration\":{{\"name\":\"{level}\"}},\"matchingPrecedence\":50,\"distinguisherMethod\":{{\"type\":\"ByUser\"}},\
         \"rules\":[{{\"subjects\":[{{\"kind\":\"User\",\"user\":{{\"name\":\"{user}\"}}}}],\
         \"resourceRules\":[{{\"verbs\":[\"*\"],\"apiGroups\":[\"*\"],\"resources\":[\"*\"],\"clusterScope\":true,\"namespaces\":[\"*\"]}}],\
         \"nonResourceRules\":[{{\"verbs\":[\"*\"],\"nonResourceURLs\":[\"*\"]}}]}}]}}}}"
    )
}

/// Tries until something is so; each try is a request, so the server's tasks get their turns.
async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    for _ in 0..2000 {
        if is_so().await {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("never: {what}");
}

#[test]
fn a_jailed_flow_is_refused_and_others_are_not() {
    let cluster = Cluster::with_tokens(&["admin", "noisy", "quiet"]);
    let server = &cluster.server;
    cluster.block_on(async {
        let made = send(server, "admin", "POST", &format!("{API}/prioritylevelconfigurations"), "", level("jail", 0, QUEUE_OF_ONE).as_bytes()).await;
        assert_eq!(made.code, 201, "{}", made.text());
        let made = send(server, "admin", "POST", &format!("{API}/flowschemas"), "", schema("jailed", "jail", "noisy").as_bytes()).await;
        assert_eq!(made.code, 201, "{}", made.text());
        let dump = async || {
            get(server, "/debug/api_priority_and_fairness/dump_priority_levels")
                .await
                .text()
        };
        let jail = |table: &str| table.lines().find(|l| l.starts_with("jail,")).map(str::to_owned);
        until("the schema is in force", async || {
            let schema = get(server, &format!("{API}/flowschemas/jailed")).await.json();
            schema["status"]["conditions"][0]["status"] == "False"
        })
        .await;
        // The first one waits for a seat that there never is; the queue is full with it.
        let mut waiting = raw::connect(server).await;
        let ask = "GET /version HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer noisy\r\n\r\n";
        waiting.write_all(ask.as_bytes()).await.unwrap();
        waiting.flush().await.unwrap();
        until("it waits", async || {
            let row = jail(&dump().await).unwrap();
            row.split(',').nth(4).map(str::trim) == Some("1")
        })
        .await;
        let refused = send(server, "noisy", "GET", "/api/v1/pods", "", b"").await;
        assert_eq!(refused.text(), "Too many requests, please try again later.\n");
        let after: u64 = refused.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=32).contains(&after));
        let uid = get(server, &format!("{API}/flowschemas/jailed")).await.json();
        assert_eq!(refused.header("x-kubernetes-pf-flowschema-uid"), uid["metadata"]["uid"].as_str());
        let quiet = send(server, "quiet", "GET", "/version", "", b"").await;
        assert_eq!(quiet.code, 200);
        let global = get(server, &format!("{API}/flowschemas/global-default")).await.json();
        assert_eq!(quiet.header("x-kubernetes-pf-flowschema-uid"), global["metadata"]["uid"].as_str());
        let table = get(server, "/debug/api_priority_and_fairness/dump_priority_levels").await.text();
        assert!(table.starts_with("PriorityLevelName, ActiveQueues, IsIdle,"), "{table}");
        assert!(table.lines().any(|l| l.starts_with("jail, ") && !l.ends_with(" 0, 0, 0, 0")), "{table}");
        let metrics = get(server, "/metrics").await.text();
        assert!(metrics.contains("apiserver_flowcontrol_rejected_requests_total{priority_level=\"jail\",reason=\"queue-full\"}"));
        for table in ["dump_queues", "dump_requests?includeRequestDetails=1"] {
            let path = format!("/debug/api_priority_and_fairness/{table}");
            assert_eq!(get(server, &path).await.code, 200);
        }
    });
}

#[test]
fn who_waits_too_long_is_told_to_come_later() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = Cluster::start_with(directory, Disk::Memory, |config| {
        config.static_tokens = raw::tokens(&["admin", "noisy"]);
        config.queue_wait_max = Duration::from_millis(20);
    });
    let server = &cluster.server;
    cluster.block_on(async {
        let levels = format!("{API}/prioritylevelconfigurations");
        send(server, "admin", "POST", &levels, "", level("jail", 0, QUEUE_OF_ONE).as_bytes()).await;
        send(server, "admin", "POST", &format!("{API}/flowschemas"), "", schema("jailed", "jail", "noisy").as_bytes()).await;
        let level = get(server, &format!("{levels}/jail")).await.json();
        let level = level["metadata"]["uid"].as_str().unwrap().to_owned();
        let mut refused = None;
        until("the schema is in force", async || {
            let got = send(server, "noisy", "GET", "/version", "", b"").await;
            let is_jailed = got.header("x-kubernetes-pf-prioritylevel-uid") == Some(&level);
            refused = is_jailed.then_some(got);
            refused.is_some()
        })
        .await;
        // There was room in the queue, but never a seat.
        let refused = refused.unwrap();
        assert_eq!(refused.code, 429);
        assert_eq!(refused.text(), "Too many requests, please try again later.\n");
        let after: u64 = refused.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=32).contains(&after));
        let metrics = get(server, "/metrics").await.text();
        let counted = "apiserver_flowcontrol_rejected_requests_total{priority_level=\"jail\",reason=\"time-out\"} 1";
        assert!(metrics.contains(counted), "{metrics}");
    });
}

#[test]
fn schemas_say_whether_their_level_exists() {
    let cluster = Cluster::with_tokens(&["admin"]);
    let server = &cluster.server;
    let condition = async |name: &str| {
        let object = get(server, &format!("{API}/flowschemas/{name}"))
            .await
            .json();
        let said = object["status"]["conditions"][0].clone();
        (
            said["status"].clone(),
            said["reason"].clone(),
            said["message"].clone(),
        )
    };
    cluster.block_on(async {
        until("the bootstrap schema is found well", async || {
            condition("probes").await.1 == "Found"
        })
        .await;
        send(server, "admin", "POST", &format!("{API}/flowschemas"), "", schema("astray", "nowhere", "x").as_bytes()).await;
        until("the dangling one is found out", async || condition("astray").await.0 == "True").await;
        let text = "This FlowSchema references the PriorityLevelConfiguration object named \"nowhere\" but there is no such object";
        assert_eq!(condition("astray").await.2, text);
        send(server, "admin", "POST", &format!("{API}/prioritylevelconfigurations"), "", level("nowhere", 5, "{\"type\":\"Reject\"}").as_bytes()).await;
        until("the level is there", async || condition("astray").await.0 == "False").await;
    });
}

#[test]
fn a_noisy_tenant_does_not_starve_others() {
    let cluster = Cluster::with_tokens(&["admin", "noisy", "quiet"]);
    let server = &cluster.server;
    cluster.block_on(async {
        // One seat for both, in sixteen queues.
        let queued = "{\"type\":\"Queue\",\"queuing\":{\"queues\":16,\"handSize\":4,\"queueLengthLimit\":20}}";
        send(server, "admin", "POST", &format!("{API}/prioritylevelconfigurations"), "", level("shared", 1, queued).as_bytes()).await;
        for user in ["noisy", "quiet"] {
            send(server, "admin", "POST", &format!("{API}/flowschemas"), "", schema(user, "shared", user).as_bytes()).await;
        }
        let uid = get(server, &format!("{API}/prioritylevelconfigurations/shared")).await.json();
        let uid = uid["metadata"]["uid"].as_str().unwrap().to_owned();
        until("the level is in force", async || {
            let got = send(server, "quiet", "GET", "/version", "", b"").await;
            got.header("x-kubernetes-pf-prioritylevel-uid") == Some(&uid)
        })
        .await;
        let noise = futures_util::future::join_all(
            (0..200).map(|_| send(server, "noisy", "GET", "/version", "", b"")),
        );
        let quiet = async {
            let mut served = 0;
            for _ in 0..20 {
                served += u32::from(send(server, "quiet", "GET", "/version", "", b"").await.code == 200);
            }
            served
        };
        let (noise, served) = tokio::join!(noise, quiet);
        assert_eq!(served, 20, "every request of the modest user is served");
        assert!(noise.iter().all(|got| matches!(got.code, 200 | 429)));
    });
}
