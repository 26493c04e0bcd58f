//! A push: uploads an image of an OCI archive to a registry, blobs before the manifests that name them.
//! Leaves out cross-repository mounts and pushing from the store, which keeps no compressed layers.

use std::io::Read;
use std::path::Path;

use bytes::Bytes;
use http::header::{CONTENT_RANGE, CONTENT_TYPE, LOCATION};
use http::{HeaderMap, Method, StatusCode};

use super::RegistryOptions;
use super::client::{Ask, At, Client, Failure, Repository, collect};
use super::hosts::Endpoint;
use super::secrets::Credentials;
use crate::archive::index::Archive;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::layer::Limits;
use crate::oci::{CONTAINERD_NAME, DOCKER_LIST, Descriptor, Index, Manifest, OCI_INDEX, REF_NAME};
use crate::reference::Reference;

/// Bytes per upload request.
const CHUNK: usize = 16 << 20;

/// Uploads the image called `name` of the OCI archive at `path` (its only image, when just one is there) as `target`.
/// Returns the digest the registry knows it by.
pub async fn push_archive(
    path: &Path,
    name: &str,
    target: &str,
    credentials: Option<Credentials>,
    options: &RegistryOptions,
) -> Result<Digest> {
    let target = Reference::parse(target)?;
    let failed = |reason: String| Error::Push {
        image: target.to_string(),
        reason,
    };
    let spool = path.with_extension("spool");
    let archive = Archive::open_file(path, &spool, &Limits::default())
        .map_err(|error| failed(error.to_string()));
    drop(std::fs::remove_file(&spool));
    let archive = archive?;
    let index: Index = document(&archive, "index.json").map_err(failed)?;
    let wanted = Reference::parse(name)?.to_string();
    let named = |descriptor: &&Descriptor| {
        [CONTAINERD_NAME, REF_NAME]
            .iter()
            .filter_map(|key| descriptor.annotations.get(*key))
            .any(|n| *n == wanted)
    };
    let descriptor = match (
        index.manifests.iter().find(named),
        index.manifests.as_slice(),
    ) {
        (Some(found), _) => found,
        (None, [only]) => only,
        _ => return Err(failed(format!("{} has no image {wanted}", path.display()))),
    };
    let client = Client::new(options);
    let repository = client
        .repository(target.domain(), target.path(), "pull,push", credentials)
        .map_err(|error| failed(error.to_string()))?;
    let endpoint = repository
        .endpoints
        .iter()
        .find(|endpoint| endpoint.mirror.capabilities.push)
        .ok_or_else(|| failed("no host may be pushed to".to_owned()))?;
    let push = Push {
        archive: &archive,
        repository: &repository,
        endpoint,
    };
    push.tree(descriptor, &target.object(), 4)
        .await
        .map_err(failed)?;
    Ok(descriptor.digest)
}

struct Push<'p> {
    archive: &'p Archive,
    repository: &'p Repository<'p>,
    endpoint: &'p Endpoint,
}

impl Push<'_> {
    /// Uploads a manifest or index under the name `object`, everything it names first.
    async fn tree(
        &self,
        descriptor: &Descriptor,
        object: &str,
        depth: usize,
    ) -> Result<(), String> {
        let bytes = read(self.archive, &blob_name(&descriptor.digest))?;
        if matches!(descriptor.media_type.as_str(), OCI_INDEX | DOCKER_LIST) {
            let index: Index = parse(&bytes)?;
            for next in index.manifests.iter().filter(|_| depth > 0) {
                Box::pin(self.tree(next, &next.digest.to_string(), depth - 1)).await?;
            }
        } else {
            let manifest: Manifest = parse(&bytes)?;
            for blob in manifest.layers.iter().chain([&manifest.config]) {
                self.blob(&blob.digest).await?;
            }
        }
        let ask = Ask {
            method: Method::PUT,
            at: At::Below(format!("manifests/{object}")),
            headers: vec![(CONTENT_TYPE, descriptor.media_type.clone())],
            body: Bytes::from(bytes),
        };
        self.send(&ask).await.map(drop)
    }

    async fn blob(&self, digest: &Digest) -> Result<(), String> {
        let head = Ask {
            method: Method::HEAD,
            ..Ask::get(format!("blobs/{digest}"))
        };
        match self.repository.send(self.endpoint, &head).await {
            Ok(_) => return Ok(()),
            Err(Failure::Status {
                status: StatusCode::NOT_FOUND,
                ..
            }) => {}
            Err(failure) => return Err(text(failure)),
        }
        let start = Ask {
            method: Method::POST,
            ..Ask::get("blobs/uploads/".to_owned())
        };
        let mut location = self.location(&self.send(&start).await?)?;
        let mut content = self
            .archive
            .open(&blob_name(digest))
            .ok_or_else(|| format!("the blob {digest} is missing"))?;
        let mut at = 0;
        loop {
            let mut chunk = Vec::new();
            content
                .by_ref()
                .take(CHUNK as u64)
                .read_to_end(&mut chunk)
                .map_err(|error| error.to_string())?;
            if chunk.is_empty() {
                break;
            }
            let end = at + chunk.len();
            let ask = Ask {
                method: Method::PATCH,
                at: At::Url(location),
                headers: vec![
                    (CONTENT_TYPE, "application/octet-stream".to_owned()),
                    (CONTENT_RANGE, format!("{at}-{}", end - 1)),
                ],
                body: Bytes::from(chunk),
            };
            location = self.location(&self.send(&ask).await?)?;
            at = end;
        }
        let separator = if location.contains('?') { '&' } else { '?' };
        let finish = Ask {
            method: Method::PUT,
            at: At::Url(format!("{location}{separator}digest={digest}")),
            headers: Vec::new(),
            body: Bytes::new(),
        };
        self.send(&finish).await.map(drop)
    }

    /// Sends `ask`, reads the answer to its end so that the connection is free again, and gives its headers.
    async fn send(&self, ask: &Ask) -> Result<HeaderMap, String> {
        let response = self
            .repository
            .send(self.endpoint, ask)
            .await
            .map_err(text)?;
        let headers = response.headers().clone();
        collect(response, 1 << 20).await?;
        Ok(headers)
    }

    fn location(&self, headers: &HeaderMap) -> Result<String, String> {
        let location = headers
            .get(LOCATION)
            .and_then(|value| value.to_str().ok())
            .ok_or("the registry did not say where to upload to")?;
        Ok(self.repository.absolute(self.endpoint, location))
    }
}

fn text(failure: Failure) -> String {
    match failure {
        Failure::Unavailable {
            method,
            url,
            reason,
        } => format!("failed to do request: {method} \"{url}\": {reason}"),
        Failure::Denied { message } => format!("push access denied: {message}"),
        Failure::Status {
            method,
            url,
            status,
            message,
        } => {
            format!("unexpected status from {method} request to {url}: {status} {message}")
        }
    }
}

fn blob_name(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn read(archive: &Archive, name: &str) -> Result<Vec<u8>, String> {
    let window = archive
        .open(name)
        .ok_or_else(|| format!("{name} is missing"))?;
    let mut bytes = Vec::new();
    window
        .take(Limits::default().document_bytes_max)
        .read_to_end(&mut bytes)
        .map_err(|error| error.to_string())?;
    Ok(bytes)
}

fn document<T: serde::de::DeserializeOwned>(archive: &Archive, name: &str) -> Result<T, String> {
    parse(&read(archive, name)?)
}

fn parse<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    serde_json::from_slice(bytes).map_err(|error| error.to_string())
}
