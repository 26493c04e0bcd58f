//! An API server of a few lines: objects in memory, watches, patches. It checks nothing.

use async_trait::async_trait;
use corten_api::authentication::v1::TokenRequest;
use corten_api::core::v1::Pod;
use corten_api::{Kind, Object};
use corten_client::{
    Body, Error, ListAnswer, Request, Status, Target, Transport, Verb, WatchEvent, WatchRequest,
    WatchStream,
};
use corten_core::{Time, Value, ValueMap};
use corten_meta::{GroupVersionResource, Revision};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use tokio::sync::broadcast;

type Key = (GroupVersionResource, String, String);

struct State {
    revision: u64,
    objects: BTreeMap<String, (Key, Arc<Object>)>,
    /// `patch pods/status web` and the like, in order.
    log: Vec<String>,
}

/// The server.
pub struct Api {
    state: Mutex<State>,
    events: broadcast::Sender<(GroupVersionResource, WatchEvent)>,
}

fn text_key(key: &Key) -> String {
    format!("{}/{}/{}", key.0, key.1, key.2)
}

impl Api {
    pub fn new() -> Arc<Api> {
        let state = State {
            revision: 1,
            objects: BTreeMap::new(),
            log: Vec::new(),
        };
        Arc::new(Api {
            state: Mutex::new(state),
            events: broadcast::channel(4096).0,
        })
    }

    /// Stores an object as a client would.
    pub fn put<T: Kind>(&self, object: T) {
        let (namespace, name) = (
            object.meta().namespace.to_string(),
            object.meta().name.to_string(),
        );
        self.store(
            (GroupVersionResource::of::<T>(), namespace, name),
            Object::from(object),
        );
    }

    pub fn get<T: Kind>(&self, namespace: &str, name: &str) -> Option<T> {
        let key = (
            GroupVersionResource::of::<T>(),
            namespace.to_owned(),
            name.to_owned(),
        );
        let state = self.state.lock().unwrap();
        state
            .objects
            .get(&text_key(&key))
            .and_then(|(_, o)| o.downcast_ref::<T>().cloned())
    }

    pub fn list<T: Kind>(&self) -> Vec<T> {
        let state = self.state.lock().unwrap();
        state
            .objects
            .values()
            .filter_map(|(_, o)| o.downcast_ref::<T>().cloned())
            .collect()
    }

    /// What was asked, as lines.
    pub fn log(&self) -> Vec<String> {
        self.state.lock().unwrap().log.clone()
    }

    /// Tells of every change from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<(GroupVersionResource, WatchEvent)> {
        self.events.subscribe()
    }

    fn store(&self, key: Key, mut object: Object) -> Arc<Object> {
        let mut state = self.state.lock().unwrap();
        state.revision += 1;
        let revision = state.revision;
        let meta = object.meta_mut();
        meta.resource_version = revision.to_string().into();
        if meta.uid.is_empty() {
            meta.uid = format!("00000000-0000-4000-8000-{revision:012}").into();
        }
        let object = Arc::new(object);
        state
            .objects
            .insert(text_key(&key), (key.clone(), object.clone()));
        let _ = self
            .events
            .send((key.0, WatchEvent::Applied(object.clone())));
        object
    }

    /// Deletes as a client does: pods get their grace period.
    pub fn delete_pod(&self, namespace: &str, name: &str, grace: i64) {
        let mut pod: Pod = self.get(namespace, name).unwrap();
        pod.metadata.deletion_timestamp = Some(Time::from_unix(1_800_000_000));
        pod.metadata.deletion_grace_period_seconds = Some(grace);
        self.put(pod);
    }

    fn remove(&self, key: &Key) -> Option<Arc<Object>> {
        let mut state = self.state.lock().unwrap();
        let (_, object) = state.objects.remove(&text_key(key))?;
        state.revision += 1;
        let mut last = (*object).clone();
        last.meta_mut().resource_version = state.revision.to_string().into();
        let _ = self
            .events
            .send((key.0.clone(), WatchEvent::Deleted(Arc::new(last))));
        Some(object)
    }

    fn find(&self, key: &Key) -> Result<Arc<Object>, Error> {
        let state = self.state.lock().unwrap();
        let found = state.objects.get(&text_key(key)).map(|(_, o)| o.clone());
        found.ok_or_else(|| {
            Status::not_found(Target {
                group: "",
                resource: &key.0.resource,
                name: &key.2,
            })
            .into()
        })
    }
}

fn merge(into: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_map() else {
        *into = patch.clone();
        return;
    };
    if into.as_map().is_none() {
        *into = Value::Map(ValueMap::new());
    }
    for (key, value) in patch.iter() {
        match (key.as_str(), value) {
            (_, Value::Null) => {
                into.as_map_mut().unwrap().remove(key);
            }
            ("conditions", Value::List(list)) => {
                let mut have = into
                    .get("conditions")
                    .and_then(Value::as_list)
                    .unwrap_or_default()
                    .to_vec();
                for item in list {
                    have.retain(|h| h.str_at(&["type"]) != item.str_at(&["type"]));
                    if item.get("$patch").is_none() {
                        have.push(item.clone());
                    }
                }
                into.set(&["conditions"], Value::List(have));
            }
            (_, Value::List(list)) => {
                let plain = list
                    .iter()
                    .filter(|item| item.get("$patch").is_none())
                    .cloned()
                    .collect();
                into.set(&[key], Value::List(plain));
            }
            _ => {
                let mut inner = into.get(key).cloned().unwrap_or(Value::Null);
                merge(&mut inner, value);
                into.set(&[key], inner);
            }
        }
    }
}

