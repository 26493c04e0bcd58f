//! One request in Kubernetes' own terms, free of HTTP, and the trait that carries it out.
//!
//! Invariant: a transport is bound to one identity, and every request passes that identity's authorization and
//! admission, in process as over the network. Leaves out: retries, caches and streams other than watches.

use crate::Status;
use async_trait::async_trait;
use corten_api::Object;
use corten_core::{Str, Value};
use corten_meta::{GroupVersionResource, ObjectKey, Revision};
use futures_util::Stream;
use std::pin::Pin;
use std::sync::Arc;

/// What is done to an object or a collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Read one object.
    Get,
    /// Read a collection.
    List,
    /// Create an object (or post to a subresource such as `binding` or `eviction`).
    Create,
    /// Replace an object.
    Update,
    /// Change an object.
    Patch,
    /// Delete an object.
    Delete,
    /// Delete a collection.
    DeleteCollection,
}

impl Verb {
    /// The verb as RBAC and audit spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Verb::Get => "get",
            Verb::List => "list",
            Verb::Create => "create",
            Verb::Update => "update",
            Verb::Patch => "patch",
            Verb::Delete => "delete",
            Verb::DeleteCollection => "deletecollection",
        }
    }
}

/// How a patch is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchType {
    /// RFC 6902.
    Json,
    /// RFC 7386.
    Merge,
    /// Strategic merge, for built-in kinds.
    Strategic,
    /// Server-side apply.
    Apply,
}

impl PatchType {
    /// The content type of such a patch in JSON.
    pub fn media_type(self) -> &'static str {
        match self {
            PatchType::Json => "application/json-patch+json",
            PatchType::Merge => "application/merge-patch+json",
            PatchType::Strategic => "application/strategic-merge-patch+json",
            PatchType::Apply => "application/apply-patch+yaml",
        }
    }
}

/// What a request carries.
#[derive(Clone, Debug, Default)]
pub enum Body {
    /// Nothing.
    #[default]
    None,
    /// An object.
    Object(Box<Object>),
    /// A patch.
    Patch(PatchType, Value),
}

/// What happens to the dependents of a deleted object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// Deleted afterwards.
    Background,
    /// Deleted first.
    Foreground,
    /// Kept.
    Orphan,
}

impl Propagation {
    /// The text of `propagationPolicy`.
    pub fn as_str(self) -> &'static str {
        match self {
            Propagation::Background => "Background",
            Propagation::Foreground => "Foreground",
            Propagation::Orphan => "Orphan",
        }
    }
}

/// Options of a request; the default asks for nothing special.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Who owns the fields that a write sets; required by apply.
    pub field_manager: Str,
    /// Apply: take fields over from other managers.
    pub force: Option<bool>,
    /// Delete: seconds until the object is gone.
    pub grace_period: Option<i64>,
    /// Delete: what happens to dependents.
    pub propagation: Option<Propagation>,
    /// Delete: the object must have this UID.
    pub uid: Option<Str>,
    /// Delete: the object must be at this resourceVersion.
    pub resource_version: Option<Str>,
    /// List, delete collection: select by labels.
    pub label_selector: Str,
    /// List, delete collection: select by fields.
    pub field_selector: Str,
}

/// One request.
#[derive(Clone, Debug)]
pub struct Request {
    /// What is done.
    pub verb: Verb,
    /// The resource.
    pub resource: GroupVersionResource,
    /// Empty, or `status`, `scale`, `binding` …
    pub subresource: Str,
    /// Namespace and name; either may be empty where the verb and the kind allow it.
    pub key: ObjectKey,
    /// What is sent.
    pub body: Body,
    /// Options.
    pub options: Options,
}

/// What a request that succeeded gives back.
#[derive(Clone, Debug)]
pub enum Answer {
    /// The object after the request (for some deletes: as it was).
    Object(Arc<Object>),
    /// A collection and the revision at which it was read.
    List {
        /// The revision of the list.
        revision: Revision,
        /// The objects, by namespace and name.
        items: Vec<Arc<Object>>,
    },
    /// A plain success.
    Done,
}

/// Which changes are watched.
#[derive(Clone, Debug)]
pub struct WatchRequest {
    /// The resource.
    pub resource: GroupVersionResource,
    /// The namespace; empty for all.
    pub namespace: Str,
    /// Select by labels.
    pub label_selector: Str,
    /// Select by fields.
    pub field_selector: Str,
    /// Changes after this revision.
    pub from: Revision,
}

/// One change.
#[derive(Clone, Debug)]
pub enum WatchEvent {
    /// The object exists now, or is selected now.
    Added(Arc<Object>),
    /// The object changed.
    Modified(Arc<Object>),
    /// The object is gone, or is not selected any more; this is its last state.
    Deleted(Arc<Object>),
    /// Everything up to this revision has been sent.
    Bookmark(Revision),
}

/// Changes in order; an error ends the stream, and 410 means that the watcher must list again.
pub type WatchStream = Pin<Box<dyn Stream<Item = Result<WatchEvent, Status>> + Send>>;

/// Carries requests to an API server under one identity.
#[async_trait]
pub trait Transport: Send + Sync + 'static {
    /// Carries out one request.
    async fn call(&self, request: Request) -> Result<Answer, Status>;
    /// Opens a watch.
    async fn watch(&self, request: WatchRequest) -> Result<WatchStream, Status>;
}
