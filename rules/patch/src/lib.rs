//! Patches: JSON patch, merge patch, strategic merge patch, server-side apply and the field tracking of other writes.
//! Invariant: pure functions of their arguments on the dynamic tree; results and error texts are upstream's.
//! Leaves out decoding of patches, defaults and validation of results, and HTTP: those are the API server's.

mod configuration;
mod error;
mod fields;
mod go_text;
mod json;
mod managed;
mod merge;
mod schema;
mod strategic;
mod typed;

pub use configuration::merge_configuration;
pub use error::{Conflict, PatchError};
pub use fields::fields_text;
pub use json::json;
pub use managed::{apply, managers_from_scale, managers_of_scale, track, track_entries};
pub use merge::merge;
pub use strategic::strategic;

use corten_core::{Msg, Time, Value};

/// Where merge keys and list types come from.
#[derive(Clone, Copy, Debug)]
pub enum Schema<'a> {
    /// The field table of a built-in kind.
    Table(&'static Msg),
    /// A custom resource's structural schema: OpenAPI v3 as a value (`type`, `properties`, `items`,
    /// `x-kubernetes-list-type` ...).
    OpenApi(&'a Value),
    /// Nothing is known: types are deduced from the values, lists are atomic.
    Free,
}

/// One server-side apply.
#[derive(Clone, Copy, Debug)]
pub struct Apply<'a> {
    /// The object as it is, in the patch's version. None creates.
    pub live: Option<&'a Value>,
    /// The applied configuration, whole.
    pub patch: &'a Value,
    /// The kind's schema.
    pub schema: Schema<'a>,
    /// The field manager of the request.
    pub manager: &'a str,
    /// Empty for the main resource.
    pub subresource: &'a str,
    /// Take over fields of other managers instead of answering with conflicts.
    pub force: bool,
    /// The time that changed entries of managedFields get.
    pub now: &'a Time,
}

/// One write that is not an apply.
#[derive(Clone, Copy, Debug)]
pub struct Track<'a> {
    /// The object before the write. None for a create.
    pub live: Option<&'a Value>,
    /// The object as it will be stored, in the same version.
    pub new: &'a Value,
    /// The kind's schema.
    pub schema: Schema<'a>,
    /// The field manager of the request.
    pub manager: &'a str,
    /// Empty for the main resource.
    pub subresource: &'a str,
    /// The time that changed entries of managedFields get.
    pub now: &'a Time,
}

#[cfg(test)]
mod tests;
