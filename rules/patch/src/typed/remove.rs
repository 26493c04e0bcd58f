//! Removal of members and list items from a value.

use super::{item_element, member_type};
use crate::fields::{FieldSet, PathElement};
use crate::schema::{ListAtom, MapAtom, Type};
use corten_core::{Value, ValueMap};

/// The value without the paths of `gone`. A map or list that becomes empty by that becomes null.
pub(crate) fn remove(of: Type, value: &Value, gone: &FieldSet) -> Value {
    let atom = of.atom().deduced(Some(value));
    if let Some(map) = &atom.map {
        return match value {
            Value::Map(members) if !map.atomic => remove_members(map, members, gone),
            _ => Value::Null,
        };
    }
    if let (None, Some(list)) = (atom.scalar, &atom.list) {
        return match value {
            Value::List(items) if list.associative => remove_items(list, items, gone),
            _ => Value::Null,
        };
    }
    value.clone()
}

fn remove_members(map: &MapAtom, members: &ValueMap, gone: &FieldSet) -> Value {
    let mut out = ValueMap::new();
    for (name, value) in members.iter() {
        let element = PathElement::Field(name.clone());
        if gone.members.contains(&element) {
            continue;
        }
        let kept = match gone.below(&element) {
            Some(below) => remove(member_type(map, name), value, below),
            None => value.clone(),
        };
        out.insert(name.clone(), kept);
    }
    if out.is_empty() {
        Value::Null
    } else {
        Value::Map(out)
    }
}

fn remove_items(list: &ListAtom, items: &[Value], gone: &FieldSet) -> Value {
    let mut out = Vec::with_capacity(items.len());
    for item in items {
        let Ok(element) = item_element(list, item) else {
            out.push(item.clone());
            continue;
        };
        if gone.members.contains(&element) {
            continue;
        }
        out.push(match gone.below(&element) {
            Some(below) => remove(list.element, item, below),
            None => item.clone(),
        });
    }
    if out.is_empty() {
        Value::Null
    } else {
        Value::List(out)
    }
}
