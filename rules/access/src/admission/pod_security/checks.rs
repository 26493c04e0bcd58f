//! Which checks make up a level, release by release.
//!
//! Invariant: checks run in the order of their upstream names, those of the baseline first; a check of the restricted
//! level replaces the one of the baseline that it sharpens.

use super::level::{Level, Standard, Version};
use super::subject::{Subject, Violation};
use super::{baseline, restricted};

/// The newest minor version that changed a check; later ones are the same.
const NEWEST: u32 = 35;

type Check = fn(Subject, u32) -> Option<Violation>;

/// Baseline checks: first version, and from which version on the restricted level leaves them out.
const BASELINE: [(Check, u32, Option<u32>); 12] = [
    (baseline::app_armor, 0, None),
    (baseline::capabilities, 0, Some(22)),
    (baseline::host_namespaces, 0, None),
    (baseline::host_path, 0, Some(0)),
    (baseline::host_ports, 0, None),
    (baseline::host_probes, 34, None),
    (baseline::privileged, 0, None),
    (baseline::proc_mount, 0, Some(35)),
    (baseline::se_linux, 0, None),
    (baseline::seccomp, 0, Some(19)),
    (baseline::sysctls, 0, None),
    (baseline::host_process, 0, None),
];

/// Further checks of the restricted level, with their first version.
const RESTRICTED: [(Check, u32); 7] = [
    (restricted::privilege_escalation, 8),
    (restricted::capabilities, 22),
    (baseline::any_proc_mount, 35),
    (restricted::volumes, 0),
    (restricted::non_root, 0),
    (restricted::user, 23),
    (restricted::seccomp, 19),
];

/// Everything in which the pod falls short of a standard.
pub(super) fn violations(standard: Standard, subject: Subject) -> Vec<Violation> {
    let minor = match standard.version {
        Version::Latest => NEWEST,
        Version::Minor(minor) => minor.min(NEWEST),
    };
    if standard.level == Level::Privileged {
        return Vec::new();
    }
    let strict = standard.level == Level::Restricted;
    let base = BASELINE.iter().filter(|(_, since, until)| {
        *since <= minor && !(strict && until.is_some_and(|until| minor >= until))
    });
    let more = RESTRICTED
        .iter()
        .filter(|(_, since)| strict && *since <= minor);
    base.map(|(check, _, _)| *check)
        .chain(more.map(|(check, _)| *check))
        .filter_map(|check| check(subject, minor))
        .collect()
}

/// `reason (detail), reason (detail)`.
pub(super) fn detailed(violations: &[Violation]) -> String {
    let parts = violations.iter().map(|v| match v.detail.is_empty() {
        true => v.reason.clone(),
        false => format!("{} ({})", v.reason, v.detail),
    });
    parts.collect::<Vec<_>>().join(", ")
}

/// `reason, reason`.
pub(super) fn reasons(violations: &[Violation]) -> String {
    let parts: Vec<&str> = violations.iter().map(|v| v.reason.as_str()).collect();
    parts.join(", ")
}
