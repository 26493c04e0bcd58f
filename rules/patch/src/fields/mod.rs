//! Sets of fields and their text, FieldsV1.
//! Invariant: elements are ordered as upstream orders them, so that texts are equal byte for byte.

mod element;
mod set;
mod text;

pub(crate) use element::{PathElement, values_equal};
pub(crate) use set::FieldSet;
pub use text::fields_text;
