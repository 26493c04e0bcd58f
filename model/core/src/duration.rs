//! `metav1.Duration`: a span of nanoseconds, read and printed as Go does (`1h0m0s`).
//! Invariant: printing and parsing round-trip. Leaves out months and days, which Go does not have either.

use crate::time::{TimeError, quote};
use std::fmt;

/// A span of time in nanoseconds, printed like `1h0m0s`.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration {
    nanos: i64,
}

impl Duration {
    /// The empty span, printed `0s`.
    pub const ZERO: Duration = Duration { nanos: 0 };

    /// A span of so many nanoseconds.
    pub const fn from_nanos(nanos: i64) -> Duration {
        Duration { nanos }
    }

    /// A span of so many seconds, saturating.
    pub const fn from_secs(seconds: i64) -> Duration {
        Duration {
            nanos: seconds.saturating_mul(1_000_000_000),
        }
    }

    /// The span in nanoseconds.
    pub const fn nanos(self) -> i64 {
        self.nanos
    }

    /// The span in whole seconds, rounded towards zero.
    pub const fn as_secs(self) -> i64 {
        self.nanos / 1_000_000_000
    }

    /// Parses Go's duration syntax (`1h30m`, `1.5s`, `-2us`).
    pub fn parse(text: &str) -> Result<Duration, TimeError> {
        parse_duration(text).map(Duration::from_nanos)
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&duration_text(self.nanos))
    }
}

impl fmt::Debug for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Go's `time.ParseDuration`: a sign, then number-unit terms that add up to at most 63 bits.
fn parse_duration(text: &str) -> Result<i64, TimeError> {
    let invalid = || duration_error("invalid duration", text);
    let negative = text.starts_with('-');
    let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total = 0u64;
    while !rest.is_empty() {
        let (value, tail) = parse_term(rest, text)?;
        rest = tail;
        total = total.saturating_add(value);
        if value > DURATION_LIMIT || total > DURATION_LIMIT {
            return Err(invalid());
        }
    }
    if negative {
        return Ok((total as i64).wrapping_neg());
    }
    i64::try_from(total).map_err(|_| invalid())
}

/// One term such as `1.5h` in nanoseconds, and what follows it; `text` is for messages.
fn parse_term<'a>(term: &'a str, text: &str) -> Result<(u64, &'a str), TimeError> {
    let invalid = || duration_error("invalid duration", text);
    let whole = digit_count(term);
    let mut value = match whole {
        0 => 0,
        n => term[..n]
            .parse::<u64>()
            .ok()
            .filter(|v| *v <= DURATION_LIMIT)
            .ok_or_else(invalid)?,
    };
    let mut rest = &term[whole..];
    let (mut fraction, mut scale, mut places) = (0, 1.0, 0);
    if let Some(tail) = rest.strip_prefix('.') {
        places = digit_count(tail);
        (fraction, scale) = leading_fraction(&tail[..places]);
        rest = &tail[places..];
    }
    if whole == 0 && places == 0 {
        return Err(invalid());
    }
    let end = rest
        .bytes()
        .position(|b| b == b'.' || b.is_ascii_digit())
        .unwrap_or(rest.len());
    if end == 0 {
        return Err(duration_error("missing unit in duration", text));
    }
    let (name, tail) = rest.split_at(end);
    let unit = unit_nanos(name).ok_or_else(|| {
        let what = format!("unknown unit {} in duration", quote(name.as_bytes()));
        duration_error(&what, text)
    })?;
    if value > DURATION_LIMIT / unit {
        return Err(invalid());
    }
    value *= unit;
    if fraction > 0 {
        value += (fraction as f64 * (unit as f64 / scale)) as u64;
    }
    Ok((value, tail))
}

fn duration_text(nanos: i64) -> String {
    let value = nanos.unsigned_abs();
    let sign = if nanos < 0 { "-" } else { "" };
    if value == 0 {
        return "0s".into();
    }
    if value < 1_000_000_000 {
        let (unit, digits) = match value {
            0..1_000 => ("ns", 0),
            1_000..1_000_000 => ("µs", 3),
            _ => ("ms", 6),
        };
        let scale = 10u64.pow(digits);
        return format!(
            "{sign}{}{}{unit}",
            value / scale,
            fraction_text(value % scale, digits)
        );
    }
    let seconds = value / 1_000_000_000;
    let tail = format!(
        "{}{}s",
        seconds % 60,
        fraction_text(value % 1_000_000_000, 9)
    );
    match (seconds / 3_600, seconds / 60 % 60) {
        (0, 0) => format!("{sign}{tail}"),
        (0, m) => format!("{sign}{m}m{tail}"),
        (h, m) => format!("{sign}{h}h{m}m{tail}"),
    }
}

fn fraction_text(value: u64, digits: u32) -> String {
    if value == 0 {
        return String::new();
    }
    let padded = format!(".{value:0width$}", width = digits as usize);
    padded.trim_end_matches('0').to_string()
}

const DURATION_LIMIT: u64 = 1 << 63;

fn duration_error(what: &str, text: &str) -> TimeError {
    TimeError {
        message: format!("time: {what} {}", quote(text.as_bytes())),
    }
}

fn unit_nanos(unit: &str) -> Option<u64> {
    Some(match unit {
        "ns" => 1,
        "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    })
}

fn digit_count(text: &str) -> usize {
    text.bytes().take_while(u8::is_ascii_digit).count()
}

/// Digits after the point as `digits / 10^count`; precision beyond 63 bits is dropped as Go does.
fn leading_fraction(digits: &str) -> (u64, f64) {
    let (mut value, mut scale) = (0u64, 1f64);
    for b in digits.bytes() {
        if value > (DURATION_LIMIT - 1) / 10 {
            break;
        }
        let next = value * 10 + u64::from(b - b'0');
        if next > DURATION_LIMIT {
            break;
        }
        value = next;
        scale *= 10.0;
    }
    (value, scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_print_and_parse_as_go() {
        for text in [
            "0s",
            "1ns",
            "1.5µs",
            "2.000001ms",
            "1s",
            "1m0s",
            "1h0m0s",
            "-1h30m5.5s",
            "2562047h47m16.854775807s",
        ] {
            assert_eq!(Duration::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Duration::parse("1.5h").unwrap().to_string(), "1h30m0s");
        assert_eq!(
            Duration::parse(".5s").unwrap(),
            Duration::from_nanos(500_000_000)
        );
        assert_eq!(
            Duration::parse("1").unwrap_err().to_string(),
            r#"time: missing unit in duration "1""#
        );
        assert_eq!(
            Duration::parse("1d").unwrap_err().to_string(),
            r#"time: unknown unit "d" in duration "1d""#
        );
        assert_eq!(
            Duration::parse("").unwrap_err().to_string(),
            r#"time: invalid duration """#
        );
        assert!(Duration::parse("9223372036854775808ns").is_err());
        assert_eq!(
            Duration::parse("-9223372036854775808ns").unwrap().nanos(),
            i64::MIN
        );
    }
}
