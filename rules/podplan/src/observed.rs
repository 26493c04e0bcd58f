//! Everything a node knows of one pod: the object, its sandbox, volumes and containers, and what is under way.

use crate::resize::Resize;
use crate::resources::Sizes;
use crate::{Allocation, Backoff, Moment, Probes};
use corten_api::core::v1::{Pod, PodStatus};
use corten_core::Str;
use std::collections::BTreeMap;
use std::sync::Arc;

/// One pod as its node sees it.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// The object as last seen in the API (or read from a manifest), with the resources that it was granted.
    pub pod: Arc<Pod>,
    /// The same with the resources that it asks for.
    pub desired: Arc<Pod>,
    /// What it was granted.
    pub allocation: Allocation,
    /// How its resize goes.
    pub resize: Resize,
    /// Addresses of the node, the first one being the primary one.
    pub host_ips: Vec<Str>,
    /// Whether the volumes are mounted.
    pub volumes: Step,
    /// The newest sandbox.
    pub sandbox: Sandbox,
    /// What is known of each container of the spec, by name.
    pub containers: BTreeMap<Str, Seen>,
    /// Why this node does not run the pod at all.
    pub rejection: Option<Rejection>,
    /// The object is gone from the API.
    pub removed: bool,
    /// When the node began to end the pod.
    pub ending_since: Option<Moment>,
    /// The sandbox is stopped and the volumes are unmounted, after the last container ended.
    pub released: Step,
    /// Nothing of the pod is left on the node.
    pub cleaned: Step,
    /// The object has been asked to go from the API.
    pub deleted: Step,
    /// The status as last planned: where transition times and last states come from.
    pub last: PodStatus,
    /// The status as last reported.
    pub reported: PodStatus,
}

/// Something that has to be done once.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Step {
    /// Not begun.
    #[default]
    Missing,
    /// Under way.
    Busy,
    /// Done.
    Ready,
    /// Tried in vain; to be tried again at `retry_at`.
    Failed {
        /// Why.
        message: String,
        /// When to try again.
        retry_at: Moment,
    },
}

impl Step {
    /// Whether it should be begun at `now`.
    pub fn due(&self, now: Moment) -> bool {
        match self {
            Step::Missing => true,
            Step::Failed { retry_at, .. } => *retry_at <= now,
            Step::Busy | Step::Ready => false,
        }
    }

    /// When it has to be looked at again.
    pub fn wake_at(&self) -> Option<Moment> {
        match self {
            Step::Failed { retry_at, .. } => Some(*retry_at),
            _ => None,
        }
    }
}

/// Where a sandbox stands.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum SandboxState {
    /// There is none yet, or the last one could not be made.
    #[default]
    None,
    /// Being made.
    Busy,
    /// Containers may be started in it.
    Ready,
    /// It died or was stopped.
    Dead,
    /// It could not be made.
    Failed {
        /// Why.
        message: String,
        /// When to try again.
        retry_at: Moment,
    },
}

/// The newest sandbox of the pod.
#[derive(Clone, Debug, Default)]
pub struct Sandbox {
    /// Its identity; empty when there is none.
    pub id: Str,
    /// Where it stands.
    pub state: SandboxState,
    /// The attempt number of the next one.
    pub attempts: u32,
    /// The pod's addresses in it; empty with the node's network.
    pub ips: Vec<Str>,
}

/// Why a node refuses a pod.
#[derive(Clone, Debug, PartialEq)]
pub struct Rejection {
    /// status.reason, such as `OutOfcpu`.
    pub reason: Str,
    /// status.message.
    pub message: String,
}

/// One container of the spec.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Its image.
    pub image: Image,
    /// Its newest instance.
    pub current: Option<Instance>,
    /// How the instance before that one ended.
    pub previous: Option<Exit>,
    /// How many instances there were.
    pub attempts: u32,
    /// How long to wait between pulls.
    pub image_backoff: Backoff,
    /// What is being done to it.
    pub busy: Option<Busy>,
    /// Why it could not be started.
    pub failure: Option<Failure>,
    /// How long it has to wait between starts.
    pub backoff: Backoff,
    /// Its preStop hook in the current instance.
    pub hook: Hook,
    /// Its probes.
    pub probes: Probes,
    /// Until when the present back-off has been told in an event.
    pub told_backoff: Moment,
    /// What its newest instance was sized for.
    pub actuated: Option<Sizes>,
    /// It is stopped to be started with other resources.
    pub resizing: bool,
}

