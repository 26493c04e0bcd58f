//! Structural schemas as evaluation sees them: which declared type they make, and how a JSON value becomes an
//! expression's value under them. Left out: validating (the caller has done it).

use std::collections::BTreeMap;
use std::sync::Arc;

use corten_core::Value;

use crate::decl::{Decl, REQUEST_BYTES_MAX};
use crate::escape::escape;
use crate::types::Type;

/// What a schema says, as far as expressions care.
#[derive(Clone, Debug, Default)]
pub struct Schema {
    pub(crate) kind: Basic,
    pub(crate) format: Format,
    pub(crate) nullable: bool,
    pub(crate) int_or_string: bool,
    pub(crate) preserve: bool,
    pub(crate) items: Option<Arc<Schema>>,
    pub(crate) properties: Option<BTreeMap<String, Arc<Schema>>>,
    pub(crate) additional: Option<Arc<Schema>>,
    pub(crate) list: ListKind,
    embedded: bool,
    required: Vec<String>,
    has_default: bool,
    length_max: Option<u64>,
    elements_max: Option<u64>,
    enumerated: Option<u64>,
}

/// A schema's `type`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Basic {
    #[default]
    None,
    Object,
    Array,
    String,
    Number,
    Integer,
    Boolean,
}

/// The formats that make a text another value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Format {
    #[default]
    Text,
    Byte,
    Duration,
    Date,
    DateTime,
}

/// How the elements of a list relate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ListKind {
    #[default]
    Atomic,
    Set,
    /// By these members of each element.
    Map(Vec<String>),
}

fn count(value: &Value, name: &str) -> Option<u64> {
    let number = value.get(name)?.as_i64()?;
    Some(u64::try_from(number).unwrap_or(0))
}

fn flag(value: &Value, name: &str) -> bool {
    value.get(name).and_then(Value::as_bool) == Some(true)
}

impl Schema {
    /// Reads an OpenAPI v3 schema with Kubernetes' extensions.
    pub fn new(value: &Value) -> Arc<Schema> {
        Arc::new(Schema::read(value))
    }

    /// The schema of a whole resource: with apiVersion, kind and the two fields of metadata that rules may read.
    pub fn resource(value: &Value) -> Arc<Schema> {
        let mut schema = Schema::read(value);
        schema.add_resource_fields();
        Arc::new(schema)
    }

    fn read(value: &Value) -> Schema {
        let part = |name: &str| value.get(name).filter(|v| v.as_map().is_some());
        let properties = part("properties").and_then(Value::as_map).map(|m| {
            m.iter()
                .map(|(k, v)| (k.to_string(), Schema::new(v)))
                .collect()
        });
        let texts = |name: &str| -> Vec<String> {
            let list = value.get(name).and_then(Value::as_list).unwrap_or(&[]);
            list.iter()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect()
        };
        let enumerated = value
            .get("enum")
            .and_then(Value::as_list)
            .filter(|l| !l.is_empty());
        let length = |v: &Value| v.as_str().map_or(0, |s| s.len() as u64);
        let kind = match value.str_at(&["type"]) {
            "object" => Basic::Object,
            "array" => Basic::Array,
            "string" => Basic::String,
            "number" => Basic::Number,
            "integer" => Basic::Integer,
            "boolean" => Basic::Boolean,
            _ => Basic::None,
        };
        let mut schema = Schema {
            kind,
            format: match value.str_at(&["format"]) {
                "byte" => Format::Byte,
                "duration" => Format::Duration,
                "date" => Format::Date,
                "date-time" => Format::DateTime,
                _ => Format::Text,
            },
            nullable: flag(value, "nullable"),
            int_or_string: flag(value, "x-kubernetes-int-or-string"),
            preserve: flag(value, "x-kubernetes-preserve-unknown-fields"),
            items: part("items").map(Schema::new),
            properties,
            additional: part("additionalProperties").map(Schema::new),
            list: match value.str_at(&["x-kubernetes-list-type"]) {
                "set" => ListKind::Set,
                "map" => ListKind::Map(texts("x-kubernetes-list-map-keys")),
                _ => ListKind::Atomic,
            },
            embedded: flag(value, "x-kubernetes-embedded-resource"),
            required: texts("required"),
            has_default: value.get("default").is_some(),
            length_max: count(value, "maxLength"),
            elements_max: count(
                value,
                if kind == Basic::Array {
                    "maxItems"
                } else {
                    "maxProperties"
                },
            ),
            enumerated: enumerated.map(|l| l.iter().map(length).max().unwrap_or(0)),
        };
        if schema.embedded {
            schema.add_resource_fields();
        }
        schema
    }

