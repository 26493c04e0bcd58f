//! What each kind defaults, prepares, validates and prints: one file per kind.
