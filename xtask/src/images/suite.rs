//! The images that upstream's end-to-end suite lists (test/utils/image/manifest.go), under upstream's names, made
//! of what this machine has. They are the test programs that upstream's images hold, on our busybox.
//! Leaves out images of private registries and of tests that no conformance run holds.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::json;

use super::archive::{Entry, Image};
use super::{agnhost, busybox, kubernetes_source, path_variable};
use crate::workspace::{Workspace, run_quiet};

/// The suite's images, by the names of their archives.
pub const IMAGES: &[&str] = &[
    "suite-agnhost",
    "suite-glibc-dns",
    "suite-busybox",
    "suite-nginx",
    "suite-pause",
    "suite-kitten",
    "suite-nautilus",
    "suite-nonroot",
    "suite-nonewprivs",
    "suite-etcd",
    "suite-sample-apiserver",
];

/// Programs that go into them, by their names in `.cache/bin`.
pub const PROGRAMS: &[&str] = &["agnhost", "etcd", "sample-apiserver"];

/// How to make the image called `name`.
pub fn recipe(workspace: &Workspace, name: &str) -> Result<Image> {
    match name {
        "suite-agnhost" => named(
            with_network_programs(agnhost(workspace)?)?,
            &["agnhost:2.63.0", "agnhost:2.55"],
        ),
        // Debian's libraries resolve names here as there.
        "suite-glibc-dns" => {
            let image = with_network_programs(busybox()?)?;
            named(image, &["glibc-dns-testing:2.0.0"])
        }
        "suite-busybox" => named(busybox()?, &["busybox:1.37.0-1"]),
        "suite-nginx" => nginx(),
        "suite-pause" => pause(workspace),
        "suite-kitten" => picture(workspace, "kitten", "1.8"),
        "suite-nautilus" => picture(workspace, "nautilus", "1.8"),
        "suite-nonroot" => {
            let mut image = named(busybox()?, &["nonroot:1.5"])?;
            image.config["User"] = json!("1234");
            Ok(image)
        }
        "suite-nonewprivs" => nonewprivs(workspace),
        "suite-etcd" => program(
            workspace,
            "etcd",
            "registry.k8s.io/etcd:3.6.8-0",
            "usr/local/bin/etcd",
        ),
        "suite-sample-apiserver" => program(
            workspace,
            "sample-apiserver",
            "registry.k8s.io/e2e-test-images/sample-apiserver:1.29.2",
            "sample-apiserver",
        ),
        _ => bail!(
            "no image of upstream's suite is called {name}; known: {}",
            IMAGES.join(", ")
        ),
    }
}

/// Adds the programs that upstream's image has beside agnhost: tests run them inside pods.
fn with_network_programs(mut image: Image) -> Result<Image> {
    for (path, from) in [
        ("usr/bin/curl", "/usr/bin/curl"),
        ("usr/bin/dig", "/usr/bin/dig"),
        ("usr/bin/getent", "/usr/bin/getent"),
        ("usr/bin/nc", "/bin/nc.openbsd"),
        ("sbin/ip", "/sbin/ip"),
    ] {
        image.entries.insert(
            path.into(),
            Entry::File(Path::new(from).canonicalize()?, 0o755),
        );
        for library in libraries(Path::new(from))? {
            let inside = library.trim_start_matches('/').to_owned();
            let file = Path::new(&library).canonicalize()?;
            image.entries.insert(inside, Entry::File(file, 0o755));
        }
    }
    for shadowed in ["bin/nc", "bin/ip"] {
        image.entries.remove(shadowed);
    }
    image.entries.insert(
        "etc/nsswitch.conf".into(),
        Entry::Text(
            "passwd: files\ngroup: files\nhosts: files dns\n".into(),
            0o644,
        ),
    );
    Ok(image)
}

/// The shared libraries that a program of this machine loads, its loader among them.
fn libraries(program: &Path) -> Result<Vec<String>> {
    let text = run_quiet(Command::new("ldd").arg(program))?;
    let paths = text
        .split_whitespace()
        .filter(|word| word.starts_with('/') && !word.ends_with(':'));
    Ok(paths.map(str::to_owned).collect())
}

fn named(mut image: Image, names: &[&str]) -> Result<Image> {
    image.names = names
        .iter()
        .map(|name| format!("registry.k8s.io/e2e-test-images/{name}"))
        .collect();
    Ok(image)
}

/// A web server with a start page where nginx has it. Tests move the page and ask for it, no more.
fn nginx() -> Result<Image> {
    let mut image = named(busybox()?, &["nginx:1.15-4", "nginx:1.27-0"])?;
    image.entries.insert(
        "usr/share/nginx/html/index.html".into(),
        Entry::Text(
            "<html><body><h1>It works!</h1></body></html>\n".into(),
            0o644,
        ),
    );
    image.config = json!({
        "Env": [path_variable()],
        "Cmd": ["busybox", "httpd", "-f", "-p", "80", "-h", "/usr/share/nginx/html"],
        "ExposedPorts": { "80/tcp": {} },
    });
    Ok(image)
}

/// agnhost's `pause` ends on SIGTERM, as the pause program does; a sleeping shell as process 1 would not.
fn pause(workspace: &Workspace) -> Result<Image> {
    let mut image = agnhost(workspace)?;
    image.names = vec!["registry.k8s.io/pause:3.10.2".into()];
    image
        .entries
        .insert("pause".into(), Entry::Link("agnhost".into()));
    image.config = json!({ "Env": [path_variable()], "Entrypoint": ["/agnhost", "pause"] });
    Ok(image)
}

fn picture(workspace: &Workspace, name: &str, version: &str) -> Result<Image> {
    let mut image = named(agnhost(workspace)?, &[&format!("{name}:{version}")])?;
    let html = kubernetes_source(workspace)?
        .join("test/images")
        .join(name)
        .join("html");
    for file in [format!("{name}.jpg"), "data.json".to_owned()] {
        image
            .entries
            .insert(file.clone(), Entry::File(html.join(file), 0o644));
    }
    image.config["Cmd"] = json!(["test-webserver"]);
    Ok(image)
}

/// A program with the set-user-id bit, which says as whom it runs.
fn nonewprivs(workspace: &Workspace) -> Result<Image> {
    let output = workspace.path(".cache/suite");
    fs::create_dir_all(&output).with_context(|| format!("creating {}", output.display()))?;
    let program = output.join("nnp");
    let mut build = Command::new("go");
    build
        .current_dir(workspace.path("tests/upstream"))
        .env("CGO_ENABLED", "0")
        .args(["build", "-trimpath", "-o"])
        .arg(&program)
        .arg("k8s.io/kubernetes/test/images/nonewprivs");
    run_quiet(&mut build).context("building upstream's nonewprivs")?;
    let mut image = named(busybox()?, &["nonewprivs:1.4"])?;
    image
        .entries
        .insert("usr/local/bin/nnp".into(), Entry::File(program, 0o4755));
    image.config["Cmd"] = json!(["nnp"]);
    Ok(image)
}

fn program(workspace: &Workspace, name: &str, full_name: &str, path: &str) -> Result<Image> {
    let mut image = busybox()?;
    let program: PathBuf = workspace.bin_dir().join(name);
    image.names = vec![full_name.to_owned()];
    image
        .entries
        .insert(path.to_owned(), Entry::File(program, 0o755));
    image.config = json!({ "Env": [path_variable()], "Entrypoint": [format!("/{path}")] });
    Ok(image)
}