    fn add_resource_fields(&mut self) {
        let text = || {
            Arc::new(Schema {
                kind: Basic::String,
                ..Schema::default()
            })
        };
        let properties = self.properties.get_or_insert_default();
        let is_text = |s: Option<&Arc<Schema>>| s.is_some_and(|s| s.kind == Basic::String);
        let metadata = properties.get("metadata");
        let inner = metadata.and_then(|m| m.properties.as_ref());
        let complete = is_text(properties.get("kind"))
            && is_text(properties.get("apiVersion"))
            && metadata.is_some_and(|m| m.kind == Basic::Object)
            && inner.is_some_and(|p| is_text(p.get("name")) && is_text(p.get("generateName")));
        if complete {
            return;
        }
        let metadata = Schema {
            kind: Basic::Object,
            properties: Some(BTreeMap::from([
                ("name".to_owned(), text()),
                ("generateName".to_owned(), text()),
            ])),
            ..Schema::default()
        };
        properties.insert("kind".into(), text());
        properties.insert("apiVersion".into(), text());
        properties.insert("metadata".into(), Arc::new(metadata));
    }

    /// The declared type; none when expressions cannot see such values.
    pub fn decl(&self) -> Option<Arc<Decl>> {
        if self.int_or_string {
            let most = self
                .length_max
                .map_or(REQUEST_BYTES_MAX - 2, |l| l.saturating_mul(4));
            return Some(Decl::sized(Type::Dyn, 1, most));
        }
        Some(match self.kind {
            Basic::Array => {
                let items = self.items.as_ref()?.decl()?;
                let most = self
                    .elements_max
                    .unwrap_or_else(|| (REQUEST_BYTES_MAX - 2) / (items.bytes_min + 1));
                Decl::list(items, most)
            }
            Basic::Object => return self.object_decl(),
            Basic::String => self.text_decl(),
            Basic::Boolean => Decl::sized(Type::Bool, 4, 0),
            Basic::Number => Decl::sized(Type::Double, 1, 0),
            Basic::Integer => Decl::sized(Type::Int, 1, 0),
            Basic::None => return None,
        })
    }

    fn object_decl(&self) -> Option<Arc<Decl>> {
        if let Some(additional) = &self.additional {
            let value = additional.decl()?;
            let most = self
                .elements_max
                .unwrap_or_else(|| (REQUEST_BYTES_MAX - 2) / (value.bytes_min + 6));
            return Some(Decl::map(value, most));
        }
        let mut fields = BTreeMap::new();
        let mut bytes_min = 2;
        for (name, schema) in self.properties.iter().flatten() {
            let Some(decl) = schema.decl() else {
                continue;
            };
            if self.required.contains(name) && !schema.has_default {
                bytes_min += name.len() as u64 + decl.bytes_min + 4;
            }
            if let Some(escaped) = escape(name) {
                fields.insert(escaped, decl);
            }
        }
        Some(Decl::unnamed("", fields, bytes_min))
    }

    fn text_decl(&self) -> Arc<Decl> {
        let whole = REQUEST_BYTES_MAX - 2;
        match self.format {
            Format::Byte => Decl::sized(Type::Bytes, 2, self.length_max.unwrap_or(whole)),
            Format::Duration => Decl::sized(Type::Duration, 3, 32),
            Format::Date => Decl::sized(Type::Timestamp, 12, 12),
            Format::DateTime => Decl::sized(Type::Timestamp, 21, 32),
            Format::Text => {
                let most = match (self.length_max, self.enumerated) {
                    (Some(length), _) => length.saturating_mul(4),
                    (None, Some(longest)) => longest,
                    (None, None) => whole,
                };
                Decl::sized(Type::String, 2, most)
            }
        }
    }
}
