//! What can be asked of a store, as one line of text on the socket, and how it is answered.

use anyhow::{Context, Result, bail};
use corten_api::Object;
use corten_codec::{Options, json, protobuf, yaml};
use corten_store::{Entry, EventKind, Key, Revision, Scope, Store, Watch};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How often a watch looks whether anybody still listens.
const LISTENS: Duration = Duration::from_secs(1);
/// Events that a watch writes at once.
const BATCH: usize = 256;

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// The bytes of a backup.
    Backup {
        /// Only what changed after this revision.
        since: u64,
    },
    /// Figures.
    Stats,
    /// Whether it accepts writes.
    Health,
    /// Forget history.
    Compact {
        /// Before this revision; none is now.
        revision: Option<u64>,
    },
    /// One object.
    Get {
        /// Its key.
        key: String,
        /// Its bytes as they are.
        raw: bool,
    },
    /// Keys.
    List {
        /// What they begin with.
        prefix: String,
    },
    /// Changes.
    Watch {
        /// What the keys begin with.
        prefix: String,
        /// After this revision; none is now.
        from: Option<u64>,
    },
}

impl Request {
    /// As one line without its end.
    pub fn line(&self) -> String {
        let number = |number: &Option<u64>| number.map_or("-".to_owned(), |n| n.to_string());
        match self {
            Request::Backup { since } => format!("backup {since}"),
            Request::Stats => "stats".to_owned(),
            Request::Health => "health".to_owned(),
            Request::Compact { revision } => format!("compact {}", number(revision)),
            Request::Get { key, raw: false } => format!("get {key}"),
            Request::Get { key, raw: true } => format!("raw {key}"),
            Request::List { prefix } => format!("list {prefix}"),
            Request::Watch { prefix, from } => format!("watch {} {prefix}", number(from)),
        }
    }

    /// The request of a line.
    pub fn parse(line: &str) -> Result<Request> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let number = |text: &str| -> Result<Option<u64>> {
            match text {
                "-" => Ok(None),
                text => Ok(Some(
                    text.parse()
                        .with_context(|| format!("{text:?} is no revision"))?,
                )),
            }
        };
        Ok(match word {
            "backup" => Request::Backup {
                since: number(rest)?.unwrap_or(0),
            },
            "stats" => Request::Stats,
            "health" => Request::Health,
            "compact" => Request::Compact {
                revision: number(rest)?,
            },
            "get" | "raw" => Request::Get {
                key: rest.to_owned(),
                raw: word == "raw",
            },
            "list" => Request::List {
                prefix: rest.to_owned(),
            },
            "watch" => {
                let (from, prefix) = rest.split_once(' ').context("a watch needs a prefix")?;
                Request::Watch {
                    prefix: prefix.to_owned(),
                    from: number(from)?,
                }
            }
            other => bail!("{other:?} is not known; is the other program of another version?"),
        })
    }
}

/// Does what is asked, writing the answer to `out`; a watch ends when `is_over` says so.
pub fn run(
    store: &Store,
    request: &Request,
    out: &mut dyn Write,
    is_over: &mut dyn FnMut() -> bool,
) -> Result<()> {
    match request {
        Request::Backup { since } => drop(store.backup(Revision(*since), out)?),
        Request::Stats => stats(store, out)?,
        Request::Health => match store.health().is_writable() {
            true => writeln!(
                out,
                "the store is writable at revision {}",
                store.revision()
            )?,
            false => bail!("the store accepts no writes: {:?}", store.health()),
        },
        Request::Compact { revision } => {
            let revision = revision.map_or(store.revision(), Revision);
            store.compact(revision)?;
            writeln!(out, "the history before revision {revision} is forgotten")?;
        }
        Request::Get { key, raw } => get(store, key, *raw, out)?,
        Request::List { prefix } => {
            writeln!(
                out,
                "{:>10} {:>8} {:>9} KEY",
                "REVISION", "VERSION", "BYTES"
            )?;
            for entry in entries(store, prefix) {
                let (revision, version) = (entry.mod_revision(), entry.version());
                let size = entry.stored_len();
                writeln!(out, "{revision:>10} {version:>8} {size:>9} {}", entry.key())?;
            }
        }
        Request::Watch { prefix, from } => {
            let from = from.map_or(store.revision(), Revision);
            watch(store, prefix, from, out, is_over)?;
        }
    }
    out.flush()?;
    Ok(())
}

fn entries(store: &Store, prefix: &str) -> Vec<Arc<Entry>> {
    let all = store.snapshot_all();
    let mut found: Vec<Arc<Entry>> = Vec::new();
    for resource in all.resources() {
        let snapshot = all.resource(resource);
        let entries = snapshot.iter();
        found.extend(
            entries
                .filter(|e| e.key().path().starts_with(prefix))
                .cloned(),
        );
    }
    found.sort_by_key(|entry| entry.key().bytes());
    found
}

