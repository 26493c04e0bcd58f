//! Go declarations resolved to messages: every field's Rust type, JSON key, number and flags.
//! Invariant: a field's number exists in the protobuf file, and its scalar width agrees with it.

use super::facts::{self, Facts};
use super::go;
use super::names::snake;
use super::packages::Source;
use anyhow::{Result, bail, ensure};
use std::collections::{BTreeMap, BTreeSet};

/// All messages and the modules that hold them.
#[derive(Debug)]
pub struct Schema {
    pub modules: Vec<Module>,
    pub messages: BTreeMap<Id, Message>,
}

/// Module and Go name of a message.
pub type Id = (String, String);

/// One Rust module.
#[derive(Debug)]
pub struct Module {
    pub name: String,
    pub version: String,
    pub group: Option<String>,
    pub messages: Vec<Id>,
    /// Names that stand for a message of another module.
    pub aliases: Vec<(String, Id)>,
}

/// One message.
#[derive(Debug, Clone)]
pub struct Message {
    pub package: String,
    pub form: &'static str,
    pub atomic: bool,
    pub fields: Vec<Field>,
    /// Whether it has an embedded TypeMeta, so that it is a kind.
    pub kind: bool,
}

/// One field.
#[derive(Debug, Clone)]
pub struct Field {
    pub name: String,
    pub ty: Type,
    pub key: String,
    pub number: u16,
    pub flags: Vec<&'static str>,
    pub facts: Facts,
}

/// A field's type.
#[derive(Debug, Clone, PartialEq)]
pub enum Type {
    Scalar(&'static str),
    Message(Id),
    Pointer(Box<Type>),
    List(Box<Type>),
    Map(Box<Type>),
}

impl Field {
    pub fn inline(&self) -> bool {
        self.flags.contains(&"INLINE")
    }
}

/// Types that have no struct of their own.
const SPECIAL: &[(&str, &str, &str)] = &[
    ("k8s.io/apimachinery/pkg/apis/meta/v1", "Time", "Time"),
    (
        "k8s.io/apimachinery/pkg/apis/meta/v1",
        "MicroTime",
        "MicroTime",
    ),
    (
        "k8s.io/apimachinery/pkg/apis/meta/v1",
        "Duration",
        "Duration",
    ),
    (
        "k8s.io/apimachinery/pkg/apis/meta/v1",
        "FieldsV1",
        "RawJson",
    ),
    (
        "k8s.io/apimachinery/pkg/api/resource",
        "Quantity",
        "Quantity",
    ),
    (
        "k8s.io/apimachinery/pkg/util/intstr",
        "IntOrString",
        "IntOrString",
    ),
    ("k8s.io/apimachinery/pkg/runtime", "RawExtension", "RawJson"),
    ("k8s.io/apimachinery/pkg/runtime", "Object", "RawJson"),
    ("k8s.io/apimachinery/pkg/runtime", "Unknown", "RawJson"),
    (
        "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1",
        "JSON",
        "RawJson",
    ),
    (
        "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1beta1",
        "JSON",
        "RawJson",
    ),
    ("k8s.io/apimachinery/pkg/types", "UID", "Str"),
    ("k8s.io/apimachinery/pkg/types", "NodeName", "Str"),
];

/// Structs of meta without protobuf that are messages all the same.
const WITHOUT_PROTO: &[&str] = &[
    "Table",
    "TableColumnDefinition",
    "TableRow",
    "TableRowCondition",
];

const FORMS: &[(&str, &str)] = &[
    ("JSONSchemaPropsOrBool", "OrBool"),
    ("JSONSchemaPropsOrArray", "OrArray"),
    ("JSONSchemaPropsOrStringArray", "OrStringArray"),
];

/// Resolves everything.
pub fn resolve(sources: &[Source]) -> Result<Schema> {
    let resolver = Resolver { sources };
    let mut schema = Schema {
        modules: Vec::new(),
        messages: BTreeMap::new(),
    };
    for source in sources {
        let mut module = Module {
            name: source.module.clone(),
            version: source.version.clone(),
            group: source.group.clone(),
            messages: Vec::new(),
            aliases: Vec::new(),
        };
        for (declared, context) in resolver.structs(source) {
            let id = (source.module.clone(), declared.name.clone());
            schema
                .messages
                .insert(id.clone(), resolver.message(source, context, &declared)?);
            module.messages.push(id);
        }
        for (name, named) in source.go.named.iter().filter(|(_, n)| n.alias) {
            if let Ok(Type::Message(id)) = resolver.ty(source, &named.imports, &named.target) {
                module.aliases.push((name.clone(), id));
            }
        }
        schema.modules.push(module);
    }
    check_references(&schema)?;
    Ok(schema)
}

fn check_references(schema: &Schema) -> Result<()> {
    fn target(ty: &Type) -> Option<&Id> {
        match ty {
            Type::Scalar(_) => None,
            Type::Message(id) => Some(id),
            Type::Pointer(t) | Type::List(t) | Type::Map(t) => target(t),
        }
    }
    let missing: BTreeSet<String> = schema
        .messages
        .iter()
        .flat_map(|(id, m)| m.fields.iter().map(move |f| (id, f)))
        .filter(|(_, f)| target(&f.ty).is_some_and(|t| !schema.messages.contains_key(t)))
        .map(|(id, f)| format!("{}.{}.{}", id.0, id.1, f.name))
        .collect();
    ensure!(
        missing.is_empty(),
        "fields whose message is not generated: {missing:?}"
    );
    Ok(())
}

struct Resolver<'a> {
    sources: &'a [Source],
}

