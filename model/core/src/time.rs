//! `metav1.Time` and `MicroTime`: instants exactly as Go reads and prints them.
//! Invariant: the all-zero value is Go's zero time (year 1), which every format writes as absent.
//! Leaves out clocks and zones: parsing normalises to UTC, `now` comes from the caller.

use std::fmt;

/// Seconds from 0001-01-01T00:00:00Z (Go's zero time) to the Unix epoch.
const UNIX_TO_YEAR_ONE: i64 = 62_135_596_800;

/// An instant with second precision; the zero value means "not set" and is JSON `null`.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time {
    /// Seconds since year 1, so that zeroed memory is the absent time.
    since_year_one: i64,
}

/// An instant with microsecond precision; the zero value means "not set".
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MicroTime {
    since_year_one: i64,
    micros: u32,
}

/// Why a text is not a time or a duration; the message is the one Go's `time` package gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeError {
    pub(crate) message: String,
}

impl fmt::Display for TimeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for TimeError {}

impl Time {
    /// The absent time.
    pub const ZERO: Time = Time { since_year_one: 0 };

    /// The instant `seconds` after the Unix epoch (wrapping, as Go's `time.Unix` does).
    pub const fn from_unix(seconds: i64) -> Time {
        Time {
            since_year_one: seconds.wrapping_add(UNIX_TO_YEAR_ONE),
        }
    }

    /// Seconds since the Unix epoch.
    pub const fn unix(self) -> i64 {
        self.since_year_one.wrapping_sub(UNIX_TO_YEAR_ONE)
    }

    /// Whether this is the absent time.
    pub const fn is_zero(self) -> bool {
        self.since_year_one == 0
    }

    /// Parses RFC 3339 as Go does: offsets are applied and a fraction is dropped.
    pub fn parse(text: &str) -> Result<Time, TimeError> {
        let parsed = Parser::run(text, Layout::Seconds)?;
        Ok(Time::from_unix(parsed.unix))
    }

    /// This instant plus `span`, saturating; whole seconds of the span count.
    pub const fn plus_seconds(self, seconds: i64) -> Time {
        Time {
            since_year_one: self.since_year_one.saturating_add(seconds),
        }
    }

    /// Seconds from `earlier` to this instant, negative when it is later.
    pub const fn seconds_since(self, earlier: Time) -> i64 {
        self.since_year_one.saturating_sub(earlier.since_year_one)
    }

    /// Appends `2006-01-02T15:04:05Z`; the absent time prints as year 1 (callers write `null`).
    pub fn write_to(self, out: &mut Vec<u8>) {
        write_date_time(self.unix(), out);
        out.push(b'Z');
    }
}

impl MicroTime {
    /// The absent time.
    pub const ZERO: MicroTime = MicroTime {
        since_year_one: 0,
        micros: 0,
    };

    /// The instant `seconds` and `micros` (below one million) after the Unix epoch.
    pub const fn from_unix(seconds: i64, micros: u32) -> MicroTime {
        let carry = (micros / 1_000_000) as i64;
        MicroTime {
            since_year_one: seconds.wrapping_add(UNIX_TO_YEAR_ONE).wrapping_add(carry),
            micros: micros % 1_000_000,
        }
    }

    /// Seconds since the Unix epoch, rounded towards the past.
    pub const fn unix(self) -> i64 {
        self.since_year_one.wrapping_sub(UNIX_TO_YEAR_ONE)
    }

    /// Microseconds within the second.
    pub const fn micros(self) -> u32 {
        self.micros
    }

    /// Microseconds since the Unix epoch, saturating.
    pub const fn unix_micros(self) -> i64 {
        self.unix()
            .saturating_mul(1_000_000)
            .saturating_add(self.micros as i64)
    }

    /// The instant `micros` microseconds after (or before) the Unix epoch.
    pub const fn from_unix_micros(micros: i64) -> MicroTime {
        MicroTime::from_unix(
            micros.div_euclid(1_000_000),
            micros.rem_euclid(1_000_000) as u32,
        )
    }

    /// Whether this is the absent time.
    pub const fn is_zero(self) -> bool {
        self.since_year_one == 0 && self.micros == 0
    }

    /// Parses RFC 3339 with exactly six fractional digits, as Go's layout demands.
    pub fn parse(text: &str) -> Result<MicroTime, TimeError> {
        let parsed = Parser::run(text, Layout::Micros)?;
        Ok(MicroTime::from_unix(parsed.unix, parsed.nanos / 1_000))
    }

    /// Appends `2006-01-02T15:04:05.000000Z`.
    pub fn write_to(self, out: &mut Vec<u8>) {
        write_date_time(self.unix(), out);
        out.push(b'.');
        push_padded(self.micros as u64, 6, out);
        out.push(b'Z');
    }
}

