//! Containers with Go's nil semantics, the field table, accessors and the dynamic value that every format is driven by.

pub mod duration;
pub mod int_or_string;
pub mod quantity;
mod quantity_parse;
pub mod str;
pub mod time;

pub use duration::Duration;
pub use int_or_string::{IntOrString, PercentError, Rounding};
pub use quantity::{Amount, Quantity, QuantityError, QuantityFormat};
pub use str::Str;
pub use time::{MicroTime, Time, TimeError};
