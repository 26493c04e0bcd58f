//! Network namespaces as values: a descriptor that can be opened, made, and worked in.
//! Invariant: only threads made here, and ended here, ever change their namespace.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

use crate::{Error, Result};

const OWN: &str = "/proc/thread-self/ns/net";

/// A network namespace, kept alive by this handle. Clones share it.
#[derive(Debug, Clone)]
pub struct Netns {
    file: Arc<File>,
    name: String,
}

impl Netns {
    /// Opens the namespace at `path` (a bind-mounted nsfs file or `/proc/<pid>/ns/net`).
    pub fn open(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        match File::open(path) {
            Ok(file) => Ok(Netns {
                file: Arc::new(file),
                name,
            }),
            Err(source) => Err(Error::Netns {
                attempt: "open",
                name,
                source,
            }),
        }
    }

    /// The namespace of the calling thread.
    pub fn current() -> Result<Self> {
        Netns::open(Path::new(OWN))
    }

    /// A new, empty namespace that lives as long as a handle or something in it does.
    pub fn anonymous() -> Result<Self> {
        let made = std::thread::spawn(|| -> io::Result<File> {
            // SAFETY: the thread was made for this, shares no file table assumption with anyone
            // (CLONE_NEWNET leaves descriptors alone), and ends right after.
            unsafe { unshare_unsafe(UnshareFlags::NEWNET) }?;
            File::open(OWN)
        })
        .join()
        .unwrap_or_else(|_| Err(io::Error::other("the thread that made it panicked")));
        match made {
            Ok(file) => Ok(Netns {
                file: Arc::new(file),
                name: "(anonymous)".into(),
            }),
            Err(source) => Err(Error::Netns {
                attempt: "make",
                name: "(anonymous)".into(),
                source,
            }),
        }
    }

    /// Runs `work` on a new thread inside the namespace and waits for it. Sockets opened there stay in the
    /// namespace when they are handed out; `/proc/sys/net` is the namespace's too.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        let entered = std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                move_into_link_name_space(self.file.as_fd(), Some(LinkNameSpaceType::Network))?;
                Ok::<T, io::Error>(work())
            });
            match thread.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        });
        entered.map_err(|source| Error::Netns {
            attempt: "enter",
            name: self.name.clone(),
            source,
        })
    }

    /// A path that opens this namespace for as long as the handle lives, from within this process.
    pub fn path(&self) -> PathBuf {
        use std::os::fd::AsRawFd;
        PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd()))
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
