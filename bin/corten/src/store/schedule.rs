//! Scheduled backups into a directory: each whole, named by its revision, the oldest removed beyond a number.

use super::write_backup;
use anyhow::{Context, Result, bail};
use clap::Args;
use corten_store::{Revision, Store};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What the files end with.
const ENDING: &str = ".backup";

/// Flags about scheduled backups.
#[derive(Clone, Debug, Default, Args)]
pub struct BackupFlags {
    /// Write a backup of the store into this directory now and then.
    #[arg(long, value_name = "DIR")]
    pub backup_dir: Option<PathBuf>,
    /// How often, such as 90s, 15m or 6h.
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = duration)]
    pub backup_interval: Duration,
    /// How many backups to keep.
    #[arg(long, value_name = "N", default_value_t = 24)]
    pub backup_keep: usize,
}

/// Reads `90s`, `15m`, `6h` or `2d`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a time such as 90s, 15m or 6h");
    let unit = text.chars().last().ok_or_else(wrong)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return Err(wrong()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    match number.checked_mul(seconds) {
        Some(seconds) if seconds > 0 => Ok(Duration::from_secs(seconds)),
        _ => Err(wrong()),
    }
}

/// Running backups; they end when this is dropped.
#[derive(Debug)]
pub struct Schedule {
    task: tokio::task::JoinHandle<()>,
}

impl Schedule {
    /// Starts what the flags ask for: a first backup at once, then one after each interval in which something
    /// changed. Must be called on a tokio runtime.
    pub fn start(flags: &BackupFlags, store: Store) -> Result<Option<Schedule>> {
        let Some(directory) = flags.backup_dir.clone() else {
            return Ok(None);
        };
        if flags.backup_keep == 0 {
            bail!("--backup-keep must be at least 1");
        }
        std::fs::create_dir_all(&directory)
            .with_context(|| format!("cannot make the directory {}", directory.display()))?;
        let (interval, keep) = (flags.backup_interval, flags.backup_keep);
        let task = tokio::spawn(async move {
            let mut last = Revision::NONE;
            let mut ticks = tokio::time::interval(interval);
            loop {
                ticks.tick().await;
                if store.revision() == last {
                    continue;
                }
                last = store.revision();
                let (directory, store) = (directory.clone(), store.clone());
                let made =
                    tokio::task::spawn_blocking(move || make(&directory, keep, &store)).await;
                if let Ok(Err(error)) = made {
                    tracing::error!(error = format!("{error:#}"), "the scheduled backup failed");
                    last = Revision::NONE;
                }
            }
        });
        Ok(Some(Schedule { task }))
    }
}

impl Drop for Schedule {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn make(directory: &Path, keep: usize, store: &Store) -> Result<()> {
    let name = format!("corten-{:020}{ENDING}", store.revision().0);
    write_backup(&directory.join(name), |out| {
        store.backup(Revision::NONE, out)?;
        Ok(())
    })?;
    let mut made: Vec<PathBuf> = std::fs::read_dir(directory)?
        .flatten()
        .map(|file| file.path())
        .filter(|path| is_ours(path))
        .collect();
    made.sort();
    let surplus = made.len().saturating_sub(keep);
    for old in &made[..surplus] {
        std::fs::remove_file(old).with_context(|| format!("cannot remove {}", old.display()))?;
    }
    Ok(())
}

fn is_ours(path: &Path) -> bool {
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    name.starts_with("corten-") && name.ends_with(ENDING)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("6h"), Ok(Duration::from_secs(21_600)));
        for wrong in ["", "6", "h", "0s", "-1s", "1w", "99999999999999999999d"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
