//! etcd's v3 API over gRPC and JSON, served from the multi-version store: what `corten store serve` runs.
//!
//! One port speaks both, over HTTP/1.1 and HTTP/2, with or without TLS. Answers, codes and texts are those of an etcd
//! 3.6 with one member and authentication off (`etcd_face::answers_equal_upstreams`). Left out: users and roles,
//! further members, elections and locks as services of their own (clients make them of transactions and leases).

mod calls;
mod connection;
mod gateway;
mod http2;
mod maintenance;
mod metrics;
mod serve;
mod streams;
mod tls;
mod watching;

pub use calls::{Face, VERSION};
pub use serve::{Config, ServeError, Serving};
pub use tls::{ClientAuth, TlsFiles};
