//! `'...'.format([...])`: clauses `%s %d %f %e %b %x %X %o`.

use crate::convert::to_text;
use crate::val::{ListVal, MapVal, Val};

type Printed = Result<String, String>;

/// Formats arguments into a text.
pub(crate) fn format<'a>(text: &str, args: &ListVal<'a>) -> Printed {
    let mut out = String::new();
    let mut next = 0;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        if chars.peek() == Some(&'%') {
            chars.next();
            out.push('%');
            continue;
        }
        if next >= args.len() {
            return Err(format!("index {next} out of range"));
        }
        let mut precision = None;
        if chars.peek() == Some(&'.') {
            chars.next();
            let mut digits = String::new();
            while let Some(d) = chars.next_if(char::is_ascii_digit) {
                digits.push(d);
            }
            precision = Some(digits.parse::<usize>().map_err(|_| {
                "could not parse formatting clause: error while parsing precision".to_owned()
            })?);
        }
        let Some(verb) = chars.next() else {
            return Err("could not parse formatting clause: unexpected end of string".into());
        };
        let arg = args.get(next)?;
        next += 1;
        out += &clause(verb, precision, &arg).map_err(|e| {
            if e.starts_with("could not parse") {
                e
            } else {
                format!("error during formatting: {e}")
            }
        })?;
    }
    Ok(out)
}

fn clause(verb: char, precision: Option<usize>, arg: &Val<'_>) -> Printed {
    let given = || crate::convert::runtime_name(&arg.type_of()).to_owned();
    match (verb, arg) {
        ('s', _) => string(arg),
        ('d', Val::Int(_) | Val::Uint(_)) => to_text(arg),
        ('d', _) => Err(format!(
            "decimal clause can only be used on integers, was given {}",
            given()
        )),
        ('f', Val::Double(v)) => {
            Ok(special(*v).unwrap_or_else(|| grouped(&format!("{v:.*}", precision.unwrap_or(6)))))
        }
        ('f', Val::Str(s)) if is_special(s) => Ok(unspecial(s)),
        ('f', _) => Err(format!(
            "fixed-point clause can only be used on doubles, was given {}",
            given()
        )),
        ('e', Val::Double(v)) => {
            Ok(special(*v).unwrap_or_else(|| scientific(*v, precision.unwrap_or(6))))
        }
        ('e', Val::Str(s)) if is_special(s) => Ok(unspecial(s)),
        ('e', _) => Err(format!(
            "scientific clause can only be used on doubles, was given {}",
            given()
        )),
        ('b', Val::Int(v)) => Ok(signed(*v, |u| format!("{u:b}"))),
        ('b', Val::Uint(v)) => Ok(format!("{v:b}")),
        ('b', Val::Bool(v)) => Ok(if *v { "1" } else { "0" }.into()),
        ('b', _) => Err(format!(
            "only integers and bools can be formatted as binary, was given {}",
            given()
        )),
        ('x', _) => hex(arg).ok_or_else(|| {
            format!(
                "only integers, byte buffers, and strings can be formatted as hex, was given {}",
                given()
            )
        }),
        ('X', _) => hex(arg).map(|h| h.to_uppercase()).ok_or_else(|| {
            format!(
                "only integers, byte buffers, and strings can be formatted as hex, was given {}",
                given()
            )
        }),
        ('o', Val::Int(v)) => Ok(signed(*v, |u| format!("{u:o}"))),
        ('o', Val::Uint(v)) => Ok(format!("{v:o}")),
        ('o', _) => Err(format!(
            "octal clause can only be used on integers, was given {}",
            given()
        )),
        (other, _) => Err(format!(
            "could not parse formatting clause: unrecognized formatting clause \"{other}\""
        )),
    }
}

fn signed(v: i64, digits: impl Fn(u64) -> String) -> String {
    let sign = if v < 0 { "-" } else { "" };
    format!("{sign}{}", digits(v.unsigned_abs()))
}

fn special(v: f64) -> Option<String> {
    if v.is_nan() {
        return Some("NaN".into());
    }
    v.is_infinite()
        .then(|| if v > 0.0 { "\u{221e}" } else { "-\u{221e}" }.to_owned())
}

