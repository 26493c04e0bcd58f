//! What functions do, by name and the values given. Logic, comparison of presence and folds are `eval`'s.

use std::cmp::Ordering;
use std::rc::Rc;

use corten_core::{Quantity, QuantityFormat};
use regex::Regex;

use crate::convert::{convert, shown};
use crate::equal::{compare, equal};
use crate::lists;
use crate::net::{self, Cidr};
use crate::ops;
use crate::regexes::compile;
use crate::semver::Semver;
use crate::strings;
use crate::time::duration_field;
use crate::types::Type;
use crate::val::{Key, ListVal, MapVal, Val};

type Made<'a> = Result<Val<'a>, String>;

/// Calls a function. `regex` finds the compiled form of constant patterns.
pub(crate) fn call<'a>(
    function: &str,
    overload: &str,
    args: &[Val<'a>],
    regex: &dyn Fn(&str) -> Option<Regex>,
) -> Made<'a> {
    if let [a, b] = args
        && let Some(made) = operator(function, a, b)
    {
        return made;
    }
    if let Some(made) = unary(function, args) {
        return made;
    }
    if let Some(made) = matching(function, args, regex) {
        return made;
    }
    if function == "sum"
        && let [Val::List(list)] = args
    {
        return lists::sum(list, overload);
    }
    member(function, args)
        .or_else(|| global(function, args))
        .unwrap_or_else(|| Err(no_overload(function, args)))
}

fn no_overload(function: &str, args: &[Val<'_>]) -> String {
    match args.len() {
        0..=2 if !function.starts_with('_') => format!("no such overload: {function}"),
        _ => "no such overload".into(),
    }
}

fn operator<'a>(function: &str, a: &Val<'a>, b: &Val<'a>) -> Option<Made<'a>> {
    let ordered = |fine: fn(Ordering) -> bool| compare(a, b).map(|o| Val::Bool(fine(o)));
    Some(match function {
        "_==_" => equal(a, b).map(Val::Bool),
        "_!=_" => equal(a, b).map(|e| Val::Bool(!e)),
        "_<_" => ordered(Ordering::is_lt),
        "_<=_" => ordered(Ordering::is_le),
        "_>_" => ordered(Ordering::is_gt),
        "_>=_" => ordered(Ordering::is_ge),
        "_+_" => ops::add(a, b),
        "_-_" => ops::subtract(a, b),
        "_*_" | "_/_" | "_%_" => ops::multiply(function, a, b),
        "@in" => within(a, b),
        _ => return None,
    })
}

fn within<'a>(a: &Val<'a>, b: &Val<'a>) -> Made<'a> {
    match b {
        Val::List(list) => {
            for i in 0..list.len() {
                if equal(&list.get(i)?, a)? {
                    return Ok(Val::Bool(true));
                }
            }
            Ok(Val::Bool(false))
        }
        Val::Map(map) => map.find(a).map(|found| Val::Bool(found.is_some())),
        _ => Err("no such overload".into()),
    }
}

fn unary<'a>(function: &str, args: &[Val<'a>]) -> Option<Made<'a>> {
    let [a] = args else {
        return None;
    };
    Some(match function {
        "!_" => a
            .as_bool()
            .map(|v| Val::Bool(!v))
            .ok_or_else(|| "no such overload".into()),
        "-_" => ops::negate(a),
        "size" => size(a)
            .map(|n| Val::Int(n as i64))
            .ok_or_else(|| "no such overload: size".into()),
        "bool" | "bytes" | "double" | "duration" | "timestamp" | "int" | "uint" | "string"
        | "dyn" | "type" => convert(function, a),
        _ => return None,
    })
}

/// How many characters, bytes, elements or entries a value has.
pub(crate) fn size(value: &Val<'_>) -> Option<u64> {
    Some(match value {
        Val::Str(s) => s.chars().count() as u64,
        Val::Bytes(b) => b.len() as u64,
        Val::List(l) => l.len() as u64,
        Val::Map(m) => m.len() as u64,
        _ => return None,
    })
}

fn matching<'a>(
    function: &str,
    args: &[Val<'a>],
    regex: &dyn Fn(&str) -> Option<Regex>,
) -> Option<Made<'a>> {
    let (text, pattern) = match (function, args) {
        ("matches" | "find" | "findAll", [Val::Str(text), Val::Str(pattern), ..]) => {
            (text, pattern)
        }
        _ => return None,
    };
    let compiled = match regex(pattern).map_or_else(|| compile(pattern), Ok) {
        Ok(compiled) => compiled,
        Err(why) if function == "matches" => return Some(Err(why)),
        Err(why) => return Some(Err(format!("Illegal regex: {why}"))),
    };
    let found = |n: usize| -> Val<'a> {
        let all = compiled.find_iter(text).take(n);
        Val::list(all.map(|m| Val::text(m.as_str())).collect())
    };
    Some(Ok(match (function, args.get(2)) {
        ("matches", None) => Val::Bool(compiled.is_match(text)),
        ("find", None) => Val::text(compiled.find(text).map_or("", |m| m.as_str())),
        ("findAll", None) => found(usize::MAX),
        ("findAll", Some(Val::Int(n))) => found(usize::try_from(*n).unwrap_or(usize::MAX)),
        _ => return None,
    }))
}

