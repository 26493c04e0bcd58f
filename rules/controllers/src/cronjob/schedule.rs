//! Cron schedules: five fields, names, ranges, steps, and the `@` forms; and the moments at which they come due.
//!
//! Invariant: moments are whole seconds of UTC plus a fixed offset. Leaves out zones with rules of their own.

use corten_core::Time;

/// Minutes that are looked at, at most: five years, as upstream's parser does.
const DAYS_MAX: i64 = 5 * 366;
const DAY: i64 = 86_400;

/// When something is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// `@every 90s`, in seconds.
    Every(i64),
    /// Five fields, at an offset from UTC in seconds.
    Fields(Fields, i64),
}

/// One bit for each value that fits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fields {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// A day must fit both fields when either is a star, else one of them.
    both_days: bool,
}

/// The seconds east of UTC of a zone's name; nothing for zones that are not known here.
pub fn zone_offset(zone: &str) -> Option<i64> {
    let name = zone.strip_prefix("Etc/").unwrap_or(zone);
    if [
        "",
        "UTC",
        "UCT",
        "Universal",
        "Zulu",
        "GMT",
        "Greenwich",
        "GMT0",
    ]
    .contains(&name)
    {
        return Some(0);
    }
    // By an old convention the sign is the other way round.
    let hours: i64 = name.strip_prefix("GMT")?.parse().ok()?;
    (-14..=12).contains(&hours).then_some(-hours * 3600)
}

impl Schedule {
    /// Reads a schedule; the error says what is wrong.
    pub fn parse(text: &str, offset: i64) -> Result<Schedule, String> {
        let text = text.trim();
        if let Some(span) = text.strip_prefix("@every ") {
            let span = corten_core::Duration::parse(span).map_err(|e| e.to_string())?;
            return Ok(Schedule::Every((span.nanos() / 1_000_000_000).max(1)));
        }
        let fields = match text {
            "@yearly" | "@annually" => "0 0 1 1 *",
            "@monthly" => "0 0 1 * *",
            "@weekly" => "0 0 * * 0",
            "@daily" | "@midnight" => "0 0 * * *",
            "@hourly" => "0 * * * *",
            other => other,
        };
        let parts: Vec<&str> = fields.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = parts[..] else {
            let count = parts.len();
            return Err(format!(
                "expected exactly 5 fields, found {count}: [{}]",
                parts.join(" ")
            ));
        };
        let starts = |field: &str| field.starts_with('*') || field.starts_with('?');
        let fields = Fields {
            minutes: bits(minute, 0, 59, &[])?,
            hours: bits(hour, 0, 23, &[])?,
            days: bits(day, 1, 31, &[])?,
            months: bits(month, 1, 12, &MONTHS)?,
            weekdays: bits(weekday, 0, 6, &WEEKDAYS)?,
            both_days: starts(day) || starts(weekday),
        };
        Ok(Schedule::Fields(fields, offset))
    }

    /// The first moment after `time`; nothing when there is none for years.
    pub fn next(&self, time: Time) -> Option<Time> {
        match self {
            Schedule::Every(seconds) => Some(time.plus_seconds(*seconds)),
            Schedule::Fields(fields, offset) => {
                let local = fields.next(time.unix() + offset)?;
                Some(Time::from_unix(local - offset))
            }
        }
    }
}

const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

fn bits(field: &str, min: i64, max: i64, names: &[&str]) -> Result<u64, String> {
    let mut bits = 0;
    for part in field.split(',') {
        let (range, step) = part
            .split_once('/')
            .map_or((part, None), |(r, s)| (r, Some(s)));
        let number = |text: &str| -> Result<i64, String> {
            let lower = text.to_lowercase();
            if let Some(index) = names.iter().position(|name| *name == lower) {
                return Ok(min + index as i64);
            }
            let fail = |_| format!("failed to parse int from {text}");
            lower.parse::<u32>().map(i64::from).map_err(fail)
        };
        let (first, last) = match range {
            "*" | "?" => (min, max),
            _ => match range.split_once('-') {
                Some((first, last)) => (number(first)?, number(last)?),
                // `5/15` means from 5 to the end.
                None => {
                    let first = number(range)?;
                    (first, if step.is_some() { max } else { first })
                }
            },
        };
        let step = step.map_or(Ok(1), |s| {
            s.parse::<i64>()
                .map_err(|_| format!("failed to parse int from {s}"))
        })?;
        if first < min {
            return Err(format!(
                "beginning of range ({first}) below minimum ({min}): {part}"
            ));
        }
        if last > max {
            return Err(format!(
                "end of range ({last}) above maximum ({max}): {part}"
            ));
        }
        if first > last {
            return Err(format!(
                "beginning of range ({first}) beyond end of range ({last}): {part}"
            ));
        }
        if step <= 0 {
            return Err(format!("step of range should be a positive number: {part}"));
        }
        let mut value = first;
        while value <= last {
            bits |= 1 << value;
            value += step;
        }
    }
    Ok(bits)
}

