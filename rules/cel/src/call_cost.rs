//! What single calls may cost: the library's functions and those of the language whose cost grows with their input.

use crate::ast::{Expr, Kind, Literal};
use crate::cost::{Cost, Node};
use crate::types::Type;

/// A call being estimated.
pub(crate) struct CallSite<'a, 'e> {
    pub function: &'a str,
    pub overload: &'a str,
    pub target: Option<&'a Node<'e>>,
    pub args: &'a [Node<'e>],
}

impl CallSite<'_, '_> {
    /// The size of an argument, unknown when nothing says it.
    pub fn size(&self, arg: usize) -> Cost {
        self.args
            .get(arg)
            .and_then(|a| a.size)
            .unwrap_or(Cost::UNKNOWN)
    }
    fn target_size(&self) -> Option<Cost> {
        self.target.map(|t| t.size.unwrap_or(Cost::UNKNOWN))
    }
}

type Estimate = (Cost, Option<Cost>);

const ONE: Cost = Cost::fixed(1);

/// The estimate of a call without its arguments' costs, and the size of its result; none when it is plain.
pub(crate) fn call_estimate(
    site: &CallSite<'_, '_>,
    at: &dyn Fn(&[String]) -> Option<Cost>,
) -> Option<Estimate> {
    list_estimate(site)
        .or_else(|| library_estimate(site, at))
        .or_else(|| text_estimate(site, at))
        .or_else(|| standard_estimate(site))
}

fn literal_int(expr: Option<&Expr>, otherwise: u64) -> u64 {
    match expr.map(|e| &e.kind) {
        Some(Kind::Literal(Literal::Int(v))) => u64::try_from(*v).unwrap_or(0),
        _ => otherwise,
    }
}

/// A call that makes a list of a size.
fn allocating(factor: f64, size: Cost) -> Option<Estimate> {
    Some((size.factor(factor).plus(Cost::fixed(11)), Some(size)))
}

/// Sets, and lists in version 3, whose estimates go by overload.
fn list_estimate(site: &CallSite<'_, '_>) -> Option<Estimate> {
    let target = site.target_size();
    match site.overload {
        "list_sets_contains_list" | "list_sets_intersects_list" => {
            Some((site.size(0).times(site.size(1)).factor(1.0).plus(ONE), None))
        }
        "list_sets_equivalent_list" => {
            Some((site.size(0).times(site.size(1)).factor(2.0).plus(ONE), None))
        }
        "list_slice" => {
            let start = literal_int(site.args[0].expr, 0);
            let end = literal_int(site.args[1].expr, target?.max);
            allocating(1.0, Cost::fixed(end.wrapping_sub(start)))
        }
        "lists_range" => {
            let size = literal_int(site.args[0].expr, u64::MAX);
            allocating(1.0, Cost::fixed(size))
        }
        "list_reverse" => allocating(1.0, target?),
        "list_flatten" => allocating(1.0, target?),
        "list_flatten_int" => {
            let depth = literal_int(site.args[0].expr, u64::MAX);
            allocating(depth as f64, target?)
        }
        "list_distinct" => {
            let size = target?;
            allocating(2.0, size.times(size))
        }
        id if id.starts_with("list_")
            && (id.ends_with("_sort") || id.ends_with("_sortByAssociatedKeys")) =>
        {
            let size = if id.ends_with("_sort") {
                target?
            } else {
                site.size(0)
            };
            let texts = id.starts_with("list_string_") || id.starts_with("list_bytes_");
            allocating(if texts { 2.1 } else { 2.0 }, size.times(size))
        }
        _ => None,
    }
}

/// Functions that cost one, whatever they are given.
const NOMINAL: &[&str] = &[
    "serviceAccount",
    "path",
    "group",
    "resource",
    "subresource",
    "namespace",
    "name",
    "allowed",
    "reason",
    "error",
    "errored",
    "masked",
    "prefixLength",
    "family",
    "isUnspecified",
    "isLoopback",
    "isLinkLocalMulticast",
    "isLinkLocalUnicast",
    "isGlobalUnicast",
    "format.named",
    "sign",
    "asInteger",
    "isInteger",
    "asApproximateFloat",
    "isGreaterThan",
    "isLessThan",
    "compareTo",
    "add",
    "sub",
    "major",
    "minor",
    "patch",
    "getScheme",
    "getHostname",
    "getHost",
    "getPort",
    "getEscapedPath",
    "getQuery",
];

