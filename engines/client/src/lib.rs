//! Talking to an API server, in process or over HTTP, and keeping snapshots current.
//!
//! [`Transport`] carries one request under one identity; [`Client`] gives it types; [`Mirror`] lists once and follows
//! watches, so that pure code sees a current [`corten_meta::Snapshot`]. The in-process transport lives in the API server.

mod client;
mod mirror;
mod status;
mod transport;

pub use client::Client;
pub use mirror::{Change, Changes, Interest, Mirror};
pub use status::{Cause, Details, Status, Target};
pub use transport::{
    Answer, Body, Options, PatchType, Propagation, Request, Transport, Verb, WatchEvent,
    WatchRequest, WatchStream,
};
