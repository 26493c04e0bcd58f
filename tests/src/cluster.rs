//! A cluster under test: its directory, network namespace and processes. Started by the binary's own
//! command line and removed by `corten reset`; a run that was killed is cleaned up by the next one.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, anyhow, bail};
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, kill_process};

use crate::eventually::eventually;
use crate::expectation::expect_equal;
use crate::footprint::Footprint;
use crate::kubectl::Kubectl;
use crate::netns::NetworkNamespace;
use crate::programs;

/// The API port; each cluster has its own network namespace, so it is free.
const API_PORT: u16 = 6443;

/// What a test program wants of its cluster.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// The test program's name; it names directories.
    pub name: &'static str,
    /// Archives to import, by name.
    pub images: &'static [&'static str],
}

/// A running cluster.
#[derive(Debug)]
pub struct Cluster {
    directory: PathBuf,
    kubectl: Kubectl,
    namespaces: AtomicUsize,
    own: Option<Own>,
}

/// What a cluster has that this harness started (and not one that was given to it).
#[derive(Debug)]
struct Own {
    program: PathBuf,
    network: Arc<NetworkNamespace>,
    process: Mutex<Option<Child>>,
    before: Footprint,
    /// Texts of which one is in every name that the cluster gives to things outside its network namespace.
    marks: Mutex<Vec<String>>,
    _claim: File,
}

impl Cluster {
    /// Starts a cluster, waits for its node and imports images; or takes the one that
    /// `CORTEN_TESTS_KUBECONFIG` names.
    pub fn start(options: Options) -> Result<Cluster> {
        if let Some(kubeconfig) = std::env::var_os("CORTEN_TESTS_KUBECONFIG") {
            return Cluster::given(options, Path::new(&kubeconfig));
        }
        let cluster = Cluster::prepare(options)?;
        let begun = cluster.begin(options);
        match begun {
            Ok(()) => Ok(cluster),
            Err(error) => {
                let tail = cluster.log_tail();
                // What went wrong at the start is the error to show.
                let _ = cluster.finish();
                Err(error.context(tail))
            }
        }
    }

    /// A directory, a network namespace and nothing running in them yet.
    pub fn prepare(options: Options) -> Result<Cluster> {
        let program = programs::corten()?;
        let (directory, claim) = claim_directory(options.name)?;
        let network = Arc::new(NetworkNamespace::create()?);
        let data = directory.join("data");
        if data.exists() {
            run_inside(
                &network,
                &program,
                &["reset", "--yes", "--data-dir", &text(&data)],
            )
            .context("removing what an earlier run left")?;
        }
        let before = Footprint::take(&network, &data)?;
        let kubeconfig = directory.join("kubeconfig");
        let kubectl = Kubectl::new(
            programs::program("kubectl")?,
            &kubeconfig,
            Some(network.clone()),
        );
        let process = Mutex::new(None);
        let own = Some(Own {
            program,
            network,
            process,
            before,
            marks: Mutex::default(),
            _claim: claim,
        });
        Ok(Cluster {
            directory,
            kubectl,
            namespaces: AtomicUsize::new(0),
            own,
        })
    }

    fn given(options: Options, kubeconfig: &Path) -> Result<Cluster> {
        let kubectl = Kubectl::new(programs::program("kubectl")?, kubeconfig, None);
        let (directory, _) = claim_directory(options.name)?;
        Ok(Cluster {
            directory,
            kubectl,
            namespaces: AtomicUsize::new(0),
            own: None,
        })
    }

    fn begin(&self, options: Options) -> Result<()> {
        self.launch()?;
        self.wait_ready()?;
        for image in options.images {
            let archive = programs::image(image)?;
            self.corten(&[
                "image",
                "import",
                &text(&archive),
                "--data-dir",
                &text(&self.data()),
            ])?;
        }
        Ok(())
    }

    /// Starts the control plane.
    pub fn launch(&self) -> Result<()> {
        self.launch_as("up")
    }

    /// Starts the API server alone and waits until it is ready.
    pub fn launch_api_server(&self) -> Result<()> {
        self.launch_as("apiserver")?;
        self.wait_api()
    }

