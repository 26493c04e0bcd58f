//! The Node object, its status, and the Lease that says that the node lives.
//!
//! Invariant: the lease is renewed every 10 seconds; the status is written when it changed and every 5 minutes.

use crate::node::facts;
use crate::options::{Engines, KubeletOptions};
use crate::pod::context::Context;
use crate::{Error, clock};
use corten_api::Kind;
use corten_api::coordination::v1::Lease;
use corten_api::core::v1::{
    ContainerImage, Node, NodeAddress, NodeCondition, NodeFeatures, NodeRuntimeHandler,
    NodeRuntimeHandlerFeatures, NodeStatus,
};
use corten_api::meta::v1::OwnerReference;
use corten_client::{Client, PatchKind};
use corten_core::{MicroTime, Time, Value, to_value};
use std::sync::Arc;
use std::time::Duration;

/// What the node can do that not every node of a cluster may: upstream's names, sorted.
const DECLARED: [&str; 2] = [
    "InPlacePodLevelResourcesVerticalScaling",
    "InPlacePodVerticalScalingInitContainers",
];
const LEASE_NAMESPACE: &str = "kube-node-lease";
const LEASE_SECONDS: i32 = 40;
const RENEWAL: Duration = Duration::from_secs(10);
const STATUS_PERIOD: Duration = Duration::from_secs(300);
const RETRY: Duration = Duration::from_millis(200);
/// Images listed in the status at most.
const IMAGES_MAX: usize = 50;

fn labels(options: &KubeletOptions) -> Vec<(String, String)> {
    let mut labels = vec![
        (
            "kubernetes.io/hostname".to_owned(),
            options.hostname.clone(),
        ),
        ("kubernetes.io/os".to_owned(), "linux".to_owned()),
        (
            "kubernetes.io/arch".to_owned(),
            facts::architecture().to_owned(),
        ),
        ("beta.kubernetes.io/os".to_owned(), "linux".to_owned()),
        (
            "beta.kubernetes.io/arch".to_owned(),
            facts::architecture().to_owned(),
        ),
    ];
    labels.extend(options.labels.iter().map(|(k, v)| (k.clone(), v.clone())));
    labels
}

