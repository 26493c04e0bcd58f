//! `corten store …`: looking at, backing up and restoring a cluster's store. A running cluster is asked over its
//! socket (`serve`); otherwise the store's directory is opened here. Both run the same requests (`request`).

mod flags;
mod places;
mod request;
mod schedule;
mod socket;

pub use flags::StoreFlags;

use crate::instance;
use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use corten_store::backup::{self, About};
use corten_store::engine::fjall::FjallEngine;
use corten_store::engine::{self, Engine};
use corten_store::raw::RawStore;
use corten_store::{Health, Store};
use request::Request;
use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::path::{Path, PathBuf};

/// `corten store …`.
#[derive(Clone, Debug, Subcommand)]
pub enum StoreCommand {
    /// Serve etcd's v3 API from a store of its own, as an etcd with one member.
    Serve(crate::store_serve::Serve),
    /// Copy a state between an etcd, a served store and a stopped cluster's embedded store.
    Migrate(crate::store_migrate::Migrate),
    /// Write a consistent backup of the store to a file, also while the cluster runs.
    Backup(Backup),
    /// Make a store from a backup and those made on top of it; the data directory must have none yet.
    Restore(Restore),
    /// Check every record of a store, or of a backup, and say what it is.
    Verify(Verify),
    /// Show revision, objects and sizes.
    Stats(At),
    /// Forget old history of a running cluster, or make the files of a stopped one small.
    Compact {
        /// Forget the history before this revision; now by default.
        #[arg(long, value_name = "N")]
        revision: Option<u64>,
        #[command(flatten)]
        at: At,
    },
    /// Print one stored object.
    Get {
        /// Its key, such as /registry/pods/default/web.
        key: String,
        /// Print the stored bytes as they are.
        #[arg(long)]
        raw: bool,
        #[command(flatten)]
        at: At,
    },
    /// List keys with their revisions and sizes.
    List {
        /// What the keys begin with, such as /registry/pods/.
        #[arg(default_value = "/registry/")]
        prefix: String,
        #[command(flatten)]
        at: At,
    },
    /// Follow the changes of a running cluster's store.
    Watch {
        /// What the keys begin with, such as /registry/pods/.
        #[arg(default_value = "/registry/")]
        prefix: String,
        /// Begin after this revision; now by default.
        #[arg(long, value_name = "N")]
        from: Option<u64>,
        #[command(flatten)]
        at: At,
    },
    /// Take the store of a stopped cluster one format back, for the program before this one.
    Downgrade(At),
}

/// Which store.
#[derive(Clone, Debug, Args)]
pub struct At {
    /// The cluster's data.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/corten")]
    pub data_dir: PathBuf,
}

impl At {
    fn store(&self) -> PathBuf {
        self.data_dir.join("store")
    }
}

/// Flags of `corten store backup`.
#[derive(Clone, Debug, Args)]
pub struct Backup {
    /// The file to write, or where in an S3-compatible object store: s3://bucket/prefix names it by its revision. The
    /// object store is found by the usual variables: AWS_ACCESS_KEY_ID, AWS_REGION, AWS_ENDPOINT_URL and so on.
    #[arg(value_name = "FILE|URL")]
    file: String,
    /// Write only what changed since this backup.
    #[arg(long, value_name = "FILE|URL")]
    since: Option<String>,
    #[command(flatten)]
    at: At,
}

/// Flags of `corten store restore`.
#[derive(Clone, Debug, Args)]
pub struct Restore {
    /// A whole backup, and those made on top of it in their order; of s3://bucket/prefix the newest.
    #[arg(required = true, value_name = "FILE|URL")]
    files: Vec<String>,
    /// How far to move the revision on, so that no client sees one again that it had seen before.
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    bump_revision: u64,
    #[command(flatten)]
    at: At,
}

/// Flags of `corten store verify`.
#[derive(Clone, Debug, Args)]
pub struct Verify {
    /// A backup; the store of the data directory if none is given.
    #[arg(value_name = "FILE|URL")]
    file: Option<String>,
    #[command(flatten)]
    at: At,
}

/// Runs a command.
pub async fn run(command: StoreCommand) -> Result<()> {
    match command {
        StoreCommand::Serve(flags) => crate::store_serve::run(flags).await,
        StoreCommand::Migrate(flags) => crate::store_migrate::run(flags).await,
        StoreCommand::Backup(flags) => back_up(&flags).await,
        StoreCommand::Restore(flags) => restore(&flags).await,
        StoreCommand::Verify(flags) => verify(&flags).await,
        StoreCommand::Stats(at) => ask(&at, &Request::Stats, &mut std::io::stdout()),
        StoreCommand::Compact { revision, at } => compact(&at, revision),
        StoreCommand::Get { key, raw, at } => {
            ask(&at, &Request::Get { key, raw }, &mut std::io::stdout())
        }
        StoreCommand::List { prefix, at } => {
            ask(&at, &Request::List { prefix }, &mut std::io::stdout())
        }
        StoreCommand::Watch { prefix, from, at } => {
            if instance::running(&at.data_dir).is_none() {
                bail!(
                    "no cluster runs on {}: nothing changes there",
                    at.data_dir.display()
                );
            }
            ask(
                &at,
                &Request::Watch { prefix, from },
                &mut std::io::stdout(),
            )
        }
        StoreCommand::Downgrade(at) => downgrade(&at),
    }
}

