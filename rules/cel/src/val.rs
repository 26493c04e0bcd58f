//! Values while an expression is evaluated: borrowed from the data and the program where possible, shared otherwise.
//! Invariant: data is converted when it is looked at, never before.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Deref;
use std::rc::Rc;

use corten_core::{Quantity, Str, Value, ValueMap};

use crate::authorizer::Authz;
use crate::formats::NamedFormat;
use crate::net::Cidr;
use crate::schema::{Basic, Format, ListKind, Schema};
use crate::semver::Semver;
use crate::time::{self, Timestamp};
use crate::types::Type;
use crate::url::Url;

/// A text.
#[derive(Clone, Debug)]
pub enum Text<'a> {
    /// Of the data or the program.
    Ref(&'a str),
    /// Made while evaluating.
    Own(Rc<str>),
}

impl Deref for Text<'_> {
    type Target = str;
    fn deref(&self) -> &str {
        match self {
            Text::Ref(s) => s,
            Text::Own(s) => s,
        }
    }
}

/// A value.
#[derive(Clone, Debug)]
pub enum Val<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Str(Text<'a>),
    Bytes(Rc<[u8]>),
    /// Nanoseconds.
    Duration(i64),
    Timestamp(Timestamp),
    List(ListVal<'a>),
    Map(MapVal<'a>),
    Type(Type),
    Optional(Option<Rc<Val<'a>>>),
    /// `Object{...}` and `JSONPatch{...}` of mutating policies.
    Object(Rc<ObjectVal<'a>>),
    Quantity(Rc<Quantity>),
    Url(Rc<Url>),
    Ip(IpAddr),
    Cidr(Cidr),
    Format(&'static NamedFormat),
    Semver(Rc<Semver>),
    Authz(Rc<Authz>),
    /// A value whose schema says nothing of it.
    Preserved(&'a Value),
}

/// A list.
#[derive(Clone, Debug)]
pub enum ListVal<'a> {
    /// Of the data, under the schema of the list.
    Data(&'a [Value], Option<&'a Schema>),
    /// Made while evaluating; how its elements relate comes from the list it was made from.
    Own(Rc<Vec<Val<'a>>>, Option<&'a ListKind>),
}

/// A map.
#[derive(Clone, Debug)]
pub enum MapVal<'a> {
    /// Of the data, under the schema of the object.
    Data(&'a ValueMap, Option<&'a Schema>),
    /// Made while evaluating.
    Own(Rc<BTreeMap<Key<'a>, Val<'a>>>),
    /// Named expressions, evaluated when asked for.
    Variables(&'a dyn Fields<'a>),
}

/// Values by name that are found out when asked for.
pub trait Fields<'a>: std::fmt::Debug {
    /// The value of a name; none when there is no such name.
    fn field(&self, name: &str) -> Option<Result<Val<'a>, String>>;
}

/// An object that an expression made.
#[derive(Clone, Debug)]
pub struct ObjectVal<'a> {
    pub name: String,
    pub fields: BTreeMap<String, Val<'a>>,
}

/// A key of a map.
#[derive(Clone, Debug)]
pub enum Key<'a> {
    Bool(bool),
    Int(i64),
    /// One that is no `Int`.
    Uint(u64),
    Str(Text<'a>),
}

impl Key<'_> {
    fn rank(&self) -> u8 {
        match self {
            Key::Bool(_) => 0,
            Key::Int(_) => 1,
            Key::Uint(_) => 2,
            Key::Str(_) => 3,
        }
    }
}

impl PartialEq for Key<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Key<'_> {}
impl PartialOrd for Key<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Key<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Key::Bool(a), Key::Bool(b)) => a.cmp(b),
            (Key::Int(a), Key::Int(b)) => a.cmp(b),
            (Key::Uint(a), Key::Uint(b)) => a.cmp(b),
            (Key::Str(a), Key::Str(b)) => a.as_bytes().cmp(b.as_bytes()),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl<'a> Key<'a> {
    /// The key for a value; none when such a value cannot be one.
    pub(crate) fn of(value: &Val<'a>) -> Option<Key<'a>> {
        Some(match value {
            Val::Bool(v) => Key::Bool(*v),
            Val::Int(v) => Key::Int(*v),
            Val::Uint(v) => i64::try_from(*v).map_or(Key::Uint(*v), Key::Int),
            Val::Double(v) if v.fract() == 0.0 && v.abs() < 9.2e18 => Key::Int(*v as i64),
            Val::Str(v) => Key::Str(v.clone()),
            _ => return None,
        })
    }
    pub(crate) fn val(&self) -> Val<'a> {
        match self {
            Key::Bool(v) => Val::Bool(*v),
            Key::Int(v) => Val::Int(*v),
            Key::Uint(v) => Val::Uint(*v),
            Key::Str(v) => Val::Str(v.clone()),
        }
    }
}

