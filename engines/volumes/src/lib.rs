//! Volumes on a node: config maps, secrets, projections, host paths, scratch space.
