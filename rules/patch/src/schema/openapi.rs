//! Types of custom resources from a structural schema.

use super::{Atom, Fields, Keys, ListAtom, MapAtom, Scalar, Type};
use corten_api::meta::v1::ObjectMeta;
use corten_core::{Message, Value};

const PRESERVE: &str = "x-kubernetes-preserve-unknown-fields";

/// One schema.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Node<'a> {
    schema: &'a Value,
    /// Whether it or one around it keeps unknown members.
    preserve: bool,
    /// Whether it is a whole object with `apiVersion`, `kind` and `metadata`.
    resource: bool,
}

impl<'a> Node<'a> {
    pub fn root(schema: &'a Value) -> Node<'a> {
        Node {
            resource: true,
            ..Node::inside(schema, false)
        }
    }

    fn inside(schema: &'a Value, preserve: bool) -> Node<'a> {
        let says = |key: &str| schema.get(key).and_then(Value::as_bool) == Some(true);
        Node {
            schema,
            preserve: preserve || says(PRESERVE),
            resource: says("x-kubernetes-embedded-resource"),
        }
    }

    fn inner(&self, schema: &'a Value) -> Type<'a> {
        Type::OpenApi(Node::inside(schema, self.preserve))
    }

    pub fn atom(self) -> Atom<'a> {
        let scalar = match self.schema.str_at(&["type"]) {
            "" => {
                return Atom {
                    map: Some(self.map()),
                    scalar: Some(Scalar::Untyped),
                    list: Some(self.list()),
                };
            }
            "object" => {
                return Atom {
                    map: Some(self.map()),
                    ..Atom::default()
                };
            }
            "array" => {
                return Atom {
                    list: Some(self.list()),
                    ..Atom::default()
                };
            }
            "integer" | "number" => Scalar::Numeric,
            "boolean" => Scalar::Boolean,
            "string" => match self.schema.str_at(&["format"]) {
                "" | "byte" => Scalar::Text,
                _ => Scalar::Untyped,
            },
            _ => Scalar::Untyped,
        };
        Atom {
            scalar: Some(scalar),
            ..Atom::default()
        }
    }

    fn map(self) -> MapAtom<'a> {
        let empty = self
            .schema
            .get("properties")
            .and_then(Value::as_map)
            .is_none_or(|p| p.is_empty());
        let element = match self.schema.get("additionalProperties") {
            None if self.preserve || (empty && !self.resource) => Some(Type::Deduced),
            None | Some(Value::Bool(false)) => None,
            Some(Value::Bool(true)) => Some(Type::Deduced),
            Some(schema) => Some(self.inner(schema)),
        };
        let atomic = self.schema.str_at(&["x-kubernetes-map-type"]) == "atomic";
        MapAtom {
            atomic,
            fields: Fields::OpenApi(self),
            element,
        }
    }

    fn list(self) -> ListAtom<'a> {
        let keys = self
            .schema
            .get("x-kubernetes-list-map-keys")
            .and_then(Value::as_list);
        let (associative, keys) = match self.schema.str_at(&["x-kubernetes-list-type"]) {
            "set" => (true, Keys::None),
            "map" => (true, Keys::Values(keys.unwrap_or(&[]))),
            _ => (false, Keys::None),
        };
        let element = self
            .schema
            .get("items")
            .map_or(Type::Untyped, |items| self.inner(items));
        ListAtom {
            associative,
            keys,
            element,
        }
    }

    pub fn field(&self, name: &str) -> Option<Type<'a>> {
        match name {
            "apiVersion" | "kind" if self.resource => Some(Type::Text),
            "metadata" if self.resource => Some(Type::Msg {
                msg: ObjectMeta::msg(),
                atomic: false,
            }),
            _ => self
                .schema
                .get("properties")?
                .get(name)
                .map(|schema| self.inner(schema)),
        }
    }

    pub fn default(&self, name: &str) -> Option<Value> {
        let default = self.schema.get("properties")?.get(name)?.get("default")?;
        (!default.is_null()).then(|| default.clone())
    }
}
