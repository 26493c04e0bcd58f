//! Lists of indexes as indexed Jobs keep them: `1,3-5,7`. Invariant: they ascend and lie below the completions.

/// How many indexes a list has.
///
/// # Errors
/// Upstream's words about what is wrong.
pub(super) fn count(text: &str, completions: i32) -> Result<i32, String> {
    if text.is_empty() {
        return Ok(0);
    }
    let (mut last, mut total) = (None, 0);
    for part in text.split(',') {
        let (first, end) = interval(part, completions)?;
        if let Some(last) = last.filter(|last| *last >= first) {
            return Err(format!(
                "non-increasing order, previous: {last}, current: {first}"
            ));
        }
        total += end - first + 1;
        last = Some(end);
    }
    Ok(total)
}

fn interval(part: &str, completions: i32) -> Result<(i32, i32), String> {
    let limits: Vec<&str> = part.split('-').collect();
    if limits.len() > 2 {
        return Err(format!(
            "the fragment {part:?} violates the requirement that an index interval can have at most two parts \
             separated by '-'"
        ));
    }
    let number = |text: &str| {
        let number: i32 = text
            .parse()
            .map_err(|_| format!("cannot convert string to integer for index: {text:?}"))?;
        if number >= completions {
            Err(format!("too large index: {text:?}"))
        } else {
            Ok(number)
        }
    };
    let first = number(limits[0])?;
    let Some(end) = limits.get(1) else {
        return Ok((first, first));
    };
    let end = number(end)?;
    if first >= end {
        return Err(format!(
            "non-increasing order, previous: {first}, current: {end}"
        ));
    }
    Ok((first, end))
}

/// The first index that two lists share; malformed parts are passed over.
pub(super) fn overlap(completed: &str, failed: &str, completions: i32) -> Option<i32> {
    let read = |text: &str| -> Vec<(i32, i32)> {
        text.split(',')
            .filter_map(|part| interval(part, completions).ok())
            .collect()
    };
    let (completed, failed) = (read(completed), read(failed));
    let (mut c, mut f) = (0, 0);
    while let (Some(a), Some(b)) = (completed.get(c), failed.get(f)) {
        if a.0 <= b.1 && b.0 <= a.1 {
            return Some(a.0.max(b.0));
        }
        if a.0 <= b.0 { c += 1 } else { f += 1 }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_counted_or_refused() {
        assert_eq!(count("0,2-4,7", 10), Ok(5));
        assert_eq!(count("", 10), Ok(0));
        for (text, error) in [
            ("3,2", "non-increasing order, previous: 3, current: 2"),
            ("4-4", "non-increasing order, previous: 4, current: 4"),
            ("10", "too large index: \"10\""),
            ("a", "cannot convert string to integer for index: \"a\""),
        ] {
            assert_eq!(count(text, 10), Err(error.to_owned()));
        }
        assert_eq!(overlap("0-2,5", "3,4-6", 10), Some(5));
        assert_eq!(overlap("0-2", "3", 10), None);
    }
}
