//! Between stored bytes and typed objects, and the resources that a simulated cluster has.

use bytes::Bytes;
use corten_api::{Object, Resource as Served};
use corten_codec::{Options, protobuf};
use corten_meta::GroupVersionResource;
use corten_store::{AnyObject, Entry, Header, Key, Put, Resource};
use std::sync::Arc;

/// The resources that are stored, followed and collected: group, version, plural.
pub const RESOURCES: [(&str, &str, &str); 11] = [
    ("", "v1", "namespaces"),
    ("", "v1", "nodes"),
    ("", "v1", "pods"),
    ("", "v1", "configmaps"),
    ("", "v1", "serviceaccounts"),
    ("apps", "v1", "deployments"),
    ("apps", "v1", "replicasets"),
    ("apps", "v1", "statefulsets"),
    ("apps", "v1", "daemonsets"),
    ("apps", "v1", "controllerrevisions"),
    ("batch", "v1", "jobs"),
];

/// The facts about a resource.
pub fn served(resource: &GroupVersionResource) -> &'static Served {
    corten_api::resource_of(&resource.group, &resource.version, &resource.resource)
        .expect("only built-in resources are simulated")
}

/// Every simulated resource.
pub fn resources() -> impl Iterator<Item = GroupVersionResource> {
    RESOURCES
        .iter()
        .map(|(group, version, plural)| GroupVersionResource::new(*group, *version, *plural))
}

/// Where the objects of a resource are stored.
pub fn stored_under(resource: &GroupVersionResource) -> Resource {
    Resource::new(served(resource).storage_prefix)
}

fn decode(stored: &Bytes) -> Result<Object, String> {
    let decoded = protobuf::decode(stored, &Options::default());
    decoded.map(|d| d.object).map_err(|error| error.to_string())
}

fn header(object: &Object) -> Header {
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

/// The header of an object found at open.
pub fn describe(_: &Key, stored: &Bytes) -> Result<Header, String> {
    decode(stored).map(|object| header(&object))
}

/// The object of an entry, decoded when it is not in memory.
pub fn object_of(entry: &Entry) -> Arc<Object> {
    let made = entry.object_or(|entry| {
        let mut object = decode(&entry.stored().map_err(|error| error.to_string())?)?;
        object.meta_mut().resource_version = entry.mod_revision().to_string().into();
        let size = entry.stored_len() * 3;
        Ok::<(AnyObject, usize), String>((Arc::new(object), size))
    });
    made.expect("what was stored can be read")
        .downcast()
        .expect("only objects are kept with entries")
}

/// The write of an object.
pub fn put(key: Key, mut object: Object) -> Put {
    object.meta_mut().resource_version = "".into();
    let stored = protobuf::encode_stored(&object).expect("built-in kinds have a protobuf form");
    let size = stored.len() * 3;
    Put::new(key, stored.into(), header(&object)).with_object(size, move |entry| {
        let mut object = object;
        object.meta_mut().resource_version = entry.mod_revision().to_string().into();
        Arc::new(object)
    })
}
