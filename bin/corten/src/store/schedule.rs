//! Scheduled backups into a directory or a bucket: each whole, named by its revision, the oldest removed beyond a
//! number.

use super::places::{Spool, is_ours, name_of};
use super::write_backup;
use anyhow::{Context, Result, bail};
use clap::Args;
use corten_buckets::{Bucket, is_address};
use corten_store::{Revision, Store};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Flags about scheduled backups.
#[derive(Clone, Debug, Default, Args)]
pub struct BackupFlags {
    /// Write a backup of the store now and then, into this directory or this bucket, such as s3://bucket/prefix.
    #[arg(long, value_name = "DIR|URL")]
    pub backup_dir: Option<String>,
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

/// Where they go.
enum Destination {
    Directory(PathBuf),
    /// By way of a file beside the data.
    Bucket(Bucket, PathBuf),
}

impl Schedule {
    /// Starts what the flags ask for: a first backup at once, then one after each interval in which something
    /// changed. Must be called on a tokio runtime.
    pub fn start(flags: &BackupFlags, data: &Path, store: Store) -> Result<Option<Schedule>> {
        let Some(to) = flags.backup_dir.clone() else {
            return Ok(None);
        };
        if flags.backup_keep == 0 {
            bail!("--backup-keep must be at least 1");
        }
        let destination = Arc::new(match is_address(&to) {
            true => Destination::Bucket(Bucket::open(&to)?, data.to_owned()),
            false => {
                std::fs::create_dir_all(&to)
                    .with_context(|| format!("cannot make the directory {to}"))?;
                Destination::Directory(PathBuf::from(to))
            }
        });
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
                if let Err(error) = make(&destination, keep, &store).await {
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

async fn make(destination: &Arc<Destination>, keep: usize, store: &Store) -> Result<()> {
    match &**destination {
        Destination::Directory(_) => {
            let (destination, store) = (destination.clone(), store.clone());
            let made = move || match &*destination {
                Destination::Directory(directory) => into_directory(directory, keep, &store),
                Destination::Bucket(..) => Ok(()),
            };
            tokio::task::spawn_blocking(made).await?
        }
        Destination::Bucket(bucket, data) => into_bucket(bucket, data, keep, store).await,
    }
}

async fn into_bucket(bucket: &Bucket, data: &Path, keep: usize, store: &Store) -> Result<()> {
    let spool = Arc::new(Spool::beside(data)?);
    let (file, store) = (spool.clone(), store.clone());
    let about = tokio::task::spawn_blocking(move || {
        write_backup(file.path(), |out| {
            store.backup(Revision::NONE, out)?;
            Ok(())
        })
    });
    let about = about.await??;
    bucket.upload(&name_of(&about), spool.path()).await?;
    let mut made = bucket.list().await?;
    made.retain(|name| is_ours(name));
    for old in surplus(&made, keep) {
        bucket.remove(old).await?;
    }
    Ok(())
}

fn into_directory(directory: &Path, keep: usize, store: &Store) -> Result<()> {
    let name = format!("corten-{:020}.backup", store.revision().0);
    write_backup(&directory.join(name), |out| {
        store.backup(Revision::NONE, out)?;
        Ok(())
    })?;
    let files = std::fs::read_dir(directory)?.flatten();
    let mut made: Vec<String> = files
        .filter_map(|file| file.file_name().into_string().ok())
        .filter(|name| is_ours(name))
        .collect();
    made.sort();
    for old in surplus(&made, keep) {
        let old = directory.join(old);
        std::fs::remove_file(&old).with_context(|| format!("cannot remove {}", old.display()))?;
    }
    Ok(())
}

/// The oldest of these, so that a number of them stays.
fn surplus(made: &[String], keep: usize) -> &[String] {
    &made[..made.len().saturating_sub(keep)]
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
