//! `corten store migrate`: a state from one kind of store to another, and a comparison of both afterwards. The kinds:
//! an etcd (a URL), the store of `corten store serve` (its directory), a stopped cluster's embedded store (its data
//! directory). The target has to be empty; a copy that was interrupted is begun again.

mod directories;
mod etcd;
mod replay;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use clap::{Args, ValueEnum};
use corten_etcd::client::{Client, Config, TlsFiles};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

/// Flags of `corten store migrate`.
#[derive(Clone, Debug, Args)]
pub struct Migrate {
    /// Where the state is: an etcd's URL, a directory of `corten store serve`, or a stopped cluster's data directory.
    #[arg(long, value_name = "DIR|URL")]
    pub from: String,
    /// Where it goes, of another or the same kind; it has to be empty.
    #[arg(long, value_name = "DIR|URL")]
    pub to: String,
    /// Make `--to DIR` a store for `corten store serve` instead of a cluster's data directory.
    #[arg(long)]
    pub to_served: bool,
    /// What keys begin with.
    #[arg(long, value_name = "PATH", default_value = "/registry/")]
    pub prefix: String,
    /// Whether an etcd is to have the same revisions. It counts its own, so that they are reached by writing: only in an
    /// etcd that is new, and one write for each.
    #[arg(long, value_enum, value_name = "HOW", default_value_t = Revisions::Auto)]
    pub revisions: Revisions,
    /// The authority that etcd's certificates are from.
    #[arg(long, value_name = "FILE")]
    pub etcd_cafile: Option<PathBuf>,
    /// The certificate to show to etcd.
    #[arg(long, value_name = "FILE")]
    pub etcd_certfile: Option<PathBuf>,
    /// Its key.
    #[arg(long, value_name = "FILE")]
    pub etcd_keyfile: Option<PathBuf>,
}

/// What becomes of revisions in an etcd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Revisions {
    /// Kept where the etcd is new and there are at most a million, else new ones.
    Auto,
    /// Kept, or nothing is copied.
    Keep,
    /// New ones.
    New,
}

/// A state: its revision, and its keys in the order in which they were last written.
pub(crate) struct State {
    revision: i64,
    keys: Vec<Kept>,
}

#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Kept {
    key: Bytes,
    value: Bytes,
    create: i64,
    modified: i64,
    version: i64,
    /// When it is to be deleted by itself, in seconds since the Unix epoch; 0 for never.
    expires: u64,
}

/// What was kept beside keys and values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Preserved {
    /// The revision of the state and of each key's last write.
    Revisions,
    /// Nothing.
    Values,
}

impl State {
    fn new(revision: i64, mut keys: Vec<Kept>) -> State {
        keys.sort_by(|a, b| (a.modified, &a.key).cmp(&(b.modified, &b.key)));
        State { revision, keys }
    }

    fn by_key(&self) -> BTreeMap<&Bytes, &Kept> {
        self.keys.iter().map(|kept| (&kept.key, kept)).collect()
    }
}

/// Seconds since the Unix epoch.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// Copies and compares.
pub async fn run(flags: Migrate) -> Result<()> {
    let state = read(&flags, &flags.from)
        .await
        .with_context(|| format!("cannot read {}", flags.from))?;
    ensure!(
        !state.keys.is_empty(),
        "{} holds no key that begins with {}",
        flags.from,
        flags.prefix
    );
    let preserved = write(&flags, &state)
        .await
        .with_context(|| format!("cannot write {}", flags.to))?;
    let seen = read(&flags, &flags.to)
        .await
        .with_context(|| format!("cannot read {} again", flags.to))?;
    let others = compare(&state, &seen, preserved).with_context(|| {
        format!(
            "{} does not hold what {} does: do not use it",
            flags.to, flags.from
        )
    })?;
    println!(
        "{} keys copied and compared; revision {} there, {} here",
        seen.keys.len(),
        seen.revision,
        state.revision
    );
    match preserved {
        Preserved::Revisions if others > 0 => {
            println!("{others} of them have another create revision or version");
        }
        Preserved::Revisions => {}
        Preserved::Values => {
            println!("revisions are new: restart what watches this state, so that it lists anew")
        }
    }
    Ok(())
}

