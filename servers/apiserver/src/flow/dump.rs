//! What people see of flow control: upstream's three tables under /debug/api_priority_and_fairness and the metrics.

use std::fmt::Write as _;
use std::time::Duration;

use corten_core::MicroTime;

use super::Flow;
use super::level::Note;
use crate::info::Query;

/// One of the tables; none for a path that is no table's.
pub(crate) fn dump(flow: &Flow, name: &str, query: &Query, unix_now: Duration) -> Option<String> {
    match name {
        "dump_priority_levels" => Some(levels(flow)),
        "dump_queues" => Some(queues(flow)),
        "dump_requests" => {
            let detailed = query
                .get("includeRequestDetails")
                .is_some_and(|v| !v.is_empty());
            Some(requests(flow, detailed, unix_now))
        }
        _ => None,
    }
}

fn levels(flow: &Flow) -> String {
    let head = [
        "PriorityLevelName",
        "ActiveQueues",
        "IsIdle",
        "IsQuiescing",
        "WaitingRequests",
        "ExecutingRequests",
        "DispatchedRequests",
        "RejectedRequests",
        "TimedoutRequests",
        "CancelledRequests",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for level in sorted(flow) {
        let quiescing = level.share.lock().quiescing;
        let inner = level.inner.lock();
        let counts = inner.queues.counts();
        let active = inner.queues.views().filter(|q| q.waiting > 0).count();
        rows.push(vec![
            level.name.to_string(),
            active.to_string(),
            inner.queues.is_idle().to_string(),
            quiescing.to_string(),
            counts.waiting.to_string(),
            counts.executing.to_string(),
            counts.dispatched.to_string(),
            counts.rejected.to_string(),
            counts.timed_out.to_string(),
            counts.cancelled.to_string(),
        ]);
    }
    table(&rows)
}

fn sorted(flow: &Flow) -> Vec<std::sync::Arc<super::level::Level>> {
    let mut levels = flow.rules.load().levels.clone();
    levels.sort_by(|a, b| a.name.cmp(&b.name));
    levels
}

fn queues(flow: &Flow) -> String {
    let head = [
        "PriorityLevelName",
        "Index",
        "PendingRequests",
        "ExecutingRequests",
        "SeatsInUse",
        "NextDispatchR",
        "InitialSeatsSum",
        "MaxSeatsSum",
        "TotalWorkSum",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for level in sorted(flow) {
        let inner = level.inner.lock();
        for (index, queue) in inner.queues.views().enumerate() {
            rows.push(vec![
                level.name.to_string(),
                index.to_string(),
                queue.waiting.to_string(),
                queue.executing.to_string(),
                queue.seats_in_use.to_string(),
                format!("{:.8}ss", queue.next_dispatch),
                queue.seats_waiting.to_string(),
                queue.seats_waiting.to_string(),
                format!("{:.8}ss", queue.work_waiting),
            ]);
        }
    }
    table(&rows)
}

fn requests(flow: &Flow, detailed: bool, unix_now: Duration) -> String {
    let mut head: Vec<String> = [
        "PriorityLevelName",
        "FlowSchemaName",
        "QueueIndex",
        "RequestIndexInQueue",
        "FlowDistingsher",
        "ArriveTime",
        "InitialSeats",
        "FinalSeats",
        "AdditionalLatency",
        "StartTime",
    ]
    .map(str::to_owned)
    .to_vec();
    if detailed {
        head.extend(
            [
                "UserName",
                "Verb",
                "APIPath",
                "Namespace",
                "Name",
                "APIVersion",
                "Resource",
                "SubResource",
            ]
            .map(str::to_owned),
        );
    }
    let mut rows = vec![head];
    let began = unix_now.saturating_sub(flow.now());
    let time = |at: Duration| {
        let at = began + at;
        MicroTime::from_unix(at.as_secs() as i64, at.subsec_micros()).to_string()
    };
    for level in sorted(flow) {
        let inner = level.inner.lock();
        let mut push = |queue: i64, place: i64, note: &Note, started: Option<Duration>| {
            let mut row = vec![
                level.name.to_string(),
                note.schema.to_string(),
                queue.to_string(),
                place.to_string(),
                note.flow.to_string(),
                time(note.arrived),
                note.work.seats.to_string(),
                note.work.final_seats.to_string(),
                format!("{}s", note.work.lingers.as_secs_f64()),
                started.map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), time),
            ];
            if detailed {
                row.extend(details(note));
            }
            rows.push(row);
        };
        for (queue, place, _, _, waiter) in inner.queues.waiting() {
            push(queue as i64, place as i64, &waiter.note, None);
        }
        for (note, started) in inner.running.iter() {
            push(-1, -1, note, Some(*started));
        }
    }
    table(&rows)
}

