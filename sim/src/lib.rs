//! Deterministic simulation of the control plane: the real store, controllers, scheduling rules and queues on a virtual
//! clock and disk, one thread, one seed.
//!
//! Invariant: a seed decides everything, so that every failure can be replayed. Leaves out the API server's ladder
//! beyond what changes objects, real kubelets, and networks.

mod audit;
mod controller;
mod env;
mod execution;
mod mirror;
mod node;
mod objects;
mod quiet;
mod rng;
mod scheduler;
mod server;
mod storage;
mod store;
mod user;
mod workloads;
mod world;

pub use store::{StoreReport, run_store};
pub use world::{Report, run};
