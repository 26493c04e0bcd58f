//! Encryption at rest as the store sees it: a stand-in cipher that marks what it sealed.

use crate::rig::{Rig, describe, put};
use bytes::Bytes;
use corten_store::engine::memory::{Fault, MemoryDisk, MemoryEngine};
use corten_store::engine::{Engine, record};
use corten_store::*;
use std::sync::Arc;
use std::time::Duration;

/// Turns every byte around and names the key it did that with.
struct Turn(&'static str);

impl Seal for Turn {
    fn seal(&self, key: &Key, plain: &Bytes) -> Result<Bytes, String> {
        if key.name() == "refused" {
            return Err("no key".to_owned());
        }
        let mut out = format!("k8s:enc:turn:v1:{}:", self.0).into_bytes();
        out.extend(plain.iter().map(|byte| !byte));
        Ok(out.into())
    }

    fn open(&self, _: &Key, kept: &[u8]) -> Result<Opened, String> {
        let Some(rest) = kept.strip_prefix(b"k8s:enc:turn:v1:") else {
            return Ok(Opened {
                plain: Bytes::copy_from_slice(kept),
                is_stale: true,
            });
        };
        let colon = rest.iter().position(|byte| *byte == b':').ok_or("cut")?;
        Ok(Opened {
            plain: rest[colon + 1..].iter().map(|byte| !byte).collect(),
            is_stale: &rest[..colon] != self.0.as_bytes(),
        })
    }
}

fn rig(disk: &MemoryDisk, clock: &Arc<ManualClock>, seal: impl Seal + 'static) -> Rig {
    Rig::on(disk.clone(), clock.clone(), |options| {
        options.seal = Arc::new(seal)
    })
}

fn kept(disk: &MemoryDisk) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    MemoryEngine::on(disk)
        .load(&mut |path, bytes| found.push(record::decode(path, bytes).unwrap().stored.to_vec()))
        .unwrap();
    found
}

fn key(name: &str) -> Key {
    Key::new(&Resource::new("secrets"), "n", name)
}

#[test]
fn nothing_plain_reaches_the_disk() {
    let (disk, clock) = (
        MemoryDisk::new(),
        Arc::new(ManualClock::starting_at(Duration::from_secs(1))),
    );
    let mut rig = rig(&disk, &clock, Turn("a"));
    rig.put(&key("a"), "u|hushed");
    rig.put(&key("b"), "u|hushed");
    assert_eq!(
        rig.store.get(&key("a")).unwrap().stored().unwrap(),
        "u|hushed"
    );
    let is_plain = |bytes: &[u8]| bytes.windows(6).any(|part| part == b"hushed");
    // A log that is undone, and one that is written anew.
    for fault in [Fault::NoSpaceLate, Fault::SyncFails] {
        disk.fail(fault);
        rig.commit(put(&key("a"), "u|hushed2")).unwrap_err();
        disk.heal();
        rig.pass(Duration::from_secs(120));
        assert!(rig.store.health().is_writable());
        assert!(kept(&disk).iter().all(|bytes| !is_plain(bytes)));
    }
    let mut file = Vec::new();
    rig.store.backup(Revision::NONE, &mut file).unwrap();
    assert!(!is_plain(&file));
    let error = rig
        .commit(put(&key("refused"), "u|"))
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "commit of /registry/secrets/n/refused: it could not be encrypted: no key"
    );
    assert!(
        rig.store.health().is_writable(),
        "one that cannot be sealed stops nobody else"
    );
    rig.put(&key("c"), "u|");
}

#[test]
fn what_is_stale_is_told() {
    let (disk, clock) = (
        MemoryDisk::new(),
        Arc::new(ManualClock::starting_at(Duration::from_secs(1))),
    );
    let mut plain = Rig::on(disk.clone(), clock.clone(), |_| ());
    plain.put(&key("old"), "u|1");
    drop(plain);
    let mut first = rig(&disk, &clock, Turn("a"));
    assert!(
        first.store.get(&key("old")).unwrap().is_stale(),
        "it was plain"
    );
    first.put(&key("new"), "u|2");
    assert!(!first.store.get(&key("new")).unwrap().is_stale());
    drop(first);
    let mut second = rig(&disk, &clock, Turn("b"));
    assert!(
        second.store.get(&key("new")).unwrap().is_stale(),
        "another key sealed it"
    );
    assert_eq!(second.put(&key("new"), "u|2").stored().unwrap(), "u|2");
    drop(second);
    let second = rig(&disk, &clock, Turn("b"));
    assert!(!second.store.get(&key("new")).unwrap().is_stale());
    drop(second);
    // Without the key the text is no object, and the store says which.
    let (store, _core) = Store::open_manual(Options::new(
        MemoryEngine::on(&disk),
        |key: &Key, bytes: &Bytes| match bytes.starts_with(b"k8s:enc:") {
            true => Err("it is encrypted".to_owned()),
            false => describe(key, bytes),
        },
    ))
    .unwrap();
    let Health::Damaged { records } = store.health() else {
        panic!("{:?}", store.health())
    };
    assert_eq!(
        records[0].reason,
        "its object cannot be read: it is encrypted"
    );
}
