//! `--store-memory`: much more than fits is served, listed, watched, compacted, killed and opened again in bounded memory.

use anyhow::{Context, Result, bail};
use corten_tests::{ApiAccess, LoneServer, Sample, run_corten};
use serde_json::Value;

use crate::{MAPS, config_map, expect, request};

/// Bytes of one object, near the most that a ConfigMap holds.
const SIZE: usize = 900_000;
const OBJECTS: usize = 300;
/// What the process may take with all of it stored: less than the 257 MiB alone. An unoptimised server takes some 50 MiB
/// with nothing stored, and while a disk is slow the engine holds what it has not written to tables yet.
const RESIDENT_MAX_KIB: u64 = 224 << 10;

fn name(number: usize) -> String {
    format!("m{number:03}")
}

/// What an object holds after it was written in this round.
fn value(number: usize, round: usize) -> String {
    let seed = number * 31 + round * 7;
    let mut text = String::with_capacity(SIZE + 8);
    while text.len() < SIZE {
        text.push_str(&format!(
            "{:07x}.",
            (text.len() + seed) * 2_654_435_761 % 0xfff_ffff
        ));
    }
    text
}

/// Much more data than memory: every answer is right, and memory stays bounded.
pub fn more_than_memory() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let flags = ["--store-memory", "16MiB"];
    let mut server = LoneServer::start(directory.path(), &flags)?;
    let mut rounds = vec![0; OBJECTS];
    for number in 0..OBJECTS {
        let body = config_map(&name(number), &value(number, 0));
        request(server.access(), "POST", MAPS, &body)?;
    }
    bounded(&server, "after creating")?;
    read(server.access(), &rounds)?;
    let before = list(&server, &rounds)?;
    bounded(&server, "after a list of everything")?;
    for number in (0..OBJECTS).step_by(100) {
        rounds[number] = 1;
        write(server.access(), number, 1)?;
    }
    watched(server.access(), before, &rounds)?;
    old_view(server.access(), before)?;
    bounded(&server, "after a watch and a list of the past")?;
    let data = directory.path().to_string_lossy();
    run_corten(&["store", "compact", "--data-dir", &data])?;
    read(server.access(), &rounds)?;

    // What was being written may have happened; everything else is as it was.
    let doubtful = killed_while_writing(&mut server)?;
    let server = LoneServer::start(directory.path(), &flags)?;
    bounded(&server, "after a restart")?;
    let now = get(server.access(), doubtful)?;
    rounds[doubtful] = match now == value(doubtful, 2) {
        true => 2,
        false => rounds[doubtful],
    };
    read(server.access(), &rounds)?;
    list(&server, &rounds)?;
    bounded(&server, "after everything was read again")?;
    server.stop()?;
    let verified = run_corten(&["store", "verify", "--data-dir", &data])?;
    expect(&verified, verified.contains("every record is whole"))
}

fn bounded(server: &LoneServer, when: &str) -> Result<()> {
    let resident = Sample::of(&[server.process()]).resident_kib;
    expect(
        &format!("{resident} KiB {when} are at most {RESIDENT_MAX_KIB}"),
        resident <= RESIDENT_MAX_KIB,
    )
}

fn write(access: &ApiAccess, number: usize, round: usize) -> Result<()> {
    let body = config_map(&name(number), &value(number, round));
    request(access, "PUT", &format!("{MAPS}/{}", name(number)), &body).map(drop)
}

fn get(access: &ApiAccess, number: usize) -> Result<String> {
    let found = request(access, "GET", &format!("{MAPS}/{}", name(number)), "")?;
    let value = found["data"]["v"].as_str().context("it has a value")?;
    Ok(value.to_owned())
}

fn read(access: &ApiAccess, rounds: &[usize]) -> Result<()> {
    // Not in the order in which they were written.
    for number in (0..OBJECTS).map(|n| n * 7 % OBJECTS) {
        if get(access, number)? != value(number, rounds[number]) {
            bail!("{} has another value", name(number));
        }
    }
    Ok(())
}

fn same(items: &[Value], rounds: &[usize]) -> bool {
    let ours = items.iter().filter(|item| item["data"]["v"].is_string());
    let found: Vec<&Value> = ours.collect();
    found.len() == rounds.len()
        && found
            .iter()
            .zip(rounds)
            .enumerate()
            .all(|(n, (item, round))| {
                item["metadata"]["name"] == name(n) && item["data"]["v"] == value(n, *round)
            })
}

/// Lists everything at once; answers the list's revision.
fn list(server: &LoneServer, rounds: &[usize]) -> Result<u64> {
    let list = request(server.access(), "GET", MAPS, "")?;
    let items = list["items"].as_array().context("a list has items")?;
    expect("the list has every object", same(items, rounds))?;
    let revision = list["metadata"]["resourceVersion"].as_str();
    Ok(revision.context("a list has a revision")?.parse()?)
}

/// The events since a list are the writes since then.
fn watched(access: &ApiAccess, from: u64, rounds: &[usize]) -> Result<()> {
    let path = format!("{MAPS}?watch=1&resourceVersion={from}&timeoutSeconds=2");
    let answer = access.connect()?.request("GET", &path, b"")?;
    let events = serde_json::Deserializer::from_slice(&answer.body).into_iter::<Value>();
    let mut expected = (0..OBJECTS).filter(|number| rounds[*number] == 1);
    for event in events {
        let event = event?;
        let number = expected.next().context("an event too many")?;
        let object = &event["object"];
        expect(
            &format!("an event of {}", name(number)),
            event["type"] == "MODIFIED"
                && object["metadata"]["name"] == name(number)
                && object["data"]["v"] == value(number, 1),
        )?;
    }
    expect("every event", expected.next().is_none())
}

/// The state before the last writes, in pages.
fn old_view(access: &ApiAccess, at: u64) -> Result<()> {
    let mut items = Vec::new();
    let mut token = String::new();
    loop {
        let path = match token.is_empty() {
            true => format!("{MAPS}?limit=50&resourceVersion={at}&resourceVersionMatch=Exact"),
            false => format!("{MAPS}?limit=50&continue={token}"),
        };
        let mut page = request(access, "GET", &path, "")?;
        let more = page["items"].as_array_mut().context("a list has items")?;
        items.append(more);
        token = page["metadata"]["continue"]
            .as_str()
            .unwrap_or("")
            .to_owned();
        if token.is_empty() {
            break;
        }
    }
    expect("the past is as it was", same(&items, &[0; OBJECTS]))
}

/// Kills the server while an object is being written; answers which.
fn killed_while_writing(server: &mut LoneServer) -> Result<usize> {
    const NUMBER: usize = 17;
    let access = server.access().clone();
    let writing = std::thread::spawn(move || {
        // It may end in a cut connection: that is what is tested.
        let _ = write(&access, NUMBER, 2);
    });
    server.kill()?;
    if writing.join().is_err() {
        bail!("the writer panicked");
    }
    Ok(NUMBER)
}