fn is_special(text: &str) -> bool {
    matches!(text, "NaN" | "Infinity" | "-Infinity")
}

fn unspecial(text: &str) -> String {
    text.replace("Infinity", "\u{221e}")
}

/// English thousands separators, as upstream's printer puts them.
fn grouped(text: &str) -> String {
    let (sign, rest) = text.strip_prefix('-').map_or(("", text), |r| ("-", r));
    let (whole, fraction) = rest.split_once('.').map_or((rest, ""), |(w, f)| (w, f));
    let mut out = String::new();
    for (i, c) in whole.chars().enumerate() {
        if i > 0 && (whole.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    if fraction.is_empty() {
        format!("{sign}{out}")
    } else {
        format!("{sign}{out}.{fraction}")
    }
}

/// As English locales print it: `1.500000×10⁰³`.
fn scientific(v: f64, precision: usize) -> String {
    let text = format!("{v:.precision$e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let raised: String = format!("{:02}", exponent.abs())
        .chars()
        .map(|c| match c {
            '1' => '\u{b9}',
            '2' => '\u{b2}',
            '3' => '\u{b3}',
            '0' => '\u{2070}',
            d => char::from_u32(0x2070 + d.to_digit(10).unwrap_or(0)).unwrap_or('0'),
        })
        .collect();
    let sign = if exponent < 0 { "\u{207b}" } else { "" };
    format!("{mantissa}\u{d7}10{sign}{raised}")
}

fn hex(arg: &Val<'_>) -> Option<String> {
    let bytes = |b: &[u8]| b.iter().map(|b| format!("{b:02x}")).collect::<String>();
    Some(match arg {
        Val::Int(v) => signed(*v, |u| format!("{u:x}")),
        Val::Uint(v) => format!("{v:x}"),
        Val::Str(s) => bytes(s.as_bytes()),
        Val::Bytes(b) => bytes(b),
        _ => return None,
    })
}

fn string(arg: &Val<'_>) -> Printed {
    match arg {
        Val::List(list) => {
            let mut all = Vec::new();
            for element in list.all()? {
                all.push(inner(&element)?);
            }
            Ok(format!("[{}]", all.join(", ")))
        }
        Val::Map(map) => entries(map),
        Val::Int(_)
        | Val::Uint(_)
        | Val::Double(_)
        | Val::Bool(_)
        | Val::Str(_)
        | Val::Timestamp(_)
        | Val::Bytes(_)
        | Val::Duration(_)
        | Val::Type(_)
        | Val::Null => to_text(arg),
        other => Err(format!(
            "string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, types, durations, and timestamps, was given {}",
            crate::convert::runtime_name(&other.type_of())
        )),
    }
}

/// An element of a list or map.
fn inner(value: &Val<'_>) -> Printed {
    Ok(match value {
        Val::Str(s) => crate::strings::quote(s),
        Val::Bytes(_) => format!("b{}", crate::strings::quote(&to_text(value)?)),
        Val::Double(v) => {
            special(*v).map_or_else(|| format!("{v:.6}"), |s| crate::strings::quote(&s))
        }
        Val::Timestamp(_) => format!("timestamp(\"{}\")", to_text(value)?),
        Val::Duration(_) => format!("duration(\"{}\")", to_text(value)?),
        Val::List(_)
        | Val::Map(_)
        | Val::Int(_)
        | Val::Uint(_)
        | Val::Bool(_)
        | Val::Null
        | Val::Type(_) => string(value)?,
        other => {
            return Err(format!(
                "no formatting function for {}",
                crate::convert::runtime_name(&other.type_of())
            ));
        }
    })
}

fn entries(map: &MapVal<'_>) -> Printed {
    let mut pairs = Vec::new();
    for key in map.keys() {
        let value = map.find(&key)?.ok_or("could not find key")?;
        pairs.push((inner(&key)?, inner(&value)?));
    }
    pairs.sort();
    let all: Vec<String> = pairs.into_iter().map(|(k, v)| format!("{k}:{v}")).collect();
    Ok(format!("{{{}}}", all.join(", ")))
}
