//! The harness of the black-box tests: it starts the real binary in a network namespace of its own,
//! talks to it with real kubectl, and looks from outside at what it left on the host.
//! It knows no type of Corten; the same tests run against an upstream cluster
//! (`CORTEN_TESTS_KUBECONFIG=FILE`), which shows whether an expectation is upstream's.

mod api;
mod bucket;
mod cluster;
mod eventually;
mod expectation;
mod footprint;
mod kubectl;
mod lone;
pub mod manifests;
mod netns;
mod oracle;
mod process;
mod programs;
mod suite;
mod terminal;
mod trace;
mod web;

pub use api::{Answer, ApiAccess, ApiClient, Passed};
pub use bucket::Bucket;
pub use cluster::{Cluster, Options};
pub use eventually::{WAIT_MAX, eventually};
pub use expectation::{expect_equal, expect_parts};
pub use footprint::Footprint;
pub use kubectl::{Failure, Kubectl, Running};
pub use lone::{LoneServer, corten as run_corten, corten_with as run_corten_with};
pub use netns::NetworkNamespace;
pub use oracle::Oracle;
pub use process::{Sample, find_by_data};
pub use programs::{corten, image, program};
pub use suite::{Test, run, run_each, run_in_turn};
pub use terminal::Terminal;
pub use trace::{PodTrace, Step};
pub use web::{Page, get};
