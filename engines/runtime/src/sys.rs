//! System calls that rustix lacks or that need unsafe code, as small functions over `io::Result`.
//! Invariant: everything here is synchronous and touches only the calling thread or process.

use std::ffi::CString;
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

/// Turns a system call's return value into a result.
fn check(value: i64) -> io::Result<i64> {
    if value < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(value)
    }
}

#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// A child process as its parent sees it.
pub struct Child {
    pub pid: i32,
    pub pidfd: OwnedFd,
}

/// Forks with new namespaces (`CLONE_NEW*`), optionally straight into a cgroup v2 directory.
/// Returns `None` in the child.
///
/// # Safety
/// The process must have a single thread: the child goes on with a copy of this one's memory, locks included.
pub unsafe fn fork(namespaces: i32, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Option<Child>> {
    let mut pidfd: RawFd = -1;
    let mut args = CloneArgs {
        flags: namespaces as u64 | libc::CLONE_PIDFD as u64,
        pidfd: &raw mut pidfd as u64,
        exit_signal: libc::SIGCHLD as u64,
        ..CloneArgs::default()
    };
    if let Some(cgroup) = cgroup {
        args.flags |= 0x2_0000_0000; // CLONE_INTO_CGROUP
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: the arguments live until the call returns; without a stack the child copies ours, as fork does.
    let pid = check(unsafe {
        libc::syscall(
            libc::SYS_clone3,
            &raw const args,
            mem::size_of::<CloneArgs>(),
        )
    })?;
    if pid == 0 {
        return Ok(None);
    }
    // SAFETY: the kernel stored a new descriptor that nothing else owns.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Some(Child {
        pid: pid as i32,
        pidfd,
    }))
}

/// Ends the process at once, without destructors.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit takes no pointers and does not return.
    unsafe { libc::_exit(code) }
}

#[repr(C)]
struct MountAttr {
    attr_set: u64,
    attr_clr: u64,
    propagation: u64,
    userns_fd: u64,
}

/// Changes a mount given by descriptor: attributes to set (`MOUNT_ATTR_*`) and a propagation (`MS_*`, 0 keeps it).
pub fn mount_setattr(
    mount: BorrowedFd<'_>,
    attributes: u64,
    propagation: u64,
    depth: Depth,
) -> io::Result<()> {
    let attr = MountAttr {
        attr_set: attributes,
        attr_clr: 0,
        propagation,
        userns_fd: 0,
    };
    let recursive = match depth {
        Depth::One => 0,
        Depth::Tree => libc::AT_RECURSIVE,
    };
    // SAFETY: path is a static C string and the attribute block outlives the call.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | recursive,
            &raw const attr,
            mem::size_of::<MountAttr>(),
        )
    })
    .map(drop)
}

/// Whether a mount change covers the mounts below.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    One,
    Tree,
}

/// Closes every descriptor from 3 on except `kept`.
///
/// # Safety
/// The process must not use any of the closed descriptors afterwards, not even by dropping their owners.
pub unsafe fn close_except(kept: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut kept: Vec<u32> = kept
        .iter()
        .map(|fd| fd.as_raw_fd() as u32)
        .filter(|n| *n > 2)
        .collect();
    kept.sort_unstable();
    let mut first = 3u32;
    for number in kept.into_iter().chain([u32::MAX]) {
        if first < number {
            let last = if number == u32::MAX {
                number
            } else {
                number - 1
            };
            // SAFETY: by this function's contract.
            check(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0u32) })?;
        }
        first = number.saturating_add(1);
    }
    Ok(())
}

/// Waits for signals for ever.
pub fn pause() -> ! {
    loop {
        // SAFETY: takes nothing.
        unsafe { libc::pause() };
    }
}

/// Joins namespaces of `target` (a pidfd or an nsfs file), `kinds` being `CLONE_NEW*`.
pub fn setns(target: BorrowedFd<'_>, kinds: i32) -> io::Result<()> {
    // SAFETY: no pointers.
    check(i64::from(unsafe { libc::setns(target.as_raw_fd(), kinds) })).map(drop)
}

/// Leaves namespaces for new ones.
pub fn unshare(kinds: i32) -> io::Result<()> {
    // SAFETY: no pointers.
    check(i64::from(unsafe { libc::unshare(kinds) })).map(drop)
}

/// Every signal back to its default action and none blocked, as a new program expects.
pub fn reset_signals() {
    let default = [0u64; 4]; // handler, flags, restorer, mask
    let none: u64 = 0;
    // SAFETY: both blocks outlive the calls. Raw, because libraries refuse their own two signals, which a parent may
    // have left ignored; KILL and STOP are refused by the kernel, which is as well.
    unsafe {
        for signal in 1..=64 {
            let old = std::ptr::null::<u64>();
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                default.as_ptr(),
                old,
                8usize,
            );
        }
        let old = std::ptr::null::<u64>();
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const none,
            old,
            8usize,
        );
    }
}

