//! `images.json`: every image record, replaced as a whole by rename after fsync, changed only under the file lock.
//! Invariant: readers see one complete version; a tag belongs to one image at most.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::image::{Image, ImageId};
use crate::reference::Reference;

const VERSION: u32 = 1;

/// All records, sorted by id.
#[derive(Debug, Clone, Default)]
pub(crate) struct State {
    pub(crate) images: Vec<Arc<Image>>,
}

#[derive(Serialize, Deserialize)]
struct Document<I> {
    version: u32,
    images: Vec<I>,
}

/// Tells one version of the file from another: a rename always brings a new inode.
type Stamp = Option<(u64, i64, i64)>;

pub(crate) struct Records {
    path: PathBuf,
    lock_path: PathBuf,
    cached: Mutex<(Stamp, Arc<State>)>,
    /// One writer of this process at a time; the file lock keeps out the others.
    writer: Mutex<()>,
}

/// Held while records or layers change.
pub(crate) struct Locked<'r> {
    _file: File,
    _writer: MutexGuard<'r, ()>,
}

impl Records {
    pub(crate) fn open(root: &Path) -> Result<Records> {
        let records = Records {
            path: root.join("images.json"),
            lock_path: root.join("lock"),
            cached: Mutex::default(),
            writer: Mutex::default(),
        };
        records.read()?;
        Ok(records)
    }

    /// The current records, read again only when another process changed them.
    pub(crate) fn read(&self) -> Result<Arc<State>> {
        let stamp = self.stamp()?;
        let mut cached = self.cached.lock().unwrap_or_else(PoisonError::into_inner);
        if cached.0 != stamp {
            *cached = (stamp, Arc::new(self.load()?));
        }
        Ok(cached.1.clone())
    }

    /// Keeps every other change out, in this process and others.
    pub(crate) fn lock(&self) -> Result<Locked<'_>> {
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&self.lock_path)
            .and_then(|file| file.lock().map(|()| file))
            .map_err(Error::disk("lock", &self.lock_path))?;
        Ok(Locked {
            _file: file,
            _writer: writer,
        })
    }

    /// Changes the records; when `change` fails nothing is written.
    pub(crate) fn update<T>(&self, change: impl FnOnce(&mut State) -> Result<T>) -> Result<T> {
        let _lock = self.lock()?;
        let mut state = (*self.read()?).clone();
        let out = change(&mut state)?;
        self.store(&state)?;
        let stamp = self.stamp()?;
        *self.cached.lock().unwrap_or_else(PoisonError::into_inner) = (stamp, Arc::new(state));
        Ok(out)
    }

    fn stamp(&self) -> Result<Stamp> {
        match std::fs::metadata(&self.path) {
            Ok(meta) => Ok(Some((meta.ino(), meta.mtime(), meta.mtime_nsec()))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::disk("look at", &self.path)(error)),
        }
    }

    fn load(&self) -> Result<State> {
        let bytes = match std::fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(State::default()),
            Err(error) => return Err(Error::disk("read", &self.path)(error)),
        };
        let wrong = |reason: String| Error::Records {
            path: self.path.clone(),
            reason,
        };
        let document: Document<Image> =
            serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
        if document.version != VERSION {
            return Err(wrong(format!(
                "version {} is not understood",
                document.version
            )));
        }
        let mut state = State::default();
        for image in document.images {
            state.put(image);
        }
        Ok(state)
    }

    fn store(&self, state: &State) -> Result<()> {
        let images: Vec<&Image> = state.images.iter().map(|image| &**image).collect();
        let bytes = serde_json::to_vec_pretty(&Document {
            version: VERSION,
            images,
        })
        .expect("records have string keys only, which always encode");
        write_atomic(&self.path, &bytes)
    }
}

/// Replaces `path` with `bytes` so that a crash leaves the old or the new content. Callers hold the lock.
pub(crate) fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    let temporary = path.with_extension("new");
    let write = || {
        let mut file = File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)?;
        match path.parent() {
            Some(directory) => File::open(directory)?.sync_all(),
            None => Ok(()),
        }
    };
    write().map_err(Error::disk("write", path))
}

impl State {
    pub(crate) fn get(&self, id: &ImageId) -> Option<&Arc<Image>> {
        self.images
            .binary_search_by_key(id, |image| image.id)
            .ok()
            .map(|at| &self.images[at])
    }

    /// Adds or replaces the record with this id.
    pub(crate) fn put(&mut self, image: Image) -> Arc<Image> {
        let image = Arc::new(image);
        match self
            .images
            .binary_search_by_key(&image.id, |image| image.id)
        {
            Ok(at) => self.images[at] = image.clone(),
            Err(at) => self.images.insert(at, image.clone()),
        }
        image
    }

    /// Adds `image` under `names`, or gives the names to the record that is there already.
    pub(crate) fn adopt(&mut self, image: Image, names: &[Reference]) -> Arc<Image> {
        for name in names.iter().filter(|name| name.digest().is_none()) {
            self.untag(&name.to_string());
        }
        let mut kept = match self.get(&image.id) {
            Some(known) => Image {
                pinned: known.pinned || image.pinned,
                ..(**known).clone()
            },
            None => image,
        };
        for name in names {
            let list = if name.digest().is_some() {
                &mut kept.digests
            } else {
                &mut kept.tags
            };
            let name = name.to_string();
            if let Err(at) = list.binary_search(&name) {
                list.insert(at, name);
            }
        }
        self.put(kept)
    }

    pub(crate) fn delete(&mut self, id: &ImageId) {
        self.images.retain(|image| image.id != *id);
    }

    /// Takes the tag `name` from whichever image has it.
    pub(crate) fn untag(&mut self, name: &str) {
        for image in &mut self.images {
            if image.tags.iter().any(|tag| tag == name) {
                Arc::make_mut(image).tags.retain(|tag| tag != name);
            }
        }
    }
}