impl<'a> Resolver<'a> {
    fn source(&self, path: &str) -> Option<&'a Source> {
        self.sources.iter().find(|s| s.path == path)
    }

    /// Structs of a package that are messages, with the package in which their fields are to be read
    /// (`type X other.Y` makes a message X with the fields of Y).
    fn structs(&self, source: &'a Source) -> Vec<(go::Struct, &'a Source)> {
        let mut out: Vec<(go::Struct, &Source)> = Vec::new();
        for declared in &source.go.structs {
            let known = source.proto.messages.contains_key(&declared.name)
                || (source.group.is_none() && WITHOUT_PROTO.contains(&declared.name.as_str()));
            let json = declared.fields.is_empty()
                || declared.fields.iter().any(|f| f.tags.contains_key("json"));
            let special = SPECIAL
                .iter()
                .any(|(path, name, _)| *path == source.path && *name == declared.name);
            let form = FORMS.iter().any(|(name, _)| *name == declared.name);
            if known && !special && (json || form) && declared.name != "Timestamp" {
                out.push((declared.clone(), source));
            }
        }
        for (name, named) in source
            .go
            .named
            .iter()
            .filter(|(n, d)| !d.alias && source.proto.messages.contains_key(*n))
        {
            if let Some((context, target)) = self.struct_of(source, &named.imports, &named.target) {
                let markers = if named.markers.is_empty() {
                    target.markers.clone()
                } else {
                    named.markers.clone()
                };
                out.push((
                    go::Struct {
                        name: name.clone(),
                        markers,
                        ..target.clone()
                    },
                    context,
                ));
            }
        }
        out
    }

    fn struct_of(
        &self,
        source: &'a Source,
        imports: &go::Imports,
        expr: &str,
    ) -> Option<(&'a Source, &'a go::Struct)> {
        let (home, name) = self.home(source, imports, expr)?;
        Some((home, home.go.structs.iter().find(|s| s.name == name)?))
    }

    fn home<'e>(
        &self,
        source: &'a Source,
        imports: &go::Imports,
        expr: &'e str,
    ) -> Option<(&'a Source, &'e str)> {
        match expr.split_once('.') {
            Some((alias, name)) => Some((self.source(imports.get(alias)?)?, name)),
            None => Some((source, expr)),
        }
    }

    fn message(
        &self,
        source: &Source,
        context: &'a Source,
        declared: &go::Struct,
    ) -> Result<Message> {
        let numbers = source.proto.messages.get(&declared.name);
        let form = FORMS
            .iter()
            .find(|(name, _)| *name == declared.name)
            .map_or("Struct", |(_, form)| form);
        let mut fields = Vec::new();
        let mut kind = false;
        for field in &declared.fields {
            if field.name.is_none() && field.kind.ends_with("TypeMeta") {
                kind = true;
                for (name, key) in [("kind", "kind"), ("api_version", "apiVersion")] {
                    let (name, key) = (name.to_string(), key.to_string());
                    fields.push(Field {
                        name,
                        ty: Type::Scalar("Str"),
                        key,
                        number: 0,
                        flags: vec!["OMIT"],
                        facts: Facts::default(),
                    });
                }
            } else if let Some(field) =
                self.field(context, declared, field, form != "Struct", numbers)?
            {
                fields.push(field);
            }
        }
        Ok(Message {
            package: source.proto.package.clone(),
            form,
            atomic: facts::atomic(&declared.markers),
            fields,
            kind,
        })
    }

    fn field(
        &self,
        context: &'a Source,
        declared: &go::Struct,
        field: &go::Field,
        bare: bool,
        numbers: Option<&BTreeMap<u16, String>>,
    ) -> Result<Option<Field>> {
        let what = || {
            format!(
                "{}.{}.{}",
                context.module,
                declared.name,
                field.name.as_deref().unwrap_or(&field.kind)
            )
        };
        let json = field.tags.get("json").cloned().unwrap_or_default();
        let mut options = json.split(',');
        let key = options.next().unwrap_or_default().to_string();
        let options: Vec<&str> = options.collect();
        if (!bare && json.is_empty()) || key == "-" {
            return Ok(None);
        }
        let ty = self.ty(context, &declared.imports, &field.kind)?;
        let inline = field.name.is_none() && key.is_empty();
        let number = field
            .tags
            .get("protobuf")
            .and_then(|t| t.split(',').nth(1))
            .and_then(|n| n.parse().ok())
            .unwrap_or(0);
        if let Some(numbers) = numbers {
            let Some(wire) = numbers.get(&number) else {
                bail!("{}: number {number} is not in the protobuf file", what())
            };
            ensure!(
                wire_agrees(&ty, wire),
                "{}: {ty:?} is {wire} on the wire",
                what()
            );
        }
        // runtime.Unknown (only in audit events) is raw text in JSON but an envelope in protobuf, which nobody reads.
        let on_wire = numbers.is_some() && !field.kind.ends_with("runtime.Unknown");
        let wrapped = self.wrapped(context, &declared.imports, &field.kind);
        let flags = flags(field, &options, inline, wrapped, bare);
        let name = match &field.name {
            Some(name) => snake(name),
            None if inline => snake(field.kind.rsplit('.').next().unwrap_or(&field.kind)),
            None => snake(&key),
        };
        let key = if bare && key.is_empty() {
            name.clone()
        } else {
            key
        };
        Ok(Some(Field {
            name,
            ty,
            key,
            number: if on_wire { number } else { 0 },
            flags,
            facts: facts::of(field, context),
        }))
    }

    /// Whether the type is a named list that is a message on the wire (`ExtraValue`, `Verbs`).
    fn wrapped(&self, source: &'a Source, imports: &go::Imports, expr: &str) -> bool {
        let expr = expr.strip_prefix("map[string]").unwrap_or(expr);
        let Some((home, name)) = self.home(source, imports, expr) else {
            return false;
        };
        home.go
            .named
            .get(name)
            .is_some_and(|n| n.target.starts_with("[]"))
            && home.proto.messages.contains_key(name)
    }

    fn ty(&self, source: &'a Source, imports: &go::Imports, expr: &str) -> Result<Type> {
        if expr == "[]byte" {
            return Ok(Type::Scalar("Bin"));
        }
        if let Some(rest) = expr.strip_prefix('*') {
            return Ok(Type::Pointer(Box::new(self.ty(source, imports, rest)?)));
        }
        if let Some(rest) = expr.strip_prefix("[]") {
            return Ok(Type::List(Box::new(self.ty(source, imports, rest)?)));
        }
        if let Some((_, rest)) = expr.strip_prefix("map[").and_then(|r| r.split_once(']')) {
            return Ok(Type::Map(Box::new(self.ty(source, imports, rest)?)));
        }
        let scalar = match expr {
            "string" => "Str",
            "bool" => "bool",
            "int32" => "i32",
            "int64" | "int" => "i64",
            "float64" => "f64",
            "interface{}" | "any" => "RawJson",
            _ => return self.named(source, imports, expr),
        };
        Ok(Type::Scalar(scalar))
    }

    fn named(&self, source: &'a Source, imports: &go::Imports, expr: &str) -> Result<Type> {
        let (path, name) = match expr.split_once('.') {
            Some((alias, name)) => (imports.get(alias).map_or(alias, String::as_str), name),
            None => (source.path.as_str(), expr),
        };
        if let Some((_, _, scalar)) = SPECIAL.iter().find(|(p, n, _)| *p == path && *n == name) {
            return Ok(Type::Scalar(scalar));
        }
        let Some(home) = self.source(path) else {
            bail!(
                "{}: type {expr} is of an unknown package {path}",
                source.path
            )
        };
        if home.go.structs.iter().any(|s| s.name == name) {
            return Ok(Type::Message((home.module.clone(), name.to_string())));
        }
        let Some(named) = home.go.named.get(name) else {
            bail!("{}: no type {expr}", source.path)
        };
        let target = self.ty(home, &named.imports, &named.target)?;
        match target {
            Type::Message(_) if !named.alias => {
                Ok(Type::Message((home.module.clone(), name.to_string())))
            }
            target => Ok(target),
        }
    }
}

