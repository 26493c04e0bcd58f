//! What calls cost when they are evaluated. As estimates (`call_cost`), the numbers are upstream's.

use crate::calls::size;
use crate::val::Val;

/// The size that costs go by.
fn measured(value: Option<&Val<'_>>) -> u64 {
    match value {
        Some(Val::Ip(ip)) => {
            if ip.is_ipv4() {
                4
            } else {
                16
            }
        }
        Some(Val::Cidr(cidr)) => cidr.size(),
        Some(Val::Optional(Some(inner))) => measured(Some(inner)),
        Some(value) => size(value).unwrap_or(1),
        None => 1,
    }
}

fn part(size: u64, factor: f64) -> u64 {
    (size as f64 * factor).ceil() as u64
}

/// The cost of a call, its arguments' costs aside.
pub(crate) fn call_cost(
    function: &str,
    overload: &str,
    args: &[Val<'_>],
    result: Option<&Val<'_>>,
) -> u64 {
    let s = |i: usize| measured(args.get(i));
    if let Some(cost) = list_cost(overload, args, result) {
        return cost;
    }
    if let Some(cost) = library_cost(function, overload, args, result) {
        return cost;
    }
    match overload {
        "starts_with_string" | "ends_with_string" | "string_to_bytes" | "bytes_to_string"
        | "strings_quote" | "string_format" => part(s(0), 0.1),
        "in_list" => s(1),
        "equals" | "not_equals" => part(s(0).min(s(1)), 0.1),
        id if id.ends_with("_string") && is_comparison(id)
            || id.ends_with("_bytes") && is_comparison(id) =>
        {
            part(s(0).min(s(1)), 0.1)
        }
        "add_string" | "add_bytes" => part(s(0) + s(1), 0.1),
        "matches_string" => part(s(0) + 1, 0.1) * part(s(1), 0.25),
        "contains_string" => part(s(0), 0.1) * part(s(1), 0.1),
        _ => 1,
    }
}

/// Functions of Kubernetes' libraries.
fn library_cost(
    function: &str,
    overload: &str,
    args: &[Val<'_>],
    result: Option<&Val<'_>>,
) -> Option<u64> {
    let s = |i: usize| measured(args.get(i));
    Some(match function {
        "check" => 350_000,
        "fieldSelector" | "labelSelector" if args.len() >= 2 => {
            let length = s(1);
            10 + part(length, 0.1) + part(part(length, 0.5), 50.0)
        }
        "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" => {
            args.first().map_or(0, traversal)
        }
        "url"
        | "lowerAscii"
        | "upperAscii"
        | "substring"
        | "trim"
        | "jsonpatch.escapeKey"
        | "cidr"
        | "isIP"
        | "isCIDR"
        | "quantity"
        | "isQuantity"
        | "semver"
        | "isSemver" => part(s(0), 0.1),
        "replace" | "split" | "ip.isCanonical" => part(s(0), 0.2),
        "join" => part(measured(result), 0.2),
        "find" | "findAll" => part(s(0) + 1, 0.1) * part(s(1), 0.25),
        "ip" if overload != "cidr_ip" => part(s(0), 0.1),
        "containsIP" | "containsCIDR" => {
            let mut cost = part(s(0) * 2, 0.1);
            if function == "containsCIDR" {
                cost += part(s(0), 0.1) + 1;
            }
            if overload.ends_with("_string") {
                cost += part(s(1), 0.1);
            }
            cost
        }
        "validate" => match args.first() {
            Some(Val::Format(format)) => part(s(1) + 1, 0.1) * part(format.regex_size, 0.25),
            _ => return None,
        },
        "_==_" => match args.first()? {
            Val::Quantity(_)
            | Val::Ip(_)
            | Val::Cidr(_)
            | Val::Format(_)
            | Val::Url(_)
            | Val::Semver(_)
            | Val::Authz(_) => 1,
            _ => return None,
        },
        _ => return None,
    })
}

fn is_comparison(overload: &str) -> bool {
    overload.starts_with("less_") || overload.starts_with("greater_")
}

fn list_cost(overload: &str, args: &[Val<'_>], result: Option<&Val<'_>>) -> Option<u64> {
    let allocating = |factor: f64, size: u64| Some((size as f64 * factor) as u64 + 11);
    let own = |i: usize| size_only(args.get(i));
    match overload {
        "list_sets_contains_list" | "list_sets_intersects_list" => Some(1 + own(0) * own(1)),
        "list_sets_equivalent_list" => Some(1 + own(0) * own(1) * 2),
        "list_slice" | "lists_range" | "list_reverse" => allocating(1.0, size_only(result)),
        "list_flatten" => allocating(1.0, own(0)),
        "list_flatten_int" => match args.get(1) {
            Some(Val::Int(depth)) => allocating(*depth as f64, own(0)),
            _ => None,
        },
        "list_distinct" => self_compare(args.first()),
        id if id.starts_with("list_") && id.ends_with("_sort") => self_compare(args.first()),
        id if id.starts_with("list_") && id.ends_with("_sortByAssociatedKeys") => {
            self_compare(args.get(1))
        }
        _ => None,
    }
}

fn size_only(value: Option<&Val<'_>>) -> u64 {
    value.and_then(size).unwrap_or(1)
}

fn self_compare(value: Option<&Val<'_>>) -> Option<u64> {
    let count = size_only(value);
    let texts = match value {
        Some(Val::List(list)) if list.len() > 0 => {
            matches!(list.get(0), Ok(Val::Str(_) | Val::Bytes(_)))
        }
        _ => false,
    };
    let factor = if texts { 2.1 } else { 2.0 };
    Some(((count * count) as f64 * factor) as u64 + 11)
}

/// The cost of looking at a whole value once.
fn traversal(value: &Val<'_>) -> u64 {
    match value {
        Val::Str(s) => (s.len() as f64 * 0.1) as u64,
        Val::Bytes(b) => (b.len() as f64 * 0.1) as u64,
        Val::List(list) => (0..list.len())
            .map(|i| list.get(i).map_or(1, |v| traversal(&v)))
            .sum(),
        Val::Map(map) => map
            .keys()
            .iter()
            .map(|k| traversal(k) + map.find(k).ok().flatten().map_or(1, |v| traversal(&v)))
            .sum(),
        _ => 1,
    }
}
