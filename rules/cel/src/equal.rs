//! Equality and order of values: across number types, and of lists as their schema says their elements relate.

use std::cmp::Ordering;

use crate::schema::ListKind;
use crate::val::{ListVal, MapVal, Val};

/// Whether two values are equal; values of different types never are.
pub(crate) fn equal<'a>(a: &Val<'a>, b: &Val<'a>) -> Result<bool, String> {
    Ok(match (a, b) {
        (Val::Null, Val::Null) => true,
        (Val::Bool(a), Val::Bool(b)) => a == b,
        (
            Val::Int(_) | Val::Uint(_) | Val::Double(_),
            Val::Int(_) | Val::Uint(_) | Val::Double(_),
        ) => numbers(a, b) == Some(Ordering::Equal),
        (Val::Str(a), Val::Str(b)) => **a == **b,
        (Val::Bytes(a), Val::Bytes(b)) => a == b,
        (Val::Duration(a), Val::Duration(b)) => a == b,
        (Val::Timestamp(a), Val::Timestamp(b)) => a == b,
        (Val::List(a), Val::List(b)) => lists(a, b)?,
        (Val::Map(a), Val::Map(b)) => maps(a, b)?,
        (Val::Type(a), Val::Type(b)) => a.name() == b.name(),
        (Val::Optional(a), Val::Optional(b)) => match (a, b) {
            (None, None) => true,
            (Some(a), Some(b)) => equal(a, b)?,
            _ => false,
        },
        (Val::Object(a), Val::Object(b)) => {
            if a.name != b.name || a.fields.len() != b.fields.len() {
                return Ok(false);
            }
            for ((ka, va), (kb, vb)) in a.fields.iter().zip(&b.fields) {
                if ka != kb || !equal(va, vb)? {
                    return Ok(false);
                }
            }
            true
        }
        (Val::Quantity(a), Val::Quantity(b)) => a == b,
        (Val::Url(a), Val::Url(b)) => a == b,
        (Val::Ip(a), Val::Ip(b)) => a == b,
        (Val::Cidr(a), Val::Cidr(b)) => a == b,
        (Val::Format(a), Val::Format(b)) => a.name == b.name,
        (Val::Semver(a), Val::Semver(b)) => a.compare(b) == Ordering::Equal,
        (Val::Preserved(a), Val::Preserved(b)) => a == b,
        _ => false,
    })
}

fn lists<'a>(a: &ListVal<'a>, b: &ListVal<'a>) -> Result<bool, String> {
    if a.len() != b.len() {
        return Ok(false);
    }
    let (left, right) = (a.all()?, b.all()?);
    match a.kind() {
        None | Some(ListKind::Atomic) => {
            for (a, b) in left.iter().zip(&right) {
                if !equal(a, b)? {
                    return Ok(false);
                }
            }
        }
        Some(ListKind::Set) => {
            for b in &right {
                if !contains(&left, b)? {
                    return Ok(false);
                }
            }
        }
        Some(ListKind::Map(keys)) => {
            for b in &right {
                let Some(at) = position(&left, keys, b)? else {
                    return Ok(false);
                };
                if !equal(&left[at], b)? {
                    return Ok(false);
                }
            }
        }
    }
    Ok(true)
}

pub(crate) fn contains<'a>(list: &[Val<'a>], wanted: &Val<'a>) -> Result<bool, String> {
    for element in list {
        if equal(element, wanted)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Where the element with the same keys stands.
fn position<'a>(
    list: &[Val<'a>],
    keys: &[String],
    wanted: &Val<'a>,
) -> Result<Option<usize>, String> {
    'elements: for (i, element) in list.iter().enumerate() {
        for key in keys {
            let (a, b) = (member(element, key)?, member(wanted, key)?);
            let same = match (a, b) {
                (None, None) => true,
                (Some(a), Some(b)) => equal(&a, &b)?,
                _ => false,
            };
            if !same {
                continue 'elements;
            }
        }
        return Ok(Some(i));
    }
    Ok(None)
}

fn member<'a>(value: &Val<'a>, key: &str) -> Result<Option<Val<'a>>, String> {
    match value {
        Val::Map(map) => map.find(&Val::text(crate::escape::escape(key).unwrap_or_default())),
        _ => Ok(None),
    }
}

