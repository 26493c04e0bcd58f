//! From unpacked layers to an image record: which layers are missing, where to unpack them, and the order in which
//! everything becomes visible (layers by rename, then the disk is synced, then the record).

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::records::write_atomic;
use super::{ImageStore, Operation};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::image::{Image, ImageConfig, ImageId, Layer, chain_ids};
use crate::layer::unpack::Unpacked;
use crate::oci::{ConfigFile, Platform};
use crate::reference::Reference;

/// An image whose layers are to be put in place.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) manifest: Vec<u8>,
    pub(crate) config: Vec<u8>,
    pub(crate) file: ConfigFile,
    /// Tags and digest names it gets.
    pub(crate) names: Vec<Reference>,
    pub(crate) pinned: bool,
}

/// One layer of a draft.
#[derive(Debug, Clone)]
pub(crate) struct PlannedLayer {
    pub(crate) index: usize,
    pub(crate) diff_id: Digest,
    pub(crate) chain_id: Digest,
    pub(crate) present: bool,
}

/// `layer.json` beside the files of a layer.
#[derive(Serialize, Deserialize)]
struct LayerFacts {
    diff_id: Digest,
    size: u64,
}

impl ImageStore {
    /// The layers `diff_ids` (lowest first), leased to `operation`, and which of them are on disk.
    pub(crate) fn plan_layers(
        &self,
        operation: &Operation,
        diff_ids: &[Digest],
    ) -> Result<Vec<PlannedLayer>> {
        let _lock = self.inner.records.lock()?;
        let mut planned = Vec::with_capacity(diff_ids.len());
        for (index, (diff_id, chain_id)) in diff_ids.iter().zip(chain_ids(diff_ids)).enumerate() {
            operation.lease(&chain_id)?;
            let present = self.is_present(&chain_id);
            planned.push(PlannedLayer {
                index,
                diff_id: *diff_id,
                chain_id,
                present,
            });
        }
        Ok(planned)
    }

    pub(crate) fn is_present(&self, chain_id: &Digest) -> bool {
        self.layer_directory(chain_id).join("layer.json").exists()
    }

    /// An empty directory to unpack `layer` into.
    pub(crate) fn layer_workspace(operation: &Operation, layer: &PlannedLayer) -> Result<PathBuf> {
        let path = operation.path().join(layer.chain_id.hex()).join("fs");
        std::fs::create_dir_all(&path).map_err(Error::disk("create directory", &path))?;
        Ok(path)
    }

    /// Moves an unpacked layer to its place. The layers below must be in place already.
    pub(crate) fn commit_layer(
        &self,
        operation: &Operation,
        below: &[PlannedLayer],
        layer: &PlannedLayer,
        unpacked: &Unpacked,
    ) -> Result<()> {
        let from = operation.path().join(layer.chain_id.hex());
        let lowers: Vec<PathBuf> = below
            .iter()
            .rev()
            .map(|below| self.layer_directory(&below.chain_id).join("fs"))
            .collect();
        for path in &unpacked.implied {
            adopt_directory(&from.join("fs"), &lowers, path).map_err(Error::disk(
                "set the attributes of",
                &from.join("fs").join(OsStr::from_bytes(path)),
            ))?;
        }
        let facts = LayerFacts {
            diff_id: layer.diff_id,
            size: unpacked.bytes,
        };
        let facts = serde_json::to_vec(&facts).expect("two plain fields always encode");
        write_atomic(&from.join("layer.json"), &facts)?;
        let to = self.layer_directory(&layer.chain_id);
        match std::fs::rename(&from, &to) {
            Ok(()) => Ok(()),
            // Somebody else was faster with the same content.
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists
                ) =>
            {
                Ok(())
            }
            Err(error) => Err(Error::disk("move a layer to", &to)(error)),
        }
    }

    /// Records images, all or none. Their layers must be in place.
    pub(crate) fn commit_images(&self, drafts: &[Draft]) -> Result<Vec<Arc<Image>>> {
        let images = drafts
            .iter()
            .map(|draft| self.new_record(draft))
            .collect::<Result<Vec<Image>>>()?;
        sync_file_system(&self.inner.root)?;
        self.inner.records.update(|records| {
            let mut ids = Vec::with_capacity(images.len());
            for (draft, image) in drafts.iter().zip(images) {
                for (digest, bytes) in [
                    (image.manifest, &draft.manifest),
                    (image.id.0, &draft.config),
                ] {
                    let path = self.blob_path(&digest);
                    if !path.exists() {
                        write_atomic(&path, bytes)?;
                    }
                }
                ids.push(image.id);
                records.adopt(image, &draft.names);
            }
            Ok(ids
                .iter()
                .filter_map(|id| records.get(id).cloned())
                .collect())
        })
    }

    fn new_record(&self, draft: &Draft) -> Result<Image> {
        let diff_ids = &draft.file.rootfs.diff_ids;
        let mut layers = Vec::with_capacity(diff_ids.len());
        for (diff_id, chain_id) in diff_ids.iter().zip(chain_ids(diff_ids)) {
            let facts = layer_facts(&self.layer_directory(&chain_id).join("layer.json"))?;
            layers.push(Layer {
                diff_id: *diff_id,
                chain_id,
                size: facts.size,
            });
        }
        Ok(Image {
            id: ImageId(Digest::of(&draft.config)),
            manifest: Digest::of(&draft.manifest),
            tags: Vec::new(),
            digests: Vec::new(),
            config: ImageConfig::from_file(&draft.file),
            platform: Platform {
                architecture: draft.file.architecture.clone(),
                os: draft.file.os.clone(),
                variant: draft.file.variant.clone(),
            },
            size: layers.iter().map(|layer| layer.size).sum(),
            layers,
            pinned: draft.pinned,
            added_at: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |age| age.as_secs()),
        })
    }
}

