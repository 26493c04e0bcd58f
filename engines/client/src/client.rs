//! Typed requests over any transport.

use std::sync::Arc;

use bytes::Bytes;
use corten_api::{Kind, Object};
use corten_meta::GroupVersionResource;

use crate::transport::{
    Body, Error, ListAnswer, Options, PatchKind, Request, Transport, Verb, WatchRequest,
};

/// Typed requests under one identity. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    transport: Arc<dyn Transport>,
    manager: String,
}

impl Client {
    /// Requests over `transport`; `manager` owns the fields that are written.
    pub fn new(transport: Arc<dyn Transport>, manager: &str) -> Client {
        Client {
            transport,
            manager: manager.to_owned(),
        }
    }

    /// The transport underneath.
    pub fn transport(&self) -> &Arc<dyn Transport> {
        &self.transport
    }

    fn request<T: Kind>(&self, verb: Verb, namespace: &str, name: &str, body: Body) -> Request {
        Request {
            verb,
            resource: GroupVersionResource::of::<T>(),
            subresource: String::new(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            body,
            options: Options {
                field_manager: self.manager.clone(),
                ..Options::default()
            },
        }
    }

    async fn typed<T: Kind>(&self, request: Request) -> Result<T, Error> {
        let object = self.transport.call(request).await?;
        object.downcast_ref::<T>().cloned().ok_or_else(|| {
            Error::Connection(format!(
                "the server answered {} where {} was expected",
                object.gvk(),
                T::gvk()
            ))
        })
    }

    /// Reads an object.
    pub async fn get<T: Kind>(&self, namespace: &str, name: &str) -> Result<T, Error> {
        self.typed(self.request::<T>(Verb::Get, namespace, name, Body::None))
            .await
    }

    /// Every object of a kind in a namespace (empty: in all).
    pub async fn list<T: Kind>(&self, namespace: &str) -> Result<ListAnswer, Error> {
        let request = WatchRequest {
            resource: GroupVersionResource::of::<T>(),
            namespace: namespace.to_owned(),
            ..WatchRequest::default()
        };
        self.transport.list(request).await
    }

    /// Makes an object.
    pub async fn create<T: Kind>(&self, object: T) -> Result<T, Error> {
        let namespace = object.meta().namespace.to_string();
        let body = Body::Object(Arc::new(Object::from(object)));
        self.typed(self.request::<T>(Verb::Create, &namespace, "", body))
            .await
    }

    /// Replaces an object; its resourceVersion, if any, must still be the stored one.
    pub async fn update<T: Kind>(&self, object: T) -> Result<T, Error> {
        self.replace(object, "").await
    }

    /// Replaces an object's status.
    pub async fn update_status<T: Kind>(&self, object: T) -> Result<T, Error> {
        self.replace(object, "status").await
    }

    async fn replace<T: Kind>(&self, object: T, subresource: &str) -> Result<T, Error> {
        let (namespace, name) = (
            object.meta().namespace.to_string(),
            object.meta().name.to_string(),
        );
        let body = Body::Object(Arc::new(Object::from(object)));
        let mut request = self.request::<T>(Verb::Update, &namespace, &name, body);
        request.subresource = subresource.to_owned();
        self.typed(request).await
    }

    /// Patches an object, or a part of it when `subresource` is not empty.
    pub async fn patch<T: Kind>(
        &self,
        namespace: &str,
        name: &str,
        subresource: &str,
        kind: PatchKind,
        patch: impl Into<Bytes>,
    ) -> Result<T, Error> {
        let mut request = self.request::<T>(
            Verb::Patch,
            namespace,
            name,
            Body::Patch(kind, patch.into()),
        );
        request.subresource = subresource.to_owned();
        self.typed(request).await
    }

    /// Deletes an object.
    pub async fn delete<T: Kind>(
        &self,
        namespace: &str,
        name: &str,
        options: Options,
    ) -> Result<(), Error> {
        let mut request = self.request::<T>(Verb::Delete, namespace, name, Body::None);
        request.options = options;
        self.transport.call(request).await.map(|_| ())
    }

    /// Posts an object to a subresource of `T` (binding, eviction, token) and answers what comes back.
    pub async fn post<T: Kind>(
        &self,
        namespace: &str,
        name: &str,
        subresource: &str,
        body: impl Into<Object>,
    ) -> Result<Arc<Object>, Error> {
        let mut request = self.request::<T>(
            Verb::Create,
            namespace,
            name,
            Body::Object(Arc::new(body.into())),
        );
        request.subresource = subresource.to_owned();
        self.transport.call(request).await
    }

    /// Asks a review (TokenReview, SubjectAccessReview and so on).
    pub async fn review<T: Kind>(&self, object: T) -> Result<T, Error> {
        self.create(object).await
    }
}
