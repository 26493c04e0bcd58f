//! OpenAPI schemas of messages, reached from the served kinds: types, references, list and map markers, patch merge keys.

use corten_api::Gvk;
use corten_api::meta::v1::{ListMeta, ObjectMeta};
use corten_core::{Facts, Field, Form, Kind, ListType, Message, Msg, MsgRef, Shape};
use corten_prose::Prose;
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
pub(super) struct Schemas<'p> {
    prose: &'p Prose,
    dialect: Dialect,
    done: Map<String, Value>,
    open: Vec<&'static Msg>,
}

/// Fields that upstream says are granular, which is what they would be anyway.
const GRANULAR: [(&str, &str); 2] = [
    ("PersistentVolumeClaimStatus", "allocatedResourceStatuses"),
    ("PersistentVolumeSpec", "claimRef"),
];

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";

/// Values of fields whose type belongs to another package than their message, which the table of fields does not know.
type Foreign = ((&'static str, &'static str), &'static [&'static str]);

const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];
const FOREIGN: &[Foreign] = &[
    (("EndpointPort", "protocol"), PROTOCOLS),
    (("IngressPortStatus", "protocol"), PROTOCOLS),
    (("NetworkPolicyPort", "protocol"), PROTOCOLS),
    (("EndpointSlice", "addressType"), &["FQDN", "IPv4", "IPv6"]),
    (
        ("PriorityClass", "preemptionPolicy"),
        &["Never", "PreemptLowerPriority"],
    ),
    (
        ("StorageClass", "reclaimPolicy"),
        &["Delete", "Recycle", "Retain"],
    ),
    (
        ("PersistentVolumeClaimStatus", "allocatedResourceStatuses"),
        &[
            "ControllerResizeInProgress",
            "ControllerResizeInfeasible",
            "NodeResizeInProgress",
            "NodeResizeInfeasible",
            "NodeResizePending",
        ],
    ),
];

/// The schema of an element, with the values that it may have.
fn with_values(mut element: Value, values: &[&str]) -> Value {
    if !values.is_empty() {
        element["enum"] = json!(values);
    }
    element
}

