//! A process killed while it writes: what it was told is durable is there.

use crate::rig::{describe, put};
use corten_store::engine::fjall::FjallEngine;
use corten_store::*;
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

/// Tells a process of this test binary that it is the one to be killed, and where it writes.
const DIRECTORY: &str = "STORE_CRASH_DIRECTORY";
const CLIENTS: u64 = 8;
const KILLS: u64 = 5;
const ACKNOWLEDGED: usize = 400;

fn key(client: u64, slot: u64) -> Key {
    Key::new(
        &Resource::new("configmaps"),
        &format!("n{client}"),
        &slot.to_string(),
    )
}

/// Not a test of its own: what the child does. Writes as fast as it can and prints what was acknowledged.
#[test]
fn child() {
    let Ok(directory) = std::env::var(DIRECTORY) else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .unwrap();
    let engine = FjallEngine::open(Path::new(&directory)).unwrap();
    let store = Store::open(Options::new(engine, describe)).unwrap();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| runtime.spawn(write(store.clone(), client)))
        .collect();
    for client in clients {
        runtime.block_on(client).unwrap();
    }
}

async fn write(store: Store, client: u64) {
    // Far more than the parent lets it do.
    for number in 0..1_000_000u64 {
        let slot = number % 50;
        let text = format!("u|{number} {}", "x".repeat(500));
        let (transaction, what) = if number % 7 == 6 {
            (
                Transaction::delete(key(client, slot), Precondition::Any),
                "gone".to_owned(),
            )
        } else {
            (
                Transaction::put(put(&key(client, slot), &text)),
                number.to_string(),
            )
        };
        let committed = store.commit(transaction).await.unwrap();
        let line = format!("ACK {client} {slot} {what} {}\n", committed.revision);
        std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
    }
}

#[test]
fn acknowledged_writes_survive_kill() {
    let directory = tempfile::tempdir().unwrap();
    let mut revision = 0;
    for kill in 0..KILLS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["crash::child", "--exact", "--nocapture", "--test-threads=1"])
            .env(DIRECTORY, directory.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut acknowledged: HashMap<(u64, u64), (String, u64)> = HashMap::new();
        let mut count = 0;
        // Reads on after the kill, since what was printed before it was acknowledged too.
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            let Some((_, ack)) = line.split_once("ACK ") else {
                continue;
            };
            let words: Vec<&str> = ack.split(' ').collect();
            let [client, slot, what, at] = words[..] else {
                continue;
            };
            let at = at.parse().unwrap();
            revision = revision.max(at);
            acknowledged.insert(
                (client.parse().unwrap(), slot.parse().unwrap()),
                (what.to_owned(), at),
            );
            count += 1;
            if count == ACKNOWLEDGED + 37 * kill as usize {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(count >= ACKNOWLEDGED, "the child ended early");
        check(directory.path(), &acknowledged, revision);
    }
}

fn check(directory: &Path, acknowledged: &HashMap<(u64, u64), (String, u64)>, revision: u64) {
    let (store, _core) = Store::open_manual(Options::new(
        FjallEngine::open(directory).unwrap(),
        describe,
    ))
    .unwrap();
    assert_eq!(store.health(), Health::Writable);
    assert!(
        store.revision().0 >= revision,
        "{} < {revision}",
        store.revision()
    );
    for ((client, slot), (what, at)) in acknowledged {
        let entry = store.get(&key(*client, *slot));
        // One write per client may have been durable without being acknowledged, and it is a later one.
        match entry {
            Some(entry) if entry.mod_revision().0 > *at => {}
            Some(entry) => {
                assert_eq!(entry.mod_revision().0, *at);
                let text = format!("u|{what} ");
                assert!(
                    entry.stored().unwrap().starts_with(text.as_bytes()),
                    "{entry:?} is not {what}"
                );
            }
            None => assert!(
                what == "gone" || store.revision().0 > *at,
                "{client}/{slot} at {at} is lost"
            ),
        }
    }
    // Lost writes would show as missing keys: at most one deletion per client was not acknowledged.
    let missing = acknowledged.iter().filter(|((client, slot), (what, _))| {
        what != "gone" && store.get(&key(*client, *slot)).is_none()
    });
    assert!(missing.count() <= CLIENTS as usize);
}
