//! What was measured, as a table with ratios and as JSON.

use serde_json::{Value, json};

use super::load::Outcome;
use super::servers::{Use, Which};
use crate::history::{percentile, round};

/// One operation on one server.
#[derive(Debug)]
pub struct Measured {
    pub server: Which,
    pub name: String,
    /// What one CPU figure is for: requests, or delivered events.
    pub count: usize,
    pub per_second: f64,
    pub cpu_ms: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    /// Bytes of one answer.
    pub answer_bytes: f64,
    pub before_mib: f64,
    pub after_mib: f64,
    pub peak_mib: f64,
    /// Memory of one thing that is kept (a watch, an object), where that is what the line is about.
    pub each_kib: Option<f64>,
}

impl Measured {
    /// From a load and what the server had used before and after it.
    pub fn of(server: Which, name: &str, outcome: &Outcome, before: Use, after: Use) -> Measured {
        let count = outcome.latencies.len();
        let mib = |kib: u64| kib as f64 / 1024.0;
        Measured {
            server,
            name: name.to_owned(),
            count,
            per_second: count as f64 / outcome.seconds,
            cpu_ms: (after.cpu_seconds - before.cpu_seconds) * 1000.0 / count as f64,
            p50_ms: percentile(&outcome.latencies, 0.5),
            p99_ms: percentile(&outcome.latencies, 0.99),
            answer_bytes: outcome.bytes as f64 / count as f64,
            before_mib: mib(before.resident_kib),
            after_mib: mib(after.resident_kib),
            peak_mib: mib(after.peak_kib),
            each_kib: None,
        }
    }
}

/// The most CPU that Corten may use for one, in milliseconds, or memory in KiB where that is the measure.
const TARGETS: [(&str, f64); 14] = [
    ("create-configmap", 0.15),
    ("create-pod", 0.30),
    ("get-pod", 0.08),
    ("merge-patch-pod", 0.35),
    ("list-json", 25.0),
    ("list-protobuf", 12.0),
    // With fewer watchers it is the write that counts.
    ("list-plain-json", 25.0),
    ("list-plain-protobuf", 12.0),
    ("watch-1000", 0.005),
    ("watch-10000", 0.005),
    ("watch-plain-1000", 0.005),
    ("watch-plain-10000", 0.005),
    ("idle-watch-streams", 4.0),
    ("idle-watch-connections", 4.0),
];

/// The rows of the table, the header first.
pub fn rows(measured: &[Measured]) -> Vec<Vec<String>> {
    let header = [
        "operation",
        "server",
        "count",
        "per s",
        "CPU ms",
        "at most",
        "ratio",
        "p50 ms",
        "p99 ms",
        "answer B",
        "RSS MiB",
        "after",
        "peak",
        "KiB each",
        "ratio",
    ];
    let mut rows = vec![header.map(str::to_string).to_vec()];
    let mut names: Vec<&str> = Vec::new();
    for one in measured {
        if !names.contains(&one.name.as_str()) {
            names.push(&one.name);
        }
    }
    for name in names {
        let of = |server| {
            measured
                .iter()
                .find(|m| m.name == name && m.server == server)
        };
        let (corten, upstream) = (of(Which::Corten), of(Which::Upstream));
        for one in [corten, upstream].into_iter().flatten() {
            let other = if one.server == Which::Corten {
                upstream
            } else {
                None
            };
            rows.push(one.row(other));
        }
    }
    rows
}

impl Measured {
    fn row(&self, upstream: Option<&Measured>) -> Vec<String> {
        let target = TARGETS.iter().find(|(name, _)| *name == self.name);
        let target = target.filter(|_| self.server == Which::Corten);
        let ratio = |ours: f64, theirs: Option<f64>| match theirs {
            Some(theirs) if ours > 0.0 => format!("{:.1}", theirs / ours),
            _ => String::new(),
        };
        vec![
            self.name.clone(),
            self.server.name().to_owned(),
            self.count.to_string(),
            format!("{:.0}", self.per_second),
            format!("{:.4}", self.cpu_ms),
            target.map_or_else(String::new, |(_, most)| most.to_string()),
            ratio(self.cpu_ms, upstream.map(|u| u.cpu_ms)),
            format!("{:.2}", self.p50_ms),
            format!("{:.2}", self.p99_ms),
            format!("{:.0}", self.answer_bytes),
            format!("{:.0}", self.before_mib),
            format!("{:.0}", self.after_mib),
            format!("{:.0}", self.peak_mib),
            self.each_kib
                .map_or_else(String::new, |kib| format!("{kib:.1}")),
            self.each_kib.map_or_else(String::new, |kib| {
                ratio(kib, upstream.and_then(|u| u.each_kib))
            }),
        ]
    }
}

/// All of it for the history.
pub fn json(measured: &[Measured]) -> Value {
    let one = |m: &Measured| {
        let mut line = json!({
            "operation": m.name,
            "server": m.server.name(),
            "count": m.count,
            "per_second": round(m.per_second, 0),
            "cpu_ms": round(m.cpu_ms, 4),
            "p50_ms": round(m.p50_ms, 2),
            "p99_ms": round(m.p99_ms, 2),
            "answer_bytes": round(m.answer_bytes, 0),
            "rss_before_mib": round(m.before_mib, 1),
            "rss_after_mib": round(m.after_mib, 1),
            "rss_peak_mib": round(m.peak_mib, 1),
        });
        if let Some(kib) = m.each_kib {
            line["kib_each"] = round(kib, 2).into();
        }
        line
    };
    Value::Array(measured.iter().map(one).collect())
}
