//! Being told by the kernel when something in a directory changes.

use rustix::fs::inotify;
use std::path::Path;
use tokio::net::unix::pipe::Receiver;

/// Watches one directory.
pub(crate) struct Watcher {
    inotify: Receiver,
}

impl Watcher {
    /// Watches `directory` from now on.
    pub(crate) fn new(directory: &Path) -> std::io::Result<Watcher> {
        use inotify::{CreateFlags, WatchFlags};
        let fd = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        let wanted = WatchFlags::MODIFY
            | WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVED_FROM
            | WatchFlags::MOVED_TO;
        inotify::add_watch(&fd, directory, wanted)?;
        // Any descriptor that can be waited for may be read like a pipe.
        Ok(Watcher {
            inotify: Receiver::from_owned_fd_unchecked(fd)?,
        })
    }

    /// Waits for changes since the last call. What exactly changed is not told.
    pub(crate) async fn changed(&self) -> std::io::Result<()> {
        self.inotify.readable().await?;
        let mut buffer = [0_u8; 4096];
        while self
            .inotify
            .try_read(&mut buffer)
            .is_ok_and(|size| size > 0)
        {}
        Ok(())
    }
}