fn member<'a>(function: &str, args: &[Val<'a>]) -> Option<Made<'a>> {
    let (target, rest) = args.split_first()?;
    match target {
        Val::Str(text) if function == "format" => match rest {
            [Val::List(list)] => Some(crate::printf::format(text, list).map(Val::text)),
            _ => None,
        },
        Val::Str(text) => strings::member(function, text, rest),
        Val::List(list) => lists::member(function, list, rest),
        Val::Ip(ip) if rest.is_empty() => net::ip_member(function, *ip),
        Val::Cidr(cidr) => net::cidr_member(function, *cidr, rest),
        Val::Url(url) if rest.is_empty() => url.member(function).map(Ok),
        Val::Authz(authz) => authz.member(function, rest),
        Val::Quantity(quantity) => quantity_member(function, quantity, rest),
        Val::Semver(version) => semver_member(function, version, rest),
        Val::Timestamp(at) if function.starts_with("get") => {
            let zone = match rest {
                [] => None,
                [Val::Str(zone)] => Some(&**zone),
                _ => return None,
            };
            Some(at.field(function, zone).map(Val::Int))
        }
        Val::Duration(nanos) if function.starts_with("get") && rest.is_empty() => {
            Some(Ok(Val::Int(duration_field(*nanos, function))))
        }
        Val::Format(format) if function == "validate" => {
            let errors = format.check(rest.first()?.as_str()?);
            Some(Ok(if errors.is_empty() {
                Val::Optional(None)
            } else {
                Val::some(Val::list(errors.into_iter().map(Val::text).collect()))
            }))
        }
        Val::Optional(value) if rest.is_empty() => match function {
            "hasValue" => Some(Ok(Val::Bool(value.is_some()))),
            "value" => Some(match value {
                Some(value) => Ok((**value).clone()),
                None => Err("optional.none() dereference".into()),
            }),
            _ => None,
        },
        _ => None,
    }
}

fn sign(order: Ordering) -> i64 {
    order as i64
}

fn quantity_member<'a>(
    function: &str,
    quantity: &Rc<Quantity>,
    rest: &[Val<'a>],
) -> Option<Made<'a>> {
    let made = |q: Quantity| Ok(Val::Quantity(Rc::new(q)));
    Some(match (function, rest) {
        ("sign", []) => Ok(Val::Int(i64::from(quantity.sign()))),
        ("isInteger", []) => Ok(Val::Bool(quantity.as_i64().is_some())),
        ("asInteger", []) => quantity
            .as_i64()
            .map(Val::Int)
            .ok_or_else(|| "cannot convert value to integer".into()),
        ("asApproximateFloat", []) => Ok(Val::Double(quantity.as_f64())),
        ("isGreaterThan", [Val::Quantity(other)]) => Ok(Val::Bool(quantity > other)),
        ("isLessThan", [Val::Quantity(other)]) => Ok(Val::Bool(quantity < other)),
        ("compareTo", [Val::Quantity(other)]) => Ok(Val::Int(sign(quantity.cmp(other)))),
        ("add" | "sub", [other]) => {
            let other = match other {
                Val::Quantity(other) => (**other).clone(),
                Val::Int(v) => Quantity::new(*v, QuantityFormat::DecimalExponent),
                _ => return None,
            };
            let mut sum = (**quantity).clone();
            if function == "add" {
                sum.add(&other);
            } else {
                sum.sub(&other);
            }
            made(sum)
        }
        _ => return None,
    })
}

fn semver_member<'a>(function: &str, version: &Rc<Semver>, rest: &[Val<'a>]) -> Option<Made<'a>> {
    let number = |n: u64| Val::Int(n as i64);
    Some(Ok(match (function, rest) {
        ("major", []) => number(version.major),
        ("minor", []) => number(version.minor),
        ("patch", []) => number(version.patch),
        ("isGreaterThan", [Val::Semver(other)]) => Val::Bool(version.compare(other).is_gt()),
        ("isLessThan", [Val::Semver(other)]) => Val::Bool(version.compare(other).is_lt()),
        ("compareTo", [Val::Semver(other)]) => Val::Int(sign(version.compare(other))),
        _ => return None,
    }))
}

fn global<'a>(function: &str, args: &[Val<'a>]) -> Option<Made<'a>> {
    match args {
        [] if function == "optional.none" => Some(Ok(Val::Optional(None))),
        [] => crate::formats::named(function.strip_prefix("format.")?).map(|f| Ok(Val::Format(f))),
        [Val::Str(text)] => from_text(function, text).or_else(|| general(function, args)),
        [Val::Str(text), Val::Bool(normalize)] => match function {
            "semver" => Some(Semver::parse(text, *normalize).map(|v| Val::Semver(Rc::new(v)))),
            "isSemver" => Some(Ok(Val::Bool(Semver::parse(text, *normalize).is_ok()))),
            _ => None,
        },
        [Val::List(a), Val::List(b)] if function.starts_with("sets.") => {
            Some(lists::sets(function, a, b))
        }
        [Val::Map(map), rest @ ..] if function == "cel.@mapInsert" => Some(insert(map, rest)),
        _ => general(function, args),
    }
}

