//! What supervisors and their actions share: the node's engines and mirrors, and the facts of one pod.

use crate::container::downward::NodeFacts;
use crate::container::mounts::Ready;
use crate::execute::credentials::Held;
use crate::options::{Engines, KubeletOptions};
use crate::pod::Handle;
use crate::pod::references::{References, Wanted};
use corten_api::core::v1::{ConfigMap, Pod, PodStatus, Secret};
use corten_client::{Client, Mirror};
use corten_core::Str;
use corten_driver::{Occurrence, Recorder, reference_to};
use corten_images::Image;
use corten_podplan::{Allocation, Input, Note, NoteKind, Rejection};
use corten_runtime::SandboxId;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// What a supervisor is told.
#[derive(Debug)]
pub(crate) enum Message {
    /// Something happened.
    Input(Input),
    /// A ConfigMap or Secret that the pod refers to changed.
    Referenced,
}

/// What all pods of a node share.
pub(crate) struct Context {
    pub(crate) options: KubeletOptions,
    pub(crate) engines: Engines,
    pub(crate) client: Client,
    pub(crate) recorder: Recorder,
    /// Pods of this node, Services, and the Node itself.
    pub(crate) mirror: Mirror,
    pub(crate) references: References,
    pub(crate) facts: NodeFacts,
    /// Supervised pods by UID.
    pub(crate) pods: Mutex<HashMap<Str, Handle>>,
    /// Pods that wait for room to be resized.
    pub(crate) waiting: Mutex<crate::node::allocate::Waiting>,
    /// The scheme of container IDs.
    pub(crate) runtime_name: String,
}

impl Context {
    /// The directory of a pod on this node.
    pub(crate) fn pod_directory(&self, uid: &str) -> PathBuf {
        self.options.root.join("pods").join(uid)
    }

    /// The directory of a pod's logs.
    pub(crate) fn log_directory(&self, pod: &Pod) -> PathBuf {
        let meta = &pod.metadata;
        self.options
            .logs
            .join(format!("{}_{}_{}", meta.namespace, meta.name, meta.uid))
    }

    /// `runtime://id`.
    pub(crate) fn container_id(&self, id: &str) -> String {
        format!("{}://{id}", self.runtime_name)
    }

    /// The runtime's identity in `runtime://id`.
    pub(crate) fn bare_id<'a>(&self, id: &'a str) -> &'a str {
        id.split_once("://").map_or(id, |(_, bare)| bare)
    }

    /// Bytes of memory that pods may use.
    pub(crate) fn memory(&self) -> i64 {
        self.facts
            .allocatable
            .get("memory")
            .map_or(0, |q| q.value())
    }

    /// Whether this node has to refuse the pod.
    pub(crate) fn admit(&self, pod: &Pod) -> Option<Rejection> {
        crate::node::admit::refusal(self, pod)
    }

    /// Ends the supervision of a pod.
    pub(crate) fn forget(&self, pod: &Pod) {
        self.pods.lock().remove(&pod.metadata.uid);
    }
}

/// What is known of one pod beside its plan: where its things are. Shared by its actions.
pub(crate) struct Work {
    pub(crate) context: Arc<Context>,
    pub(crate) inbox: mpsc::UnboundedSender<Message>,
    state: Mutex<State>,
    /// Volumes are written by one action at a time.
    pub(crate) volumes_busy: tokio::sync::Mutex<()>,
}

struct State {
    /// With the resources that it was granted.
    pod: Arc<Pod>,
    allocation: Allocation,
    /// The object is gone from the API.
    retired: bool,
    /// The status as last reported, ahead of the API's.
    status: PodStatus,
    ready: Ready,
    sandbox: Option<SandboxId>,
    ips: Vec<String>,
    images: BTreeMap<Str, Arc<Image>>,
    wanted: Vec<Wanted>,
    refresh_at: Option<Instant>,
    tokens: BTreeMap<(String, i64), Token>,
    /// By volume and place among its sources.
    credentials: BTreeMap<(String, usize), Held>,
}

/// A service account token that was asked for.
#[derive(Clone)]
pub(crate) struct Token {
    pub(crate) text: String,
    pub(crate) refresh_at: Instant,
}

impl Work {
    pub(crate) fn new(
        context: Arc<Context>,
        pod: Arc<Pod>,
        inbox: mpsc::UnboundedSender<Message>,
    ) -> Work {
        let state = State {
            status: pod.status.clone(),
            allocation: Allocation::of(&pod.spec),
            retired: false,
            pod,
            ready: Ready::new(),
            sandbox: None,
            ips: Vec::new(),
            images: BTreeMap::new(),
            wanted: Vec::new(),
            refresh_at: None,
            tokens: BTreeMap::new(),
            credentials: BTreeMap::new(),
        };
        Work {
            context,
            inbox,
            state: Mutex::new(state),
            volumes_busy: tokio::sync::Mutex::default(),
        }
    }

    pub(crate) fn pod(&self) -> Arc<Pod> {
        self.state.lock().pod.clone()
    }