fn selected(request: &WatchRequest, object: &Object) -> bool {
    let meta = object.meta();
    let in_namespace = request.namespace.is_empty() || meta.namespace == request.namespace;
    let field = match request.field_selector.split_once('=') {
        Some(("metadata.name", name)) => meta.name == name,
        Some(("spec.nodeName", node)) => object
            .downcast_ref::<Pod>()
            .is_some_and(|p| p.spec.node_name == node),
        _ => true,
    };
    in_namespace && field
}

#[async_trait]
impl Transport for Api {
    async fn call(&self, request: Request) -> Result<Arc<Object>, Error> {
        let key = (
            request.resource.clone(),
            request.namespace.clone(),
            request.name.clone(),
        );
        let slash = if request.subresource.is_empty() {
            ""
        } else {
            "/"
        };
        if request.resource.resource != "leases" && request.resource.resource != "events" {
            let line = format!(
                "{:?} {}{slash}{} {}",
                request.verb, request.resource.resource, request.subresource, request.name
            );
            self.state.lock().unwrap().log.push(line);
        }
        match (request.verb, request.body) {
            (Verb::Get, _) => self.find(&key),
            (Verb::Create, Body::Object(object)) if request.subresource == "token" => {
                let mut token = object.downcast_ref::<TokenRequest>().unwrap().clone();
                token.status.token = "a-token".into();
                token.status.expiration_timestamp = Time::from_unix(4_000_000_000);
                Ok(Arc::new(Object::from(token)))
            }
            (Verb::Create, Body::Object(object)) => {
                let key = (key.0, key.1, object.meta().name.to_string());
                if let Ok(_found) = self.find(&key) {
                    let target = Target {
                        group: "",
                        resource: &key.0.resource,
                        name: &key.2,
                    };
                    return Err(Status::already_exists(target).into());
                }
                Ok(self.store(key, (*object).clone()))
            }
            (Verb::Update, Body::Object(object)) => Ok(self.store(key, (*object).clone())),
            (Verb::Patch, Body::Patch(_, bytes)) => {
                let mut value = self.find(&key)?.to_value().unwrap();
                let patch = corten_codec::json::decode_value(&bytes).unwrap();
                merge(&mut value, &patch);
                let object = Object::from_value(&value).unwrap();
                Ok(self.store(key, object))
            }
            (Verb::Delete, _) => self.remove(&key).ok_or_else(|| {
                Status::not_found(Target {
                    group: "",
                    resource: &key.0.resource,
                    name: &key.2,
                })
                .into()
            }),
            _ => Err(Status::method_not_allowed().into()),
        }
    }

    async fn list(&self, request: WatchRequest) -> Result<ListAnswer, Error> {
        let state = self.state.lock().unwrap();
        let items = state
            .objects
            .values()
            .filter(|(key, _)| key.0 == request.resource);
        let items = items
            .map(|(_, o)| o.clone())
            .filter(|o| selected(&request, o))
            .collect();
        Ok(ListAnswer {
            revision: Revision(state.revision),
            items,
        })
    }

    async fn watch(&self, request: WatchRequest) -> Result<WatchStream, Error> {
        // What was missed between list and watch is sent first.
        let receiver = self.events.subscribe();
        let from = request.revision.unwrap_or_default().0;
        let newer: Vec<WatchEvent> = {
            let state = self.state.lock().unwrap();
            let items = state
                .objects
                .values()
                .filter(|(key, _)| key.0 == request.resource);
            let newer = |o: &Arc<Object>| {
                Revision::parse(&o.meta().resource_version)
                    .unwrap_or_default()
                    .0
                    > from
            };
            items
                .map(|(_, o)| o.clone())
                .filter(newer)
                .filter(|o| selected(&request, o))
                .map(WatchEvent::Applied)
                .collect()
        };
        let state = (newer.into_iter(), receiver, request);
        Ok(Box::pin(futures_util::stream::unfold(
            state,
            |(mut newer, mut receiver, request)| async move {
                if let Some(event) = newer.next() {
                    return Some((Ok(event), (newer, receiver, request)));
                }
                loop {
                    let (resource, event) = receiver.recv().await.ok()?;
                    let object = match &event {
                        WatchEvent::Applied(object) | WatchEvent::Deleted(object) => object,
                        WatchEvent::Bookmark(_) => continue,
                    };
                    if resource == request.resource && selected(&request, object) {
                        return Some((Ok(event), (newer, receiver, request)));
                    }
                }
            },
        )))
    }
}
