//! What a node does next for a pod: a diff of the spec and the containers observed.
//!
//! [`Observed`] is everything known of one pod, changed only by [`Observed::apply`] (something happened) and
//! [`Observed::begin`] (an action was started); [`plan`] says what to do now, how the status reads and when to look again.
//! Invariant: pure. The same inputs in the same order give the same plans, and a pod at rest gives an empty plan.

mod allocation;
mod apply;
mod backoff;
mod moment;
mod note;
mod observed;
mod plan;
mod policy;
mod ports;
mod probe;
mod resize;
pub mod resources;
mod status;
mod terminate;

pub use allocation::Allocation;
pub use apply::Input;
pub use backoff::Backoff;
pub use moment::Moment;
pub use note::{Note, NoteKind};
pub use observed::{
    Busy, Exit, Failure, Hook, Image, Instance, Life, Observed, Rejection, Sandbox, SandboxState,
    Seen, Step,
};
pub use plan::{Action, Plan, plan};
pub use policy::{all_containers, as_container, container_of, is_sidecar};
pub use ports::host_ports_collide;
pub use probe::{ProbeKind, ProbeResult, ProbeState, Probes};
pub use resize::{Change, Checkpoint, Knob, Resize, Resized, Standing, Target, Verdict};
pub use status::{pod_name_and_uid, qos_class};

#[cfg(test)]
mod tests;
