//! Seeds: the ones that once failed first, then two hundred others; and how one of them is replayed.

use corten_sim::{Report, run};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Seeds that found something; they always run first.
const FOUND: &[u64] = &[7, 12, 29, 11577, 13655, 14273, 14511, 20225, 20570, 21306];
/// The seeds of a usual run.
const SEEDS: u64 = 200;
/// Lines of a trace that a failure prints.
const TAIL: usize = 60;

fn show(report: &Report, lines: usize) -> String {
    let from = report.trace.len().saturating_sub(lines);
    format!(
        "{}\nseed {}: {}\nreplay with {}\n",
        report.trace[from..].join("\n"),
        report.seed,
        report.violations.join("\n  "),
        report.replay()
    )
}

/// `CORTEN_SIM_FIRST` and `CORTEN_SIM_COUNT` choose other seeds, for a longer search.
#[test]
fn seeds_come_to_rest() {
    let first: u64 = std::env::var("CORTEN_SIM_FIRST")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(1);
    let count: u64 = std::env::var("CORTEN_SIM_COUNT")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(SEEDS);
    let seeds: Vec<u64> = FOUND.iter().copied().chain(first..first + count).collect();
    let next = AtomicU64::new(0);
    let failed = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
                    let report = run(*seed).unwrap();
                    if !report.violations.is_empty() {
                        failed.lock().unwrap().push(report);
                    }
                }
            });
        }
    });
    let mut failed = failed.into_inner().unwrap();
    failed.sort_by_key(|report| report.seed);
    for report in &failed {
        println!("seed {}: {}", report.seed, report.violations[0]);
    }
    if let Some(report) = failed.first() {
        panic!(
            "{} of {} seeds failed; the first:\n{}",
            failed.len(),
            seeds.len(),
            show(report, TAIL)
        );
    }
}

#[test]
fn a_seed_is_one_run() {
    for seed in [3, 7] {
        let (a, b) = (run(seed).unwrap(), run(seed).unwrap());
        for (line, (a, b)) in a.trace.iter().zip(&b.trace).enumerate() {
            assert_eq!(a, b, "line {line} of seed {seed}");
        }
        assert_eq!(a.trace.len(), b.trace.len());
    }
}

/// `CORTEN_SIM_SEED=… cargo test -p corten-sim -- replay --nocapture` shows the whole trace of a seed.
#[test]
fn replay() {
    let Some(seed) = std::env::var("CORTEN_SIM_SEED")
        .ok()
        .and_then(|n| n.parse().ok())
    else {
        return;
    };
    let report = run(seed).unwrap();
    println!("{}", show(&report, usize::MAX));
    assert!(
        report.violations.is_empty(),
        "{}",
        report.violations.join("\n")
    );
}
