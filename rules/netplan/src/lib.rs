//! What the node's packet filter holds: a function of services and endpoints.
