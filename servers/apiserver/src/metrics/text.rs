//! The Prometheus text format.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::Histogram;
use super::families::{Family, Kind};

/// Labels in the order of their names, as text.
#[derive(Clone, Debug, Default)]
pub(super) struct Labels(String);

impl Labels {
    /// Adds a label, which must come after those there are.
    pub(super) fn add(&mut self, name: &str, value: &str) {
        if !self.0.is_empty() {
            self.0.push(',');
        }
        self.0.push_str(name);
        self.0.push_str("=\"");
        if !value.bytes().any(|b| matches!(b, b'\\' | b'"' | b'\n')) {
            self.0.push_str(value);
            self.0.push('"');
            return;
        }
        for c in value.chars() {
            match c {
                '\\' => self.0.push_str("\\\\"),
                '"' => self.0.push_str("\\\""),
                '\n' => self.0.push_str("\\n"),
                c => self.0.push(c),
            }
        }
        self.0.push('"');
    }

    pub(super) fn finish(self) -> String {
        self.0
    }

    /// These labels.
    pub(super) fn of(all: &[(&str, &str)]) -> String {
        let mut labels = Labels::default();
        for (name, value) in all {
            labels.add(name, value);
        }
        labels.finish()
    }
}

fn head(out: &mut String, family: &Family) {
    let kind = match family.kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram(_) => "histogram",
    };
    let name = family.name;
    let _ = writeln!(out, "# HELP {name} {}\n# TYPE {name} {kind}", family.help);
}

/// The series of a counter or gauge.
pub(super) fn numbers(
    out: &mut String,
    family: &Family,
    all: &BTreeMap<(&'static str, String), f64>,
) {
    let name = family.name;
    let mut series = all
        .range((name, String::new())..)
        .take_while(|((n, _), _)| *n == name)
        .peekable();
    if series.peek().is_none() {
        return;
    }
    head(out, family);
    for ((_, labels), value) in series {
        let _ = match labels.is_empty() {
            true => writeln!(out, "{name} {value}"),
            false => writeln!(out, "{name}{{{labels}}} {value}"),
        };
    }
}

/// The series of a histogram.
pub(super) fn histograms(
    out: &mut String,
    family: &Family,
    all: &BTreeMap<(&'static str, String), Histogram>,
) {
    let name = family.name;
    let mut series = all
        .range((name, String::new())..)
        .take_while(|((n, _), _)| *n == name)
        .peekable();
    if series.peek().is_none() {
        return;
    }
    head(out, family);
    for ((_, labels), histogram) in series {
        let comma = if labels.is_empty() { "" } else { "," };
        let mut total = 0;
        for (bound, count) in family.buckets().iter().zip(&histogram.counts) {
            total += count;
            let _ = writeln!(
                out,
                "{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {total}"
            );
        }
        total += histogram.counts.last().copied().unwrap_or_default();
        let _ = writeln!(
            out,
            "{name}_bucket{{{labels}{comma}le=\"+Inf\"}} {total}\n{name}_sum{{{labels}}} {}\n{name}_count{{{labels}}} {total}",
            histogram.sum
        );
    }
}

/// The process' resident memory and CPU time, as client libraries expose them.
pub(super) fn process(out: &mut String) {
    let Ok(statm) = std::fs::read_to_string("/proc/self/statm") else {
        return;
    };
    let pages: u64 = statm
        .split_whitespace()
        .nth(1)
        .and_then(|p| p.parse().ok())
        .unwrap_or(0);
    let memory = Family {
        name: "process_resident_memory_bytes",
        kind: Kind::Gauge,
        help: "Resident memory size in bytes.",
    };
    head(out, &memory);
    let _ = writeln!(out, "process_resident_memory_bytes {}", pages * 4096);
    let Ok(stat) = std::fs::read_to_string("/proc/self/stat") else {
        return;
    };
    let after = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: u64 = after
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|t| t.parse::<u64>().ok())
        .sum();
    let cpu = Family {
        name: "process_cpu_seconds_total",
        kind: Kind::Counter,
        help: "Total user and system CPU time spent in seconds.",
    };
    head(out, &cpu);
    let _ = writeln!(out, "process_cpu_seconds_total {}", ticks as f64 / 100.0);
}