fn layer_facts(path: &Path) -> Result<LayerFacts> {
    let read = || -> io::Result<LayerFacts> {
        serde_json::from_slice(&std::fs::read(path)?)
            .map_err(|error| io::Error::new(ErrorKind::InvalidData, error))
    };
    read().map_err(Error::disk("read", path))
}

/// One sync of the whole file system is far cheaper than one per file.
fn sync_file_system(root: &Path) -> Result<()> {
    File::open(root)
        .and_then(|directory| Ok(rustix::fs::syncfs(&directory)?))
        .map_err(Error::disk("sync the file system of", root))
}

/// Moves everything in `directory` whose name is not in `keep` to `trash`. Returns the bytes this frees.
pub(super) fn move_unnamed(
    directory: &Path,
    keep: &BTreeSet<String>,
    trash: &Operation,
) -> Result<u64> {
    let mut freed = 0;
    let entries = std::fs::read_dir(directory).map_err(Error::disk("list", directory))?;
    for entry in entries {
        let entry = entry.map_err(Error::disk("list", directory))?;
        let name = entry.file_name();
        let Some(text) = name.to_str() else { continue };
        if keep.contains(text) {
            continue;
        }
        let path = entry.path();
        freed += match layer_facts(&path.join("layer.json")) {
            Ok(facts) => facts.size,
            Err(_) => entry.metadata().map_or(0, |meta| meta.len()),
        };
        let to = trash.path().join(format!("gone-{text}"));
        std::fs::rename(&path, &to).map_err(Error::disk("move away", &path))?;
    }
    Ok(freed)
}

/// A directory that the archive did not describe looks as in the layers below, so that the merged view keeps it.
fn adopt_directory(layer: &Path, lowers: &[PathBuf], path: &[u8]) -> io::Result<()> {
    for lower in lowers {
        let Some(found) = open_in(lower, path)? else {
            continue;
        };
        let stat = rustix::fs::fstat(&found)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return Ok(());
        }
        let to = open_in(layer, path)?.ok_or(ErrorKind::NotFound)?;
        // Descriptors opened with O_PATH cannot be changed; their paths under /proc can.
        let (from, to) = (proc_path(&found), proc_path(&to));
        rustix::fs::chown(
            &*to,
            Some(Uid::from_raw(stat.st_uid)),
            Some(Gid::from_raw(stat.st_gid)),
        )?;
        rustix::fs::chmod(&*to, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
        copy_xattrs(&from, &to)?;
        let time = Timespec {
            tv_sec: stat.st_mtime,
            tv_nsec: stat.st_mtime_nsec as _,
        };
        let times = Timestamps {
            last_access: time,
            last_modification: time,
        };
        rustix::fs::utimensat(rustix::fs::CWD, &*to, &times, AtFlags::empty())?;
        return Ok(());
    }
    Ok(())
}

fn open_in(root: &Path, path: &[u8]) -> io::Result<Option<rustix::fd::OwnedFd>> {
    let root = File::open(root)?;
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat2(
        &root,
        path,
        flags,
        Mode::empty(),
        ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
    ) {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn proc_path(fd: &rustix::fd::OwnedFd) -> String {
    use std::os::fd::AsRawFd;
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

fn copy_xattrs(from: &str, to: &str) -> io::Result<()> {
    let mut names = vec![0u8; 64 << 10];
    let length = match rustix::fs::listxattr(from, &mut names[..]) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    for name in names[..length]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
    {
        if name.starts_with(b"trusted.overlay.") {
            continue;
        }
        let mut value = vec![0u8; 64 << 10];
        let length = rustix::fs::getxattr(from, name, &mut value[..])?;
        rustix::fs::setxattr(to, name, &value[..length], XattrFlags::empty())?;
    }
    Ok(())
}
