//! What a node's packet filter and the cluster's DNS answer with: pure functions of Services and EndpointSlices.
//! Invariant: equal inputs give equal plans, in whatever order they arrived. It leaves out the kernel
//! (`corten-dataplane`) and sockets (`corten-dns`).

mod address;
mod changes;
pub mod dns;
mod flow;
pub mod input;
pub mod proxy;
pub mod ruleset;

pub use address::{Cidr, Family, NotCidr, Protocol, parse_ip};
pub use flow::Flow;
