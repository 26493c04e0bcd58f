//! Leases.

mod columns;
mod lease;

pub use lease::Leases;
