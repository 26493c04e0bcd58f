//! Sets of completion indexes in the form of a status: `0,2-4,7`.

use corten_api::core::v1::Pod;
use std::collections::BTreeSet;

/// The annotation and label that hold a pod's index.
pub const INDEX: &str = "batch.kubernetes.io/job-completion-index";

/// Completion indexes, ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Indexes(pub BTreeSet<i32>);

impl Indexes {
    /// Reads `0,2-4`; parts that are no numbers, and indexes from `completions` on, are left out.
    pub fn parse(text: &str, completions: i32) -> Indexes {
        let mut found = BTreeSet::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            if let (Ok(first), Ok(last)) = (first.parse::<i32>(), last.parse::<i32>()) {
                found.extend(first..=last.min(completions - 1));
            }
        }
        Indexes(found)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether `index` is among them.
    pub fn has(&self, index: i32) -> bool {
        self.0.contains(&index)
    }
}

impl std::fmt::Display for Indexes {
    /// Two neighbours are `1,2`, more are `1-3`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut runs: Vec<(i32, i32)> = Vec::new();
        for &index in &self.0 {
            match runs.last_mut() {
                Some(run) if run.1 + 1 == index => run.1 = index,
                _ => runs.push((index, index)),
            }
        }
        let text = |&(first, last): &(i32, i32)| match last - first {
            0 => first.to_string(),
            1 => format!("{first},{last}"),
            _ => format!("{first}-{last}"),
        };
        f.write_str(&runs.iter().map(text).collect::<Vec<_>>().join(","))
    }
}

/// The pod's completion index, if it has a valid one.
pub fn index_of(pod: &Pod) -> Option<i32> {
    let value = pod.metadata.annotations.get(INDEX)?;
    value.parse().ok().filter(|index| *index >= 0)
}

#[cfg(test)]
mod tests {
    use super::Indexes;

    #[test]
    fn texts_of_indexes() {
        for (text, shown) in [
            ("", ""),
            ("1", "1"),
            ("0-1", "0,1"),
            ("1,2,3,7", "1-3,7"),
            ("3-9", "3,4"),
            ("x,2", "2"),
        ] {
            assert_eq!(
                Indexes::parse(text, 5 + 5 * i32::from(text.contains('7'))).to_string(),
                shown
            );
        }
    }
}
