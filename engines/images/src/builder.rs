//! Builds images from files, without any other tool, and writes them as archives.
//! Invariant: the same inputs give the same bytes; times, owners and order never come from the machine.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tar::{EntryType, Header};

use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::image::{ImageConfig, ImageId};
use crate::layer::root::clean;
use crate::oci::{
    CONTAINERD_NAME, ConfigFile, Descriptor, DockerSaved, Empty, Index, Manifest, OCI_CONFIG,
    OCI_INDEX, OCI_LAYER, OCI_LAYER_GZIP, OCI_LAYER_ZSTD, OCI_MANIFEST, Platform, REF_NAME, RootFs,
    RunConfig,
};
use crate::reference::Reference;

/// How layers are compressed in the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// Plain tar.
    #[default]
    None,
    /// gzip.
    Gzip,
    /// zstd.
    Zstd,
}

/// The files of one layer. Paths are relative to the root of the image; directories above them come by themselves
/// (mode 0755). Everything belongs to root and is from 1970 unless said otherwise.
#[derive(Debug, Clone, Default)]
pub struct LayerFiles {
    nodes: BTreeMap<String, Node>,
}

#[derive(Debug, Clone)]
struct Node {
    kind: Kind,
    mode: u32,
    owner: (u32, u32),
    xattrs: Vec<(String, Vec<u8>)>,
}

#[derive(Debug, Clone)]
enum Kind {
    Directory,
    Bytes(Vec<u8>),
    HostFile(PathBuf),
    Symlink(Vec<u8>),
    HardLink(String),
    Fifo,
    Device {
        kind: EntryType,
        major: u32,
        minor: u32,
    },
}

impl LayerFiles {
    /// No files yet.
    pub fn new() -> LayerFiles {
        LayerFiles::default()
    }

    /// Everything below `directory`, with its modes; owners become root.
    pub fn from_directory(directory: &Path) -> Result<LayerFiles> {
        let mut files = LayerFiles::new();
        let mut links = BTreeMap::new();
        let mut pending = vec![PathBuf::new()];
        while let Some(below) = pending.pop() {
            let path = directory.join(&below);
            let entries = std::fs::read_dir(&path).map_err(Error::disk("list", &path))?;
            let mut entries = entries
                .collect::<io::Result<Vec<_>>>()
                .map_err(Error::disk("list", &path))?;
            entries.sort_by_key(|entry| entry.file_name());
            for entry in entries {
                let inner = below.join(entry.file_name());
                let meta = entry
                    .metadata()
                    .map_err(Error::disk("look at", &entry.path()))?;
                if meta.is_dir() {
                    pending.push(inner.clone());
                }
                files.add_from_host(&inner, &entry.path(), &meta, &mut links)?;
            }
        }
        Ok(files)
    }

    fn add_from_host(
        &mut self,
        inner: &Path,
        path: &Path,
        meta: &std::fs::Metadata,
        links: &mut BTreeMap<(u64, u64), String>,
    ) -> Result<()> {
        let name = inner
            .to_str()
            .ok_or_else(|| Error::Build(format!("{} is not valid UTF-8", path.display())))?
            .to_owned();
        let kind = meta.file_type();
        let device = |kind| Kind::Device {
            kind,
            major: rustix::fs::major(meta.rdev()),
            minor: rustix::fs::minor(meta.rdev()),
        };
        let node = if kind.is_dir() {
            Kind::Directory
        } else if kind.is_symlink() {
            let target = std::fs::read_link(path).map_err(Error::disk("read link", path))?;
            Kind::Symlink(target.as_os_str().as_bytes().to_vec())
        } else if kind.is_fifo() {
            Kind::Fifo
        } else if kind.is_char_device() {
            device(EntryType::Char)
        } else if kind.is_block_device() {
            device(EntryType::Block)
        } else if kind.is_file() {
            match links.get(&(meta.dev(), meta.ino())) {
                Some(first) => Kind::HardLink(first.clone()),
                None => {
                    links.insert((meta.dev(), meta.ino()), name.clone());
                    Kind::HostFile(path.to_owned())
                }
            }
        } else {
            // Sockets mean nothing in an image.
            return Ok(());
        };
        self.put(&name, node, meta.permissions().mode() & 0o7777);
        Ok(())
    }

    /// A directory.
    pub fn directory(mut self, path: &str, mode: u32) -> Self {
        self.put(path, Kind::Directory, mode);
        self
    }

