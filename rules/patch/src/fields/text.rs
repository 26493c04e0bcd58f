//! FieldsV1: a set as a JSON object whose keys are path elements and whose `.` says that the path itself is a member.

use super::{FieldSet, PathElement};
use corten_core::{RawJson, Value, ValueMap};

impl FieldSet {
    /// The set that FieldsV1 says; null is the empty set.
    ///
    /// # Errors
    /// What is wrong with a key.
    pub fn parse(fields: &Value) -> Result<FieldSet, String> {
        let mut set = FieldSet::default();
        if let Some(map) = fields.as_map() {
            read(map, &mut set)?;
        }
        Ok(set)
    }

    /// FieldsV1 as a value.
    pub fn to_value(&self) -> Value {
        Value::Map(self.to_map(false))
    }

    /// FieldsV1 as text, its keys in upstream's order.
    pub fn to_text(&self) -> RawJson {
        let mut out = String::new();
        self.write(false, &mut out);
        RawJson::from(out)
    }

    fn to_map(&self, member: bool) -> ValueMap {
        let mut out = ValueMap::new();
        if member {
            out.insert(".", Value::map());
        }
        for element in &self.members {
            if !self.children.contains_key(element) {
                out.insert(element.text(), Value::map());
            }
        }
        for (element, child) in &self.children {
            let inner = child.to_map(self.members.contains(element));
            out.insert(element.text(), Value::Map(inner));
        }
        out
    }

    fn write(&self, member: bool, out: &mut String) {
        let mut elements: Vec<&PathElement> =
            self.members.iter().chain(self.children.keys()).collect();
        elements.sort();
        elements.dedup();
        out.push('{');
        let mut first = true;
        if member && !elements.is_empty() {
            out.push_str("\".\":{}");
            first = false;
        }
        for element in elements {
            if !std::mem::take(&mut first) {
                out.push(',');
            }
            out.push_str(&Value::from(element.text()).to_string());
            out.push(':');
            match self.children.get(element) {
                Some(child) => child.write(self.members.contains(element), out),
                None => out.push_str("{}"),
            }
        }
        out.push('}');
    }
}

/// Reads the members of one object; tells whether it had any that this version knows.
fn read(map: &ValueMap, set: &mut FieldSet) -> Result<bool, String> {
    let mut any = false;
    for (key, value) in map.iter() {
        if key.as_str() == "." {
            continue;
        }
        let Some(element) = PathElement::parse(key)? else {
            continue;
        };
        any = true;
        let empty = ValueMap::new();
        let inner = value.as_map().unwrap_or(&empty);
        let mut child = FieldSet::default();
        let has_children = read(inner, &mut child)?;
        if !has_children || inner.contains_key(".") {
            set.members.insert(element.clone());
        }
        if has_children {
            set.children.insert(element, child);
        }
    }
    Ok(any)
}

/// FieldsV1 as text with its keys in upstream's order, which for numeric keys is not that of texts.
/// What is not FieldsV1 is printed as it is.
pub fn fields_text(fields: &Value) -> RawJson {
    match FieldSet::parse(fields) {
        Ok(set) => set.to_text(),
        Err(_) => RawJson::from_value(fields),
    }
}