/// Makes the Node object, or brings an existing one up to date. Tries until the server answers.
pub(crate) async fn register(
    options: &KubeletOptions,
    engines: &Engines,
    client: &Client,
    port: u16,
) -> Result<Node, Error> {
    let failed = |source| Error::Register {
        node: options.node_name.clone(),
        source,
    };
    let mut node = Node::named(options.node_name.as_str());
    for (key, value) in labels(options) {
        node.metadata.labels.insert(key, value);
    }
    node.metadata.annotations.insert(
        "volumes.kubernetes.io/controller-managed-attach-detach",
        "true",
    );
    node.spec.taints = options.taints.clone().into();
    node.status = status(options, engines, port, &NodeStatus::default()).await;
    loop {
        match client.create(node.clone()).await {
            Ok(created) => return Ok(created),
            Err(error) if error.is_already_exists() => {
                let wanted = labels(options);
                return adopt(options, client, &wanted).await.map_err(failed);
            }
            Err(error) if error.status().is_some_and(|s| matches!(s.code, 400 | 422)) => {
                return Err(failed(error));
            }
            Err(error) => {
                tracing::debug!(%error, "the node is not registered yet");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

/// Gives the existing Node object the labels that it should have.
async fn adopt(
    options: &KubeletOptions,
    client: &Client,
    wanted: &[(String, String)],
) -> Result<Node, corten_client::Error> {
    let node = client.get::<Node>("", &options.node_name).await?;
    let mut patch = Value::map();
    for (key, value) in wanted {
        if node
            .metadata
            .labels
            .get(key)
            .is_none_or(|have| have != value)
        {
            patch.set(&["metadata", "labels", key], value.as_str());
        }
    }
    if patch == Value::map() {
        return Ok(node);
    }
    let patch = corten_codec::json::encode_value(&patch);
    client
        .patch::<Node>("", &options.node_name, "", PatchKind::Strategic, patch)
        .await
}

fn condition(
    old: &NodeStatus,
    kind: &str,
    holds: bool,
    reason: &str,
    message: &str,
    now: Time,
) -> NodeCondition {
    let value = if holds { "True" } else { "False" };
    let since = old
        .conditions
        .iter()
        .find(|c| c.type_ == kind && c.status == value);
    NodeCondition {
        type_: kind.into(),
        status: value.into(),
        last_heartbeat_time: now,
        last_transition_time: since.map_or(now, |c| c.last_transition_time),
        reason: reason.into(),
        message: message.into(),
    }
}

fn conditions(old: &NodeStatus, now: Time) -> Vec<NodeCondition> {
    vec![
        condition(
            old,
            "MemoryPressure",
            false,
            "KubeletHasSufficientMemory",
            "kubelet has sufficient memory available",
            now,
        ),
        condition(
            old,
            "DiskPressure",
            false,
            "KubeletHasNoDiskPressure",
            "kubelet has no disk pressure",
            now,
        ),
        condition(
            old,
            "PIDPressure",
            false,
            "KubeletHasSufficientPID",
            "kubelet has sufficient PID available",
            now,
        ),
        condition(
            old,
            "Ready",
            true,
            "KubeletReady",
            "kubelet is posting ready status",
            now,
        ),
    ]
}

async fn status(
    options: &KubeletOptions,
    engines: &Engines,
    port: u16,
    old: &NodeStatus,
) -> NodeStatus {
    let now = clock::now().time();
    let capacity = facts::capacity(options, engines);
    let mut addresses: Vec<NodeAddress> = options
        .node_ips
        .iter()
        .map(|ip| NodeAddress {
            type_: "InternalIP".into(),
            address: ip.to_string().into(),
        })
        .collect();
    addresses.push(NodeAddress {
        type_: "Hostname".into(),
        address: options.hostname.as_str().into(),
    });
    let conditions = conditions(old, now);
    let handler = NodeRuntimeHandler {
        features: Some(Box::new(NodeRuntimeHandlerFeatures {
            recursive_read_only_mounts: Some(true),
            user_namespaces: Some(false),
        })),
        ..NodeRuntimeHandler::default()
    };
    let mut status = NodeStatus {
        allocatable: facts::allocatable(&capacity),
        capacity,
        conditions: conditions.into(),
        addresses: addresses.into(),
        node_info: facts::system_info(options, engines),
        images: images(engines).into(),
        runtime_handlers: vec![handler].into(),
        features: Some(Box::new(NodeFeatures {
            supplemental_groups_policy: Some(true),
        })),
        declared_features: DECLARED.into_iter().collect(),
        ..NodeStatus::default()
    };
    status.daemon_endpoints.kubelet_endpoint.port = i32::from(port);
    status
}

fn images(engines: &Engines) -> Vec<ContainerImage> {
    let mut all = engines.images.list().unwrap_or_default();
    all.sort_by_key(|image| std::cmp::Reverse(image.size));
    let listed = all.iter().take(IMAGES_MAX).map(|image| ContainerImage {
        names: image.names().take(5).collect(),
        size_bytes: image.size as i64,
    });
    listed.collect()
}

/// Keeps status and lease current until the task is ended.
pub(crate) async fn keep_alive(context: Arc<Context>, node: Node, port: u16) {
    let lease = tokio::spawn(renew(context.clone(), node.clone()));
    let _stop = Stop(lease.abort_handle());
    let mut written = node.status.clone();
    let mut untaint = true;
    loop {
        let next = status(&context.options, &context.engines, port, &written).await;
        let result = write(&context, &written, &next).await;
        match result {
            Ok(()) => written = next,
            Err(error) => {
                tracing::warn!(%error, "the node's status could not be written");
                tokio::time::sleep(RETRY).await;
                continue;
            }
        }
        if std::mem::take(&mut untaint) {
            context.node_event(
                "NodeReady",
                format!(
                    "Node {} status is now: NodeReady",
                    context.options.node_name
                ),
            );
        }
        tokio::time::sleep(STATUS_PERIOD).await;
    }
}

struct Stop(tokio::task::AbortHandle);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn write(
    context: &Context,
    old: &NodeStatus,
    new: &NodeStatus,
) -> Result<(), corten_client::Error> {
    let value = |status: &NodeStatus| {
        to_value(status).map_err(|e| corten_client::Error::Connection(e.to_string()))
    };
    let (old, new) = (value(old)?, value(new)?);
    let mut patch = Value::map();
    for (key, value) in new.as_map().into_iter().flat_map(|map| map.iter()) {
        if old.get(key) != Some(value) {
            patch.set(&["status", key], value.clone());
        }
    }
    let patch = corten_codec::json::encode_value(&patch);
    let name = &context.options.node_name;
    context
        .client
        .patch::<Node>("", name, "status", PatchKind::Strategic, patch)
        .await
        .map(drop)
}

fn micro_now() -> MicroTime {
    MicroTime::from_unix_micros(clock::now().0 * 1000)
}

/// Renews the node's lease.
async fn renew(context: Arc<Context>, node: Node) {
    let name = context.options.node_name.as_str();
    let mut held: Option<Lease> = None;
    loop {
        let result = match held.take() {
            Some(mut lease) => {
                lease.spec.renew_time = Some(micro_now());
                context.client.update(lease).await
            }
            None => acquire(&context, &node, name).await,
        };
        match result {
            Ok(lease) => {
                held = Some(lease);
                tokio::time::sleep(RENEWAL).await;
            }
            Err(error) => {
                tracing::debug!(%error, "the node's lease could not be renewed");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

async fn acquire(
    context: &Context,
    node: &Node,
    name: &str,
) -> Result<Lease, corten_client::Error> {
    let mut lease = match context.client.get::<Lease>(LEASE_NAMESPACE, name).await {
        Ok(lease) => lease,
        Err(error) if error.is_not_found() => Lease::namespaced(LEASE_NAMESPACE, name),
        Err(error) => return Err(error),
    };
    let fresh = lease.metadata.uid.is_empty();
    lease.spec.holder_identity = Some(name.into());
    lease.spec.lease_duration_seconds = Some(LEASE_SECONDS);
    lease.spec.renew_time = Some(micro_now());
    if lease.metadata.owner_references.is_empty() {
        lease.metadata.owner_references = vec![OwnerReference {
            api_version: "v1".into(),
            kind: "Node".into(),
            name: name.into(),
            uid: node.metadata.uid.clone(),
            ..OwnerReference::default()
        }]
        .into();
    }
    match fresh {
        true => context.client.create(lease).await,
        false => context.client.update(lease).await,
    }
}