/// Whether both hold the same; answers for how many keys the revision of their creation or their version differ.
fn compare(wanted: &State, seen: &State, preserved: Preserved) -> Result<usize> {
    let (wanted_keys, seen_keys) = (wanted.by_key(), seen.by_key());
    ensure!(
        wanted_keys.len() == seen_keys.len(),
        "{} keys, not {}",
        seen_keys.len(),
        wanted_keys.len()
    );
    let mut others = 0;
    for (key, wanted) in &wanted_keys {
        let name = String::from_utf8_lossy(key);
        let seen = seen_keys
            .get(*key)
            .with_context(|| format!("{name} is missing"))?;
        ensure!(seen.value == wanted.value, "{name} has another value");
        if preserved == Preserved::Revisions {
            ensure!(
                seen.modified == wanted.modified,
                "{name} is of revision {}, not {}",
                seen.modified,
                wanted.modified
            );
            let same = (seen.create, seen.version) == (wanted.create, wanted.version);
            others += usize::from(!same);
        }
    }
    if preserved == Preserved::Revisions {
        ensure!(
            seen.revision == wanted.revision,
            "it is at revision {}, not {}",
            seen.revision,
            wanted.revision
        );
    }
    Ok(others)
}

fn client(flags: &Migrate, url: &str) -> Result<Client> {
    Ok(Client::new(&Config {
        endpoints: url.split(',').map(str::to_owned).collect(),
        tls: TlsFiles {
            ca: flags.etcd_cafile.clone(),
            certificate: flags.etcd_certfile.clone(),
            key: flags.etcd_keyfile.clone(),
        },
    })?)
}

fn is_url(place: &str) -> bool {
    place.contains("://")
}

async fn read(flags: &Migrate, place: &str) -> Result<State> {
    if is_url(place) {
        return etcd::read(&client(flags, place)?, &flags.prefix).await;
    }
    let (place, prefix) = (PathBuf::from(place), flags.prefix.clone());
    tokio::task::spawn_blocking(move || directories::read(&place, prefix.as_bytes())).await?
}

/// Writes everything; answers what was kept.
async fn write(flags: &Migrate, state: &State) -> Result<Preserved> {
    if is_url(&flags.to) {
        let client = client(flags, &flags.to)?;
        return etcd::write(&client, flags, state).await;
    }
    let target = PathBuf::from(&flags.to);
    match flags.to_served {
        true => directories::write_served(&target, state).await?,
        false => directories::write_embedded(&target, state)?,
    }
    Ok(Preserved::Revisions)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(key: &'static str, modified: i64, version: i64) -> Kept {
        Kept {
            key: key.into(),
            value: "v".into(),
            create: 2,
            modified,
            version,
            expires: 0,
        }
    }

    #[test]
    fn a_copy_that_differs_is_not_taken_for_one() {
        let state = |revision, keys| State::new(revision, keys);
        let wanted = state(9, vec![kept("a", 3, 2), kept("b", 9, 4)]);
        let says = |seen: State, preserved| {
            compare(&wanted, &seen, preserved).map_err(|error| error.to_string())
        };
        let same = state(9, vec![kept("b", 9, 4), kept("a", 3, 2)]);
        assert_eq!(says(same, Preserved::Revisions), Ok(0));
        let version = state(9, vec![kept("b", 9, 4), kept("a", 3, 1)]);
        assert_eq!(says(version, Preserved::Revisions), Ok(1));
        let moved = || state(10, vec![kept("a", 4, 2), kept("b", 9, 4)]);
        assert_eq!(says(moved(), Preserved::Values), Ok(0));
        assert!(says(moved(), Preserved::Revisions).is_err());
        let fewer = state(9, vec![kept("a", 3, 2)]);
        assert!(says(fewer, Preserved::Values).is_err());
        let mut other = kept("b", 9, 4);
        other.value = "w".into();
        let other = state(9, vec![kept("a", 3, 2), other]);
        assert!(says(other, Preserved::Values).is_err());
    }
}
