//! The version of the stored format: made in the oldest, lifted by what needs it, refused when newer.

use crate::rig::{Rig, describe, put};
use corten_store::engine::memory::{MemoryDisk, MemoryEngine};
use corten_store::engine::{Engine, FORMAT, FORMAT_FIRST};
use corten_store::*;

fn format(disk: &MemoryDisk) -> u32 {
    let loaded = MemoryEngine::on(disk).load(&mut |_, _| ()).unwrap();
    loaded.identity.unwrap().format
}

#[test]
fn a_store_is_lifted_by_what_needs_it() {
    let mut rig = Rig::new();
    let key = Key::new(&Resource::new("pods"), "n", "a");
    rig.put(&key, "u|1");
    rig.delete(&key);
    assert_eq!(format(&rig.disk), FORMAT_FIRST);
    rig.commit(put(&key, "u|1").leased(5)).unwrap();
    assert_eq!(format(&rig.disk), FORMAT);
    let disk = rig.disk.clone();
    let mut rig = rig.restarted();
    rig.put(&key, "u|2");
    assert_eq!(format(&disk), FORMAT, "a lifted store stays so");
    assert_eq!(rig.store.cluster_id(), 7);

    let mut rig = Rig::new();
    rig.commit(Transaction {
        notes: vec![Note::set("a", "b")],
        ..Transaction::default()
    })
    .unwrap();
    assert_eq!(format(&rig.disk), FORMAT);
}

#[test]
fn a_store_without_anything_new_goes_one_step_back() {
    let mut rig = Rig::new();
    let key = Key::new(&Resource::new("pods"), "n", "a");
    rig.commit(put(&key, "u|1").leased(5)).unwrap();
    let disk = rig.disk.clone();
    drop(rig);
    let refusal = engine::lower(&mut MemoryEngine::on(&disk)).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "lowering the format: /registry/pods/n/a has a lease or is encrypted, which format 1 does not know"
    );
    let options = Options::new(MemoryEngine::on(&disk), describe);
    let (store, core) = Store::open_manual(options).unwrap();
    let mut rig = Rig {
        store,
        core,
        clock: std::sync::Arc::new(ManualClock::starting_at(std::time::Duration::ZERO)),
        disk: disk.clone(),
    };
    rig.put(&key, "u|2");
    drop(rig);
    assert_eq!(format(&disk), FORMAT);
    engine::lower(&mut MemoryEngine::on(&disk)).unwrap();
    assert_eq!(format(&disk), FORMAT_FIRST);
    engine::lower(&mut MemoryEngine::on(&disk)).unwrap();
}