fn has(bits: u64, value: i64) -> bool {
    bits & (1 << value) != 0
}

/// Month and day of a day number since 1970.
fn month_and_day(day: i64) -> (i64, i64) {
    let shifted = day + 719_468;
    let of_era = shifted.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    (if month < 10 { month + 3 } else { month - 9 }, day)
}

impl Fields {
    fn fits_day(&self, day: i64) -> bool {
        let (month, of_month) = month_and_day(day);
        let weekday = (day + 4).rem_euclid(7);
        let (a, b) = (has(self.days, of_month), has(self.weekdays, weekday));
        has(self.months, month) && if self.both_days { a && b } else { a || b }
    }

    fn next(&self, after: i64) -> Option<i64> {
        let start = (after.div_euclid(60) + 1) * 60;
        let first_day = start.div_euclid(DAY);
        for day in first_day..first_day + DAYS_MAX {
            if !self.fits_day(day) {
                continue;
            }
            let from = if day == first_day {
                start.rem_euclid(DAY) / 60
            } else {
                0
            };
            let fits =
                |minute: &i64| has(self.hours, minute / 60) && has(self.minutes, minute % 60);
            if let Some(minute) = (from..DAY / 60).find(fits) {
                return Some(day * DAY + minute * 60);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::{Schedule, zone_offset};
    use corten_core::Time;

    #[test]
    fn next_moments() {
        let cases = [
            (
                "*/15 * * * *",
                "2026-01-01T00:00:00Z",
                "2026-01-01T00:15:00Z",
            ),
            ("0 0 1 * *", "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"),
            (
                "30 6-16/4 * * 1-5",
                "2026-01-02T14:30:00Z",
                "2026-01-05T06:30:00Z",
            ),
            (
                "0 12 29 feb *",
                "2026-03-01T00:00:00Z",
                "2028-02-29T12:00:00Z",
            ),
            (
                "0 0 13 * fri",
                "2026-01-01T00:00:00Z",
                "2026-01-02T00:00:00Z",
            ),
            ("@hourly", "2026-01-01T00:59:59Z", "2026-01-01T01:00:00Z"),
            ("@every 90s", "2026-01-01T00:00:00Z", "2026-01-01T00:01:30Z"),
        ];
        for (text, from, expected) in cases {
            let schedule = Schedule::parse(text, 0).expect(text);
            let next = schedule.next(Time::parse(from).expect(from)).expect(text);
            assert_eq!(next.to_string(), expected, "{text}");
        }
        let never = Schedule::parse("0 0 31 2 *", 0).expect("a schedule");
        assert_eq!(never.next(Time::from_unix(0)), None);
    }

    #[test]
    fn zones_and_errors() {
        assert_eq!(zone_offset("Etc/GMT+5"), Some(-18_000));
        assert_eq!(zone_offset("Mars/Base"), None);
        let midnight = Schedule::parse("0 0 * * *", -18_000).expect("a schedule");
        let next = midnight
            .next(Time::from_unix(1_767_225_600))
            .expect("a moment");
        assert_eq!(next.to_string(), "2026-01-01T05:00:00Z");
        for (text, error) in [
            ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
            ("60 * * * *", "end of range (60) above maximum (59): 60"),
            ("a * * * *", "failed to parse int from a"),
        ] {
            assert_eq!(Schedule::parse(text, 0), Err(error.to_owned()));
        }
    }
}
