//! Where backups are: in files, or in a bucket of an S3-compatible object store (`s3://bucket/prefix`). What goes into
//! a bucket, or comes from one, is a whole and checked file beside the data first.

use super::{about, write_backup};
use anyhow::{Context, Result};
use corten_buckets::{Bucket, is_address};
use corten_store::backup::About;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// What the names of backups end with.
pub const ENDING: &str = ".backup";

/// A file beside the data that is gone when this is.
pub struct Spool(PathBuf);

impl Spool {
    /// A name that nothing else uses; the directory is made if need be.
    pub fn beside(data: &Path) -> Result<Spool> {
        std::fs::create_dir_all(data)
            .with_context(|| format!("cannot make the directory {}", data.display()))?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let (process, now) = (std::process::id(), now.unwrap_or_default().as_nanos());
        Ok(Spool(data.join(format!("spool-{process}-{now}{ENDING}"))))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        // It is not there if it was never written.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// The name of a backup of everything, by which backups are in order of their age.
pub fn name_of(about: &About) -> String {
    format!("corten-{:020}{ENDING}", about.revision.0)
}

/// Whether a name is one that [`name_of`] gives.
pub fn is_ours(name: &str) -> bool {
    name.starts_with("corten-") && name.ends_with(ENDING)
}

/// The bucket of an address, and the name of the file that it names, if it names one.
fn open(address: &str) -> Result<(Bucket, Option<&str>)> {
    Ok(match address.rsplit_once('/') {
        Some((prefix, name)) if name.ends_with(ENDING) => (Bucket::open(prefix)?, Some(name)),
        _ => (Bucket::open(address)?, None),
    })
}

/// Writes a backup to a file or into a bucket; answers where it is now and what it is of.
pub async fn write(
    to: &str,
    data: &Path,
    write: impl FnOnce(&mut dyn Write) -> Result<()>,
) -> Result<(String, About)> {
    if !is_address(to) {
        return Ok((to.to_owned(), write_backup(Path::new(to), write)?));
    }
    let (bucket, name) = open(to)?;
    let spool = Spool::beside(data)?;
    let about = write_backup(spool.path(), write)?;
    let name = name.map_or_else(|| name_of(&about), str::to_owned);
    bucket.upload(&name, spool.path()).await?;
    Ok((bucket.address(&name), about))
}

/// A backup as a local file: of a bucket the one that is named, or the newest.
pub enum Fetched {
    /// It is one.
    Local(PathBuf),
    /// It was fetched.
    Spooled(Spool),
}

impl Fetched {
    /// Where it is.
    pub fn path(&self) -> &Path {
        match self {
            Fetched::Local(path) => path,
            Fetched::Spooled(spool) => spool.path(),
        }
    }
}

/// Makes a backup a local file.
pub async fn fetch(from: &str, data: &Path) -> Result<Fetched> {
    if !is_address(from) {
        return Ok(Fetched::Local(PathBuf::from(from)));
    }
    let (bucket, name) = open(from)?;
    let name = match name {
        Some(name) => name.to_owned(),
        None => {
            let names = bucket.list().await?;
            let newest = names.into_iter().rfind(|name| is_ours(name));
            newest.with_context(|| format!("there is no backup in {from}"))?
        }
    };
    let spool = Spool::beside(data)?;
    bucket.download(&name, spool.path()).await?;
    Ok(Fetched::Spooled(spool))
}

/// What a backup is of, wherever it is; all of it is read.
pub async fn about_of(from: &str, data: &Path) -> Result<About> {
    let fetched = fetch(from, data).await?;
    about(fetched.path()).with_context(|| from.to_owned())
}
