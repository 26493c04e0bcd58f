//! The API server: one read ladder, one write ladder, one generic registry.
