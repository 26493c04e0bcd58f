//! The RuntimeDefault profile: every known system call except those that reach past the container, some of
//! them open to holders of the capability that governs them. The same set as containerd's and Docker's profiles
//! for the native interface; 32-bit programs are not covered (they are killed).

use std::collections::BTreeMap;

use super::{Action, Comparison, Condition, Profile, system_calls};
use crate::process::capability_bit;

/// Denied to everybody.
const DENIED: &[&str] = &[
    "_sysctl",
    "add_key",
    "afs_syscall",
    "create_module",
    "get_kernel_syms",
    "getpmsg",
    "io_uring_enter",
    "io_uring_register",
    "io_uring_setup",
    "kexec_file_load",
    "kexec_load",
    "keyctl",
    "migrate_pages",
    "move_pages",
    "nfsservctl",
    "pivot_root",
    "putpmsg",
    "query_module",
    "request_key",
    "security",
    "swapoff",
    "swapon",
    "sysfs",
    "tuxcall",
    "uselib",
    "userfaultfd",
    "ustat",
    "vserver",
];

/// Denied without the capability.
const GUARDED: &[(&str, &[&str])] = &[
    ("DAC_READ_SEARCH", &["open_by_handle_at"]),
    (
        "SYS_ADMIN",
        &[
            "bpf",
            "fanotify_init",
            "fsconfig",
            "fsmount",
            "fsopen",
            "fspick",
            "listmount",
            "lookup_dcookie",
            "mount",
            "mount_setattr",
            "move_mount",
            "open_tree",
            "open_tree_attr",
            "perf_event_open",
            "quotactl",
            "quotactl_fd",
            "setdomainname",
            "sethostname",
            "setns",
            "statmount",
            "syslog",
            "umount2",
            "unshare",
        ],
    ),
    ("BPF", &["bpf"]),
    ("PERFMON", &["perf_event_open"]),
    ("SYSLOG", &["syslog"]),
    ("SYS_BOOT", &["reboot"]),
    ("SYS_CHROOT", &["chroot"]),
    (
        "SYS_MODULE",
        &["delete_module", "finit_module", "init_module"],
    ),
    (
        "SYS_NICE",
        &[
            "get_mempolicy",
            "mbind",
            "set_mempolicy",
            "set_mempolicy_home_node",
        ],
    ),
    ("SYS_PACCT", &["acct"]),
    ("SYS_PTRACE", &["kcmp", "pidfd_getfd", "process_madvise"]),
    ("SYS_RAWIO", &["ioperm", "iopl"]),
    ("SYS_TIME", &["clock_settime", "settimeofday"]),
    ("SYS_TTY_CONFIG", &["vhangup"]),
];

/// The flags of clone that make namespaces.
const NEW_NAMESPACES: u64 = 0x7e02_0000;
/// personality(2) values that change nothing dangerous: Linux, 32-bit addresses, their short-inode forms, and "ask".
const PERSONALITIES: [u64; 5] = [0x0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];
const AF_VSOCK: u64 = 40;

/// The profile for a process whose bounding set is `capabilities`.
pub fn runtime_default(capabilities: u64) -> Profile {
    let has = |name: &str| capability_bit(name).is_some_and(|bit| capabilities & 1 << bit != 0);
    let allowed = |call: &str| {
        let mut guards = GUARDED
            .iter()
            .filter(|(_, calls)| calls.contains(&call))
            .peekable();
        !DENIED.contains(&call) && (guards.peek().is_none() || guards.any(|(name, _)| has(name)))
    };
    let mut profile = Profile {
        default: Action::Errno(libc::EPERM as u16),
        rules: BTreeMap::new(),
    };
    let on = |comparison, value| {
        vec![Condition {
            argument: 0,
            comparison,
            value,
        }]
    };
    for (number, call) in system_calls() {
        match call {
            "clone" if !has("SYS_ADMIN") => {
                profile.add(
                    number,
                    Action::Allow,
                    on(Comparison::MaskedEqual(NEW_NAMESPACES), 0),
                );
            }
            // Its flags lie behind a pointer; libraries fall back to clone.
            "clone3" if !has("SYS_ADMIN") => {
                profile.add(number, Action::Errno(libc::ENOSYS as u16), vec![]);
            }
            "personality" => {
                for value in PERSONALITIES {
                    profile.add(number, Action::Allow, on(Comparison::Equal, value));
                }
            }
            "socket" => profile.add(number, Action::Allow, on(Comparison::NotEqual, AF_VSOCK)),
            call if allowed(call) => profile.add(number, Action::Allow, vec![]),
            _ => profile.add(number, profile.default, vec![]),
        }
    }
    profile
}

#[cfg(test)]
mod tests {
    use super::super::assemble::{assemble, tests::run};
    use super::*;
    use crate::process::Capabilities;

    fn number(name: &str) -> u32 {
        system_calls().find(|(_, call)| *call == name).unwrap().0
    }

    #[test]
    fn every_named_call_exists_on_some_architecture() {
        let both = [include_str!("x86_64.txt"), include_str!("aarch64.txt")].concat();
        let known: Vec<_> = both
            .lines()
            .filter_map(|line| line.split(' ').nth(1))
            .collect();
        let guarded = GUARDED.iter().flat_map(|(_, calls)| calls.iter());
        for name in DENIED.iter().chain(guarded) {
            assert!(known.contains(name), "{name}");
        }
    }

    #[test]
    fn the_default_capabilities_get_the_default_filter() {
        let program = assemble(&runtime_default(Capabilities::default_set()));
        assert!(program.len() < 200, "{} instructions", program.len());
        let eperm = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
        let enosys = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;
        let allow = libc::SECCOMP_RET_ALLOW;
        let ask = |name: &str, first: u64| run(&program, number(name), [first, 0, 0, 0, 0, 0]);
        for name in [
            "read",
            "openat",
            "execve",
            "ptrace",
            "chroot",
            "futex",
            "statx",
            "landlock_create_ruleset",
        ] {
            assert_eq!(ask(name, 0), allow, "{name}");
        }
        for name in [
            "mount",
            "unshare",
            "setns",
            "keyctl",
            "bpf",
            "io_uring_setup",
            "init_module",
            "reboot",
        ] {
            assert_eq!(ask(name, 0), eperm, "{name}");
        }
        assert_eq!(ask("clone3", 0), enosys);
        assert_eq!(
            (ask("clone", 0x11), ask("clone", 0x1000_0011)),
            (allow, eperm)
        );
        assert_eq!((ask("socket", 2), ask("socket", AF_VSOCK)), (allow, eperm));
        assert_eq!(
            (ask("personality", 8), ask("personality", 0x40000)),
            (allow, eperm)
        );
        assert_eq!(run(&program, 5000, [0; 6]), enosys);
    }

    #[test]
    fn a_capability_opens_its_calls() {
        let admin = 1u64 << capability_bit("SYS_ADMIN").unwrap();
        let program = assemble(&runtime_default(admin));
        for name in ["mount", "clone3", "unshare", "syslog"] {
            assert_eq!(
                run(&program, number(name), [u64::MAX; 6]),
                libc::SECCOMP_RET_ALLOW,
                "{name}"
            );
        }
        assert_ne!(
            run(&program, number("reboot"), [0; 6]),
            libc::SECCOMP_RET_ALLOW
        );
    }
}
