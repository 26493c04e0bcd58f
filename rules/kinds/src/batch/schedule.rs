//! Cron schedules as upstream's parser reads them: five fields, or a descriptor such as `@hourly` or `@every 1h`.
//! Leaves out when a schedule fires.

use corten_core::Duration;

struct Field {
    low: u32,
    high: u32,
    names: &'static [(&'static str, u32)],
}

const MONTHS: &[(&str, u32)] = &[
    ("jan", 1),
    ("feb", 2),
    ("mar", 3),
    ("apr", 4),
    ("may", 5),
    ("jun", 6),
    ("jul", 7),
    ("aug", 8),
    ("sep", 9),
    ("oct", 10),
    ("nov", 11),
    ("dec", 12),
];
const DAYS: &[(&str, u32)] = &[
    ("sun", 0),
    ("mon", 1),
    ("tue", 2),
    ("wed", 3),
    ("thu", 4),
    ("fri", 5),
    ("sat", 6),
];

const FIELDS: [Field; 5] = [
    Field {
        low: 0,
        high: 59,
        names: &[],
    },
    Field {
        low: 0,
        high: 23,
        names: &[],
    },
    Field {
        low: 1,
        high: 31,
        names: &[],
    },
    Field {
        low: 1,
        high: 12,
        names: MONTHS,
    },
    Field {
        low: 0,
        high: 6,
        names: DAYS,
    },
];

/// Whether a schedule can be read.
///
/// # Errors
/// Upstream's words about what is wrong.
pub(super) fn check(schedule: &str) -> Result<(), String> {
    if schedule.is_empty() {
        return Err("empty spec string".to_owned());
    }
    let mut text = schedule;
    if text.starts_with("TZ=") || text.starts_with("CRON_TZ=") {
        let Some((zone, rest)) = text.split_once(' ') else {
            return Err(format!(
                "provided bad location {}",
                text.split_once('=').map_or("", |z| z.1)
            ));
        };
        let _ = zone;
        text = rest.trim();
    }
    if text.starts_with('@') {
        return descriptor(text);
    }
    let fields: Vec<&str> = text.split_whitespace().collect();
    if fields.len() != 5 {
        return Err(format!(
            "expected exactly 5 fields, found {}: [{}]",
            fields.len(),
            fields.join(" ")
        ));
    }
    for (text, field) in fields.iter().zip(&FIELDS) {
        for range in text.split(',').filter(|r| !r.is_empty()) {
            check_range(range, field)?;
        }
    }
    Ok(())
}

fn descriptor(text: &str) -> Result<(), String> {
    if matches!(
        text,
        "@yearly" | "@annually" | "@monthly" | "@weekly" | "@daily" | "@midnight" | "@hourly"
    ) {
        return Ok(());
    }
    if let Some(every) = text.strip_prefix("@every ") {
        return Duration::parse(every)
            .map(|_| ())
            .map_err(|e| format!("failed to parse duration {text}: {e}"));
    }
    Err(format!("unrecognized descriptor: {text}"))
}

fn check_range(text: &str, field: &Field) -> Result<(), String> {
    let steps: Vec<&str> = text.split('/').collect();
    let limits: Vec<&str> = steps[0].split('-').collect();
    let (start, mut end) = match limits[..] {
        ["*" | "?"] => (field.low, field.high),
        [one] => {
            let one = number_or_name(one, field)?;
            (one, one)
        }
        ["*" | "?", _] => (field.low, field.high),
        [first, last] => (number_or_name(first, field)?, number_or_name(last, field)?),
        _ => return Err(format!("too many hyphens: {text}")),
    };
    let step = match steps.len() {
        1 => 1,
        2 => {
            if limits.len() == 1 {
                end = field.high;
            }
            number(steps[1])?
        }
        _ => return Err(format!("too many slashes: {text}")),
    };
    if start < field.low {
        return Err(format!(
            "beginning of range ({start}) below minimum ({}): {text}",
            field.low
        ));
    }
    if end > field.high {
        return Err(format!(
            "end of range ({end}) above maximum ({}): {text}",
            field.high
        ));
    }
    if start > end {
        return Err(format!(
            "beginning of range ({start}) beyond end of range ({end}): {text}"
        ));
    }
    if step == 0 {
        return Err(format!("step of range should be a positive number: {text}"));
    }
    Ok(())
}

fn number_or_name(text: &str, field: &Field) -> Result<u32, String> {
    let lower = text.to_lowercase();
    match field.names.iter().find(|(name, _)| *name == lower) {
        Some((_, number)) => Ok(*number),
        None => number(text),
    }
}

fn number(text: &str) -> Result<u32, String> {
    match text.parse::<i64>() {
        Ok(n) if n < 0 => Err(format!("negative number ({n}) not allowed: {text}")),
        Ok(n) => Ok(n.min(i64::from(u32::MAX)) as u32),
        Err(_) => Err(format!(
            "failed to parse int from {text}: strconv.Atoi: parsing {text:?}: invalid syntax"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn schedules_are_read_or_refused() {
        for fine in [
            "*/5 * * * *",
            "0 0 1 jan sun-sat",
            "@hourly",
            "@every 1h30m",
            "1,2 3-5/2 ? * *",
        ] {
            assert_eq!(check(fine), Ok(()), "{fine}");
        }
        for (bad, error) in [
            ("* * *", "expected exactly 5 fields, found 3: [* * *]"),
            ("60 * * * *", "end of range (60) above maximum (59): 60"),
            (
                "a * * * *",
                "failed to parse int from a: strconv.Atoi: parsing \"a\": invalid syntax",
            ),
            ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
            ("@nope", "unrecognized descriptor: @nope"),
        ] {
            assert_eq!(check(bad), Err(error.to_owned()), "{bad}");
        }
    }
}
