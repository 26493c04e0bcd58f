//! `corten apiserver` alone on loopback: for tests and measurements that need an API and no node. It needs neither
//! root nor a network namespace.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::api::ApiAccess;
use crate::programs;

/// A running API server; it is killed when this is dropped.
#[derive(Debug)]
pub struct LoneServer {
    child: Child,
    data: PathBuf,
    access: ApiAccess,
}

impl LoneServer {
    /// Starts it on a data directory and a free port, and waits until it serves.
    pub fn start(data: &Path, flags: &[&str]) -> Result<LoneServer> {
        LoneServer::start_with(data, flags, &[])
    }

    /// The same with more environment variables.
    pub fn start_with(
        data: &Path,
        flags: &[&str],
        variables: &[(&str, String)],
    ) -> Result<LoneServer> {
        let mut child = Command::new(programs::corten()?)
            .args(["apiserver", "--api-port", "0", "--data-dir"])
            .arg(data)
            .args(flags)
            .envs(variables.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("could not start corten apiserver")?;
        let told = child.stdout.take().context("its standard output")?;
        let serves = BufReader::new(told)
            .lines()
            .map_while(Result::ok)
            .any(|line| line.starts_with("export KUBECONFIG="));
        if !serves {
            let mut said = String::new();
            if let Some(mut errors) = child.stderr.take() {
                std::io::Read::read_to_string(&mut errors, &mut said)?;
            }
            child.wait()?;
            bail!("corten apiserver did not start: {}", said.trim());
        }
        Ok(LoneServer {
            access: ApiAccess::from_file(&data.join("kubeconfig"))?,
            data: data.to_path_buf(),
            child,
        })
    }

    /// Administrator's access.
    pub fn access(&self) -> &ApiAccess {
        &self.access
    }

    /// Its process.
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// Kills it as a power cut would, without a word.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Stops it in an orderly way.
    pub fn stop(mut self) -> Result<()> {
        corten(&["down", "--data-dir", &self.data.to_string_lossy()])?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for LoneServer {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a corten command to its end; what it printed, or what it said went wrong.
pub fn corten(arguments: &[&str]) -> Result<String> {
    corten_with(arguments, &[])
}

/// The same with more environment variables.
pub fn corten_with(arguments: &[&str], variables: &[(&str, String)]) -> Result<String> {
    let output = Command::new(programs::corten()?)
        .args(arguments)
        .envs(variables.iter().cloned())
        .stdin(Stdio::null())
        .output()
        .context("running corten")?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
