//! A tracked connection, as far as plans judge it.

use std::net::SocketAddr;

use crate::Protocol;

/// An entry of the kernel's connection table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flow {
    pub protocol: Protocol,
    /// Where the first packet was sent: a Service's address, say.
    pub destination: SocketAddr,
    /// Who answers: the endpoint behind it.
    pub reply_source: SocketAddr,
}
