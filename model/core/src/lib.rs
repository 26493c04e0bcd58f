//! Containers with Go's nil semantics, the field table, accessors and the dynamic value that every format is driven by.

pub mod quantity;
mod quantity_parse;
pub mod time;

pub use quantity::{Amount, Quantity, QuantityError, QuantityFormat};
pub use time::{Duration, MicroTime, Time, TimeError};
