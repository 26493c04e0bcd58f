//! Reading quantity texts as upstream does: which texts stay as they are and what the others become.
//! Works on digit strings, so that inputs of any length canonicalise exactly; owns no amounts.

use crate::quantity::{Amount, QuantityError, QuantityFormat};

/// What becomes of a valid text.
pub(crate) enum Parsed {
    /// It looks canonical and is kept.
    Keep,
    /// It is replaced by its canonical form.
    Rewritten(String),
}

/// A valid quantity text taken apart: `whole.fraction * 10^exponent * 2^shift`.
pub(crate) struct Parts<'a> {
    pub positive: bool,
    pub whole: &'a str,
    pub fraction: &'a str,
    pub exponent: i32,
    pub shift: u32,
    pub format: QuantityFormat,
}

/// Digits that upstream trusts an int64 with.
const INT64_DIGITS: i32 = 18;

pub(crate) fn parse(text: &str) -> Result<Parsed, QuantityError> {
    if text.is_empty() {
        return Err(QuantityError::Format);
    }
    let (parts, number) = split(text)?;
    if let Some(parsed) = parse_small(&parts) {
        return Ok(parsed);
    }
    if !number.bytes().any(|b| b.is_ascii_digit()) {
        return Err(QuantityError::Numeric);
    }
    Ok(Parsed::Rewritten(parse_large(&parts)))
}

pub(crate) fn split_valid(text: &str) -> Option<Parts<'_>> {
    split(text).ok().map(|(parts, _)| parts)
}

fn digits_end(bytes: &[u8], from: usize) -> usize {
    bytes[from..]
        .iter()
        .position(|b| !b.is_ascii_digit())
        .map_or(bytes.len(), |n| from + n)
}

/// Splits into parts and the text of the number (sign and leading zeros included).
fn split(text: &str) -> Result<(Parts<'_>, &str), QuantityError> {
    let bytes = text.as_bytes();
    let positive = bytes.first() != Some(&b'-');
    let signed = usize::from(matches!(bytes.first(), Some(b'-' | b'+')));
    let zeros = bytes[signed..].iter().take_while(|b| **b == b'0').count();
    let start = signed + zeros;
    let plain = |whole, fraction| Parts {
        positive,
        whole,
        fraction,
        exponent: 0,
        shift: 0,
        format: QuantityFormat::DecimalSi,
    };
    if start == bytes.len() {
        return Ok((plain("0", ""), "0"));
    }
    let whole_end = digits_end(bytes, start);
    let whole = if whole_end == start {
        "0"
    } else {
        &text[start..whole_end]
    };
    let (mut fraction, mut at) = ("", whole_end);
    if bytes.get(at) == Some(&b'.') {
        let end = digits_end(bytes, at + 1);
        fraction = &text[at + 1..end];
        at = end;
    }
    if at == bytes.len() {
        return Ok((plain(whole, fraction), text));
    }
    let letters = bytes[at..]
        .iter()
        .take_while(|b| b"eEinumkKMGTP".contains(b))
        .count();
    let mut end = at + letters;
    if end < bytes.len() && matches!(bytes[end], b'-' | b'+') {
        end += 1;
    }
    if digits_end(bytes, end) != bytes.len() {
        return Err(QuantityError::Format);
    }
    let (exponent, shift, format) = suffix(&text[at..]).ok_or(QuantityError::Suffix)?;
    Ok((
        Parts {
            positive,
            whole,
            fraction,
            exponent,
            shift,
            format,
        },
        &text[..at],
    ))
}

fn suffix(text: &str) -> Option<(i32, u32, QuantityFormat)> {
    use QuantityFormat::{BinarySi, DecimalExponent, DecimalSi};
    Some(match text {
        "" => (0, 0, DecimalSi),
        "n" => (-9, 0, DecimalSi),
        "u" => (-6, 0, DecimalSi),
        "m" => (-3, 0, DecimalSi),
        "k" => (3, 0, DecimalSi),
        "M" => (6, 0, DecimalSi),
        "G" => (9, 0, DecimalSi),
        "T" => (12, 0, DecimalSi),
        "P" => (15, 0, DecimalSi),
        "E" => (18, 0, DecimalSi),
        "Ki" => (0, 10, BinarySi),
        "Mi" => (0, 20, BinarySi),
        "Gi" => (0, 30, BinarySi),
        "Ti" => (0, 40, BinarySi),
        "Pi" => (0, 50, BinarySi),
        "Ei" => (0, 60, BinarySi),
        // Upstream reads 64 bits and keeps the low 32.
        _ => (
            text.strip_prefix(['e', 'E'])?.parse::<i64>().ok()? as i32,
            0,
            DecimalExponent,
        ),
    })
}