fn library_estimate(
    site: &CallSite<'_, '_>,
    at: &dyn Fn(&[String]) -> Option<Cost>,
) -> Option<Estimate> {
    let first = site.size(0);
    let plain = |cost: Cost| Some((cost, None));
    if NOMINAL.contains(&site.function) {
        return plain(ONE);
    }
    match site.function {
        "check" => plain(Cost::fixed(350_000)),
        "fieldSelector" | "labelSelector" if site.args.len() == 1 => plain(selector(first)),
        "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" => {
            plain(traversal(site.target?, at))
        }
        "cidr" | "isIP" | "isCIDR" | "quantity" | "isQuantity" | "semver" | "isSemver"
            if !site.args.is_empty() =>
        {
            plain(first.factor(0.1))
        }
        "ip" if site.overload == "cidr_ip" => plain(ONE),
        "ip" if !site.args.is_empty() => plain(first.factor(0.1)),
        "ip.isCanonical" if !site.args.is_empty() => plain(first.factor(0.2)),
        "containsIP" | "containsCIDR" if !site.args.is_empty() => {
            let bytes = Cost { min: 4, max: 16 };
            let mut cost = bytes.plus(bytes).factor(0.1);
            if site.function == "containsCIDR" {
                cost = cost.plus(bytes.factor(0.1)).plus(ONE);
            }
            if site.overload.ends_with("_string") {
                cost = cost.plus(first.factor(0.1));
            }
            plain(cost)
        }
        "validate" if !site.args.is_empty() => plain(first.factor(0.1).factor(128.0 * 0.25)),
        "_==_" if site.args.len() == 2 && site.args[0].t == site.args[1].t => equality(site),
        _ => None,
    }
}

fn selector(length: Cost) -> Cost {
    let requirements = length.factor(0.5).factor(50.0);
    Cost::fixed(10).plus(length.factor(0.1)).plus(requirements)
}

/// The size of a list's elements, by the path to them.
fn element_size(list: &Node<'_>, at: &dyn Fn(&[String]) -> Option<Cost>) -> Cost {
    if list.path.is_empty() {
        return Cost::UNKNOWN;
    }
    let mut path = list.path.clone();
    path.push("@items".into());
    at(&path).unwrap_or(Cost::UNKNOWN)
}

fn traversal(target: &Node<'_>, at: &dyn Fn(&[String]) -> Option<Cost>) -> Cost {
    let size = target.size.unwrap_or(Cost::UNKNOWN);
    let element = match &target.t {
        Type::List(element) | Type::Map(element, _) => &**element,
        Type::Opaque(_, params) if !params.is_empty() => &params[0],
        _ => return size.factor(0.1),
    };
    let mut each = ONE;
    if matches!(element, Type::String | Type::Bytes) {
        each = each.plus(element_size(target, at).factor(0.1));
    }
    size.times(each)
}

fn equality(site: &CallSite<'_, '_>) -> Option<Estimate> {
    let name = match &site.args[0].t {
        Type::Opaque(name, _) | Type::Object(name) => &**name,
        _ => return None,
    };
    match name {
        "net.IP"
        | "net.CIDR"
        | "kubernetes.Quantity"
        | "kubernetes.Semver"
        | "kubernetes.authorization.Authorizer"
        | "kubernetes.authorization.PathCheck"
        | "kubernetes.authorization.GroupCheck"
        | "kubernetes.authorization.ResourceCheck"
        | "kubernetes.authorization.Decision" => Some((ONE, None)),
        "kubernetes.NamedFormat" => Some((Cost { min: 1, max: 64 }.factor(0.1), None)),
        "kubernetes.URL" => {
            let max = site.args[1].size.map_or(1, |s| s.max);
            Some((Cost { min: 1, max }.factor(0.1), None))
        }
        _ => None,
    }
}

