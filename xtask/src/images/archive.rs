//! One image as an archive that is an OCI layout and a Docker archive at once, with one uncompressed
//! layer. Written here and not by `corten-images`, so that imports are tested with archives that the
//! importer's own code did not make. The same input gives the same bytes: no times, no owners.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// What lies at a path of the image.
#[derive(Debug, Clone)]
pub enum Entry {
    /// A directory with this mode.
    Directory(u32),
    /// A copy of a file of this machine, with this mode.
    File(PathBuf, u32),
    /// A file with this text and mode.
    Text(String, u32),
    /// A symbolic link.
    Link(String),
}

/// An image to write.
#[derive(Debug, Clone, Default)]
pub struct Image {
    /// Full names with tags.
    pub names: Vec<String>,
    /// Entries by path, without a leading slash; parents are made when missing.
    pub entries: BTreeMap<String, Entry>,
    /// The `config` object of the image's configuration.
    pub config: Value,
}

impl Image {
    /// The files of this machine that go into the image.
    pub fn sources(&self) -> impl Iterator<Item = &Path> {
        self.entries.values().filter_map(|entry| match entry {
            Entry::File(source, _) => Some(source.as_path()),
            _ => None,
        })
    }

    /// Writes the archive.
    pub fn write(&self, archive: &Path) -> Result<()> {
        let layer = self.layer()?;
        let config = self.configuration(&layer)?;
        let manifest = serde_json::to_vec(&json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
            "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", &layer)],
        }))?;
        let docker = json!([{
            "Config": blob_path(&config),
            "RepoTags": self.names,
            "Layers": [blob_path(&layer)],
        }]);
        let mut tar = tar::Builder::new(Vec::new());
        append(
            &mut tar,
            "oci-layout",
            br#"{"imageLayoutVersion":"1.0.0"}"#,
            0o644,
        )?;
        append(
            &mut tar,
            "index.json",
            &serde_json::to_vec(&self.index(&manifest))?,
            0o644,
        )?;
        append(
            &mut tar,
            "manifest.json",
            &serde_json::to_vec(&docker)?,
            0o644,
        )?;
        for blob in [&config, &manifest, &layer] {
            append(&mut tar, &blob_path(blob), blob, 0o644)?;
        }
        let unfinished = archive.with_extension("tar.part");
        fs::write(&unfinished, tar.into_inner()?)
            .with_context(|| format!("writing {}", unfinished.display()))?;
        fs::rename(&unfinished, archive).with_context(|| format!("naming {}", archive.display()))
    }

    fn configuration(&self, layer: &[u8]) -> Result<Vec<u8>> {
        let configuration = json!({
            "architecture": architecture(),
            "os": "linux",
            "created": "1970-01-01T00:00:00Z",
            "config": self.config,
            "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{}", digest(layer))] },
            "history": [{ "created": "1970-01-01T00:00:00Z", "created_by": "cargo xtask images" }],
        });
        Ok(serde_json::to_vec(&configuration)?)
    }

    fn index(&self, manifest: &[u8]) -> Value {
        let named = self.names.iter().map(|name| {
            let mut entry = descriptor(MANIFEST, manifest);
            entry["annotations"] = json!({
                "io.containerd.image.name": name,
                "org.opencontainers.image.ref.name": name,
            });
            entry
        });
        json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": named.collect::<Vec<_>>(),
        })
    }

    fn layer(&self) -> Result<Vec<u8>> {
        let mut tar = tar::Builder::new(Vec::new());
        for (path, entry) in self.with_parents() {
            match entry {
                Entry::Directory(mode) => {
                    let mut header = header(tar::EntryType::Directory, mode, 0);
                    tar.append_data(&mut header, format!("{path}/"), &[][..])?;
                }
                Entry::File(source, mode) => {
                    let bytes = fs::read(&source)
                        .with_context(|| format!("reading {}", source.display()))?;
                    append(&mut tar, &path, &bytes, mode)?;
                }
                Entry::Text(text, mode) => append(&mut tar, &path, text.as_bytes(), mode)?,
                Entry::Link(target) => {
                    let mut header = header(tar::EntryType::Symlink, 0o777, 0);
                    tar.append_link(&mut header, &path, &target)?;
                }
            }
        }
        Ok(tar.into_inner()?)
    }

    fn with_parents(&self) -> BTreeMap<String, Entry> {
        let mut entries = self.entries.clone();
        for path in self.entries.keys() {
            for (at, _) in path.match_indices('/') {
                entries
                    .entry(path[..at].to_string())
                    .or_insert(Entry::Directory(0o755));
            }
        }
        entries
    }
}

fn append<W: Write>(tar: &mut tar::Builder<W>, path: &str, bytes: &[u8], mode: u32) -> Result<()> {
    let mut header = header(tar::EntryType::Regular, mode, bytes.len() as u64);
    tar.append_data(&mut header, path, bytes)
        .with_context(|| format!("adding {path}"))
}

fn header(kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({
        "mediaType": media_type,
        "digest": format!("sha256:{}", digest(bytes)),
        "size": bytes.len(),
    })
}

fn blob_path(bytes: &[u8]) -> String {
    format!("blobs/sha256/{}", digest(bytes))
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// The architecture's name in image configurations (Go's, not Rust's).
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_holds_what_its_manifest_names_and_is_the_same_each_time() {
        let directory = tempfile::tempdir().unwrap();
        let mut image = Image {
            names: vec!["corten.test/x:1".into()],
            ..Image::default()
        };
        image
            .entries
            .insert("etc/motd".into(), Entry::Text("hello\n".into(), 0o644));
        image
            .entries
            .insert("bin/sh".into(), Entry::Link("bash".into()));
        image.config = json!({ "Cmd": ["sh"] });
        let (one, two) = (
            directory.path().join("1.tar"),
            directory.path().join("2.tar"),
        );
        image.write(&one).unwrap();
        image.write(&two).unwrap();
        assert_eq!(fs::read(&one).unwrap(), fs::read(&two).unwrap());

        let mut archive = tar::Archive::new(fs::File::open(&one).unwrap());
        let mut blobs = BTreeMap::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().to_string_lossy().into_owned();
            let mut bytes = Vec::new();
            std::io::copy(&mut entry, &mut bytes).unwrap();
            blobs.insert(path, bytes);
        }
        let index: Value = serde_json::from_slice(&blobs["index.json"]).unwrap();
        let blob = |descriptor: &Value| {
            let digest = descriptor["digest"].as_str().unwrap().replace(':', "/");
            blobs[&format!("blobs/{digest}")].clone()
        };
        let manifest: Value = serde_json::from_slice(&blob(&index["manifests"][0])).unwrap();
        let layer = blob(&manifest["layers"][0]);
        let mut layer = tar::Archive::new(&layer[..]);
        let paths: Vec<String> = layer
            .entries()
            .unwrap()
            .map(|entry| {
                entry
                    .unwrap()
                    .path()
                    .unwrap()
                    .to_string_lossy()
                    .into_owned()
            })
            .collect();
        assert_eq!(paths, ["bin/", "bin/sh", "etc/", "etc/motd"]);
        let config: Value = serde_json::from_slice(&blob(&manifest["config"])).unwrap();
        assert_eq!(
            config["rootfs"]["diff_ids"][0],
            manifest["layers"][0]["digest"]
        );
    }
}
