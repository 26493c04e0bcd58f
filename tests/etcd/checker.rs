//! Whether a history of one register per key is linearizable, where every write says its revision: the order of the
//! writes is then known, and what is left to check is that it fits real time and that reads see the newest write
//! that they must. Writes whose answer was lost may or may not have happened.

use anyhow::{Result, ensure};

/// What a client did and what it was told, with the moments before and after.
#[derive(Clone, Debug)]
pub struct Op {
    pub start: u64,
    pub end: u64,
    pub what: What,
}

#[derive(Clone, Debug)]
pub enum What {
    /// Wrote a value that nobody else writes; the revision that it was told, none if the answer was lost.
    Write(u64, Option<i64>),
    /// Read a value of this revision and was not told how far the store was.
    Get { value: u64, changed: i64 },
    /// Read a value (0: none) of this revision (of the key's last change), when the store was at that one.
    Read {
        value: u64,
        changed: i64,
        store: i64,
    },
}

/// Checks the history of one key; `order` is its changes as a watch or the final history showed them: revision and
/// value (0: deleted).
pub fn check(ops: &[Op], order: &[(i64, u64)]) -> Result<()> {
    for pair in order.windows(2) {
        ensure!(
            pair[0].0 < pair[1].0,
            "the order repeats revision {}",
            pair[1].0
        );
    }
    let placed = |value: u64| {
        order
            .iter()
            .find(|(_, v)| *v == value)
            .map(|(revision, _)| *revision)
    };
    for op in ops {
        if let What::Write(value, Some(revision)) = op.what {
            ensure!(
                placed(value) == Some(revision),
                "the acknowledged write of {value} at {revision} is not in the order"
            );
        }
        if let What::Read {
            value,
            changed,
            store,
        } = op.what
        {
            ensure!(
                changed <= store,
                "a read saw the change {changed} of the future, at {store}"
            );
            let newest = order.iter().rev().find(|(revision, _)| *revision <= store);
            let wanted = newest.map_or((0, 0), |(revision, v)| {
                (*v, if *v == 0 { 0 } else { *revision })
            });
            ensure!(
                wanted == (value, changed),
                "a read at {store} saw {value} of {changed}, not {wanted:?}"
            );
        }
    }
    for op in ops {
        if let What::Get { value, changed } = op.what {
            ensure!(
                placed(value) == Some(changed),
                "a read saw {value} of {changed}, which is not in the order"
            );
        }
    }
    let next = |changed: i64| order.iter().map(|(at, _)| *at).find(|at| *at > changed);
    real_time(ops, &placed, &next)
}

/// What ended before something else began happened before it.
fn real_time(
    ops: &[Op],
    placed: &dyn Fn(u64) -> Option<i64>,
    next: &dyn Fn(i64) -> Option<i64>,
) -> Result<()> {
    // The store's revision is at least `low` after the operation and at most `high` when it began... what an
    // operation proves: when it ended the store was at least there.
    let proves = |op: &Op| match op.what {
        What::Write(_, revision) => revision.unwrap_or(0),
        What::Get { changed, .. } => changed,
        What::Read { store, .. } => store,
    };
    let place = |op: &Op| match op.what {
        What::Write(value, _) => placed(value),
        // Any moment until the next change.
        What::Get { changed, .. } => Some(next(changed).map_or(i64::MAX, |at| at - 1)),
        What::Read { store, .. } => Some(store),
    };
    let mut by_end: Vec<&Op> = ops.iter().collect();
    by_end.sort_by_key(|op| op.end);
    let mut by_start: Vec<&Op> = ops.iter().collect();
    by_start.sort_by_key(|op| op.start);
    let (mut ended, mut least) = (0, 0);
    for op in by_start {
        while ended < by_end.len() && by_end[ended].end < op.start {
            least = least.max(proves(by_end[ended]));
            ended += 1;
        }
        if let Some(at) = place(op) {
            let late_enough = match op.what {
                What::Write(..) => at > least,
                What::Read { .. } | What::Get { .. } => at >= least,
            };
            ensure!(
                late_enough,
                "{op:?} stands at {at}, but {least} was proven before it began"
            );
        }
    }
    Ok(())
}

fn op(start: u64, end: u64, what: What) -> Op {
    Op { start, end, what }
}

fn read(value: u64, changed: i64, store: i64) -> What {
    What::Read {
        value,
        changed,
        store,
    }
}

fn get(value: u64, changed: i64) -> What {
    What::Get { value, changed }
}

pub fn known_bad_histories_are_refused() -> Result<()> {
    let order = [(2, 1), (3, 2), (5, 0)];
    let good = [
        op(0, 2, What::Write(1, Some(2))),
        op(1, 3, What::Write(2, Some(3))),
        op(4, 5, read(2, 3, 4)),
        op(6, 7, read(0, 0, 5)),
        op(3, 4, get(2, 3)),
    ];
    check(&good, &order)?;
    check(&[op(0, 1, What::Write(9, None))], &order)?;
    let bad: &[(&str, &[Op], &[(i64, u64)])] = &[
        ("a lost write", &[op(0, 1, What::Write(7, Some(4)))], &order),
        (
            "a stale read",
            &[op(0, 1, What::Write(2, Some(3))), op(2, 3, read(1, 2, 2))],
            &order,
        ),
        (
            "a read of the wrong version",
            &[op(0, 1, read(1, 2, 3))],
            &order,
        ),
        ("a read of the future", &[op(0, 1, read(2, 3, 2))], &order),
        (
            "a write before its time",
            &[
                op(0, 1, What::Write(2, Some(3))),
                op(2, 3, What::Write(1, Some(2))),
            ],
            &order,
        ),
        (
            "time going back",
            &[op(0, 1, read(0, 0, 5)), op(2, 3, read(2, 3, 4))],
            &order,
        ),
        ("a revision used twice", &[], &[(2, 1), (2, 2)]),
        ("a deleted value seen", &[op(0, 1, read(2, 3, 5))], &order),
    ];
    refuses(bad)?;
    refuses(&[
        (
            "a stale get",
            &[op(0, 1, What::Write(2, Some(3))), op(2, 3, get(1, 2))],
            &order,
        ),
        (
            "two gets, the second older",
            &[op(0, 1, get(2, 3)), op(2, 3, get(1, 2))],
            &order,
        ),
        (
            "a get of what was never written",
            &[op(0, 1, get(9, 3))],
            &order,
        ),
    ])
}

/// Whether none of these histories passes.
fn refuses(bad: &[(&str, &[Op], &[(i64, u64)])]) -> Result<()> {
    for (name, ops, order) in bad {
        ensure!(check(ops, order).is_err(), "{name} passed for linearizable");
    }
    Ok(())
}
