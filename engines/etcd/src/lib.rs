//! etcd's v3 API: its messages, a client, and a multi-version store that keeps its promises.
//!
//! - [`proto`] and [`table`]: the messages, generated from upstream's files (`cargo xtask codegen-etcd`), and [`json`],
//!   their JSON form.
//! - [`grpc`]: the framing and status codes of gRPC, and [`Refusal`], what etcd answers instead of a result.
//! - [`client`]: a client of an etcd cluster.
//! - [`mvcc`]: byte keys, every revision since the last compaction, leases, watches, a durable log.
//!
//! Left out: Raft (one member), users and roles, serving (that is `servers/etcd`).

pub mod client;
pub mod grpc;
pub mod json;
pub mod mvcc;
pub mod proto;
mod refusal;
pub mod table;

pub use refusal::{Code, Refusal};
