//! CustomResourceDefinitions.

mod definition;
mod schema;
mod validation;

pub use definition::CustomResourceDefinitions;
