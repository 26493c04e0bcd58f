//! The command line: up, down, status, reset, apiserver alone, and what it says when it cannot.
//! Each test has a directory and a network namespace of its own.

use std::net::TcpListener;
use std::process::{Command, ExitCode, Output};

use anyhow::{Context, Result, bail};
use corten_tests::{
    Cluster, Options, corten, eventually, expect_equal, expect_parts, manifests, run_each,
};

fn main() -> ExitCode {
    run_each(vec![
        (
            "down_leaves_workloads_and_reset_leaves_nothing",
            down_then_reset,
        ),
        ("reset_while_running", reset_while_running),
        ("a_second_up_says_so", a_second_up_says_so),
        ("a_port_in_use_says_so", a_port_in_use_says_so),
        ("no_root_says_so", no_root_says_so),
        ("a_bad_data_directory_says_so", a_bad_data_directory_says_so),
        ("a_corrupt_store_says_so", a_corrupt_store_says_so),
        ("unknown_flags_say_so", unknown_flags_say_so),
        ("the_api_server_alone", the_api_server_alone),
        ("images_import_list_remove", images_import_list_remove),
    ])
}

fn down_then_reset() -> Result<()> {
    let cluster = Cluster::start(Options {
        name: "down",
        images: &["busybox"],
    })?;
    let outcome = down(&cluster);
    finish(cluster, outcome)
}

fn down(cluster: &Cluster) -> Result<()> {
    let kubectl = cluster.namespace("stays")?;
    kubectl.apply(&manifests::deployment("web", 2).to_string())?;
    kubectl.run("rollout status deployment web --timeout=120s")?;
    let data = cluster.data().to_string_lossy().into_owned();
    let status = cluster.corten(&["status", "--data-dir", &data])?;
    expect_parts(&status, &[&cluster.node()?, "Ready"])?;
    cluster.corten(&["down", "--data-dir", &data])?;
    eventually("the control plane ends", || {
        cluster.ended()?.context("it is still there").map(|_| ())
    })?;
    let after = cluster.corten_output(&["status", "--data-dir", &data])?;
    expect_equal(after.status.success(), false)?;
    let left = cluster.leftovers()?;
    let workloads = left
        .iter()
        .any(|line| line.starts_with("process ") || line.starts_with("mount "));
    expect_equal(workloads, true).context("workloads run on after `corten down`")?;
    // `finish` resets and fails if anything stays.
    Ok(())
}

fn reset_while_running() -> Result<()> {
    let cluster = Cluster::start(Options {
        name: "reset",
        images: &["agnhost"],
    })?;
    let outcome = (|| {
        let kubectl = cluster.namespace("gone")?;
        kubectl.apply(&manifests::server_deployment("web", 2).to_string())?;
        kubectl.apply(&manifests::service("web", "NodePort").to_string())?;
        kubectl.run("rollout status deployment web --timeout=120s")?;
        let data = cluster.data().to_string_lossy().into_owned();
        let unsure = cluster.corten_output(&["reset", "--data-dir", &data])?;
        expect_equal(unsure.status.success(), false).context("reset without --yes")?;
        cluster.corten(&["reset", "--yes", "--data-dir", &data])?;
        eventually("the control plane ends", || {
            cluster.ended()?.context("it is still there").map(|_| ())
        })?;
        let left = cluster.leftovers()?;
        if !left.is_empty() {
            bail!(
                "after `corten reset` the host still has:\n{}",
                left.join("\n")
            );
        }
        expect_equal(cluster.data().exists(), false)?;
        // Again, with nothing to do.
        cluster
            .corten(&["reset", "--yes", "--data-dir", &data])
            .map(|_| ())
    })();
    finish(cluster, outcome)
}

fn a_second_up_says_so() -> Result<()> {
    let cluster = Cluster::start(Options {
        name: "second",
        images: &[],
    })?;
    let outcome = (|| {
        let data = cluster.data().to_string_lossy().into_owned();
        let second = cluster.corten_output(&["up", "--data-dir", &data, "--api-port", "7443"])?;
        refused(&second, &[&data])?;
        cluster.kubectl().run("get nodes").map(|_| ())
    })();
    finish(cluster, outcome)
}

fn a_port_in_use_says_so() -> Result<()> {
    let cluster = Cluster::prepare(Options {
        name: "port",
        images: &[],
    })?;
    let outcome = (|| {
        let _taken = cluster
            .network()?
            .enter(|| TcpListener::bind("0.0.0.0:6443"))??;
        let data = cluster.data().to_string_lossy().into_owned();
        let output = cluster.corten_output(&["up", "--data-dir", &data, "--api-port", "6443"])?;
        refused(&output, &["6443"])
    })();
    finish(cluster, outcome)
}

fn no_root_says_so() -> Result<()> {
    let directory = std::env::temp_dir().join(format!("corten-no-root-{}", std::process::id()));
    std::fs::create_dir_all(&directory)?;
    // The build's own directory may be closed to others.
    let program = directory.join("corten");
    std::fs::copy(corten()?, &program)?;
    let output = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(&program)
        .args(["up", "--data-dir"])
        .arg(directory.join("data"))
        .output()
        .context("running setpriv");
    std::fs::remove_dir_all(&directory)?;
    refused(&output?, &["root"])
}

