//! How far a run has come, kept in a file after each round so that an interrupted run goes on counting. The store
//! itself is begun anew then: what its clients knew went with them.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};

const FILE: &str = "progress.json";

/// What happened.
#[derive(Debug, Default, Clone)]
pub struct Tally {
    /// Writes that were answered, all of which were found again.
    pub acknowledged: u64,
    /// Writes under way when the server died.
    pub in_doubt: u64,
    /// Those of them that had happened.
    pub happened: u64,
    /// Backups that were whole, and verified, although the server was killed.
    pub backups: u64,
    /// Backups that the kill cut.
    pub backups_cut: u64,
    /// Compactions of history before a kill.
    pub compactions: u64,
    /// Compactions of history that the kill cut.
    pub compactions_cut: u64,
    /// Compactions of the files of the stopped store.
    pub file_compactions: u64,
    /// Those of them that were killed.
    pub file_compactions_cut: u64,
    /// Stores restored from a backup, with which the run went on.
    pub restores: u64,
    /// Restores that were killed.
    pub restores_cut: u64,
    /// Stores migrated to the etcd face's and back, with which the run went on.
    pub migrations: u64,
    /// Migrations that were killed.
    pub migrations_cut: u64,
}

impl Tally {
    fn numbers(&mut self) -> [(&'static str, &mut u64); 13] {
        [
            ("acknowledged", &mut self.acknowledged),
            ("inDoubt", &mut self.in_doubt),
            ("happened", &mut self.happened),
            ("backups", &mut self.backups),
            ("backupsCut", &mut self.backups_cut),
            ("compactions", &mut self.compactions),
            ("compactionsCut", &mut self.compactions_cut),
            ("fileCompactions", &mut self.file_compactions),
            ("fileCompactionsCut", &mut self.file_compactions_cut),
            ("restores", &mut self.restores),
            ("restoresCut", &mut self.restores_cut),
            ("migrations", &mut self.migrations),
            ("migrationsCut", &mut self.migrations_cut),
        ]
    }
}

/// How far a run has come.
#[derive(Debug)]
pub struct Progress {
    /// Rounds that ended well.
    pub rounds: u64,
    /// How often the run was begun, this time included.
    pub lives: u64,
    /// What happened in them.
    pub tally: Tally,
    seed: u64,
}

impl Progress {
    /// Begins a run, or goes on with the one whose progress is kept in the directory.
    pub fn begin(directory: &Path, seed: u64) -> Result<Progress> {
        std::fs::create_dir_all(directory)?;
        let kept: Value = match std::fs::read(directory.join(FILE)) {
            Ok(text) => serde_json::from_slice(&text).context("reading progress.json")?,
            Err(_) => Value::Null,
        };
        let mut tally = Tally::default();
        for (name, number) in tally.numbers() {
            *number = kept[name].as_u64().unwrap_or(0);
        }
        let progress = Progress {
            rounds: kept["rounds"].as_u64().unwrap_or(0),
            lives: kept["lives"].as_u64().unwrap_or(0) + 1,
            tally,
            seed,
        };
        progress.save(directory)?;
        Ok(progress)
    }

    /// The data directory of this life.
    pub fn data(&self, directory: &Path) -> PathBuf {
        directory.join(format!("data-{}", self.lives))
    }

    /// Keeps it, whole or not at all.
    pub fn save(&self, directory: &Path) -> Result<()> {
        let mut kept = json!({"rounds": self.rounds, "lives": self.lives, "seed": self.seed});
        for (name, number) in self.tally.clone().numbers() {
            kept[name] = (*number).into();
        }
        let part = directory.join("progress.part");
        std::fs::write(&part, kept.to_string())?;
        Ok(std::fs::rename(&part, directory.join(FILE))?)
    }

    /// The run is over: its figures stay, its data goes.
    pub fn end(&self, directory: &Path) -> Result<()> {
        self.save(directory)?;
        Ok(std::fs::remove_dir_all(self.data(directory))?)
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rounds", self.rounds)?;
        for (name, number) in self.tally.clone().numbers() {
            write!(f, ", {name} {number}")?;
        }
        Ok(())
    }
}