    /// A file with this content.
    pub fn file(mut self, path: &str, mode: u32, content: impl Into<Vec<u8>>) -> Self {
        self.put(path, Kind::Bytes(content.into()), mode);
        self
    }

    /// A file with the content of `host` on this machine, read when the image is built.
    pub fn host_file(mut self, path: &str, mode: u32, host: impl Into<PathBuf>) -> Self {
        self.put(path, Kind::HostFile(host.into()), mode);
        self
    }

    /// A symbolic link.
    pub fn symlink(mut self, path: &str, target: &str) -> Self {
        self.put(path, Kind::Symlink(target.as_bytes().to_vec()), 0o777);
        self
    }

    /// A hard link to `target`, a file of the same layer.
    pub fn hard_link(mut self, path: &str, target: &str) -> Self {
        self.put(
            path,
            Kind::HardLink(target.trim_matches('/').to_owned()),
            0o644,
        );
        self
    }

    /// A named pipe.
    pub fn fifo(mut self, path: &str, mode: u32) -> Self {
        self.put(path, Kind::Fifo, mode);
        self
    }

    /// A character device.
    pub fn character_device(mut self, path: &str, mode: u32, major: u32, minor: u32) -> Self {
        self.put(
            path,
            Kind::Device {
                kind: EntryType::Char,
                major,
                minor,
            },
            mode,
        );
        self
    }

    /// Hides `path` of the layers below.
    pub fn whiteout(self, path: &str) -> Self {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        self.file(&format!("{parent}/.wh.{name}"), 0o644, Vec::new())
    }

    /// Hides everything of the layers below in the directory `path`.
    pub fn opaque(self, path: &str) -> Self {
        self.file(&format!("{path}/.wh..wh..opq"), 0o644, Vec::new())
    }

    /// Gives `path`, which was added before, an owner.
    pub fn owner(mut self, path: &str, uid: u32, gid: u32) -> Self {
        if let Some(node) = self.nodes.get_mut(path.trim_matches('/')) {
            node.owner = (uid, gid);
        }
        self
    }

    /// Gives `path`, which was added before, an extended attribute.
    pub fn xattr(mut self, path: &str, name: &str, value: impl Into<Vec<u8>>) -> Self {
        if let Some(node) = self.nodes.get_mut(path.trim_matches('/')) {
            node.xattrs.push((name.to_owned(), value.into()));
        }
        self
    }

    fn put(&mut self, path: &str, kind: Kind, mode: u32) {
        let path = path.trim_matches('/');
        for (at, _) in path.match_indices('/') {
            self.nodes
                .entry(path[..at].to_owned())
                .or_insert_with(|| Node::new(Kind::Directory, 0o755));
        }
        self.nodes.insert(path.to_owned(), Node::new(kind, mode));
    }

    /// The layer as a tar archive.
    fn to_tar(&self) -> Result<Vec<u8>> {
        let wrong = |path: &str| {
            let path = path.to_owned();
            move |error: io::Error| Error::Build(format!("{path}: {error}"))
        };
        let mut tar = tar::Builder::new(Vec::new());
        let is_link = |node: &Node| matches!(node.kind, Kind::HardLink(_));
        // Links after everything they may point to.
        let ordered = self
            .nodes
            .iter()
            .filter(|(_, n)| !is_link(n))
            .chain(self.nodes.iter().filter(|(_, n)| is_link(n)));
        for (path, node) in ordered {
            clean(path.as_bytes()).map_err(wrong(path))?;
            node.append(path, &mut tar).map_err(wrong(path))?;
        }
        tar.into_inner().map_err(wrong("end of archive"))
    }
}

impl Node {
    fn new(kind: Kind, mode: u32) -> Node {
        Node {
            kind,
            mode,
            owner: (0, 0),
            xattrs: Vec::new(),
        }
    }

