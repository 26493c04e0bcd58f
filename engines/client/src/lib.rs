//! Talking to an API server, in process or over HTTP, and keeping snapshots current.
//!
//! [`Transport`] carries one request in Kubernetes' terms, free of HTTP; [`Client`] gives it types; [`Mirror`] keeps a
//! `corten_meta::Snapshot` of several resources current. Invariant: whatever the transport, the same request is
//! authorized, admitted and refused in the same way. Left out: retries and rate limits, which are the driver's.

mod client;
mod http;
mod kubeconfig;
mod mirror;
mod status;
mod transport;

pub use client::Client;
pub use http::HttpTransport;
pub use kubeconfig::{Kubeconfig, KubeconfigError};
pub use mirror::{Changed, Mirror, MirrorBuilder};
pub use status::{Cause, Details, Status, Target};
pub use transport::{
    Body, Error, ListAnswer, Options, PatchKind, Preconditions, Propagation, Request, Transport,
    Verb, WatchEvent, WatchRequest, WatchStream,
};
