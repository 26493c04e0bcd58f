//! The merge of an applied configuration into an object: leaves are the configuration's, nothing is removed, and lists
//! keep the object's order except where the configuration says another.

use super::{item_element, list_of, map_of, member_type, names};
use crate::fields::PathElement;
use crate::schema::{ListAtom, MapAtom, Type};
use corten_core::{Value, ValueMap};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Merges `new` into `old`; None when the result is nothing.
///
/// # Errors
/// When an item of an associative list has no name, or two of `new` have the same.
pub(crate) fn merge(
    of: Type,
    old: Option<&Value>,
    new: Option<&Value>,
) -> Result<Option<Value>, String> {
    // The side that has a value decides its form; null takes the other's.
    let atom = of.atom();
    let atom = atom.deduced(if new.is_none() { old } else { new });
    let leaf = || Ok(new.or(old).cloned());
    if let Some(map) = &atom.map {
        let (old_map, new_map) = (map_of(old), map_of(new));
        let empty = |map: Option<&ValueMap>| map.is_none_or(ValueMap::is_empty);
        if map.atomic || (empty(old_map) && empty(new_map)) {
            return leaf();
        }
        return merge_maps(map, old_map, new_map);
    }
    if let (None, Some(list)) = (atom.scalar, &atom.list) {
        let (old_items, new_items) = (list_of(old), list_of(new));
        if !list.associative || (old_items.is_empty() && new_items.is_empty()) {
            return leaf();
        }
        return merge_lists(list, old_items, new_items);
    }
    leaf()
}

fn merge_maps(
    map: &MapAtom,
    old: Option<&ValueMap>,
    new: Option<&ValueMap>,
) -> Result<Option<Value>, String> {
    let mut out = ValueMap::new();
    for name in names(old, new) {
        let of = member_type(map, name);
        let (old, new) = (old.and_then(|m| m.get(name)), new.and_then(|m| m.get(name)));
        if let Some(value) = merge(of, old, new)? {
            out.insert(name.clone(), value);
        }
    }
    Ok((!out.is_empty()).then_some(Value::Map(out)))
}

/// The items of one side by name, in order.
struct Items<'v> {
    order: Vec<(PathElement, &'v Value)>,
    by_name: BTreeMap<PathElement, Option<&'v Value>>,
}

fn index<'v>(list: &ListAtom, items: &'v [Value], refuse: bool) -> Result<Items<'v>, String> {
    let mut out = Items {
        order: Vec::with_capacity(items.len()),
        by_name: BTreeMap::new(),
    };
    for (i, item) in items.iter().enumerate() {
        let element = item_element(list, item).map_err(|e| format!("element {i}: {e}"))?;
        if out.by_name.contains_key(&element) {
            if refuse {
                return Err(format!("duplicate entries for key {element}"));
            }
            // Items with the same name are not merged with a new one.
            out.by_name.insert(element.clone(), None);
        } else {
            out.by_name.insert(element.clone(), Some(item));
        }
        out.order.push((element, item));
    }
    Ok(out)
}

fn merge_lists(list: &ListAtom, old: &[Value], new: &[Value]) -> Result<Option<Value>, String> {
    let new = index(list, new, true)?;
    let old = index(list, old, false)?;
    let shared = new
        .order
        .iter()
        .filter(|(name, _)| old.by_name.contains_key(name));
    let mut shared: VecDeque<&PathElement> = shared.map(|(name, _)| name).collect();
    let mut next_shared = shared.pop_front();
    let mut merged: BTreeSet<&PathElement> = BTreeSet::new();
    let mut out = Vec::with_capacity(old.order.len().max(new.order.len()));
    let (mut l, mut r) = (0, 0);
    while l < old.order.len() || r < new.order.len() {
        let left = old.order.get(l);
        let right = new.order.get(r);
        if let (Some((name, _)), Some((new_name, item))) = (left, right) {
            if name == new_name {
                merged.insert(new_name);
                let old_item = old.by_name.get(name).copied().flatten();
                out.extend(merge(list.element, old_item, Some(item))?);
                (l, r) = (l + 1, r + 1);
                next_shared = shared.pop_front();
                continue;
            }
            if new.by_name.contains_key(name) && next_shared.is_some_and(|next| next != name) {
                // Shared, but not the one that comes next.
                l += 1;
                continue;
            }
        }
        if let Some((name, item)) = left {
            if !new.by_name.contains_key(name) {
                out.extend(merge(list.element, Some(item), None)?);
                l += 1;
                continue;
            }
            if merged.contains(name) {
                l += 1;
            }
        }
        if let Some((name, item)) = right {
            merged.insert(name);
            let old_item = old.by_name.get(name).copied().flatten();
            out.extend(merge(list.element, old_item, Some(item))?);
            r += 1;
            if next_shared == Some(name) {
                next_shared = shared.pop_front();
            }
        }
    }
    Ok((!out.is_empty()).then_some(Value::List(out)))
}
