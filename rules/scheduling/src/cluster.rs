//! The nodes with what runs on them, kept up to date one change at a time.
//!
//! Invariant: a node's sums are those of its pods, assumed ones included; finished pods take nothing. A pod on a node
//! that is not known yet waits in an entry without a node.

use crate::pod::{HostPort, host_ports};
use crate::resources::{Amounts, assumed_requests, requests};
use corten_api::Object;
use corten_api::core::v1::{Node, Pod};
use corten_core::Str;
use corten_meta::ObjectKey;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A pod that has a node.
#[derive(Clone, Debug)]
pub struct PodInfo {
    /// The pod; bound already or only assumed.
    pub object: Arc<Object>,
    /// What it asks for.
    pub requests: Amounts,
    assumed: Amounts,
    ports: Vec<HostPort>,
}

impl PodInfo {
    /// The pod.
    pub fn pod(&self) -> &Pod {
        self.object
            .downcast_ref::<Pod>()
            .expect("only pods are put into PodInfo")
    }
}

/// A node with what runs on it.
#[derive(Clone, Debug, Default)]
pub struct NodeInfo {
    node: Option<Arc<Object>>,
    /// The pods, by namespace and name.
    pub pods: BTreeMap<ObjectKey, PodInfo>,
    /// The sum of what the pods ask for.
    pub requested: Amounts,
    /// The sum of what the pods count as when nodes are compared.
    pub assumed: Amounts,
    /// What the node offers to pods.
    pub allocatable: Amounts,
}

impl NodeInfo {
    /// The node; nothing when only pods speak of it.
    pub fn node(&self) -> Option<&Node> {
        self.node
            .as_ref()
            .and_then(|object| object.downcast_ref::<Node>())
    }

    /// The host ports taken.
    pub fn ports(&self) -> impl Iterator<Item = &HostPort> {
        self.pods.values().flat_map(|pod| pod.ports.iter())
    }

    /// Puts a pod on the node.
    pub fn add(&mut self, key: ObjectKey, pod: PodInfo) {
        self.remove(&key);
        self.requested.add(&pod.requests);
        self.assumed.add(&pod.assumed);
        self.pods.insert(key, pod);
    }

    /// Takes a pod off the node.
    pub fn remove(&mut self, key: &ObjectKey) -> Option<PodInfo> {
        let pod = self.pods.remove(key)?;
        self.requested.subtract(&pod.requests);
        self.assumed.subtract(&pod.assumed);
        Some(pod)
    }
}

/// All nodes.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    nodes: BTreeMap<Str, NodeInfo>,
    /// On which node a pod is counted.
    places: BTreeMap<ObjectKey, Str>,
}

fn key_of(object: &Object) -> ObjectKey {
    ObjectKey::new(object.meta().namespace.clone(), object.meta().name.clone())
}

fn is_finished(pod: &Pod) -> bool {
    pod.status.phase == "Succeeded" || pod.status.phase == "Failed"
}

impl Cluster {
    /// Takes a node in, or a change of it.
    pub fn set_node(&mut self, object: Arc<Object>) {
        let Some(node) = object.downcast_ref::<Node>() else {
            return;
        };
        let info = self.nodes.entry(node.metadata.name.clone()).or_default();
        info.allocatable = Amounts::of(&node.status.allocatable);
        info.node = Some(object);
    }

    /// Takes a node out; pods that are still bound to it are remembered.
    pub fn remove_node(&mut self, name: &str) {
        if let Some(info) = self.nodes.get_mut(name) {
            info.node = None;
            if info.pods.is_empty() {
                self.nodes.remove(name);
            }
        }
    }

    /// Takes a pod in, or a change of it. Pods without a node and finished ones take nothing.
    pub fn set_pod(&mut self, object: Arc<Object>) {
        let key = key_of(&object);
        let Some(pod) = object.downcast_ref::<Pod>() else {
            return;
        };
        let node = pod.spec.node_name.clone();
        if is_finished(pod) {
            self.remove_pod(&key);
        } else if !node.is_empty() {
            self.place(key, object, node);
        }
    }

    /// Counts a pod on `node` before its binding has been seen.
    pub fn assume(&mut self, object: Arc<Object>, node: &str) {
        self.place(key_of(&object), object, node.into());
    }

    fn place(&mut self, key: ObjectKey, object: Arc<Object>, node: Str) {
        self.remove_pod(&key);
        let Some(pod) = object.downcast_ref::<Pod>() else {
            return;
        };
        let info = PodInfo {
            requests: requests(pod),
            assumed: assumed_requests(pod),
            ports: host_ports(pod),
            object: object.clone(),
        };
        self.nodes
            .entry(node.clone())
            .or_default()
            .add(key.clone(), info);
        self.places.insert(key, node);
    }

    /// Takes a pod out.
    pub fn remove_pod(&mut self, key: &ObjectKey) {
        let Some(name) = self.places.remove(key) else {
            return;
        };
        if let Some(info) = self.nodes.get_mut(&name) {
            info.remove(key);
            if info.pods.is_empty() && info.node.is_none() {
                self.nodes.remove(&name);
            }
        }
    }

    /// Where a pod is counted.
    pub fn place_of(&self, key: &ObjectKey) -> Option<&str> {
        self.places.get(key).map(Str::as_str)
    }

    /// The nodes that exist, by name.
    pub fn nodes(&self) -> impl Iterator<Item = (&Str, &NodeInfo)> {
        self.nodes.iter().filter(|(_, info)| info.node.is_some())
    }

    /// One node.
    pub fn node(&self, name: &str) -> Option<&NodeInfo> {
        self.nodes.get(name).filter(|info| info.node.is_some())
    }
}
