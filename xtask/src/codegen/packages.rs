//! Which Go packages become modules, and their parsed declarations.

use super::{Options, go, proto};
use anyhow::{Context, Result, ensure};
use std::path::Path;

/// A Go package and the Rust module it becomes.
#[derive(Debug)]
pub struct Source {
    /// `core_v1`
    pub module: String,
    /// `v1`
    pub version: String,
    /// Import path, `k8s.io/api/core/v1`
    pub path: String,
    /// API group; None for meta, whose kinds have no group of their own.
    pub group: Option<String>,
    pub go: go::Package,
    pub proto: proto::Proto,
}

/// Packages outside of k8s.io/api: family, module path, directory below it.
const OTHERS: &[(&str, &str, &str)] = &[
    ("meta", "apimachinery", "pkg/apis/meta/v1"),
    (
        "apiextensions",
        "apiextensions-apiserver",
        "pkg/apis/apiextensions/v1",
    ),
    (
        "apiextensions",
        "apiextensions-apiserver",
        "pkg/apis/apiextensions/v1beta1",
    ),
    (
        "apiregistration",
        "kube-aggregator",
        "pkg/apis/apiregistration/v1",
    ),
    ("audit", "apiserver", "pkg/apis/audit/v1"),
    ("metrics", "metrics", "pkg/apis/metrics/v1beta1"),
];

/// Reads every package.
pub fn read(options: &Options) -> Result<Vec<Source>> {
    let mut out = Vec::new();
    let api = options.modules.join(format!("api@{}", options.version));
    for family in sorted(&api)? {
        for version in sorted(&api.join(&family)).unwrap_or_default() {
            let dir = api.join(&family).join(&version);
            if dir.join("generated.proto").exists() {
                out.push(package(
                    &dir,
                    &family,
                    &version,
                    format!("k8s.io/api/{family}/{version}"),
                )?);
            }
        }
    }
    for (family, module, below) in OTHERS {
        let dir = options
            .modules
            .join(format!("{module}@{}", options.version))
            .join(below);
        let version = below.rsplit('/').next().unwrap_or_default();
        out.push(package(
            &dir,
            family,
            version,
            format!("k8s.io/{module}/{below}"),
        )?);
    }
    ensure!(
        out.len() > 50,
        "only {} API packages found below {}",
        out.len(),
        options.modules.display()
    );
    Ok(out)
}

fn sorted(dir: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir).with_context(|| format!("read {}", dir.display()))? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

fn package(dir: &Path, family: &str, version: &str, path: String) -> Result<Source> {
    let mut parsed = go::Package::default();
    for name in sorted(dir)? {
        let skip = name.ends_with("_test.go")
            || name.starts_with("zz_")
            || name.contains("generated")
            || name.contains("_string.go");
        if name.ends_with(".go") && !skip {
            let file = dir.join(&name);
            go::parse(
                &std::fs::read_to_string(&file)
                    .with_context(|| format!("read {}", file.display()))?,
                &mut parsed,
            );
        }
    }
    let file = dir.join("generated.proto");
    let proto = proto::parse(
        &std::fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?,
    );
    let group = if family == "meta" {
        None
    } else {
        Some(
            parsed
                .group
                .clone()
                .with_context(|| format!("no GroupName in {path}"))?,
        )
    };
    Ok(Source {
        module: format!("{family}_{version}"),
        version: version.into(),
        path,
        group,
        go: parsed,
        proto,
    })
}