    pub(crate) fn set_pod(&self, pod: Arc<Pod>) {
        let mut state = self.state.lock();
        state.pod = state.allocation.overlay(&pod);
    }

    /// What the pod was granted.
    pub(crate) fn allocation(&self) -> Allocation {
        self.state.lock().allocation.clone()
    }

    /// Grants the pod other resources.
    pub(crate) fn grant(&self, allocation: Allocation) {
        let mut state = self.state.lock();
        state.pod = allocation.overlay(&state.pod);
        state.allocation = allocation;
    }

    /// The object is gone from the API: what it had is free.
    pub(crate) fn retire(&self) {
        self.state.lock().retired = true;
    }

    pub(crate) fn retired(&self) -> bool {
        self.state.lock().retired
    }

    /// The status as last reported.
    pub(crate) fn status(&self) -> PodStatus {
        self.state.lock().status.clone()
    }

    pub(crate) fn set_status(&self, status: PodStatus) {
        self.state.lock().status = status;
    }

    /// Tells the supervisor; it may be gone.
    pub(crate) fn send(&self, input: Input) {
        let _ = self.inbox.send(Message::Input(input));
    }

    /// Records an event.
    pub(crate) fn tell(&self, note: Note) {
        let pod = self.pod();
        let mut about = reference_to(&*pod);
        if !note.container.is_empty() {
            let list = match () {
                () if pod
                    .spec
                    .init_containers
                    .iter()
                    .any(|c| c.name == note.container) =>
                {
                    "initContainers"
                }
                () if pod.spec.containers.iter().any(|c| c.name == note.container) => "containers",
                () => "ephemeralContainers",
            };
            about.field_path = format!("spec.{list}{{{}}}", note.container).into();
        }
        let event_type = match note.kind {
            NoteKind::Normal => "Normal",
            NoteKind::Warning => "Warning",
        };
        let occurrence = Occurrence {
            about,
            event_type,
            reason: note.reason.into(),
            message: note.message,
        };
        self.context.recorder.record(occurrence);
    }

    pub(crate) fn adopt_sandbox(&self, id: &SandboxId, ips: &[String]) {
        let mut state = self.state.lock();
        state.sandbox = Some(id.clone());
        state.ips = ips.to_vec();
    }

    pub(crate) fn sandbox(&self) -> Option<SandboxId> {
        self.state.lock().sandbox.clone()
    }

    /// The pod's addresses; the node's for a pod with the node's network.
    pub(crate) fn ips(&self) -> Vec<String> {
        let state = self.state.lock();
        match state.pod.spec.host_network {
            true => self.context.facts.host_ips.clone(),
            false => state.ips.clone(),
        }
    }

    pub(crate) fn ready(&self) -> Ready {
        self.state.lock().ready.clone()
    }

    pub(crate) fn set_ready(&self, ready: Ready, refresh_at: Option<Instant>) {
        let mut state = self.state.lock();
        state.ready = ready;
        state.refresh_at = refresh_at;
    }

    /// How long until mounted files have to be written anew, because a token gets old.
    pub(crate) fn refresh_in(&self) -> Option<Duration> {
        let at = self.state.lock().refresh_at?;
        Some(at.saturating_duration_since(Instant::now()))
    }

    pub(crate) fn postpone_refresh(&self, at: Option<Instant>) {
        self.state.lock().refresh_at = at;
    }

    pub(crate) fn image(&self, container: &str) -> Option<Arc<Image>> {
        self.state.lock().images.get(container).cloned()
    }

    pub(crate) fn set_image(&self, container: &str, image: Arc<Image>) {
        self.state.lock().images.insert(container.into(), image);
    }

    pub(crate) fn token(&self, audience: &str, seconds: i64) -> Option<Token> {
        let key = (audience.to_owned(), seconds);
        let token = self.state.lock().tokens.get(&key).cloned()?;
        (token.refresh_at > Instant::now()).then_some(token)
    }

    pub(crate) fn set_token(&self, audience: &str, seconds: i64, token: Token) {
        self.state
            .lock()
            .tokens
            .insert((audience.to_owned(), seconds), token);
    }

    pub(crate) fn credential(&self, (volume, index): (&str, usize)) -> Held {
        let key = (volume.to_owned(), index);
        let state = self.state.lock();
        state.credentials.get(&key).cloned().unwrap_or_default()
    }

    pub(crate) fn set_credential(&self, (volume, index): (&str, usize), held: Held) {
        let key = (volume.to_owned(), index);
        self.state.lock().credentials.insert(key, held);
    }

    /// The ConfigMaps and Secrets that the pod refers to, mirrored while the pod lives.
    pub(crate) async fn referenced(
        &self,
    ) -> Result<
        (
            BTreeMap<Str, Option<ConfigMap>>,
            BTreeMap<Str, Option<Secret>>,
        ),
        String,
    > {
        let pod = self.pod();
        let references = &self.context.references;
        let wanted = references.of(&self.context.client, &pod, &self.inbox);
        self.state.lock().wanted = wanted.clone();
        references.read(&wanted).await
    }
}
