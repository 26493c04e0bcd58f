//! A pseudo terminal around a command, for `exec -it` and `attach -it`.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::process::Child;
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::eventually::WAIT_MAX;
use crate::kubectl::Kubectl;

/// A command on a terminal of 101 columns and 33 rows.
#[derive(Debug)]
pub struct Terminal {
    child: Child,
    controller: File,
    output: Receiver<Vec<u8>>,
    seen: String,
}

impl Terminal {
    /// Starts a kubectl command on a new terminal.
    pub fn start(kubectl: &Kubectl, line: &str) -> Result<Terminal> {
        let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
            .context("opening a pseudo terminal")?;
        grantpt(&controller).context("granting the terminal")?;
        unlockpt(&controller).context("unlocking the terminal")?;
        let size = Winsize {
            ws_row: 33,
            ws_col: 101,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&controller, size).context("setting the terminal's size")?;
        let name = ptsname(&controller, Vec::new()).context("naming the terminal")?;
        let name = name
            .to_str()
            .context("the terminal's name is text")?
            .to_string();
        let terminal = OpenOptions::new().read(true).write(true).open(&name)?;
        let mut command = kubectl.command(line)?;
        command.env("TERM", "xterm");
        command
            .stdin(terminal.try_clone()?)
            .stdout(terminal.try_clone()?)
            .stderr(terminal);
        let child = kubectl
            .inside(move || command.spawn())?
            .context("could not start kubectl")?;

        let controller = File::from(controller);
        let mut reader = controller.try_clone()?;
        let (sender, output) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0u8; 4096];
            // Reading ends with an error (EIO) when the command has closed the terminal.
            while let Ok(length @ 1..) = reader.read(&mut buffer) {
                if sender.send(buffer[..length].to_vec()).is_err() {
                    break;
                }
            }
        });
        Ok(Terminal {
            child,
            controller,
            output,
            seen: String::new(),
        })
    }

    /// Types text.
    pub fn write(&mut self, text: &str) -> Result<()> {
        self.controller.write_all(text.as_bytes()).context("typing")
    }

    /// Waits until the screen has shown `part` after what was waited for before.
    pub fn expect(&mut self, part: &str) -> Result<()> {
        let until = Instant::now() + WAIT_MAX;
        while !self.seen.contains(part) {
            let left = until.saturating_duration_since(Instant::now());
            let Ok(bytes) = self.output.recv_timeout(left) else {
                bail!("the terminal did not show {part:?}, but\n{}", self.seen);
            };
            self.seen.push_str(&String::from_utf8_lossy(&bytes));
        }
        let end = self.seen.find(part).unwrap_or_default() + part.len();
        self.seen.drain(..end);
        Ok(())
    }

    /// Waits for the command to end; its exit code.
    pub fn end(mut self) -> Result<i32> {
        let status = self.child.wait().context("waiting for kubectl")?;
        Ok(status.code().unwrap_or(-1))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended; either way it is waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
