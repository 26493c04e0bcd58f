//! Where the proxy sees the cluster: any state that changes, and a mirror of an API server's in particular.

use std::future::Future;

use corten_api::core::v1::{Node, Service};
use corten_api::discovery::v1::EndpointSlice;
use corten_api::networking::v1::ServiceCIDR;
use corten_client::{Mirror, MirrorBuilder, WatchRequest};
use corten_meta::{GroupVersionResource, Snapshot};
use tokio::sync::watch;

/// Where the proxy sees the cluster: Services, EndpointSlices, its own Node and ServiceCIDRs.
pub trait Source: Send {
    /// The present state; `None` until all of it was seen once.
    fn snapshot(&self) -> Option<Snapshot>;

    /// Waits for a state that `snapshot` has not given yet. `false` when none will come any more.
    fn changed(&mut self) -> impl Future<Output = bool> + Send;
}

impl Source for watch::Receiver<Option<Snapshot>> {
    fn snapshot(&self) -> Option<Snapshot> {
        self.borrow().clone()
    }

    async fn changed(&mut self) -> bool {
        watch::Receiver::changed(self).await.is_ok()
    }
}

/// What the proxy of a node has to watch.
pub fn watched(node: &str) -> MirrorBuilder {
    Mirror::builder()
        .resource::<Service>()
        .resource::<EndpointSlice>()
        .resource::<ServiceCIDR>()
        .selection(WatchRequest {
            resource: GroupVersionResource::of::<Node>(),
            field_selector: format!("metadata.name={node}"),
            ..WatchRequest::default()
        })
}

/// The states of a mirror that has at least the resources of [`watched`]. Ends with its last receiver.
pub fn follow(mirror: Mirror) -> watch::Receiver<Option<Snapshot>> {
    let (states, receiver) = watch::channel(None);
    tokio::spawn(async move {
        let follow = async {
            mirror.wait_synced().await;
            let mut seen = mirror.marker();
            states.send_replace(Some(mirror.snapshot()));
            loop {
                let snapshot = mirror.changed(&mut seen).await;
                states.send_replace(Some(snapshot));
            }
        };
        tokio::select! {
            () = follow => {}
            () = states.closed() => {}
        }
    });
    receiver
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::sync::Arc;

    use corten_api::Object;
    use corten_client::{
        Error, ListAnswer, Request, Transport, WatchEvent, WatchRequest, WatchStream,
    };
    use futures_util::{StreamExt, stream};
    use tokio::sync::Notify;

    use super::*;

    /// A server with one Service; the lists of Endpoint slices wait until it is told to go on.
    struct Fake {
        go_on: Notify,
    }

    fn service(name: &str) -> Arc<Object> {
        let mut service = Service::default();
        service.metadata.namespace = "ns".into();
        service.metadata.name = name.into();
        service.metadata.resource_version = "5".into();
        Arc::new(Object::from(service))
    }

    #[async_trait::async_trait]
    impl Transport for Fake {
        async fn call(&self, _: Request) -> Result<Arc<Object>, Error> {
            Err(Error::Connection("nothing to call".into()))
        }

        async fn list(&self, request: WatchRequest) -> Result<ListAnswer, Error> {
            if &*request.resource.resource == "endpointslices" {
                self.go_on.notified().await;
            }
            let services = &*request.resource.resource == "services";
            let items = if services {
                vec![service("first")]
            } else {
                Vec::new()
            };
            Ok(ListAnswer {
                items,
                ..ListAnswer::default()
            })
        }

        async fn watch(&self, request: WatchRequest) -> Result<WatchStream, Error> {
            let services = &*request.resource.resource == "services";
            let events = services.then(|| Ok(WatchEvent::Applied(service("second"))));
            let events: Pin<Box<_>> = Box::pin(stream::iter(events).chain(stream::pending()));
            Ok(events)
        }
    }

    #[tokio::test]
    async fn states_come_once_everything_was_listed() {
        let server = Arc::new(Fake {
            go_on: Notify::new(),
        });
        let mut source = follow(watched("node-a").start(server.clone()));
        assert!(source.snapshot().is_none());
        server.go_on.notify_one();
        let complete = |state: &Option<Snapshot>| {
            state
                .as_ref()
                .is_some_and(|s| s.get::<Service>("ns", "second").is_some())
        };
        let state = source.wait_for(complete).await.unwrap().clone();
        assert!(state.unwrap().get::<Service>("ns", "first").is_some());
    }
}
