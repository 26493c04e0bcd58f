//! The same to both, and what both answered.

use crate::process::{Ours, Upstream, client};
use crate::requests::{Any, Random};
use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use corten_etcd::Refusal;
use corten_etcd::client::{Client, RawStream};
use corten_etcd::proto::etcdserverpb as pb;
use corten_etcd::proto::etcdserverpb::watch_request::RequestUnion;
use corten_etcd::proto::mvccpb::Event;
use corten_tests::eventually;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;

const SEEDS: u64 = 12;
const REQUESTS: usize = 400;

fn run<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Runtime::new()?.block_on(work)
}

/// An answer as text without what says who answered.
async fn ask(client: &Client, any: &Any) -> (i64, String) {
    fn show<T: std::fmt::Debug>(
        result: Result<T, Refusal>,
        header: impl Fn(&mut T) -> &mut Option<pb::ResponseHeader>,
    ) -> (i64, String) {
        match result {
            Ok(mut answer) => {
                let header = header(&mut answer).get_or_insert_default();
                let revision = header.revision;
                *header = pb::ResponseHeader {
                    revision,
                    ..Default::default()
                };
                (revision, format!("{answer:?}"))
            }
            Err(refusal) => (0, format!("{refusal:?}")),
        }
    }
    match any {
        Any::Range(one) => show(client.range(one).await, |a| &mut a.header),
        Any::Put(one) => show(client.put(one).await, |a| &mut a.header),
        Any::Delete(one) => show(client.delete(one).await, |a| &mut a.header),
        Any::Txn(one) => show(client.txn(one).await, |a| &mut a.header),
        Any::Compact(revision) => {
            let request = pb::CompactionRequest {
                revision: *revision,
                physical: true,
            };
            show(client.compact(&request).await, |a| &mut a.header)
        }
        Any::Hash(revision) => {
            let request = pb::HashKvRequest {
                revision: *revision,
            };
            let answer: Result<pb::HashKvResponse, Refusal> = client
                .call("/etcdserverpb.Maintenance/HashKV", &request)
                .await;
            show(answer, |a| &mut a.header)
        }
    }
}

fn describe(any: &Any) -> String {
    match any {
        Any::Range(one) => format!("{one:?}"),
        Any::Put(one) => format!("{one:?}"),
        Any::Delete(one) => format!("{one:?}"),
        Any::Txn(one) => format!("{one:?}"),
        Any::Compact(revision) => format!("compact {revision}"),
        Any::Hash(revision) => format!("hash {revision}"),
    }
}

pub fn answers_equal_upstreams() -> Result<()> {
    run(async {
        let upstream = Upstream::start().await?;
        let ours = Ours::start().await?;
        let (theirs, mine) = (client(&upstream.url)?, client(ours.url())?);
        for one in [&theirs, &mine] {
            one.grant(1, 3600).await?;
        }
        let mut now = 1;
        for seed in 0..SEEDS {
            let mut random = Random::new(seed + 1);
            for step in 0..REQUESTS {
                let request = random.any(now);
                let (revision, wanted) = ask(&theirs, &request).await;
                let (_, seen) = ask(&mine, &request).await;
                // Upstream remembers the hashes that it computed when it compacted; this store computes each anew.
                let remembered =
                    matches!(request, Any::Hash(at) if at > 0 && at <= mine_compacted(&ours));
                ensure!(
                    wanted == seen || remembered,
                    "seed {seed} step {step}: {}\n etcd: {wanted}\n ours: {seen}",
                    describe(&request)
                );
                now = now.max(revision);
            }
            let all = Any::Range(pb::RangeRequest {
                key: Bytes::from_static(&[0]),
                range_end: Bytes::from_static(&[0]),
                ..Default::default()
            });
            ensure!(
                ask(&theirs, &all).await == ask(&mine, &all).await,
                "seed {seed}: the state differs"
            );
        }
        ours.serving.stop().await;
        Ok(())
    })
}

fn mine_compacted(ours: &Ours) -> i64 {
    ours.serving.store().stats().compacted
}

