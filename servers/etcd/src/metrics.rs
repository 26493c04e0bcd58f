//! Figures in Prometheus' text form, under the names that etcd's dashboards know.

use crate::calls::VERSION;
use corten_etcd::mvcc::Store;
use std::fmt::Write as _;

/// The page.
pub(crate) fn text(store: &Store) -> String {
    let stats = store.stats();
    let mut out = String::new();
    let _ = writeln!(
        out,
        "# TYPE etcd_server_version gauge\netcd_server_version{{server_version=\"{VERSION}\"}} 1"
    );
    let gauges: [(&str, f64); 9] = [
        ("etcd_server_has_leader", 1.0),
        ("etcd_server_is_leader", 1.0),
        ("etcd_server_proposals_pending", 0.0),
        ("etcd_mvcc_db_total_size_in_bytes", stats.log_bytes as f64),
        (
            "etcd_mvcc_db_total_size_in_use_in_bytes",
            stats.live_bytes as f64,
        ),
        ("etcd_debugging_mvcc_keys_total", stats.keys as f64),
        (
            "etcd_debugging_mvcc_current_revision",
            stats.revision as f64,
        ),
        (
            "etcd_debugging_mvcc_compact_revision",
            stats.compacted as f64,
        ),
        ("etcd_debugging_lease_leases", store.leases().len() as f64),
    ];
    for (name, value) in gauges {
        let _ = writeln!(out, "# TYPE {name} gauge\n{name} {value}");
    }
    let counters = [
        ("etcd_server_proposals_applied_total", stats.applied),
        ("etcd_server_proposals_committed_total", stats.applied),
        ("corten_store_log_written_bytes_total", stats.written),
    ];
    for (name, value) in counters {
        let _ = writeln!(out, "# TYPE {name} counter\n{name} {value}");
    }
    out
}
