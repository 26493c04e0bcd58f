//! Pods lived through in a few lines: a spec, what happens to it, and the trace of actions, events and statuses.

mod lives;
mod resizes;
mod world;
