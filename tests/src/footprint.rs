//! What a cluster can leave on a host: mounts, links, nftables tables, cgroups, network namespaces and
//! processes. Two footprints are compared as sets of lines.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::netns::NetworkNamespace;
use crate::process::find_by_data;

/// One line for each thing found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Footprint(BTreeSet<String>);

impl Footprint {
    /// Looks at the host and into the cluster's network namespace.
    pub fn take(network: &NetworkNamespace, data: &Path) -> Result<Footprint> {
        let mut lines = BTreeSet::new();
        let mounts = fs::read_to_string("/proc/self/mountinfo").context("reading the mounts")?;
        for mount in mounts.lines().filter_map(|line| line.split(' ').nth(4)) {
            lines.insert(format!("mount {mount}"));
        }
        let links = network.enter(|| command("ip", &["-o", "link"]))??;
        for link in links.lines().filter_map(|line| line.split(": ").nth(1)) {
            lines.insert(format!("link {}", link.split('@').next().unwrap_or(link)));
        }
        for family in ["-4", "-6"] {
            let routes = network.enter(|| command("ip", &[family, "route"]))??;
            lines.extend(
                routes
                    .lines()
                    .map(|route| format!("route {}", route.trim())),
            );
        }
        let tables = network.enter(|| command("nft", &["list", "tables"]))??;
        lines.extend(
            tables
                .lines()
                .map(|table| format!("nftables {}", table.trim())),
        );
        cgroups(Path::new("/sys/fs/cgroup"), &mut lines);
        for directory in ["/run/netns", "/var/run/netns"] {
            for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
                lines.insert(format!("netns {}", entry.path().display()));
            }
        }
        for process in find_by_data(data)? {
            let line = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            lines.insert(format!("process {process} {line}"));
        }
        Ok(Footprint(lines))
    }

    /// What the cluster's bridge is called after the word corten; nothing before there is one.
    pub fn bridge(network: &NetworkNamespace) -> Result<Option<String>> {
        let links =
            network.enter(|| command("ip", &["-o", "link", "show", "type", "bridge"]))??;
        Ok(links
            .lines()
            .filter_map(|line| line.split(": ").nth(1)?.strip_prefix("corten"))
            .map(str::to_string)
            .next())
    }

    /// What is here and was not there before.
    pub fn since(&self, before: &Footprint) -> Vec<String> {
        self.0.difference(&before.0).cloned().collect()
    }
}

/// Pod cgroups in every hierarchy; the host's own come and go and are not ours to watch.
fn cgroups(directory: &Path, lines: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if !is_directory {
            continue;
        }
        let path = entry.path();
        let text = path.to_string_lossy();
        if text.contains("kubepods") || text.contains("corten") {
            lines.insert(format!("cgroup {text}"));
        }
        cgroups(&path, lines);
    }
}

fn command(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .with_context(|| format!("running {program}"))?;
    if !output.status.success() {
        bail!("{program}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
