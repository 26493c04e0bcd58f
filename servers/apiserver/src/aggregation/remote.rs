//! The group versions that other servers serve: where each is, whether it is there, and what it says of itself.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use serde_json::Value;

use crate::outbound::Endpoint;

/// A service reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub namespace: String,
    pub name: String,
    pub port: u16,
}

/// One group version of an aggregated server.
pub(crate) struct Remote {
    /// The APIService's name.
    pub name: String,
    pub group: String,
    pub version: String,
    pub group_priority: i32,
    pub version_priority: i32,
    pub target: Target,
    /// Where it is and how it is trusted, with the front proxy's certificate to show.
    pub endpoint: Endpoint,
    /// Whether its condition says that it answers.
    pub available: bool,
    /// The tag of its own aggregated discovery document, as it last gave it.
    pub tag: ArcSwapOption<String>,
    /// Its resources as the aggregated discovery document shows them.
    pub resources: ArcSwapOption<Vec<Value>>,
    /// Its OpenAPI v3 document.
    pub schema: ArcSwapOption<bytes::Bytes>,
    /// Its part of OpenAPI v2, as JSON.
    pub swagger: ArcSwapOption<bytes::Bytes>,
}

impl Remote {
    /// The resources, as it last described them; none when it never did.
    pub(crate) fn described(&self) -> Option<Vec<Value>> {
        self.resources.load().as_deref().cloned()
    }
}

/// All of them.
#[derive(Default)]
pub(crate) struct Remotes(pub(super) Vec<Arc<Remote>>);

impl Remotes {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Remote>> {
        self.0.iter()
    }

    /// Who serves a group version.
    pub(crate) fn find(&self, group: &str, version: &str) -> Option<Arc<Remote>> {
        let mut all = self.0.iter();
        all.find(|r| r.group == group && r.version == version)
            .cloned()
    }
}
