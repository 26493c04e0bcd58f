//! Upstream's own commands, built from `tests/upstream/go.mod` into `.cache/bin`: the kubectl that
//! people and tests use, the programs inside test images, and the oracle.
//! A stamp beside each program says what it was built from; it is built again when that changes.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::path::PathBuf;
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
    verb: &'static [&'static str],
}

const fn command(name: &'static str, package: &'static str) -> Tool {
    Tool {
        name,
        package,
        verb: &["build"],
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
        verb: &["test", "-c"],
    },
];

/// What tests need on every run.
pub const FOR_TESTS: &[&str] = &["kubectl", "agnhost"];

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
        "Go is needed to build upstream's commands (tests/upstream/go.mod): install Go 1.26 and put `go` on PATH",
    )?;
    let module = workspace.path("tests/upstream");
    let go_mod = fs::read_to_string(module.join("go.mod")).context("reading go.mod")?;
    let go_sum = fs::read_to_string(module.join("go.sum")).context("reading go.sum")?;
    let version = kubernetes_version(&go_mod)?;
    let flags = format!("-s -w -X k8s.io/component-base/version.gitVersion={version}");
    let stamp = stamp(&[&go_mod, &go_sum, &flags, tool.package]);

    let bin_dir = workspace.bin_dir();
    fs::create_dir_all(&bin_dir).with_context(|| format!("creating {}", bin_dir.display()))?;
    let program = bin_dir.join(tool.name);
    let stamp_file = bin_dir.join(format!(".{}.stamp", tool.name));
    if program.exists() && fs::read_to_string(&stamp_file).is_ok_and(|old| old == stamp) {
        return Ok(());
    }
    step.say(&format!(
        "{} {version} from source, some minutes the first time",
        tool.name
    ));
    let mut build = Command::new(go);
    build
        .current_dir(&module)
        .env("CGO_ENABLED", "0")
        .args(tool.verb);
    build
        .args(["-trimpath", "-ldflags", &flags, "-o"])
        .arg(&program)
        .arg(tool.package);
    run_quiet(&mut build).with_context(|| format!("building {}", tool.name))?;
    fs::write(&stamp_file, stamp).with_context(|| format!("writing {}", stamp_file.display()))?;
    Ok(())
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

fn client_minor(kubectl: &std::path::Path) -> Option<u32> {
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
