//! PodDisruptionBudgets.

mod budget;
mod columns;

pub use budget::PodDisruptionBudgets;
