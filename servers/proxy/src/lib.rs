//! Keeps the node's packet filter equal to the plan made of services and endpoints.
