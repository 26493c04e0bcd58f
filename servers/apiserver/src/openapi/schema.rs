//! OpenAPI schemas of messages, reached from the served kinds: types, references, list and map markers, patch merge keys.

use corten_api::meta::v1::ObjectMeta;
use corten_core::{Facts, Field, Form, Kind, ListType, Msg, MsgRef, Shape};
use serde_json::{Map, Value, json};

use super::custom;
use crate::catalog::Served;

/// Which OpenAPI the schemas are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    V2,
    V3,
}

/// The schemas collected for one document.
pub(super) struct Schemas {
    dialect: Dialect,
    done: Map<String, Value>,
    open: Vec<&'static Msg>,
}

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";

impl Schemas {
    pub(super) fn new(dialect: Dialect) -> Schemas {
        Schemas {
            dialect,
            done: Map::new(),
            open: Vec::new(),
        }
    }

    /// A reference to a served kind's schema, which is collected with all it reaches.
    pub(super) fn of(&mut self, served: &Served) -> Value {
        let gvk = json!([{"group": served.group, "version": served.version, "kind": served.kind}]);
        let name = match served.msg {
            Some(msg) => {
                self.reach(msg);
                name_of(msg)
            }
            None => {
                let reversed: Vec<&str> = served.group.split('.').rev().collect();
                let name = format!("{}.{}.{}", reversed.join("."), served.version, served.kind);
                let schema = self.custom(served);
                self.done.insert(name.clone(), schema);
                name
            }
        };
        if let Some(Value::Object(schema)) = self.done.get_mut(&name) {
            schema.insert("x-kubernetes-group-version-kind".into(), gvk);
        }
        self.reference(&name)
    }

    /// All schemas, by name.
    pub(super) fn finish(self) -> Map<String, Value> {
        let mut named: Vec<(String, Value)> = self.done.into_iter().collect();
        named.sort_by(|a, b| a.0.cmp(&b.0));
        named.into_iter().collect()
    }

    fn custom(&mut self, served: &Served) -> Value {
        let msg = MsgRef::new(&ObjectMeta::default()).msg();
        self.reach(msg);
        let metadata = self.reference(&name_of(msg));
        let keeps = served.custom.as_ref().is_some_and(|c| c.keeps_unknown);
        custom::published(served.schema.as_ref(), keeps, &metadata, self.dialect)
    }

    fn reach(&mut self, root: &'static Msg) {
        self.open.push(root);
        while let Some(msg) = self.open.pop() {
            let name = name_of(msg);
            if !self.done.contains_key(&name) {
                self.done.insert(name.clone(), Value::Null);
                let schema = self.message(msg);
                self.done.insert(name, schema);
            }
        }
    }

    fn reference(&self, name: &str) -> Value {
        match self.dialect {
            Dialect::V2 => json!({"$ref": format!("#/definitions/{name}")}),
            Dialect::V3 => json!({"$ref": format!("#/components/schemas/{name}")}),
        }
    }

    fn message(&mut self, msg: &'static Msg) -> Value {
        if msg.form != Form::Struct {
            return json!({});
        }
        let mut properties = Map::new();
        let mut required = Vec::new();
        for field in msg.json {
            let mut schema = self.field(field);
            let said = (msg.name == "ObjectMeta").then(|| custom::of_metadata(field.key));
            if let (Some(Some(said)), Some(schema)) = (said, schema.as_object_mut()) {
                schema.insert("description".into(), said.into());
            }
            properties.insert(field.key.to_owned(), schema);
            if field.required() {
                required.push(field.key);
            }
        }
        let mut schema = json!({"type": "object"});
        if !properties.is_empty() {
            schema["properties"] = Value::Object(properties);
        }
        if !required.is_empty() {
            schema["required"] = json!(required);
        }
        if msg.atomic {
            schema["x-kubernetes-map-type"] = "atomic".into();
        }
        schema
    }

