//! Starting a kubelet: register, adopt what runs, follow pods, serve.

use crate::container::downward::NodeFacts;
use crate::dispatch::{self, Found};
use crate::node::{facts, register};
use crate::options::{Engines, KubeletOptions};
use crate::pod::context::Context;
use crate::{Error, labels, server};
use corten_api::Kind;
use corten_api::core::v1::{Node, ObjectReference, Pod, Service};
use corten_client::{Client, Mirror, WatchRequest};
use corten_driver::{Occurrence, Recorder};
use corten_meta::GroupVersionResource;
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::task::AbortHandle;

/// A running node agent. Dropping it stops the agent; pods keep running and are adopted by the next one.
pub struct Kubelet {
    context: Arc<Context>,
    tasks: Vec<AbortHandle>,
    port: u16,
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

fn selection<T: Kind>(fields: String) -> WatchRequest {
    WatchRequest {
        resource: GroupVersionResource::of::<T>(),
        field_selector: fields,
        ..WatchRequest::default()
    }
}

fn make_directories(options: &KubeletOptions) -> Result<(), Error> {
    let manifests = options.static_pods.clone();
    for path in [options.root.join("pods"), options.logs.clone()]
        .into_iter()
        .chain(manifests)
    {
        std::fs::create_dir_all(&path).map_err(|source| Error::Directory {
            path: path.display().to_string(),
            source,
        })?;
    }
    Ok(())
}

impl Kubelet {
    /// Registers the node, adopts what runs on it and follows its pods. `client` acts as `system:node:<name>`.
    /// Returns once the node is registered.
    pub async fn start(
        options: KubeletOptions,
        engines: Engines,
        client: Client,
    ) -> Result<Kubelet, Error> {
        make_directories(&options)?;
        let listener = server::listen(&options).await?;
        let port = match &listener {
            Some((listener, _)) => listener.local_addr().map_or(options.port, |a| a.port()),
            None => options.port,
        };
        let node = register::register(&options, &engines, &client, port).await?;
        crate::container::limits::make_groups(&*engines.runtime).await?;
        let mirror = Mirror::builder()
            .selection(selection::<Pod>(format!(
                "spec.nodeName={}",
                options.node_name
            )))
            .selection(selection::<Node>(format!(
                "metadata.name={}",
                options.node_name
            )))
            .resource::<Service>()
            .start(client.transport().clone());
        let capacity = facts::capacity(&options, &engines);
        let facts = NodeFacts {
            name: options.node_name.clone(),
            host_ips: options.node_ips.iter().map(ToString::to_string).collect(),
            allocatable: facts::allocatable(&capacity),
            memory: capacity.get("memory").map_or(0, |q| q.value()),
        };
        let context = Arc::new(Context {
            recorder: Recorder::start(client.clone(), "kubelet", &options.node_name),
            runtime_name: engines.runtime.version().name,
            references: Default::default(),
            pods: Default::default(),
            waiting: Default::default(),
            options,
            engines,
            client,
            mirror,
            facts,
        });
        let found = dispatch::find(&context).await?;
        let tasks = spawn(&context, found, node, port, listener);
        Ok(Kubelet {
            context,
            tasks,
            port,
        })
    }

    /// The port in the node's status.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Answers HTTP/1.1 requests on a connection inside the process, whose other end is the API server. Runs until
    /// the connection ends.
    pub fn serve<I>(&self, io: I) -> impl Future<Output = ()> + Send + 'static
    where
        I: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
    {
        server::serve(self.context.clone(), io, server::Peer::Process)
    }
}

type Listener = Option<(tokio::net::TcpListener, Arc<rustls::ServerConfig>)>;

fn spawn(
    context: &Arc<Context>,
    found: Found,
    node: Node,
    port: u16,
    listener: Listener,
) -> Vec<AbortHandle> {
    let mut tasks = Vec::new();
    let mut start = |task: tokio::task::JoinHandle<()>| tasks.push(task.abort_handle());
    context.node_event("Starting", "Starting kubelet.".to_owned());
    start(tokio::spawn(register::keep_alive(
        context.clone(),
        node,
        port,
    )));
    start(tokio::spawn(dispatch::follow_runtime(context.clone())));
    let own = context.clone();
    start(tokio::spawn(async move {
        own.mirror.wait_synced().await;
        dispatch::follow_pods(own, found).await;
    }));
    start(tokio::spawn(crate::node::collect::keep_clean(
        context.clone(),
    )));
    if let Some(directory) = context.options.static_pods.clone() {
        start(tokio::spawn(crate::manifests::follow(
            context.clone(),
            directory,
        )));
    }
    if let Some((listener, tls)) = listener {
        start(tokio::spawn(server::accept(context.clone(), listener, tls)));
    }
    tasks
}

impl Context {
    /// Records an event about the node.
    pub(crate) fn node_event(&self, reason: &'static str, message: String) {
        let name = self.options.node_name.as_str();
        let about = ObjectReference {
            kind: "Node".into(),
            name: name.into(),
            // As upstream: the name stands in for the UID.
            uid: name.into(),
            ..ObjectReference::default()
        };
        self.recorder.record(Occurrence {
            about,
            event_type: "Normal",
            reason: reason.into(),
            message,
        });
    }
}

/// Removes what the runtime has of pods that no longer exist, and their directories.
pub(crate) async fn remove_orphans(context: &Arc<Context>, found: Found) {
    let runtime = &context.engines.runtime;
    for (uid, (sandboxes, _)) in found {
        tracing::info!(%uid, "a pod that no longer exists is removed from the node");
        for sandbox in sandboxes {
            if let Some(network) = context.engines.network.clone() {
                let id = sandbox.id.as_str().to_owned();
                let gone = crate::execute::blocking(move || {
                    network.detach(&id).map_err(|e| e.to_string())
                });
                if let Err(error) = gone.await {
                    tracing::warn!(sandbox = %sandbox.id, %error, "an orphan could not be disconnected");
                }
            }
            if let Err(error) = runtime.remove_pod_sandbox(&sandbox.id).await {
                tracing::warn!(sandbox = %sandbox.id, %error, "an orphan could not be removed");
            }
            let label = |key: &str| sandbox.labels.get(key).cloned().unwrap_or_default();
            let (namespace, name) = (label(labels::POD_NAMESPACE), label(labels::POD_NAME));
            let logs = context
                .options
                .logs
                .join(format!("{namespace}_{name}_{uid}"));
            let _ = tokio::fs::remove_dir_all(logs).await;
        }
    }
    let living: BTreeSet<String> = context
        .pods
        .lock()
        .keys()
        .map(ToString::to_string)
        .collect();
    let volumes = context.engines.volumes.clone();
    let pods = context.options.root.join("pods");
    let cleaned = crate::execute::blocking(move || {
        for uid in volumes.pods_on_disk().map_err(|e| e.to_string())? {
            if !living.contains(&uid) {
                volumes.tear_down(&uid).map_err(|e| e.to_string())?;
                let _ = std::fs::remove_dir_all(pods.join(&uid));
            }
        }
        Ok(())
    });
    if let Err(error) = cleaned.await {
        tracing::warn!(%error, "the directories of pods that no longer exist could not be removed");
    }
}