    fn append(&self, path: &str, tar: &mut tar::Builder<Vec<u8>>) -> io::Result<()> {
        if !self.xattrs.is_empty() {
            let keys: Vec<(String, &[u8])> = self
                .xattrs
                .iter()
                .map(|(name, value)| (format!("SCHILY.xattr.{name}"), &**value))
                .collect();
            tar.append_pax_extensions(keys.iter().map(|(name, value)| (name.as_str(), *value)))?;
        }
        let mut header = Header::new_gnu();
        header.set_mode(self.mode);
        header.set_uid(u64::from(self.owner.0));
        header.set_gid(u64::from(self.owner.1));
        header.set_mtime(0);
        header.set_size(0);
        match &self.kind {
            Kind::Directory => {
                header.set_entry_type(EntryType::Directory);
                tar.append_data(&mut header, format!("{path}/"), io::empty())
            }
            Kind::Bytes(bytes) => {
                header.set_entry_type(EntryType::Regular);
                header.set_size(bytes.len() as u64);
                tar.append_data(&mut header, path, &**bytes)
            }
            Kind::HostFile(host) => {
                let file = File::open(host)?;
                let size = file.metadata()?.len();
                header.set_entry_type(EntryType::Regular);
                header.set_size(size);
                tar.append_data(&mut header, path, file.take(size))
            }
            Kind::Symlink(target) => {
                header.set_entry_type(EntryType::Symlink);
                tar.append_link(
                    &mut header,
                    path,
                    Path::new(std::ffi::OsStr::from_bytes(target)),
                )
            }
            Kind::HardLink(target) => {
                header.set_entry_type(EntryType::Link);
                tar.append_link(&mut header, path, target)
            }
            Kind::Fifo => {
                header.set_entry_type(EntryType::Fifo);
                tar.append_data(&mut header, path, io::empty())
            }
            Kind::Device { kind, major, minor } => {
                header.set_entry_type(*kind);
                header.set_device_major(*major)?;
                header.set_device_minor(*minor)?;
                tar.append_data(&mut header, path, io::empty())
            }
        }
    }
}

/// Describes an image to be built.
#[derive(Debug, Clone)]
pub struct Builder {
    name: Reference,
    layers: Vec<LayerFiles>,
    config: ImageConfig,
    platform: Platform,
    compression: Compression,
}

/// A built image: its documents and layers, ready for an archive or a registry.
#[derive(Debug, Clone)]
pub struct BuiltImage {
    /// Its name.
    pub name: Reference,
    /// The digest of its configuration.
    pub id: ImageId,
    /// Its manifest.
    pub manifest: Descriptor,
    diff_ids: Vec<Digest>,
    blobs: BTreeMap<Digest, Vec<u8>>,
    layers: Vec<Digest>,
}

impl Builder {
    /// Starts an image called `name`.
    pub fn new(name: &str) -> Result<Builder> {
        Ok(Builder {
            name: Reference::parse(name)?,
            layers: Vec::new(),
            config: ImageConfig::default(),
            platform: Platform::host(),
            compression: Compression::None,
        })
    }

    /// Adds a layer on top.
    pub fn layer(mut self, files: LayerFiles) -> Self {
        self.layers.push(files);
        self
    }

    /// Adds a layer with everything below `directory`.
    pub fn layer_from_directory(self, directory: &Path) -> Result<Self> {
        Ok(self.layer(LayerFiles::from_directory(directory)?))
    }

    /// How the image is run.
    pub fn config(mut self, config: ImageConfig) -> Self {
        self.config = config;
        self
    }

    /// For which machine; this one unless said otherwise.
    pub fn platform(mut self, platform: Platform) -> Self {
        self.platform = platform;
        self
    }

    /// How the layers are compressed.
    pub fn compression(mut self, compression: Compression) -> Self {
        self.compression = compression;
        self
    }

    /// Reads all files and makes the image.
    pub fn build(&self) -> Result<BuiltImage> {
        let mut blobs = BTreeMap::new();
        let mut add = |media_type: &str, bytes: Vec<u8>| {
            let digest = Digest::of(&bytes);
            let size = bytes.len() as u64;
            blobs.insert(digest, bytes);
            Descriptor::new(media_type, digest, size)
        };
        let (mut diff_ids, mut layers) = (Vec::new(), Vec::new());
        for files in &self.layers {
            let tar = files.to_tar()?;
            diff_ids.push(Digest::of(&tar));
            layers.push(match self.compression {
                Compression::None => add(OCI_LAYER, tar),
                Compression::Gzip => add(OCI_LAYER_GZIP, gzip(&tar)?),
                Compression::Zstd => add(OCI_LAYER_ZSTD, zstd(&tar)),
            });
        }
        let config = add(OCI_CONFIG, encode(&self.config_file(&diff_ids))?);
        let id = ImageId(config.digest);
        let layer_digests = layers.iter().map(|layer| layer.digest).collect();
        let manifest = Manifest {
            schema_version: 2,
            media_type: Some(OCI_MANIFEST.to_owned()),
            config,
            layers,
        };
        let mut manifest = add(OCI_MANIFEST, encode(&manifest)?);
        manifest.platform = Some(self.platform.clone());
        Ok(BuiltImage {
            name: self.name.clone(),
            id,
            manifest,
            diff_ids,
            blobs,
            layers: layer_digests,
        })
    }