impl From<Time> for MicroTime {
    fn from(time: Time) -> MicroTime {
        MicroTime {
            since_year_one: time.since_year_one,
            micros: 0,
        }
    }
}

impl From<MicroTime> for Time {
    fn from(time: MicroTime) -> Time {
        Time {
            since_year_one: time.since_year_one,
        }
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = Vec::with_capacity(24);
        self.write_to(&mut out);
        f.write_str(std::str::from_utf8(&out).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_zero() {
            f.write_str("null")
        } else {
            fmt::Display::fmt(self, f)
        }
    }
}

impl fmt::Display for MicroTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = Vec::with_capacity(32);
        self.write_to(&mut out);
        f.write_str(std::str::from_utf8(&out).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for MicroTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_zero() {
            f.write_str("null")
        } else {
            fmt::Display::fmt(self, f)
        }
    }
}

/// Days since the epoch of a civil date (proleptic Gregorian).
fn days_from_civil(year: i64, month: u32, day: u32) -> i64 {
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let yoe = y.rem_euclid(400);
    let mp = i64::from((month + 9) % 12);
    let doy = (153 * mp + 2) / 5 + i64::from(day) - 1;
    era * 146_097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719_468
}

/// The civil date of a day number since the epoch.
fn civil_from_days(days: i64) -> (i64, u32, u32) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = (doy - (153 * mp + 2) / 5 + 1) as u32;
    let month = if mp < 10 { mp + 3 } else { mp - 9 } as u32;
    let year = yoe + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

