//! From an object to a store transaction and back: storage bytes (protobuf envelope for built-in kinds, JSON for custom
//! resources, always without a resourceVersion), header, typed copy. The only file that calls `store.commit`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use corten_api::Object;
use corten_client::Status;
use corten_store::{
    AnyObject, CommitError, Committed, Conflict, Entry, Expiry, Header, Key, Op, Precondition, Put,
    Revision, Transaction,
};

use crate::catalog::Served;
use crate::server::Server;
use crate::{encode, keeping};

/// How long events live.
const EVENT_TTL: Duration = Duration::from_secs(3600);

/// How a commit ended.
pub(crate) enum Committing {
    /// Durable and visible.
    Done(Committed),
    /// A precondition did not hold.
    Lost(Box<Conflict>),
}

/// The write of an object in storage version.
pub(crate) fn put(served: &Served, key: Key, mut object: Object) -> Result<Put, Status> {
    object.meta_mut().resource_version = "".into();
    let stored = encode::stored(served, &object)?;
    let header = header(served, &object);
    let size = stored.len() * 3;
    let put = Put::new(key, stored, header).with_object(size, move |entry: &Entry| -> AnyObject {
        let mut object = object;
        object.meta_mut().resource_version = entry.mod_revision().to_string().into();
        Arc::new(object)
    });
    Ok(if served.is_event() {
        put.expiring(Expiry::After(EVENT_TTL))
    } else {
        put
    })
}

/// The object a write holds, decoded again.
pub(crate) fn object_of(served: &Served, put: &Put) -> Result<Object, Status> {
    crate::decode::stored(Some(served), &put.stored).map_err(Status::internal)
}

/// The write of a resource quota whose usage grew, on condition that nobody else wrote it.
pub(crate) fn charge(server: &Server, object: Object) -> Result<Op, Status> {
    let catalog = server.catalog();
    let served = catalog
        .stored_kind("", "ResourceQuota")
        .ok_or_else(|| Status::internal("resource quotas are not served"))?;
    let revision = object.meta().resource_version.parse().unwrap_or(0);
    let key = Key::new(
        &served.storage,
        &object.meta().namespace,
        &object.meta().name,
    );
    Ok(Op::Put(
        put(&served, key, object)?.when(Precondition::ModRevision(Revision(revision))),
    ))
}

/// What selectors, garbage collection and authorization read without decoding.
pub(crate) fn header(served: &Served, object: &Object) -> Header {
    let meta = object.meta();
    let mut header = Header::of(&meta.uid);
    for (key, value) in meta.labels.iter() {
        header = header.label(key, value);
    }
    for owner in meta.owner_references.iter() {
        header = header.owner(&owner.uid);
    }
    for finalizer in meta.finalizers.iter() {
        header = header.finalizer(finalizer);
    }
    let values = served.field_values(object);
    for (label, value) in served.field_labels().iter().zip(values) {
        header = header.field(label, &value);
    }
    header.build()
}

/// Commits; a lost race is an answer, everything else a refusal.
pub(crate) async fn commit(
    server: &Server,
    mut transaction: Transaction,
) -> Result<Committing, Status> {
    transaction.durability = keeping::durability(&transaction);
    match server.store.commit(transaction).await {
        Ok(committed) => Ok(Committing::Done(committed)),
        Err(CommitError::Conflict(conflict)) => Ok(Committing::Lost(conflict)),
        Err(error @ (CommitError::Invalid { .. } | CommitError::Seal { .. })) => {
            Err(Status::internal(error))
        }
        Err(error @ CommitError::TooLarge { .. }) => Err(Status::too_large(error.to_string())),
        Err(error) if server.store.is_remote() => Err(elsewhere(error)),
        Err(error) => Err(Status::unavailable(error.to_string())),
    }
}

/// What upstream answers when etcd does not take a write: etcd's own refusal, or that it took too long.
fn elsewhere(error: CommitError) -> Status {
    match error {
        CommitError::ReadOnly(reason) => Status::new(500, "", reason),
        error => {
            let why = error.to_string();
            tracing::warn!(why, "a write was not answered by etcd");
            Status::timeout(
                "Timeout: request did not complete within requested timeout - context deadline exceeded",
            )
        }
    }
}

/// The header of an object found at open.
pub(crate) fn describe(
    catalog: &crate::catalog::Catalog,
    key: &Key,
    stored: &Bytes,
) -> Result<Header, String> {
    let served = catalog.stored_under(key.resource());
    let object = crate::decode::stored(served.as_deref(), stored)?;
    Ok(match served {
        Some(served) => header(&served, &object),
        None => plain_header(&object),
    })
}

fn plain_header(object: &Object) -> Header {
    let meta = object.meta();
    let mut header = Header::of(&meta.uid);
    for (key, value) in meta.labels.iter() {
        header = header.label(key, value);
    }
    for owner in meta.owner_references.iter() {
        header = header.owner(&owner.uid);
    }
    for finalizer in meta.finalizers.iter() {
        header = header.finalizer(finalizer);
    }
    header.build()
}
