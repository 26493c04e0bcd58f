//! Merging of lists: by merge key or as sets of scalars, and the order of the result: the patch's items in the patch's
//! order, what only the server has in the server's, interleaved by the server's order.

use super::meta::Meta;
use super::{
    DIRECTIVE, SET_ORDER, bad_directive, bad_type, merge_map, no_merge_key, target,
    without_directives,
};
use crate::PatchError;
use crate::error::{bad, invalid, misfit};
use crate::go_text::go_text;
use corten_core::{Value, ValueMap};

/// Merges `patch` into `original`; with `deletes` removes its scalars instead.
pub(super) fn merge(
    original: Vec<Value>,
    patch: Vec<Value>,
    meta: Meta,
    key: &str,
    deletes: bool,
) -> Result<Vec<Value>, PatchError> {
    if original.is_empty() && patch.is_empty() {
        return Ok(original);
    }
    let maps = holds_maps(&original, &patch)?;
    if !maps && deletes {
        return Ok(original
            .into_iter()
            .filter(|v| !patch.contains(v))
            .collect());
    }
    if !maps {
        let mut merged: Vec<Value> = Vec::new();
        for value in original.iter().chain(&patch) {
            if !merged.contains(value) {
                merged.push(value.clone());
            }
        }
        let (ours, servers) = partition(merged, &patch, key)?;
        return Ok(ordered(ours, servers, &patch, &original, key));
    }
    if key.is_empty() {
        return bad(format!(
            "cannot merge lists without merge key for {}",
            meta.name()
        ));
    }
    let (original, patch) = special_elements(original, patch, key)?;
    let merged = merge_by_key(original.clone(), &patch, key, meta)?;
    let (ours, servers) = partition(merged, &patch, key)?;
    Ok(ordered(ours, servers, &patch, &original, key))
}

/// Carries out and removes the elements with `$patch`.
fn special_elements(
    mut original: Vec<Value>,
    patch: Vec<Value>,
    key: &str,
) -> Result<(Vec<Value>, Vec<Value>), PatchError> {
    let mut plain = Vec::with_capacity(patch.len());
    let mut replace = false;
    for item in patch {
        match item.get(DIRECTIVE).cloned() {
            None => plain.push(item),
            Some(v) if v == "replace" => replace = true,
            Some(v) if v == "merge" => {
                return bad("merging lists cannot yet be specified in the patch");
            }
            Some(v) if v == "delete" => match item.get(key) {
                None => return misfit(no_merge_key(&item, key)),
                gone => original.retain(|v| v.get(key) != gone),
            },
            Some(v) => {
                return misfit(bad_directive(&v, item.as_map().unwrap_or(&ValueMap::new())));
            }
        }
    }
    if replace {
        Ok((plain, Vec::new()))
    } else {
        Ok((original, plain))
    }
}

fn merge_by_key(
    mut original: Vec<Value>,
    patch: &[Value],
    key: &str,
    meta: Meta,
) -> Result<Vec<Value>, PatchError> {
    for item in patch {
        let Some(value) = item.get(key) else {
            return misfit(no_merge_key(item, key));
        };
        match original.iter_mut().find(|v| v.get(key) == Some(value)) {
            Some(Value::Map(old)) => {
                let new = item.as_map().cloned().unwrap_or_default();
                *old = merge_map(std::mem::take(old), new, meta)?;
            }
            _ => original.push(item.clone()),
        }
    }
    Ok(original)
}

/// Carries out `$setElementOrder/FIELD` and merges the fields that they are about.
pub(super) fn set_orders(
    original: &mut ValueMap,
    patch: &mut ValueMap,
    meta: Meta,
) -> Result<(), PatchError> {
    let directives: Vec<_> = patch
        .keys()
        .filter(|k| k.starts_with(SET_ORDER))
        .cloned()
        .collect();
    for directive in directives {
        let order = match patch.remove(&directive) {
            Some(Value::List(order)) => order,
            other => {
                let other = other.unwrap_or_default();
                return misfit(bad_type("[]interface {}", &other));
            }
        };
        let field = target(&directive, SET_ORDER)?;
        set_order(original, patch, meta, field, &order)?;
    }
    Ok(())
}