fn maps<'a>(a: &MapVal<'a>, b: &MapVal<'a>) -> Result<bool, String> {
    if let (MapVal::Data(a, sa), MapVal::Data(b, sb)) = (a, b)
        && (sa.is_none() || sb.is_none() || a == b)
    {
        return Ok(a == b);
    }
    if a.len() != b.len() {
        return Ok(false);
    }
    for key in a.keys() {
        let same = match (a.find(&key)?, b.find(&key)?) {
            (None, None) => true,
            (Some(a), Some(b)) => equal(&a, &b)?,
            _ => false,
        };
        if !same {
            return Ok(false);
        }
    }
    if let (MapVal::Data(a, Some(schema)), MapVal::Data(b, _)) = (a, b) {
        // What no schema names is compared as it is.
        for (key, value) in a.iter() {
            let named = match (&schema.properties, &schema.additional) {
                (Some(p), _) => p.contains_key(key.as_str()),
                (None, additional) => additional.is_some(),
            };
            if !named && b.get(key).is_some_and(|other| other != value) {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// Two lists as one: as their elements relate, the second's replace or join the first's.
pub(crate) fn concatenated<'a>(a: &ListVal<'a>, b: &ListVal<'a>) -> Result<Val<'a>, String> {
    let mut all = a.all()?;
    let kind = a.kind();
    for element in b.all()? {
        match kind {
            Some(ListKind::Set) if contains(&all, &element)? => {}
            Some(ListKind::Map(keys)) => match position(&all, keys, &element)? {
                Some(at) => all[at] = element,
                None => all.push(element),
            },
            _ => all.push(element),
        }
    }
    Ok(Val::List(ListVal::Own(all.into(), kind)))
}

/// The order of two numbers of any types; none with NaN.
pub(crate) fn numbers(a: &Val<'_>, b: &Val<'_>) -> Option<Ordering> {
    Some(match (a, b) {
        (Val::Int(a), Val::Int(b)) => a.cmp(b),
        (Val::Uint(a), Val::Uint(b)) => a.cmp(b),
        (Val::Int(a), Val::Uint(b)) => i128::from(*a).cmp(&i128::from(*b)),
        (Val::Uint(a), Val::Int(b)) => i128::from(*a).cmp(&i128::from(*b)),
        (Val::Double(a), Val::Double(b)) => return a.partial_cmp(b),
        (Val::Double(a), Val::Int(b)) => return with_int(*a, i128::from(*b)),
        (Val::Double(a), Val::Uint(b)) => return with_int(*a, i128::from(*b)),
        (Val::Int(a), Val::Double(b)) => {
            return with_int(*b, i128::from(*a)).map(Ordering::reverse);
        }
        (Val::Uint(a), Val::Double(b)) => {
            return with_int(*b, i128::from(*a)).map(Ordering::reverse);
        }
        _ => return None,
    })
}

fn with_int(a: f64, b: i128) -> Option<Ordering> {
    if a.is_nan() {
        return None;
    }
    if a.abs() > 1e30 {
        return Some(if a > 0.0 {
            Ordering::Greater
        } else {
            Ordering::Less
        });
    }
    Some(
        a.partial_cmp(&(b as f64))?
            .then_with(|| (a as i128).cmp(&b)),
    )
}

/// The order of two values of one type (numbers: any).
pub(crate) fn compare(a: &Val<'_>, b: &Val<'_>) -> Result<Ordering, String> {
    Ok(match (a, b) {
        (Val::Bool(a), Val::Bool(b)) => a.cmp(b),
        (Val::Str(a), Val::Str(b)) => a.as_bytes().cmp(b.as_bytes()),
        (Val::Bytes(a), Val::Bytes(b)) => a.cmp(b),
        (Val::Duration(a), Val::Duration(b)) => a.cmp(b),
        (Val::Timestamp(a), Val::Timestamp(b)) => a.cmp(b),
        (
            Val::Int(_) | Val::Uint(_) | Val::Double(_),
            Val::Int(_) | Val::Uint(_) | Val::Double(_),
        ) => numbers(a, b).ok_or("NaN values cannot be ordered")?,
        _ => return Err("no such overload".into()),
    })
}
