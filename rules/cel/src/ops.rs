//! Arithmetic, with upstream's overflow errors.

use crate::equal::concatenated;
use crate::time::Timestamp;
use crate::val::Val;

type Made<'a> = Result<Val<'a>, String>;

fn none() -> String {
    "no such overload".into()
}

fn int<'a>(v: Option<i64>) -> Made<'a> {
    v.map(Val::Int).ok_or_else(|| "integer overflow".into())
}

fn uint<'a>(v: Option<u64>) -> Made<'a> {
    v.map(Val::Uint)
        .ok_or_else(|| "unsigned integer overflow".into())
}

fn duration<'a>(v: Option<i64>) -> Made<'a> {
    v.map(Val::Duration)
        .ok_or_else(|| "duration overflow".into())
}

fn moment<'a>(v: Result<Timestamp, String>) -> Made<'a> {
    v.map(Val::Timestamp)
}

/// `a + b`
pub(crate) fn add<'a>(a: &Val<'a>, b: &Val<'a>) -> Made<'a> {
    match (a, b) {
        (Val::Int(a), Val::Int(b)) => int(a.checked_add(*b)),
        (Val::Uint(a), Val::Uint(b)) => uint(a.checked_add(*b)),
        (Val::Double(a), Val::Double(b)) => Ok(Val::Double(a + b)),
        (Val::Str(a), Val::Str(b)) => Ok(Val::text(format!("{}{}", &**a, &**b))),
        (Val::Bytes(a), Val::Bytes(b)) => Ok(Val::Bytes([&a[..], &b[..]].concat().into())),
        (Val::List(a), Val::List(b)) => concatenated(a, b),
        (Val::Duration(a), Val::Duration(b)) => duration(a.checked_add(*b)),
        (Val::Timestamp(t), Val::Duration(d)) | (Val::Duration(d), Val::Timestamp(t)) => {
            moment(t.plus(*d))
        }
        _ => Err(none()),
    }
}

/// `a - b`
pub(crate) fn subtract<'a>(a: &Val<'a>, b: &Val<'a>) -> Made<'a> {
    match (a, b) {
        (Val::Int(a), Val::Int(b)) => int(a.checked_sub(*b)),
        (Val::Uint(a), Val::Uint(b)) => uint(a.checked_sub(*b)),
        (Val::Double(a), Val::Double(b)) => Ok(Val::Double(a - b)),
        (Val::Duration(a), Val::Duration(b)) => duration(a.checked_sub(*b)),
        (Val::Timestamp(t), Val::Duration(d)) => {
            moment(t.plus(d.checked_neg().ok_or("timestamp overflow")?))
        }
        (Val::Timestamp(a), Val::Timestamp(b)) => a.since(*b).map(Val::Duration),
        _ => Err(none()),
    }
}

/// `a * b`, `a / b`, `a % b`
pub(crate) fn multiply<'a>(function: &str, a: &Val<'a>, b: &Val<'a>) -> Made<'a> {
    let zero = || match function {
        "_%_" => "modulus by zero".to_owned(),
        _ => "division by zero".to_owned(),
    };
    match (function, a, b) {
        ("_*_", Val::Int(a), Val::Int(b)) => int(a.checked_mul(*b)),
        ("_*_", Val::Uint(a), Val::Uint(b)) => uint(a.checked_mul(*b)),
        ("_*_", Val::Double(a), Val::Double(b)) => Ok(Val::Double(a * b)),
        ("_/_", Val::Double(a), Val::Double(b)) => Ok(Val::Double(a / b)),
        ("_/_" | "_%_", Val::Int(_), Val::Int(0)) | ("_/_" | "_%_", Val::Uint(_), Val::Uint(0)) => {
            Err(zero())
        }
        ("_/_", Val::Int(a), Val::Int(b)) => int(a.checked_div(*b)),
        ("_/_", Val::Uint(a), Val::Uint(b)) => uint(a.checked_div(*b)),
        ("_%_", Val::Int(a), Val::Int(b)) => int(a.checked_rem(*b)),
        ("_%_", Val::Uint(a), Val::Uint(b)) => uint(a.checked_rem(*b)),
        _ => Err(none()),
    }
}

/// `-a`
pub(crate) fn negate<'a>(a: &Val<'a>) -> Made<'a> {
    match a {
        Val::Int(v) => int(v.checked_neg()),
        Val::Double(v) => Ok(Val::Double(-v)),
        Val::Duration(v) => duration(v.checked_neg()),
        _ => Err(none()),
    }
}
