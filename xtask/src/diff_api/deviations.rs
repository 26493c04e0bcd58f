//! `docs/deviations.yaml`: which differences are meant, each with its reason. Invariant: an entry names requests and
//! places by patterns in which `*` stands for anything.

use std::path::Path;

use anyhow::{Context, Result};
use corten_core::Value;

use super::compare::Difference;

/// One entry.
#[derive(Debug)]
struct Deviation {
    request: String,
    at: String,
    why: String,
    used: bool,
}

/// All entries.
#[derive(Debug, Default)]
pub struct Deviations {
    all: Vec<Deviation>,
}

impl Deviations {
    /// Reads the file; no file is no entries.
    pub fn load(file: &Path) -> Result<Deviations> {
        let Ok(text) = std::fs::read(file) else {
            return Ok(Deviations::default());
        };
        let value = corten_codec::yaml::decode_value(&text)
            .with_context(|| format!("reading {}", file.display()))?;
        let entries = value.as_list().context("a list of deviations")?;
        let text = |entry: &Value, key: &str| entry.str_at(&[key]).to_owned();
        let all = entries.iter().map(|entry| Deviation {
            request: text(entry, "request"),
            at: text(entry, "at"),
            why: text(entry, "why"),
            used: false,
        });
        Ok(Deviations { all: all.collect() })
    }

    /// Whether a difference is meant.
    pub fn explains(&mut self, request: &str, difference: &Difference) -> bool {
        let found = self
            .all
            .iter_mut()
            .find(|d| matches(&d.request, request) && matches(&d.at, &difference.at));
        found.is_some_and(|d| {
            d.used = true;
            true
        })
    }

    /// Entries that explained nothing.
    pub fn unused(&self) -> impl Iterator<Item = String> {
        let unused = self.all.iter().filter(|d| !d.used);
        unused.map(|d| format!("{} at {} ({})", d.request, d.at, d.why))
    }
}

/// `*` matches any run of characters.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, rest)) => text.strip_prefix(head).is_some_and(|text| {
            let mut starts = text.char_indices().map(|(i, _)| i).chain([text.len()]);
            starts.any(|at| matches(rest, &text[at..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn a_star_stands_for_anything() {
        assert!(matches("a*c", "abbc"));
        assert!(matches("*", ""));
        assert!(matches("a*b*", "axxbyy"));
        assert!(!matches("a*c", "abb"));
        assert!(!matches("a", "ab"));
    }
}