fn text_estimate(
    site: &CallSite<'_, '_>,
    at: &dyn Fn(&[String]) -> Option<Cost>,
) -> Option<Estimate> {
    match site.function {
        "url" | "jsonpatch.escapeKey" if site.args.len() == 1 => {
            let size = site.size(0);
            Some((size.factor(0.1), Some(size)))
        }
        "lowerAscii" | "upperAscii" | "substring" | "trim" => {
            let size = site.target_size()?;
            Some((size.factor(0.1), Some(size)))
        }
        "replace" if site.args.len() >= 2 => {
            let size = site.target_size()?;
            let result = replaced(size, site.size(0), site.size(1));
            Some((size.factor(0.2), Some(result)))
        }
        "split" => {
            let size = site.target_size()?;
            let max = match site.args.get(1).and_then(|a| a.expr).map(|e| &e.kind) {
                Some(Kind::Literal(Literal::Int(n))) => *n as u64,
                _ => size.max,
            };
            Some((size.factor(0.2), Some(Cost { min: 0, max })))
        }
        "join" => joined(site, at),
        "find" | "findAll" if !site.args.is_empty() => {
            let size = site.target_size()?;
            let text = size.plus(ONE).factor(0.1);
            let regex = site.size(0).factor(0.25);
            let result = Cost {
                min: 0,
                max: size.max,
            };
            Some((text.times(regex), Some(result)))
        }
        _ => None,
    }
}

fn replaced(size: Cost, old: Cost, new: Cost) -> Cost {
    let ceil = |a: u64, b: u64| (a as f64 / b as f64).ceil() as u64;
    let (mut count, mut kept) = (Cost::fixed(0), Cost::fixed(0));
    if old.min == 0 {
        count.max = size.max.saturating_add(1);
        kept.max = size.max;
    } else if new.max <= old.min {
        kept.max = size.max;
    } else {
        count.max = ceil(size.max, old.min);
    }
    if old.max == 0 {
        count.min = size.min.saturating_add(1);
        kept.min = size.min;
    } else if old.max <= new.min {
        kept.min = size.min;
    } else {
        count.min = ceil(size.min, old.max);
    }
    count.times(new).plus(kept)
}

fn joined(site: &CallSite<'_, '_>, at: &dyn Fn(&[String]) -> Option<Cost>) -> Option<Estimate> {
    let count = site.target_size()?;
    let target = site.target?;
    let mut size = Cost::fixed(0);
    if matches!(target.t, Type::List(_)) {
        let element = element_size(target, at);
        size = count.times(element);
    }
    if !site.args.is_empty() {
        let separators = Cost {
            min: count.min.saturating_sub(1),
            max: count.max.saturating_sub(1),
        };
        size = size.plus(site.size(0).times(separators));
    }
    Some((size.factor(0.1), Some(size)))
}

/// The language's own functions.
fn standard_estimate(site: &CallSite<'_, '_>) -> Option<Estimate> {
    let first = site.size(0);
    match site.overload {
        "string_format" => Some((site.target_size()?.factor(0.1), None)),
        "string_to_bytes" => {
            let size = Cost {
                min: first.min,
                max: first.max.wrapping_mul(4),
            };
            Some((first.factor(0.1), Some(size)))
        }
        "bytes_to_string" => {
            let size = Cost {
                min: first.min / 4,
                max: first.max,
            };
            Some((first.factor(0.1), Some(size)))
        }
        "strings_quote" => {
            let size = Cost {
                min: first.min.wrapping_add(2),
                max: first.max.wrapping_mul(2).wrapping_add(2),
            };
            Some((first.factor(0.1), Some(size)))
        }
        "starts_with_string" | "ends_with_string" => Some((first.factor(0.1), None)),
        "in_list" => Some((site.size(1).factor(1.0), None)),
        "matches_string" => {
            let text = site.target_size()?.plus(ONE).factor(0.1);
            Some((text.times(first.factor(0.25)), None))
        }
        "contains_string" => {
            let text = site.target_size()?.factor(0.1);
            Some((text.times(first.factor(0.1)), None))
        }
        "equals"
        | "not_equals"
        | "less_string"
        | "greater_string"
        | "less_equals_string"
        | "greater_equals_string"
        | "less_bytes"
        | "greater_bytes"
        | "less_equals_bytes"
        | "greater_equals_bytes" => {
            let max = first.max.min(site.size(1).max);
            let min = u64::from(max > 0);
            Some((Cost { min, max }.factor(0.1), None))
        }
        _ => None,
    }
}
