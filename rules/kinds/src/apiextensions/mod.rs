//! CustomResourceDefinitions.

mod definition;

pub use definition::CustomResourceDefinitions;
