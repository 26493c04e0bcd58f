//! The image store of a node: names, records, layers on disk, and the operations on them.
//!
//! On disk under one root: `images.json` (all records, replaced atomically), `blobs/sha256/<hex>` (manifests and
//! configurations), `layers/<chain id>/fs` (unpacked once, shared), `tmp/<session>/…` (work in progress), `lock`.
//! Invariant: a record exists only when everything it names is complete and on disk. Several processes may hold the
//! store open; every change happens under the file lock, work in progress is protected by leases.

pub(crate) mod collect;
pub(crate) mod commit;
mod records;
mod session;

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::SystemTime;

use crate::archive::{ImportOptions, ImportSource};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::image::{Image, ImageId};
use crate::layer::Limits;
use crate::oci::Platform;
use crate::reference::Reference;
use crate::registry::client::Client;
use crate::registry::{PullOptions, RegistryOptions};
use collect::{CollectReport, CollectionPolicy, DiskUsage, UseTimes};
use records::{Records, State};
pub(crate) use session::Operation;
use session::Session;

/// Says whether containers (or image volumes) use an image right now.
pub type InUse = Arc<dyn Fn(&ImageId) -> bool + Send + Sync>;

/// How a store behaves.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// For which machine images are chosen.
    pub platform: Platform,
    /// Bounds on what is accepted.
    pub limits: Limits,
    /// How registries are reached.
    pub registry: RegistryOptions,
}

impl Default for StoreOptions {
    fn default() -> StoreOptions {
        StoreOptions {
            platform: Platform::host(),
            limits: Limits::default(),
            registry: RegistryOptions::default(),
        }
    }
}

/// What a removal did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Removed {
    /// Names that no longer resolve.
    pub untagged: Vec<String>,
    /// The image, when it is gone altogether.
    pub deleted: Option<ImageId>,
    /// Bytes freed.
    pub freed: u64,
}

/// Keeps the layers of an image on disk until dropped, also when the image is removed meanwhile.
/// Take one between resolving an image and having a container that [`InUse`] reports.
#[derive(Debug)]
pub struct Lease {
    _operation: Operation,
}

/// The images of one node. Cheap to clone; usable from several processes at once.
#[derive(Clone)]
pub struct ImageStore {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) root: PathBuf,
    pub(crate) options: StoreOptions,
    records: Records,
    session: Session,
    use_times: Mutex<UseTimes>,
    /// One lock per layer being fetched, so that two pulls do not fetch the same layer.
    pub(crate) fetching: Mutex<HashMap<Digest, Arc<tokio::sync::Mutex<()>>>>,
    client: OnceLock<Client>,
}

impl std::fmt::Debug for ImageStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ImageStore")
            .field("root", &self.inner.root)
            .finish_non_exhaustive()
    }
}

impl ImageStore {
    /// Opens the store at `root`, making it when missing, and clears what a crash left behind.
    pub fn open(root: impl AsRef<Path>) -> Result<ImageStore> {
        ImageStore::open_with(root, StoreOptions::default())
    }

    /// [`ImageStore::open`] with options.
    pub fn open_with(root: impl AsRef<Path>, options: StoreOptions) -> Result<ImageStore> {
        let root = root.as_ref();
        for name in ["blobs/sha256", "layers", "tmp"] {
            let path = root.join(name);
            std::fs::create_dir_all(&path).map_err(Error::disk("create directory", &path))?;
        }
        let root = root.canonicalize().map_err(Error::disk("resolve", root))?;
        let session = Session::open(&root.join("tmp"))?;
        let records = Records::open(&root)?;
        let store = ImageStore {
            inner: Arc::new(Inner {
                root,
                options,
                records,
                session,
                use_times: Mutex::default(),
                fetching: Mutex::default(),
                client: OnceLock::new(),
            }),
        };
        store.sweep()?;
        Ok(store)
    }

    /// Where the store lives.
    pub fn root(&self) -> &Path {
        &self.inner.root
    }

    /// All images, sorted by id.
    pub fn list(&self) -> Result<Vec<Arc<Image>>> {
        Ok(self.inner.records.read()?.images.clone())
    }

    /// The image with this id.
    pub fn get(&self, id: &ImageId) -> Result<Option<Arc<Image>>> {
        Ok(self.inner.records.read()?.get(id).cloned())
    }

