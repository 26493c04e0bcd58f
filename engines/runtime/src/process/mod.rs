//! What a container's process is: identity, capabilities, command line, environment, and the last steps to exec.

mod capabilities;
mod command;
mod identity;
mod launch;
mod signal;

pub use capabilities::{Capabilities, capability_bit};
pub use command::{arguments, environment, look_path, working_directory};
pub use identity::{Identity, resolve};
pub use launch::{ProcessSpec, become_process};
pub use signal::stop_signal;
