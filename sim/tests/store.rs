//! The store's seeds: the ones that once failed first, then two thousand others.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use corten_sim::run_store;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Seeds that found something; they always run first.
const FOUND: &[u64] = &[];
/// The seeds of a usual run.
const SEEDS: u64 = 2000;
/// Lines of a trace that a failure prints.
const TAIL: usize = 40;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// `CORTEN_SIM_FIRST` and `CORTEN_SIM_COUNT` choose other seeds, for a longer search.
#[test]
fn the_store_keeps_its_word() {
    let first = number("CORTEN_SIM_FIRST").unwrap_or(1);
    let count = number("CORTEN_SIM_COUNT").unwrap_or(SEEDS);
    let seeds: Vec<u64> = FOUND.iter().copied().chain(first..first + count).collect();
    let (next, answered, restarts) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                while let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
                    let report = run_store(*seed);
                    answered.fetch_add(report.answered, Ordering::Relaxed);
                    restarts.fetch_add(report.restarts, Ordering::Relaxed);
                    if !report.violations.is_empty() {
                        failed.lock().unwrap().push(report);
                    }
                }
            });
        }
    });
    let mut failed = failed.into_inner().unwrap();
    failed.sort_by_key(|report| report.seed);
    let (answered, restarts) = (answered.into_inner(), restarts.into_inner());
    println!(
        "{} seeds, {answered} transactions, {restarts} starts",
        seeds.len()
    );
    for report in &failed {
        println!("seed {}: {}", report.seed, report.violations[0]);
    }
    if let Some(report) = failed.first() {
        let from = report.trace.len().saturating_sub(TAIL);
        panic!(
            "{} of {} seeds failed; the first, {}:\n{}\n{}",
            failed.len(),
            seeds.len(),
            report.seed,
            report.trace[from..].join("\n"),
            report.violations.join("\n")
        );
    }
    assert!(
        answered > count * 50 && restarts > count,
        "the clients and faults do something"
    );
}

#[test]
fn a_seed_is_one_run() {
    for seed in [3, 7, 11] {
        let (a, b) = (run_store(seed), run_store(seed));
        assert_eq!(a.trace, b.trace);
        assert_eq!(a.answered, b.answered);
    }
}
