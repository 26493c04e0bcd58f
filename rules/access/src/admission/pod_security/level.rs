//! Levels and versions of the Pod Security Standards, and the labels that choose them for a namespace.
//!
//! Invariant: a policy always results, even from labels that cannot be read; what cannot be read enforces the most
//! and warns the least.

use corten_core::{Map, Str};
use std::fmt;

const PREFIX: &str = "pod-security.kubernetes.io/";

/// How strict, in ascending order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Level {
    Privileged,
    Baseline,
    Restricted,
}

/// The release whose standards apply.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Version {
    Latest,
    /// The minor version of a 1.x release.
    Minor(u32),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Standard {
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
pub(super) struct Policy {
    pub enforce: Standard,
    pub audit: Standard,
    pub warn: Standard,
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
    fn standard(&mut self, mode: &str, fallback: Level) -> Standard {
        let level = self.read(mode, level);
        let version = self.read(&format!("{mode}-version"), version);
        Standard {
            level: level.map_or(Level::Privileged, |l| l.unwrap_or(fallback)),
            version: version.map_or(Version::Latest, |v| v.unwrap_or(Version::Latest)),
        }
    }
}

/// The policy that a namespace's labels ask for, and the labels that cannot be read.
pub(super) fn policy(labels: &Map<Str>) -> (Policy, Vec<LabelError>) {
    let mut reader = Reader {
        labels,
        errors: Vec::new(),
    };
    let enforce = reader.standard("enforce", Level::Restricted);
    let audit = reader.standard("audit", Level::Privileged);
    let mut warn = reader.standard("warn", Level::Privileged);
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