    fn launch_as(&self, role: &str) -> Result<()> {
        let port = API_PORT.to_string();
        let (data, kubeconfig) = (text(&self.data()), text(&self.kubeconfig()));
        let arguments = [
            role,
            "--data-dir",
            &data,
            "--api-port",
            &port,
            "--write-kubeconfig",
            &kubeconfig,
        ];
        let child = self.spawn(&arguments)?;
        let own = self.own()?;
        *own.process.lock().map_err(|_| poisoned())? = Some(child);
        Ok(())
    }

    /// Starts a corten command with its output in the cluster's log.
    pub fn spawn(&self, arguments: &[&str]) -> Result<Child> {
        let own = self.own()?;
        let log = File::options().create(true).append(true).open(self.log())?;
        let mut command = Command::new(&own.program);
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        own.network
            .enter(move || command.spawn())?
            .context("could not start corten")
    }

    /// Waits until the API answers; at once an error if the control plane ends.
    pub fn wait_api(&self) -> Result<()> {
        eventually("the API is ready", || {
            if let Some(status) = self.ended()? {
                return Ok(Err(anyhow!("corten ended with {status}")));
            }
            self.kubectl.run("get --raw /readyz").map(Ok)
        })?
        .map(|_| ())
    }

    /// Waits until the API answers and the node is Ready.
    pub fn wait_ready(&self) -> Result<()> {
        self.wait_api()?;
        eventually("a node joins", || {
            match self.kubectl.run("get nodes -o name")?.is_empty() {
                true => bail!("no node"),
                false => Ok(()),
            }
        })?;
        self.kubectl.wait("condition=Ready", "node --all")?;
        if self.own.is_none() {
            return Ok(());
        }
        eventually("the node takes pods", || {
            let taints = "get nodes -o jsonpath={.items[*].spec.taints}";
            expect_equal(self.kubectl.run(taints)?, "")
        })?;
        self.learn_marks()
    }

    /// kubectl as the cluster's administrator.
    pub fn kubectl(&self) -> &Kubectl {
        &self.kubectl
    }

    /// kubectl in a new namespace, whose default service account is there.
    pub fn namespace(&self, test: &str) -> Result<Kubectl> {
        let number = self.namespaces.fetch_add(1, Ordering::Relaxed);
        let name = format!("{test}-{}-{number}", std::process::id());
        self.kubectl.run(&format!("create namespace {name}"))?;
        let kubectl = self.kubectl.in_namespace(&name);
        if self.own.is_some() {
            kubectl.wait("create", "serviceaccount/default")?;
        }
        Ok(kubectl)
    }

    /// The name of the node that runs pods: it has a kubelet's labels, which nodes made by tests lack.
    pub fn node(&self) -> Result<String> {
        let name = self
            .kubectl
            .run("get nodes -l kubernetes.io/hostname -o jsonpath={.items[0].metadata.name}")?;
        Ok(name.trim().to_string())
    }

    /// The first node's InternalIP.
    pub fn node_address(&self) -> Result<String> {
        let path = "{.items[0].status.addresses[?(@.type==\"InternalIP\")].address}";
        let address = self.kubectl.run(&format!(
            "get nodes -l kubernetes.io/hostname -o 'jsonpath={path}'"
        ))?;
        Ok(address.trim().to_string())
    }

    /// A directory for the test's own files.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The data directory given to `corten`.
    pub fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// The kubeconfig that `corten` writes.
    pub fn kubeconfig(&self) -> PathBuf {
        self.directory.join("kubeconfig")
    }

    /// The cluster's network namespace.
    pub fn network(&self) -> Result<&NetworkNamespace> {
        Ok(&self.own()?.network)
    }

    /// Runs a corten command that must succeed.
    pub fn corten(&self, arguments: &[&str]) -> Result<String> {
        let own = self.own()?;
        run_inside(&own.network, &own.program, arguments)
    }

    /// Runs a corten command, whatever its outcome.
    pub fn corten_output(&self, arguments: &[&str]) -> Result<Output> {
        let own = self.own()?;
        let mut command = Command::new(&own.program);
        command.args(arguments).stdin(Stdio::null());
        own.network
            .enter(move || command.output())?
            .context("could not start corten")
    }

    /// Sends a signal to the control plane and waits for its end.
    pub fn signal(&self, signal: Signal) -> Result<ExitStatus> {
        let own = self.own()?;
        let mut process = own.process.lock().map_err(|_| poisoned())?;
        let mut child = process.take().context("the control plane is not running")?;
        kill_process(Pid::from_child(&child), signal).context("signalling corten")?;
        child.wait().context("waiting for corten")
    }

