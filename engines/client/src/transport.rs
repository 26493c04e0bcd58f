//! One request and its answer in Kubernetes' terms.

use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use corten_api::Object;
use corten_meta::{GroupVersionResource, Revision};
use futures_util::Stream;

use crate::Status;

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Read one object.
    Get,
    /// Make an object (or post to a subresource).
    Create,
    /// Replace an object or a part of it.
    Update,
    /// Patch an object or a part of it.
    Patch,
    /// Delete an object.
    Delete,
}

/// The kinds of patches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchKind {
    /// RFC 6902.
    Json,
    /// RFC 7386.
    Merge,
    /// Kubernetes' own.
    Strategic,
    /// Server-side apply.
    Apply,
}

impl PatchKind {
    /// Its content type.
    pub fn content_type(self) -> &'static str {
        match self {
            PatchKind::Json => "application/json-patch+json",
            PatchKind::Merge => "application/merge-patch+json",
            PatchKind::Strategic => "application/strategic-merge-patch+json",
            PatchKind::Apply => "application/apply-patch+yaml",
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
    Object(Arc<Object>),
    /// A patch document (JSON, or YAML for apply).
    Patch(PatchKind, Bytes),
}

/// What becomes of dependents of a deleted object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// They stay.
    Orphan,
    /// They go later.
    Background,
    /// They go first.
    Foreground,
}

/// What must hold of an object that is deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Preconditions {
    /// Its uid.
    pub uid: Option<String>,
    /// Its resourceVersion.
    pub resource_version: Option<String>,
}

/// Options of requests; what a verb does not know is ignored.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Everything but the commit.
    pub dry_run: bool,
    /// Who owns the fields written.
    pub field_manager: String,
    /// Apply over conflicts.
    pub force: bool,
    /// Seconds a deleted pod is given.
    pub grace_period_seconds: Option<i64>,
    /// What becomes of dependents.
    pub propagation: Option<Propagation>,
    /// What must hold of a deleted object.
    pub preconditions: Preconditions,
}

/// One request about one object (or one to be made).
#[derive(Clone, Debug)]
pub struct Request {
    /// What is to be done.
    pub verb: Verb,
    /// On which resource.
    pub resource: GroupVersionResource,
    /// Empty for the object itself.
    pub subresource: String,
    /// Empty for cluster-scoped resources.
    pub namespace: String,
    /// Empty when an object is made.
    pub name: String,
    /// What it carries.
    pub body: Body,
    /// Its options.
    pub options: Options,
}

/// A list or watch.
#[derive(Clone, Debug, Default)]
pub struct WatchRequest {
    /// Of which resource.
    pub resource: GroupVersionResource,
    /// Empty for all namespaces.
    pub namespace: String,
    /// As in the API; empty for everything.
    pub label_selector: String,
    /// As in the API; empty for everything.
    pub field_selector: String,
    /// For watches: start after this revision. For lists: not older than it.
    pub revision: Option<Revision>,
}

/// Everything a list shows.
#[derive(Clone, Debug, Default)]
pub struct ListAnswer {
    /// The revision of the list.
    pub revision: Revision,
    /// The objects.
    pub items: Vec<Arc<Object>>,
}

/// One event of a watch.
#[derive(Clone, Debug)]
pub enum WatchEvent {
    /// It came, or changed.
    Applied(Arc<Object>),
    /// It went; its last state, at the revision of its deletion.
    Deleted(Arc<Object>),
    /// Everything up to this revision was shown.
    Bookmark(Revision),
}

/// Events until the watch ends. An `Err` is the last item.
pub type WatchStream = Pin<Box<dyn Stream<Item = Result<WatchEvent, Error>> + Send>>;

/// Why a request has no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The server refused.
    #[error("{0}")]
    Refused(Box<Status>),
    /// The server could not be reached or understood.
    #[error("talk to the API server: {0}")]
    Connection(String),
}

impl From<Status> for Error {
    fn from(status: Status) -> Error {
        Error::Refused(Box::new(status))
    }
}

impl Error {
    /// The refusal, if it is one.
    pub fn status(&self) -> Option<&Status> {
        if let Error::Refused(status) = self {
            Some(status)
        } else {
            None
        }
    }

    /// Whether the object does not exist.
    pub fn is_not_found(&self) -> bool {
        self.status().is_some_and(Status::is_not_found)
    }

    /// Whether the object exists already.
    pub fn is_already_exists(&self) -> bool {
        self.status().is_some_and(Status::is_already_exists)
    }

    /// Whether a race was lost.
    pub fn is_conflict(&self) -> bool {
        self.status().is_some_and(Status::is_conflict)
    }

    /// Whether a watch must start over from a list.
    pub fn is_expired(&self) -> bool {
        self.status().is_some_and(Status::is_expired)
    }
}

/// Carries requests to an API server under one identity.
#[async_trait]
pub trait Transport: Send + Sync {
    /// One request; answers the object as it now is (a Status object where the API answers one).
    async fn call(&self, request: Request) -> Result<Arc<Object>, Error>;
    /// Every object of a resource.
    async fn list(&self, request: WatchRequest) -> Result<ListAnswer, Error>;
    /// The changes of a resource. Without a revision, from now on and without initial objects.
    async fn watch(&self, request: WatchRequest) -> Result<WatchStream, Error>;
}