/// The path for numbers that fit an int64: the only one that can keep the text.
fn parse_small(parts: &Parts<'_>) -> Option<Parsed> {
    let digits = (parts.whole.len() + parts.fraction.len()) as i64;
    let binary = parts.format == QuantityFormat::BinarySi;
    let precision = if !binary {
        i64::from(INT64_DIGITS) - digits
    } else if parts.fraction.is_empty() {
        15 - digits - i64::from(parts.shift) * 3 / 10 - 1
    } else {
        -1
    };
    let scale = parts.exponent.wrapping_sub(parts.fraction.len() as i32);
    if precision < 0 || scale < crate::quantity::scale::NANO {
        return None;
    }
    let value = parts
        .whole
        .bytes()
        .chain(parts.fraction.bytes())
        .fold(0i64, |n, b| n * 10 + i64::from(b - b'0'));
    let result = value.checked_mul(1i64 << parts.shift)?;
    let keep = if binary {
        value & 7 != 0
    } else {
        let first = parts.whole.as_bytes().first();
        scale % 3 == 0 && !ends_in_000(parts) && first != Some(&b'0')
    };
    if keep {
        return Some(Parsed::Keep);
    }
    let signed = if parts.positive { result } else { -result };
    Some(Parsed::Rewritten(
        Amount::new(i128::from(signed), scale, parts.format).canonical_text(),
    ))
}

fn ends_in_000(parts: &Parts<'_>) -> bool {
    let mut tail = parts.whole.bytes().chain(parts.fraction.bytes()).rev();
    (0..3).all(|_| tail.next() == Some(b'0'))
}

/// Decimal digits, most significant first, without leading zeros.
struct Digits(Vec<u8>);

impl Digits {
    fn trimmed(mut self) -> Digits {
        let zeros = self.0.iter().take_while(|d| **d == b'0').count();
        self.0.drain(..zeros);
        self
    }

    fn double(&mut self) {
        let mut carry = 0;
        for digit in self.0.iter_mut().rev() {
            let doubled = (*digit - b'0') * 2 + carry;
            *digit = b'0' + doubled % 10;
            carry = doubled / 10;
        }
        if carry > 0 {
            self.0.insert(0, b'0' + carry);
        }
    }

    fn increment(&mut self) {
        for digit in self.0.iter_mut().rev() {
            if *digit < b'9' {
                *digit += 1;
                return;
            }
            *digit = b'0';
        }
        self.0.insert(0, b'1');
    }

    /// Drops the last `count` digits, rounding up when anything is lost.
    fn drop_rounding_up(&mut self, count: usize) {
        let kept = self.0.len().saturating_sub(count);
        let lost = self.0[kept..].iter().any(|d| *d != b'0');
        self.0.truncate(kept);
        if lost {
            self.increment();
        }
    }
}

/// The path through arbitrary precision: rounds up to nano units, caps binary amounts at 2^63-1.
fn parse_large(parts: &Parts<'_>) -> String {
    let mut digits = Digits(parts.whole.bytes().chain(parts.fraction.bytes()).collect()).trimmed();
    let mut scale = i64::from(parts.exponent) - parts.fraction.len() as i64;
    for _ in 0..parts.shift {
        digits.double();
    }
    if digits.0.is_empty() {
        return "0".into();
    }
    if scale < -9 {
        digits.drop_rounding_up(usize::try_from(-9 - scale).unwrap_or(usize::MAX));
        scale = -9;
    }
    let text = String::from_utf8_lossy(&digits.0);
    if parts.format != QuantityFormat::BinarySi {
        let scale = i32::try_from(scale).unwrap_or(i32::MAX);
        return canonical_decimal(!parts.positive, &text, scale, parts.format);
    }
    let limit = i128::from(i64::MAX);
    let unit = 10i128.pow((-scale) as u32);
    let capped = text
        .parse::<i128>()
        .ok()
        .filter(|m| *m <= limit * unit)
        .unwrap_or(limit * unit);
    let format = if capped < unit {
        QuantityFormat::DecimalSi
    } else {
        QuantityFormat::BinarySi
    };
    Amount::new(
        if parts.positive { capped } else { -capped },
        scale as i32,
        format,
    )
    .canonical_text()
}

/// `digits * 10^scale` with the exponent brought to a multiple of three and its suffix.
pub(crate) fn canonical_decimal(
    negative: bool,
    digits: &str,
    scale: i32,
    format: QuantityFormat,
) -> String {
    let significant = digits.trim_end_matches('0');
    if significant.is_empty() {
        return "0".into();
    }
    let exponent = i64::from(scale) + (digits.len() - significant.len()) as i64;
    let padding = exponent.rem_euclid(3) as usize;
    let exponent = exponent - padding as i64;
    let mut out = String::with_capacity(significant.len() + 8);
    if negative {
        out.push('-');
    }
    out.push_str(significant);
    out.push_str(&"00"[..padding]);
    match (format, exponent) {
        (_, 0) => {}
        (QuantityFormat::DecimalExponent, _) => {
            out.push('e');
            out.push_str(&exponent.to_string());
        }
        _ => out.push_str(match exponent {
            -9 => "n",
            -6 => "u",
            -3 => "m",
            3 => "k",
            6 => "M",
            9 => "G",
            12 => "T",
            15 => "P",
            18 => "E",
            // Upstream prints amounts of 10^21 and more without any suffix; clients see the same here.
            _ => "",
        }),
    }
    out
}

#[cfg(test)]
#[path = "quantity_tests.rs"]
mod tests;
