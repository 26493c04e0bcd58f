//! The garbage collector on a server that defines a custom resource only after the start: its objects are followed from
//! then on, and one whose owner is gone is deleted once the server has confirmed that.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use async_trait::async_trait;
use corten_api::Object;
use corten_client::{
    Client, Error, ListAnswer, Request, Status, Target, Transport, Verb, WatchEvent, WatchRequest,
    WatchStream,
};
use corten_controllers::garbage;
use corten_controllers::plan::Cluster;
use corten_driver::{Driver, Settings, mirror_for};
use corten_meta::{GroupVersionResource, Revision};
use futures_util::StreamExt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

const DEFINITION: &str = r#"{
  "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
  "metadata": {"name": "things.example.com", "uid": "d", "resourceVersion": "7"},
  "spec": {"group": "example.com", "scope": "Namespaced", "names": {"plural": "things", "kind": "Thing"},
           "versions": [{"name": "v1", "served": true, "storage": true}]},
  "status": {"conditions": [{"type": "Established", "status": "True"}]}}"#;

const THING: &str = r#"{
  "apiVersion": "example.com/v1", "kind": "Thing",
  "metadata": {"name": "t", "namespace": "a", "uid": "t", "resourceVersion": "8",
               "ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "m", "uid": "gone"}]}}"#;

fn object(text: &str) -> Arc<Object> {
    let value = corten_codec::json::decode_value(text.as_bytes()).unwrap();
    Arc::new(Object::from_value(&value).unwrap())
}

/// Tells every request that is made.
struct Server {
    requests: mpsc::UnboundedSender<Request>,
}

#[async_trait]
impl Transport for Server {
    async fn call(&self, request: Request) -> Result<Arc<Object>, Error> {
        let absent = Status::not_found(Target {
            group: &request.resource.group,
            resource: &request.resource.resource,
            name: &request.name,
        });
        let verb = request.verb;
        let _ = self.requests.send(request);
        match verb {
            Verb::Delete => Ok(object(THING)),
            _ => Err(absent.into()),
        }
    }

    async fn list(&self, request: WatchRequest) -> Result<ListAnswer, Error> {
        let items = match request.resource.resource.as_str() {
            "things" => vec![object(THING)],
            _ => Vec::new(),
        };
        Ok(ListAnswer {
            revision: Revision(5),
            items,
        })
    }

    async fn watch(&self, request: WatchRequest) -> Result<WatchStream, Error> {
        let defined = match request.resource.resource.as_str() {
            "customresourcedefinitions" => vec![Ok(WatchEvent::Applied(object(DEFINITION)))],
            _ => Vec::new(),
        };
        let events = futures_util::stream::iter(defined);
        Ok(Box::pin(events.chain(futures_util::stream::pending())))
    }
}

#[tokio::test]
async fn custom_resources_are_collected_from_their_definition_on() {
    let (requests, mut made) = mpsc::unbounded_channel();
    let transport: Arc<dyn Transport> = Arc::new(Server { requests });
    let stored = [GroupVersionResource::new("", "v1", "configmaps")];
    let controllers = [garbage::CONTROLLER];
    let client = transport.clone();
    let settings = Settings {
        mirror: mirror_for(&controllers, &stored).start(transport),
        client_of: Arc::new(move |_| Client::new(client.clone(), "test")),
        cluster: Cluster::default(),
        sign: None,
    };
    let _driver = Driver::start(&settings, &controllers);
    let mut next = async || {
        let request = tokio::time::timeout(Duration::from_secs(60), made.recv());
        request.await.expect("a request is made").unwrap()
    };
    let asked = next().await;
    assert_eq!(
        (asked.verb, asked.resource.resource.as_str()),
        (Verb::Get, "configmaps")
    );
    assert_eq!(asked.name, "m");
    let deleted = next().await;
    assert_eq!(
        (deleted.verb, deleted.resource.resource.as_str()),
        (Verb::Delete, "things")
    );
    let preconditions = deleted.options.preconditions;
    assert_eq!(preconditions.uid.as_deref(), Some("t"));
    assert_eq!(preconditions.resource_version.as_deref(), Some("8"));
}
