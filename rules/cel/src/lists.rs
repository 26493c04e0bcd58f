//! Functions on lists and sets.

use std::cmp::Ordering;

use crate::equal::{compare, contains, equal};
use crate::ops::add;
use crate::val::{ListVal, Val};

type Made<'a> = Result<Val<'a>, String>;

/// Calls a member function on a list; none when there is no such function.
pub(crate) fn member<'a>(function: &str, list: &ListVal<'a>, args: &[Val<'a>]) -> Option<Made<'a>> {
    Some(match (function, args) {
        ("isSorted", []) => is_sorted(list),
        ("min", []) => extreme(list, "min", Ordering::Greater),
        ("max", []) => extreme(list, "max", Ordering::Less),
        ("indexOf", [wanted]) => position(list, wanted, false),
        ("lastIndexOf", [wanted]) => position(list, wanted, true),
        ("join", []) => crate::strings::join(list, ""),
        ("join", [Val::Str(separator)]) => crate::strings::join(list, separator),
        ("slice", [Val::Int(from), Val::Int(to)]) => slice(list, *from, *to),
        ("flatten", []) => flatten(list, 1).map(Val::list),
        ("flatten", [Val::Int(depth)]) => flatten(list, *depth).map(Val::list),
        ("sort", []) => list.all().and_then(|all| sorted(all.clone(), &all)),
        ("@sortByAssociatedKeys", [Val::List(keys)]) => {
            keys.all().and_then(|keys| sorted(list.all()?, &keys))
        }
        ("reverse", []) => list.all().map(|mut all| {
            all.reverse();
            Val::list(all)
        }),
        ("distinct", []) => distinct(list),
        ("first", []) if list.len() == 0 => Ok(Val::Optional(None)),
        ("last", []) if list.len() == 0 => Ok(Val::Optional(None)),
        ("first", []) => list.get(0).map(Val::some),
        ("last", []) => list.get(list.len() - 1).map(Val::some),
        ("unwrapOpt", []) => unwrap(list),
        _ => return None,
    })
}

/// The sum, starting from a zero of the elements' type.
pub(crate) fn sum<'a>(list: &ListVal<'a>, overload: &str) -> Made<'a> {
    let all = list.all()?;
    let mut total = match (overload, all.first()) {
        ("list_uint_sum_uint", _) | ("", Some(Val::Uint(_))) => Val::Uint(0),
        ("list_double_sum_double", _) | ("", Some(Val::Double(_))) => Val::Double(0.0),
        ("list_duration_sum_duration", _) | ("", Some(Val::Duration(_))) => Val::Duration(0),
        _ => Val::Int(0),
    };
    for element in &all {
        total = add(&total, element)?;
    }
    Ok(total)
}

fn is_sorted<'a>(list: &ListVal<'a>) -> Made<'a> {
    for pair in list.all()?.windows(2) {
        if compare(&pair[0], &pair[1])? == Ordering::Greater {
            return Ok(Val::Bool(false));
        }
    }
    Ok(Val::Bool(true))
}

fn extreme<'a>(list: &ListVal<'a>, name: &str, replace: Ordering) -> Made<'a> {
    let mut found: Option<Val<'a>> = None;
    for element in list.all()? {
        found = Some(match found {
            Some(old) if compare(&old, &element)? != replace => old,
            _ => element,
        });
    }
    found.ok_or_else(|| format!("{name} called on empty list"))
}

fn position<'a>(list: &ListVal<'a>, wanted: &Val<'a>, last: bool) -> Made<'a> {
    let all = list.all()?;
    let mut found = -1;
    for (i, element) in all.iter().enumerate() {
        if equal(element, wanted)? {
            found = i as i64;
            if !last {
                break;
            }
        }
    }
    Ok(Val::Int(found))
}

fn slice<'a>(list: &ListVal<'a>, from: i64, to: i64) -> Made<'a> {
    if from < 0 || to < 0 {
        return Err(format!(
            "cannot slice({from}, {to}), negative indexes not supported"
        ));
    }
    if from > to {
        return Err(format!(
            "cannot slice({from}, {to}), start index must be less than or equal to end index"
        ));
    }
    if (list.len() as i64) < to {
        return Err(format!(
            "cannot slice({from}, {to}), list is length {}",
            list.len()
        ));
    }
    let taken: Result<Vec<_>, _> = (from as usize..to as usize).map(|i| list.get(i)).collect();
    taken.map(Val::list)
}

fn flatten<'a>(list: &ListVal<'a>, depth: i64) -> Result<Vec<Val<'a>>, String> {
    if depth < 0 {
        return Err("level must be non-negative".into());
    }
    let mut out = Vec::new();
    for element in list.all()? {
        match &element {
            Val::List(inner) if depth > 0 => out.extend(flatten(inner, depth - 1)?),
            _ => out.push(element),
        }
    }
    Ok(out)
}

fn sorted<'a>(list: Vec<Val<'a>>, keys: &[Val<'a>]) -> Made<'a> {
    if list.len() != keys.len() {
        return Err(format!(
            "@sortByAssociatedKeys() expected a list of the same size as the associated keys list, but got {} and {} elements respectively",
            list.len(),
            keys.len()
        ));
    }
    for pair in keys.windows(2) {
        if pair[0].type_of() != pair[1].type_of() {
            return Err("list elements must have the same type".into());
        }
    }
    let mut order: Vec<usize> = (0..list.len()).collect();
    let mut wrong = None;
    order.sort_by(|a, b| {
        compare(&keys[*a], &keys[*b]).unwrap_or_else(|_| {
            wrong = Some("list elements must be comparable".to_owned());
            Ordering::Equal
        })
    });
    match wrong {
        Some(wrong) => Err(wrong),
        None => Ok(Val::list(
            order.into_iter().map(|i| list[i].clone()).collect(),
        )),
    }
}

fn distinct<'a>(list: &ListVal<'a>) -> Made<'a> {
    let mut out: Vec<Val<'a>> = Vec::new();
    for element in list.all()? {
        if !contains(&out, &element)? {
            out.push(element);
        }
    }
    Ok(Val::list(out))
}

/// The present values of a list of optionals.
pub(crate) fn unwrap<'a>(list: &ListVal<'a>) -> Made<'a> {
    let mut out = Vec::new();
    for element in list.all()? {
        match element {
            Val::Optional(None) => {}
            Val::Optional(Some(value)) => out.push((*value).clone()),
            other => {
                return Err(format!(
                    "value {} is not optional",
                    crate::convert::shown(&other)
                ));
            }
        }
    }
    Ok(Val::list(out))
}

/// `sets.contains`, `sets.intersects`, `sets.equivalent`
pub(crate) fn sets<'a>(function: &str, a: &ListVal<'a>, b: &ListVal<'a>) -> Made<'a> {
    let (a, b) = (a.all()?, b.all()?);
    let every = |whole: &[Val<'a>], part: &[Val<'a>]| -> Result<bool, String> {
        for element in part {
            if !contains(whole, element)? {
                return Ok(false);
            }
        }
        Ok(true)
    };
    Ok(Val::Bool(match function {
        "sets.contains" => every(&a, &b)?,
        "sets.equivalent" => every(&a, &b)? && every(&b, &a)?,
        _ => {
            let mut found = false;
            for element in &a {
                found = found || contains(&b, element)?;
            }
            found
        }
    }))
}
