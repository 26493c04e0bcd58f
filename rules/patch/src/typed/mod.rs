//! Walks over typed values: validation, the set of fields, comparison, merge, removal, and sets after a change of schema.
//! Invariant: all of them name list items by `item_element`.

mod compare;
mod merge;
mod reconcile;
mod remove;
mod to_set;
mod validate;

pub(crate) use compare::{Comparison, compare};
pub(crate) use merge::merge;
pub(crate) use reconcile::reconcile;
pub(crate) use remove::remove;
pub(crate) use to_set::to_set;
pub(crate) use validate::{Duplicates, validate};

use crate::fields::PathElement;
use crate::schema::{Keys, ListAtom, Type};
use corten_core::{Value, ValueMap};

/// The list, when it is one (null is not).
fn list_of(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_list).unwrap_or(&[])
}

/// The object, when it is one.
fn map_of(value: Option<&Value>) -> Option<&ValueMap> {
    value.and_then(Value::as_map)
}

/// What names an item of an associative list.
///
/// # Errors
/// Why it has no name.
fn item_element(list: &ListAtom, item: &Value) -> Result<PathElement, String> {
    let names = list.keys.names();
    if names.is_empty() {
        return match item {
            Value::Map(_) => {
                Err("associative list without keys has an element that's a map type".into())
            }
            Value::List(_) => Err("not supported: associative list with lists as elements".into()),
            Value::Null => {
                Err("associative list without keys has an element that's an explicit null".into())
            }
            scalar => Ok(PathElement::Value(scalar.clone())),
        };
    }
    let map = match item {
        Value::Null => {
            return Err("associative list with keys may not have a null element".into());
        }
        Value::Map(map) => map,
        _ => return Err("associative list with keys may not have non-map elements".into()),
    };
    let element = list.element.atom();
    let mut keys = Vec::with_capacity(names.len());
    for name in &names {
        let default = || {
            element
                .map
                .as_ref()
                .and_then(|map| map.fields.default(name))
        };
        if let Some(value) = map.get(name).cloned().or_else(default) {
            keys.push(((*name).into(), value));
        }
    }
    if keys.is_empty() {
        let quoted: Vec<String> = names.iter().map(|name| format!("{name:?}")).collect();
        return Err(format!(
            "associative list with keys has an element that omits all key fields [{}] (and doesn't have default values for any key fields)",
            quoted.join(" ")
        ));
    }
    keys.sort_by(|(a, _): &(corten_core::Str, Value), (b, _)| a.as_str().cmp(b.as_str()));
    Ok(PathElement::Key(keys))
}

/// Whether an item of an associative list has a name.
fn is_named(list: &ListAtom, item: &Value) -> bool {
    match (list.keys, item) {
        (Keys::One(name), Value::Map(map)) if map.get(name).is_some() => true,
        (Keys::None, Value::Map(_) | Value::List(_) | Value::Null) => false,
        (Keys::None, _) => true,
        _ => item_element(list, item).is_ok(),
    }
}

/// The type of a member; unknown members are taken as they are.
fn member_type<'a>(map: &crate::schema::MapAtom<'a>, name: &str) -> Type<'a> {
    map.type_of(name).unwrap_or(Type::Deduced)
}

/// Names of both objects, each once, ascending.
fn names<'v>(a: Option<&'v ValueMap>, b: Option<&'v ValueMap>) -> Vec<&'v corten_core::Str> {
    let keys = |map: Option<&'v ValueMap>| map.into_iter().flat_map(ValueMap::keys);
    let mut names: Vec<_> = keys(a).chain(keys(b)).collect();
    names.sort_by(|a, b| a.as_str().cmp(b.as_str()));
    names.dedup();
    names
}