/// Lets the kernel reap this process's children.
pub fn ignore_children() {
    // SAFETY: sets a disposition, no handler.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
}

/// Closes every descriptor.
///
/// # Safety
/// Nothing in the process may use a descriptor afterwards.
pub unsafe fn close_everything() {
    // SAFETY: by this function's contract.
    unsafe { libc::syscall(libc::SYS_close_range, 0u32, u32::MAX, 0u32) };
}

/// Blocks all of `signals` and returns a non-blocking signalfd for them.
pub fn signal_fd(signals: &[i32]) -> io::Result<OwnedFd> {
    // SAFETY: the set is initialised by sigemptyset before use and lives through the calls.
    unsafe {
        let mut set: libc::sigset_t = mem::zeroed();
        libc::sigemptyset(&mut set);
        for signal in signals {
            libc::sigaddset(&mut set, *signal);
        }
        if libc::sigprocmask(libc::SIG_BLOCK, &set, std::ptr::null_mut()) < 0 {
            return Err(io::Error::last_os_error());
        }
        let fd = check(i64::from(libc::signalfd(
            -1,
            &set,
            libc::SFD_CLOEXEC | libc::SFD_NONBLOCK,
        )))?;
        Ok(OwnedFd::from_raw_fd(fd as RawFd))
    }
}

/// Reads what a signalfd holds and throws it away: the signals only say "look".
pub fn drain(fd: BorrowedFd<'_>) {
    let mut buffer = [0u8; 1024];
    while matches!(rustix::io::read(fd, &mut buffer), Ok(n) if n > 0) {}
}

/// One reaped child.
pub struct Reaped {
    pub pid: i32,
    pub code: i32,
    pub signal: Option<i32>,
}

/// Reaps one dead child, if there is one.
pub fn reap() -> Option<Reaped> {
    let mut status = 0;
    // SAFETY: status is a local.
    let pid = unsafe { libc::waitpid(-1, &mut status, libc::WNOHANG | libc::__WALL) };
    if pid <= 0 {
        return None;
    }
    if libc::WIFSIGNALED(status) {
        let signal = libc::WTERMSIG(status);
        return Some(Reaped {
            pid,
            code: 128 + signal,
            signal: Some(signal),
        });
    }
    Some(Reaped {
        pid,
        code: libc::WEXITSTATUS(status),
        signal: None,
    })
}

/// Sends any signal, real-time ones included, to the process behind a pidfd.
pub fn send_signal(process: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    // SAFETY: without siginfo and flags the call has no pointers to follow.
    check(unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            process.as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0u32,
        )
    })
    .map(drop)
}

/// prctl with up to two arguments.
pub fn prctl(option: i32, first: u64, second: u64) -> io::Result<i32> {
    // SAFETY: only called with options whose arguments are numbers.
    check(i64::from(unsafe {
        libc::prctl(option, first, second, 0u64, 0u64)
    }))
    .map(|v| v as i32)
}

#[repr(C)]
struct CapHeader {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Default, Clone, Copy)]
struct CapData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

const CAP_VERSION_3: u32 = 0x2008_0522;

/// Permitted capabilities of this thread as bits.
pub fn permitted_capabilities() -> io::Result<u64> {
    let mut header = CapHeader {
        version: CAP_VERSION_3,
        pid: 0,
    };
    let mut data = [CapData::default(); 2];
    // SAFETY: version 3 reads a header and writes two blocks.
    check(unsafe { libc::syscall(libc::SYS_capget, &raw mut header, data.as_mut_ptr()) })?;
    Ok(u64::from(data[0].permitted) | u64::from(data[1].permitted) << 32)
}

/// Sets effective and permitted capabilities to `bits` and inheritable ones to none.
pub fn set_capabilities(bits: u64) -> io::Result<()> {
    let header = CapHeader {
        version: CAP_VERSION_3,
        pid: 0,
    };
    let low = bits as u32;
    let high = (bits >> 32) as u32;
    let data = [
        CapData {
            effective: low,
            permitted: low,
            inheritable: 0,
        },
        CapData {
            effective: high,
            permitted: high,
            inheritable: 0,
        },
    ];
    // SAFETY: version 3 reads a header and two blocks.
    check(unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) }).map(drop)
}

/// Sets the identity of this single-threaded process.
pub fn set_identity(uid: u32, gid: u32, groups: &[u32]) -> io::Result<()> {
    // SAFETY: the pointer and length describe one slice; raw calls change only this thread.
    unsafe {
        check(libc::syscall(
            libc::SYS_setgroups,
            groups.len(),
            groups.as_ptr(),
        ))?;
        check(libc::syscall(libc::SYS_setresgid, gid, gid, gid))?;
        check(libc::syscall(libc::SYS_setresuid, uid, uid, uid))?;
    }
    Ok(())
}