impl<'a> Val<'a> {
    /// A text of one's own.
    pub fn text(text: impl Into<Rc<str>>) -> Val<'a> {
        Val::Str(Text::Own(text.into()))
    }
    /// A list of one's own.
    pub fn list(elements: Vec<Val<'a>>) -> Val<'a> {
        Val::List(ListVal::Own(Rc::new(elements), None))
    }
    pub(crate) fn some(value: Val<'a>) -> Val<'a> {
        Val::Optional(Some(Rc::new(value)))
    }
    /// The bool, when it is one.
    pub const fn as_bool(&self) -> Option<bool> {
        match self {
            Val::Bool(v) => Some(*v),
            _ => None,
        }
    }
    /// The text, when it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Val::Str(v) => Some(v),
            _ => None,
        }
    }

    /// The elements, when it is a list that can be read.
    pub fn elements(&self) -> Option<Vec<Val<'a>>> {
        match self {
            Val::List(list) => list.all().ok(),
            _ => None,
        }
    }

    /// Data as a value, under a schema or as it is.
    pub fn data(value: &'a Value, schema: Option<&'a Schema>) -> Result<Val<'a>, String> {
        match schema {
            None => Ok(plain(value)),
            Some(schema) => typed(value, schema),
        }
    }

    /// The type as `type()` says it.
    pub(crate) fn type_of(&self) -> Type {
        match self {
            Val::Null => Type::Null,
            Val::Bool(_) => Type::Bool,
            Val::Int(_) => Type::Int,
            Val::Uint(_) => Type::Uint,
            Val::Double(_) => Type::Double,
            Val::Str(_) => Type::String,
            Val::Bytes(_) => Type::Bytes,
            Val::Duration(_) => Type::Duration,
            Val::Timestamp(_) => Type::Timestamp,
            Val::List(_) => Type::list(Type::Dyn),
            Val::Map(_) => Type::map(Type::Dyn, Type::Dyn),
            Val::Type(_) => Type::TypeOf(None),
            Val::Optional(_) => Type::optional(Type::Dyn),
            Val::Object(o) => Type::object(&o.name),
            Val::Quantity(_) => Type::object("kubernetes.Quantity"),
            Val::Url(_) => Type::object("kubernetes.URL"),
            Val::Ip(_) => Type::Opaque("net.IP".into(), Vec::new()),
            Val::Cidr(_) => Type::Opaque("net.CIDR".into(), Vec::new()),
            Val::Format(_) => Type::object("kubernetes.NamedFormat"),
            Val::Semver(_) => Type::object("kubernetes.Semver"),
            Val::Authz(a) => Type::object(a.type_name()),
            Val::Preserved(_) => Type::object("unknown"),
        }
    }

    /// The value as JSON data, for what has such a form.
    ///
    /// # Errors
    /// What cannot be said in JSON.
    pub fn to_value(&self) -> Result<Value, String> {
        Ok(match self {
            Val::Null | Val::Optional(None) => Value::Null,
            Val::Bool(v) => Value::Bool(*v),
            Val::Int(v) => Value::Int(*v),
            Val::Uint(v) => i64::try_from(*v).map_or(Value::Float(*v as f64), Value::Int),
            Val::Double(v) => Value::Float(*v),
            Val::Str(v) => Value::Str(Str::new(v)),
            Val::Bytes(v) => Value::Str(Str::from(crate::formats::base64(v))),
            Val::Duration(_) | Val::Timestamp(_) | Val::Ip(_) | Val::Cidr(_) => {
                let text = crate::convert::to_text(self)?;
                Value::Str(Str::from(text))
            }
            Val::Quantity(q) => Value::Str(Str::new(q.as_str())),
            Val::Optional(Some(v)) => v.to_value()?,
            Val::Preserved(v) => (*v).clone(),
            Val::List(list) => {
                let mut out = Vec::with_capacity(list.len());
                for i in 0..list.len() {
                    out.push(list.get(i)?.to_value()?);
                }
                Value::List(out)
            }
            Val::Map(MapVal::Data(map, _)) => Value::Map((*map).clone()),
            Val::Map(MapVal::Own(map)) => {
                let mut out = ValueMap::new();
                for (key, value) in map.iter() {
                    let Key::Str(key) = key else {
                        return Err("map key is not a string".into());
                    };
                    out.insert(Str::new(key), value.to_value()?);
                }
                Value::Map(out)
            }
            Val::Object(object) => {
                let mut out = ValueMap::new();
                for (name, value) in &object.fields {
                    if !matches!(value, Val::Optional(None)) {
                        out.insert(Str::new(name), value.to_value()?);
                    }
                }
                Value::Map(out)
            }
            other => return Err(format!("cannot convert {} to data", other.type_of())),
        })
    }
}