fn push_padded(value: u64, width: usize, out: &mut Vec<u8>) {
    let mut digits = [b'0'; 20];
    let mut at = digits.len();
    let mut rest = value;
    while rest > 0 {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    let start = at.min(digits.len() - width);
    out.extend_from_slice(&digits[start..]);
}

fn write_date_time(unix: i64, out: &mut Vec<u8>) {
    let (year, month, day) = civil_from_days(unix.div_euclid(86_400));
    let second = unix.rem_euclid(86_400) as u64;
    if year < 0 {
        out.push(b'-');
    }
    push_padded(year.unsigned_abs(), 4, out);
    for (mark, value) in [
        (b'-', u64::from(month)),
        (b'-', u64::from(day)),
        (b'T', second / 3_600),
        (b':', second / 60 % 60),
        (b':', second % 60),
    ] {
        out.push(mark);
        push_padded(value, 2, out);
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Layout {
    Seconds,
    Micros,
}

impl Layout {
    fn text(self) -> &'static str {
        match self {
            Layout::Seconds => "2006-01-02T15:04:05Z07:00",
            Layout::Micros => "2006-01-02T15:04:05.000000Z07:00",
        }
    }
}

struct Parsed {
    unix: i64,
    nanos: u32,
}

/// Go's `time.Parse` for the two layouts in use, its leniencies and messages included:
/// a one-digit hour, a comma before the fraction and a 24 hour offset are accepted.
struct Parser<'a> {
    layout: Layout,
    text: &'a str,
    rest: &'a [u8],
}

enum Fault {
    Bad,
    Range(&'static str),
}

impl<'a> Parser<'a> {
    fn run(text: &'a str, layout: Layout) -> Result<Parsed, TimeError> {
        let mut p = Parser {
            layout,
            text,
            rest: text.as_bytes(),
        };
        let year = p.chunk("2006", Self::year)?;
        p.literal(b'-', "-")?;
        let month = p.chunk("01", |p| {
            p.two_digits().and_then(|m| in_range(m, 1, 12, "month"))
        })?;
        p.literal(b'-', "-")?;
        let day = p.chunk("02", Self::two_digits)?;
        p.literal(b'T', "T")?;
        let hour = p.chunk("15", |p| p.hour().and_then(|h| in_range(h, 0, 23, "hour")))?;
        p.literal(b':', ":")?;
        let minute = p.chunk("04", |p| {
            p.two_digits().and_then(|m| in_range(m, 0, 59, "minute"))
        })?;
        p.literal(b':', ":")?;
        let mut nanos = 0;
        let second = p.chunk("05", |p| {
            let second = p.two_digits().and_then(|s| in_range(s, 0, 59, "second"))?;
            if layout == Layout::Seconds {
                nanos = p.optional_fraction();
            }
            Ok(second)
        })?;
        if layout == Layout::Micros {
            nanos = p.chunk(".000000", Self::six_digit_fraction)?;
        }
        let offset = p.chunk("Z07:00", Self::offset)?;
        if !p.rest.is_empty() {
            return Err(p.message(&format!(": extra text: {}", quote(p.rest))));
        }
        if day < 1 || day > days_in(month, year) {
            return Err(p.message(": day out of range"));
        }
        let days = days_from_civil(i64::from(year), month, day);
        let seconds = i64::from(hour * 3_600 + minute * 60 + second);
        Ok(Parsed {
            unix: days * 86_400 + seconds - offset,
            nanos,
        })
    }

    fn message(&self, tail: &str) -> TimeError {
        TimeError {
            message: format!("parsing time {}{tail}", quote(self.text.as_bytes())),
        }
    }

    fn cannot(&self, value: &[u8], element: &str) -> TimeError {
        self.message(&format!(
            " as {}: cannot parse {} as {}",
            quote(self.layout.text().as_bytes()),
            quote(value),
            quote(element.as_bytes())
        ))
    }

    fn chunk<T>(
        &mut self,
        element: &str,
        read: impl FnOnce(&mut Self) -> Result<T, Fault>,
    ) -> Result<T, TimeError> {
        let hold = self.rest;
        match read(self) {
            Ok(value) => Ok(value),
            Err(Fault::Bad) => Err(self.cannot(hold, element)),
            Err(Fault::Range(what)) => Err(self.message(&format!(": {what} out of range"))),
        }
    }

    fn literal(&mut self, mark: u8, element: &str) -> Result<(), TimeError> {
        if self.rest.first() != Some(&mark) {
            return Err(self.cannot(self.rest, element));
        }
        self.rest = &self.rest[1..];
        Ok(())
    }

    fn digit(&self, at: usize) -> Option<u32> {
        self.rest
            .get(at)
            .filter(|b| b.is_ascii_digit())
            .map(|b| u32::from(b - b'0'))
    }

    fn two_digits(&mut self) -> Result<u32, Fault> {
        let (Some(a), Some(b)) = (self.digit(0), self.digit(1)) else {
            return Err(Fault::Bad);
        };
        self.rest = &self.rest[2..];
        Ok(a * 10 + b)
    }

    fn hour(&mut self) -> Result<u32, Fault> {
        let Some(first) = self.digit(0) else {
            return Err(Fault::Bad);
        };
        if self.digit(1).is_some() {
            return self.two_digits();
        }
        self.rest = &self.rest[1..];
        Ok(first)
    }

    fn year(&mut self) -> Result<u32, Fault> {
        let mut year = 0;
        for at in 0..4 {
            year = year * 10 + self.digit(at).ok_or(Fault::Bad)?;
        }
        self.rest = &self.rest[4..];
        Ok(year)
    }

    fn fraction(&mut self, digits: usize) -> u32 {
        let nanos = (0..9).fold(0, |n, i| {
            n * 10
                + if i < digits {
                    self.digit(1 + i).unwrap_or(0)
                } else {
                    0
                }
        });
        self.rest = &self.rest[1 + digits..];
        nanos
    }

    fn optional_fraction(&mut self) -> u32 {
        if !matches!(self.rest.first(), Some(b'.' | b',')) {
            return 0;
        }
        let digits = self.rest[1..]
            .iter()
            .take_while(|b| b.is_ascii_digit())
            .count();
        if digits == 0 {
            0
        } else {
            self.fraction(digits)
        }
    }

    fn six_digit_fraction(&mut self) -> Result<u32, Fault> {
        let marked = matches!(self.rest.first(), Some(b'.' | b','));
        if self.rest.len() < 7 || !marked {
            return Err(Fault::Bad);
        }
        // Go reads the digits with a signed integer parser: `+12345` is a fraction of five digits.
        let digits = &self.rest[1..7];
        let (negative, tail) = match digits[0] {
            b'-' => (true, &digits[1..]),
            b'+' => (false, &digits[1..]),
            _ => (false, digits),
        };
        if !tail.iter().all(u8::is_ascii_digit) {
            return Err(Fault::Bad);
        }
        let value = tail.iter().fold(0u32, |n, b| n * 10 + u32::from(b - b'0'));
        self.rest = &self.rest[7..];
        if negative && value > 0 {
            Err(Fault::Range("fractional second"))
        } else {
            Ok(value * 1_000)
        }
    }

    fn offset(&mut self) -> Result<i64, Fault> {
        if self.rest.first() == Some(&b'Z') {
            self.rest = &self.rest[1..];
            return Ok(0);
        }
        if self.rest.len() < 6 || self.rest[3] != b':' {
            return Err(Fault::Bad);
        }
        let (text, rest) = self.rest.split_at(6);
        self.rest = rest;
        let pair = |at: usize| -> Result<i64, Fault> {
            let (a, b) = (text[at], text[at + 1]);
            if !a.is_ascii_digit() || !b.is_ascii_digit() {
                return Err(Fault::Bad);
            }
            Ok(i64::from(a - b'0') * 10 + i64::from(b - b'0'))
        };
        let (hours, minutes) = (pair(1)?, pair(4)?);
        let seconds = (hours * 60 + minutes) * 60;
        let signed = match text[0] {
            b'+' => seconds,
            b'-' => -seconds,
            _ => return Err(Fault::Bad),
        };
        if hours > 24 {
            return Err(Fault::Range("time zone offset hour"));
        }
        if minutes > 60 {
            return Err(Fault::Range("time zone offset minute"));
        }
        Ok(signed)
    }
}

fn in_range(value: u32, min: u32, max: u32, what: &'static str) -> Result<u32, Fault> {
    if value < min || value > max {
        Err(Fault::Range(what))
    } else {
        Ok(value)
    }
}

fn days_in(month: u32, year: u32) -> u32 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => {
            29
        }
        2 => 28,
        _ => 31,
    }
}

