//! `Value`: a JSON-like tree for what has no generated struct: patches, custom resources, admission, CEL.
//! Invariant: maps ascend by key, each key once; an integer that fits i64 is `Int`, every other number `Float`.
//! Leaves out text formats, except the JSON of raw fields (`json_text`).

use crate::fill::ValueMapFiller;
use crate::str::Str;
use std::fmt;

/// A dynamic value.
#[derive(Clone, Default, PartialEq)]
pub enum Value {
    /// `null`
    #[default]
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number without fraction or exponent that fits.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// A text
    Str(Str),
    /// An array
    List(Vec<Value>),
    /// An object
    Map(ValueMap),
}

/// An object: entries ascending by key.
#[derive(Clone, Default, PartialEq)]
pub struct ValueMap(Vec<(Str, Value)>);

static NULL: Value = Value::Null;

impl Value {
    /// An empty object.
    pub const fn map() -> Value {
        Value::Map(ValueMap::new())
    }
    /// Whether this is `null`.
    pub const fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }
    /// The bool, when it is one.
    pub const fn as_bool(&self) -> Option<bool> {
        if let Value::Bool(v) = self {
            Some(*v)
        } else {
            None
        }
    }
    /// The number, when it is an integer (also `2.0`).
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Value::Int(v) => Some(*v),
            Value::Float(v) if v.fract() == 0.0 && v.abs() < 9.2e18 => Some(*v as i64),
            _ => None,
        }
    }
    /// The number, when it is one.
    pub const fn as_f64(&self) -> Option<f64> {
        match self {
            Value::Int(v) => Some(*v as f64),
            Value::Float(v) => Some(*v),
            _ => None,
        }
    }
    /// The text, when it is one.
    pub fn as_str(&self) -> Option<&str> {
        if let Value::Str(v) = self {
            Some(v)
        } else {
            None
        }
    }
    /// The elements, when it is an array.
    pub fn as_list(&self) -> Option<&[Value]> {
        if let Value::List(v) = self {
            Some(v)
        } else {
            None
        }
    }
    /// The elements to change, when it is an array.
    pub fn as_list_mut(&mut self) -> Option<&mut Vec<Value>> {
        if let Value::List(v) = self {
            Some(v)
        } else {
            None
        }
    }
    /// The members, when it is an object.
    pub fn as_map(&self) -> Option<&ValueMap> {
        if let Value::Map(v) = self {
            Some(v)
        } else {
            None
        }
    }
    /// The members to change, when it is an object.
    pub fn as_map_mut(&mut self) -> Option<&mut ValueMap> {
        if let Value::Map(v) = self {
            Some(v)
        } else {
            None
        }
    }
    /// The member `key` of an object.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.as_map()?.get(key)
    }
    /// The member `key` of an object, to change.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Value> {
        self.as_map_mut()?.get_mut(key)
    }
    /// What is reached through members of objects one after another.
    pub fn at(&self, path: &[&str]) -> Option<&Value> {
        path.iter().try_fold(self, |v, key| v.get(key))
    }
    /// The text reached through members, empty when there is none.
    pub fn str_at(&self, path: &[&str]) -> &str {
        self.at(path).and_then(Value::as_str).unwrap_or("")
    }
    /// Sets what is reached through members, making objects on the way (replacing what is not one).
    pub fn set(&mut self, path: &[&str], value: impl Into<Value>) {
        let mut at = self;
        for key in path {
            if at.as_map().is_none() {
                *at = Value::map();
            }
            let map = at.as_map_mut().expect("made an object above");
            at = map.get_or_insert_with(*key, || Value::Null);
        }
        *at = value.into();
    }
    /// Go's and JSON's word for the type: `null`, `boolean`, `number`, `string`, `array`, `object`.
    pub const fn type_name(&self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Int(_) | Value::Float(_) => "number",
            Value::Str(_) => "string",
            Value::List(_) => "array",
            Value::Map(_) => "object",
        }
    }
}