    /// The image called `reference`: a name with Docker's rules (`nginx:1`, `repo@sha256:…`), an image id with or
    /// without `sha256:`. `None` when the store has none; an error when `reference` is no name at all.
    pub fn resolve(&self, reference: &str) -> Result<Option<Arc<Image>>> {
        let state = self.inner.records.read()?;
        Ok(find(&state, reference)?.cloned())
    }

    /// The directories an overlay of `image` stacks, topmost first: the order of overlayfs' `lowerdir`.
    /// Use `lowerdir+` of fsconfig(2) for images with more than about a hundred layers.
    pub fn lower_directories(&self, image: &Image) -> Vec<PathBuf> {
        image
            .layers
            .iter()
            .rev()
            .map(|layer| self.layer_directory(&layer.chain_id).join("fs"))
            .collect()
    }

    /// The raw configuration file of `image`, as `corten image inspect` and debugging tools show it.
    pub fn raw_config(&self, image: &Image) -> Result<Vec<u8>> {
        let path = self.blob_path(&image.id.0);
        std::fs::read(&path).map_err(Error::disk("read", &path))
    }

    /// Keeps the layers of `image` until the lease is dropped. Fails when the image has gone meanwhile.
    pub fn lease(&self, image: &Image) -> Result<Lease> {
        let operation = self.inner.session.begin()?;
        let _lock = self.inner.records.lock()?;
        let state = self.inner.records.read()?;
        if state.get(&image.id).is_none() {
            return Err(Error::NotFound(image.id.to_string()));
        }
        for layer in &image.layers {
            operation.lease(&layer.chain_id)?;
        }
        Ok(Lease {
            _operation: operation,
        })
    }

    /// Imports every image of an archive (OCI layout or `docker save`, plain, gzip or zstd). Importing the same archive again changes
    /// nothing. All or nothing: a damaged image keeps the whole archive out.
    pub async fn import(
        &self,
        source: ImportSource,
        options: ImportOptions,
    ) -> Result<Vec<Arc<Image>>> {
        let store = self.clone();
        blocking("the import", move || {
            crate::archive::import(&store, source, &options)
        })
        .await
    }

    /// [`ImageStore::import`] on the calling thread, for programs without a runtime.
    pub fn import_blocking(
        &self,
        source: ImportSource,
        options: &ImportOptions,
    ) -> Result<Vec<Arc<Image>>> {
        crate::archive::import(self, source, options)
    }

    /// Pulls `reference` from its registry and unpacks it. Layers that are already here are not fetched. The name
    /// then points to what the registry has now.
    pub async fn pull(&self, reference: &str, options: &PullOptions) -> Result<Arc<Image>> {
        crate::registry::pull::pull(self, reference, options).await
    }

    /// Gives the image `source` the further name `name`.
    pub fn tag(&self, source: &str, name: &str) -> Result<Arc<Image>> {
        let name = Reference::parse(name)?;
        self.inner.records.update(|state| {
            let image = find(state, source)?.ok_or_else(|| Error::NotFound(source.to_owned()))?;
            let image = (**image).clone();
            Ok(state.adopt(image, &[name]))
        })
    }

    /// Removes `reference`. A tag: that name goes, and with the last name the image. An id or digest: the image goes
    /// with all its names. An image in use loses its names but stays until it is collected.
    /// A caller that cannot know what is in use passes `|_| true`.
    pub async fn remove(&self, reference: &str, in_use: InUse) -> Result<Removed> {
        let store = self.clone();
        let reference = reference.to_owned();
        blocking("the removal", move || {
            store.remove_blocking(&reference, &in_use)
        })
        .await
    }

    /// [`ImageStore::remove`] on the calling thread.
    pub fn remove_blocking(&self, reference: &str, in_use: &InUse) -> Result<Removed> {
        let removed = self.inner.records.update(|state| {
            let image = find(state, reference)?
                .ok_or_else(|| Error::NotFound(reference.to_owned()))?
                .clone();
            let by_tag = Reference::parse(reference)
                .ok()
                .map(|name| name.to_string());
            let mut left = (*image).clone();
            let by_tag = by_tag.filter(|name| image.tags.contains(name));
            let by_id = by_tag.is_none();
            let mut untagged: Vec<String> = match by_tag {
                Some(name) => {
                    left.tags.retain(|tag| *tag != name);
                    vec![name]
                }
                None => image.tags.clone(),
            };
            if left.tags.is_empty() || by_id {
                untagged.extend(image.digests.iter().cloned());
            }
            let mut removed = Removed {
                untagged,
                deleted: None,
                freed: 0,
            };
            if left.tags.is_empty() || by_id {
                left.tags.clear();
                left.digests.clear();
                if !in_use(&image.id) {
                    state.delete(&image.id);
                    removed.deleted = Some(image.id);
                    return Ok(removed);
                }
            }
            state.put(left);
            Ok(removed)
        })?;
        let freed = self.sweep()?;
        Ok(Removed { freed, ..removed })
    }

