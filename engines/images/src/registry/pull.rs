//! A pull: resolve the name, pick the image for this machine, fetch what is missing while it is being unpacked,
//! record it. Invariant: nothing is recorded whose digest and size were not verified against the name or its manifest.

use std::io::{self, Read};
use std::sync::{Arc, PoisonError};

use bytes::{Buf, Bytes};
use futures_util::StreamExt;
use futures_util::stream;
use http::header::{ACCEPT, CONTENT_RANGE, CONTENT_TYPE, RANGE};
use http::{Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::{OwnedMutexGuard, mpsc};

use super::PullOptions;
use super::client::{Ask, Failure, Repository, collect};
use super::connect::describe;
use super::progress::PullEvent;
use super::secrets::Credentials;
use crate::digest::Digest;
use crate::error::{Error, PullError, Result};
use crate::image::Image;
use crate::layer::unpack::{Unpacked, unpack};
use crate::oci::{
    ConfigFile, DOCKER_LIST, DOCKER_MANIFEST, DOCKER_SCHEMA1, Descriptor, Index, Manifest,
    OCI_INDEX, OCI_MANIFEST, Platform,
};
use crate::reference::Reference;
use crate::store::commit::{Draft, PlannedLayer};
use crate::store::{ImageStore, Operation, blocking};

const NESTING_MAX: usize = 4;
/// Pieces of a layer that may wait for the unpacker.
const PIECES_AHEAD: usize = 64;
/// Starts the one failure of a download that trying again cannot mend.
const TOO_LONG: &str = "more than the";

/// Pulls `reference`, trying the credentials in order.
pub(crate) async fn pull(
    store: &ImageStore,
    reference: &str,
    options: &PullOptions,
) -> Result<Arc<Image>> {
    let reference = Reference::parse(reference)?;
    let failed = |source| Error::Pull {
        image: reference.to_string(),
        source,
    };
    let mut attempts: Vec<Option<Credentials>> =
        options.credentials.iter().cloned().map(Some).collect();
    if attempts.is_empty() {
        attempts.push(None);
    }
    let mut last = None;
    for credentials in attempts {
        match pull_with(store, &reference, credentials, options).await {
            Ok(image) => return Ok(image),
            // Another secret may open the door; nothing else gets better by it.
            Err(error @ (PullError::Denied { .. } | PullError::NotFound { .. })) => {
                last = Some(error)
            }
            Err(error) => return Err(failed(error)),
        }
    }
    Err(failed(last.expect("there was at least one attempt")))
}

async fn pull_with(
    store: &ImageStore,
    reference: &Reference,
    credentials: Option<Credentials>,
    options: &PullOptions,
) -> Result<Arc<Image>, PullError> {
    let repository =
        store
            .client()
            .repository(reference.domain(), reference.path(), "pull", credentials)?;
    let source = Source {
        store,
        reference,
        repository,
        options,
    };
    let platform = options
        .platform
        .as_ref()
        .unwrap_or(&store.inner.options.platform);
    let (named, manifest, bytes) = source.resolve(platform).await?;
    source.tell(PullEvent::Resolved {
        digest: named,
        layers: manifest.layers.len(),
    });
    let config = source.document(&manifest.config).await?;
    let file: ConfigFile = parse("image config", &config)?;
    source.check_layers(&manifest, &file)?;
    let mut names = vec![reference.with_digest(named)];
    if reference.digest().is_none() {
        names.push(reference.clone());
    }
    let operation = Arc::new(store.begin().map_err(Box::new)?);
    let diff_ids = file.rootfs.diff_ids.clone();
    let _guards = source.lock_layers(&diff_ids).await;
    let planned = plan(store, &operation, diff_ids).await?;
    let unpacked = source.fetch_layers(&operation, &planned, &manifest).await?;
    let draft = Draft {
        manifest: bytes,
        config: config.to_vec(),
        file,
        names,
        pinned: false,
    };
    let store = store.clone();
    let commit = blocking("the pull", move || {
        for (layer, unpacked) in &unpacked {
            store.commit_layer(&operation, &planned[..layer.index], layer, unpacked)?;
        }
        let images = store.commit_images(&[draft])?;
        images
            .into_iter()
            .next()
            .ok_or(Error::Cancelled("the pull"))
    });
    Ok(commit.await.map_err(Box::new)?)
}

async fn plan(
    store: &ImageStore,
    operation: &Arc<Operation>,
    diff_ids: Vec<Digest>,
) -> Result<Arc<Vec<PlannedLayer>>, PullError> {
    let (store, operation) = (store.clone(), operation.clone());
    let planned = blocking("the pull", move || store.plan_layers(&operation, &diff_ids))
        .await
        .map_err(Box::new)?;
    Ok(Arc::new(planned))
}

/// Everything one pull asks of a registry.
struct Source<'p> {
    store: &'p ImageStore,
    reference: &'p Reference,
    repository: Repository<'p>,
    options: &'p PullOptions,
}

