//! Containers with Go's nil semantics, the field table, accessors and the dynamic value that every format is driven by.
//!
//! A generated struct is plain data; its table (`Msg`, a list of `Field`) lets one non-generic function serve all types:
//!
//! ```
//! use corten_core::{Message, MsgMut, MsgRef, Ref, Slot, Str, List, Map, message};
//! pub struct Port { pub name: Str, pub number: i32 }
//! message! { Port "example.v1" Struct false 1 b"" b"\x00\x01" { name: Str, "name" 1 corten_core::OMIT; number: i32, "port" 2 0; } }
//! pub struct Host { pub ports: List<Port>, pub labels: Map<Str>, pub main: Option<Box<Port>> }
//! message! { Host "example.v1" Struct false 1 b"" b"\x00\x01\x02" {
//!     ports: List<Port>, "ports" 1 0; labels: Map<Str>, "labels" 2 0; main: Option<Box<Port>>, "main" 3 corten_core::OMIT; } }
//!
//! let mut host = Host::default();
//! host.main.get_or_insert_default().name = "http".into();
//! // A reader fills places by table: `slot` of a nil pointer makes the zero value, `push` and `insert` give new places.
//! let mut view = MsgMut::new(&mut host);
//! if let Slot::List(mut ports) = view.json(0) {
//!     if let Slot::Msg(mut port) = ports.push() {
//!         if let Slot::I32(number) = port.json(1) { *number = 80; }
//!     }
//! }
//! // A writer walks values: `msg().json` in Go's order with embedded messages flattened, `msg().order` by number.
//! let view = MsgRef::new(&host);
//! let keys: Vec<_> = (0..view.msg().json.len())
//!     .filter(|&i| !view.msg().json[i].omits(view.json(i)))
//!     .map(|i| view.msg().json[i].key).collect();
//! assert_eq!(keys, ["ports", "labels", "main"]);
//! assert!(matches!(view.get("labels"), None | Some(Ref::Map(_))));
//! assert_eq!(host.clone(), host);
//! ```

pub mod access;
mod boxed;
pub mod convert;
mod differing;
pub mod duration;
mod erased;
mod fill;
pub mod int_or_string;
pub mod json_text;
pub mod list;
pub mod many;
pub mod map;
mod message;
pub mod ops;
pub mod path;
pub mod quantity;
mod quantity_parse;
pub mod raw;
pub mod str;
pub mod table;
pub mod time;
pub mod value;

pub use access::{MsgMut, MsgRef, Ref, Slot};
pub use boxed::AnyMessage;
pub use convert::{ConvertError, from_value, to_value};
pub use duration::Duration;
pub use fill::{MapFiller, ValueMapFiller};
pub use int_or_string::{IntOrString, PercentError, Rounding};
pub use json_text::JsonError;
pub use list::{Bin, List};
pub use many::{ListMut, ListRef, MapMut, MapRef};
pub use map::Map;
pub use ops::semantic_eq;
pub use path::Path;
pub use quantity::{Amount, Quantity, QuantityError, QuantityFormat};
pub use raw::RawJson;
pub use str::Str;
pub use table::{
    Facts, Field, FieldType, Form, INLINE, Kind, ListType, Message, Msg, MsgPtr, OMIT, OMITZERO,
    REQUIRED, Shape, WRAPPED,
};
pub use time::{MicroTime, Time, TimeError};
pub use value::{Value, ValueMap};

#[cfg(test)]
mod tests;
