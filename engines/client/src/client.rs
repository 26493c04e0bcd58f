//! Typed calls over any transport.

use crate::Status;
use crate::transport::{
    Answer, Body, Options, PatchType, Request, Transport, Verb, WatchRequest, WatchStream,
};
use corten_api::{Kind, Object};
use corten_core::Value;
use corten_meta::{GroupVersionResource, ObjectKey, Revision};
use std::sync::Arc;

/// An API server as one identity sees it. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    transport: Arc<dyn Transport>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}

/// An object that the server sent is not of the kind that was asked for.
fn wrong_kind<T: Kind>(object: &Object) -> Status {
    Status::internal(format!(
        "asked for a {} and got a {}",
        T::KIND,
        object.kind()
    ))
}

fn typed<T: Kind>(object: &Object) -> Result<T, Status> {
    object
        .downcast_ref::<T>()
        .cloned()
        .ok_or_else(|| wrong_kind::<T>(object))
}

impl Client {
    /// A client over `transport`.
    pub fn new(transport: impl Transport) -> Client {
        Client {
            transport: Arc::new(transport),
        }
    }

    /// Sends any request.
    pub async fn call(&self, request: Request) -> Result<Answer, Status> {
        self.transport.call(request).await
    }

    /// Opens a watch.
    pub async fn watch(&self, request: WatchRequest) -> Result<WatchStream, Status> {
        self.transport.watch(request).await
    }

    async fn object(&self, request: Request) -> Result<Arc<Object>, Status> {
        match self.transport.call(request).await? {
            Answer::Object(object) => Ok(object),
            _ => Err(Status::internal("the server answered without an object")),
        }
    }

    /// Reads the object `name` of kind `T`.
    pub async fn get<T: Kind>(&self, namespace: &str, name: &str) -> Result<T, Status> {
        let object = self
            .object(request::<T>(Verb::Get, namespace, name, "", Body::None))
            .await?;
        typed(&object)
    }

    /// Reads the objects of kind `T` in `namespace` (all when empty).
    pub async fn list<T: Kind>(&self, namespace: &str) -> Result<Vec<T>, Status> {
        let (_, items) = self
            .list_objects(
                &GroupVersionResource::of::<T>(),
                namespace,
                Options::default(),
            )
            .await?;
        items.iter().map(|object| typed(object)).collect()
    }

    /// Reads a collection, with the revision at which it was read.
    pub async fn list_objects(
        &self,
        resource: &GroupVersionResource,
        namespace: &str,
        options: Options,
    ) -> Result<(Revision, Vec<Arc<Object>>), Status> {
        let request = Request {
            verb: Verb::List,
            resource: resource.clone(),
            subresource: Default::default(),
            key: ObjectKey::new(namespace, ""),
            body: Body::None,
            options,
        };
        match self.transport.call(request).await? {
            Answer::List { revision, items } => Ok((revision, items)),
            _ => Err(Status::internal("the server answered a list without items")),
        }
    }

    /// Creates `object`.
    pub async fn create<T: Kind>(&self, object: T) -> Result<T, Status> {
        let namespace = object.meta().namespace.clone();
        let body = Body::Object(Box::new(Object::from(object)));
        typed(
            &*self
                .object(request::<T>(Verb::Create, &namespace, "", "", body))
                .await?,
        )
    }

    /// Replaces `object`; its resourceVersion, when set, is a precondition.
    pub async fn update<T: Kind>(&self, object: T) -> Result<T, Status> {
        self.update_part(object, "").await
    }

    /// Replaces the status of `object`.
    pub async fn update_status<T: Kind>(&self, object: T) -> Result<T, Status> {
        self.update_part(object, "status").await
    }

    async fn update_part<T: Kind>(&self, object: T, part: &str) -> Result<T, Status> {
        let key = ObjectKey::new(object.meta().namespace.clone(), object.meta().name.clone());
        let body = Body::Object(Box::new(Object::from(object)));
        typed(
            &*self
                .object(request::<T>(
                    Verb::Update,
                    &key.namespace,
                    &key.name,
                    part,
                    body,
                ))
                .await?,
        )
    }

    /// Applies a JSON merge patch to the object or, when `part` is not empty, to that subresource.
    pub async fn patch<T: Kind>(
        &self,
        namespace: &str,
        name: &str,
        part: &str,
        patch: Value,
    ) -> Result<T, Status> {
        let body = Body::Patch(PatchType::Merge, patch);
        typed(
            &*self
                .object(request::<T>(Verb::Patch, namespace, name, part, body))
                .await?,
        )
    }

    /// Deletes the object `name` of kind `T`.
    pub async fn delete<T: Kind>(
        &self,
        namespace: &str,
        name: &str,
        options: Options,
    ) -> Result<(), Status> {
        let mut request = request::<T>(Verb::Delete, namespace, name, "", Body::None);
        request.options = options;
        self.transport.call(request).await.map(|_| ())
    }

    /// Posts `body` to a subresource of a `T`, such as `binding` of a pod or `token` of a service account.
    pub async fn post<T: Kind>(
        &self,
        namespace: &str,
        name: &str,
        part: &str,
        body: impl Into<Object>,
    ) -> Result<Answer, Status> {
        let body = Body::Object(Box::new(body.into()));
        self.transport
            .call(request::<T>(Verb::Create, namespace, name, part, body))
            .await
    }
}

fn request<T: Kind>(verb: Verb, namespace: &str, name: &str, part: &str, body: Body) -> Request {
    Request {
        verb,
        resource: GroupVersionResource::of::<T>(),
        subresource: part.into(),
        key: ObjectKey::new(namespace, name),
        body,
        options: Options::default(),
    }
}
