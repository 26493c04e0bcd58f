//! Containers with Go's nil semantics, the field table, accessors and the dynamic value that every format is driven by.
