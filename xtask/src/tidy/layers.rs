//! The direction of dependencies: bin > servers > engines > rules > model, read from
//! `cargo metadata`. Pure crates (rules, model) reach no IO or async crate, however indirectly.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;

use anyhow::{Context, Result};
use cargo_metadata::{DependencyKind, MetadataCommand, Package, PackageId, TargetKind};

use super::Finding;

/// Crates that touch a socket, a disk, the kernel, a clock or randomness, or that schedule work.
const IMPURE: &[&str] = &[
    "async-std",
    "crossbeam-channel",
    "fjall",
    "fs2",
    "getrandom",
    "h2",
    "hyper",
    "hyper-util",
    "inotify",
    "libloading",
    "lsm-tree",
    "memmap2",
    "mio",
    "netlink-proto",
    "netlink-sys",
    "nix",
    "polling",
    "rand",
    "redb",
    "reqwest",
    "rtnetlink",
    "rustix",
    "rustls",
    "signal-hook",
    "signal-hook-registry",
    "smol",
    "socket2",
    "tempfile",
    "tokio",
    "tokio-rustls",
    "tokio-tungstenite",
    "tokio-util",
    "tonic",
    "tracing-subscriber",
    "ureq",
    "walkdir",
];

/// A layer of the design; a crate may use crates of lower layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Layer {
    /// Data: structs, tables, codecs.
    Model,
    /// Decisions.
    Rules,
    /// Sockets, disks, the kernel and clocks.
    Engines,
    /// Loops over engines and rules.
    Servers,
    /// The binary, and what stands beside it: simulation, tests, chores.
    Top,
}

impl Layer {
    /// The layer of the crate in this directory of the workspace.
    pub fn of(directory: &str) -> Layer {
        match directory.split('/').next().unwrap_or_default() {
            "model" => Layer::Model,
            "rules" => Layer::Rules,
            "engines" => Layer::Engines,
            "servers" => Layer::Servers,
            _ => Layer::Top,
        }
    }

    fn is_pure(self) -> bool {
        matches!(self, Layer::Model | Layer::Rules)
    }
}

/// A crate of the workspace or of its dependencies.
#[derive(Debug, Clone)]
pub struct Node {
    /// The package's name.
    pub name: String,
    /// Its layer and manifest, when it is the workspace's own.
    pub member: Option<(Layer, String)>,
    /// Whether it only runs inside the compiler.
    pub is_macro: bool,
    /// Crates that its library or build script uses, as indexes.
    pub uses: Vec<usize>,
    /// Crates that only its tests use.
    pub tests_use: Vec<usize>,
}

/// All crates and who uses whom.
#[derive(Debug, Default)]
pub struct Graph {
    /// The crates.
    pub nodes: Vec<Node>,
}

impl Graph {
    /// Reads the graph that cargo resolved for this machine's kind.
    pub fn read(root: &Path) -> Result<Graph> {
        let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
        let metadata = MetadataCommand::new()
            .manifest_path(root.join("Cargo.toml"))
            .other_options(vec!["--filter-platform".into(), target])
            .exec()
            .context("cargo metadata describes the workspace")?;
        let resolve = metadata
            .resolve
            .as_ref()
            .context("cargo metadata resolved nothing")?;
        let index: BTreeMap<&PackageId, usize> = resolve
            .nodes
            .iter()
            .enumerate()
            .map(|(at, node)| (&node.id, at))
            .collect();
        let mut graph = Graph::default();
        for node in &resolve.nodes {
            let package = &metadata[&node.id];
            let mut entry = node_of(package, metadata.workspace_members.contains(&node.id), root);
            for dependency in &node.deps {
                let Some(&to) = index.get(&dependency.pkg) else {
                    continue;
                };
                let kinds = || dependency.dep_kinds.iter().map(|kind| kind.kind);
                if kinds().any(|kind| kind == DependencyKind::Normal) {
                    entry.uses.push(to);
                } else if kinds().any(|kind| kind == DependencyKind::Development) {
                    entry.tests_use.push(to);
                }
            }
            graph.nodes.push(entry);
        }
        Ok(graph)
    }