impl Source<'_> {
    fn tell(&self, event: PullEvent) {
        if let Some(progress) = &self.options.progress {
            progress(event);
        }
    }

    /// The digest the name stands for, and the manifest for `platform`.
    async fn resolve(&self, platform: &Platform) -> Result<(Digest, Manifest, Vec<u8>), PullError> {
        let (mut media_type, mut bytes) = self
            .manifest(&self.reference.object(), self.reference.digest())
            .await?;
        let named = Digest::of(&bytes);
        for _ in 0..NESTING_MAX {
            match media_type.as_str() {
                OCI_INDEX | DOCKER_LIST => {
                    let index: Index = parse("image index", &bytes)?;
                    let descriptor =
                        index
                            .select(platform)
                            .ok_or_else(|| PullError::NoPlatform {
                                platform: platform.to_string(),
                            })?;
                    (media_type, bytes) = self
                        .manifest(&descriptor.digest.to_string(), Some(descriptor.digest))
                        .await?;
                }
                OCI_MANIFEST | DOCKER_MANIFEST => {
                    let manifest = parse("manifest", &bytes)?;
                    return Ok((named, manifest, bytes.to_vec()));
                }
                _ => {
                    let what = format!("manifest of {}", self.reference);
                    return Err(PullError::Unsupported { what, media_type });
                }
            }
        }
        Err(PullError::Corrupt {
            what: "image index".to_owned(),
            reason: "indexes are nested too deeply".to_owned(),
        })
    }

    /// A manifest or index and its media type.
    async fn manifest(
        &self,
        object: &str,
        digest: Option<Digest>,
    ) -> Result<(String, Bytes), PullError> {
        let accept = [OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST, "*/*"].join(", ");
        let ask = Ask::get(format!("manifests/{object}")).header(ACCEPT, accept);
        let mut last = None;
        for endpoint in &self.repository.endpoints {
            let able = endpoint.mirror.capabilities;
            if !(able.pull && (digest.is_some() || able.resolve)) {
                continue;
            }
            let response = match self.repository.send(endpoint, &ask).await {
                Ok(response) => response,
                Err(failure) => {
                    tracing::debug!(
                        host = endpoint.authority,
                        ?failure,
                        "a registry host did not resolve the image"
                    );
                    last = Some(failure);
                    continue;
                }
            };
            let media_type = response
                .headers()
                .get(CONTENT_TYPE)
                .and_then(|v| v.to_str().ok())
                .unwrap_or_default();
            let media_type = media_type
                .split(';')
                .next()
                .unwrap_or_default()
                .trim()
                .to_owned();
            let unavailable = |reason| Failure::Unavailable {
                method: "Get",
                url: endpoint.authority.clone(),
                reason,
            };
            match collect(response, self.store.limits().document_bytes_max).await {
                Ok(bytes) => {
                    verify(&format!("manifest {object}"), &bytes, digest)?;
                    return Ok((sniff(&media_type, &bytes), bytes));
                }
                Err(reason) => last = Some(unavailable(reason)),
            }
        }
        Err(self.failure(last))
    }

    fn check_layers(&self, manifest: &Manifest, file: &ConfigFile) -> Result<(), PullError> {
        let wrong = |reason: String| PullError::Corrupt {
            what: "image config".to_owned(),
            reason,
        };
        let (layers, diff_ids, max) = (
            manifest.layers.len(),
            file.rootfs.diff_ids.len(),
            self.store.limits().layers_max,
        );
        if layers != diff_ids {
            return Err(wrong(format!(
                "mismatched image rootfs and manifest layers: {diff_ids} and {layers}"
            )));
        }
        if layers > max {
            return Err(wrong(format!("{layers} layers are more than {max}")));
        }
        Ok(())
    }

    /// A small blob, verified.
    async fn document(&self, descriptor: &Descriptor) -> Result<Bytes, PullError> {
        let max = self.store.limits().document_bytes_max;
        if descriptor.size > max {
            let reason = format!("{} bytes are more than {max}", descriptor.size);
            return Err(PullError::Corrupt {
                what: "image config".to_owned(),
                reason,
            });
        }
        let (sender, mut receiver) = mpsc::channel::<Bytes>(PIECES_AHEAD);
        let gather = async {
            let mut bytes = Vec::with_capacity(descriptor.size as usize);
            while let Some(piece) = receiver.recv().await {
                bytes.extend_from_slice(&piece);
            }
            Bytes::from(bytes)
        };
        let (fetched, bytes) = tokio::join!(self.fetch(descriptor, sender, |_| {}), gather);
        fetched?;
        verify("image config", &bytes, Some(descriptor.digest))?;
        Ok(bytes)
    }

    /// Keeps other pulls of the store from fetching the same layers. Taken from the bottom up, which cannot deadlock:
    /// a layer's chain id stands for everything below it too.
    async fn lock_layers(&self, diff_ids: &[Digest]) -> Vec<OwnedMutexGuard<()>> {
        let mut guards = Vec::with_capacity(diff_ids.len());
        for chain_id in crate::image::chain_ids(diff_ids) {
            let lock = {
                let mut fetching = self
                    .store
                    .inner
                    .fetching
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                fetching.retain(|_, lock| Arc::strong_count(lock) > 1);
                fetching.entry(chain_id).or_default().clone()
            };
            guards.push(lock.lock_owned().await);
        }
        guards
    }

    /// Fetches and unpacks what is missing, a few layers at a time. Results come lowest first.
    async fn fetch_layers(
        &self,
        operation: &Arc<Operation>,
        planned: &[PlannedLayer],
        manifest: &Manifest,
    ) -> Result<Vec<(PlannedLayer, Unpacked)>, PullError> {
        let mut work = Vec::new();
        for (layer, descriptor) in planned.iter().zip(&manifest.layers) {
            if layer.present {
                self.tell(PullEvent::LayerPresent {
                    layer: descriptor.digest,
                });
            } else {
                work.push(self.fetch_layer(operation.clone(), layer.clone(), descriptor));
            }
        }
        let mut running =
            stream::iter(work).buffered(self.store.inner.options.registry.layers_at_once.max(1));
        let mut out = Vec::new();
        while let Some(result) = running.next().await {
            out.push(result?);
        }
        Ok(out)
    }

    async fn fetch_layer(
        &self,
        operation: Arc<Operation>,
        layer: PlannedLayer,
        descriptor: &Descriptor,
    ) -> Result<(PlannedLayer, Unpacked), PullError> {
        let (sender, receiver) = mpsc::channel(PIECES_AHEAD);
        let (limits, size, planned) = (self.store.limits().clone(), descriptor.size, layer.clone());
        let unpacking = blocking("the pull", move || {
            let into = ImageStore::layer_workspace(&operation, &planned)?;
            let failed = |source| Error::Unpack {
                layer: planned.diff_id,
                source,
            };
            let unpacked = unpack(
                Pieces {
                    receiver,
                    current: Bytes::new(),
                },
                size,
                &into,
                &limits,
            )
            .map_err(failed);
            // Held until here, so that the directory outlives a pull that was given up.
            drop(operation);
            unpacked
        });
        let (digest, total) = (descriptor.digest, descriptor.size);
        let fetching = self.fetch(descriptor, sender, |fetched| {
            self.tell(PullEvent::LayerFetching {
                layer: digest,
                fetched,
                total,
            });
        });
        let (fetched, unpacked) = tokio::join!(fetching, unpacking);
        // A broken download also breaks the unpacking; the download is the cause then.
        fetched?;
        let unpacked = unpacked.map_err(Box::new)?;
        let differs = |what: &str, want: &Digest, have: &Digest| PullError::Corrupt {
            what: format!("layer {digest}"),
            reason: format!("{what} is {have}, expected {want}"),
        };
        if unpacked.blob != digest {
            return Err(differs("its digest", &digest, &unpacked.blob));
        }
        if unpacked.diff_id != layer.diff_id {
            return Err(differs(
                "the digest of its uncompressed content",
                &layer.diff_id,
                &unpacked.diff_id,
            ));
        }
        self.tell(PullEvent::LayerDone { layer: digest });
        Ok((layer, unpacked))
    }

    /// Sends the content of a blob to `pieces`, continuing where a download broke off. Ends early without an error
    /// when the receiver has gone: then the receiver knows why.
    async fn fetch(
        &self,
        descriptor: &Descriptor,
        pieces: mpsc::Sender<Bytes>,
        mut progress: impl FnMut(u64),
    ) -> Result<(), PullError> {
        let options = &self.store.inner.options.registry;
        let mut fetched = 0;
        let mut failures = 0;
        let mut wait = options.retry_wait;
        loop {
            let before = fetched;
            let failure = match self
                .fetch_from(descriptor, &mut fetched, &pieces, &mut progress)
                .await
            {
                Ok(()) => return Ok(()),
                Err(failure) => failure,
            };
            if fetched > before {
                (failures, wait) = (0, options.retry_wait);
            }
            failures += 1;
            if !failure.may_pass || failures > options.retries_max {
                let Broken { url, reason, .. } = failure;
                return Err(PullError::Fetch {
                    digest: descriptor.digest,
                    url,
                    reason,
                });
            }
            self.tell(PullEvent::LayerRetrying {
                layer: descriptor.digest,
                attempt: failures,
                reason: failure.reason,
            });
            tokio::time::sleep(wait).await;
            wait *= 2;
        }
    }

    /// One attempt over all hosts, from `fetched` on.
    async fn fetch_from(
        &self,
        descriptor: &Descriptor,
        fetched: &mut u64,
        pieces: &mpsc::Sender<Bytes>,
        progress: &mut impl FnMut(u64),
    ) -> Result<(), Broken> {
        let mut ask = Ask::get(format!("blobs/{}", descriptor.digest)).header(ACCEPT, "*/*");
        if *fetched > 0 {
            ask = ask.header(RANGE, format!("bytes={fetched}-"));
        }
        let mut broken: Option<Broken> = None;
        for endpoint in self
            .repository
            .endpoints
            .iter()
            .filter(|endpoint| endpoint.mirror.capabilities.pull)
        {
            let response = match self.repository.send(endpoint, &ask).await {
                Ok(response) => response,
                Err(failure) => {
                    let next = Broken::from(failure);
                    // Worth another round when any host may recover.
                    let may_pass =
                        next.may_pass || broken.as_ref().is_some_and(|broken| broken.may_pass);
                    broken = Some(Broken { may_pass, ..next });
                    continue;
                }
            };
            let sent = self
                .forward(response, descriptor.size, fetched, pieces, progress)
                .await;
            return sent.map_err(|reason| Broken {
                url: endpoint.authority.clone(),
                may_pass: !reason.starts_with(TOO_LONG),
                reason,
            });
        }
        Err(broken.unwrap_or_else(|| Broken {
            url: self.reference.domain().to_owned(),
            reason: "no host may be asked for blobs".to_owned(),
            may_pass: false,
        }))
    }

    /// Sends the body of one answer on, up to `size` bytes in all.
    async fn forward(
        &self,
        response: Response<Incoming>,
        size: u64,
        fetched: &mut u64,
        pieces: &mpsc::Sender<Bytes>,
        progress: &mut impl FnMut(u64),
    ) -> Result<(), String> {
        let continued = response.status() == StatusCode::PARTIAL_CONTENT
            && response
                .headers()
                .get(CONTENT_RANGE)
                .and_then(|value| value.to_str().ok())
                .is_none_or(|range| range.starts_with(&format!("bytes {fetched}-")));
        // A host that ignores ranges sends everything again.
        let mut skip = if continued { 0 } else { *fetched };
        let mut body = response.into_body();
        let time_max = self.store.inner.options.registry.answer_time_max;
        while *fetched < size {
            let frame = tokio::time::timeout(time_max, body.frame())
                .await
                .map_err(|_| "the host stopped sending".to_owned())?
                .ok_or("unexpected EOF")?
                .map_err(|error| describe(&error))?;
            let Ok(mut data) = frame.into_data() else {
                continue;
            };
            let skipped = skip.min(data.len() as u64);
            data.advance(skipped as usize);
            skip -= skipped;
            if data.len() as u64 > size - *fetched {
                return Err(format!("{TOO_LONG} {size} bytes of the manifest"));
            }
            *fetched += data.len() as u64;
            if !data.is_empty() && pieces.send(data).await.is_err() {
                return Ok(());
            }
            progress(*fetched);
        }
        Ok(())
    }

    fn failure(&self, failure: Option<Failure>) -> PullError {
        let reference = self.reference.to_string();
        match failure {
            None => PullError::Unavailable {
                reference,
                method: "Get",
                url: self.reference.domain().to_owned(),
                reason: "no host may be asked to resolve names".to_owned(),
            },
            Some(Failure::Unavailable {
                method,
                url,
                reason,
            }) => PullError::Unavailable {
                reference,
                method,
                url,
                reason,
            },
            Some(Failure::Denied { message }) => PullError::Denied { reference, message },
            Some(Failure::Status {
                status: StatusCode::NOT_FOUND,
                ..
            }) => PullError::NotFound { reference },
            Some(Failure::Status {
                method,
                url,
                status,
                message,
            }) => {
                let message = if message.is_empty() {
                    message
                } else {
                    format!(": {message}")
                };
                PullError::Status {
                    reference,
                    method,
                    url,
                    status,
                    message,
                }
            }
        }
    }
}