/// A watch's events, and how it ended.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    events: Vec<Event>,
    created: usize,
    compacted: i64,
    canceled: String,
}

async fn create(stream: &mut RawStream, request: pb::WatchCreateRequest) -> Result<()> {
    let union = Some(RequestUnion::CreateRequest(request));
    Ok(stream
        .send(&pb::WatchRequest {
            request_union: union,
        })
        .await?)
}

/// Everything that the watches see up to a revision.
async fn watch_all(
    client: &Client,
    creates: &[pb::WatchCreateRequest],
    until: i64,
) -> Result<BTreeMap<i64, Seen>> {
    let mut stream = client.stream("/etcdserverpb.Watch/Watch").await?;
    for request in creates {
        create(&mut stream, request.clone()).await?;
    }
    let mut all: BTreeMap<i64, Seen> = BTreeMap::new();
    let mut reached: BTreeMap<i64, i64> = BTreeMap::new();
    let mut answered = 0;
    // Upstream answers a request for progress only when every watch has caught up: ask until it does.
    let mut progressed = false;
    while answered < creates.len() || !progressed {
        if answered == creates.len() {
            let union = Some(RequestUnion::ProgressRequest(pb::WatchProgressRequest {}));
            stream
                .send(&pb::WatchRequest {
                    request_union: union,
                })
                .await?;
        }
        let wait = std::time::Duration::from_millis(150);
        let next = tokio::time::timeout(wait, stream.next::<pb::WatchResponse>()).await;
        let Ok(next) = next else { continue };
        let response = next?.context("the stream ended")?;
        let revision = response.header.map_or(0, |h| h.revision);
        if response.watch_id == -1 && !response.created {
            progressed = revision >= until;
            continue;
        }
        let seen = all.entry(response.watch_id).or_default();
        answered += usize::from(response.created);
        seen.created += usize::from(response.created);
        seen.compacted = seen.compacted.max(response.compact_revision);
        if response.canceled && response.created {
            seen.canceled += &response.cancel_reason;
        }
        let before = reached.entry(response.watch_id).or_default();
        for event in &response.events {
            let at = event.kv.as_ref().map_or(0, |kv| kv.mod_revision);
            ensure!(
                at >= *before && at <= revision,
                "events are out of order: {response:?}"
            );
            *before = at;
        }
        seen.events.extend(response.events);
    }
    Ok(all)
}

fn watch(key: &'static [u8], end: &'static [u8], start: i64) -> pb::WatchCreateRequest {
    pb::WatchCreateRequest {
        key: key.into(),
        range_end: end.into(),
        start_revision: start,
        prev_kv: start % 2 == 0,
        fragment: true,
        ..Default::default()
    }
}

/// Watches of all kinds, from a revision that is retained.
fn creates(oldest: i64, now: i64) -> Vec<pb::WatchCreateRequest> {
    vec![
        watch(b"", b"\0", oldest),
        watch(b"a", b"", oldest + 1),
        watch(b"a", b"c", oldest + 2),
        watch(b"c", b"b", oldest + 2),
        watch(b"a", b"\0", now),
        watch(b"a", b"\0", 0),
        watch(b"a", b"", -1),
        pb::WatchCreateRequest {
            watch_id: 77,
            filters: vec![0],
            ..watch(b"", b"\0", oldest + 2)
        },
        pb::WatchCreateRequest {
            watch_id: 77,
            ..watch(b"x", b"", 0)
        },
        pb::WatchCreateRequest {
            filters: vec![1],
            ..watch(b"b", b"d", oldest + 3)
        },
    ]
}

/// A compacted start is told with the revision to go on from.
async fn compacted_start(client: &Client, oldest: i64) -> Result<()> {
    let mut stream = client.stream("/etcdserverpb.Watch/Watch").await?;
    create(&mut stream, watch(b"a", b"\0", oldest - 1)).await?;
    let first: pb::WatchResponse = stream.next().await?.context("no answer")?;
    let second: pb::WatchResponse = stream.next().await?.context("no answer")?;
    ensure!(first.created && !first.canceled, "{first:?}");
    ensure!(
        second.canceled && second.compact_revision == oldest,
        "{second:?}"
    );
    Ok(())
}