    /// The id of the control plane's process.
    pub fn process_id(&self) -> Result<u32> {
        let own = self.own()?;
        let process = own.process.lock().map_err(|_| poisoned())?;
        Ok(process
            .as_ref()
            .context("the control plane is not running")?
            .id())
    }

    /// Its exit status, if the control plane has ended by itself.
    pub fn ended(&self) -> Result<Option<ExitStatus>> {
        let Some(own) = &self.own else {
            return Ok(None);
        };
        let mut process = own.process.lock().map_err(|_| poisoned())?;
        let Some(child) = process.as_mut() else {
            return Ok(None);
        };
        let status = child.try_wait().context("looking at corten")?;
        if status.is_some() {
            *process = None;
        }
        Ok(status)
    }

    /// What the host has now that it did not have before the cluster.
    pub fn leftovers(&self) -> Result<Vec<String>> {
        let own = self.own()?;
        let left = Footprint::take(&own.network, &self.data())?.since(&own.before);
        let marks = own.marks.lock().map_err(|_| poisoned())?;
        // Other clusters may come and go on this host; when ours cannot be told from them, all count.
        Ok(left
            .into_iter()
            .filter(|line| {
                marks.is_empty() || marks.iter().any(|mark| line.contains(mark)) || is_inside(line)
            })
            .collect())
    }

    /// Learns what the cluster's things on the host are called: its bridge names it.
    fn learn_marks(&self) -> Result<()> {
        let own = self.own()?;
        let Some(instance) = Footprint::bridge(&own.network)? else {
            return Ok(());
        };
        let mut marks = own.marks.lock().map_err(|_| poisoned())?;
        if marks.is_empty() {
            let directory = self.directory.to_string_lossy().into_owned();
            marks.extend([
                format!("{directory}/"),
                format!("corten-{instance}"),
                format!("kubepods-{instance}"),
            ]);
        }
        Ok(())
    }

    /// Stops and resets the cluster; an error if anything of it stays on the host.
    pub fn finish(self) -> Result<()> {
        let Some(own) = &self.own else { return Ok(()) };
        if own.process.lock().map_err(|_| poisoned())?.is_some() {
            self.signal(Signal::TERM)?;
        }
        self.learn_marks()?;
        if self.data().exists() {
            self.corten(&["reset", "--yes", "--data-dir", &text(&self.data())])?;
        }
        let left = self.leftovers()?;
        if !left.is_empty() {
            bail!(
                "after `corten reset` the host still has:\n{}",
                left.join("\n")
            );
        }
        if self.data().exists() {
            bail!("`corten reset` left the data directory");
        }
        Ok(())
    }

    /// The end of the control plane's log.
    pub fn log_tail(&self) -> String {
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let tail = &lines[lines.len().saturating_sub(40)..];
        format!("the end of {}:\n{}", self.log().display(), tail.join("\n"))
    }

    fn log(&self) -> PathBuf {
        self.directory.join("corten.log")
    }

    fn own(&self) -> Result<&Own> {
        self.own
            .as_ref()
            .context("this test needs a cluster of its own, not a given one")
    }
}

/// A directory that no other run uses: short, because socket paths below it have 108 bytes at most.
fn claim_directory(name: &str) -> Result<(PathBuf, File)> {
    for number in 0..16 {
        let directory = PathBuf::from(format!("/var/tmp/corten-test-{name}-{number}"));
        fs::create_dir_all(&directory)
            .with_context(|| format!("creating {}", directory.display()))?;
        let claim = File::create(directory.join("claim"))?;
        if flock(&claim, FlockOperation::NonBlockingLockExclusive).is_ok() {
            // The log is of this run only.
            let _ = fs::remove_file(directory.join("corten.log"));
            return Ok((directory, claim));
        }
    }
    bail!("sixteen runs of the tests `{name}` are going on: wait for one to end");
}

/// A line about the cluster's own network namespace, which nobody else is in.
fn is_inside(line: &str) -> bool {
    ["link ", "route ", "nftables "]
        .iter()
        .any(|kind| line.starts_with(kind))
}

fn run_inside(network: &NetworkNamespace, program: &Path, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    let output = network
        .enter(move || command.output())?
        .context("could not start corten")?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        bail!(
            "corten {}: {}\n{stdout}{}",
            arguments.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(stdout)
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn poisoned() -> anyhow::Error {
    anyhow!("another test panicked while it held the control plane's process")
}