fn set_order(
    original: &mut ValueMap,
    patch: &mut ValueMap,
    meta: Meta,
    field: &str,
    order: &[Value],
) -> Result<(), PatchError> {
    let old = list_member(original, field)?;
    let new = list_member(patch, field)?;
    let (inner, facts) = meta.of_list(field)?;
    check_order(new.as_deref().unwrap_or(&[]), order, facts.key)?;
    let merged = match (&old, &new) {
        (None, None) => return Ok(()),
        (Some(old), None) => old.clone(),
        (None, Some(new)) => new.iter().cloned().filter_map(without_directives).collect(),
        (Some(old), Some(new)) if facts.merges() => {
            merge(old.clone(), new.clone(), inner, facts.key, false)?
        }
        (Some(_), Some(new)) => new.clone(),
    };
    let old = old.unwrap_or_default();
    holds_maps(&old, new.as_deref().unwrap_or(&[]))?;
    let (ours, servers) = partition(merged, order, facts.key)?;
    original.insert(
        field,
        Value::List(ordered(ours, servers, order, &old, facts.key)),
    );
    patch.remove(field);
    Ok(())
}

fn list_member(map: &ValueMap, field: &str) -> Result<Option<Vec<Value>>, PatchError> {
    match map.get(field) {
        None => Ok(None),
        Some(Value::List(list)) => Ok(Some(list.clone())),
        Some(other) => misfit(bad_type("[]interface {}", other)),
    }
}

/// The patch's items must come in the order that the order list has.
fn check_order(patch: &[Value], order: &[Value], key: &str) -> Result<(), PatchError> {
    if order.is_empty() || patch.is_empty() {
        return Ok(());
    }
    let mut left = order.iter();
    for item in patch.iter().filter(|v| v.get(DIRECTIVE).is_none()) {
        let wanted = key_of(item, key)?;
        let mut found = false;
        for at in left.by_ref() {
            if key_of(at, key)? == wanted {
                found = true;
                break;
            }
        }
        if !found {
            return bad(format!(
                "The order in patch list:\n{}\n doesn't match {SET_ORDER} list:\n{}\n",
                go_text(&Value::List(patch.to_vec())),
                go_text(&Value::List(order.to_vec()))
            ));
        }
    }
    Ok(())
}

fn key_of<'a>(item: &'a Value, key: &str) -> Result<&'a Value, PatchError> {
    if key.is_empty() {
        return Ok(item);
    }
    match item {
        Value::Map(map) => map
            .get(key)
            .map_or_else(|| misfit(no_merge_key(item, key)), Ok),
        other => misfit(bad_type("map[string]interface {}", other)),
    }
}

/// What `by` has too, and the rest.
fn partition(
    merged: Vec<Value>,
    by: &[Value],
    key: &str,
) -> Result<(Vec<Value>, Vec<Value>), PatchError> {
    let (mut ours, mut servers) = (Vec::new(), Vec::new());
    for item in merged {
        let wanted = key_of(&item, key)?;
        if by.iter().any(|v| identity(v, key) == Some(wanted)) {
            ours.push(item);
        } else {
            servers.push(item);
        }
    }
    Ok((ours, servers))
}

fn identity<'a>(item: &'a Value, key: &str) -> Option<&'a Value> {
    if key.is_empty() {
        Some(item)
    } else {
        item.get(key)
    }
}

fn position(list: &[Value], item: &Value, key: &str) -> Option<usize> {
    let wanted = identity(item, key);
    list.iter().position(|v| identity(v, key) == wanted)
}

/// `ours` in the patch's order, `servers` in the server's, interleaved by the server's.
fn ordered(
    mut ours: Vec<Value>,
    mut servers: Vec<Value>,
    patch_order: &[Value],
    server_order: &[Value],
    key: &str,
) -> Vec<Value> {
    ours.sort_by_key(|v| position(patch_order, v, key));
    servers.sort_by_key(|v| position(server_order, v, key));
    let mut out = Vec::with_capacity(ours.len() + servers.len());
    let mut ours = ours.into_iter().peekable();
    let mut servers = servers.into_iter().peekable();
    while let Some(server) = servers.peek() {
        let Some(our) = ours.peek() else { break };
        let before = match (
            position(server_order, server, key),
            position(server_order, our, key),
        ) {
            (Some(server), Some(our)) => server < our,
            _ => false,
        };
        out.extend(if before { servers.next() } else { ours.next() });
    }
    out.extend(ours);
    out.extend(servers);
    out
}

/// Whether the elements are objects; all must be of one type and not lists.
fn holds_maps(a: &[Value], b: &[Value]) -> Result<bool, PatchError> {
    let mut items = a.iter().chain(b);
    let Some(first) = items.next() else {
        return bad("no elements in any of the given slices");
    };
    if matches!(first, Value::List(_)) {
        return invalid("lists of lists are not supported");
    }
    let kind = std::mem::discriminant(first);
    if items.any(|v| std::mem::discriminant(v) != kind) {
        let all = [Value::List(a.to_vec()), Value::List(b.to_vec())];
        return bad(format!(
            "list element types are not identical: {}",
            go_text(&Value::List(all.to_vec()))
        ));
    }
    Ok(matches!(first, Value::Map(_)))
}
