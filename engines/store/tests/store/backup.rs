//! Backups: what they hold, what they refuse, and the store that comes out of them.

use crate::rig::{Rig, describe, put, texts};
use corten_store::backup::{About, BackupError, restore, verify};
use corten_store::engine::memory::{MemoryDisk, MemoryEngine};
use corten_store::*;
use std::io::{self, Read};
use std::time::Duration;

fn key(name: &str) -> Key {
    Key::new(&Resource::new("pods"), "n", name)
}

fn backup(rig: &Rig, since: Revision) -> (Vec<u8>, About) {
    let mut file = Vec::new();
    let about = rig.store.backup(since, &mut file).unwrap();
    assert_eq!(verify(&mut &file[..]).unwrap(), about);
    (file, about)
}

fn restored(files: &[&[u8]], bump: u64) -> Result<(MemoryDisk, About), BackupError> {
    let disk = MemoryDisk::new();
    let files: Vec<Vec<u8>> = files.iter().map(|file| file.to_vec()).collect();
    let mut files = files
        .into_iter()
        .map(|file| Ok(Box::new(io::Cursor::new(file)) as Box<dyn Read>));
    let about = restore(&mut MemoryEngine::on(&disk), &mut files, bump)?;
    Ok((disk, about))
}

fn open(disk: &MemoryDisk) -> Store {
    let (store, core) = Store::open_manual(Options::new(MemoryEngine::on(disk), describe)).unwrap();
    assert!(store.health().is_writable());
    drop(core);
    store
}

fn filled() -> Rig {
    let mut rig = Rig::new();
    for number in 0..2500 {
        rig.put(&key(&number.to_string()), &format!("u|{number}"));
    }
    let node = Key::cluster(&Resource::new("minions"), "node");
    rig.commit(put(&node, "v|").expiring(Expiry::After(Duration::from_secs(60))))
        .unwrap();
    let raw = put(&Key::raw(b"\xff\0"), "w|").leased(9);
    rig.commit(raw).unwrap();
    rig.commit(Transaction {
        notes: vec![Note::set("lease/9", "ttl")],
        ..Transaction::default()
    })
    .unwrap();
    rig
}

#[test]
fn a_chain_of_backups_restores() {
    let mut rig = filled();
    let (whole, first) = backup(&rig, Revision::NONE);
    assert_eq!((first.objects, first.changed), (2502, 2502));
    rig.put(&key("7"), "u|changed");
    rig.delete(&key("8"));
    rig.put(&key("new"), "u|new");
    let (second_file, second) = backup(&rig, first.revision);
    assert_eq!((second.objects, second.changed), (2502, 2));
    assert!(second_file.len() < whole.len() * 2 / 3);
    rig.delete(&key("new"));
    let (third_file, third) = backup(&rig, second.revision);
    assert_eq!(third.changed, 0);

    let (disk, about) = restored(&[&whole, &second_file, &third_file], 1000).unwrap();
    assert_eq!(about.revision, Revision(third.revision.0 + 1000));
    let store = open(&disk);
    assert_eq!(store.revision(), about.revision);
    assert_eq!(store.cluster_id(), rig.store.cluster_id());
    let pods = Resource::new("pods");
    let (before, after) = (rig.store.snapshot(&pods), store.snapshot(&pods));
    assert_eq!(texts(before.iter()), texts(after.iter()));
    let facts = |entry: &Entry| {
        (
            entry.create_revision(),
            entry.mod_revision(),
            entry.version(),
        )
    };
    assert!(
        before
            .iter()
            .zip(after.iter())
            .all(|(a, b)| facts(a) == facts(b))
    );
    let node = store
        .get(&Key::cluster(&Resource::new("minions"), "node"))
        .unwrap();
    assert!(node.expires_at().is_some());
    assert_eq!(store.get(&Key::raw(b"\xff\0")).unwrap().lease(), 9);
    assert_eq!(store.snapshot_all().note("lease/9").unwrap(), "ttl");

    let (disk, _) = restored(&[&whole, &second_file], 0).unwrap();
    assert!(open(&disk).get(&key("new")).is_some());
}

#[test]
fn what_does_not_fit_together_is_refused() {
    let mut rig = filled();
    let (whole, first) = backup(&rig, Revision::NONE);
    rig.put(&key("a"), "u|");
    let (second, about) = backup(&rig, first.revision);
    rig.put(&key("b"), "u|");
    let (third, _) = backup(&rig, about.revision);
    let refusal = |files: &[&[u8]]| restored(files, 0).err().unwrap().to_string();
    assert!(refusal(&[&second]).contains("begin with a whole one"));
    assert!(refusal(&[&whole, &third]).contains("the next continues after"));
    assert!(refusal(&[&whole, &whole]).contains("must be the first"));
    assert!(refusal(&[]).contains("no backup was given"));
    let future = rig
        .store
        .backup(Revision(1 << 40), &mut Vec::new())
        .unwrap_err();
    assert!(future.to_string().contains("is it of another cluster?"));
    let (disk, _) = restored(&[&whole], 0).unwrap();
    let mut files = std::iter::once(Ok(Box::new(io::Cursor::new(whole)) as Box<dyn Read>));
    let again = restore(&mut MemoryEngine::on(&disk), &mut files, 0).unwrap_err();
    assert_eq!(
        again.to_string(),
        "the directory holds a store already; restore into an empty one"
    );
}

#[test]
fn every_flipped_bit_is_found() {
    let mut rig = Rig::new();
    rig.put(&key("a"), "u|1");
    rig.put(&key("b"), "u|2");
    let (file, _) = backup(&rig, Revision::NONE);
    for bit in 0..file.len() * 8 {
        let mut file = file.clone();
        file[bit / 8] ^= 1 << (bit % 8);
        assert!(verify(&mut &file[..]).is_err(), "bit {bit}");
    }
    for len in 0..file.len() {
        assert!(verify(&mut &file[..len]).is_err(), "cut at {len}");
    }
}
