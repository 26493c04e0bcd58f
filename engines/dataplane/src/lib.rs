//! The node's data plane, written straight to the kernel over netlink: the pod network (bridge, veth pairs,
//! addresses, routes, leases, host ports) and the packet filter (nftables, one atomic batch per change).
//! Everything here blocks for microseconds to a few milliseconds and knows no runtime: call it through
//! `spawn_blocking`. Invariant: no program is executed, and no thread of the caller ever changes its namespace.
//! It leaves out what decides: which rules there should be is `corten-netplan`'s.

mod conntrack;
mod error;
mod link;
mod netlink;
mod netns;
mod nft;
pub mod podnet;
mod sysctl;

pub use conntrack::Conntrack;
pub use error::{Error, Result};
pub use netns::Netns;
pub use nft::{Change, PacketFilter};
pub use podnet::{Attachment, HostPort, NodeRoute, PodAddress, PodNetwork, PodNetworkConfig};