    /// Builds the image and writes it alone into an archive at `path`.
    pub fn write_oci_archive(&self, path: &Path) -> Result<BuiltImage> {
        let image = self.build()?;
        write_oci_archive(path, std::slice::from_ref(&image))?;
        Ok(image)
    }

    fn config_file(&self, diff_ids: &[Digest]) -> ConfigFile {
        let config = &self.config;
        let set = |names: &[String]| names.iter().map(|name| (name.clone(), Empty {})).collect();
        ConfigFile {
            created: Some("1970-01-01T00:00:00Z".to_owned()),
            architecture: self.platform.architecture.clone(),
            os: self.platform.os.clone(),
            variant: self.platform.variant.clone(),
            config: RunConfig {
                user: config.user.clone(),
                exposed_ports: set(&config.exposed_ports),
                env: config.env.clone(),
                entrypoint: config.entrypoint.clone(),
                cmd: config.cmd.clone(),
                volumes: set(&config.volumes),
                working_dir: config.working_dir.clone(),
                labels: config.labels.clone(),
                stop_signal: config.stop_signal.clone(),
            },
            rootfs: RootFs {
                kind: "layers".to_owned(),
                diff_ids: diff_ids.to_vec(),
            },
        }
    }
}

impl BuiltImage {
    /// The bytes of each blob by digest: manifest, configuration and layers.
    pub fn blobs(&self) -> impl Iterator<Item = (&Digest, &[u8])> {
        self.blobs.iter().map(|(digest, bytes)| (digest, &**bytes))
    }

    /// The digests of the uncompressed layers, lowest first.
    pub fn diff_ids(&self) -> &[Digest] {
        &self.diff_ids
    }
}

/// Writes images into one archive at `path`. It is an OCI layout that `docker load` reads too.
pub fn write_oci_archive(path: &Path, images: &[BuiltImage]) -> Result<()> {
    let temporary = path.with_extension("part");
    let file = File::create(&temporary).map_err(Error::disk("create", &temporary))?;
    write_oci_archive_to(io::BufWriter::new(file), images)?;
    std::fs::rename(&temporary, path).map_err(Error::disk("write", path))
}

/// [`write_oci_archive`] to any writer.
pub fn write_oci_archive_to(writer: impl Write, images: &[BuiltImage]) -> Result<()> {
    let mut index = Index {
        schema_version: 2,
        media_type: Some(OCI_INDEX.to_owned()),
        manifests: Vec::new(),
    };
    let mut saved = Vec::new();
    let mut blobs: BTreeMap<&Digest, &[u8]> = BTreeMap::new();
    for image in images {
        let mut descriptor = image.manifest.clone();
        descriptor
            .annotations
            .insert(REF_NAME.to_owned(), image.name.to_string());
        descriptor
            .annotations
            .insert(CONTAINERD_NAME.to_owned(), image.name.to_string());
        index.manifests.push(descriptor);
        blobs.extend(image.blobs());
        let blob = |digest: &Digest| format!("blobs/sha256/{}", digest.hex());
        saved.push(DockerSaved {
            config: blob(&image.id.0),
            repo_tags: vec![image.name.to_string()],
            layers: image.layers.iter().map(blob).collect(),
        });
    }
    let mut tar = tar::Builder::new(writer);
    let mut write = |path: &str, bytes: &[u8]| -> io::Result<()> {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Regular);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(bytes.len() as u64);
        tar.append_data(&mut header, path, bytes)
    };
    let mut write_all = || -> io::Result<()> {
        write("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        for (digest, bytes) in &blobs {
            write(&format!("blobs/sha256/{}", digest.hex()), bytes)?;
        }
        write("index.json", &serde_json::to_vec(&index)?)?;
        write("manifest.json", &serde_json::to_vec(&saved)?)
    };
    write_all().map_err(|error| Error::Build(error.to_string()))?;
    tar.into_inner()
        .and_then(|mut writer| writer.flush())
        .map_err(|error| Error::Build(error.to_string()))
}

fn encode<T: serde::Serialize>(value: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|error| Error::Build(error.to_string()))
}

fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder
        .write_all(bytes)
        .and_then(|()| encoder.finish())
        .map_err(|error| Error::Build(error.to_string()))
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
}
