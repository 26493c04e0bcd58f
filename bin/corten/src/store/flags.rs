//! The flags about the store that `corten up` and `corten apiserver` share, and what runs beside the server for them.

use super::schedule::{BackupFlags, Schedule};
use super::socket::Socket;
use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use corten_apiserver::Keeping;
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
    #[command(flatten)]
    pub backups: BackupFlags,
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
            encryption,
            relaxed: (self.lease_durability == LeaseDurability::Relaxed).then(Relaxed::default),
        })
    }

    /// Serves the store's socket in the data directory and starts scheduled backups.
    pub fn serve(&self, data: &Path, store: &Store) -> Result<Beside> {
        Ok(Beside {
            _socket: Socket::serve(data, store.clone())?,
            _schedule: Schedule::start(&self.backups, store.clone())?,
        })
    }
}
