//! Real kubectl, run with a kubeconfig, a namespace and inside the cluster's network namespace.
//! Command lines are written as in a shell: words, with single quotes around what has blanks.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::eventually::WAIT_MAX;
use crate::netns::NetworkNamespace;

/// kubectl, pointed at one cluster and, usually, one namespace.
#[derive(Debug, Clone)]
pub struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
    namespace: Option<String>,
    network: Option<Arc<NetworkNamespace>>,
    environment: Vec<(String, String)>,
}

/// A command that failed, as it should.
#[derive(Debug)]
pub struct Failure {
    /// Its exit code.
    pub code: i32,
    /// What it printed.
    pub stdout: String,
    /// What it said went wrong.
    pub stderr: String,
}

/// A command that is still running.
#[derive(Debug)]
pub struct Running {
    child: Child,
    lines: Receiver<String>,
    seen: String,
}

impl Kubectl {
    /// kubectl at `program` with this kubeconfig.
    pub fn new(
        program: PathBuf,
        kubeconfig: &Path,
        network: Option<Arc<NetworkNamespace>>,
    ) -> Kubectl {
        let kubeconfig = kubeconfig.to_path_buf();
        Kubectl {
            program,
            kubeconfig,
            namespace: None,
            network,
            environment: Vec::new(),
        }
    }

    /// The same in a namespace.
    pub fn in_namespace(&self, namespace: &str) -> Kubectl {
        Kubectl {
            namespace: Some(namespace.to_string()),
            ..self.clone()
        }
    }

    /// The same with another kubeconfig.
    pub fn with_kubeconfig(&self, kubeconfig: &Path) -> Kubectl {
        Kubectl {
            kubeconfig: kubeconfig.to_path_buf(),
            ..self.clone()
        }
    }

    /// The same with an environment variable.
    pub fn with_variable(&self, name: &str, value: &str) -> Kubectl {
        let mut changed = self.clone();
        changed
            .environment
            .push((name.to_string(), value.to_string()));
        changed
    }

    /// The namespace it works in.
    pub fn namespace(&self) -> &str {
        self.namespace.as_deref().unwrap_or("default")
    }

    /// Runs a command; its standard output, or an error with all it said.
    pub fn run(&self, line: &str) -> Result<String> {
        self.run_with_input(line, "")
    }

    /// Runs a command with this standard input.
    pub fn run_with_input(&self, line: &str, input: &str) -> Result<String> {
        let failure = self.finish(line, input)?;
        if failure.code != 0 {
            bail!(
                "kubectl {line}: exit code {}\n{}{}",
                failure.code,
                failure.stdout,
                failure.stderr
            );
        }
        Ok(failure.stdout)
    }

    /// Runs a command that must fail.
    pub fn fail(&self, line: &str) -> Result<Failure> {
        self.fail_with_input(line, "")
    }

    /// Runs a command that must fail with this standard input.
    pub fn fail_with_input(&self, line: &str, input: &str) -> Result<Failure> {
        let failure = self.finish(line, input)?;
        if failure.code == 0 {
            bail!(
                "kubectl {line} should have failed; it printed\n{}",
                failure.stdout
            );
        }
        Ok(failure)
    }

    /// Runs a command and reads its output as JSON.
    pub fn json(&self, line: &str) -> Result<Value> {
        let text = self.run(&format!("{line} -o json"))?;
        serde_json::from_str(&text).with_context(|| format!("kubectl {line} printed no JSON"))
    }

    /// Applies a manifest.
    pub fn apply(&self, manifest: &str) -> Result<String> {
        self.run_with_input("apply -f -", manifest)
    }

    /// Waits for a condition of an object by a watch.
    pub fn wait(&self, condition: &str, object: &str) -> Result<()> {
        let bound = WAIT_MAX.as_secs();
        let outcome = self.run(&format!(
            "wait --for={condition} {object} --timeout={bound}s"
        ));
        outcome
            .map(|_| ())
            .map_err(|error| match self.run(&format!("describe {object}")) {
                Ok(text) => error.context(text),
                Err(_) => error,
            })
    }