fn a_bad_data_directory_says_so() -> Result<()> {
    let cluster = Cluster::prepare(Options {
        name: "baddir",
        images: &[],
    })?;
    let outcome = (|| {
        let file = cluster.directory().join("a-file");
        std::fs::write(&file, "not a directory")?;
        let file = file.to_string_lossy().into_owned();
        refused(
            &cluster.corten_output(&["up", "--data-dir", &file])?,
            &[&file],
        )?;
        let sealed = "/proc/corten";
        refused(
            &cluster.corten_output(&["up", "--data-dir", sealed])?,
            &[sealed],
        )
    })();
    finish(cluster, outcome)
}

/// Every file of the store is cut to half: nothing is served from what is left.
fn a_corrupt_store_says_so() -> Result<()> {
    let cluster = Cluster::prepare(Options {
        name: "corrupt",
        images: &[],
    })?;
    let outcome = (|| {
        cluster.launch_api_server()?;
        cluster.kubectl().run("create namespace kept")?;
        cluster.signal(rustix::process::Signal::TERM)?;
        let store = cluster.data().join("store");
        let damaged = damage(&store)?;
        expect_equal(damaged > 0, true).context("the store has files")?;
        let data = cluster.data().to_string_lossy().into_owned();
        let output =
            cluster.corten_output(&["apiserver", "--data-dir", &data, "--api-port", "6443"])?;
        refused(&output, &["store"])
    })();
    finish(cluster, outcome)
}

fn damage(directory: &std::path::Path) -> Result<usize> {
    let mut damaged = 0;
    let entries = std::fs::read_dir(directory)
        .with_context(|| format!("the store at {}", directory.display()))?;
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            damaged += damage(&entry.path())?;
            continue;
        }
        let length = entry.metadata()?.len();
        if length > 0 {
            let mut bytes = std::fs::read(entry.path())?;
            bytes.iter_mut().for_each(|byte| *byte = !*byte);
            std::fs::write(entry.path(), bytes)?;
            damaged += 1;
        }
    }
    Ok(damaged)
}

fn unknown_flags_say_so() -> Result<()> {
    let output = Command::new(corten()?)
        .args(["up", "--no-such-flag"])
        .output()?;
    refused_with(&output, &["--no-such-flag"])?;
    let output = Command::new(corten()?).arg("--version").output()?;
    expect_parts(&String::from_utf8_lossy(&output.stdout), &["corten "])
}

fn the_api_server_alone() -> Result<()> {
    let cluster = Cluster::prepare(Options {
        name: "alone",
        images: &[],
    })?;
    let outcome = (|| {
        cluster.launch_api_server()?;
        let kubectl = cluster.kubectl();
        kubectl.run("create configmap app --from-literal=a=b")?;
        expect_equal(kubectl.run("get nodes -o name")?, "")?;
        cluster.signal(rustix::process::Signal::TERM)?;
        cluster.launch_api_server()?;
        expect_equal(kubectl.run("get configmap app -o jsonpath={.data.a}")?, "b")
    })();
    finish(cluster, outcome)
}

fn images_import_list_remove() -> Result<()> {
    let cluster = Cluster::start(Options {
        name: "images",
        images: &["busybox"],
    })?;
    let outcome = (|| {
        let data = cluster.data().to_string_lossy().into_owned();
        let list = cluster.corten(&["image", "list", "--data-dir", &data])?;
        expect_parts(&list, &["corten.test/busybox:1"])?;
        cluster.corten(&["image", "rm", "corten.test/busybox:1", "--data-dir", &data])?;
        let list = cluster.corten(&["image", "list", "--data-dir", &data])?;
        expect_equal(list.contains("corten.test/busybox:1"), false)?;
        let missing = cluster
            .directory()
            .join("nope.tar")
            .to_string_lossy()
            .into_owned();
        let output = cluster.corten_output(&["image", "import", &missing, "--data-dir", &data])?;
        refused(&output, &[&missing])
    })();
    finish(cluster, outcome)
}

/// Not a success, and one sentence with these parts: no panic, no backtrace.
fn refused(output: &Output, parts: &[&str]) -> Result<()> {
    refused_with(output, parts)?;
    let said = String::from_utf8_lossy(&output.stderr);
    let lines = said.lines().filter(|line| !line.trim().is_empty()).count();
    if lines > 3 {
        bail!("it should say one clear sentence:\n{said}");
    }
    Ok(())
}

fn refused_with(output: &Output, parts: &[&str]) -> Result<()> {
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        bail!("it should have failed; it said\n{said}");
    }
    if said.contains("panicked") || said.contains("stack backtrace") {
        bail!("it panicked:\n{said}");
    }
    expect_parts(&said, parts)
}

fn finish(cluster: Cluster, outcome: Result<()>) -> Result<()> {
    let tail = cluster.log_tail();
    let finished = cluster.finish();
    outcome.context(tail)?;
    finished
}
