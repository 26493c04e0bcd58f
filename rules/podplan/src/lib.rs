//! What a node does next for a pod: a diff of the spec and the containers observed.
