//! Durations and points in time: reading, writing, calendar fields, arithmetic with its bounds. Left out: named time
//! zones other than UTC.

/// A point in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp {
    /// Seconds since 1970 in UTC.
    pub seconds: i64,
    /// Nanoseconds within the second.
    pub nanos: u32,
}

const SECOND: i64 = 1_000_000_000;
/// 0001-01-01T00:00:00Z
const FIRST: i64 = -62_135_596_800;
/// 9999-12-31T23:59:59Z
const LAST: i64 = 253_402_300_799;

/// Days since 1970 of a date.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let yoe = y.rem_euclid(400);
    let doy = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719_468
}

/// The date of a number of days since 1970.
fn date(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + i64::from(month <= 2);
    (year, month, doy - (153 * mp + 2) / 5 + 1)
}

fn digits(text: &str, from: usize, count: usize) -> Option<i64> {
    let part = text.get(from..from + count)?;
    if !part.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    part.parse().ok()
}

/// `2006-01-02`
pub(crate) fn parse_date(text: &str) -> Option<Timestamp> {
    if text.len() != 10 {
        return None;
    }
    let seconds = calendar(text)? * 86_400;
    Some(Timestamp { seconds, nanos: 0 })
}

fn calendar(text: &str) -> Option<i64> {
    let (year, month, day) = (
        digits(text, 0, 4)?,
        digits(text, 5, 2)?,
        digits(text, 8, 2)?,
    );
    if text.as_bytes()[4] != b'-' || text.as_bytes()[7] != b'-' || !(1..=12).contains(&month) {
        return None;
    }
    let next = if month == 12 {
        days(year + 1, 1, 1)
    } else {
        days(year, month + 1, 1)
    };
    let first = days(year, month, 1);
    (1..=next - first).contains(&day).then(|| first + day - 1)
}

/// RFC 3339.
pub(crate) fn parse_timestamp(text: &str) -> Result<Timestamp, String> {
    parse_rfc3339(text)
        .filter(|t| (FIRST..=LAST).contains(&t.seconds))
        .ok_or_else(|| {
            format!("parsing time \"{text}\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"{text}\" as \"2006\"")
        })
}

