//! What a plain scalar is in YAML 1.1: `yes` is a bool, `014` is twelve, `1_000` a thousand, dates stay texts.
//! Invariant: agrees with the YAML library behind kubectl, its leniencies included.

/// A scalar after resolution.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Scalar {
    Null,
    Bool(bool),
    Int(i64),
    /// Above `i64::MAX`.
    Uint(u64),
    Float(f64),
    /// Reads as a text, but looks like a date.
    Timestamp,
    Text,
}

/// What the plain text would be without any tag.
pub(crate) fn resolve(text: &str) -> Scalar {
    let Some(&first) = text.as_bytes().first() else {
        return Scalar::Null;
    };
    match first {
        b'+' | b'-' | b'0'..=b'9' => resolve_word(text).unwrap_or_else(|| resolve_number(text)),
        b'.' => resolve_word(text)
            .or_else(|| parse_float(text).map(Scalar::Float))
            .unwrap_or(Scalar::Text),
        b'y' | b'Y' | b'n' | b'N' | b't' | b'T' | b'f' | b'F' | b'o' | b'O' | b'~' => {
            resolve_word(text).unwrap_or(Scalar::Text)
        }
        _ => Scalar::Text,
    }
}

fn resolve_word(text: &str) -> Option<Scalar> {
    Some(match text {
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            Scalar::Bool(true)
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            Scalar::Bool(false)
        }
        "~" | "null" | "Null" | "NULL" => Scalar::Null,
        ".nan" | ".NaN" | ".NAN" => Scalar::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => Scalar::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => Scalar::Float(f64::NEG_INFINITY),
        _ => return None,
    })
}

fn resolve_number(text: &str) -> Scalar {
    if is_timestamp(text) {
        return Scalar::Timestamp;
    }
    let plain = text.replace('_', "");
    if let Some(value) = parse_int(&plain) {
        return match i64::try_from(value) {
            Ok(value) => Scalar::Int(value),
            Err(_) => Scalar::Uint(value as u64),
        };
    }
    parse_float(&plain).map_or(Scalar::Text, Scalar::Float)
}

/// An integer as Go's `ParseInt` and then `ParseUint` with base 0 read it: `0x`, `0o`, `0b`, and a leading zero for octal.
fn parse_int(text: &str) -> Option<i128> {
    let (negative, signed, digits) = match text.as_bytes().first()? {
        b'-' => (true, true, &text[1..]),
        b'+' => (false, true, &text[1..]),
        _ => (false, false, text),
    };
    let lower = digits.as_bytes().get(1).map(u8::to_ascii_lowercase);
    let (radix, digits) = match (digits.as_bytes().first()?, lower) {
        (b'0', Some(b'x')) => (16, &digits[2..]),
        (b'0', Some(b'o')) => (8, &digits[2..]),
        (b'0', Some(b'b')) => (2, &digits[2..]),
        (b'0', Some(_)) => (8, &digits[1..]),
        _ => (10, digits),
    };
    if digits.is_empty() || !digits.bytes().all(|b| char::from(b).is_digit(radix)) {
        return None;
    }
    let size = i128::from_str_radix(digits, radix).ok()?;
    let value = if negative { -size } else { size };
    let max = if signed {
        i128::from(i64::MAX)
    } else {
        i128::from(u64::MAX)
    };
    (i128::from(i64::MIN)..=max)
        .contains(&value)
        .then_some(value)
}

