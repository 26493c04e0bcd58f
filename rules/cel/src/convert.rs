//! Conversions between types: `int(x)`, `string(x)` and their like, with upstream's bounds and words.

use crate::net;
use crate::time::{self, Timestamp};
use crate::types::Type;
use crate::val::{Key, ListVal, MapVal, Val};

type Converted<'a> = Result<Val<'a>, String>;

fn wrong(value: &Val<'_>, to: &str) -> String {
    format!(
        "type conversion error from '{}' to '{to}'",
        value.type_of().name()
    )
}

/// Calls a conversion function.
pub(crate) fn convert<'a>(to: &str, value: &Val<'a>) -> Converted<'a> {
    match to {
        "dyn" => Ok(value.clone()),
        "type" => Ok(Val::Type(value.type_of())),
        "bool" => to_bool(value),
        "bytes" => match value {
            Val::Bytes(_) => Ok(value.clone()),
            Val::Str(s) => Ok(Val::Bytes(s.as_bytes().into())),
            other => Err(wrong(other, "bytes")),
        },
        "double" => to_double(value),
        "duration" => match value {
            Val::Duration(_) => Ok(value.clone()),
            Val::Int(nanos) => Ok(Val::Duration(*nanos)),
            Val::Str(s) => time::parse_duration(s)
                .map(Val::Duration)
                .map_err(|_| wrong(value, "google.protobuf.Duration")),
            other => Err(wrong(other, "google.protobuf.Duration")),
        },
        "timestamp" => match value {
            Val::Timestamp(_) => Ok(value.clone()),
            Val::Int(seconds) => Timestamp::new(*seconds, 0).map(Val::Timestamp),
            Val::Str(s) => time::parse_timestamp(s)
                .map(Val::Timestamp)
                .map_err(|_| wrong(value, "google.protobuf.Timestamp")),
            other => Err(wrong(other, "google.protobuf.Timestamp")),
        },
        "int" => to_int(value),
        "uint" => to_uint(value),
        _ => match value {
            Val::Str(_) => Ok(value.clone()),
            other => to_text(other).map(Val::text),
        },
    }
}

fn to_bool<'a>(value: &Val<'a>) -> Converted<'a> {
    match value {
        Val::Bool(_) => Ok(value.clone()),
        Val::Str(s) => match &**s {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Val::Bool(true)),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Val::Bool(false)),
            _ => Err(wrong(value, "bool")),
        },
        other => Err(wrong(other, "bool")),
    }
}

fn to_double<'a>(value: &Val<'a>) -> Converted<'a> {
    Ok(Val::Double(match value {
        Val::Double(v) => *v,
        Val::Int(v) => *v as f64,
        Val::Uint(v) => *v as f64,
        Val::Str(s) => s.parse().map_err(|_| wrong(value, "double"))?,
        other => return Err(wrong(other, "double")),
    }))
}

fn to_int<'a>(value: &Val<'a>) -> Converted<'a> {
    let overflow = || "integer overflow".to_owned();
    Ok(Val::Int(match value {
        Val::Int(v) => *v,
        Val::Uint(v) => i64::try_from(*v).map_err(|_| overflow())?,
        Val::Double(v) => {
            if !v.is_finite()
                || *v <= -9_223_372_036_854_775_808.0
                || *v >= 9_223_372_036_854_775_808.0
            {
                return Err(overflow());
            }
            *v as i64
        }
        Val::Duration(nanos) => *nanos,
        Val::Timestamp(t) => t.seconds,
        Val::Str(s) => s.parse().map_err(|_| wrong(value, "int"))?,
        other => return Err(wrong(other, "int")),
    }))
}

fn to_uint<'a>(value: &Val<'a>) -> Converted<'a> {
    let overflow = || "unsigned integer overflow".to_owned();
    Ok(Val::Uint(match value {
        Val::Uint(v) => *v,
        Val::Int(v) => u64::try_from(*v).map_err(|_| overflow())?,
        Val::Double(v) => {
            if !v.is_finite() || *v < 0.0 || *v >= 18_446_744_073_709_551_616.0 {
                return Err(overflow());
            }
            *v as u64
        }
        Val::Str(s) => s.parse().map_err(|_| wrong(value, "uint"))?,
        other => return Err(wrong(other, "uint")),
    }))
}

/// The text that `string(x)` makes.
pub(crate) fn to_text(value: &Val<'_>) -> Result<String, String> {
    Ok(match value {
        Val::Str(s) => s.to_string(),
        Val::Bool(v) => v.to_string(),
        Val::Int(v) => v.to_string(),
        Val::Uint(v) => v.to_string(),
        Val::Double(v) => general(*v),
        Val::Bytes(bytes) => std::str::from_utf8(bytes)
            .map_err(|_| "invalid UTF-8 in bytes, cannot convert to string")?
            .to_owned(),
        Val::Duration(nanos) => time::duration_text(*nanos),
        Val::Timestamp(t) => t.text(),
        Val::Ip(ip) => net::ip_text(ip),
        Val::Cidr(cidr) => cidr.text(),
        Val::Type(t) => runtime_name(t).to_owned(),
        Val::Null => "null".into(),
        other => return Err(wrong(other, "string")),
    })
}

/// A type's name as values of type `type` print it.
pub(crate) fn runtime_name(t: &Type) -> &str {
    match t {
        Type::Null => "null_type",
        Type::Duration => "google.protobuf.Duration",
        Type::Timestamp => "google.protobuf.Timestamp",
        t => t.name(),
    }
}

/// Go's `%g` with the shortest digits.
pub(crate) fn general(v: f64) -> String {
    if v.is_nan() {
        return "NaN".into();
    }
    if v.is_infinite() {
        return if v > 0.0 { "+Inf" } else { "-Inf" }.into();
    }
    let exponent = if v == 0.0 {
        0
    } else {
        let text = format!("{v:e}");
        text.split_once('e')
            .and_then(|(_, e)| e.parse::<i32>().ok())
            .unwrap_or(0)
    };
    if (-4..21).contains(&exponent) {
        return format!("{v}");
    }
    let text = format!("{v:e}");
    let (mantissa, _) = text.split_once('e').unwrap_or((&text, ""));
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}

/// A value as error messages show it.
pub(crate) fn shown(value: &Val<'_>) -> String {
    match value {
        Val::List(list) => shown_list(list),
        Val::Map(MapVal::Own(map)) => {
            let all: Vec<String> = map
                .iter()
                .map(|(k, v)| format!("{}: {}", shown_key(k), shown(v)))
                .collect();
            format!("{{{}}}", all.join(", "))
        }
        other => to_text(other).unwrap_or_else(|_| other.type_of().to_string()),
    }
}

fn shown_list(list: &ListVal<'_>) -> String {
    let all: Vec<String> = list.all().unwrap_or_default().iter().map(shown).collect();
    format!("[{}]", all.join(", "))
}

fn shown_key(key: &Key<'_>) -> String {
    shown(&key.val())
}
