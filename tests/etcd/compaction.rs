//! Several of Corten's servers on one etcd without upstream's: how they start, how pages of one list are read at several of
//! them, and how they compact.

use crate::ours::{Corten, MAPS, put, value};
use crate::process::{Upstream, client};
use anyhow::{Context, Result, bail, ensure};
use corten_etcd::proto::etcdserverpb as pb;
use corten_tests::eventually;
use std::collections::BTreeSet;

/// All write the first objects at once; each is there once, and every server is ready.
pub fn three_servers_start_on_one_empty_etcd() -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let upstream = runtime.block_on(Upstream::start())?;
    let servers = (0..3)
        .map(|_| Corten::spawn(&upstream.url, &[]))
        .collect::<Result<Vec<_>>>()?;
    let mut seen = BTreeSet::new();
    for server in &servers {
        server.ready()?;
        for kind in ["namespaces", "clusterroles", "services", "priorityclasses"] {
            seen.insert((kind, server.kubectl(&format!("get {kind} -A -o name"), "")?));
        }
    }
    ensure!(seen.len() == 4, "the servers show different objects");
    // Node ports are never given twice, whoever gives them.
    std::thread::scope(|scope| {
        let makers: Vec<_> = servers
            .iter()
            .enumerate()
            .map(|(at, server)| {
                scope.spawn(move || {
                    (0..8).try_for_each(|number| {
                        let line = format!("create service nodeport s-{at}-{number} --tcp=80");
                        server.kubectl(&line, "").map(drop)
                    })
                })
            })
            .collect();
        makers
            .into_iter()
            .try_for_each(|maker| maker.join().unwrap_or_else(|_| bail!("a thread failed")))
    })?;
    let ports = servers[0].kubectl(
        "get services -o jsonpath={.items[*].spec.ports[*].nodePort}",
        "",
    )?;
    let all: Vec<&str> = ports.split_whitespace().collect();
    ensure!(all.len() == 24, "{} ports", all.len());
    ensure!(all.iter().collect::<BTreeSet<_>>().len() == 24, "{ports}");
    Ok(())
}

/// A page made by one server is followed by the next at another, also one that did not run when the list began.
pub fn lists_go_on_at_another_server() -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let upstream = runtime.block_on(Upstream::start())?;
    let first = Corten::start(&upstream.url)?;
    let mut api = first.api()?;
    for number in 0..30 {
        put(&mut api, &format!("map-{number:02}"), "1")?;
    }
    let page = api
        .request("GET", &format!("{MAPS}?limit=7"), b"")?
        .json()?;
    let revision = page["metadata"]["resourceVersion"].clone();
    let mut names: Vec<String> = names_of(&page);
    let mut token = page["metadata"]["continue"].clone();
    // What happens after the first page is in none of them.
    put(&mut api, "map-99", "1")?;
    ensure!(
        api.request("DELETE", &format!("{MAPS}/map-20"), b"")?
            .status
            == 200
    );
    let second = Corten::start(&upstream.url)?;
    let mut other = second.api()?;
    for turn in 0..10 {
        let Some(text) = token.as_str().filter(|text| !text.is_empty()) else {
            break;
        };
        let reader = if turn % 2 == 0 { &mut other } else { &mut api };
        let answer = reader.request("GET", &format!("{MAPS}?limit=7&continue={text}"), b"")?;
        ensure!(answer.status == 200, "page {turn}: {:?}", answer.json());
        let page = answer.json()?;
        ensure!(page["metadata"]["resourceVersion"] == revision);
        names.extend(names_of(&page));
        token = page["metadata"]["continue"].clone();
    }
    let wanted: Vec<String> = (0..30).map(|number| format!("map-{number:02}")).collect();
    ensure!(names == wanted, "the pages hold {names:?}");
    // A list exactly at that revision, too, until it is compacted.
    let at = revision.as_str().context("no revision")?;
    let exact = format!("{MAPS}?resourceVersion={at}&resourceVersionMatch=Exact");
    let listed = other.request("GET", &exact, b"")?.json()?;
    ensure!(names_of(&listed) == wanted, "the list holds another state");
    let compact = pb::CompactionRequest {
        revision: at.parse::<i64>()? + 1,
        physical: true,
    };
    runtime.block_on(async {
        client(&upstream.url)?
            .compact(&compact)
            .await
            .map_err(anyhow::Error::from)
    })?;
    let third = Corten::start(&upstream.url)?;
    let gone = third.api()?.request("GET", &exact, b"")?;
    ensure!(
        gone.status == 410,
        "a compacted revision answers {}",
        gone.status
    );
    Ok(())
}

fn names_of(list: &serde_json::Value) -> Vec<String> {
    let items = list["items"].as_array().into_iter().flatten();
    items
        .filter_map(|item| item["metadata"]["name"].as_str().map(str::to_owned))
        .collect()
}

/// Old revisions go, by whichever server is first, and every server goes on through that.
pub fn servers_compact_together() -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let upstream = runtime.block_on(Upstream::start())?;
    let flags = ["--etcd-compaction-interval=300ms".to_owned()];
    let servers = [
        Corten::start_with(&upstream.url, &flags)?,
        Corten::start_with(&upstream.url, &flags)?,
    ];
    let etcd = client(&upstream.url)?;
    let mut apis = [servers[0].api()?, servers[1].api()?];
    let compacted = |wanted: i64| {
        let request = pb::RangeRequest {
            key: "x".into(),
            revision: wanted,
            ..Default::default()
        };
        match runtime.block_on(etcd.range(&request)) {
            Err(refusal) if refusal == corten_etcd::Refusal::COMPACTED => Ok(()),
            other => bail!("revision {wanted} is still there: {other:?}"),
        }
    };
    for round in 0..3 {
        let name = format!("round-{round}");
        let made = put(&mut apis[round % 2], &name, "1")?;
        let revision = made["metadata"]["resourceVersion"]
            .as_str()
            .context("no revision")?;
        let revision: i64 = revision.parse()?;
        eventually("etcd is compacted", || {
            // Something has to happen for a later revision to be compacted.
            let _ = put(
                &mut servers[0].api()?,
                &format!("more-{}", rand(&name)),
                "1",
            );
            compacted(revision)
        })?;
        ensure!(value(&mut apis[1 - round % 2], &name)?.as_deref() == Some("1"));
    }
    Ok(())
}

/// A name that was not used before.
fn rand(salt: &str) -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(salt) >> 20
}
