//! What is under way beside the load when it is killed: backups, compaction of history, compaction of a stopped
//! store's files, restoring and migration. What was cut must be refused or done again; what is whole must be right.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use corten_tests::{LoneServer, corten, run_corten};

use crate::crash::Random;
use crate::progress::Tally;

fn spawn(words: &[&str], data: &Path) -> Result<Child> {
    Command::new(corten()?)
        .arg("store")
        .args(words)
        .arg("--data-dir")
        .arg(data)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("running corten store")
}

/// Kills it if it is still at work; whether it was.
fn cut(child: &mut Child) -> Result<bool> {
    let is_at_work = child.try_wait()?.is_none();
    if is_at_work {
        child.kill()?;
    }
    child.wait()?;
    Ok(is_at_work)
}

/// A backup under way when the server dies is refused; one that is whole verifies.
pub fn back_up(
    data: &Path,
    wait: Duration,
    server: &mut LoneServer,
    tally: &mut Tally,
) -> Result<()> {
    let file = data.with_extension("backup");
    let _ = std::fs::remove_file(&file);
    std::thread::sleep(wait / 2);
    let mut child = spawn(&["backup", &file.to_string_lossy()], data)?;
    std::thread::sleep(wait / 8);
    server.kill()?;
    // It ends by itself, since nobody answers it any more.
    child.wait()?;
    match file.exists() {
        true => {
            tally.backups += 1;
            run_corten(&["store", "verify", &file.to_string_lossy()])?;
        }
        false => tally.backups_cut += 1,
    }
    Ok(())
}

/// Compaction of history while clients write; the kill comes while memory is given back.
pub fn compact(
    data: &Path,
    wait: Duration,
    server: &mut LoneServer,
    tally: &mut Tally,
) -> Result<()> {
    std::thread::sleep(wait / 2);
    let mut child = spawn(&["compact"], data)?;
    std::thread::sleep(wait / 8);
    let is_done = child.try_wait()?.is_some();
    server.kill()?;
    child.wait()?;
    match is_done {
        true => tally.compactions += 1,
        false => tally.compactions_cut += 1,
    }
    Ok(())
}

/// Compaction of the files of a stopped store, itself killed at a random moment.
pub fn compact_stopped(data: &Path, random: &mut Random, tally: &mut Tally) -> Result<()> {
    let mut child = spawn(&["compact"], data)?;
    std::thread::sleep(Duration::from_millis(random.below(40)));
    tally.file_compactions += 1;
    tally.file_compactions_cut += u64::from(cut(&mut child)?);
    Ok(())
}

/// The stopped store is backed up and restored elsewhere, the restoring killed at random moments until it is done
/// once; the clients go on with the restored store.
pub fn restore(data: &Path, random: &mut Random, tally: &mut Tally) -> Result<()> {
    let (file, elsewhere) = (
        data.with_extension("to-restore"),
        data.with_extension("restored"),
    );
    let _ = std::fs::remove_dir_all(&elsewhere);
    let (from, to) = (file.to_string_lossy(), elsewhere.to_string_lossy());
    run_corten(&[
        "store",
        "backup",
        &from,
        "--data-dir",
        &data.to_string_lossy(),
    ])?;
    let tries = random.below(4);
    for _ in 0..tries {
        let mut child = spawn(&["restore", &from], &elsewhere)?;
        std::thread::sleep(Duration::from_millis(random.below(30)));
        tally.restores_cut += u64::from(cut(&mut child)?);
    }
    match run_corten(&["store", "restore", &from, "--data-dir", &to]) {
        Err(error) if tries > 0 && error.to_string().contains("holds a store already") => {}
        other => drop(other?),
    }
    run_corten(&["store", "verify", "--data-dir", &to])?;
    tally.restores += 1;
    exchange(data, &elsewhere)
}

/// The clients go on with another store. The cluster's certificates stay where they are.
fn exchange(data: &Path, other: &Path) -> Result<()> {
    std::fs::remove_dir_all(data.join("store"))?;
    std::fs::rename(other.join("store"), data.join("store"))?;
    std::fs::remove_dir_all(other)?;
    Ok(())
}

/// The stopped store is migrated to one for the etcd face and from there to an embedded one again, both killed at
/// random moments until they are done once; the clients go on with the last.
pub fn migrate(data: &Path, random: &mut Random, tally: &mut Tally) -> Result<()> {
    let (served, back) = (
        data.with_extension("served"),
        data.with_extension("migrated"),
    );
    migrate_once(data, &served, &["--to-served"], random, tally)?;
    migrate_once(&served, &back, &[], random, tally)?;
    run_corten(&["store", "verify", "--data-dir", &back.to_string_lossy()])?;
    tally.migrations += 1;
    std::fs::remove_dir_all(&served)?;
    exchange(data, &back)
}

fn migrate_once(
    from: &Path,
    to: &Path,
    flags: &[&str],
    random: &mut Random,
    tally: &mut Tally,
) -> Result<()> {
    let (from, into) = (from.to_string_lossy(), to.to_string_lossy());
    let places = ["store", "migrate", "--from", &from, "--to", &into];
    let words = [&places[..], flags].concat();
    let gone = || match std::fs::remove_dir_all(to) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    };
    gone()?;
    for _ in 0..random.below(3) {
        let mut child = Command::new(corten()?)
            .args(&words)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("running corten store migrate")?;
        std::thread::sleep(Duration::from_millis(random.below(40)));
        tally.migrations_cut += u64::from(cut(&mut child)?);
        // What is there now may be nothing, part of it, or all: it is begun anew.
        gone()?;
    }
    run_corten(&words).map(drop)
}