fn plain<'a>(value: &'a Value) -> Val<'a> {
    match value {
        Value::Null => Val::Null,
        Value::Bool(v) => Val::Bool(*v),
        Value::Int(v) => Val::Int(*v),
        Value::Float(v) => Val::Double(*v),
        Value::Str(v) => Val::Str(Text::Ref(v)),
        Value::List(v) => Val::List(ListVal::Data(v, None)),
        Value::Map(v) => Val::Map(MapVal::Data(v, None)),
    }
}

fn typed<'a>(value: &'a Value, schema: &'a Schema) -> Result<Val<'a>, String> {
    if value.is_null() {
        if schema.nullable {
            return Ok(Val::Null);
        }
        return Err("invalid data, got null for schema with nullable=false".into());
    }
    if schema.int_or_string {
        return match value {
            Value::Str(v) => Ok(Val::Str(Text::Ref(v))),
            Value::Int(v) => Ok(Val::Int(*v)),
            _ => Err(
                "invalid data, expected XIntOrString value to be either a string or integer".into(),
            ),
        };
    }
    let go_type = || match value {
        Value::Bool(_) => "bool",
        Value::Int(_) => "int64",
        Value::Float(_) => "float64",
        Value::Str(_) => "string",
        Value::List(_) => "[]interface {}",
        _ => "map[string]interface {}",
    };
    match (schema.kind, value) {
        (Basic::Object, Value::Map(v)) => Ok(Val::Map(MapVal::Data(v, Some(schema)))),
        (Basic::Object, _) => Err(
            "invalid data, expected a map for the provided schema with type=object".into(),
        ),
        (Basic::Array, Value::List(_)) if schema.items.is_none() => {
            Err("invalid array type, expected Items with a non-empty Schema".into())
        }
        (Basic::Array, Value::List(v)) => Ok(Val::List(ListVal::Data(v, Some(schema)))),
        (Basic::Array, _) => Err(
            "invalid data, expected an array for the provided schema with type=array".into(),
        ),
        (Basic::String, Value::Str(v)) => text(v, schema.format),
        (Basic::String, _) => Err(format!("invalid data, expected string, got {}", go_type())),
        (Basic::Number, Value::Int(v)) => Ok(Val::Double(*v as f64)),
        (Basic::Number, Value::Float(v)) => Ok(Val::Double(*v)),
        (Basic::Number, _) => Err(format!("invalid data, expected float, got {}", go_type())),
        (Basic::Integer, Value::Int(v)) => Ok(Val::Int(*v)),
        (Basic::Integer, _) => Err(format!("invalid data, expected int, got {}", go_type())),
        (Basic::Boolean, Value::Bool(v)) => Ok(Val::Bool(*v)),
        (Basic::Boolean, _) => Err(format!("invalid data, expected bool, got {}", go_type())),
        (Basic::None, _) if schema.preserve => Ok(Val::Preserved(value)),
        (Basic::None, _) => Err(
            "invalid type, expected object, array, number, integer, boolean or string, or no type with x-kubernetes-int-or-string or x-kubernetes-preserve-unknown-fields is true, got ".into(),
        ),
    }
}

