//! The socket of a running cluster, through which `corten store` asks its store. Only root and the user that runs
//! the cluster are answered. One connection, one request: a line, then `ok` or `error: …`, then the answer.

use super::request::{self, Request};
use anyhow::{Context, Result, bail};
use corten_store::Store;
use rustix::net::RecvFlags;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

const NAME: &str = "corten.sock";
/// No request is longer.
const REQUEST_MAX: u64 = 8 << 10;
/// How long a client may take to ask.
const ASK_MAX: Duration = Duration::from_secs(10);

/// A served socket; it is removed when this is dropped.
#[derive(Debug)]
pub struct Socket {
    path: PathBuf,
}

impl Socket {
    /// Serves a store on the socket of a data directory, which this process holds.
    pub fn serve(data: &Path, store: Store) -> Result<Socket> {
        let path = data.join(NAME);
        // The lock on the directory is held here, so that it can only be a dead process's.
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path)
            .with_context(|| format!("cannot listen on {}", path.display()))?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        std::thread::Builder::new()
            .name("store-socket".to_owned())
            .spawn(move || accept(&listener, &store))?;
        Ok(Socket { path })
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

fn accept(listener: &UnixListener, store: &Store) {
    for stream in listener.incoming().flatten() {
        let store = store.clone();
        let answering = std::thread::Builder::new()
            .name("store-request".to_owned())
            .spawn(move || {
                if let Err(error) = answer(&stream, &store) {
                    tracing::debug!(%error, "a request to the store's socket failed");
                }
            });
        if let Err(error) = answering {
            tracing::warn!(%error, "a request to the store's socket could not be taken");
        }
    }
}

fn answer(stream: &UnixStream, store: &Store) -> Result<()> {
    let peer = rustix::net::sockopt::socket_peercred(stream)?.uid.as_raw();
    let own = rustix::process::geteuid().as_raw();
    let mut out = std::io::BufWriter::new(stream);
    if peer != 0 && peer != own {
        writeln!(
            out,
            "error: user {peer} may not ask the store of user {own}"
        )?;
        return Ok(out.flush()?);
    }
    stream.set_read_timeout(Some(ASK_MAX))?;
    let mut line = String::new();
    let mut input: &UnixStream = stream;
    BufReader::new(Read::take(&mut input, REQUEST_MAX)).read_line(&mut line)?;
    let asked = Request::parse(line.trim_end_matches('\n'));
    let asked = match asked {
        Ok(asked) => asked,
        Err(error) => {
            writeln!(out, "error: {error:#}")?;
            return Ok(out.flush()?);
        }
    };
    // Streams begin at once; short answers are made whole first, so that their errors can be told.
    if matches!(asked, Request::Backup { .. } | Request::Watch { .. }) {
        writeln!(out, "ok")?;
        out.flush()?;
        return request::run(store, &asked, &mut out, &mut || is_gone(stream));
    }
    let mut text = Vec::new();
    match request::run(store, &asked, &mut text, &mut || false) {
        Ok(()) => {
            writeln!(out, "ok")?;
            out.write_all(&text)?;
        }
        Err(error) => writeln!(out, "error: {error:#}")?,
    }
    Ok(out.flush()?)
}

fn is_gone(stream: &UnixStream) -> bool {
    let mut byte = [0u8; 1];
    let peeked = rustix::net::recv(stream, &mut byte, RecvFlags::PEEK | RecvFlags::DONTWAIT);
    matches!(peeked, Ok((_, 0)))
}

/// Asks the cluster that runs on a data directory.
pub fn ask(data: &Path, request: &Request, out: &mut dyn Write) -> Result<()> {
    let path = data.join(NAME);
    let stream = UnixStream::connect(&path).with_context(|| {
        format!(
            "a cluster runs on {}, but its socket {} does not answer",
            data.display(),
            path.display()
        )
    })?;
    writeln!(&stream, "{}", request.line())?;
    let mut answer = BufReader::new(&stream);
    let mut status = String::new();
    answer.read_line(&mut status)?;
    match status.trim_end() {
        "ok" => drop(std::io::copy(&mut answer, out)?),
        other => bail!("{}", other.strip_prefix("error: ").unwrap_or(other)),
    }
    Ok(())
}