impl<'p> Schemas<'p> {
    pub(super) fn new(dialect: Dialect, prose: &'p Prose) -> Schemas<'p> {
        Schemas {
            prose,
            dialect,
            done: Map::new(),
            open: Vec::new(),
        }
    }

    /// A reference to a served kind's schema, which is collected with all it reaches.
    pub(super) fn of(&mut self, served: &Served) -> Value {
        let gvk = gvk(&served.group, &served.version, &served.kind);
        if let Some(msg) = served.msg {
            return self.reached(msg, gvk);
        }
        let name = custom_name(served);
        if !self.done.contains_key(&name) {
            let schema = self.custom(served);
            self.done.insert(name.clone(), schema);
            self.mark(&name, gvk);
        }
        self.reference(&name)
    }

    /// A reference to the schema of a message that is a kind.
    pub(super) fn reached(&mut self, msg: &'static Msg, gvk: Gvk<'_>) -> Value {
        self.reach(msg);
        let name = name_of(msg);
        self.mark(&name, gvk);
        self.reference(&name)
    }

    /// A reference to the schema of a type that belongs to no group; `GVK`s are added by `shared`.
    pub(super) fn message<T: Message + Default>(&mut self) -> Value {
        let msg = MsgRef::new(&T::default()).msg();
        self.reach(msg);
        let name = name_of(msg);
        if msg.json.iter().any(|f| f.key == "kind") || msg.name == "WatchEvent" {
            self.mark(&name, gvk("", "v1", msg.name));
        }
        self.reference(&name)
    }

    /// Says of options and watch events, which every group version has, that this one has them too.
    pub(super) fn shared(&mut self, group: &str, version: &str) {
        for kind in ["DeleteOptions", "WatchEvent"] {
            let name = format!("{META}.{kind}");
            if self.done.contains_key(&name) {
                self.mark(&name, gvk(group, version, kind));
            }
        }
    }

    /// A reference to the schema of a kind's list.
    pub(super) fn list_of(&mut self, served: &Served) -> Value {
        let kind = format!("{}List", served.kind);
        let gvk = gvk(&served.group, &served.version, &kind);
        if let (Some(_), Some(info)) = (served.msg, corten_api::kind_info(gvk)) {
            return self.reached(info.msg(), gvk);
        }
        let name = format!("{}List", custom_name(served));
        if !self.done.contains_key(&name) {
            let item = self.of(served);
            let metadata = self.message::<ListMeta>();
            let schema = self.list(served, item, metadata);
            self.done.insert(name.clone(), schema);
            self.mark(&name, gvk);
        }
        self.reference(&name)
    }

    fn list(&self, served: &Served, item: Value, mut metadata: Value) -> Value {
        let text = |of: &str| match self.prose.of_field(&format!("{META}.DeleteOptions"), of) {
            Some(said) => json!({"description": said, "type": "string"}),
            None => json!({"type": "string"}),
        };
        describe(&mut metadata, "Standard list metadata.", self.dialect);
        let items = format!("The {} of the list.", served.plural);
        json!({
            "description": list_text(&served.kind),
            "type": "object",
            "required": ["items"],
            "properties": {
                "apiVersion": text("apiVersion"),
                "items": {"description": items, "type": "array", "items": item},
                "kind": text("kind"),
                "metadata": metadata,
            },
        })
    }

    /// What a server says of its version.
    pub(super) fn version(&mut self) -> Value {
        let name = "io.k8s.apimachinery.pkg.version.Info";
        let required = [
            "major",
            "minor",
            "gitVersion",
            "gitCommit",
            "gitTreeState",
            "buildDate",
            "goVersion",
            "compiler",
            "platform",
        ];
        let optional = [
            "emulationMajor",
            "emulationMinor",
            "minCompatibilityMajor",
            "minCompatibilityMinor",
        ];
        let mut properties = Map::new();
        for field in required.iter().chain(&optional) {
            let mut schema = json!({"type": "string"});
            if self.dialect == Dialect::V3 && required.contains(field) {
                schema["default"] = "".into();
            }
            if let Some(text) = self.prose.of_field(name, field) {
                schema["description"] = text.into();
            }
            properties.insert((*field).to_owned(), schema);
        }
        let schema = json!({"type": "object", "required": required, "properties": properties});
        self.named(name, schema)
    }

    /// Adds a group, version and kind to those that a schema is of.
    fn mark(&mut self, name: &str, gvk: Gvk<'_>) {
        const KEY: &str = "x-kubernetes-group-version-kind";
        let gvk = json!({"group": gvk.group, "version": gvk.version, "kind": gvk.kind});
        let Some(Value::Object(schema)) = self.done.get_mut(name) else {
            return;
        };
        let all = schema.entry(KEY).or_insert_with(|| json!([]));
        if let Some(all) = all.as_array_mut().filter(|all| !all.contains(&gvk)) {
            all.push(gvk);
        }
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
                let schema = self.schema(msg);
                self.done.insert(name.clone(), schema);
                // A kind of the core group is one wherever it is reached from.
                let core = gvk("", "v1", msg.name);
                let known = corten_api::kind_info(core).map(|info| info.msg());
                if known.is_some_and(|known| std::ptr::eq(known, msg)) {
                    self.mark(&name, core);
                }
            }
        }
    }

    fn reference(&self, name: &str) -> Value {
        match self.dialect {
            Dialect::V2 => json!({"$ref": format!("#/definitions/{name}")}),
            Dialect::V3 => json!({"$ref": format!("#/components/schemas/{name}")}),
        }
    }

    fn schema(&mut self, msg: &'static Msg) -> Value {
        let name = name_of(msg);
        if msg.form != Form::Struct {
            let mut schema = json!({});
            if let Some(text) = self.prose.of(&name) {
                schema["description"] = text.into();
            }
            return schema;
        }
        let mut properties = Map::new();
        let mut required = Vec::new();
        for field in msg.json {
            let mut schema = self.field(msg.name, field);
            if let Some(text) = self.prose.of_field(&name, field.key) {
                describe(&mut schema, &text, self.dialect);
            } else if (msg.name, field.key) == ("WatchEvent", "object") {
                let text =
                    "The object as the event left it, or a Status when the event is an error.";
                describe(&mut schema, text, self.dialect);
            }
            if GRANULAR.contains(&(msg.name, field.key)) {
                schema["x-kubernetes-map-type"] = "granular".into();
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
        if let Some(text) = self.prose.of(&name) {
            schema["description"] = text.into();
        } else if let Some(kind) = msg.name.strip_suffix("List") {
            schema["description"] = list_text(kind).into();
        }
        schema
    }

    fn field(&mut self, of: &str, field: &'static Field) -> Value {
        let foreign = FOREIGN.iter().find(|(at, _)| *at == (of, field.key));
        let values = foreign.map_or(field.facts.values, |(_, values)| *values);
        let element = self.kind(field);
        let mut schema = match field.shape {
            Shape::Plain | Shape::Pointer => element,
            Shape::List => {
                let items = self.sited(field, element);
                json!({"type": "array", "items": with_values(items, values)})
            }
            Shape::Map => {
                let each = self.sited(field, element);
                json!({"type": "object", "additionalProperties": with_values(each, values)})
            }
        };
        let mut marks = marks(field.facts);
        if let Some(default) = self.default(field) {
            marks.insert("default".into(), default);
        }
        if !values.is_empty() && matches!(field.shape, Shape::Plain | Shape::Pointer) {
            marks.insert("enum".into(), json!(values));
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

    /// What an absent field counts as. Version 2 says nothing of it.
    fn default(&self, field: &Field) -> Option<Value> {
        if self.dialect == Dialect::V2 {
            return None;
        }
        if let Ok(default) = serde_json::from_str::<Value>(field.facts.default) {
            return Some(default);
        }
        let is_struct = field.kind == Kind::Msg;
        match field.shape {
            Shape::Plain if is_struct || !field.omit_empty() => zero(field),
            _ => None,
        }
    }

    /// An element of a list or map: in v3 with the zero value it has when nothing is said.
    fn sited(&self, field: &Field, mut element: Value) -> Value {
        let zero = zero(field).filter(|_| self.dialect == Dialect::V3);
        if let Some(zero) = zero {
            if element.get("$ref").is_some() {
                element = json!({"allOf": [element]});
            }
            element["default"] = zero;
        }
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
            Kind::StrList if self.dialect == Dialect::V3 => {
                json!({"type": "array", "items": {"type": "string", "default": ""}})
            }
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
            Kind::Raw if ["default", "enum", "example"].contains(&field.key) => {
                let json = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON";
                self.named(json, json!({}))
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

    fn named(&mut self, name: &str, mut schema: Value) -> Value {
        if let Some(text) = self.prose.of(name) {
            schema["description"] = text.into();
        }
        self.done.entry(name.to_owned()).or_insert(schema);
        self.reference(name)
    }
}

fn gvk<'a>(group: &'a str, version: &'a str, kind: &'a str) -> Gvk<'a> {
    Gvk {
        group,
        version,
        kind,
    }
}

fn list_text(kind: &str) -> String {
    format!("{kind}List is a list of objects of kind {kind}.")
}

/// Puts a description beside a schema; in v3 a reference then stands in allOf.
pub(super) fn describe(schema: &mut Value, text: &str, dialect: Dialect) {
    if dialect == Dialect::V3 && schema.get("$ref").is_some() {
        *schema = json!({"allOf": [schema.take()]});
    }
    schema["description"] = text.into();
}

/// Go's zero value of a field's kind where it is plain; types with a text form of their own have none.
fn zero(field: &Field) -> Option<Value> {
    match field.kind {
        Kind::Bool => Some(json!(false)),
        Kind::I32 | Kind::I64 | Kind::F64 => Some(json!(0)),
        Kind::Str => Some(json!("")),
        Kind::Msg => field
            .msg()
            .filter(|m| m.form == Form::Struct)
            .map(|_| json!({})),
        _ => None,
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

/// `stable.example.com` + `CronTab` -> `com.example.stable.v1.CronTab`.
fn custom_name(served: &Served) -> String {
    let reversed: Vec<&str> = served.group.split('.').rev().collect();
    format!("{}.{}.{}", reversed.join("."), served.version, served.kind)
}

/// `k8s.io.api.core.v1` + `Pod` -> `io.k8s.api.core.v1.Pod`.
fn name_of(msg: &Msg) -> String {
    let package = msg.package.replace('_', "-");
    match package.strip_prefix("k8s.io.") {
        Some(rest) => format!("io.k8s.{rest}.{}", msg.name),
        None => format!("{package}.{}", msg.name),
    }
}
