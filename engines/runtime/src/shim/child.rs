//! What a freshly forked child does until it is the container's program: the container's first process, an exec
//! into a running container, or a pod's init. Invariant: these functions never return to the shim's code, and every
//! failure reaches the shim as a [`Report`].

use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use crate::api::TerminalSize;
use crate::cgroup::{Cgroups, Group};
use crate::config::ContainerConfig;
use crate::process::{self, Identity, ProcessSpec};
use crate::rootfs::{self, PreparedRoot, RootSpec, Step, at};
use crate::wire::{Failure, FailureKind, Go, Report};
use crate::{seqpacket, sys};

/// Standard streams of a process.
pub enum Stdio {
    /// stdin, stdout, stderr; `None` is the container's /dev/null.
    Files([Option<OwnedFd>; 3]),
    /// A terminal of the container, of this size.
    Terminal(Option<TerminalSize>),
}

/// A container's first process.
pub struct Launch<'a> {
    pub root: RootSpec<'a>,
    pub cgroups: &'a Cgroups,
    pub group: &'a Group,
    pub hostname: &'a str,
    pub stdio: Stdio,
    pub sync: BorrowedFd<'a>,
}

/// A process inside a running container.
pub struct Entry<'a> {
    pub config: &'a ContainerConfig,
    pub group: &'a Group,
    pub hostname: &'a str,
    pub identity: Identity,
    pub command: Vec<String>,
    /// The container's first process.
    pub target: BorrowedFd<'a>,
    pub stdio: Stdio,
    pub sync: BorrowedFd<'a>,
}

/// Runs `steps`, reports their failure, and ends the process.
fn finish(
    sync: BorrowedFd<'_>,
    steps: impl FnOnce() -> Result<std::convert::Infallible, Failure>,
) -> ! {
    let failure = match catch_unwind(AssertUnwindSafe(steps)) {
        Ok(Ok(never)) => match never {},
        Ok(Err(failure)) => failure,
        Err(_) => Failure::new(
            FailureKind::Other,
            "the runtime panicked while preparing the process",
        ),
    };
    let _ = seqpacket::send(sync, &Report::Failed(failure), &[]);
    sys::exit_now(128)
}

fn other(why: String) -> Failure {
    Failure::new(FailureKind::Other, why)
}

/// The first process of a container.
pub fn run_container(launch: Launch<'_>) -> ! {
    let sync = launch.sync;
    finish(sync, || start_container(launch))
}

fn start_container(launch: Launch<'_>) -> Result<std::convert::Infallible, Failure> {
    let (config, sync) = (launch.root.config, launch.sync);
    begin(&launch.stdio, &[sync]).map_err(other)?;
    adjust_oom_score(config);
    let mut root = PreparedRoot::build(&launch.root).map_err(other)?;
    let invalid = |why| Failure::new(FailureKind::Invalid, why);
    let identity = process::resolve(root.root(), &config.security, &config.image.config.user)
        .map_err(invalid)?;
    let arguments = process::arguments(config).map_err(invalid)?;
    let environment = process::environment(config, launch.hostname);
    let mut spec =
        ProcessSpec::new(config, arguments, environment, identity.clone()).map_err(invalid)?;
    seqpacket::send(
        sync,
        &Report::Prepared {
            ids: identity.ids.clone(),
            home: identity.home.clone(),
        },
        &[],
    )
    .map_err(at("report to the shim"))
    .map_err(other)?;
    let steps = || -> Step<std::convert::Infallible> {
        // The first move of a process on v1 waits for the kernel, and the agent meanwhile goes on.
        launch.group.join().map_err(at("join cgroup"))?;
        if !(launch.cgroups.is_v2() && config.security.privileged) {
            sys::unshare(libc::CLONE_NEWCGROUP).map_err(at("make cgroup namespace"))?;
        }
        root.add_cgroups(config, launch.cgroups)?;
        root.enter(&launch.root)?;
        connect(launch.stdio, sync, &identity, Console::Show)?;
        rootfs::ensure_directory(&spec.working_directory)?;
        rootfs::seal(config)?;
        process::become_process(&mut spec, || match seqpacket::receive::<Go>(sync) {
            Ok(Some(_)) => Ok(()),
            Ok(None) => sys::exit_now(128), // the shim is gone
            Err(error) => Err(format!("wait for the start: {error}")),
        })
    };
    steps().map_err(other)
}

/// A process of a running container.
pub fn run_exec(entry: Entry<'_>) -> ! {
    let sync = entry.sync;
    finish(sync, || start_exec(entry).map_err(other))
}

fn start_exec(entry: Entry<'_>) -> Step<std::convert::Infallible> {
    begin(&entry.stdio, &[entry.sync, entry.target])?;
    adjust_oom_score(entry.config);
    let mut environment = process::environment(entry.config, entry.hostname);
    if matches!(entry.stdio, Stdio::Terminal(_)) && !environment.iter().any(|(n, _)| n == "TERM") {
        environment.push(("TERM".to_owned(), "xterm".to_owned()));
    }
    let identity = entry.identity;
    let mut spec = ProcessSpec::new(entry.config, entry.command, environment, identity.clone())?;
    entry.group.join().map_err(at("join cgroup"))?;
    sys::setns(entry.target, libc::CLONE_NEWNS | libc::CLONE_NEWCGROUP)
        .map_err(at("enter the container"))?;
    connect(entry.stdio, entry.sync, &identity, Console::Keep)?;
    process::become_process(&mut spec, || Ok(()))
}