fn details(note: &Note) -> [String; 8] {
    let info = &note.info;
    let version = match info.group.is_empty() {
        true => info.version.clone(),
        false => format!("{}/{}", info.group, info.version),
    };
    [
        note.user.name.clone(),
        info.verb.clone(),
        info.path.clone(),
        info.namespace.clone(),
        info.name.clone(),
        version,
        info.resource.clone(),
        info.subresource.clone(),
    ]
}

/// Columns padded to their widest cell.
fn table(rows: &[Vec<String>]) -> String {
    const CELL_MIN: usize = 8;
    let columns = rows.first().map_or(0, Vec::len);
    let widths: Vec<usize> = (0..columns)
        .map(|c| {
            let widest = rows.iter().map(|r| r[c].len() + 2).max().unwrap_or(0);
            widest.max(CELL_MIN)
        })
        .collect();
    let mut out = String::new();
    for row in rows {
        for (index, cell) in row.iter().enumerate() {
            if index + 1 == row.len() {
                out.push_str(cell);
            } else {
                let _ = write!(out, "{:width$}", format!("{cell},"), width = widths[index]);
            }
        }
        out.push('\n');
    }
    out
}

/// Upstream's metrics of flow control.
pub(crate) fn metrics(flow: &Flow) -> String {
    let mut out = String::new();
    let levels = sorted(flow);
    let mut family = |name: &str, kind: &str, value: &dyn Fn(&super::level::Level) -> u64| {
        let _ = writeln!(out, "# TYPE {name} {kind}");
        for level in &levels {
            let _ = writeln!(
                out,
                "{name}{{priority_level=\"{}\"}} {}",
                level.name,
                value(level)
            );
        }
    };
    let gauge = "gauge";
    family("apiserver_flowcontrol_nominal_limit_seats", gauge, &|l| {
        u64::from(l.share.lock().limits.nominal)
    });
    family("apiserver_flowcontrol_lower_limit_seats", gauge, &|l| {
        u64::from(l.share.lock().limits.least)
    });
    family("apiserver_flowcontrol_upper_limit_seats", gauge, &|l| {
        u64::from(l.share.lock().limits.most)
    });
    family("apiserver_flowcontrol_current_limit_seats", gauge, &|l| {
        u64::from(l.inner.lock().queues.limit())
    });
    family(
        "apiserver_flowcontrol_current_inqueue_requests",
        gauge,
        &|l| u64::from(l.inner.lock().queues.counts().waiting),
    );
    family(
        "apiserver_flowcontrol_current_executing_requests",
        gauge,
        &|l| u64::from(l.inner.lock().queues.counts().executing),
    );
    family(
        "apiserver_flowcontrol_current_executing_seats",
        gauge,
        &|l| u64::from(l.inner.lock().queues.counts().seats_in_use),
    );
    family(
        "apiserver_flowcontrol_dispatched_requests_total",
        "counter",
        &|l| l.inner.lock().queues.counts().dispatched,
    );
    let name = "apiserver_flowcontrol_rejected_requests_total";
    let _ = writeln!(out, "# TYPE {name} counter");
    for level in &levels {
        let inner = level.inner.lock();
        for (reason, count) in [
            ("concurrency-limit", inner.refused.concurrency),
            ("queue-full", inner.refused.queue_full),
            ("time-out", inner.queues.counts().timed_out),
            ("cancelled", inner.queues.counts().cancelled),
        ] {
            let _ = writeln!(
                out,
                "{name}{{priority_level=\"{}\",reason=\"{reason}\"}} {count}",
                level.name
            );
        }
    }
    out
}