/// Installs a classic BPF seccomp filter on this process.
pub fn install_filter(program: &[libc::sock_filter]) -> io::Result<()> {
    let length = u16::try_from(program.len())
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "filter is too long"))?;
    let program = libc::sock_fprog {
        len: length,
        filter: program.as_ptr().cast_mut(),
    };
    // SAFETY: the kernel copies the program during the call.
    check(unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            0u32,
            &raw const program,
        )
    })
    .map(drop)
}

/// Joins a fresh anonymous session keyring, so that the node's keys stay out of reach.
pub fn new_session_keyring() -> io::Result<()> {
    // SAFETY: operation 1 (join session keyring) with a null name.
    check(unsafe { libc::syscall(libc::SYS_keyctl, 1, std::ptr::null::<libc::c_char>()) }).map(drop)
}

/// Sets one resource limit of this process.
pub fn set_rlimit(resource: u32, soft: u64, hard: u64) -> io::Result<()> {
    let limit = libc::rlimit64 {
        rlim_cur: soft,
        rlim_max: hard,
    };
    // SAFETY: the limit outlives the call; pid 0 is this process.
    check(unsafe {
        libc::syscall(
            libc::SYS_prlimit64,
            0,
            resource,
            &raw const limit,
            std::ptr::null::<libc::rlimit64>(),
        )
    })
    .map(drop)
}

/// Sets the host name of the current UTS namespace.
pub fn set_hostname(name: &str) -> io::Result<()> {
    // SAFETY: pointer and length describe one slice.
    check(i64::from(unsafe {
        libc::sethostname(name.as_ptr().cast(), name.len())
    }))
    .map(drop)
}

/// Brings the loopback interface of the current network namespace up.
pub fn loopback_up() -> io::Result<()> {
    let socket = rustix::net::socket_with(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )?;
    // SAFETY: ifreq is plain data; the name is NUL-terminated by the zeroes.
    unsafe {
        let mut request: libc::ifreq = mem::zeroed();
        request.ifr_name[0] = b'l' as libc::c_char;
        request.ifr_name[1] = b'o' as libc::c_char;
        request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
        check(i64::from(libc::ioctl(
            socket.as_raw_fd(),
            libc::SIOCSIFFLAGS,
            &request,
        )))
        .map(drop)
    }
}

/// Makes `terminal` the controlling terminal of this session leader.
pub fn set_controlling_terminal(terminal: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: argument 0 does not steal.
    check(i64::from(unsafe {
        libc::ioctl(terminal.as_raw_fd(), libc::TIOCSCTTY, 0)
    }))
    .map(drop)
}

/// Replaces the process; returns only on failure.
pub fn exec(path: &CString, args: &[CString], env: &[CString]) -> io::Error {
    let terminated = |list: &[CString]| {
        let mut pointers: Vec<_> = list.iter().map(|s| s.as_ptr()).collect();
        pointers.push(std::ptr::null());
        pointers
    };
    let (argv, envp) = (terminated(args), terminated(env));
    // SAFETY: both arrays are NULL-terminated and their strings live until the call returns.
    unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
    io::Error::last_os_error()
}

/// The bpf system call with an attribute block.
pub fn bpf(command: u32, attributes: &[u8]) -> io::Result<i64> {
    // SAFETY: callers pass blocks whose embedded pointers outlive the call; the kernel reads `len` bytes.
    check(unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            attributes.as_ptr(),
            attributes.len() as u32,
        )
    })
}

/// Takes ownership of a descriptor number that a system call just returned.
pub fn own(fd: i64) -> OwnedFd {
    // SAFETY: only called with descriptors fresh from the kernel.
    unsafe { OwnedFd::from_raw_fd(fd as RawFd) }
}

/// Overwrites this process's command line as `ps` shows it. The area keeps its length.
pub fn set_command_line(text: &str) -> io::Result<()> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let after_name = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let mut fields = after_name.split(' ').skip(45).map(str::parse::<usize>); // arg_start is field 48
    let (Some(Ok(start)), Some(Ok(end))) = (fields.next(), fields.next()) else {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "no argument area in stat",
        ));
    };
    if start == 0 || end <= start {
        return Ok(());
    }
    // SAFETY: the kernel reports the writable stack area of this process's own arguments, which nobody reads any more.
    let area = unsafe { std::slice::from_raw_parts_mut(start as *mut u8, end - start) };
    area.fill(0);
    let length = text.len().min(area.len() - 1);
    area[..length].copy_from_slice(&text.as_bytes()[..length]);
    Ok(())
}

/// Whether a directory entry exists, without following a last symlink.
pub fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// A second descriptor of the same open file, close-on-exec.
pub fn duplicate(fd: impl AsFd) -> io::Result<OwnedFd> {
    fd.as_fd().try_clone_to_owned()
}
