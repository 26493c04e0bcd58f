//! The store: one revision counter, persistent trees, a durable log, watches.
