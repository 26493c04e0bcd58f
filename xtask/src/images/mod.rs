//! Test and demo images, built on this machine into `.cache/images`: nothing is pulled.
//! The recipes are here; `archive` knows how an image is written down.

mod archive;
pub mod suite;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use serde_json::json;

use crate::progress::Step;
use crate::workspace::{Workspace, on_path, run_quiet};
use archive::{Entry, Image};

/// Images of the demo.
pub const FOR_DEMO: &[&str] = &["guestbook-web", "guestbook-web-2", "guestbook-counter"];
/// Every image.
pub const ALL: &[&str] = &[
    "busybox",
    "agnhost",
    "guestbook-web",
    "guestbook-web-2",
    "guestbook-counter",
];

/// Builds the named archives that are missing or older than what they are made of.
pub fn ensure(workspace: &Workspace, names: &[&str], step: &Step) -> Result<Vec<PathBuf>> {
    let directory = workspace.images_dir();
    fs::create_dir_all(&directory).with_context(|| format!("creating {}", directory.display()))?;
    let mut archives = Vec::new();
    for name in names {
        step.say(name);
        let image = recipe(workspace, name)?;
        let archive = directory.join(format!("{name}.tar"));
        if !is_current(&archive, &image)? {
            image
                .write(&archive)
                .with_context(|| format!("building the image {name}"))?;
        }
        archives.push(archive);
    }
    Ok(archives)
}

fn recipe(workspace: &Workspace, name: &str) -> Result<Image> {
    match name {
        "busybox" => busybox(),
        "agnhost" => agnhost(workspace),
        "guestbook-web" => guestbook(workspace, "web", "1"),
        "guestbook-web-2" => guestbook(workspace, "web", "2"),
        "guestbook-counter" => guestbook(workspace, "counter", "1"),
        _ if suite::IMAGES.contains(&name) => suite::recipe(workspace, name),
        _ => bail!("no image is called {name}; known: {}", ALL.join(", ")),
    }
}

/// Busybox with bash as its shell: Debian's busybox shell ignores PATH for its own applets and
/// drops environment variables such as `data-1`, which images in the wild do not.
fn busybox() -> Result<Image> {
    let mut image = Image {
        names: vec!["corten.test/busybox:1".into()],
        ..Image::default()
    };
    let entries = &mut image.entries;
    let applets = run_quiet(Command::new("/bin/busybox").arg("--list"))?;
    for applet in applets
        .lines()
        .filter(|applet| !matches!(*applet, "sh" | "ash" | "busybox"))
    {
        entries.insert(format!("bin/{applet}"), Entry::Link("busybox".into()));
    }
    entries.insert(
        "bin/busybox".into(),
        Entry::File("/bin/busybox".into(), 0o755),
    );
    entries.insert(
        "bin/bash".into(),
        Entry::File("/bin/bash-static".into(), 0o755),
    );
    entries.insert("bin/sh".into(), Entry::Link("bash".into()));
    entries.insert(
        "usr/bin/env".into(),
        Entry::Link("../../bin/busybox".into()),
    );
    entries.insert("tmp".into(), Entry::Directory(0o1777));
    entries.insert("var/tmp".into(), Entry::Directory(0o1777));
    entries.insert("root".into(), Entry::Directory(0o700));
    entries.insert("home".into(), Entry::Directory(0o755));
    let users = "root:x:0:0:root:/root:/bin/sh\n\
                 daemon:x:1:1:daemon:/:/bin/false\n\
                 nobody:x:65534:65534:nobody:/:/bin/false\n\
                 user-defined-in-image:x:1000:1000::/home:/bin/sh\n";
    let groups = "root:x:0:\ndaemon:x:1:\nnogroup:x:65534:\nuser-defined-in-image:x:1000:\n\
                  group-defined-in-image:x:50000:user-defined-in-image\n";
    entries.insert("etc/passwd".into(), Entry::Text(users.into(), 0o644));
    entries.insert("etc/group".into(), Entry::Text(groups.into(), 0o644));
    image.config = json!({ "Env": [path_variable()], "Cmd": ["sh"] });
    Ok(image)
}

/// Upstream's test program on top of the busybox image, at upstream's paths.
fn agnhost(workspace: &Workspace) -> Result<Image> {
    let mut image = busybox()?;
    image.names = vec!["corten.test/agnhost:1".into()];
    let entries = &mut image.entries;
    let program = workspace.bin_dir().join("agnhost");
    entries.insert("agnhost".into(), Entry::File(program, 0o755));
    entries.insert("agnhost-2".into(), Entry::Link("agnhost".into()));
    entries.insert("uploads".into(), Entry::Directory(0o755));
    let porter = kubernetes_source(workspace)?.join("test/images/agnhost/porter");
    for file in ["localhost.crt", "localhost.key"] {
        entries.insert(file.into(), Entry::File(porter.join(file), 0o644));
    }
    image.config = json!({
        "Env": [path_variable()],
        "Entrypoint": ["/agnhost"],
        "Cmd": ["pause"],
        "ExposedPorts": { "80/tcp": {}, "8080/tcp": {}, "8081/tcp": {}, "9376/tcp": {}, "5000/tcp": {} },
    });
    Ok(image)
}

/// A tier of the demo: one static program that runs as nobody. `version` only changes the page.
fn guestbook(workspace: &Workspace, tier: &str, version: &str) -> Result<Image> {
    let go = on_path("go").context("Go is needed to build examples/guestbook: put `go` on PATH")?;
    let output = workspace.path(".cache/guestbook");
    fs::create_dir_all(&output).with_context(|| format!("creating {}", output.display()))?;
    let program = output.join(tier);
    let mut build = Command::new(go);
    build
        .current_dir(workspace.path("examples/guestbook"))
        .env("CGO_ENABLED", "0");
    build
        .args(["build", "-trimpath", "-ldflags", "-s -w", "-o"])
        .arg(&program);
    run_quiet(build.arg(format!("./{tier}")))?;
    let mut image = Image {
        names: vec![format!("corten.test/guestbook-{tier}:{version}")],
        ..Image::default()
    };
    image
        .entries
        .insert(tier.to_string(), Entry::File(program, 0o755));
    image.config = json!({
        "Env": [path_variable(), format!("GUESTBOOK_VERSION={version}")],
        "Entrypoint": [format!("/{tier}")],
        "User": "65532:65532",
        "ExposedPorts": { "8080/tcp": {} },
    });
    Ok(image)
}

fn path_variable() -> String {
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_string()
}

fn kubernetes_source(workspace: &Workspace) -> Result<PathBuf> {
    let mut list = Command::new("go");
    list.current_dir(workspace.path("tests/upstream"));
    let text = run_quiet(list.args(["list", "-m", "-f", "{{.Dir}}", "k8s.io/kubernetes"]))?;
    Ok(PathBuf::from(text.trim()))
}

/// Whether the archive is younger than its sources and than the recipes in this program.
fn is_current(archive: &Path, image: &Image) -> Result<bool> {
    let Some(made) = modified(archive) else {
        return Ok(false);
    };
    let recipes = std::env::current_exe().context("this program's own path")?;
    for source in image.sources().chain([recipes.as_path()]) {
        if modified(source).is_none_or(|changed| changed > made) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path)
        .and_then(|metadata| metadata.modified())
        .ok()
}
