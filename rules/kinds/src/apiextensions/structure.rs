//! A version's schema ready for use: what it prunes, defaults and refuses.

use std::sync::OnceLock;

use corten_core::Value;

use super::evaluate::SchemaRules;
use super::lists;
use super::scale;
use super::value::{self, Before, Pruning};
use crate::error::{ErrorKind, FieldError};

/// A custom resource's schema.
pub struct Structural {
    root: Value,
    preserve: bool,
    /// Compiled when the first value is checked.
    rules: OnceLock<Option<SchemaRules>>,
}

/// What else decides about a resource besides its schema.
#[derive(Debug, Default)]
pub struct Beside<'a> {
    /// What is wrong with its metadata; that is said elsewhere.
    pub metadata: Vec<FieldError>,
    /// Where its `scale` has spec.replicas, status.replicas and the selector.
    pub scale: Option<&'a (String, String, String)>,
}

/// Which part of a resource a write is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Whole,
    /// Its status.
    Status,
}

impl Structural {
    /// From the schema as JSON (null: none), and whether the definition keeps what the schema does not name.
    pub fn new(root: Value, preserve: bool) -> Structural {
        let preserve = preserve || root.is_null();
        Structural {
            root,
            preserve,
            rules: OnceLock::new(),
        }
    }

    /// The schema itself.
    pub const fn value(&self) -> &Value {
        &self.root
    }

    /// Drops members that the schema does not name; answers their paths.
    pub fn prune(&self, value: &mut Value) -> Vec<String> {
        if self.preserve {
            return Vec::new();
        }
        value::prune(value, &self.root, Pruning::Resource)
    }

    /// Fills in defaults of absent members, and drops nulls that may not be.
    pub fn default(&self, value: &mut Value) {
        value::default(value, &self.root);
        value::drop_nulls(value, &self.root);
    }

    /// What is wrong with a resource: errors, and what is no error only because it was so before.
    pub fn validate(
        &self,
        value: &Value,
        old: Option<&Value>,
        part: Part,
        beside: &Beside<'_>,
    ) -> (Vec<FieldError>, Vec<String>) {
        let before = |name: Option<&str>| match (old, name) {
            (None, _) => Before::Create,
            (Some(old), None) => Before::Update(Some(old)),
            (Some(old), Some(name)) => Before::Update(old.get(name)),
        };
        let mut errors = match part {
            Part::Whole => {
                let mut errors = value::validate(value, &self.root, before(None));
                errors.extend(beside.scale.into_iter().flat_map(|s| scale::spec(value, s)));
                errors.extend(
                    beside
                        .scale
                        .into_iter()
                        .flat_map(|s| scale::status(value, s)),
                );
                errors.extend(lists::embedded(value, &self.root));
                errors
            }
            Part::Status => {
                let mut errors = self.status(value, before(Some("status")));
                errors.extend(
                    beside
                        .scale
                        .into_iter()
                        .flat_map(|s| scale::status(value, s)),
                );
                errors
            }
        };
        let twice = lists::duplicates(value, &self.root);
        if !twice.is_empty() && old.is_none_or(|o| lists::duplicates(o, &self.root).is_empty()) {
            errors.extend(twice);
        }
        let rules = self.rules.get_or_init(|| SchemaRules::resource(&self.root));
        let Some(rules) = rules else {
            return (errors, Vec::new());
        };
        if errors.iter().chain(&beside.metadata).any(blocks) {
            let text = "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation";
            let null = crate::error::verbatim("null");
            errors.push(FieldError::invalid("<nil>", null, text));
            return (errors, Vec::new());
        }
        let (found, warnings) = rules.check(value, old);
        errors.extend(found);
        (errors, warnings)
    }

    fn status(&self, value: &Value, before: Before<'_>) -> Vec<FieldError> {
        let schema = self.root.get("properties").and_then(|p| p.get("status"));
        let (Some(status), Some(schema)) = (value.get("status"), schema) else {
            return Vec::new();
        };
        let mut errors = value::validate(status, schema, before);
        for error in &mut errors {
            error.field = match error.field.as_str() {
                "<nil>" => "status".to_owned(),
                inner => format!("status.{inner}"),
            };
        }
        errors
    }
}

/// What makes evaluating rules pointless.
const fn blocks(error: &FieldError) -> bool {
    matches!(
        error.kind,
        ErrorKind::NotSupported
            | ErrorKind::Required
            | ErrorKind::TooLong
            | ErrorKind::TooMany
            | ErrorKind::TypeInvalid
    )
}
