//! Strategic merge patch: maps are merged with the directives `$patch`, `$retainKeys`, `$setElementOrder/FIELD` and
//! `$deleteFromPrimitiveList/FIELD`; lists follow the field table's patch strategy and merge key.

mod lists;
mod meta;

use crate::PatchError;
use crate::error::{bad, misfit};
use crate::go_text::{go_text, go_type};
use corten_core::{Msg, Value, ValueMap};
use corten_meta::GroupVersionKind;
use meta::Meta;

const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const SET_ORDER: &str = "$setElementOrder";
const DELETE_FROM: &str = "$deleteFromPrimitiveList";

/// Applies a strategic merge patch to an object of the kind `gvk`, whose table is `schema`.
///
/// # Errors
/// `Bad` when the patch is not an object or a directive is not well-formed, `Invalid` for lists of lists.
pub fn strategic(
    doc: Value,
    patch: &Value,
    schema: &'static Msg,
    gvk: &GroupVersionKind,
) -> Result<Value, PatchError> {
    let patch = match patch {
        Value::Map(patch) => patch.clone(),
        Value::Null => ValueMap::new(),
        other => {
            return bad(format!(
                "json: cannot unmarshal {} into Go value of type map[string]interface {{}}",
                crate::go_text::json_word(other)
            ));
        }
    };
    let doc = match doc {
        Value::Map(doc) => doc,
        Value::Null => ValueMap::new(),
        _ => return bad(format!("the {} to patch is not an object", gvk.kind)),
    };
    merge_map(doc, patch, Meta::of(schema)).map(Value::Map)
}

fn merge_map(original: ValueMap, patch: ValueMap, meta: Meta) -> Result<ValueMap, PatchError> {
    let (mut original, mut patch) = (original, patch);
    match patch.get(DIRECTIVE) {
        None => {}
        Some(v) if *v == "replace" => {
            patch.remove(DIRECTIVE);
            return Ok(patch);
        }
        Some(v) if *v == "delete" => return Ok(ValueMap::new()),
        Some(v) => return misfit(bad_directive(v, &patch)),
    }
    retain_keys(&mut original, &mut patch)?;
    lists::set_orders(&mut original, &mut patch, meta)?;
    for (key, value) in patch {
        merge_member(&mut original, &key, value, meta)?;
    }
    Ok(original)
}

/// Merges one member of a patch whose directives have been carried out already, except the deletion lists.
fn merge_member(
    original: &mut ValueMap,
    key: &str,
    mut value: Value,
    meta: Meta,
) -> Result<(), PatchError> {
    let deletes = key.starts_with(DELETE_FROM);
    let key = if deletes {
        target(key, DELETE_FROM)?
    } else {
        key
    };
    if value.is_null() {
        original.remove(key);
        return Ok(());
    }
    let found = original.get_mut(key).map(std::mem::take);
    match (found, value) {
        (Some(Value::Map(old)), Value::Map(new)) => {
            let (inner, facts) = meta.of_struct(key)?;
            let merged = if facts.replaces() {
                new
            } else {
                merge_map(old, new, inner)?
            };
            original.insert(key, Value::Map(merged));
        }
        (Some(Value::List(old)), Value::List(new)) => {
            let (inner, facts) = meta.of_list(key)?;
            let merged = if facts.merges() || deletes {
                lists::merge(old, new, inner, facts.key, deletes)?
            } else {
                new
            };
            original.insert(key, Value::List(merged));
        }
        (Some(old), _) if deletes => {
            original.insert(key, old);
        }
        (None, _) if deletes => {}
        (Some(Value::Bool(_)), new @ Value::Bool(_))
        | (Some(Value::Int(_)), new @ Value::Int(_))
        | (Some(Value::Float(_)), new @ Value::Float(_))
        | (Some(Value::Str(_)), new @ Value::Str(_)) => {
            original.insert(key, new);
        }
        (_, new) => {
            value = new;
            discard_nulls(&mut value);
            match without_directives(value) {
                Some(value) => {
                    original.insert(key, value);
                }
                None => {
                    original.remove(key);
                }
            }
        }
    }
    Ok(())
}

/// `$retainKeys`: drops the members of the original that it does not name.
fn retain_keys(original: &mut ValueMap, patch: &mut ValueMap) -> Result<(), PatchError> {
    const FORMAT: &str = "invalid patch format of retainKeys";
    let Some(retained) = patch.remove(RETAIN_KEYS) else {
        return Ok(());
    };
    let Value::List(retained) = retained else {
        return bad(FORMAT);
    };
    let named = |key: &str| retained.iter().any(|v| v.as_str() == Some(key));
    for (key, value) in patch.iter() {
        if value.is_null() || key.starts_with(DELETE_FROM) || key.starts_with(SET_ORDER) {
            continue;
        }
        if !named(key) {
            return bad(FORMAT);
        }
    }
    original.retain(|key, _| named(key));
    Ok(())
}

/// The field that a parallel list `$directive/FIELD` is about.
fn target<'a>(key: &'a str, directive: &str) -> Result<&'a str, PatchError> {
    match key.split_once('/') {
        Some((prefix, field)) if prefix == directive => Ok(field),
        _ if directive == DELETE_FROM => bad("invalid patch format of primitive list"),
        _ => bad("invalid patch format of setElementOrder list"),
    }
}

/// The value without objects that carry `$patch`; None when it carries one itself.
fn without_directives(value: Value) -> Option<Value> {
    Some(match value {
        Value::Map(map) if map.contains_key(DIRECTIVE) => return None,
        Value::Map(map) => {
            let kept = map
                .into_iter()
                .filter_map(|(k, v)| Some((k, without_directives(v)?)));
            Value::Map(kept.collect())
        }
        Value::List(list) => Value::List(list.into_iter().filter_map(without_directives).collect()),
        other => other,
    })
}

fn discard_nulls(value: &mut Value) {
    match value {
        Value::Map(map) => map.retain(|_, v| {
            discard_nulls(v);
            !v.is_null()
        }),
        Value::List(list) => list.iter_mut().for_each(discard_nulls),
        _ => {}
    }
}

fn bad_directive(directive: &Value, patch: &ValueMap) -> String {
    format!(
        "unknown patch type: {} in map: {}",
        go_text(directive),
        go_text(&Value::Map(patch.clone()))
    )
}

fn no_merge_key(item: &Value, key: &str) -> String {
    format!(
        "map: {} does not contain declared merge key: {key}",
        go_text(item)
    )
}

fn bad_type(expected: &str, actual: &Value) -> String {
    format!("expected a {expected}, but received a {}", go_type(actual))
}