/// A container's image on the node.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Image {
    /// To be looked up.
    #[default]
    Unknown,
    /// Being looked up or pulled.
    Busy,
    /// On the node.
    Present,
    /// Not to be had.
    Failed {
        /// `ErrImagePull`, `InvalidImageName`, `ErrImageNeverPull` …
        reason: Str,
        /// Why.
        message: String,
        /// When to try again.
        retry_at: Moment,
        /// When it failed.
        at: Moment,
    },
}

/// What is being done to a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Busy {
    /// It is being created and started, its postStart hook included.
    Starting,
    /// It is being stopped, and killed at `deadline`.
    Stopping {
        /// When it is killed.
        deadline: Moment,
        /// The deadline that the runtime was given, once it was told to stop the container.
        sent: Option<Moment>,
    },
}

/// A preStop hook.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hook {
    /// Not run.
    #[default]
    Waiting,
    /// Running.
    Running,
    /// Ended, well or not.
    Done,
}

/// Why a container could not be started.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// The waiting reason: `CreateContainerConfigError`, `CreateContainerError`, `RunContainerError`, `PostStartHookError`.
    pub reason: Str,
    /// The waiting message.
    pub message: String,
    /// When to try again, when no instance was made.
    pub retry_at: Moment,
}

/// One run of a container.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Instance {
    /// `runtime://id`.
    pub id: Str,
    /// The sandbox it belongs to.
    pub sandbox: Str,
    /// How many came before it.
    pub attempt: u32,
    /// Where it stands.
    pub life: Life,
    /// The image's name as reported.
    pub image: Str,
    /// The image's resolved reference.
    pub image_id: Str,
    /// User, group and supplemental groups of its first process.
    pub user: Option<(i64, i64, Vec<i64>)>,
}

/// Where an instance stands.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Life {
    /// Prepared.
    #[default]
    Created,
    /// Running since a moment.
    Running(Moment),
    /// Ended.
    Exited(Exit),
}

/// How an instance ended.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Exit {
    /// `runtime://id` of the instance.
    pub id: Str,
    /// 0..255.
    pub code: i32,
    /// The signal that ended it; 0 for none.
    pub signal: i32,
    /// `Completed`, `Error`, `OOMKilled`, `StartError`, `ContainerStatusUnknown`.
    pub reason: Str,
    /// The termination message.
    pub message: String,
    /// When it started, if it did.
    pub started: Option<Moment>,
    /// When it ended.
    pub finished: Moment,
}

impl Seen {
    /// Whether an instance runs, or may run.
    pub fn alive(&self) -> bool {
        self.running().is_some() || self.busy.is_some()
    }

    /// Since when the current instance runs.
    pub fn running(&self) -> Option<Moment> {
        match self.current.as_ref()?.life {
            Life::Running(since) => Some(since),
            _ => None,
        }
    }

    /// How the current instance ended.
    pub fn exit(&self) -> Option<&Exit> {
        match &self.current.as_ref()?.life {
            Life::Exited(exit) => Some(exit),
            _ => None,
        }
    }
}

impl Observed {
    /// A pod that this node has just heard of.
    pub fn new(pod: Arc<Pod>, host_ips: Vec<Str>) -> Observed {
        let last = pod.status.clone();
        let reported = last.clone();
        Observed {
            last,
            reported,
            host_ips,
            desired: pod.clone(),
            ..Observed::default()
        }
        .with_allocation(Allocation::of(&pod.spec))
    }

    /// The same pod, as the API now has it.
    pub(crate) fn set_pod(&mut self, pod: Arc<Pod>) {
        self.pod = self.allocation.overlay(&pod);
        self.desired = pod;
        let pod = self.pod.clone();
        for container in crate::all_containers(&pod.spec) {
            let seen = self.containers.entry(container.name.clone()).or_default();
            seen.probes.follow(container);
        }
    }

    /// What is known of the container `name`.
    pub fn seen(&self, name: &str) -> Option<&Seen> {
        self.containers.get(name)
    }

    /// Whether the node is ending the pod, for whatever reason.
    pub fn ending(&self) -> bool {
        self.removed || self.pod.metadata.deletion_timestamp.is_some() || self.terminal()
    }

    /// Whether the pod has come to an end that nothing can undo.
    pub fn terminal(&self) -> bool {
        let ended = |phase: &str| matches!(phase, "Failed" | "Succeeded");
        self.rejection.is_some() || ended(&self.last.phase) || ended(&self.pod.status.phase)
    }

    /// Whether any container runs or is being started or stopped.
    pub fn any_alive(&self) -> bool {
        self.containers.values().any(Seen::alive)
    }
}