/// Has a request done by the running cluster, or on the store's directory when none runs.
fn ask(at: &At, request: &Request, out: &mut dyn Write) -> Result<()> {
    match instance::running(&at.data_dir) {
        Some(_) => socket::ask(&at.data_dir, request, out),
        None => {
            let store = open(&at.store())?;
            let done = request::run(&store, request, out, &mut || false);
            store.close();
            done
        }
    }
}

/// Opens a store's directory for looking at it.
fn open(directory: &Path) -> Result<Store> {
    if !directory.exists() {
        bail!("there is no store in {}", directory.display());
    }
    let engine = FjallEngine::open(directory)?;
    Ok(Store::open(RawStore::options(engine))?)
}

async fn back_up(flags: &Backup) -> Result<()> {
    let data = &flags.at.data_dir;
    let since = match &flags.since {
        Some(from) => places::about_of(from, data).await?.revision.0,
        None => 0,
    };
    if !flags.at.store().exists() {
        bail!("there is no store in {}", flags.at.store().display());
    }
    let written = places::write(&flags.file, data, |out| {
        ask(&flags.at, &Request::Backup { since }, out)
    });
    let (place, about) = written.await?;
    println!("{}", told(&place, &about));
    Ok(())
}

/// Writes a backup beside its final name, checks it, makes it durable and moves it there.
fn write_backup(file: &Path, write: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<About> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    let part = file.with_file_name(name);
    let finished = || -> Result<About> {
        let target = std::fs::OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&part)
            .with_context(|| format!("cannot write {}", part.display()))?;
        let mut out = std::io::BufWriter::new(&target);
        write(&mut out)?;
        out.flush()
            .with_context(|| format!("cannot write {}", part.display()))?;
        drop(out);
        target.sync_all()?;
        let about = about(&part)?;
        std::fs::rename(&part, file)?;
        let directory = file.parent().filter(|path| !path.as_os_str().is_empty());
        File::open(directory.unwrap_or(Path::new(".")))?.sync_all()?;
        Ok(about)
    };
    finished().inspect_err(|_| drop(std::fs::remove_file(&part)))
}

/// What a backup is of; the whole file is checked.
fn about(file: &Path) -> Result<About> {
    let input = File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
    backup::verify(&mut BufReader::new(input)).with_context(|| file.display().to_string())
}

fn told(place: &str, about: &About) -> String {
    let what = match about.since.0 {
        0 => "everything".to_owned(),
        since => format!("what changed after revision {since}"),
    };
    format!(
        "{place}: {what} up to revision {}, {} of {} objects, cluster {:016x}",
        about.revision, about.changed, about.objects, about.cluster_id
    )
}

async fn restore(flags: &Restore) -> Result<()> {
    if instance::running(&flags.at.data_dir).is_some() {
        bail!(
            "a cluster runs on {}; stop it with 'corten down' first",
            flags.at.data_dir.display()
        );
    }
    let mut fetched = Vec::new();
    for file in &flags.files {
        fetched.push(places::fetch(file, &flags.at.data_dir).await?);
    }
    let mut engine = FjallEngine::open(&flags.at.store())?;
    let mut files = fetched.iter().map(|fetched| {
        let path = fetched.path();
        let file = File::open(path).map_err(|error| {
            std::io::Error::new(error.kind(), format!("{}: {error}", path.display()))
        })?;
        Ok(Box::new(BufReader::new(file)) as Box<dyn Read>)
    });
    let restored = backup::restore(&mut engine, &mut files, flags.bump_revision)?;
    println!(
        "restored {} objects at revision {} into {}",
        restored.objects,
        restored.revision,
        flags.at.store().display()
    );
    Ok(())
}

async fn verify(flags: &Verify) -> Result<()> {
    if let Some(file) = &flags.file {
        let about = places::about_of(file, &std::env::temp_dir()).await?;
        println!("{}", told(file, &about));
        return Ok(());
    }
    if instance::running(&flags.at.data_dir).is_some() {
        return ask(&flags.at, &Request::Health, &mut std::io::stdout());
    }
    let store = open(&flags.at.store())?;
    let health = store.health();
    let (revision, objects) = (store.revision(), store.stats().objects);
    store.close();
    match health {
        Health::Writable => {
            println!("{objects} objects at revision {revision}: every record is whole");
            Ok(())
        }
        Health::Damaged { records } => {
            for record in &records {
                println!("{}: {}", record.key, record.reason);
            }
            bail!("{} records cannot be read, {objects} can", records.len())
        }
        other => bail!("the store is {other:?}"),
    }
}

fn compact(at: &At, revision: Option<u64>) -> Result<()> {
    if instance::running(&at.data_dir).is_some() {
        return ask(at, &Request::Compact { revision }, &mut std::io::stdout());
    }
    if !at.store().exists() {
        bail!("there is no store in {}", at.store().display());
    }
    let before = request::size_of(&at.store());
    let mut engine = FjallEngine::open(&at.store())?;
    engine.compact()?;
    drop(engine);
    println!(
        "{before} bytes before, {} after",
        request::size_of(&at.store())
    );
    Ok(())
}

fn downgrade(at: &At) -> Result<()> {
    if !at.store().exists() {
        bail!("there is no store in {}", at.store().display());
    }
    engine::lower(&mut FjallEngine::open(&at.store())?)?;
    println!("the store has format {}", engine::FORMAT_FIRST);
    Ok(())
}
