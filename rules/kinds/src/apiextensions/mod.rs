//! CustomResourceDefinitions, and what their schemas say of custom resources.

mod approval;
mod definition;
mod evaluate;
mod fieldpath;
mod formats;
mod lists;
mod naming;
mod rules;
mod scale;
mod schema;
mod structural;
mod structure;
mod validation;
mod value;

pub use definition::CustomResourceDefinitions;
pub use evaluate::SchemaRules;
pub use naming::{accept_names, marked, terminating};
pub use structure::{Beside, Part, Structural};
