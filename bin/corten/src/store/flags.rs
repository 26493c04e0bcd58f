//! The flags about the store that `corten up` and `corten apiserver` share, and what runs beside the server for them.

use super::schedule::{BackupFlags, Schedule};
use super::socket::Socket;
use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use corten_apiserver::{Ciphers, Keeping};
use corten_encryption::Encryption;
use corten_store::{Relaxed, Store};
use std::path::{Path, PathBuf};

/// Flags about the store.
#[derive(Clone, Debug, Args)]
pub struct StoreFlags {
    /// When writes of Leases and Events are answered: `full` after they are on the disk as all others are, `relaxed`
    /// before, so that a power cut may take the last second of them. For machines whose flash wears.
    #[arg(long, value_enum, value_name = "HOW", default_value_t = LeaseDurability::Full)]
    pub lease_durability: LeaseDurability,
    /// Encrypt objects on the disk as this EncryptionConfiguration says.
    #[arg(long, value_name = "FILE")]
    pub encryption_provider_config: Option<PathBuf>,
    /// Read that file again when it changes, so that keys rotate without a restart.
    #[arg(
        long,
        num_args = 0..=1,
        default_missing_value = "true",
        default_value_t = false,
        action = clap::ArgAction::Set,
        requires = "encryption_provider_config"
    )]
    pub encryption_provider_config_automatic_reload: bool,
    /// Bound the memory that objects take, such as 64MiB: the values beyond it are on the disk alone and are read
    /// back when they are asked for. Names and labels stay in memory, some hundred bytes for each object.
    #[arg(long, value_name = "BYTES", value_parser = bytes, conflicts_with = "etcd_servers")]
    pub store_memory: Option<usize>,
    #[command(flatten)]
    pub backups: BackupFlags,
}

/// The least memory that objects can be bounded to.
const MEMORY_MIN: usize = 1 << 20;

/// Reads `64MiB`, `512KiB`, `1GiB` or a number of bytes.
pub fn bytes(text: &str) -> Result<usize, String> {
    let wrong = || format!("{text:?} is not a size such as 64MiB or 1GiB");
    let at = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let unit = match &text[at..] {
        "" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(wrong()),
    };
    let number: usize = text[..at].parse().map_err(|_| wrong())?;
    match number.checked_mul(unit) {
        Some(bytes) if bytes >= MEMORY_MIN => Ok(bytes),
        Some(_) => Err(format!("{text:?} is too little: at least 1MiB is needed")),
        None => Err(wrong()),
    }
}

/// When writes of Leases and Events are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LeaseDurability {
    /// After they are on the disk.
    Full,
    /// Before.
    Relaxed,
}

/// What runs beside the server: the socket and scheduled backups. It stops when this is dropped.
#[derive(Debug)]
pub struct Beside {
    _socket: Socket,
    _schedule: Option<Schedule>,
}

impl StoreFlags {
    /// How the API server is to keep objects.
    pub fn keeping(&self) -> Result<Keeping> {
        let encryption = match &self.encryption_provider_config {
            None => None,
            Some(path) => {
                let text = std::fs::read(path)
                    .with_context(|| format!("cannot read {}", path.display()))?;
                let parsed = Encryption::parse(&text);
                Some(parsed.with_context(|| format!("cannot use {}", path.display()))?)
            }
        };
        Ok(Keeping {
            encryption: encryption.map(Ciphers::new),
            encryption_followed: self
                .encryption_provider_config
                .clone()
                .filter(|_| self.encryption_provider_config_automatic_reload),
            memory: self.store_memory,
            relaxed: (self.lease_durability == LeaseDurability::Relaxed).then(Relaxed::default),
        })
    }

    /// Serves the store's socket in the data directory and starts scheduled backups.
    pub fn serve(&self, data: &Path, store: &Store) -> Result<Beside> {
        Ok(Beside {
            _socket: Socket::serve(data, store.clone())?,
            _schedule: Schedule::start(&self.backups, data, store.clone())?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_a_unit() {
        assert_eq!(bytes("64MiB"), Ok(64 << 20));
        assert_eq!(bytes("2097152"), Ok(2 << 20));
        for wrong in [
            "",
            "MiB",
            "64MB",
            "-1MiB",
            "512KiB",
            "99999999999999999999GiB",
        ] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
    }
}
