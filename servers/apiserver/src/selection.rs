//! Which objects a list or watch shows: label and field selectors, matched against headers.

use corten_client::Status;
use corten_meta::{FieldSelector, Selector};
use corten_store::{Entry, Scope};

use crate::catalog::Served;
use crate::options::ListOptions;

/// Parsed selectors.
pub(crate) struct Selection {
    labels: Selector,
    fields: FieldSelector,
    /// From a field's name in this version to its name in storage.
    stored: fn(&str) -> &str,
}

impl Selection {
    /// Parses both selectors and refuses fields the kind does not know.
    pub(crate) fn parse(served: &Served, options: &ListOptions) -> Result<Selection, Status> {
        let labels = Selector::parse(&options.label_selector)
            .map_err(|e| Status::bad_request(e.to_string()))?;
        let fields = FieldSelector::parse(&options.field_selector)
            .map_err(|e| Status::bad_request(e.to_string()))?;
        let known = served.field_labels();
        let stored: fn(&str) -> &str = match served.group.as_str() {
            "events.k8s.io" => corten_kinds::events::stored_label,
            _ => |field| field,
        };
        for field in fields.fields() {
            if !matches!(field, "metadata.name" | "metadata.namespace")
                && !known.contains(&stored(field))
            {
                let plain = known.is_empty() || served.plural.starts_with("persistentvolume");
                let text = match (served.is_custom(), served.kind.as_str()) {
                    (false, "Job") => format!("field label {field:?} not supported for Job"),
                    (false, "ResourceSlice") => format!(
                        "field label not supported for {}, Kind={}: {field}",
                        served.api_version(),
                        served.kind
                    ),
                    (false, _) if plain => format!(
                        "{field:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
                    ),
                    _ => format!("field label not supported: {field}"),
                };
                return Err(Status::bad_request(text));
            }
        }
        Ok(Selection {
            labels,
            fields,
            stored,
        })
    }

    /// Whether nothing is filtered.
    pub(crate) fn is_everything(&self) -> bool {
        self.labels.is_everything() && self.fields.is_everything()
    }

    /// The narrowest part of the store that holds everything selected.
    pub(crate) fn scope(&self, namespace: &str) -> Scope {
        let name = self.fields.required("metadata.name");
        match (namespace, name) {
            ("", None) => match self.fields.required("metadata.namespace") {
                Some(namespace) => Scope::namespace(namespace),
                None => Scope::All,
            },
            (namespace, None) => Scope::namespace(namespace),
            ("", Some(_)) => Scope::All,
            (namespace, Some(name)) => Scope::object(namespace, name),
        }
    }

    /// Whether an object is shown.
    pub(crate) fn selects(&self, entry: &Entry) -> bool {
        let header = entry.header();
        (self.labels.is_everything() || self.labels.matches_with(|key| header.label(key)))
            && (self.fields.is_everything()
                || self.fields.matches(|field| match field {
                    "metadata.name" => entry.name(),
                    "metadata.namespace" => entry.namespace(),
                    other => header.field((self.stored)(other)).unwrap_or_default(),
                }))
    }
}
