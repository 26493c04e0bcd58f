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

/// A figure about the process, as client libraries expose them.
fn figure(out: &mut String, name: &'static str, kind: Kind, help: &'static str, value: f64) {
    head(out, &Family { name, kind, help });
    let _ = writeln!(out, "{name} {value}");
}

/// The process' memory, CPU time, files and start.
pub(super) fn process(out: &mut String) {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let words: Vec<u64> = after
        .split_whitespace()
        .map(|word| word.parse().unwrap_or_default())
        .collect();
    // The words after the name begin with the third of proc(5).
    let word = |number: usize| words.get(number - 3).copied().unwrap_or_default() as f64;
    let (counter, gauge) = (Kind::Counter, Kind::Gauge);
    let cpu = (word(14) + word(15)) / 100.0;
    let help = "Total user and system CPU time spent in seconds.";
    figure(out, "process_cpu_seconds_total", counter, help, cpu);
    let limits = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let most = limits.current.unwrap_or(u64::MAX) as f64;
    let help = "Maximum number of open file descriptors.";
    figure(out, "process_max_fds", gauge, help, most);
    if let Ok(files) = std::fs::read_dir("/proc/self/fd") {
        let help = "Number of open file descriptors.";
        figure(out, "process_open_fds", gauge, help, files.count() as f64);
    }
    let help = "Resident memory size in bytes.";
    let resident = word(24) * 4096.0;
    figure(out, "process_resident_memory_bytes", gauge, help, resident);
    let booted = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let booted = booted.lines().find_map(|l| l.strip_prefix("btime "));
    let booted: f64 = booted.and_then(|b| b.parse().ok()).unwrap_or_default();
    let help = "Start time of the process since unix epoch in seconds.";
    let started = booted + word(22) / 100.0;
    figure(out, "process_start_time_seconds", gauge, help, started);
    let help = "Virtual memory size in bytes.";
    figure(out, "process_virtual_memory_bytes", gauge, help, word(23));
}
