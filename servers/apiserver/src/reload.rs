//! Files that are read again when they change: authorities, the serving pair, keys. Woken by the kernel; what counts is
//! whether the content differs. Invariant: a file that cannot be used is logged and changes nothing.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use corten_encryption::Encryption;
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::io::unix::AsyncFd;

use crate::Error;
use crate::access::Sources;
use crate::keeping::Ciphers;
use crate::server::Server;

/// Files whose content is followed.
struct Files {
    notify: AsyncFd<OwnedFd>,
    paths: Vec<PathBuf>,
    digests: Vec<Option<Vec<u8>>>,
}

fn digest(path: &Path) -> Option<Vec<u8>> {
    let content = std::fs::read(path).ok()?;
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &content);
    Some(digest.as_ref().to_vec())
}

impl Files {
    /// Follows files from what they hold now. Directories are watched, so that a file may be replaced, also through the
    /// links by which kubelets replace all files of a volume at once.
    fn follow(paths: Vec<PathBuf>) -> io::Result<Files> {
        let notify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        let flags = WatchFlags::CLOSE_WRITE
            | WatchFlags::MOVED_TO
            | WatchFlags::CREATE
            | WatchFlags::DELETE;
        let mut directories = Vec::new();
        for path in &paths {
            let real = path.canonicalize().unwrap_or_else(|_| path.clone());
            for path in [path, &real] {
                let directory = match path.parent() {
                    Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
                    _ => PathBuf::from("."),
                };
                if !directories.contains(&directory) {
                    inotify::add_watch(&notify, &directory, flags)?;
                    directories.push(directory);
                }
            }
        }
        // The descriptor is owned, so it is the same for as long as it is registered.
        #[expect(deprecated, reason = "the one that replaces it is unsafe")]
        let notify = AsyncFd::new(notify)?;
        Ok(Files {
            notify,
            digests: paths.iter().map(|p| digest(p)).collect(),
            paths,
        })
    }

    /// Waits until one of them holds something else.
    async fn changed(&mut self) -> io::Result<()> {
        loop {
            let mut ready = self.notify.readable().await?;
            let drained = ready.try_io(|fd| drain(fd.get_ref()));
            if let Ok(drained) = drained {
                drained?;
            }
            let now: Vec<_> = self.paths.iter().map(|p| digest(p)).collect();
            // A file that is being replaced is looked at when it is there again.
            let complete = now.iter().all(Option::is_some);
            if complete && now != self.digests {
                self.digests = now;
                return Ok(());
            }
        }
    }
}

/// Reads all events there are; their content says nothing that matters.
fn drain(fd: &OwnedFd) -> io::Result<()> {
    let mut buffer = [0u8; 4096];
    let mut any = false;
    loop {
        match rustix::io::read(fd, &mut buffer) {
            Ok(0) => return Ok(()),
            Ok(_) => any = true,
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) if any => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Keeps a server up to date with its files until it stops.
pub(crate) async fn run(server: Arc<Server>, sources: Sources) {
    let paths = sources.files();
    whenever_changed(&server, paths, "the API server's files", || {
        let errors: Vec<Error> = sources.apply(&server);
        if errors.is_empty() {
            tracing::info!("files of the API server were read again");
        }
        for error in errors {
            tracing::error!(%error, "what a changed file says is not used");
        }
    })
    .await;
}

/// Keeps the ciphers as their file says until the server stops. What was written before a change is written again by
/// the next write, even if that says the same, so that keys can be rotated away.
pub(crate) async fn encryption(server: Arc<Server>, ciphers: Ciphers, file: PathBuf) {
    let paths = vec![file.clone()];
    whenever_changed(&server, paths, "keys of encryption", || {
        let read = std::fs::read(&file).map_err(|error| error.to_string());
        match read.and_then(|text| Encryption::parse(&text).map_err(|error| error.to_string())) {
            Ok(encryption) => {
                ciphers.replace(encryption);
                server.store.mark_stale();
                tracing::info!("the encryption configuration was read again");
            }
            Err(error) => tracing::error!(
                error,
                "what the changed encryption configuration says is not used"
            ),
        }
    })
    .await;
}

/// Calls `read` after each change of the files until the server stops.
async fn whenever_changed(
    server: &Server,
    paths: Vec<PathBuf>,
    what: &str,
    mut read: impl FnMut(),
) {
    if paths.is_empty() {
        return;
    }
    let mut files = match Files::follow(paths) {
        Ok(files) => files,
        Err(error) => {
            tracing::error!(%error, "{what} will not be read again when they change");
            return;
        }
    };
    let mut stop = server.stop_signal();
    loop {
        tokio::select! {
            _ = stop.wait_for(|stopped| *stopped) => return,
            changed = files.changed() => if let Err(error) = changed {
                tracing::error!(%error, "{what} are not read again any more");
                return;
            },
        }
        read();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn a_change_of_content_is_seen() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("a");
        std::fs::write(&file, "1").unwrap();
        let mut files = Files::follow(vec![file.clone()]).unwrap();
        // The same content again, a neighbour, and only then another.
        std::fs::write(&file, "1").unwrap();
        std::fs::write(directory.path().join("b"), "2").unwrap();
        let other = directory.path().join("c");
        std::fs::write(&other, "3").unwrap();
        std::fs::rename(&other, &file).unwrap();
        let changed = tokio::time::timeout(Duration::from_secs(60), files.changed());
        changed.await.unwrap().unwrap();
        assert_eq!(files.digests, [digest(&file)]);
        std::fs::remove_file(&file).unwrap();
        std::fs::write(&file, "4").unwrap();
        let changed = tokio::time::timeout(Duration::from_secs(60), files.changed());
        changed.await.unwrap().unwrap();
    }
}
