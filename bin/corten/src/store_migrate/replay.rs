//! The writes that bring a store which counts its own revisions to the same state: at which revision each key is
//! created, written in between as often as its version says, and written last. Pure.

use super::State;
use std::collections::BTreeMap;

/// Keys that one transaction writes, at most: etcd takes 128 operations.
const OPS_MAX: usize = 120;

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// So many revisions at which no key is written.
    Fill(i64),
    /// One revision: keys (by their place in the state) whose value does not count yet, and those that get theirs.
    Write { early: Vec<usize>, last: Vec<usize> },
}

/// The steps from the revision after `current` to the state's. Every key was created after `current`.
pub(super) fn steps(state: &State, current: i64) -> Vec<Step> {
    let mut at: BTreeMap<i64, (Vec<usize>, Vec<usize>)> = BTreeMap::new();
    for (index, kept) in state.keys.iter().enumerate() {
        at.entry(kept.modified).or_default().1.push(index);
        if kept.create < kept.modified {
            at.entry(kept.create).or_default().0.push(index);
        }
    }
    for (index, kept) in state.keys.iter().enumerate() {
        between(
            &mut at,
            index,
            (kept.create, kept.modified),
            kept.version - 2,
        );
    }
    // The first revision marks the copy, the last one ends it.
    at.entry(current + 1).or_default();
    at.entry(state.revision).or_default();
    let mut steps = Vec::new();
    let mut last = current;
    for (revision, (early, written)) in at {
        if revision > last + 1 {
            steps.push(Step::Fill(revision - last - 1));
        }
        steps.push(Step::Write {
            early,
            last: written,
        });
        last = revision;
    }
    steps
}

/// Spreads the writes between a key's first and last over the revisions between; what does not fit is left out.
fn between(
    at: &mut BTreeMap<i64, (Vec<usize>, Vec<usize>)>,
    index: usize,
    (create, modified): (i64, i64),
    count: i64,
) {
    let room = modified - create - 1;
    if count <= 0 || count > room {
        return;
    }
    let mut next = create + 1;
    for number in 0..count {
        let even = create + 1 + (i128::from(number) * i128::from(room) / i128::from(count)) as i64;
        let mut revision = next.max(even);
        while revision < modified {
            let (early, last) = at.entry(revision).or_default();
            if early.len() + last.len() < OPS_MAX {
                early.push(index);
                break;
            }
            revision += 1;
        }
        next = revision + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::super::Kept;
    use super::*;

    fn kept(key: &'static str, create: i64, modified: i64, version: i64) -> Kept {
        Kept {
            key: key.into(),
            value: "v".into(),
            create,
            modified,
            version,
            expires: 0,
        }
    }

    /// What a store that takes one revision for each write holds after the steps: create, modified, version by key.
    fn played(state: &State, current: i64) -> (i64, BTreeMap<usize, (i64, i64, i64)>) {
        let mut revision = current;
        let mut keys: BTreeMap<usize, (i64, i64, i64)> = BTreeMap::new();
        for step in steps(state, current) {
            match step {
                Step::Fill(count) => revision += count,
                Step::Write { early, last } => {
                    revision += 1;
                    let all: Vec<usize> = early.iter().chain(&last).copied().collect();
                    let distinct: std::collections::BTreeSet<_> = all.iter().collect();
                    assert_eq!(
                        distinct.len(),
                        all.len(),
                        "a key is written twice at {revision}"
                    );
                    for index in all {
                        let one = keys.entry(index).or_insert((revision, 0, 0));
                        (one.1, one.2) = (revision, one.2 + 1);
                    }
                }
            }
        }
        (revision, keys)
    }

    #[test]
    fn the_same_revisions_and_versions_come_out() {
        let state = State::new(
            40,
            vec![
                kept("once", 2, 2, 1),
                kept("twice", 2, 30, 2),
                kept("often", 3, 20, 18),
                kept("seldom", 5, 39, 4),
            ],
        );
        let (revision, keys) = played(&state, 1);
        assert_eq!(revision, 40);
        for (index, kept) in state.keys.iter().enumerate() {
            assert_eq!(keys[&index], (kept.create, kept.modified, kept.version));
        }
    }

    #[test]
    fn a_revision_takes_no_more_than_etcd_does() {
        let keys = (0..500).map(|_| kept("k", 2, 12, 9));
        let mut state = State::new(700, keys.collect());
        for (number, kept) in state.keys.iter_mut().enumerate() {
            (kept.create, kept.modified) = (2 + number as i64, 150 + number as i64);
        }
        let fits = |step: &Step| match step {
            Step::Fill(count) => *count > 0,
            Step::Write { early, last } => early.len() + last.len() <= OPS_MAX,
        };
        assert!(steps(&state, 1).iter().all(fits));
        assert_eq!(played(&state, 1).0, 700);
    }
}