fn parse_rfc3339(text: &str) -> Option<Timestamp> {
    if text.len() < 20 || !text.is_ascii() {
        return None;
    }
    let day = calendar(text)?;
    let bytes = text.as_bytes();
    if bytes[10] != b'T' || bytes[13] != b':' || bytes[16] != b':' {
        return None;
    }
    let (hour, minute, second) = (
        digits(text, 11, 2)?,
        digits(text, 14, 2)?,
        digits(text, 17, 2)?,
    );
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let mut rest = &text[19..];
    let mut nanos = 0;
    if let Some(fraction) = rest.strip_prefix(['.', ',']) {
        let end = fraction
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(fraction.len());
        if end == 0 {
            return None;
        }
        let mut padded = fraction[..end.min(9)].to_owned();
        while padded.len() < 9 {
            padded.push('0');
        }
        nanos = padded.parse().ok()?;
        rest = &fraction[end..];
    }
    let offset = match rest.as_bytes() {
        b"Z" => 0,
        [sign @ (b'+' | b'-'), _, _, b':', _, _] => {
            let (hours, minutes) = (digits(rest, 1, 2)?, digits(rest, 4, 2)?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            let offset = hours * 3600 + minutes * 60;
            if *sign == b'-' { -offset } else { offset }
        }
        _ => return None,
    };
    let seconds = day * 86_400 + hour * 3600 + minute * 60 + second - offset;
    Some(Timestamp { seconds, nanos })
}

const UNITS: [(&str, f64); 8] = [
    ("ns", 1.0),
    ("us", 1e3),
    ("\u{b5}s", 1e3),
    ("\u{3bc}s", 1e3),
    ("ms", 1e6),
    ("s", 1e9),
    ("m", 6e10),
    ("h", 3.6e12),
];

/// Go's durations: `1h30m`, `-1.5s`.
pub(crate) fn parse_duration(text: &str) -> Result<i64, String> {
    let wrong = || format!("time: invalid duration \"{text}\"");
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(wrong());
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let end = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let (number, after) = rest.split_at(end);
        if number.is_empty() || number == "." || number.matches('.').count() > 1 {
            return Err(wrong());
        }
        let unit_end = after
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(after.len());
        let (unit, next) = after.split_at(unit_end);
        if unit.is_empty() {
            return Err(format!("time: missing unit in duration \"{text}\""));
        }
        let Some((_, scale)) = UNITS.iter().find(|(u, _)| *u == unit) else {
            return Err(format!(
                "time: unknown unit \"{unit}\" in duration \"{text}\""
            ));
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let whole: i128 = if whole.is_empty() {
            0
        } else {
            whole.parse().map_err(|_| wrong())?
        };
        total = whole
            .checked_mul(*scale as i128)
            .and_then(|v| v.checked_add(total))
            .ok_or_else(wrong)?;
        if !fraction.is_empty() {
            let part: f64 = format!("0.{fraction}").parse().map_err(|_| wrong())?;
            total += (part * scale) as i128;
        }
        rest = next;
    }
    i64::try_from(if negative { -total } else { total }).map_err(|_| wrong())
}

/// What schemas of format `duration` accept: Go's, and `1 week`, `3 days`.
pub(crate) fn parse_long_duration(text: &str) -> Result<i64, String> {
    if let Ok(nanos) = parse_duration(text) {
        return Ok(nanos);
    }
    let wrong = || format!("unable to parse {text:?} as duration");
    let words = [
        ("ns", 1),
        ("nano", 1),
        ("us", 1_000),
        ("µs", 1_000),
        ("micro", 1_000),
        ("ms", 1_000_000),
        ("milli", 1_000_000),
        ("s", SECOND),
        ("sec", SECOND),
        ("m", 60 * SECOND),
        ("min", 60 * SECOND),
        ("h", 3600 * SECOND),
        ("hr", 3600 * SECOND),
        ("hour", 3600 * SECOND),
        ("d", 86_400 * SECOND),
        ("day", 86_400 * SECOND),
        ("w", 604_800 * SECOND),
        ("wk", 604_800 * SECOND),
        ("week", 604_800 * SECOND),
    ];
    let mut total: i64 = 0;
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let end = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        let number: i64 = rest[..end].parse().map_err(|_| wrong())?;
        let after = rest[end..].trim_start();
        let unit_end = after
            .find(|c: char| !c.is_alphabetic())
            .unwrap_or(after.len());
        let unit = after[..unit_end].to_lowercase();
        let singular = unit.strip_suffix('s').filter(|s| s.len() > 1);
        let scale = words
            .iter()
            .find(|(w, _)| *w == unit || Some(*w) == singular)
            .map(|(_, scale)| *scale)
            .ok_or_else(wrong)?;
        total = number
            .checked_mul(scale)
            .and_then(|v| total.checked_add(v))
            .ok_or_else(wrong)?;
        rest = after[unit_end..].trim_start();
    }
    Ok(total)
}

/// Seconds with as many decimals as needed: `1.5s`.
pub(crate) fn duration_text(nanos: i64) -> String {
    let seconds = nanos / SECOND;
    let rest = (nanos % SECOND).unsigned_abs();
    let sign = if nanos < 0 && seconds == 0 { "-" } else { "" };
    if rest == 0 {
        return format!("{seconds}s");
    }
    let fraction = format!("{rest:09}");
    format!("{sign}{seconds}.{}s", fraction.trim_end_matches('0'))
}

impl Timestamp {
    /// From seconds, when it is within what timestamps can say.
    pub(crate) fn new(seconds: i64, nanos: u32) -> Result<Timestamp, String> {
        if (FIRST..=LAST).contains(&seconds) {
            Ok(Timestamp { seconds, nanos })
        } else {
            Err("timestamp overflow".into())
        }
    }

    pub(crate) fn plus(self, nanos: i64) -> Result<Timestamp, String> {
        let total = i128::from(self.seconds) * i128::from(SECOND)
            + i128::from(self.nanos)
            + i128::from(nanos);
        let seconds = total.div_euclid(i128::from(SECOND));
        let rest = total.rem_euclid(i128::from(SECOND)) as u32;
        let seconds = i64::try_from(seconds).map_err(|_| "timestamp overflow")?;
        Timestamp::new(seconds, rest)
    }

