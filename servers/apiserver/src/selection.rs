//! Which objects a list or watch shows: label and field selectors, matched against headers.

use std::sync::Arc;

use corten_client::Status;
use corten_core::Str;
use corten_meta::{FieldSelector, Selector};
use corten_store::{Entry, NODE, Scope, Snapshot};

use crate::catalog::Served;
use crate::options::ListOptions;

/// Parsed selectors.
pub(crate) struct Selection {
    labels: Selector,
    fields: FieldSelector,
    /// From a field's name in this version to its name in storage.
    stored: fn(&str) -> &str,
    /// Custom resources have their fields as they are shown, which no header knows.
    shown: Option<Arc<Served>>,
}

impl Selection {
    /// Parses both selectors and refuses fields the kind does not know.
    pub(crate) fn parse(served: &Arc<Served>, options: &ListOptions) -> Result<Selection, Status> {
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
        let plain = |field: &str| matches!(field, "metadata.name" | "metadata.namespace");
        let shown = served.is_custom() && fields.fields().any(|field| !plain(field));
        Ok(Selection {
            labels,
            fields,
            stored,
            shown: shown.then(|| served.clone()),
        })
    }

    /// Whether objects must be ready in the version that is shown.
    pub(crate) fn reads_objects(&self) -> bool {
        self.shown.is_some()
    }

    /// A field of an object as it is shown; an object that cannot be shown has none.
    fn shown_field(served: &Served, entry: &Entry, field: &str) -> Option<Str> {
        let object = crate::typed::object(entry).ok()?;
        let shown = served.served_version(&object).ok()?;
        let values = served.field_values(shown.as_ref().unwrap_or(&object));
        let place = served.field_labels().iter().position(|f| *f == field)?;
        values.into_iter().nth(place)
    }

    /// Whether the fields of an object as it is shown are those asked for.
    fn selects_shown(&self, served: &Served, entry: &Entry) -> bool {
        let known: Vec<(&str, Str)> = self
            .fields
            .fields()
            .map(|f| (f, Self::shown_field(served, entry, f).unwrap_or_default()))
            .collect();
        self.fields.matches(|field| match field {
            "metadata.name" => entry.name(),
            "metadata.namespace" => entry.namespace(),
            other => known
                .iter()
                .find(|(f, _)| *f == other)
                .map_or("", |(_, v)| v.as_str()),
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

    /// The node that selected objects are on, where the store knows it of all of them.
    fn node(&self) -> Option<&str> {
        let node = self.fields.required(NODE).filter(|node| !node.is_empty());
        node.filter(|_| self.shown.is_none())
    }

    /// The objects of a snapshot that are shown, in order, from `start` on.
    pub(crate) fn of<'a>(
        &'a self,
        snapshot: &'a Snapshot,
        scope: &Scope,
        start: Option<&str>,
    ) -> impl Iterator<Item = &'a Arc<Entry>> {
        let (on_node, all) = match self.node() {
            Some(node) => (Some(snapshot.on_node(node, scope, start)), None),
            None => (None, Some(snapshot.range(scope, start))),
        };
        let found = on_node
            .into_iter()
            .flatten()
            .chain(all.into_iter().flatten());
        found.filter(|entry| self.selects(entry))
    }

    /// Whether an object is shown.
    pub(crate) fn selects(&self, entry: &Entry) -> bool {
        let header = entry.header();
        (self.labels.is_everything() || self.labels.matches_with(|key| header.label(key)))
            && (self
                .shown
                .as_ref()
                .is_some_and(|s| self.selects_shown(s, entry))
                || self.shown.is_none() && self.selects_stored(entry))
    }

    fn selects_stored(&self, entry: &Entry) -> bool {
        let header = entry.header();
        self.fields.is_everything()
            || self.fields.matches(|field| match field {
                "metadata.name" => entry.name(),
                "metadata.namespace" => entry.namespace(),
                other => header.field((self.stored)(other)).unwrap_or_default(),
            })
    }
}