/// Quotes as Go's `time` package does in its messages: everything not plain ASCII as `\xNN`.
pub(crate) fn quote(text: &[u8]) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for &b in text {
        match b {
            b'"' | b'\\' => {
                out.push('\\');
                out.push(char::from(b));
            }
            b' '..=0x7f => out.push(char::from(b)),
            _ => out.push_str(&format!("\\x{b:02x}")),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        Time::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn prints_and_parses_seconds() {
        for text in [
            "1970-01-01T00:00:00Z",
            "2026-02-28T23:59:59Z",
            "0001-01-01T00:00:01Z",
            "2000-02-29T12:00:00Z",
        ] {
            assert_eq!(Time::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(
            Time::parse("2020-01-01T01:00:00+01:00")
                .unwrap()
                .to_string(),
            "2020-01-01T00:00:00Z"
        );
        assert_eq!(
            Time::parse("2020-01-01T00:00:00.999Z").unwrap().to_string(),
            "2020-01-01T00:00:00Z"
        );
        assert_eq!(
            Time::parse("2020-01-01T00:00:00,5-24:00")
                .unwrap()
                .to_string(),
            "2020-01-02T00:00:00Z"
        );
        assert_eq!(
            Time::parse("2020-01-01T7:00:00Z").unwrap().to_string(),
            "2020-01-01T07:00:00Z"
        );
        assert!(Time::parse("0001-01-01T00:00:00Z").unwrap().is_zero());
        assert!(Time::default().is_zero() && !Time::from_unix(0).is_zero());
    }

    #[test]
    fn reports_go_messages() {
        assert_eq!(
            error(""),
            r#"parsing time "" as "2006-01-02T15:04:05Z07:00": cannot parse "" as "2006""#
        );
        assert_eq!(
            error("2020-13-01T00:00:00Z"),
            r#"parsing time "2020-13-01T00:00:00Z": month out of range"#
        );
        assert_eq!(
            error("2021-02-29T00:00:00Z"),
            r#"parsing time "2021-02-29T00:00:00Z": day out of range"#
        );
        assert_eq!(
            error("2020-01-01"),
            r#"parsing time "2020-01-01" as "2006-01-02T15:04:05Z07:00": cannot parse "" as "T""#
        );
        assert_eq!(
            error("2020-01-01T00:00:00Zx"),
            r#"parsing time "2020-01-01T00:00:00Zx": extra text: "x""#
        );
        assert_eq!(
            MicroTime::parse("2020-01-01T00:00:00Z")
                .unwrap_err()
                .to_string(),
            r#"parsing time "2020-01-01T00:00:00Z" as "2006-01-02T15:04:05.000000Z07:00": cannot parse "Z" as ".000000""#
        );
    }

    #[test]
    fn micro_time_takes_six_digits() {
        let text = "2020-01-01T00:00:00.000123Z";
        assert_eq!(MicroTime::parse(text).unwrap().to_string(), text);
        assert!(MicroTime::parse("2020-01-01T00:00:00.0001234Z").is_err());
        assert_eq!(
            MicroTime::from_unix_micros(-1).to_string(),
            "1969-12-31T23:59:59.999999Z"
        );
        assert_eq!(MicroTime::from_unix_micros(-1).unix_micros(), -1);
    }

    #[test]
    fn every_day_of_four_centuries_round_trips() {
        let step = if cfg!(miri) { 997 } else { 1 };
        for day in (-80_000..70_000i64).step_by(step) {
            let time = Time::from_unix(day * 86_400 + 4_321);
            assert_eq!(Time::parse(&time.to_string()).unwrap(), time);
        }
    }

    #[test]
    fn extreme_seconds_do_not_panic() {
        for seconds in [
            i64::MIN,
            i64::MAX,
            i64::MIN + UNIX_TO_YEAR_ONE,
            -62_167_219_201,
        ] {
            assert_eq!(Time::from_unix(seconds).unix(), seconds);
            let _ = Time::from_unix(seconds).to_string();
        }
    }
}
