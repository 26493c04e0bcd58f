//! The node agent: watches pods, carries out their plans, reports status.
//!
//! One supervisor task per pod is woken by changes of the object, events of the runtime, results of its own actions and
//! deadlines; what it does is decided by `corten-podplan`. Invariant: nothing polls, and a pod's status is written only
//! when it changed. Left out: device plugins, checkpoints, eviction by node pressure.

mod clock;
mod container;
mod directory;
mod dispatch;
mod error;
mod execute;
mod labels;
mod manifests;
mod node;
mod options;
mod pod;
mod server;
mod start;

pub use error::Error;
pub use options::{Engines, KubeletOptions, Serving};
pub use start::Kubelet;