    /// Every edge and closure that the design forbids.
    pub fn check(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        for node in &self.nodes {
            let Some((layer, manifest)) = &node.member else {
                continue;
            };
            for &to in &node.uses {
                findings.extend(self.forbidden_edge(node, *layer, manifest, to));
            }
            for &to in &node.tests_use {
                if let Some((below, _)) = &self.nodes[to].member
                    && below > layer
                {
                    findings.push(upward(node, *layer, manifest, &self.nodes[to], *below));
                }
            }
            if layer.is_pure() {
                findings.extend(self.impure_paths(node, manifest));
            }
        }
        findings
    }

    fn forbidden_edge(
        &self,
        from: &Node,
        layer: Layer,
        manifest: &str,
        to: usize,
    ) -> Option<Finding> {
        let to = &self.nodes[to];
        let (below, _) = to.member.as_ref()?;
        if *below > layer {
            return Some(upward(from, layer, manifest, to, *below));
        }
        let sibling = *below == layer
            && match layer {
                Layer::Model | Layer::Rules => false,
                Layer::Engines => {
                    (from.name.as_str(), to.name.as_str()) != ("corten-driver", "corten-client")
                }
                Layer::Servers | Layer::Top => true,
            };
        sibling.then(|| Finding {
            path: manifest.to_string(),
            line: 1,
            rule: "layers",
            message: format!(
                "{} uses its sibling {}: {layer:?} crates do not import each other",
                from.name, to.name
            ),
        })
    }

    fn impure_paths(&self, from: &Node, manifest: &str) -> Vec<Finding> {
        let mut findings = Vec::new();
        let mut seen = BTreeSet::new();
        let mut queue: VecDeque<(usize, String)> = from
            .uses
            .iter()
            .map(|&to| (to, from.name.clone()))
            .collect();
        while let Some((at, path)) = queue.pop_front() {
            let node = &self.nodes[at];
            if node.is_macro || !seen.insert(at) {
                continue;
            }
            let path = format!("{path} > {}", node.name);
            if IMPURE.contains(&node.name.as_str()) {
                findings.push(Finding {
                    path: manifest.to_string(),
                    line: 1,
                    rule: "pure",
                    message: format!("a pure crate reaches {}: {path}", node.name),
                });
                continue;
            }
            queue.extend(node.uses.iter().map(|&to| (to, path.clone())));
        }
        findings
    }
}

fn node_of(package: &Package, is_member: bool, root: &Path) -> Node {
    let manifest = package.manifest_path.as_std_path();
    let below = manifest
        .strip_prefix(root)
        .unwrap_or(manifest)
        .to_string_lossy()
        .into_owned();
    let member = is_member.then(|| (Layer::of(&below), below));
    let is_macro = package
        .targets
        .iter()
        .any(|target| target.kind.contains(&TargetKind::ProcMacro));
    Node {
        name: package.name.to_string(),
        member,
        is_macro,
        uses: Vec::new(),
        tests_use: Vec::new(),
    }
}

