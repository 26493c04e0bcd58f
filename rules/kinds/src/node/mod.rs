//! RuntimeClasses.

mod columns;
mod runtime_class;

pub use runtime_class::RuntimeClasses;
