//! Reads the images of an archive into the store: find them, unpack their layers side by side, then record them.
//! Invariant: nothing is recorded before every digest of every image in the archive was verified.

use std::io::Read;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::index::{Archive, Window};
use super::{ImportOptions, ImportSource};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::image::Image;
use crate::layer::Limits;
use crate::layer::unpack::{Unpacked, unpack};
use crate::oci::{
    CONTAINERD_NAME, ConfigFile, DOCKER_LIST, Descriptor, DockerSaved, Index, Manifest, OCI_CONFIG,
    OCI_INDEX, OCI_LAYER, OCI_MANIFEST, Platform, REF_NAME,
};
use crate::reference::Reference;
use crate::store::commit::{Draft, PlannedLayer};
use crate::store::{ImageStore, Operation};

const NESTING_MAX: usize = 4;

/// An image found in an archive.
struct Found {
    /// What the archive calls it.
    names: Vec<String>,
    /// The tag, where that is all the archive says (`org.opencontainers.image.ref.name` may be just that).
    tag: Option<String>,
    /// The digest the names stand for; `docker save` archives have none.
    named_digest: Option<Digest>,
    manifest: Vec<u8>,
    config: Vec<u8>,
    file: ConfigFile,
    layers: Vec<FoundLayer>,
}

struct FoundLayer {
    content: Window,
    /// The digest of the blob, where the format gives one.
    digest: Option<Digest>,
}

/// Why an archive is refused, before its name is added.
type Refusal = String;

/// Imports all images of `source`.
pub(crate) fn import(
    store: &ImageStore,
    source: ImportSource,
    options: &ImportOptions,
) -> Result<Vec<Arc<Image>>> {
    let operation = store.begin()?;
    let spool = operation.path().join("archive.tar");
    let (label, archive) = match source {
        ImportSource::File(path) => (
            path.display().to_string(),
            Archive::open_file(&path, &spool, store.limits()),
        ),
        ImportSource::Stdin => (
            "standard input".to_owned(),
            Archive::spool(std::io::stdin(), &spool, store.limits()),
        ),
        ImportSource::Reader(reader) => (
            "a stream".to_owned(),
            Archive::spool(reader, &spool, store.limits()),
        ),
    };
    let refused = |reason: String| Error::Import {
        archive: label.clone(),
        reason,
    };
    let archive = archive.map_err(|error| refused(error.to_string()))?;
    let found =
        find_images(&archive, &store.inner.options.platform, store.limits()).map_err(refused)?;
    let names = choose_names(&found, options).map_err(refused)?;
    let mut drafts = Vec::with_capacity(found.len());
    for (found, names) in found.into_iter().zip(names) {
        place_layers(store, &operation, &found).map_err(|error| match error {
            Error::Unpack { layer, source } => {
                refused(format!("failed to extract layer {layer}: {source}"))
            }
            other => other,
        })?;
        let Found {
            manifest,
            config,
            file,
            ..
        } = found;
        drafts.push(Draft {
            manifest,
            config,
            file,
            names,
            pinned: options.pinned,
        });
    }
    store.commit_images(&drafts)
}

fn find_images(
    archive: &Archive,
    platform: &Platform,
    limits: &Limits,
) -> Result<Vec<Found>, Refusal> {
    let found = if archive.open("index.json").is_some() {
        find_oci(archive, platform, limits)?
    } else if archive.open("manifest.json").is_some() {
        find_docker(archive, limits)?
    } else {
        return Err(
            "it has neither index.json (OCI layout) nor manifest.json (docker save)".to_owned(),
        );
    };
    for image in &found {
        if image.layers.len() != image.file.rootfs.diff_ids.len() {
            return Err(format!(
                "the manifest has {} layers but the configuration {}",
                image.layers.len(),
                image.file.rootfs.diff_ids.len()
            ));
        }
        if image.layers.len() > limits.layers_max {
            return Err(format!(
                "the image has {} layers, more than {}",
                image.layers.len(),
                limits.layers_max
            ));
        }
    }
    match found.len() {
        0 => Err(format!("it has no image for {platform}")),
        n if n > limits.images_max => Err(format!(
            "it has {n} images, more than {}",
            limits.images_max
        )),
        _ => Ok(found),
    }
}