fn general<'a>(function: &str, args: &[Val<'a>]) -> Option<Made<'a>> {
    Some(match (function, args) {
        ("optional.of", [value]) => Ok(Val::some(value.clone())),
        ("optional.ofNonZeroValue", [value]) => Ok(if is_zero(value) {
            Val::Optional(None)
        } else {
            Val::some(value.clone())
        }),
        ("optional.unwrap", [Val::List(list)]) => lists::unwrap(list),
        ("lists.range", [Val::Int(n)]) => {
            let n = *n;
            if n > 1_000_000 {
                return Some(Err("operation cancelled: actual cost limit exceeded".into()));
            }
            Ok(Val::list((0..n).map(Val::Int).collect()))
        }
        _ => return None,
    })
}

fn from_text<'a>(function: &str, text: &str) -> Option<Made<'a>> {
    let fine = |fine: bool| Ok(Val::Bool(fine));
    Some(match function {
        "strings.quote" => Ok(Val::text(strings::quote(text))),
        "url" => crate::url::parse(text)
            .map(|u| Val::Url(Rc::new(u)))
            .map_err(|e| format!("URL parse error during conversion from string: {e}")),
        "isURL" => fine(crate::url::parse(text).is_ok()),
        "ip" => net::parse_ip(text).map(Val::Ip),
        "isIP" => fine(net::parse_ip(text).is_ok()),
        "ip.isCanonical" => net::parse_ip(text).map(|ip| Val::Bool(net::ip_text(&ip) == text)),
        "cidr" => Cidr::parse(text)
            .map(Val::Cidr)
            .map_err(|e| format!("network address parse error during conversion from string: {e}")),
        "isCIDR" => fine(Cidr::parse(text).is_ok()),
        "quantity" => Quantity::parse(text)
            .map(|q| Val::Quantity(Rc::new(q)))
            .map_err(|e| e.to_string()),
        "isQuantity" => fine(Quantity::parse(text).is_ok()),
        "semver" => Semver::parse(text, false).map(|v| Val::Semver(Rc::new(v))),
        "isSemver" => fine(Semver::parse(text, false).is_ok()),
        "format.named" => {
            Ok(crate::formats::named(text)
                .map_or(Val::Optional(None), |f| Val::some(Val::Format(f))))
        }
        "jsonpatch.escapeKey" => Ok(Val::text(text.replace('~', "~0").replace('/', "~1"))),
        _ => return None,
    })
}

fn is_zero(value: &Val<'_>) -> bool {
    match value {
        Val::Null | Val::Optional(None) => true,
        Val::Bool(v) => !v,
        Val::Int(v) | Val::Duration(v) => *v == 0,
        Val::Uint(v) => *v == 0,
        Val::Double(v) => *v == 0.0,
        Val::Object(o) => o.fields.is_empty(),
        Val::Type(Type::Dyn) => false,
        other => size(other) == Some(0),
    }
}

fn insert<'a>(map: &MapVal<'a>, rest: &[Val<'a>]) -> Made<'a> {
    let MapVal::Own(map) = map else {
        return Err("no such overload".into());
    };
    let mut out = map.clone();
    let inner = Rc::make_mut(&mut out);
    let mut put = |key: &Val<'a>, value: Val<'a>| -> Result<(), String> {
        let own = Key::of(key).ok_or("unsupported key type")?;
        if inner.contains_key(&own) {
            return Err(format!("insert failed: key {} already exists", shown(key)));
        }
        inner.insert(own, value);
        Ok(())
    };
    match rest {
        [key, value] => put(key, value.clone())?,
        [Val::Map(more)] => {
            for key in more.keys() {
                let value = more.find(&key)?.unwrap_or(Val::Null);
                put(&key, value)?;
            }
        }
        _ => return Err("no such overload".into()),
    }
    Ok(Val::Map(MapVal::Own(out)))
}

/// The elements that a fold goes over: keys of maps, elements of lists.
pub(crate) fn elements<'a>(range: &Val<'a>) -> Result<Vec<Result<Val<'a>, String>>, String> {
    Ok(match range {
        Val::List(list) => (0..list.len()).map(|i| list.get(i)).collect(),
        Val::Map(map) => map.keys().into_iter().map(Ok).collect(),
        other => {
            return Err(format!("got '{}', expected iterable type", other.type_of()));
        }
    })
}

/// Adds an element to a list that nobody else holds, in place.
pub(crate) fn push<'a>(list: Val<'a>, element: Val<'a>) -> Made<'a> {
    match list {
        Val::List(ListVal::Own(mut all, kind)) => {
            Rc::make_mut(&mut all).push(element);
            Ok(Val::List(ListVal::Own(all, kind)))
        }
        Val::List(other) => {
            let mut all = other.all()?;
            all.push(element);
            Ok(Val::list(all))
        }
        _ => Err("no such overload".into()),
    }
}