    pub(crate) fn since(self, other: Timestamp) -> Result<i64, String> {
        let nanos = (i128::from(self.seconds) - i128::from(other.seconds)) * i128::from(SECOND)
            + i128::from(self.nanos)
            - i128::from(other.nanos);
        i64::try_from(nanos).map_err(|_| "duration overflow".into())
    }

    /// RFC 3339 in UTC, with as many decimals as needed.
    pub(crate) fn text(self) -> String {
        let (year, month, day) = date(self.seconds.div_euclid(86_400));
        let rest = self.seconds.rem_euclid(86_400);
        let mut text = format!(
            "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}",
            rest / 3600,
            rest / 60 % 60,
            rest % 60
        );
        if self.nanos > 0 {
            text += format!(".{:09}", self.nanos).trim_end_matches('0');
        }
        text + "Z"
    }

    /// A calendar field, by the function that asks for it, in a time zone.
    pub(crate) fn field(self, function: &str, zone: Option<&str>) -> Result<i64, String> {
        let seconds = self.seconds + zone.map_or(Ok(0), offset)?;
        let day = seconds.div_euclid(86_400);
        let rest = seconds.rem_euclid(86_400);
        let (year, month, of_month) = date(day);
        Ok(match function {
            "getFullYear" => year,
            "getMonth" => month - 1,
            "getDayOfYear" => day - days(year, 1, 1),
            "getDayOfMonth" => of_month - 1,
            "getDate" => of_month,
            "getDayOfWeek" => (day + 4).rem_euclid(7),
            "getHours" => rest / 3600,
            "getMinutes" => rest / 60 % 60,
            "getSeconds" => rest % 60,
            _ => i64::from(self.nanos / 1_000_000),
        })
    }
}

/// Seconds east of UTC.
fn offset(zone: &str) -> Result<i64, String> {
    let Some((hours, minutes)) = zone.split_once(':') else {
        return match zone {
            "" | "UTC" | "Etc/UTC" | "GMT" | "Zulu" => Ok(0),
            _ => Err(format!("unknown time zone {zone}")),
        };
    };
    let number = |text: &str| -> Result<i64, String> {
        text.parse()
            .map_err(|_| format!("strconv.Atoi: parsing \"{text}\": invalid syntax"))
    };
    let (h, m) = (number(hours)?, number(minutes)?);
    let minutes = if zone.starts_with('-') {
        h * 60 - m
    } else {
        h * 60 + m
    };
    Ok(minutes * 60)
}

/// A part of a duration, by the function that asks for it.
pub(crate) fn duration_field(nanos: i64, function: &str) -> i64 {
    match function {
        "getHours" => nanos / (3600 * SECOND),
        "getMinutes" => nanos / (60 * SECOND),
        "getSeconds" => nanos / SECOND,
        _ => nanos / 1_000_000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts() {
        for (text, nanos) in [
            ("1h30m", 5_400_000_000_000),
            ("-1.5s", -1_500_000_000),
            ("0", 0),
            ("1us2ns", 1002),
        ] {
            assert_eq!(parse_duration(text), Ok(nanos), "{text}");
        }
        assert_eq!(duration_text(-1_500_000_000), "-1.5s");
        assert_eq!(duration_text(-500_000_000), "-0.5s");
        assert!(parse_duration("1x").is_err());
        let t = parse_timestamp("2024-02-29T23:59:59.120+01:00").unwrap();
        assert_eq!(t.text(), "2024-02-29T22:59:59.12Z");
        assert_eq!(t.field("getDayOfYear", None), Ok(59));
        assert_eq!(t.field("getDayOfWeek", None), Ok(4));
        assert_eq!(t.field("getHours", Some("+02:00")), Ok(0));
        assert!(parse_timestamp("2023-02-29T00:00:00Z").is_err());
        assert_eq!(parse_long_duration("1 week"), Ok(604_800 * SECOND));
    }
}