/// An attempt that broke off.
struct Broken {
    url: String,
    reason: String,
    may_pass: bool,
}

impl From<Failure> for Broken {
    fn from(failure: Failure) -> Broken {
        match failure {
            Failure::Unavailable { url, reason, .. } => Broken {
                url,
                reason,
                may_pass: true,
            },
            Failure::Denied { message } => Broken {
                url: String::new(),
                reason: message,
                may_pass: false,
            },
            Failure::Status {
                url,
                status,
                message,
                ..
            } => {
                let may_pass = status.is_server_error()
                    || matches!(
                        status,
                        StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT
                    );
                Broken {
                    url,
                    reason: format!("unexpected status {status} {message}")
                        .trim_end()
                        .to_owned(),
                    may_pass,
                }
            }
        }
    }
}

/// The media type, from the document itself when the registry does not say.
fn sniff(media_type: &str, bytes: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Shape {
        #[serde(default)]
        schema_version: u32,
        media_type: Option<String>,
        manifests: Option<serde::de::IgnoredAny>,
    }
    if [OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST].contains(&media_type) {
        return media_type.to_owned();
    }
    match serde_json::from_slice::<Shape>(bytes) {
        Ok(Shape {
            schema_version: 1, ..
        }) => format!("{DOCKER_SCHEMA1}+json"),
        Ok(Shape {
            media_type: Some(own),
            ..
        }) => own,
        Ok(Shape {
            manifests: Some(_), ..
        }) => OCI_INDEX.to_owned(),
        Ok(Shape {
            schema_version: 2, ..
        }) => OCI_MANIFEST.to_owned(),
        _ => media_type.to_owned(),
    }
}

fn verify(what: &str, bytes: &[u8], digest: Option<Digest>) -> Result<(), PullError> {
    match digest {
        Some(want) if want != Digest::of(bytes) => Err(PullError::Corrupt {
            what: what.to_owned(),
            reason: format!("its digest is {}, expected {want}", Digest::of(bytes)),
        }),
        _ => Ok(()),
    }
}

fn parse<T: serde::de::DeserializeOwned>(what: &str, bytes: &[u8]) -> Result<T, PullError> {
    serde_json::from_slice(bytes).map_err(|error| PullError::Corrupt {
        what: what.to_owned(),
        reason: error.to_string(),
    })
}

/// The pieces of a blob as a blocking reader.
struct Pieces {
    receiver: mpsc::Receiver<Bytes>,
    current: Bytes,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.current.is_empty() {
            match self.receiver.blocking_recv() {
                Some(piece) => self.current = piece,
                None => return Ok(0),
            }
        }
        let n = buffer.len().min(self.current.len());
        self.current.copy_to_slice(&mut buffer[..n]);
        Ok(n)
    }
}