    /// Starts a command that goes on, such as `logs -f`; its output is read line by line.
    pub fn start(&self, line: &str) -> Result<Running> {
        let mut child = self.spawn(line, Stdio::null)?;
        let output = child.stdout.take().context("standard output is piped")?;
        let errors = child.stderr.take().context("standard error is piped")?;
        let (sender, lines) = channel();
        let forward = |stream: Box<dyn std::io::Read + Send>,
                       sender: std::sync::mpsc::Sender<_>| {
            std::thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(|line| line.ok()) {
                    // The test may have stopped listening.
                    let _ = sender.send(line);
                }
            });
        };
        forward(Box::new(output), sender.clone());
        forward(Box::new(errors), sender);
        Ok(Running {
            child,
            lines,
            seen: String::new(),
        })
    }

    /// The command, ready to be started with other streams; it must be started with [`Kubectl::inside`].
    pub fn command(&self, line: &str) -> Result<Command> {
        let words = words(line)?;
        let mut command = Command::new(&self.program);
        command.env("KUBECONFIG", &self.kubeconfig);
        command.env("HOME", self.kubeconfig.parent().unwrap_or(Path::new("/")));
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        if let Some(namespace) = &self.namespace {
            command.args(["--namespace", namespace]);
        }
        // What follows `--` belongs to the command inside the container.
        command.args(words);
        Ok(command)
    }

    /// Runs `work` inside the cluster's network namespace.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        match &self.network {
            Some(network) => network.enter(work),
            None => Ok(work()),
        }
    }

    fn spawn(&self, line: &str, stdin: impl Fn() -> Stdio) -> Result<Child> {
        let mut command = self.command(line)?;
        command
            .stdin(stdin())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        self.inside(move || command.spawn())?
            .context("could not start kubectl")
    }

    fn finish(&self, line: &str, input: &str) -> Result<Failure> {
        let mut child = self.spawn(line, Stdio::piped)?;
        let mut stdin = child.stdin.take().context("standard input is piped")?;
        let input = input.to_string();
        let writer = std::thread::spawn(move || {
            // A command that reads no input closes the pipe.
            let _ = stdin.write_all(input.as_bytes());
        });
        let process = Pid::from_child(&child);
        let (sender, receiver) = channel();
        std::thread::spawn(move || sender.send(child.wait_with_output()));
        let output = match receiver.recv_timeout(WAIT_MAX * 2) {
            Ok(output) => output.context("waiting for kubectl")?,
            Err(_) => {
                kill_process(process, Signal::KILL).context("ending kubectl")?;
                bail!(
                    "kubectl {line} did not end within {} s",
                    WAIT_MAX.as_secs() * 2
                );
            }
        };
        // The writer ends when the pipe is closed, which it now is.
        let _ = writer.join();
        Ok(Failure {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }
}

impl Running {
    /// Waits for a line that contains `part`.
    pub fn expect(&mut self, part: &str) -> Result<String> {
        let until = Instant::now() + WAIT_MAX;
        loop {
            let line = self.next_line(until).with_context(|| {
                format!(
                    "no line with {part:?}; so far the command printed\n{}",
                    self.seen
                )
            })?;
            if line.contains(part) {
                return Ok(line);
            }
        }
    }

    /// The next line, whatever it is.
    pub fn any(&mut self) -> Result<String> {
        self.next_line(Instant::now() + WAIT_MAX)
    }

    /// Waits for the command to end; its exit code and everything it printed.
    pub fn end(mut self) -> Result<(i32, String)> {
        let until = Instant::now() + WAIT_MAX;
        while self.next_line(until).is_ok() {}
        let status = self.child.wait().context("waiting for kubectl")?;
        Ok((status.code().unwrap_or(-1), std::mem::take(&mut self.seen)))
    }

    fn next_line(&mut self, until: Instant) -> Result<String> {
        let left = until.saturating_duration_since(Instant::now());
        let line = self.lines.recv_timeout(left)?;
        self.seen.push_str(&line);
        self.seen.push('\n');
        Ok(line)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The command may have ended; either way it is waited for, so that no zombie stays.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Splits a line at blanks, keeping what is in single quotes together.
fn words(line: &str) -> Result<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quoted = false;
    for c in line.chars() {
        match c {
            '\'' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            c if c.is_whitespace() && !quoted => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    if quoted {
        bail!("a quote is not closed: {line}");
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::words;

    #[test]
    fn lines_split_like_a_shell() {
        let line = "exec pod -- sh -c 'echo  a b' x='' ''";
        assert_eq!(
            words(line).unwrap(),
            ["exec", "pod", "--", "sh", "-c", "echo  a b", "x=", ""]
        );
        assert!(words("a 'b").is_err());
    }
}
