//! Mirrors of exactly those ConfigMaps and Secrets that pods of this node refer to, one watch per object.
//!
//! Invariant: an object is watched while a pod refers to it and no longer; all pods that do share the watch.

use crate::pod::context::Message;
use corten_api::Kind;
use corten_api::core::v1::{ConfigMap, Pod, Secret};
use corten_client::{Client, Mirror, WatchRequest};
use corten_core::Str;
use corten_meta::GroupVersionResource;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;

/// How long an object may take to arrive.
const PATIENCE: Duration = Duration::from_secs(10);

/// One object that a pod refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Sort {
    ConfigMap,
    Secret,
}

type Name = (Sort, Str, Str);
type Subscribers = Mutex<HashMap<Str, mpsc::UnboundedSender<Message>>>;

/// A watched object.
pub(crate) struct Watched {
    name: Name,
    mirror: Mirror,
    subscribers: Arc<Subscribers>,
    task: tokio::task::AbortHandle,
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A pod's share in a watched object.
pub(crate) type Wanted = Arc<Watched>;

/// All watched objects.
#[derive(Default)]
pub(crate) struct References {
    watched: Mutex<HashMap<Name, Weak<Watched>>>,
}

impl References {
    /// The objects that `pod` refers to; `inbox` is told of their changes.
    pub(crate) fn of(
        &self,
        client: &Client,
        pod: &Pod,
        inbox: &mpsc::UnboundedSender<Message>,
    ) -> Vec<Wanted> {
        let namespace = &pod.metadata.namespace;
        let mut names = BTreeSet::new();
        collect(pod, &mut |sort, name| {
            names.insert((sort, Str::from(name)));
        });
        let mut watched = self.watched.lock();
        watched.retain(|_, entry| entry.strong_count() > 0);
        names
            .into_iter()
            .map(|(sort, name)| {
                let key = (sort, namespace.clone(), name);
                let entry = watched.get(&key).and_then(Weak::upgrade);
                let entry = entry.unwrap_or_else(|| {
                    let fresh = watch(client, key.clone());
                    watched.insert(key, Arc::downgrade(&fresh));
                    fresh
                });
                entry
                    .subscribers
                    .lock()
                    .insert(pod.metadata.uid.clone(), inbox.clone());
                entry
            })
            .collect()
    }

    /// The objects as they are now; nothing for those that do not exist.
    pub(crate) async fn read(
        &self,
        wanted: &[Wanted],
    ) -> Result<
        (
            BTreeMap<Str, Option<ConfigMap>>,
            BTreeMap<Str, Option<Secret>>,
        ),
        String,
    > {
        let (mut maps, mut secrets) = (BTreeMap::new(), BTreeMap::new());
        for entry in wanted {
            let (sort, namespace, name) = &entry.name;
            if tokio::time::timeout(PATIENCE, entry.mirror.wait_synced())
                .await
                .is_err()
            {
                let kind = match sort {
                    Sort::ConfigMap => "configmap",
                    Sort::Secret => "secret",
                };
                return Err(format!(
                    "failed to sync {kind} cache: timed out waiting for the condition"
                ));
            }
            let snapshot = entry.mirror.snapshot();
            match sort {
                Sort::ConfigMap => {
                    maps.insert(
                        name.clone(),
                        snapshot.get::<ConfigMap>(namespace, name).cloned(),
                    );
                }
                Sort::Secret => {
                    secrets.insert(
                        name.clone(),
                        snapshot.get::<Secret>(namespace, name).cloned(),
                    );
                }
            }
        }
        Ok((maps, secrets))
    }
}

fn selection<T: Kind>(namespace: &Str, name: &Str) -> WatchRequest {
    WatchRequest {
        resource: GroupVersionResource::of::<T>(),
        namespace: namespace.to_string(),
        field_selector: format!("metadata.name={name}"),
        ..WatchRequest::default()
    }
}

fn watch(client: &Client, name: Name) -> Wanted {
    let selection = match name.0 {
        Sort::ConfigMap => selection::<ConfigMap>(&name.1, &name.2),
        Sort::Secret => selection::<Secret>(&name.1, &name.2),
    };
    let mirror = Mirror::builder()
        .selection(selection)
        .start(client.transport().clone());
    let subscribers: Arc<Subscribers> = Arc::default();
    let mut changes = mirror.changes();
    let told = subscribers.clone();
    let task = tokio::spawn(async move {
        loop {
            if let Err(RecvError::Closed) = changes.recv().await {
                return;
            }
            told.lock()
                .retain(|_, inbox| inbox.send(Message::Referenced).is_ok());
        }
    });
    Arc::new(Watched {
        name,
        mirror,
        subscribers,
        task: task.abort_handle(),
    })
}

/// Calls `found` with everything that `pod` refers to.
fn collect(pod: &Pod, found: &mut dyn FnMut(Sort, &str)) {
    for secret in &pod.spec.image_pull_secrets {
        found(Sort::Secret, &secret.name);
    }
    for container in corten_podplan::all_containers(&pod.spec) {
        for from in &container.env_from {
            if let Some(r) = &from.config_map_ref {
                found(Sort::ConfigMap, &r.local_object_reference.name);
            }
            if let Some(r) = &from.secret_ref {
                found(Sort::Secret, &r.local_object_reference.name);
            }
        }
        for from in container.env.iter().filter_map(|e| e.value_from.as_deref()) {
            if let Some(r) = &from.config_map_key_ref {
                found(Sort::ConfigMap, &r.local_object_reference.name);
            }
            if let Some(r) = &from.secret_key_ref {
                found(Sort::Secret, &r.local_object_reference.name);
            }
        }
    }
    for volume in &pod.spec.volumes {
        let source = &volume.volume_source;
        if let Some(r) = &source.config_map {
            found(Sort::ConfigMap, &r.local_object_reference.name);
        }
        if let Some(r) = &source.secret {
            found(Sort::Secret, &r.secret_name);
        }
        for part in source.projected.iter().flat_map(|p| p.sources.iter()) {
            if let Some(r) = &part.config_map {
                found(Sort::ConfigMap, &r.local_object_reference.name);
            }
            if let Some(r) = &part.secret {
                found(Sort::Secret, &r.local_object_reference.name);
            }
        }
    }
}