    fn field(&mut self, field: &'static Field) -> Value {
        let element = self.kind(field);
        let mut schema = match field.shape {
            Shape::Plain | Shape::Pointer => element,
            Shape::List => json!({"type": "array", "items": self.sited(element)}),
            Shape::Map => json!({"type": "object", "additionalProperties": self.sited(element)}),
        };
        let mut marks = marks(field.facts);
        if let Ok(default) = serde_json::from_str::<Value>(field.facts.default) {
            marks.insert("default".into(), default);
        }
        if !field.facts.values.is_empty() {
            marks.insert("enum".into(), json!(field.facts.values));
        }
        let bare = marks.is_empty();
        if let (Dialect::V3, false, Some(_)) = (self.dialect, bare, schema.get("$ref")) {
            schema = json!({"allOf": [schema]});
        }
        if let Some(map) = schema.as_object_mut() {
            map.extend(marks);
        }
        schema
    }

    /// In v3 a reference among other keywords stands in allOf; elements need it only with a default, which we leave out.
    fn sited(&self, element: Value) -> Value {
        element
    }

    fn kind(&mut self, field: &'static Field) -> Value {
        match field.kind {
            Kind::Bool => json!({"type": "boolean"}),
            Kind::I32 => json!({"type": "integer", "format": "int32"}),
            Kind::I64 => json!({"type": "integer", "format": "int64"}),
            Kind::F64 => json!({"type": "number", "format": "double"}),
            Kind::Str => json!({"type": "string"}),
            Kind::Bin => json!({"type": "string", "format": "byte"}),
            Kind::StrList => json!({"type": "array", "items": {"type": "string"}}),
            Kind::Time => self.named(
                &format!("{META}.Time"),
                json!({"type": "string", "format": "date-time"}),
            ),
            Kind::MicroTime => self.named(
                &format!("{META}.MicroTime"),
                json!({"type": "string", "format": "date-time"}),
            ),
            Kind::Duration => self.named(&format!("{META}.Duration"), json!({"type": "string"})),
            Kind::Quantity => {
                let schema = match self.dialect {
                    Dialect::V3 => json!({"oneOf": [{"type": "string"}, {"type": "number"}]}),
                    Dialect::V2 => json!({"type": "string"}),
                };
                self.named("io.k8s.apimachinery.pkg.api.resource.Quantity", schema)
            }
            Kind::IntOrString => {
                let schema = match self.dialect {
                    Dialect::V3 => {
                        json!({"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]})
                    }
                    Dialect::V2 => json!({"type": "string", "format": "int-or-string"}),
                };
                self.named("io.k8s.apimachinery.pkg.util.intstr.IntOrString", schema)
            }
            Kind::Raw if field.key == "fieldsV1" => {
                self.named(&format!("{META}.FieldsV1"), json!({"type": "object"}))
            }
            Kind::Raw => self.named(
                "io.k8s.apimachinery.pkg.runtime.RawExtension",
                json!({"type": "object"}),
            ),
            Kind::Msg => match field.msg() {
                Some(msg) => {
                    self.open.push(msg);
                    self.reference(&name_of(msg))
                }
                None => json!({"type": "object"}),
            },
        }
    }

    fn named(&mut self, name: &str, schema: Value) -> Value {
        self.done.entry(name.to_owned()).or_insert(schema);
        self.reference(name)
    }
}

fn marks(facts: &Facts) -> Map<String, Value> {
    let mut marks = Map::new();
    let list_type = match facts.list_type {
        ListType::Unset => "",
        ListType::Atomic => "atomic",
        ListType::Set => "set",
        ListType::Map => "map",
    };
    if !list_type.is_empty() {
        marks.insert("x-kubernetes-list-type".into(), list_type.into());
    }
    if !facts.map_keys.is_empty() {
        marks.insert("x-kubernetes-list-map-keys".into(), json!(facts.map_keys));
    }
    if facts.atomic {
        marks.insert("x-kubernetes-map-type".into(), "atomic".into());
    }
    if !facts.patch_strategy.is_empty() {
        marks.insert(
            "x-kubernetes-patch-strategy".into(),
            facts.patch_strategy.into(),
        );
    }
    if !facts.patch_merge_key.is_empty() {
        marks.insert(
            "x-kubernetes-patch-merge-key".into(),
            facts.patch_merge_key.into(),
        );
    }
    marks
}

/// `k8s.io.api.core.v1` + `Pod` -> `io.k8s.api.core.v1.Pod`.
fn name_of(msg: &Msg) -> String {
    match msg.package.strip_prefix("k8s.io.") {
        Some(rest) => format!("io.k8s.{rest}.{}", msg.name),
        None => format!("{}.{}", msg.package, msg.name),
    }
}
