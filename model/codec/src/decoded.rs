//! What every format's `decode` takes and gives: options, the object, strict problems, errors in upstream's words.
//! Leaves out the mapping to API statuses, which is the server's.

use crate::json::{JsonError, TypeMeta};
use crate::protobuf::WireError;
use crate::yaml::YamlError;
use corten_api::{Gvk, Object};

/// How a document is decoded.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options<'a> {
    /// Collect unknown and duplicate fields (`fieldValidation` Warn and Strict); costs next to nothing.
    pub strict: bool,
    /// What an absent apiVersion or kind stands for: the resource that the request names.
    pub default: Option<Gvk<'a>>,
}

/// A decoded document.
#[derive(Clone, Debug)]
pub struct Decoded {
    /// The object: a struct for built-in kinds, dynamic for all others.
    pub object: Object,
    /// `unknown field "spec.foo"`, `duplicate field "spec.bar"`; empty unless asked for.
    pub problems: Vec<String>,
}

impl Decoded {
    /// The problems as upstream's strict decoding error, None without any.
    pub fn strict_error(&self) -> Option<String> {
        (!self.problems.is_empty())
            .then(|| format!("strict decoding error: {}", self.problems.join(", ")))
    }
}

/// Why a document did not become an object; messages are upstream's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The text is not JSON, or its apiVersion or kind is no text.
    #[error("couldn't get version/kind; json parse error: {0}")]
    Kind(JsonError),
    /// `apiVersion` has more than one slash.
    #[error("unexpected GroupVersion string: {0}")]
    GroupVersion(String),
    /// There is no kind.
    #[error("Object 'Kind' is missing in '{0}'")]
    MissingKind(String),
    /// There is no apiVersion.
    #[error("Object 'apiVersion' is missing in '{0}'")]
    MissingVersion(String),
    /// A value does not fit its field.
    #[error("{0}")]
    Type(String),
    /// The bytes are not protobuf.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// The text is not YAML.
    #[error(transparent)]
    Yaml(#[from] YamlError),
    /// Only built-in kinds have a protobuf form.
    #[error(
        "no kind \"{kind}\" is registered for version \"{api_version}\" in scheme \"pkg/api/legacyscheme/scheme.go:30\""
    )]
    NotProtobuf {
        /// The apiVersion asked for.
        api_version: String,
        /// The kind asked for.
        kind: String,
    },
}

impl From<JsonError> for DecodeError {
    fn from(error: JsonError) -> DecodeError {
        match error {
            // Upstream parses the whole document for its kind first, so syntax errors show there.
            JsonError::Syntax(_) => DecodeError::Kind(error),
            JsonError::Type(message) => DecodeError::Type(message),
        }
    }
}

/// Fills in defaults and checks that both texts are there and well-formed. `shown` makes the data for messages.
pub(crate) fn complete(
    meta: &mut TypeMeta,
    options: &Options<'_>,
    shown: impl Fn() -> String,
) -> Result<(), DecodeError> {
    if meta.api_version.matches('/').count() > 1 {
        return Err(DecodeError::GroupVersion(meta.api_version.clone()));
    }
    if let Some(default) = options.default {
        if meta.kind.is_empty() {
            meta.kind = default.kind.to_owned();
        }
        let given = Gvk::parse(&meta.api_version, "");
        if given.version.is_empty() && (given.group.is_empty() || given.group == default.group) {
            meta.api_version = default.api_version();
        }
    }
    if meta.kind.is_empty() {
        return Err(DecodeError::MissingKind(shown()));
    }
    if Gvk::parse(&meta.api_version, "").version.is_empty() {
        return Err(DecodeError::MissingVersion(shown()));
    }
    Ok(())
}
