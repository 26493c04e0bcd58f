//! Levels and versions of the Pod Security Standards, and the labels that choose them for a namespace.
//!
//! Invariant: a policy always results, even from labels that cannot be read; what cannot be read enforces the most
//! and warns the least.

use corten_core::{Map, Str};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;

const PREFIX: &str = "pod-security.kubernetes.io/";

/// How strict, in ascending order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(in crate::admission) enum Level {
    Privileged,
    Baseline,
    Restricted,
}

/// The release whose standards apply.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::admission) enum Version {
    Latest,
    /// The minor version of a 1.x release.
    Minor(u32),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::admission) struct Standard {
    pub level: Level,
    pub version: Version,
}

impl fmt::Display for Standard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.level {
            Level::Privileged => "privileged",
            Level::Baseline => "baseline",
            Level::Restricted => "restricted",
        };
        match self.version {
            Version::Latest => write!(f, "{level}:latest"),
            Version::Minor(minor) => write!(f, "{level}:v1.{minor}"),
        }
    }
}

/// What a namespace enforces and warns about. What it audits is the API server's to record.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(in crate::admission) struct Policy {
    pub enforce: Standard,
    pub audit: Standard,
    pub warn: Standard,
}

const NOTHING: Standard = Standard {
    level: Level::Privileged,
    version: Version::Latest,
};

impl Default for Policy {
    fn default() -> Policy {
        Policy {
            enforce: NOTHING,
            audit: NOTHING,
            warn: NOTHING,
        }
    }
}

impl Policy {
    /// What a configuration gives namespaces that have no labels; upstream's errors are added.
    pub(in crate::admission) fn of_defaults(
        defaults: &BTreeMap<String, String>,
        errors: &mut Vec<String>,
    ) -> Policy {
        let mut read = |mode: &str| {
            let mut standard = NOTHING;
            let mut wrong = |field: &str, text: &str, why: &str| {
                errors.push(format!("defaults.{field}: Invalid value: {text:?}: {why}"));
            };
            if let Some(text) = defaults.get(mode).filter(|t| !t.is_empty()) {
                match level(text) {
                    Ok(level) => standard.level = level,
                    Err(why) => wrong(mode, text, why),
                }
            }
            let field = format!("{mode}-version");
            if let Some(text) = defaults.get(&field).filter(|t| !t.is_empty()) {
                match version(text) {
                    Ok(version) => standard.version = version,
                    Err(why) => wrong(&field, text, why),
                }
            }
            standard
        };
        let enforce = read("enforce");
        let warn = read("warn");
        let audit = read("audit");
        Policy {
            enforce,
            audit,
            warn,
        }
    }

    /// Whether two mean the same.
    pub(super) fn is_equivalent(&self, other: &Policy) -> bool {
        let same = |a: Standard, b: Standard| {
            a == b || (a.level == Level::Privileged && b.level == Level::Privileged)
        };
        same(self.enforce, other.enforce)
            && same(self.audit, other.audit)
            && same(self.warn, other.warn)
    }
}

/// Who is let off.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(in crate::admission) struct Exemptions {
    usernames: Vec<String>,
    namespaces: Vec<String>,
    runtime_classes: Vec<String>,
}

impl Exemptions {
    /// Adds upstream's errors.
    pub(in crate::admission) fn check(&self, errors: &mut Vec<String>) {
        let lists = [
            ("namespaces", &self.namespaces),
            ("runtimeClasses", &self.runtime_classes),
            ("usernames", &self.usernames),
        ];
        for (field, list) in lists {
            for (index, name) in list.iter().enumerate() {
                let path = format!("exemptions.{field}[{index}]");
                let wrong = match field {
                    "usernames" if name.is_empty() => Some("username must not be empty"),
                    "usernames" => None,
                    _ => not_a_name(name),
                };
                if let Some(why) = wrong {
                    errors.push(format!("{path}: Invalid value: {name:?}: {why}"));
                } else if list[..index].contains(name) {
                    errors.push(format!("{path}: Duplicate value: {name:?}"));
                }
            }
        }
    }