fn get(store: &Store, key: &str, raw: bool, out: &mut dyn Write) -> Result<()> {
    let all = store.snapshot_all();
    let entry = all
        .resources()
        .filter(|resource| resource.is_raw() || key.contains(resource.as_str()))
        .flat_map(|resource| {
            let snapshot = all.resource(resource);
            let found = snapshot
                .iter()
                .find(|entry| entry.key().path() == key)
                .cloned();
            found.into_iter()
        })
        .next()
        .with_context(|| format!("there is no object at {key}"))?;
    if raw {
        out.write_all(&entry.stored()?)?;
        return Ok(());
    }
    let (created, modified) = (entry.create_revision(), entry.mod_revision());
    writeln!(out, "# {key}")?;
    writeln!(
        out,
        "# created at revision {created}, modified at {modified}, version {}",
        entry.version()
    )?;
    out.write_all(&readable(&entry.stored()?))?;
    Ok(())
}

/// An object as YAML; what is no object as it is.
fn readable(stored: &[u8]) -> Vec<u8> {
    let object: Option<Object> = match stored.starts_with(protobuf::MAGIC) {
        true => protobuf::decode(stored, &Options::default())
            .ok()
            .map(|d| d.object),
        false => json::decode_value(stored)
            .ok()
            .and_then(|value| Object::from_value(&value).ok()),
    };
    object.map_or_else(|| stored.to_vec(), |object| yaml::encode(&object))
}

fn stats(store: &Store, out: &mut dyn Write) -> Result<()> {
    let stats = store.stats();
    writeln!(out, "revision        {}", stats.revision)?;
    writeln!(out, "cluster         {:016x}", store.cluster_id())?;
    writeln!(out, "objects         {}", stats.objects)?;
    writeln!(out, "watches         {}", stats.watchers)?;
    writeln!(out, "history bytes   {}", stats.window_bytes)?;
    writeln!(out, "cache bytes     {}", stats.cache_bytes)?;
    writeln!(out, "batches         {}", stats.batches)?;
    writeln!(out, "bytes written   {}", stats.bytes_written)?;
    writeln!(
        out,
        "health          {}",
        match store.health().is_writable() {
            true => "writable".to_owned(),
            false => format!("{:?}", store.health()),
        }
    )?;
    writeln!(out)?;
    writeln!(out, "{:>9} {:>12} PREFIX", "OBJECTS", "BYTES")?;
    let mut by_prefix: std::collections::BTreeMap<String, (usize, usize)> = Default::default();
    for entry in entries(store, "") {
        let (count, bytes) = by_prefix.entry(prefix_of(entry.key())).or_default();
        *count += 1;
        *bytes += entry.stored_len();
    }
    for (prefix, (count, bytes)) in by_prefix {
        writeln!(out, "{count:>9} {bytes:>12} {prefix}")?;
    }
    Ok(())
}

/// What objects of one kind share: their resource, or the first two segments of a raw key.
fn prefix_of(key: &Key) -> String {
    match key.is_raw() {
        false => format!("/registry/{}/", key.resource()),
        true => {
            let path = key.path();
            let end = path
                .match_indices('/')
                .nth(2)
                .map_or(path.len(), |(at, _)| at + 1);
            path[..end].to_owned()
        }
    }
}

fn watch(
    store: &Store,
    prefix: &str,
    from: Revision,
    out: &mut dyn Write,
    is_over: &mut dyn FnMut() -> bool,
) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()?;
    let all = store.snapshot_all();
    let mut watches: Vec<Watch> = Vec::new();
    // A resource that has no object yet is not known; its first objects are told by watching again.
    for resource in all.resources() {
        watches.push(store.watch(resource, Scope::All, from)?);
    }
    let mut reached = from;
    while !is_over() {
        let next = Revision(reached.0 + 1);
        let waited =
            runtime.block_on(async { tokio::time::timeout(LISTENS, store.wait_for(next)).await });
        match waited {
            Err(_) => continue,
            Ok(now) => reached = now?,
        }
        let mut events = Vec::new();
        for watch in &mut watches {
            watch.try_batch(&mut events, BATCH * 1000)?;
        }
        events.sort_by_key(|event| event.revision());
        for event in events
            .iter()
            .filter(|event| event.key().path().starts_with(prefix))
        {
            let what = match event.kind() {
                EventKind::Created => "created",
                EventKind::Updated => "updated",
                EventKind::Deleted => "deleted",
            };
            writeln!(out, "{:>10} {what} {}", event.revision(), event.key())?;
        }
        out.flush()?;
    }
    Ok(())
}

/// The bytes that the files of a directory take.
pub fn size_of(directory: &Path) -> u64 {
    let files = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let size = |file: std::fs::DirEntry| match file.metadata() {
        Ok(found) if found.is_dir() => size_of(&file.path()),
        Ok(found) => found.len(),
        Err(_) => 0,
    };
    files.map(size).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_lines() {
        let all = [
            Request::Backup { since: 7 },
            Request::Stats,
            Request::Health,
            Request::Compact { revision: None },
            Request::Compact { revision: Some(5) },
            Request::Get {
                key: "/registry/pods/a b/c".to_owned(),
                raw: false,
            },
            Request::Get {
                key: "/x".to_owned(),
                raw: true,
            },
            Request::List {
                prefix: String::new(),
            },
            Request::Watch {
                prefix: "/registry/ x".to_owned(),
                from: Some(1),
            },
        ];
        for request in all {
            assert_eq!(Request::parse(&request.line()).unwrap(), request);
        }
        assert!(Request::parse("fly").is_err() && Request::parse("backup x").is_err());
    }
}
