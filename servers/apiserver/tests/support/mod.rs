//! A server in memory and the real kubectl against it.
#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test program uses its own part, and one that cannot go on has failed"
)]

pub mod elsewhere;
pub mod https;
pub mod raw;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use corten_apiserver::{ApiServer, Config, Disk};
use corten_pki::Identity;

/// A running server with an administrator's kubeconfig.
pub struct Cluster {
    pub server: ApiServer,
    directory: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
}

/// What kubectl said.
#[derive(Debug)]
pub struct Said {
    pub ok: bool,
    pub out: String,
    pub err: String,
}

impl Cluster {
    pub fn start() -> Cluster {
        Cluster::start_on(|_| Disk::Memory)
    }

    pub fn start_on(disk: impl FnOnce(&std::path::Path) -> Disk) -> Cluster {
        let directory = tempfile::tempdir().unwrap();
        let disk = disk(directory.path());
        Cluster::start_in(directory, disk)
    }

    pub fn start_in(directory: tempfile::TempDir, disk: Disk) -> Cluster {
        Cluster::start_with(directory, disk, |_| ())
    }

    pub fn start_with(
        directory: tempfile::TempDir,
        disk: Disk,
        change: impl FnOnce(&mut Config),
    ) -> Cluster {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            // As the program has it: what nests as deep as it may takes more than the usual 2 MiB when not optimized.
            .thread_stack_size(8 << 20)
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let mut config = Config::new(directory.path().join("pki"), disk);
        change(&mut config);
        let server = runtime.block_on(ApiServer::start(config)).unwrap();
        let text = server.kubeconfig(&Identity::SuperAdmin).unwrap();
        std::fs::write(directory.path().join("admin.conf"), text).unwrap();
        Cluster {
            server,
            directory,
            runtime,
        }
    }

    /// In memory, with tokens for these users.
    pub fn with_tokens(names: &[&str]) -> Cluster {
        let directory = tempfile::tempdir().unwrap();
        Cluster::start_with(directory, Disk::Memory, |config| {
            config.static_tokens = raw::tokens(names);
        })
    }

    /// Stops the server and gives its directory back.
    pub fn stop(self) -> tempfile::TempDir {
        self.runtime.block_on(self.server.stop());
        self.directory
    }

    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    fn program() -> PathBuf {
        std::env::var_os("CORTEN_KUBECTL").map_or_else(|| PathBuf::from("kubectl"), PathBuf::from)
    }

    /// Runs kubectl with words split at spaces.
    pub fn try_kubectl(&self, line: &str, input: &str) -> Said {
        self.run(&line.split_whitespace().collect::<Vec<_>>(), input)
    }

    /// kubectl with these arguments, not started yet.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(Cluster::program());
        command
            .arg("--kubeconfig")
            .arg(self.directory.path().join("admin.conf"))
            .arg("--cache-dir")
            .arg(self.directory.path().join("cache"))
            .args(arguments)
            .env_remove("KUBECONFIG");
        command
    }

    /// Runs kubectl with these arguments.
    pub fn run(&self, arguments: &[&str], input: &str) -> Said {
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(input.as_bytes())
            .unwrap();
        let output = child.wait_with_output().unwrap();
        Said {
            ok: output.status.success(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Runs kubectl, which must succeed; answers what it printed.
    pub fn kubectl(&self, line: &str) -> String {
        self.kubectl_with(line, "")
    }

    /// The same with an input.
    pub fn kubectl_with(&self, line: &str, input: &str) -> String {
        let said = self.try_kubectl(line, input);
        assert!(said.ok, "kubectl {line}: {}{}", said.out, said.err);
        said.out
    }

    /// Runs kubectl, which must fail; answers its complaint.
    pub fn refused(&self, line: &str, input: &str) -> String {
        let said = self.try_kubectl(line, input);
        assert!(!said.ok, "kubectl {line} was not refused: {}", said.out);
        said.err
    }
}
