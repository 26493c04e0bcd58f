//! What lists have in every format: their head and how members are ordered.

use corten_api::meta::v1::ListMeta;

/// Everything of a list but its items.
#[derive(Clone, Debug, Default)]
pub struct ListHead<'a> {
    /// `v1`
    pub api_version: &'a str,
    /// `PodList`
    pub kind: &'a str,
    /// Resource version, continue token, number of remaining items.
    pub metadata: ListMeta,
}

/// The order of a list's members in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListLayout {
    /// Go's struct order: lists of built-in kinds.
    Struct,
    /// Ascending by key: lists of custom resources.
    Sorted,
}