    pub(super) fn namespace(&self, name: &str) -> bool {
        self.namespaces.iter().any(|n| n == name)
    }

    pub(super) fn user(&self, name: &str) -> bool {
        self.usernames.iter().any(|n| n == name)
    }

    pub(super) fn runtime_class(&self, name: Option<&Str>) -> bool {
        name.is_some_and(|name| self.runtime_classes.iter().any(|n| *n == name.as_str()))
    }
}

fn not_a_name(name: &str) -> Option<&'static str> {
    let part = |label: &str| {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let ends = |b: Option<&u8>| b.is_some_and(|b| *b != b'-');
        label.bytes().all(plain) && ends(label.as_bytes().first()) && ends(label.as_bytes().last())
    };
    (name.len() > 253 || !name.split('.').all(part)).then_some(
        "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
    )
}

/// A label that cannot be read.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct LabelError {
    pub field: String,
    pub body: String,
}

fn level(text: &str) -> Result<Level, &'static str> {
    match text {
        "privileged" => Ok(Level::Privileged),
        "baseline" => Ok(Level::Baseline),
        "restricted" => Ok(Level::Restricted),
        _ => Err("must be one of privileged, baseline, restricted"),
    }
}

fn version(text: &str) -> Result<Version, &'static str> {
    const WRONG: &str = "must be \"latest\" or \"v1.x\"";
    if text == "latest" {
        return Ok(Version::Latest);
    }
    let digits = text.strip_prefix("v1.").ok_or(WRONG)?;
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    if !plain || (digits.len() > 1 && digits.starts_with('0')) {
        return Err(WRONG);
    }
    digits.parse().map(Version::Minor).map_err(|_| WRONG)
}

/// Labels and what could not be read of them.
struct Reader<'a> {
    labels: &'a Map<Str>,
    errors: Vec<LabelError>,
}

impl Reader<'_> {
    fn read<T>(
        &mut self,
        name: &str,
        parse: fn(&str) -> Result<T, &'static str>,
    ) -> Option<Result<T, ()>> {
        let key = format!("{PREFIX}{name}");
        let value = self.labels.get(&key)?;
        Some(parse(value).map_err(|detail| {
            self.errors.push(LabelError {
                field: format!("metadata.labels[{key}]"),
                body: format!("Invalid value: {:?}: {detail}", value.as_str()),
            });
        }))
    }

    /// One mode's standard; `fallback` is the level when the label is wrong.
    fn standard(&mut self, mode: &str, usual: Standard, fallback: Level) -> Standard {
        let level = self.read(mode, level);
        let version = self.read(&format!("{mode}-version"), version);
        Standard {
            level: level.map_or(usual.level, |l| l.unwrap_or(fallback)),
            version: version.map_or(usual.version, |v| v.unwrap_or(Version::Latest)),
        }
    }
}

/// The policy that a namespace's labels ask for, and the labels that cannot be read.
pub(super) fn policy(labels: &Map<Str>, usual: &Policy) -> (Policy, Vec<LabelError>) {
    let mut reader = Reader {
        labels,
        errors: Vec::new(),
    };
    let enforce = reader.standard("enforce", usual.enforce, Level::Restricted);
    let audit = reader.standard("audit", usual.audit, Level::Privileged);
    let mut warn = reader.standard("warn", usual.warn, Level::Privileged);
    let has = |name: &str| labels.get(&format!("{PREFIX}{name}"));
    let enforced = has("enforce").is_some_and(|text| level(text).is_ok());
    if has("warn").is_none() && enforced && enforce.level > warn.level {
        // Who enforces more than nothing is warned about controllers whose pods would be refused.
        warn.level = enforce.level;
        if has("warn-version").is_none() {
            warn.version = enforce.version;
        }
    }
    let policy = Policy {
        enforce,
        audit,
        warn,
    };
    (policy, reader.errors)
}