pub fn watches_equal_upstreams() -> Result<()> {
    run(async {
        let upstream = Upstream::start().await?;
        let ours = Ours::start().await?;
        let (theirs, mine) = (client(&upstream.url)?, client(ours.url())?);
        let mut random = Random::new(99);
        let mut now = 1;
        for _ in 0..1500 {
            let request = random.any(now);
            if matches!(request, Any::Compact(_)) {
                continue;
            }
            let (revision, wanted) = ask(&theirs, &request).await;
            let (_, seen) = ask(&mine, &request).await;
            ensure!(
                wanted == seen,
                "{}\n etcd: {wanted}\n ours: {seen}",
                describe(&request)
            );
            now = now.max(revision);
        }
        for one in [&theirs, &mine] {
            ask(one, &Any::Compact(now / 3)).await;
        }
        let oldest = now / 3;
        let creates = creates(oldest, now);
        let wanted = watch_all(&theirs, &creates, now).await?;
        let seen = watch_all(&mine, &creates, now).await?;
        compare(&wanted, &seen)?;
        for client in [&theirs, &mine] {
            compacted_start(client, oldest).await?;
        }
        ours.serving.stop().await;
        Ok(())
    })
}

fn compare(wanted: &BTreeMap<i64, Seen>, seen: &BTreeMap<i64, Seen>) -> Result<()> {
    ensure!(
        wanted.keys().eq(seen.keys()),
        "watch ids differ: {:?} and {:?}",
        wanted.keys(),
        seen.keys()
    );
    for (id, wanted) in wanted {
        let seen = &seen[id];
        if wanted == seen {
            continue;
        }
        let at = wanted
            .events
            .iter()
            .zip(&seen.events)
            .position(|(a, b)| a != b);
        let show = |seen: &Seen| match at {
            Some(at) => format!("{:?}", seen.events[at]),
            None => format!(
                "{} events, {} {} {:?}",
                seen.events.len(),
                seen.created,
                seen.compacted,
                seen.canceled
            ),
        };
        bail!(
            "watch {id} differs at {at:?}\n etcd: {}\n ours: {}",
            show(wanted),
            show(seen)
        );
    }
    Ok(())
}

pub fn leases_equal_upstreams() -> Result<()> {
    run(async {
        let upstream = Upstream::start().await?;
        let ours = Ours::start().await?;
        let mut both = Vec::new();
        for url in [upstream.url.as_str(), ours.url()] {
            both.push(lease_session(&client(url)?).await?);
        }
        ensure!(
            both[0] == both[1],
            "etcd: {:#?}\nours: {:#?}",
            both[0],
            both[1]
        );
        ours.serving.stop().await;
        Ok(())
    })
}

async fn lease_session(client: &Client) -> Result<Vec<String>> {
    let mut said = Vec::new();
    for (id, ttl) in [
        (7, 1),
        (7, 1),
        (8, 9_000_000_001),
        (9, 3600),
        (10, 0),
        (11, -5),
    ] {
        let answer = client.grant(id, ttl).await;
        said.push(format!(
            "{:?}",
            answer.map(|a| (a.id, a.ttl, a.header.map(|h| h.revision)))
        ));
    }
    for (key, lease) in [("a", 7), ("b", 7), ("c", 9), ("d", 99)] {
        let put = pb::PutRequest {
            key: key.into(),
            lease,
            ..Default::default()
        };
        said.push(format!(
            "{:?}",
            client.put(&put).await.map(|a| a.header.map(|h| h.revision))
        ));
    }
    let left = |id| pb::LeaseTimeToLiveRequest { id, keys: true };
    for id in [9, 98] {
        let answer: pb::LeaseTimeToLiveResponse = client
            .call("/etcdserverpb.Lease/LeaseTimeToLive", &left(id))
            .await?;
        said.push(format!(
            "{} {:?} {}",
            answer.granted_ttl,
            answer.keys,
            answer.ttl > 0
        ));
    }
    let mut stream = client.stream("/etcdserverpb.Lease/LeaseKeepAlive").await?;
    for id in [9, 98] {
        stream.send(&pb::LeaseKeepAliveRequest { id }).await?;
        let answer: pb::LeaseKeepAliveResponse = stream.next().await?.context("no answer")?;
        said.push(format!("{} {}", answer.id, answer.ttl));
    }
    expiry(client, &mut said).await?;
    Ok(said)
}

