//! `idle`: memory, CPU, wakeups and bytes written of all of Corten's processes while the demo runs and
//! nobody visits it. Kubelet probes and leases go on, as they do on any idle cluster.

use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;
use corten_tests::{Cluster, Options, Sample, find_by_data};
use serde_json::json;

use crate::history::{record, round, table};

/// Flags of `idle`.
#[derive(Debug, Args)]
pub struct Idle {
    /// Seconds to let the cluster settle first
    #[arg(long, default_value_t = 20)]
    settle: u64,
    /// Seconds to measure
    #[arg(long, default_value_t = 60)]
    seconds: u64,
}

impl Idle {
    /// Runs the measurement.
    pub fn run(&self) -> Result<()> {
        let cluster = Cluster::start(Options {
            name: "bench-idle",
            images: &["guestbook-web", "guestbook-counter"],
        })?;
        let outcome = self.measure(&cluster);
        cluster.finish()?;
        outcome
    }

    fn measure(&self, cluster: &Cluster) -> Result<()> {
        let manifest = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../examples/guestbook/guestbook.yaml"
        );
        cluster.kubectl().run(&format!("apply -f {manifest}"))?;
        for tier in ["counter", "web"] {
            let line = format!("-n guestbook rollout status deployment {tier} --timeout=120s");
            cluster.kubectl().run(&line)?;
        }
        std::thread::sleep(Duration::from_secs(self.settle));
        let processes = find_by_data(&cluster.data())?;
        let control_plane = [cluster.process_id()?];
        let before = (Sample::of(&processes), Sample::of(&control_plane));
        let started = Instant::now();
        std::thread::sleep(Duration::from_secs(self.seconds));
        let seconds = started.elapsed().as_secs_f64();
        let after = (Sample::of(&processes), Sample::of(&control_plane));
        let rate = |before: u64, after: u64| after.saturating_sub(before) as f64 / seconds;
        let row = |name: &str, count: usize, before: &Sample, after: &Sample| {
            (
                name.to_string(),
                count,
                after.resident_kib as f64 / 1024.0,
                after.proportional_kib as f64 / 1024.0,
                (after.cpu_seconds - before.cpu_seconds) / seconds * 100.0,
                rate(before.wakeups, after.wakeups),
                rate(before.written_bytes, after.written_bytes) / 1024.0,
            )
        };
        let measured = [
            row("all", processes.len(), &before.0, &after.0),
            row("control plane", 1, &before.1, &after.1),
        ];
        let header = [
            "processes",
            "count",
            "RSS MiB",
            "PSS MiB",
            "CPU %",
            "wakeups/s",
            "written KiB/s",
        ];
        let mut rows = vec![header.map(str::to_string).to_vec()];
        let mut results = serde_json::Map::new();
        for (name, count, resident, proportional, cpu, wakeups, written) in measured {
            rows.push(vec![
                name.clone(),
                count.to_string(),
                format!("{resident:.1}"),
                format!("{proportional:.1}"),
                format!("{cpu:.2}"),
                format!("{wakeups:.1}"),
                format!("{written:.2}"),
            ]);
            let result = json!({
                "processes": count,
                "resident_mib": round(resident, 1),
                "proportional_mib": round(proportional, 1),
                "cpu_percent": round(cpu, 2),
                "wakeups_per_second": round(wakeups, 1),
                "written_kib_per_second": round(written, 2),
            });
            results.insert(name.replace(' ', "_"), result);
        }
        table(&rows);
        record("idle", results.into())
    }
}
