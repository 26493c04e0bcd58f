//! The guestbook: two tiers that find each other by DNS, updated while visitors keep coming.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use anyhow::{Context, Result, bail};
use corten_tests::{Cluster, eventually, expect_equal, get};

/// What visitors saw.
#[derive(Default)]
struct Visits {
    good: AtomicUsize,
    second_version: AtomicUsize,
    stop: AtomicBool,
}

pub fn rolling_update_loses_no_request(cluster: &Cluster) -> Result<()> {
    let kubectl = cluster.kubectl().in_namespace("guestbook");
    let manifest = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../examples/guestbook/guestbook.yaml"
    );
    cluster.kubectl().run(&format!("apply -f {manifest}"))?;
    for tier in ["counter", "web"] {
        kubectl.run(&format!("rollout status deployment {tier} --timeout=120s"))?;
    }
    let authority = format!("{}:30080", cluster.node_address()?);
    eventually("the demo answers", || {
        let page = cluster.kubectl().inside(|| get(&authority, "/"))??;
        expect_equal(page.status, 200)?;
        page.header("guestbook-pod")
            .context("the page names its pod")
            .map(|_| ())
    })?;
    let visits = Visits::default();
    let failed = std::thread::scope(|scope| -> Result<Vec<String>> {
        let visitors: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| cluster.kubectl().inside(|| visit(&authority, &visits))))
            .collect();
        let updated = update(cluster, &visits);
        visits.stop.store(true, Ordering::Relaxed);
        let mut failed = Vec::new();
        for visitor in visitors {
            match visitor.join() {
                Ok(outcome) => failed.extend(outcome?),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        updated.map(|()| failed)
    })?;
    let good = visits.good.load(Ordering::Relaxed);
    if !failed.is_empty() {
        bail!(
            "{} of {} requests failed, first: {}",
            failed.len(),
            good + failed.len(),
            failed[0]
        );
    }
    cluster.kubectl().run("delete namespace guestbook")?;
    Ok(())
}

/// Two rolling updates, there and back, with visits of the new version in between.
fn update(cluster: &Cluster, visits: &Visits) -> Result<()> {
    let kubectl = cluster.kubectl().in_namespace("guestbook");
    for version in [2, 1] {
        kubectl.run(&format!(
            "set image deployment/web web=corten.test/guestbook-web:{version}"
        ))?;
        kubectl.run("rollout status deployment web --timeout=120s")?;
    }
    eventually("visitors saw the second version", || {
        match visits.second_version.load(Ordering::Relaxed) {
            0 => bail!("none did"),
            _ => Ok(()),
        }
    })
}

/// Visits one after another until told to stop; the failures.
fn visit(authority: &str, visits: &Visits) -> Vec<String> {
    let mut failed = Vec::new();
    while !visits.stop.load(Ordering::Relaxed) {
        match get(authority, "/") {
            Ok(page) if page.status == 200 => {
                visits.good.fetch_add(1, Ordering::Relaxed);
                if page.header("guestbook-version") == Some("2") {
                    visits.second_version.fetch_add(1, Ordering::Relaxed);
                }
            }
            Ok(page) => failed.push(format!("{}: {}", page.status, page.body)),
            Err(error) => failed.push(format!("{error:#}")),
        }
    }
    failed
}
