//! What lies on disk: one directory per sandbox with its record, its containers' records and their exits.
//! Invariant: files appear whole (written aside, then renamed). Left out: durability against power loss, which
//! ends the containers anyway.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::config::{ContainerConfig, IdGroups, SandboxConfig};
use crate::error::{Error, Result};

/// A sandbox as it was asked for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SandboxRecord {
    pub id: String,
    pub config: SandboxConfig,
    pub created_at: SystemTime,
    /// Absolute path of the pod's cgroup in every hierarchy.
    pub cgroup: String,
}

/// A container as it was asked for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ContainerRecord {
    pub id: String,
    pub config: ContainerConfig,
    pub created_at: SystemTime,
}

/// How a container ended; also the event that the shim sends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitRecord {
    pub code: i32,
    pub signal: Option<i32>,
    pub oom: bool,
    pub started_at: Option<SystemTime>,
    pub finished_at: SystemTime,
    pub reason: String,
    pub message: String,
    pub user: Option<IdGroups>,
}

impl ExitRecord {
    /// The end of a container whose shim died: nobody saw its exit code.
    pub fn unknown(why: &str) -> Self {
        Self {
            code: 255,
            signal: None,
            oom: false,
            started_at: None,
            finished_at: SystemTime::now(),
            reason: "ContainerStatusUnknown".to_owned(),
            message: why.to_owned(),
            user: None,
        }
    }

    /// The end of a container whose program never ran.
    pub fn not_started(why: &str, user: Option<IdGroups>) -> Self {
        Self {
            code: 128,
            reason: "StartError".to_owned(),
            message: format!("failed to start container process: {why}"),
            user,
            ..Self::unknown("")
        }
    }
}

/// Where everything of one sandbox lies.
#[derive(Clone, Debug)]
pub struct Places {
    state: PathBuf,
    run: PathBuf,
    namespaces: PathBuf,
    pivot: PathBuf,
}

/// The directory of all sandboxes below the state directory.
pub fn sandboxes(root: &Path) -> PathBuf {
    root.join("sandboxes")
}

/// The private tmpfs below the run directory.
pub fn private_mount(run: &Path) -> PathBuf {
    run.join("ns")
}

impl Places {
    pub fn new(root: &Path, run: &Path, id: &str) -> Self {
        let private = private_mount(run);
        Self {
            state: sandboxes(root).join(id),
            run: run.join("pods").join(id),
            namespaces: private.join(id),
            pivot: private.join("root"),
        }
    }

    /// Makes the directories.
    pub fn make(&self) -> Result<()> {
        for directory in [&self.state, &self.run, &self.namespaces] {
            make_private(directory)?;
        }
        Ok(())
    }

    pub fn state(&self) -> &Path {
        &self.state
    }

    pub fn run(&self) -> &Path {
        &self.run
    }

    /// Directory of the pod's namespace files and mounts.
    pub fn namespaces(&self) -> &Path {
        &self.namespaces
    }

    pub fn netns(&self) -> PathBuf {
        self.namespaces.join("net")
    }

    pub fn shm(&self) -> PathBuf {
        self.namespaces.join("shm")
    }

    /// The directory where roots are attached for a moment, each in its own mount namespace.
    pub fn pivot(&self) -> &Path {
        &self.pivot
    }

    pub fn socket(&self) -> PathBuf {
        self.run.join("shim.sock")
    }

    /// What the shim has to complain about.
    pub fn shim_log(&self) -> PathBuf {
        self.run.join("shim.log")
    }

    pub fn sandbox(&self) -> PathBuf {
        self.state.join("sandbox.json")
    }

    pub fn container(&self, id: &str) -> PathBuf {
        self.state.join(format!("{id}.json"))
    }

    pub fn exit(&self, id: &str) -> PathBuf {
        self.state.join(format!("{id}.exit"))
    }

    /// The directory of a container's writable layer.
    pub fn layer(&self, id: &str) -> PathBuf {
        self.state.join(id)
    }

    pub fn upper(&self, id: &str) -> PathBuf {
        self.layer(id).join("upper")
    }

    pub fn work(&self, id: &str) -> PathBuf {
        self.layer(id).join("work")
    }

    /// Identities of the containers that have records.
    pub fn container_ids(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(&self.state) else {
            return Vec::new();
        };
        let mut ids: Vec<String> = entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter_map(|name| name.strip_suffix(".json").map(str::to_owned))
            .filter(|name| name != "sandbox")
            .collect();
        ids.sort_unstable();
        ids
    }
}

/// Makes a directory and its parents for root alone.
pub fn make_private(directory: &Path) -> Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(Error::io("make directory", directory))
}

/// Writes a record whole.
pub fn write<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let aside = path.with_extension("new");
    let body = serde_json::to_vec(value).map_err(|error| Error::Record {
        path: path.to_path_buf(),
        why: error.to_string(),
    })?;
    let put = || -> io::Result<()> {
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&aside)?;
        io::Write::write_all(&mut file, &body)?;
        fs::rename(&aside, path)
    };
    put().map_err(Error::io("write record", path))
}

/// Reads a record; `None` when there is none.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let body = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(Error::io("read record", path))?,
    };
    serde_json::from_slice(&body)
        .map(Some)
        .map_err(|error| Error::Record {
            path: path.to_path_buf(),
            why: error.to_string(),
        })
}