/// Both keys of a lease go at once when it expires.
async fn expiry(client: &Client, said: &mut Vec<String>) -> Result<()> {
    let mut watch = client.stream("/etcdserverpb.Watch/Watch").await?;
    let request = pb::WatchCreateRequest {
        key: "a".into(),
        range_end: Bytes::from_static(b"c"),
        start_revision: 4,
        prev_kv: true,
        ..Default::default()
    };
    create(&mut watch, request).await?;
    let mut gone = Vec::new();
    while gone.len() < 2 {
        let response: pb::WatchResponse = watch.next().await?.context("the stream ended")?;
        gone.extend(response.events);
    }
    said.push(format!("{gone:?}"));
    for id in [9, 9, 7] {
        let request = pb::LeaseRevokeRequest { id };
        let answer: Result<pb::LeaseRevokeResponse, Refusal> = client
            .call("/etcdserverpb.Lease/LeaseRevoke", &request)
            .await;
        said.push(format!(
            "{:?}",
            answer
                .map(|a| a.header.map(|h| h.revision))
                .map_err(|e| e.to_string())
        ));
    }
    let all = pb::RangeRequest {
        key: Bytes::from_static(&[0]),
        range_end: Bytes::from_static(&[0]),
        ..Default::default()
    };
    said.push(format!("{:?}", client.range(&all).await?.kvs));
    Ok(())
}

/// What a plain HTTP request answers: status line and body.
fn http(url: &str, method: &str, path: &str, body: &str) -> Result<(String, String)> {
    let address = url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address)?;
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let (head, body) = text.split_once("\r\n\r\n").context("no body")?;
    let status = head.lines().next().unwrap_or_default().to_owned();
    Ok((status, body.to_owned()))
}

/// A JSON body without what says who answered.
fn neutral(body: &str) -> String {
    let Ok(mut value) = serde_json::from_str::<serde_json::Value>(body) else {
        return body.to_owned();
    };
    if let Some(header) = value.get_mut("header").and_then(|h| h.as_object_mut()) {
        header.retain(|name, _| name == "revision");
    }
    for alarm in value
        .get_mut("alarms")
        .and_then(|a| a.as_array_mut())
        .into_iter()
        .flatten()
    {
        if let Some(alarm) = alarm.as_object_mut() {
            alarm.remove("memberID");
        }
    }
    value.to_string()
}