fn upward(from: &Node, layer: Layer, manifest: &str, to: &Node, above: Layer) -> Finding {
    Finding {
        path: manifest.to_string(),
        line: 1,
        rule: "layers",
        message: format!(
            "{} ({layer:?}) uses {} ({above:?}) above it",
            from.name, to.name
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines are `crate[@directory][!]: uses, ... | tests use, ...`; `!` marks a macro crate.
    fn graph(text: &str) -> Graph {
        let lines: Vec<&str> = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .collect();
        let head = |line: &str| {
            line.split(':')
                .next()
                .unwrap_or_default()
                .trim()
                .to_string()
        };
        let names: Vec<String> = lines
            .iter()
            .map(|line| {
                head(line)
                    .trim_end_matches('!')
                    .split('@')
                    .next()
                    .unwrap()
                    .to_string()
            })
            .collect();
        let list = |text: &str| -> Vec<usize> {
            text.split(',')
                .map(str::trim)
                .filter(|name| !name.is_empty())
                .map(|name| names.iter().position(|known| known == name).unwrap())
                .collect()
        };
        let nodes = lines.iter().zip(&names).map(|(line, name)| {
            let head = head(line);
            let tail = line.split_once(':').map_or("", |(_, tail)| tail);
            let (uses, tests_use) = tail.split_once('|').unwrap_or((tail, ""));
            let directory = head
                .trim_end_matches('!')
                .split_once('@')
                .map(|(_, dir)| dir);
            Node {
                name: name.clone(),
                member: directory.map(|dir| (Layer::of(dir), format!("{dir}/Cargo.toml"))),
                is_macro: head.ends_with('!'),
                uses: list(uses),
                tests_use: list(tests_use),
            }
        });
        Graph {
            nodes: nodes.collect(),
        }
    }

    fn check(text: &str) -> Vec<String> {
        graph(text)
            .check()
            .into_iter()
            .map(|finding| finding.message)
            .collect()
    }

    #[test]
    fn downward_edges_pass() {
        let found = check(
            "corten@bin/corten: server, engine
             server@servers/api: engine, rule
             engine@engines/store: model | rule
             rule@rules/kinds: model, rule2
             rule2@rules/patch: model
             model@model/api: core
             core@model/core: memchr
             memchr:",
        );
        assert_eq!(found, Vec::<String>::new());
    }

    #[test]
    fn upward_and_sibling_edges_fail() {
        let found = check(
            "rule@rules/kinds: store
             store@engines/store: client
             client@engines/client:
             a@servers/a: b
             b@servers/b: | corten
             corten@bin/corten:",
        );
        assert_eq!(
            found,
            [
                "rule (Rules) uses store (Engines) above it",
                "store uses its sibling client: Engines crates do not import each other",
                "a uses its sibling b: Servers crates do not import each other",
                "b (Servers) uses corten (Top) above it",
            ]
        );
    }

    #[test]
    fn the_driver_may_use_the_client_and_not_the_other_way() {
        let text = "corten-driver@engines/driver: corten-client\ncorten-client@engines/client:";
        assert!(check(text).is_empty());
        let text = "corten-driver@engines/driver:\ncorten-client@engines/client: corten-driver";
        assert_eq!(check(text).len(), 1);
    }

    #[test]
    fn io_in_a_pure_closure_fails_with_its_path() {
        let found = check(
            "rule@rules/kinds: middle, derive | tokio
             middle: tokio
             tokio: mio
             mio:
             derive!: rand
             rand:",
        );
        assert_eq!(found, ["a pure crate reaches tokio: rule > middle > tokio"]);
    }

    #[test]
    fn a_fixture_workspace_is_read_from_cargo() {
        let tree = tempfile::tempdir().unwrap();
        let root = tree.path().canonicalize().unwrap();
        let crates = [
            ("rules/kinds", "kinds", "store"),
            ("engines/store", "store", ""),
        ];
        std::fs::write(
            root.join("Cargo.toml"),
            "[workspace]\nresolver = \"3\"\nmembers = [\"rules/*\", \"engines/*\"]\n",
        )
        .unwrap();
        for (directory, name, uses) in crates {
            std::fs::create_dir_all(root.join(directory).join("src")).unwrap();
            let uses = if uses.is_empty() {
                String::new()
            } else {
                format!("{uses} = {{ path = \"../../engines/{uses}\" }}\n")
            };
            let manifest = format!(
                "[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[dependencies]\n{uses}"
            );
            std::fs::write(root.join(directory).join("Cargo.toml"), manifest).unwrap();
            std::fs::write(root.join(directory).join("src/lib.rs"), "//! Empty.\n").unwrap();
        }
        let found = Graph::read(&root).unwrap().check();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].path, "rules/kinds/Cargo.toml");
        assert_eq!(
            found[0].message,
            "kinds (Rules) uses store (Engines) above it"
        );
    }
}