fn find_oci(
    archive: &Archive,
    platform: &Platform,
    limits: &Limits,
) -> Result<Vec<Found>, Refusal> {
    let index: Index = document(archive, "index.json", limits)?.1;
    // Several entries of one name are the same image for several machines.
    let mut groups: Vec<(Option<String>, Vec<Descriptor>)> = Vec::new();
    for descriptor in index.manifests {
        let name = [CONTAINERD_NAME, REF_NAME]
            .iter()
            .find_map(|key| descriptor.annotations.get(*key).cloned());
        match groups
            .iter_mut()
            .find(|(known, _)| name.is_some() && *known == name)
        {
            Some((_, descriptors)) => descriptors.push(descriptor),
            None => groups.push((name, vec![descriptor])),
        }
    }
    let only = groups.len() == 1;
    let docker: Vec<DockerSaved> = match archive.open("manifest.json") {
        Some(_) => document(archive, "manifest.json", limits)?.1,
        None => Vec::new(),
    };
    let mut out = Vec::new();
    for (name, manifests) in groups {
        let group = Index {
            schema_version: 2,
            media_type: None,
            manifests,
        };
        let Some(descriptor) = group.select(platform) else {
            continue;
        };
        let Some(manifest) = select_manifest(archive, descriptor, platform, limits, NESTING_MAX)?
        else {
            // A part for another machine; alone it is worth an error, which names the machine.
            if only {
                return Err(format!("it has no image for {platform}"));
            }
            continue;
        };
        let mut image = read_oci(archive, &manifest, limits)?;
        image.named_digest = Some(descriptor.digest);
        image.names = docker_names(&docker, &image);
        match name {
            Some(name) if name.contains(['/', ':', '@']) => image.names = vec![name],
            tag if image.names.is_empty() => image.tag = tag,
            _ => {}
        }
        out.push(image);
    }
    Ok(out)
}

/// The names that a `manifest.json` beside the OCI layout gives the same configuration.
fn docker_names(docker: &[DockerSaved], image: &Found) -> Vec<String> {
    let id = Digest::of(&image.config).hex();
    docker
        .iter()
        .filter(|saved| saved.config.contains(&id))
        .flat_map(|saved| saved.repo_tags.clone())
        .collect()
}

/// Follows indexes down to the manifest for `platform`.
fn select_manifest(
    archive: &Archive,
    descriptor: &Descriptor,
    platform: &Platform,
    limits: &Limits,
    depth: usize,
) -> Result<Option<Descriptor>, Refusal> {
    if !matches!(descriptor.media_type.as_str(), OCI_INDEX | DOCKER_LIST) {
        return Ok(Some(descriptor.clone()));
    }
    if depth == 0 {
        return Err("its indexes are nested too deeply".to_owned());
    }
    let bytes = blob(archive, &descriptor.digest, limits)?;
    let index: Index = parse(&bytes, &descriptor.digest.to_string())?;
    match index.select(platform) {
        Some(next) => select_manifest(archive, next, platform, limits, depth - 1),
        None => Ok(None),
    }
}

fn read_oci(archive: &Archive, descriptor: &Descriptor, limits: &Limits) -> Result<Found, Refusal> {
    let bytes = blob(archive, &descriptor.digest, limits)?;
    let manifest: Manifest = parse(&bytes, &descriptor.digest.to_string())?;
    let config = blob(archive, &manifest.config.digest, limits)?;
    let file = parse(&config, &manifest.config.digest.to_string())?;
    let mut layers = Vec::with_capacity(manifest.layers.len());
    for layer in &manifest.layers {
        let content = archive
            .open(&blob_name(&layer.digest))
            .ok_or_else(|| format!("the layer {} is missing", layer.digest))?;
        layers.push(FoundLayer {
            content,
            digest: Some(layer.digest),
        });
    }
    Ok(Found {
        names: Vec::new(),
        tag: None,
        named_digest: None,
        manifest: bytes,
        config,
        file,
        layers,
    })
}

fn find_docker(archive: &Archive, limits: &Limits) -> Result<Vec<Found>, Refusal> {
    let saved: Vec<DockerSaved> = document(archive, "manifest.json", limits)?.1;
    let mut out = Vec::new();
    for image in saved {
        let (config, file): (Vec<u8>, ConfigFile) = document(archive, &image.config, limits)?;
        let mut layers = Vec::with_capacity(image.layers.len());
        let mut described = Vec::with_capacity(image.layers.len());
        for (name, diff_id) in image.layers.iter().zip(&file.rootfs.diff_ids) {
            let content = archive
                .open(name)
                .ok_or_else(|| format!("the layer {name} is missing"))?;
            described.push(Descriptor::new(OCI_LAYER, *diff_id, content.size()));
            layers.push(FoundLayer {
                content,
                digest: None,
            });
        }
        if layers.len() != image.layers.len() {
            return Err(format!(
                "{} lists more layers than its configuration",
                image.config
            ));
        }
        // The format has no manifest; this one stands for the image in the store.
        let manifest = Manifest {
            schema_version: 2,
            media_type: Some(OCI_MANIFEST.to_owned()),
            config: Descriptor::new(OCI_CONFIG, Digest::of(&config), config.len() as u64),
            layers: described,
        };
        let manifest = serde_json::to_vec(&manifest).map_err(|error| error.to_string())?;
        out.push(Found {
            names: image.repo_tags,
            tag: None,
            named_digest: None,
            manifest,
            config,
            file,
            layers,
        });
    }
    Ok(out)
}