/// A decimal float: optional sign, digits with at most one point, optional exponent. Infinities are refused.
pub(crate) fn parse_float(text: &str) -> Option<f64> {
    let body = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = match body.find(['e', 'E']) {
        Some(at) => (&body[..at], Some(&body[at + 1..])),
        None => (body, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all_digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    let has_digits = if whole.is_empty() {
        !fraction.is_empty()
    } else {
        true
    };
    let exponent_fits = exponent.is_none_or(|e| {
        let digits = e.strip_prefix(['+', '-']).unwrap_or(e);
        !digits.is_empty() && all_digits(digits)
    });
    if !all_digits(whole) || !all_digits(fraction) || !has_digits || !exponent_fits {
        return None;
    }
    text.parse::<f64>().ok().filter(|v| v.is_finite())
}

/// Whether a text reads as a date or a date and time.
fn is_timestamp(text: &str) -> bool {
    let bytes = text.as_bytes();
    if bytes.len() < 5 || !bytes[..4].iter().all(u8::is_ascii_digit) || bytes[4] != b'-' {
        return false;
    }
    let number = |s: &mut &str, max_digits: usize| -> Option<u32> {
        let count = s
            .bytes()
            .take(max_digits)
            .take_while(u8::is_ascii_digit)
            .count();
        let (digits, rest) = s.split_at(count);
        *s = rest;
        digits.parse().ok()
    };
    let mark = |s: &mut &str, marks: &[char]| -> Option<char> {
        let found = s.chars().next().filter(|c| marks.contains(c))?;
        *s = &s[found.len_utf8()..];
        Some(found)
    };
    let mut rest = &text[5..];
    let year: u32 = text[..4].parse().unwrap_or(0);
    let parse = |rest: &mut &str| -> Option<bool> {
        let month = number(rest, 2).filter(|m| (1..=12).contains(m))?;
        mark(rest, &['-'])?;
        let day = number(rest, 2)?;
        let leap =
            year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        let days = match month {
            2 => 28 + u32::from(leap),
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        if day < 1 || day > days {
            return Some(false);
        }
        if rest.is_empty() {
            return Some(true);
        }
        let zoned = mark(rest, &['T', 't', ' '])? != ' ';
        number(rest, 2).filter(|h| *h < 24)?;
        mark(rest, &[':'])?;
        number(rest, 2).filter(|m| *m < 60)?;
        mark(rest, &[':'])?;
        number(rest, 2).filter(|s| *s < 60)?;
        if mark(rest, &['.', ',']).is_some() {
            number(rest, 40.min(rest.len()).max(1))
                .or(Some(0))
                .filter(|_| rest.len() < text.len())?;
        }
        if !zoned {
            return Some(rest.is_empty());
        }
        if *rest == "Z" {
            return Some(true);
        }
        mark(rest, &['+', '-'])?;
        let sized = rest.len() == 5 && rest.as_bytes()[2] == b':';
        let hours = number(rest, 2).filter(|h| *h <= 24)?;
        mark(rest, &[':'])?;
        let minutes = number(rest, 2).filter(|m| *m <= 60)?;
        let _ = (hours, minutes);
        Some(sized && rest.is_empty())
    };
    parse(&mut rest).unwrap_or(false)
}

/// Whether a text looks like a number in base 60 (`1:30`), which other YAML readers take as one.
pub(crate) fn is_base60(text: &str) -> bool {
    let body = text.strip_prefix(['+', '-']).unwrap_or(text);
    let mut parts = body.split(':');
    let first = parts.next().unwrap_or("");
    let starts = first.starts_with(|c: char| c.is_ascii_digit());
    if !starts || !first.bytes().all(|b| b.is_ascii_digit() || b == b'_') {
        return false;
    }
    let rest: Vec<&str> = parts.collect();
    let Some((last, middle)) = rest.split_last() else {
        return false;
    };
    let sixty = |s: &str| match s.as_bytes() {
        [b] => b.is_ascii_digit(),
        [a, b] => (b'0'..=b'5').contains(a) && b.is_ascii_digit(),
        _ => false,
    };
    let (whole, fraction) = last.split_once('.').unwrap_or((last, ""));
    middle.iter().all(|s| sixty(s))
        && sixty(whole)
        && fraction.bytes().all(|b| b.is_ascii_digit() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolves_yaml_1_1() {
        for (text, scalar) in [
            ("", Scalar::Null),
            ("~", Scalar::Null),
            ("yes", Scalar::Bool(true)),
            ("Off", Scalar::Bool(false)),
            ("n", Scalar::Bool(false)),
            ("014", Scalar::Int(12)),
            ("0o14", Scalar::Int(12)),
            ("0x1F", Scalar::Int(31)),
            ("-0b11", Scalar::Int(-3)),
            ("1_000", Scalar::Int(1000)),
            ("08", Scalar::Float(8.0)),
            ("+7", Scalar::Int(7)),
            ("18446744073709551615", Scalar::Uint(u64::MAX)),
            ("-9223372036854775808", Scalar::Int(i64::MIN)),
            ("1e3", Scalar::Float(1000.0)),
            (".5", Scalar::Float(0.5)),
            ("5.", Scalar::Float(5.0)),
            ("1e999", Scalar::Text),
            (".", Scalar::Text),
            ("1.2.3", Scalar::Text),
            ("12abc", Scalar::Text),
            ("-", Scalar::Text),
            ("<<", Scalar::Text),
            ("=", Scalar::Text),
            ("2020-01-01", Scalar::Timestamp),
            ("2020-1-1", Scalar::Timestamp),
            ("2020-01-01T00:00:00Z", Scalar::Timestamp),
            ("2020-01-01 00:00:00.5", Scalar::Timestamp),
            ("2020-01-01t00:00:00+01:00", Scalar::Timestamp),
            ("2020-13-01", Scalar::Text),
            ("2021-02-29", Scalar::Text),
            ("1:30", Scalar::Text),
            ("abc", Scalar::Text),
        ] {
            assert_eq!(resolve(text), scalar, "{text}");
        }
    }

    #[test]
    fn finds_base_60() {
        for text in ["1:30", "-12:59:59.5", "190:20:30"] {
            assert!(is_base60(text), "{text}");
        }
        for text in ["1:60", "a:1", "1", ":1", "1:"] {
            assert!(!is_base60(text), "{text}");
        }
    }
}
