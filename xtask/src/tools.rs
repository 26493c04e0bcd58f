//! Upstream's own commands, built from `tests/upstream/go.mod` into `.cache/bin`: the kubectl that
//! people and tests use, the programs inside test images, and the oracle; and other clients that tests use.
//! A stamp beside each program says what it was built from; it is built again when that changes.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::progress::Step;
use crate::workspace::{Workspace, on_path, run_quiet};

/// A program that upstream's modules can give.
#[derive(Debug, Clone, Copy)]
pub struct Tool {
    /// The file's name in `.cache/bin`.
    pub name: &'static str,
    package: &'static str,
    source: Source,
}

/// Where a program comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// A command of the modules in `tests/upstream`.
    Upstream,
    /// A test program of those modules.
    UpstreamTest,
    /// A command of another project at this version.
    Released(&'static str),
    /// A Go program of this checkout, in this directory.
    Own(&'static str),
    /// A Rust program of this checkout that is no member of the workspace, in this directory.
    OwnCrate(&'static str),
}

const fn command(name: &'static str, package: &'static str) -> Tool {
    Tool {
        name,
        package,
        source: Source::Upstream,
    }
}

/// Every program that can be asked for.
pub const TOOLS: &[Tool] = &[
    command("kubectl", "k8s.io/kubernetes/cmd/kubectl"),
    command("agnhost", "k8s.io/kubernetes/test/images/agnhost"),
    command("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"),
    command(
        "kube-controller-manager",
        "k8s.io/kubernetes/cmd/kube-controller-manager",
    ),
    command("kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler"),
    command("kubelet", "k8s.io/kubernetes/cmd/kubelet"),
    command("kube-proxy", "k8s.io/kubernetes/cmd/kube-proxy"),
    command("etcd", "go.etcd.io/etcd/server/v3"),
    command("sample-apiserver", "k8s.io/sample-apiserver"),
    Tool {
        name: "e2e.test",
        package: "k8s.io/kubernetes/test/e2e",
        source: Source::UpstreamTest,
    },
    Tool {
        name: "helm3",
        package: "helm.sh/helm/v3/cmd/helm",
        source: Source::Released("v3.22.0"),
    },
    Tool {
        name: "helm4",
        package: "helm.sh/helm/v4/cmd/helm",
        source: Source::Released("v4.3.1"),
    },
    Tool {
        name: "etcdctl",
        package: "go.etcd.io/etcd/etcdctl/v3",
        source: Source::Own("tests/etcd/ctl"),
    },
    Tool {
        name: "clients",
        package: ".",
        source: Source::Own("tests/clients/programs"),
    },
    Tool {
        name: "kube-rs",
        package: "kube-rs-client",
        source: Source::OwnCrate("tests/clients/kube-rs"),
    },
];

/// What tests need on every run.
pub const FOR_TESTS: &[&str] = &[
    "kubectl",
    "agnhost",
    "kube-apiserver",
    "etcd",
    "etcdctl",
    "helm3",
    "helm4",
    "clients",
    "kube-rs",
    "sample-apiserver",
];

/// The version of Kubernetes that `tests/upstream/go.mod` names, such as `v1.36.3`.
pub fn version(workspace: &Workspace) -> Result<String> {
    let file = workspace.path("tests/upstream/go.mod");
    let go_mod =
        fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
    kubernetes_version(&go_mod).map(str::to_string)
}

/// Go's module cache with upstream's modules in it.
pub fn module_cache(workspace: &Workspace) -> Result<PathBuf> {
    let mut download = Command::new("go");
    download
        .current_dir(workspace.path("tests/upstream"))
        .args(["mod", "download"]);
    run_quiet(&mut download).context("downloading upstream's modules")?;
    let cache = run_quiet(Command::new("go").args(["env", "GOMODCACHE"]))?;
    Ok(PathBuf::from(cache.trim()))
}

/// Builds the named programs that are missing or out of date.
pub fn ensure(workspace: &Workspace, names: &[&str], step: &Step) -> Result<()> {
    for name in names {
        let Some(tool) = TOOLS.iter().find(|tool| tool.name == *name) else {
            let known: Vec<&str> = TOOLS.iter().map(|tool| tool.name).collect();
            bail!("no tool is called {name}; known: {}", known.join(", "));
        };
        ensure_one(workspace, tool, step)?;
    }
    Ok(())
}

/// A kubectl that is near enough to v1.36, built only if there is none on PATH.
pub fn kubectl(workspace: &Workspace, step: &Step) -> Result<PathBuf> {
    let built = workspace.bin_dir().join("kubectl");
    if !built.exists()
        && let Some(found) = on_path("kubectl")
        && client_minor(&found).is_some_and(|minor| (35..=37).contains(&minor))
    {
        return Ok(found);
    }
    ensure(workspace, &["kubectl"], step)?;
    Ok(built)
}

fn ensure_one(workspace: &Workspace, tool: &Tool, step: &Step) -> Result<()> {
    let go = on_path("go").context(
        "Go is needed to build the programs that tests use (tests/upstream/go.mod): install Go 1.26 and put `go` on PATH",
    )?;
    let bin_dir = workspace.bin_dir();
    fs::create_dir_all(&bin_dir).with_context(|| format!("creating {}", bin_dir.display()))?;
    let recipe = Recipe::of(workspace, tool)?;
    let program = bin_dir.join(tool.name);
    let stamp_file = bin_dir.join(format!(".{}.stamp", tool.name));
    if program.exists() && fs::read_to_string(&stamp_file).is_ok_and(|old| old == recipe.stamp) {
        return Ok(());
    }
    step.say(&format!(
        "{} {} from source, some minutes the first time",
        tool.name, recipe.version
    ));
    if matches!(tool.source, Source::OwnCrate(_)) {
        build_crate(workspace, tool, &recipe.directory, &program)?;
        return stamped(&stamp_file, &recipe);
    }
    let mut build = Command::new(go);
    build.current_dir(&recipe.directory).env("CGO_ENABLED", "0");
    let installed = bin_dir.join(format!(".{}.d", tool.name));
    match tool.source {
        Source::Released(version) => {
            build.env("GOBIN", &installed);
            build.args(["install", "-trimpath", "-ldflags", &recipe.flags]);
            build.arg(format!("{}@{version}", tool.package));
        }
        Source::UpstreamTest | Source::Upstream | Source::Own(_) | Source::OwnCrate(_) => {
            build.args(match tool.source {
                Source::UpstreamTest => &["test", "-c"][..],
                _ => &["build"],
            });
            build.args(["-trimpath", "-ldflags", &recipe.flags, "-o"]);
            build.arg(&program).arg(tool.package);
        }
    }
    run_quiet(&mut build).with_context(|| format!("building {}", tool.name))?;
    if matches!(tool.source, Source::Released(_)) {
        // `go install` names a program after its package; two versions would have one name.
        let built = installed.join(tool.package.rsplit('/').next().unwrap_or_default());
        fs::rename(&built, &program).with_context(|| format!("naming {}", tool.name))?;
        let _ = fs::remove_dir_all(&installed);
    }
    stamped(&stamp_file, &recipe)
}

fn stamped(file: &Path, recipe: &Recipe) -> Result<()> {
    fs::write(file, &recipe.stamp).with_context(|| format!("writing {}", file.display()))
}

/// Builds a crate outside the workspace; what it is built with stays in `.cache`, away from the workspace's own.
fn build_crate(workspace: &Workspace, tool: &Tool, directory: &Path, program: &Path) -> Result<()> {
    let target = workspace.path(".cache/target");
    let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    build.args(["build", "--quiet", "--locked", "--manifest-path"]);
    build.arg(directory.join("Cargo.toml"));
    build.arg("--target-dir").arg(&target);
    run_quiet(&mut build).with_context(|| format!("building {}", tool.name))?;
    let built = target.join("debug").join(tool.package);
    fs::copy(&built, program).with_context(|| format!("copying {}", built.display()))?;
    Ok(())
}

/// How one program is built, and a stamp that changes when that does.
struct Recipe {
    directory: PathBuf,
    version: String,
    flags: String,
    stamp: String,
}

impl Recipe {
    fn of(workspace: &Workspace, tool: &Tool) -> Result<Recipe> {
        let (directory, version, flags) = match tool.source {
            Source::Upstream | Source::UpstreamTest => {
                let version = version(workspace)?;
                let flags = format!("-s -w -X k8s.io/component-base/version.gitVersion={version}");
                (workspace.path("tests/upstream"), version, flags)
            }
            Source::Released(version) => {
                let directory = workspace.root().to_path_buf();
                (directory, version.to_owned(), "-s -w".to_owned())
            }
            Source::Own(directory) | Source::OwnCrate(directory) => {
                let directory = workspace.path(directory);
                (directory, "of this checkout".to_owned(), "-s -w".to_owned())
            }
        };
        let mut parts = vec![flags.clone(), tool.package.to_owned(), version.clone()];
        if !matches!(tool.source, Source::Released(_)) {
            let described = match tool.source {
                Source::OwnCrate(_) => ["Cargo.toml", "Cargo.lock"],
                _ => ["go.mod", "go.sum"],
            };
            for name in described {
                let file = directory.join(name);
                let text = fs::read_to_string(&file);
                parts.push(text.with_context(|| format!("reading {}", file.display()))?);
            }
        }
        match tool.source {
            Source::Own(_) => parts.extend(sources(&directory, "go")?),
            Source::OwnCrate(_) => parts.extend(sources(&directory.join("src"), "rs")?),
            _ => {}
        }
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        Ok(Recipe {
            directory,
            version,
            stamp: stamp(&parts),
            flags,
        })
    }
}

/// The texts of a directory's files with an extension, in the order of their names.
fn sources(directory: &Path, extension: &str) -> Result<Vec<String>> {
    let mut files: Vec<PathBuf> = fs::read_dir(directory)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<std::io::Result<_>>()?;
    files.retain(|file| file.extension().is_some_and(|it| it == extension));
    files.sort();
    let texts = files.iter().map(fs::read_to_string);
    Ok(texts.collect::<std::io::Result<_>>()?)
}

fn kubernetes_version(go_mod: &str) -> Result<&str> {
    go_mod
        .lines()
        .find_map(|line| line.trim().strip_prefix("require k8s.io/kubernetes "))
        .map(str::trim)
        .context("go.mod has no line `require k8s.io/kubernetes vX.Y.Z`")
}

fn stamp(parts: &[&str]) -> String {
    let mut hasher = DefaultHasher::new();
    parts.hash(&mut hasher);
    format!("{:016x}\n", hasher.finish())
}

fn client_minor(kubectl: &Path) -> Option<u32> {
    let text = run_quiet(Command::new(kubectl).args(["version", "--client", "-o", "json"])).ok()?;
    let version: serde_json::Value = serde_json::from_str(&text).ok()?;
    let minor = version["clientVersion"]["minor"].as_str()?;
    minor
        .trim_end_matches(|c: char| !c.is_ascii_digit())
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_comes_from_the_require_line() {
        let go_mod = "module x\n\nrequire k8s.io/kubernetes v1.36.3\n";
        assert_eq!(kubernetes_version(go_mod).unwrap(), "v1.36.3");
        assert!(kubernetes_version("module x\n").is_err());
    }

    #[test]
    fn stamp_changes_with_every_part() {
        assert_eq!(stamp(&["a", "b"]), stamp(&["a", "b"]));
        assert_ne!(stamp(&["a", "b"]), stamp(&["a", "c"]));
    }
}
