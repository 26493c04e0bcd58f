//! `cargo xtask up`: builds Corten, starts a cluster on this machine and, with `--demo`, deploys the
//! guestbook into it; then stays until Ctrl-C. What the cluster does is the binary's part.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::progress::{Step, Steps};
use crate::workspace::{Workspace, run_loud, run_quiet};
use crate::{images, tools};

/// How long each wait may take before it is an error.
const WAIT_MAX: Duration = Duration::from_secs(120);
/// How long to pause between two looks at something that gives no event.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Flags of `cargo xtask up`.
#[derive(Debug, Args)]
pub struct Up {
    /// Deploy the two-tier guestbook and print its URL
    #[arg(long)]
    demo: bool,
    /// Build with the dev profile (quicker to build, slower to run)
    #[arg(long)]
    dev: bool,
    /// Where the cluster keeps its data (the binary's default otherwise)
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// Port of the API server (the binary's default otherwise)
    #[arg(long)]
    api_port: Option<u16>,
}

struct Cluster {
    corten: PathBuf,
    kubectl: PathBuf,
    kubeconfig: PathBuf,
    log: PathBuf,
    process: Child,
}

/// Runs the chore; returns when the control plane has stopped.
pub fn run(workspace: &Workspace, up: &Up) -> Result<()> {
    if std::fs::metadata("/proc/self")?.uid() != 0 {
        bail!("a cluster needs root for namespaces, mounts and nftables: run this as root (sudo)");
    }
    let mut steps = Steps::new(if up.demo { 7 } else { 3 });
    let corten = steps.run_loud("Building corten", || build(workspace, up.dev))?;
    let kubectl = steps.run("Getting kubectl v1.36", |step| {
        tools::kubectl(workspace, step)
    })?;
    let archives = if up.demo {
        steps.run("Building the demo's images", |step| {
            images::ensure(workspace, images::FOR_DEMO, step)
        })?
    } else {
        Vec::new()
    };
    let mut signals = Signals::new([SIGINT, SIGTERM]).context("listening for Ctrl-C")?;
    let mut cluster = steps.run("Starting the cluster until its node is Ready", |step| {
        let mut cluster = start(workspace, up, corten, kubectl)?;
        cluster.wait_ready(step).inspect_err(|_| cluster.stop())?;
        Ok(cluster)
    })?;
    let url = if up.demo {
        match cluster.deploy(workspace, up, &archives, &mut steps) {
            Ok(url) => Some(url),
            Err(error) => {
                cluster.stop();
                return Err(error);
            }
        }
    } else {
        None
    };
    cluster.print_summary(url.as_deref())?;

    let id = cluster.process.id();
    std::thread::spawn(move || {
        for signal in signals.forever() {
            // A terminal sends Ctrl-C to the control plane itself; SIGTERM reaches only this program.
            if signal == SIGTERM {
                terminate(id);
            }
        }
    });
    let status = cluster.process.wait().context("waiting for corten")?;
    if !status.success() {
        bail!(
            "corten ended with {status}; its log: {}",
            cluster.log.display()
        );
    }
    println!("The control plane has stopped. Workloads keep running; `corten reset` removes them.");
    Ok(())
}

fn build(workspace: &Workspace, dev: bool) -> Result<PathBuf> {
    let mut cargo = workspace.cargo();
    cargo.args(["build", "--package", "corten"]);
    if !dev {
        cargo.arg("--release");
    }
    run_loud(&mut cargo)?;
    let profile = if dev { "debug" } else { "release" };
    Ok(workspace.target_dir()?.join(profile).join("corten"))
}

fn start(workspace: &Workspace, up: &Up, corten: PathBuf, kubectl: PathBuf) -> Result<Cluster> {
    let kubeconfig = workspace.path(".cache/kubeconfig");
    let log = workspace.path(".cache/corten.log");
    std::fs::create_dir_all(workspace.path(".cache"))?;
    match std::fs::remove_file(&kubeconfig) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("removing {}", kubeconfig.display()));
        }
        _ => {}
    }
    let output = File::create(&log).with_context(|| format!("creating {}", log.display()))?;
    let mut command = Command::new(&corten);
    command.arg("up").arg("--write-kubeconfig").arg(&kubeconfig);
    if let Some(directory) = &up.data_dir {
        command.arg("--data-dir").arg(directory);
    }
    if let Some(port) = up.api_port {
        command.arg("--api-port").arg(port.to_string());
    }
    command
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output);
    let process = command
        .spawn()
        .with_context(|| format!("could not start {}", corten.display()))?;
    Ok(Cluster {
        corten,
        kubectl,
        kubeconfig,
        log,
        process,
    })
}