const GATEWAY: &[(&str, &str, &str)] = &[
    ("GET", "/health", ""),
    ("GET", "/version", ""),
    ("GET", "/livez", ""),
    ("GET", "/nothing", ""),
    ("POST", "/v3/nothing", "{}"),
    ("GET", "/v3/kv/range", ""),
    ("POST", "/v3/kv/range", "{}"),
    ("POST", "/v3/kv/range", "xx"),
    ("POST", "/v3/kv/put", r#"{"key":"Zm9v","value":"YmFy"}"#),
    (
        "POST",
        "/v3/kv/put",
        r#"{"key":"Zm9v","value":"YmF6","prevKv":true}"#,
    ),
    ("POST", "/v3/kv/range", r#"{"key":"Zm9v"}"#),
    (
        "POST",
        "/v3/kv/range",
        r#"{"key":"AA==","range_end":"AA==","count_only":true}"#,
    ),
    ("POST", "/v3/kv/range", r#"{"key":"Zm9v","revision":99}"#),
    (
        "POST",
        "/v3/kv/range",
        r#"{"key":"Zm9v","sort_order":"DESCEND","sort_target":"MOD","limit":"1"}"#,
    ),
    (
        "POST",
        "/v3/kv/txn",
        r#"{"compare":[{"key":"Zm9v","target":"VERSION","version":"2"}],"success":[{"request_txn":{"success":[{"request_put":{"key":"YQ=="}}]}},{"request_range":{"key":"Zm9v"}}]}"#,
    ),
    (
        "POST",
        "/v3/kv/deleterange",
        r#"{"key":"YQ==","prev_kv":true}"#,
    ),
    ("POST", "/v3/kv/compaction", r#"{"revision":99}"#),
    ("POST", "/v3/kv/compaction", r#"{"revision":"3"}"#),
    ("POST", "/v3/kv/compaction", r#"{"revision":"3"}"#),
    ("POST", "/v3/lease/grant", r#"{"TTL":1,"ID":7}"#),
    ("POST", "/v3/lease/grant", r#"{"TTL":1,"ID":7}"#),
    ("POST", "/v3/lease/leases", "{}"),
    ("POST", "/v3/lease/revoke", r#"{"ID":9}"#),
    ("POST", "/v3/kv/lease/revoke", r#"{"ID":7}"#),
    ("POST", "/v3/auth/status", "{}"),
    ("POST", "/v3/auth/enable", "{}"),
    ("POST", "/v3/auth/disable", "{}"),
    ("POST", "/v3/auth/authenticate", r#"{"name":"a"}"#),
    ("POST", "/v3/auth/user/list", "{}"),
    ("POST", "/v3/auth/user/get", r#"{"name":"x"}"#),
    ("POST", "/v3/auth/role/get", r#"{"role":"x"}"#),
    ("POST", "/v3/maintenance/alarm", "{}"),
    (
        "POST",
        "/v3/maintenance/alarm",
        r#"{"action":"ACTIVATE","alarm":"NOSPACE"}"#,
    ),
    ("POST", "/v3/kv/put", r#"{"key":"Zm9v"}"#),
    ("GET", "/health", ""),
    ("POST", "/v3/maintenance/defragment", "{}"),
    ("POST", "/v3/maintenance/hashkv", "{}"),
    ("POST", "/v3/maintenance/downgrade", "{}"),
    (
        "POST",
        "/v3/maintenance/downgrade",
        r#"{"action":"CANCEL"}"#,
    ),
    (
        "POST",
        "/v3/maintenance/transfer-leadership",
        r#"{"targetID":4}"#,
    ),
    ("POST", "/v3/cluster/member/remove", r#"{"ID":1}"#),
    ("POST", "/v3/cluster/member/promote", r#"{"ID":1}"#),
    ("POST", "/v3/cluster/member/add", "{}"),
];

pub fn the_gateway_equals_upstreams() -> Result<()> {
    run(async {
        let upstream = Upstream::start().await?;
        let ours = Ours::start().await?;
        let (theirs, mine) = (upstream.url.clone(), ours.url().to_owned());
        let compare = move || -> Result<()> {
            // A new etcd says 3.5 of its storage until it has seen that all members are of 3.6.
            eventually("etcd knows the version of its storage", || {
                let (_, text) = http(&theirs, "GET", "/version", "")?;
                ensure!(text.contains(r#""storage":"3.6"#), "{text}");
                Ok(())
            })?;
            for (method, path, body) in GATEWAY {
                let wanted = http(&theirs, method, path, body)?;
                let seen = http(&mine, method, path, body)?;
                let (wanted, seen) = ((wanted.0, neutral(&wanted.1)), (seen.0, neutral(&seen.1)));
                ensure!(
                    wanted == seen,
                    "{method} {path} {body}\n etcd: {wanted:?}\n ours: {seen:?}"
                );
            }
            Ok(())
        };
        tokio::task::spawn_blocking(compare).await??;
        ours.serving.stop().await;
        Ok(())
    })
}