/// The names each image gets: the caller's, else the archive's.
fn choose_names(found: &[Found], options: &ImportOptions) -> Result<Vec<Vec<Reference>>, Refusal> {
    let parsed = |name: &str| Reference::parse(name).map_err(|error| error.to_string());
    let mut out = Vec::with_capacity(found.len());
    for image in found {
        let mut names = Vec::new();
        match &options.name {
            Some(name) if found.len() == 1 => {
                names.push(parsed(name)?);
            }
            Some(name) => {
                let base = parsed(name)?;
                for own in &image.names {
                    let own = parsed(own)?;
                    let tag = own.tag().unwrap_or("latest");
                    names.push(base.with_tag(tag).map_err(|error| error.to_string())?);
                }
                if let Some(tag) = &image.tag {
                    names.push(base.with_tag(tag).map_err(|error| error.to_string())?);
                }
            }
            None => {
                for own in &image.names {
                    names.push(parsed(own)?);
                }
            }
        }
        if names.is_empty() {
            return Err(match &image.tag {
                Some(tag) => {
                    format!(
                        "it gives the image only the tag {tag:?}, without a repository: pass a name for it"
                    )
                }
                None => "it does not name the image: pass a name for it".to_owned(),
            });
        }
        let by_digest: Vec<Reference> = image
            .named_digest
            .iter()
            .flat_map(|digest| names.iter().map(|name| name.with_digest(*digest)))
            .collect();
        names.extend(by_digest);
        out.push(names);
    }
    Ok(out)
}

/// Unpacks what is missing of an image, several layers at a time, and puts it in place from the bottom up.
fn place_layers(store: &ImageStore, operation: &Operation, found: &Found) -> Result<()> {
    let planned = store.plan_layers(operation, &found.file.rootfs.diff_ids)?;
    let missing: Vec<&PlannedLayer> = planned.iter().filter(|layer| !layer.present).collect();
    let next = AtomicUsize::new(0);
    let results: Mutex<Vec<Option<Result<Unpacked>>>> =
        Mutex::new(missing.iter().map(|_| None).collect());
    let workers = std::thread::available_parallelism()
        .map_or(1, |n| n.get())
        .min(missing.len());
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(layer) = missing.get(at) else { return };
                    let result = unpack_layer(store, operation, layer, &found.layers[layer.index]);
                    if result.is_err() {
                        next.store(missing.len(), Ordering::Relaxed);
                    }
                    results.lock().unwrap_or_else(PoisonError::into_inner)[at] = Some(result);
                }
            });
        }
    });
    let results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut unpacked = Vec::with_capacity(missing.len());
    for result in results.into_iter().flatten() {
        unpacked.push(result?);
    }
    for (layer, unpacked) in missing.iter().zip(&unpacked) {
        store.commit_layer(operation, &planned[..layer.index], layer, unpacked)?;
    }
    Ok(())
}

fn unpack_layer(
    store: &ImageStore,
    operation: &Operation,
    layer: &PlannedLayer,
    found: &FoundLayer,
) -> Result<Unpacked> {
    let into = ImageStore::layer_workspace(operation, layer)?;
    let failed = |source| Error::Unpack {
        layer: layer.diff_id,
        source,
    };
    let content = found.content.clone();
    let size = content.size();
    let unpacked = unpack(content, size, &into, store.limits()).map_err(failed)?;
    let differs = |what: &str, want: &Digest, have: &Digest| {
        failed(std::io::Error::new(
            std::io::ErrorKind::InvalidData,
            format!("{what} is {have}, expected {want}"),
        ))
    };
    if let Some(digest) = &found.digest
        && *digest != unpacked.blob
    {
        return Err(differs("the digest of the content", digest, &unpacked.blob));
    }
    if layer.diff_id != unpacked.diff_id {
        return Err(differs(
            "the digest of the uncompressed content",
            &layer.diff_id,
            &unpacked.diff_id,
        ));
    }
    Ok(unpacked)
}

fn blob_name(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// A document blob, verified.
fn blob(archive: &Archive, digest: &Digest, limits: &Limits) -> Result<Vec<u8>, Refusal> {
    let bytes = read(archive, &blob_name(digest), limits)?;
    let have = Digest::of(&bytes);
    if have != *digest {
        return Err(format!("the content of {digest} has the digest {have}"));
    }
    Ok(bytes)
}

fn read(archive: &Archive, name: &str, limits: &Limits) -> Result<Vec<u8>, Refusal> {
    let window = archive
        .open(name)
        .ok_or_else(|| format!("{name} is missing"))?;
    if window.size() > limits.document_bytes_max {
        return Err(format!(
            "{name} is larger than {} bytes",
            limits.document_bytes_max
        ));
    }
    let mut bytes = Vec::with_capacity(window.size() as usize);
    window
        .take(limits.document_bytes_max)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("{name}: {error}"))?;
    Ok(bytes)
}

fn document<T: serde::de::DeserializeOwned>(
    archive: &Archive,
    name: &str,
    limits: &Limits,
) -> Result<(Vec<u8>, T), Refusal> {
    let bytes = read(archive, name, limits)?;
    let value = parse(&bytes, name)?;
    Ok((bytes, value))
}

fn parse<T: serde::de::DeserializeOwned>(bytes: &[u8], name: &str) -> Result<T, Refusal> {
    serde_json::from_slice(bytes)
        .map_err(|error| format!("{name} is not what it should be: {error}"))
}
