//! Generated structs of every Kubernetes kind and the schema facts about them.