fn flags(
    field: &go::Field,
    options: &[&str],
    inline: bool,
    wrapped: bool,
    bare: bool,
) -> Vec<&'static str> {
    let (omit, omit_zero) = (
        options.contains(&"omitempty"),
        options.contains(&"omitzero"),
    );
    let optional = omit || omit_zero || facts::flag(&field.markers, "optional");
    let required = !inline && !bare && (!optional || facts::flag(&field.markers, "required"));
    let all = [
        (omit, "OMIT"),
        (omit_zero, "OMITZERO"),
        (inline, "INLINE"),
        (wrapped, "WRAPPED"),
        (required, "REQUIRED"),
    ];
    all.into_iter()
        .filter(|(set, _)| *set)
        .map(|(_, name)| name)
        .collect()
}

fn wire_agrees(ty: &Type, wire: &str) -> bool {
    match ty {
        Type::Scalar("i32") => wire == "int32",
        Type::Scalar("i64") => wire == "int64",
        Type::Scalar("f64") => wire == "double",
        Type::Scalar("bool") => wire == "bool",
        Type::Scalar("Str") => wire == "string",
        Type::Scalar("Bin") => wire == "bytes",
        Type::Pointer(t) | Type::List(t) => wire_agrees(t, wire) || !wire.contains("int"),
        Type::Map(_) => wire.starts_with("map<") || !wire.contains("int"),
        _ => wire.contains(char::is_uppercase),
    }
}