impl ValueMap {
    /// No members.
    pub const fn new() -> ValueMap {
        ValueMap(Vec::new())
    }
    /// Number of members.
    pub const fn len(&self) -> usize {
        self.0.len()
    }
    /// Whether there are no members.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    /// Of members that ascend by key.
    pub(crate) fn from_ordered(members: Vec<(Str, Value)>) -> ValueMap {
        ValueMap(members)
    }
    fn find(&self, key: &str) -> Result<usize, usize> {
        match self.0.last() {
            None => Err(0),
            Some((last, _)) if last.as_str() < key => Err(self.0.len()),
            Some(_) => self.0.binary_search_by(|(k, _)| k.as_str().cmp(key)),
        }
    }
    /// The member `key`.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.find(key).ok().map(|i| &self.0[i].1)
    }
    /// The member `key`, to change.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Value> {
        let i = self.find(key).ok()?;
        Some(&mut self.0[i].1)
    }
    /// Whether there is a member `key`.
    pub fn contains_key(&self, key: &str) -> bool {
        self.find(key).is_ok()
    }
    /// Sets the member `key` and returns what it replaces.
    pub fn insert(&mut self, key: impl Into<Str>, value: impl Into<Value>) -> Option<Value> {
        let (key, value) = (key.into(), value.into());
        match self.find(&key) {
            Ok(i) => Some(std::mem::replace(&mut self.0[i].1, value)),
            Err(i) => {
                self.0.insert(i, (key, value));
                None
            }
        }
    }
    /// Removes the member `key` and returns it.
    pub fn remove(&mut self, key: &str) -> Option<Value> {
        let i = self.find(key).ok()?;
        Some(self.0.remove(i).1)
    }
    /// The member `key`, made by `make` when missing.
    pub fn get_or_insert_with(
        &mut self,
        key: impl Into<Str>,
        make: impl FnOnce() -> Value,
    ) -> &mut Value {
        let key = key.into();
        let i = match self.find(&key) {
            Ok(i) => i,
            Err(i) => {
                self.0.insert(i, (key, make()));
                i
            }
        };
        &mut self.0[i].1
    }
    /// Members ascending by key.
    pub fn iter(
        &self,
    ) -> impl DoubleEndedIterator<Item = (&Str, &Value)> + ExactSizeIterator + Clone {
        self.0.iter().map(|(k, v)| (k, v))
    }
    /// Members ascending by key, values to change.
    pub fn iter_mut(
        &mut self,
    ) -> impl DoubleEndedIterator<Item = (&Str, &mut Value)> + ExactSizeIterator {
        self.0.iter_mut().map(|(k, v)| (&*k, v))
    }
    /// Keys in ascending order.
    pub fn keys(&self) -> impl DoubleEndedIterator<Item = &Str> + ExactSizeIterator + Clone {
        self.0.iter().map(|(k, _)| k)
    }
    /// Values ascending by key.
    pub fn values(&self) -> impl DoubleEndedIterator<Item = &Value> + ExactSizeIterator + Clone {
        self.0.iter().map(|(_, v)| v)
    }
    /// Keeps the members that `keep` accepts.
    pub fn retain(&mut self, mut keep: impl FnMut(&Str, &mut Value) -> bool) {
        self.0.retain_mut(|(k, v)| keep(k, v));
    }
}

impl IntoIterator for ValueMap {
    type Item = (Str, Value);
    type IntoIter = std::vec::IntoIter<(Str, Value)>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}
impl<'a> IntoIterator for &'a ValueMap {
    type Item = &'a (Str, Value);
    type IntoIter = std::slice::Iter<'a, (Str, Value)>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}
impl<K: Into<Str>, V: Into<Value>> FromIterator<(K, V)> for ValueMap {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(iter: I) -> ValueMap {
        let mut filler = ValueMapFiller::default();
        for (key, value) in iter {
            filler.insert(key.into(), value.into());
        }
        filler.finish()
    }
}

impl std::ops::Index<&str> for Value {
    type Output = Value;
    /// The member, or `null` when there is none.
    fn index(&self, key: &str) -> &Value {
        self.get(key).unwrap_or(&NULL)
    }
}
impl std::ops::Index<usize> for Value {
    type Output = Value;
    /// The element, or `null` when there is none.
    fn index(&self, index: usize) -> &Value {
        self.as_list().and_then(|l| l.get(index)).unwrap_or(&NULL)
    }
}

impl From<bool> for Value {
    fn from(v: bool) -> Value {
        Value::Bool(v)
    }
}
impl From<i32> for Value {
    fn from(v: i32) -> Value {
        Value::Int(v.into())
    }
}
impl From<i64> for Value {
    fn from(v: i64) -> Value {
        Value::Int(v)
    }
}
impl From<f64> for Value {
    /// Whole numbers become `Int`, as they would when read from text.
    fn from(v: f64) -> Value {
        if v.fract() == 0.0 && v.abs() < 9_007_199_254_740_992.0 {
            Value::Int(v as i64)
        } else {
            Value::Float(v)
        }
    }
}
impl From<Str> for Value {
    fn from(v: Str) -> Value {
        Value::Str(v)
    }
}
impl From<&Str> for Value {
    fn from(v: &Str) -> Value {
        Value::Str(v.clone())
    }
}
impl From<&str> for Value {
    fn from(v: &str) -> Value {
        Value::Str(v.into())
    }
}
impl From<String> for Value {
    fn from(v: String) -> Value {
        Value::Str(v.into())
    }
}
impl From<Vec<Value>> for Value {
    fn from(v: Vec<Value>) -> Value {
        Value::List(v)
    }
}
impl From<ValueMap> for Value {
    fn from(v: ValueMap) -> Value {
        Value::Map(v)
    }
}
impl<V: Into<Value>> From<Option<V>> for Value {
    fn from(v: Option<V>) -> Value {
        v.map_or(Value::Null, Into::into)
    }
}
impl PartialEq<str> for Value {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == Some(other)
    }
}
impl PartialEq<&str> for Value {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == Some(*other)
    }
}

impl fmt::Debug for Value {
    /// As JSON.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::json_text::print(self))
    }
}
impl fmt::Display for Value {
    /// As JSON.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
impl fmt::Debug for ValueMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}