impl Cluster {
    fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(&self.kubectl);
        run_quiet(
            command
                .arg("--kubeconfig")
                .arg(&self.kubeconfig)
                .args(arguments),
        )
    }

    fn wait_ready(&mut self, step: &Step) -> Result<()> {
        step.say("the API");
        self.wait("the API server did not become ready", |cluster| {
            cluster.kubeconfig.exists() && cluster.kubectl(&["get", "--raw", "/readyz"]).is_ok()
        })?;
        step.say("the node");
        self.wait("no node joined the cluster", |cluster| {
            cluster
                .kubectl(&["get", "nodes", "-o", "name"])
                .is_ok_and(|names| !names.is_empty())
        })?;
        let wait = [
            "wait",
            "--for=condition=Ready",
            "node",
            "--all",
            "--timeout=120s",
        ];
        self.kubectl(&wait)
            .context("the node did not become Ready")?;
        Ok(())
    }

    /// Looks again until `is_so`; an error when time is up or the control plane has ended.
    fn wait(&mut self, otherwise: &str, is_so: impl Fn(&Cluster) -> bool) -> Result<()> {
        let started = Instant::now();
        while started.elapsed() < WAIT_MAX {
            if is_so(self) {
                return Ok(());
            }
            if let Some(status) = self.process.try_wait()? {
                bail!(
                    "{otherwise}: corten ended with {status}\n{}",
                    self.log_tail()
                );
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        bail!(
            "{otherwise} within {} s\n{}",
            WAIT_MAX.as_secs(),
            self.log_tail()
        );
    }

    fn deploy(
        &mut self,
        workspace: &Workspace,
        up: &Up,
        archives: &[PathBuf],
        steps: &mut Steps,
    ) -> Result<String> {
        steps.run("Importing the demo's images", |step| {
            for archive in archives {
                step.say(&archive.file_name().unwrap_or_default().to_string_lossy());
                let mut import = Command::new(&self.corten);
                import.args(["image", "import"]).arg(archive);
                if let Some(directory) = &up.data_dir {
                    import.arg("--data-dir").arg(directory);
                }
                run_quiet(&mut import)?;
            }
            Ok(())
        })?;
        steps.run(
            "Deploying the guestbook until all its pods are Ready",
            |step| {
                let manifest = workspace.path("examples/guestbook/guestbook.yaml");
                self.kubectl(&["apply", "-f", &manifest.to_string_lossy()])?;
                for tier in ["deployment/counter", "deployment/web"] {
                    step.say(tier);
                    self.kubectl(&[
                        "-n",
                        "guestbook",
                        "rollout",
                        "status",
                        tier,
                        "--timeout=120s",
                    ])?;
                }
                Ok(())
            },
        )?;
        steps.run("Visiting the demo", |_| {
            let address = self.kubectl(&[
                "get",
                "nodes",
                "-o",
                "jsonpath={.items[0].status.addresses[?(@.type==\"InternalIP\")].address}",
            ])?;
            let authority = format!("{}:30080", address.trim());
            self.wait("the demo's page did not answer", |_| {
                visit(&authority).is_ok()
            })?;
            Ok(format!("http://{authority}/"))
        })
    }

    fn print_summary(&self, url: Option<&str>) -> Result<()> {
        println!();
        print!("{}", self.kubectl(&["get", "nodes"])?);
        if let Some(url) = url {
            println!("\nThe demo is at {url}");
        }
        println!("\nTo point kubectl at the cluster:");
        println!("  export KUBECONFIG={}", self.kubeconfig.display());
        println!("  {} get pods -A", self.kubectl.display());
        println!("\nCtrl-C stops the control plane and leaves workloads running.");
        println!(
            "To remove every trace: {} reset --yes",
            self.corten.display()
        );
        std::io::stdout().flush()?;
        Ok(())
    }

    fn stop(&mut self) {
        terminate(self.process.id());
        // It was told to end; its status would add nothing to the error at hand.
        let _ = self.process.wait();
    }

    fn log_tail(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let tail = &lines[lines.len().saturating_sub(15)..];
        format!("the end of {}:\n{}", self.log.display(), tail.join("\n"))
    }
}

fn terminate(id: u32) {
    // If it is gone already there is nothing to do.
    let _ = Command::new("kill")
        .args(["-TERM", &id.to_string()])
        .status();
}

/// One plain GET of the page; an error unless it is 200.
fn visit(authority: &str) -> Result<()> {
    let address = authority
        .parse()
        .with_context(|| format!("not an address: {authority}"))?;
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(
        stream,
        "GET / HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    if !answer.starts_with("HTTP/1.1 200 ") {
        bail!("{}", answer.lines().next().unwrap_or("no answer"));
    }
    Ok(())
}
