//! Mirrors over a transport that only lists: what they follow, and what they tell when that changes.

use async_trait::async_trait;
use corten_api::core::v1::{ConfigMap, Pod};
use corten_api::meta::v1::OwnerReference;
use corten_api::{Kind, Object};
use corten_client::{
    Error, ListAnswer, Mirror, Request, Status, Transport, WatchRequest, WatchStream,
};
use corten_meta::{GroupResource, GroupVersionResource, Revision};
use std::sync::Arc;

/// A server with one config map, and a pod that it owns.
struct Listed;

#[async_trait]
impl Transport for Listed {
    async fn call(&self, _: Request) -> Result<Arc<Object>, Error> {
        Err(Status::new(405, "MethodNotAllowed", "only lists").into())
    }

    async fn list(&self, request: WatchRequest) -> Result<ListAnswer, Error> {
        let mut map = ConfigMap::namespaced("a", "owner");
        map.metadata.uid = "u".into();
        let mut pod = Pod::namespaced("a", "owned");
        pod.metadata.owner_references.push(OwnerReference {
            uid: "u".into(),
            ..OwnerReference::default()
        });
        let object = match request.resource.resource.as_str() {
            "configmaps" => Object::from(map),
            _ => Object::from(pod),
        };
        Ok(ListAnswer {
            revision: Revision(5),
            items: vec![Arc::new(object)],
        })
    }

    async fn watch(&self, _: WatchRequest) -> Result<WatchStream, Error> {
        Ok(Box::pin(futures_util::stream::pending()))
    }
}

#[tokio::test]
async fn resources_join_and_leave_while_it_runs() {
    let mirror = Mirror::builder()
        .resource::<Pod>()
        .with_owners()
        .start(Arc::new(Listed));
    mirror.wait_synced().await;
    let maps = GroupVersionResource::of::<ConfigMap>();
    assert!(mirror.snapshot().get::<ConfigMap>("a", "owner").is_none());

    let mut changes = mirror.changes();
    mirror.follow(maps.clone());
    let change = changes.recv().await.unwrap();
    assert_eq!((&change.resource, change.new.is_some()), (&maps, true));
    assert!(mirror.snapshot().get::<ConfigMap>("a", "owner").is_some());
    assert_eq!(mirror.snapshot().dependents("u").len(), 1);
    assert_eq!(mirror.resources().len(), 2);
    mirror.follow(maps.clone());
    assert_eq!(mirror.width(), 2, "it is followed once");

    mirror.forget(&maps);
    let change = changes.recv().await.unwrap();
    assert!(change.new.is_none() && change.old.is_some());
    let snapshot = mirror.snapshot();
    assert!(snapshot.table(&GroupResource::of::<ConfigMap>()).is_none());
    assert!(
        !snapshot.has_gone("u"),
        "it is only not followed any longer"
    );
    assert_eq!(mirror.width(), 1);
    mirror.forget(&maps);
}
