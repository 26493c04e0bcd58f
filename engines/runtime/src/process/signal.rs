//! Signal names as images and pods write them.

use crate::config::ContainerConfig;

const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// A number, or a name with or without `SIG`, `SIGRTMIN+3` and `SIGRTMAX-2` included.
pub fn parse_signal(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return (1..=64).contains(&number).then_some(number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(index) = NAMES.iter().position(|known| *known == name) {
        return Some(index as i32 + 1);
    }
    let offset = |rest: &str| {
        if rest.is_empty() {
            Some(0)
        } else {
            rest.parse::<i32>().ok()
        }
    };
    let number = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        (Some(rest), _) => 34 + offset(rest)?,
        (_, Some(rest)) => 64 + offset(rest)?,
        _ => return None,
    };
    (34..=64).contains(&number).then_some(number)
}

/// The signal that asks a container to stop.
pub fn stop_signal(config: &ContainerConfig) -> i32 {
    let named = config.stop_signal.as_deref().filter(|s| !s.is_empty());
    named
        .or(config.image.config.stop_signal.as_deref())
        .and_then(parse_signal)
        .unwrap_or(libc::SIGTERM)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_signals() {
        for (text, expected) in [
            ("SIGTERM", Some(15)),
            ("quit", Some(3)),
            ("9", Some(9)),
            ("SIGRTMIN+3", Some(37)),
            ("RTMAX-1", Some(63)),
            ("SIGRTMIN", Some(34)),
            ("0", None),
            ("65", None),
            ("SIGFOO", None),
            ("SIGRTMAX+1", None),
        ] {
            assert_eq!(parse_signal(text), expected, "{text}");
        }
    }
}