    /// Notes which images are in use, for the order of collection. Call it now and then (upstream: every five
    /// minutes) and at each collection.
    pub fn observe_use(&self, now: SystemTime, in_use: &InUse) -> Result<()> {
        let images = self.list()?;
        self.use_times().observe(&images, now, in_use);
        Ok(())
    }

    /// Collects garbage by `policy`: images unused longer than its maximum age, then, above the high threshold of the
    /// disk, the longest unused ones until the low threshold is reached. Pinned images stay.
    pub async fn collect(
        &self,
        policy: CollectionPolicy,
        now: SystemTime,
        in_use: InUse,
    ) -> Result<CollectReport> {
        let store = self.clone();
        blocking("the collection", move || {
            store.collect_blocking(&policy, now, &in_use)
        })
        .await
    }

    /// Removes every image that is not in use and not pinned, whatever its age (kubelet under disk pressure).
    pub async fn remove_unused(&self, now: SystemTime, in_use: InUse) -> Result<CollectReport> {
        let store = self.clone();
        blocking("the removal of unused images", move || {
            store.remove_unused_blocking(now, &in_use)
        })
        .await
    }

    /// The file system the store is on, and what the store takes of it.
    pub fn disk_usage(&self) -> Result<DiskUsage> {
        collect::disk_usage(&self.inner.root, &self.inner.records.read()?.images)
    }

    pub(crate) fn layer_directory(&self, chain_id: &Digest) -> PathBuf {
        self.inner.root.join("layers").join(chain_id.hex())
    }

    pub(crate) fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.inner.root.join("blobs/sha256").join(digest.hex())
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.inner.options.limits
    }

    pub(crate) fn client(&self) -> &Client {
        self.inner
            .client
            .get_or_init(|| Client::new(&self.inner.options.registry))
    }

    pub(crate) fn begin(&self) -> Result<Operation> {
        self.inner.session.begin()
    }

    fn use_times(&self) -> std::sync::MutexGuard<'_, UseTimes> {
        self.inner
            .use_times
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Deletes layers and blobs that no record names and no operation leases. Returns the bytes freed.
    pub(crate) fn sweep(&self) -> Result<u64> {
        let trash = self.inner.session.begin()?;
        let freed = {
            let _lock = self.inner.records.lock()?;
            let state = self.inner.records.read()?;
            let leased = self.inner.session.leased_by_all()?;
            let mut layers: BTreeSet<String> = leased;
            let mut blobs = BTreeSet::new();
            for image in &state.images {
                layers.extend(image.layers.iter().map(|layer| layer.chain_id.hex()));
                blobs.insert(image.id.0.hex());
                blobs.insert(image.manifest.hex());
            }
            commit::move_unnamed(&self.inner.root.join("blobs/sha256"), &blobs, &trash)?
                + commit::move_unnamed(&self.inner.root.join("layers"), &layers, &trash)?
        };
        // Deleting many files takes time: outside the lock, and again at the next open when interrupted.
        drop(trash);
        Ok(freed)
    }
}

fn find<'s>(state: &'s State, reference: &str) -> Result<Option<&'s Arc<Image>>> {
    let id = reference
        .parse::<Digest>()
        .or_else(|_| Digest::from_hex(reference));
    if let Ok(digest) = id {
        return Ok(state.get(&ImageId(digest)));
    }
    let name = Reference::parse(reference)?;
    let text = name.to_string();
    let wanted = |names: &[String]| names.contains(&text);
    let found = match name.digest() {
        Some(_) => state.images.iter().find(|image| wanted(&image.digests)),
        None => state.images.iter().find(|image| wanted(&image.tags)),
    };
    Ok(found)
}

/// Runs `work` on the blocking pool.
pub(crate) async fn blocking<T, F>(what: &'static str, work: F) -> Result<T>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T> + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(Error::Cancelled(what)),
        },
    }
}
