//! An etcd of three members under two API servers: its leader dies, its majority is lost and comes back.

use crate::ours::{Corten, MAPS, map, put, value};
use crate::process::{Killed, client, etcd_with, free_port, ready};
use anyhow::{Context, Result, bail, ensure};
use corten_tests::eventually;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// Three members; any of them may be down.
struct Three {
    directories: Vec<TempDir>,
    urls: Vec<String>,
    peers: Vec<u16>,
    members: Vec<Option<Killed>>,
}

impl Three {
    fn start(runtime: &Runtime) -> Result<Three> {
        let mut three = Three {
            directories: (0..3).map(|_| TempDir::new()).collect::<Result<_, _>>()?,
            urls: Vec::new(),
            peers: Vec::new(),
            members: vec![None, None, None],
        };
        for _ in 0..3 {
            three
                .urls
                .push(format!("http://127.0.0.1:{}", free_port()?));
            three.peers.push(free_port()?);
        }
        (0..3).try_for_each(|at| three.up(at))?;
        runtime.block_on(ready(&client(&three.urls[0])?))?;
        Ok(three)
    }

    fn up(&mut self, at: usize) -> Result<()> {
        let named = |at: usize| format!("m{at}=http://127.0.0.1:{}", self.peers[at]);
        let flags = [
            format!("--name=m{at}"),
            format!("--initial-cluster={},{},{}", named(0), named(1), named(2)),
        ];
        let directory = self.directories[at].path();
        let member = etcd_with(directory, &self.urls[at], self.peers[at], &flags)?;
        self.members[at] = Some(member);
        Ok(())
    }

    /// The member that leads, asked of those that are up.
    fn leader(&self, runtime: &Runtime) -> Result<usize> {
        eventually("etcd has a leader", || {
            for at in (0..3).filter(|at| self.members[*at].is_some()) {
                let status = runtime.block_on(async {
                    client(&self.urls[at])?
                        .status()
                        .await
                        .map_err(anyhow::Error::from)
                })?;
                if status
                    .header
                    .as_ref()
                    .is_some_and(|h| h.member_id == status.leader)
                {
                    return Ok(at);
                }
            }
            bail!("nobody leads")
        })
    }
}

/// Writes one object after another until it is told to stop; answers which were acknowledged.
fn write(
    server: &Corten,
    who: usize,
    stop: &AtomicBool,
    done: &AtomicUsize,
) -> Result<Vec<String>> {
    let mut acknowledged = Vec::new();
    let mut api = server.api()?;
    for number in 0..100_000 {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let name = format!("w{who}-{number}");
        match api.request("POST", MAPS, &map(&name, "1")) {
            Ok(answer) if answer.status == 201 => {
                acknowledged.push(name);
                done.fetch_add(1, Ordering::Relaxed);
            }
            Ok(_) => {}
            Err(_) => api = server.api()?,
        }
    }
    Ok(acknowledged)
}

fn more(done: &AtomicUsize, count: usize) -> Result<()> {
    let wanted = done.load(Ordering::Relaxed) + count;
    eventually("writes go on", || {
        let now = done.load(Ordering::Relaxed);
        ensure!(now >= wanted, "{now} of {wanted}");
        Ok(())
    })
}

pub fn leaders_and_majorities_come_and_go() -> Result<()> {
    let runtime = Runtime::new()?;
    let mut three = Three::start(&runtime)?;
    let all = three.urls.join(",");
    let servers = [Corten::start(&all)?, Corten::start(&all)?];
    leaders_change(&runtime, &mut three, &servers)?;
    majority_is_lost(&runtime, &mut three, &servers)
}

/// Leaders die under load: what was acknowledged stays, and both servers show it.
fn leaders_change(runtime: &Runtime, three: &mut Three, servers: &[Corten; 2]) -> Result<()> {
    let (stop, done) = (AtomicBool::new(false), AtomicUsize::new(0));
    let acknowledged = std::thread::scope(|scope| {
        let writers: Vec<_> = servers
            .iter()
            .enumerate()
            .map(|(who, server)| {
                scope.spawn({
                    let (stop, done) = (&stop, &done);
                    move || write(server, who, stop, done)
                })
            })
            .collect();
        let killing = (0..3).try_for_each(|_| {
            more(&done, 20)?;
            let leader = three.leader(runtime)?;
            three.members[leader] = None;
            more(&done, 40)?;
            three.up(leader)?;
            let back = client(&three.urls[leader])?;
            runtime.block_on(ready(&back))
        });
        stop.store(true, Ordering::Relaxed);
        let mut names = Vec::new();
        for writer in writers {
            names.extend(writer.join().unwrap_or_else(|_| bail!("a writer failed"))?);
        }
        killing.map(|()| names)
    })?;
    for server in servers {
        let listed = server.api()?.request("GET", MAPS, b"")?.json()?;
        let listed: std::collections::BTreeSet<&str> = listed["items"]
            .as_array()
            .context("no items")?
            .iter()
            .filter_map(|item| item["metadata"]["name"].as_str())
            .collect();
        for name in &acknowledged {
            ensure!(
                listed.contains(name.as_str()),
                "{name} was acknowledged and is gone"
            );
        }
    }
    Ok(())
}

/// One member of three cannot decide anything: consistent reads and writes are refused, reads of what is known and open
/// watches go on, and all is well again when there is a majority.
fn majority_is_lost(runtime: &Runtime, three: &mut Three, servers: &[Corten; 2]) -> Result<()> {
    let server = &servers[0];
    let mut api = server.api()?;
    let kept = put(&mut api, "kept", "1")?;
    let revision = kept["metadata"]["resourceVersion"]
        .as_str()
        .context("no revision")?;
    let mut watch = server.watch(MAPS, revision)?;
    three.members[0] = None;
    three.members[1] = None;
    let status = |method: &str, path: &str, body: &[u8]| -> Result<u16> {
        Ok(server.api()?.request(method, path, body)?.status)
    };
    let got = status("GET", &format!("{MAPS}/kept"), b"")?;
    ensure!(
        got == 504,
        "a consistent read without a majority answers {got}"
    );
    let listed = status("GET", MAPS, b"")?;
    ensure!(
        listed == 504,
        "a consistent list without a majority answers {listed}"
    );
    let cached = status("GET", &format!("{MAPS}?resourceVersion=0"), b"")?;
    ensure!(cached == 200, "a list of what is known answers {cached}");
    let written = status("POST", MAPS, &map("meanwhile", "1"))?;
    ensure!(
        written == 504,
        "a write without a majority answers {written}"
    );
    eventually("the server says that it is not ready", || {
        let ready = status("GET", "/readyz", b"")?;
        ensure!(ready == 500, "readyz: {ready}");
        Ok(())
    })?;
    three.up(0)?;
    runtime.block_on(ready(&client(&three.urls[0])?))?;
    let mut number = 0;
    eventually("writes go on", || {
        number += 1;
        put(&mut server.api()?, &format!("after-{number}"), "1")
    })?;
    ensure!(value(&mut servers[1].api()?, "kept")?.as_deref() == Some("1"));
    // The watch that was open all the time shows it, and nothing twice.
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..1000 {
        let (kind, name) = watch.event()?;
        ensure!(
            kind == "ADDED" && seen.insert(name.clone()),
            "{kind} {name}"
        );
        if name == format!("after-{number}") {
            server.ready()?;
            return Ok(());
        }
    }
    bail!("the watch does not show what was written")
}