/// What every child does first: forget the shim's signals and descriptors, and hide from the container. Copies of
/// the shim's pipes would keep clients waiting for their end.
fn begin(stdio: &Stdio, kept: &[BorrowedFd<'_>]) -> Step<()> {
    sys::reset_signals();
    let mut kept = kept.to_vec();
    if let Stdio::Files(files) = stdio {
        kept.extend(files.iter().flatten().map(AsFd::as_fd));
    }
    // SAFETY: children never return to the shim's code, and end by exec or _exit without destructors.
    unsafe { sys::close_except(&kept) }.map_err(at("close descriptors"))?;
    // A container must not reach the runtime's memory or executable through /proc/<pid>.
    sys::prctl(libc::PR_SET_DUMPABLE, 0, 0).map_err(at("forbid dumps"))?;
    rustix::process::setsid().map_err(at("make session"))?;
    rustix::process::umask(Mode::from_raw_mode(0o022));
    Ok(())
}

fn adjust_oom_score(config: &ContainerConfig) {
    if let Some(score) = config.oom_score_adj {
        // Lowering it needs CAP_SYS_RESOURCE; the agent warned once if that is missing.
        let _ = fs::write("/proc/self/oom_score_adj", score.to_string());
    }
}

/// Whether the terminal also becomes /dev/console.
#[derive(PartialEq, Eq)]
enum Console {
    Show,
    Keep,
}

fn connect(stdio: Stdio, sync: BorrowedFd<'_>, identity: &Identity, console: Console) -> Step<()> {
    let [stdin, stdout, stderr] = match stdio {
        Stdio::Files([stdin, stdout, stderr]) => {
            [or_null(stdin)?, or_null(stdout)?, or_null(stderr)?]
        }
        Stdio::Terminal(size) => {
            let terminal = open_terminal(size, sync, console)?;
            let copy = || sys::duplicate(&terminal).map_err(at("duplicate the terminal"));
            [copy()?, copy()?, terminal]
        }
    };
    for fd in [&stdin, &stdout, &stderr] {
        let facts = rustix::fs::fstat(fd).map_err(at("stat standard stream"))?;
        if facts.st_rdev != libc::makedev(1, 3) {
            // So that the program may open /dev/stdout anew; sockets and the like may refuse.
            let uid = rustix::fs::Uid::from_raw(identity.ids.uid);
            let _ = rustix::fs::fchown(fd, Some(uid), None);
        }
    }
    rustix::stdio::dup2_stdin(&stdin).map_err(at("set stdin"))?;
    rustix::stdio::dup2_stdout(&stdout).map_err(at("set stdout"))?;
    rustix::stdio::dup2_stderr(&stderr).map_err(at("set stderr"))
}

fn or_null(file: Option<OwnedFd>) -> Step<OwnedFd> {
    let open = || rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty());
    file.map_or_else(|| open().map_err(at("open /dev/null")), Ok)
}

/// A new terminal of the container; its controlling side goes to the shim.
fn open_terminal(
    size: Option<TerminalSize>,
    sync: BorrowedFd<'_>,
    console: Console,
) -> Step<OwnedFd> {
    use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, ptsname, unlockpt};
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let controller = rustix::fs::open("/dev/pts/ptmx", flags, Mode::empty())
        .map_err(at("open /dev/pts/ptmx"))?;
    unlockpt(&controller).map_err(at("unlock terminal"))?;
    let peer = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let terminal = ioctl_tiocgptpeer(&controller, peer).map_err(at("open terminal"))?;
    if let Some(size) = size {
        set_size(controller.as_fd(), size);
    }
    sys::set_controlling_terminal(terminal.as_fd()).map_err(at("control terminal"))?;
    if console == Console::Show {
        let name = ptsname(&controller, Vec::new()).map_err(at("name terminal"))?;
        rootfs::bind_console(&name.to_string_lossy())?;
    }
    seqpacket::send(sync, &Report::Terminal, &[controller.as_fd()])
        .map_err(at("hand over the terminal"))?;
    Ok(terminal)
}

/// Sets a terminal's size; a closed one does not mind.
pub fn set_size(terminal: BorrowedFd<'_>, size: TerminalSize) {
    let size = rustix::termios::Winsize {
        ws_row: size.rows,
        ws_col: size.columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    let _ = rustix::termios::tcsetwinsize(terminal, size);
}

/// PID 1 of a pod that shares its process namespace: reaps orphans and waits. It keeps nothing that a container with
/// CAP_SYS_PTRACE could use: empty root, no capabilities, an own user.
pub fn run_init(group: &Group, pivot: &Path, sync: BorrowedFd<'_>) -> ! {
    finish(sync, || {
        let steps = || -> Step<std::convert::Infallible> {
            begin(&Stdio::Terminal(None), &[sync])?;
            group.join().map_err(at("join cgroup"))?;
            let _ = sys::set_command_line("/pause");
            let _ = rustix::thread::set_name(c"pause");
            rootfs::enter_empty(pivot)?;
            sys::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0).map_err(at("set no_new_privs"))?;
            sys::set_identity(65535, 65535, &[]).map_err(at("set user"))?;
            sys::set_capabilities(0).map_err(at("drop capabilities"))?;
            sys::ignore_children();
            let ready = Report::Prepared {
                ids: Default::default(),
                home: String::new(),
            };
            let _ = seqpacket::send(sync, &ready, &[]);
            // SAFETY: nothing of this process is used any more; closing tells the shim and the log goodbye.
            unsafe { sys::close_everything() };
            sys::pause()
        };
        steps().map_err(other)
    })
}