fn text(value: &str, format: Format) -> Result<Val<'_>, String> {
    Ok(match format {
        Format::Text => Val::Str(Text::Ref(value)),
        Format::Byte => Val::Bytes(
            crate::formats::unbase64(value)
                .ok_or_else(|| format!("Invalid byte formatted string {value}"))?
                .into(),
        ),
        Format::Duration => Val::Duration(
            time::parse_long_duration(value)
                .map_err(|e| format!("Invalid duration {value}: {e}"))?,
        ),
        Format::Date => Val::Timestamp(
            time::parse_date(value)
                .ok_or_else(|| format!("Invalid date formatted string {value}"))?,
        ),
        Format::DateTime => Val::Timestamp(
            time::parse_timestamp(value)
                .map_err(|e| format!("Invalid date-time formatted string {value}: {e}"))?,
        ),
    })
}

impl<'a> ListVal<'a> {
    pub(crate) fn len(&self) -> usize {
        match self {
            ListVal::Data(list, _) => list.len(),
            ListVal::Own(list, _) => list.len(),
        }
    }
    pub(crate) fn get(&self, index: usize) -> Result<Val<'a>, String> {
        match self {
            ListVal::Data(list, schema) => {
                Val::data(&list[index], schema.and_then(|s| s.items.as_deref()))
            }
            ListVal::Own(list, _) => Ok(list[index].clone()),
        }
    }
    pub(crate) fn all(&self) -> Result<Vec<Val<'a>>, String> {
        (0..self.len()).map(|i| self.get(i)).collect()
    }
    pub(crate) fn kind(&self) -> Option<&'a ListKind> {
        match self {
            ListVal::Data(_, schema) => schema.map(|s| &s.list),
            ListVal::Own(_, kind) => *kind,
        }
    }
}

impl<'a> MapVal<'a> {
    pub(crate) fn len(&self) -> usize {
        match self {
            MapVal::Data(map, _) => map.len(),
            MapVal::Own(map) => map.len(),
            MapVal::Variables(_) => 0,
        }
    }

    /// The value of a key, none when it is absent.
    pub(crate) fn find(&self, key: &Val<'a>) -> Result<Option<Val<'a>>, String> {
        match self {
            MapVal::Own(map) => Ok(Key::of(key).and_then(|k| map.get(&k).cloned())),
            MapVal::Variables(fields) => match key {
                Val::Str(name) => fields.field(name).transpose(),
                _ => Ok(None),
            },
            MapVal::Data(map, schema) => {
                let Val::Str(name) = key else {
                    return if schema.is_some() {
                        Err("no such overload".into())
                    } else {
                        Ok(None)
                    };
                };
                let Some(schema) = schema else {
                    return Ok(map.get(name).map(plain));
                };
                find_typed(map, schema, name)
            }
        }
    }

    /// The keys, as folds see them.
    pub(crate) fn keys(&self) -> Vec<Val<'a>> {
        match self {
            MapVal::Own(map) => map.keys().map(Key::val).collect(),
            MapVal::Variables(_) => Vec::new(),
            MapVal::Data(map, None) => map.iter().map(|(k, _)| Val::Str(Text::Ref(k))).collect(),
            MapVal::Data(map, Some(schema)) => {
                let mut keys = Vec::new();
                for (key, _) in map.iter() {
                    match (&schema.properties, &schema.additional) {
                        (Some(properties), _) if properties.contains_key(key.as_str()) => {
                            keys.push(match crate::escape::escape(key) {
                                Some(escaped) if escaped != key.as_str() => Val::text(escaped),
                                _ => Val::Str(Text::Ref(key)),
                            });
                        }
                        (None, Some(_)) => keys.push(Val::Str(Text::Ref(key))),
                        _ => {}
                    }
                }
                keys
            }
        }
    }
}

fn find_typed<'a>(
    map: &'a ValueMap,
    schema: &'a Schema,
    name: &str,
) -> Result<Option<Val<'a>>, String> {
    if let Some(properties) = &schema.properties {
        let Some(name) = crate::escape::unescape(name) else {
            return Ok(None);
        };
        return match (map.get(&name), properties.get(&name)) {
            (Some(Value::Null) | None, _) | (_, None) => Ok(None),
            (Some(value), Some(schema)) => typed(value, schema).map(Some),
        };
    }
    match (map.get(name), &schema.additional) {
        (Some(value), Some(schema)) => typed(value, schema).map(Some),
        _ => Ok(None),
    }
}
