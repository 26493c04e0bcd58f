//! Capability names, the default set, and what a security configuration makes of it.

use crate::config::{DEFAULT_CAPABILITIES, SecurityConfig};

/// Names by bit.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// The bit of a capability named with or without `CAP_`, in any case.
pub fn capability_bit(name: &str) -> Option<u32> {
    let upper = name.to_ascii_uppercase();
    let short = upper.strip_prefix("CAP_").unwrap_or(&upper);
    NAMES
        .iter()
        .position(|known| *known == short)
        .map(|bit| bit as u32)
}

/// Capability sets as bits.
pub struct Capabilities;

impl Capabilities {
    /// Every capability this program knows.
    pub const ALL: u64 = (1 << NAMES.len()) - 1;

    /// The set of a container that asks for nothing.
    pub fn default_set() -> u64 {
        DEFAULT_CAPABILITIES
            .iter()
            .filter_map(|name| capability_bit(name))
            .fold(0, |s, b| s | 1 << b)
    }

    /// What `security` asks for; the error names an unknown capability. `ALL` in both lists: the other entries
    /// of the opposite list still count, as upstream's runtimes do it.
    pub fn wanted(security: &SecurityConfig) -> Result<u64, String> {
        if security.privileged {
            return Ok(Self::ALL);
        }
        let mut set = Self::default_set();
        let all = |list: &[String]| list.iter().any(|name| name.eq_ignore_ascii_case("ALL"));
        if all(&security.add_capabilities) {
            set = Self::ALL;
        }
        if all(&security.drop_capabilities) {
            set = 0;
        }
        for name in &security.add_capabilities {
            set |= bits(name)?;
        }
        for name in &security.drop_capabilities {
            set &= !bits(name)?;
        }
        Ok(set)
    }
}

/// The bit of one list entry; none for `ALL`.
fn bits(name: &str) -> Result<u64, String> {
    if name.eq_ignore_ascii_case("ALL") {
        return Ok(0);
    }
    capability_bit(name)
        .map(|bit| 1 << bit)
        .ok_or_else(|| format!("unknown capability {name:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(add: &[&str], drop: &[&str]) -> Result<u64, String> {
        let list = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        Capabilities::wanted(&SecurityConfig {
            add_capabilities: list(add),
            drop_capabilities: list(drop),
            ..SecurityConfig::default()
        })
    }

    #[test]
    fn sets_are_added_and_dropped() {
        assert_eq!(
            Capabilities::default_set(),
            0xa804_25fb,
            "as docker and containerd have it"
        );
        let bit = |name| 1u64 << capability_bit(name).unwrap();
        assert_eq!(
            wanted(&["NET_ADMIN"], &["ALL"]).unwrap(),
            bit("cap_net_admin")
        );
        assert_eq!(
            wanted(&["ALL"], &["CHOWN"]).unwrap(),
            Capabilities::ALL & !bit("CHOWN")
        );
        assert_eq!(
            wanted(&[], &["CAP_KILL"]).unwrap(),
            Capabilities::default_set() & !bit("KILL")
        );
        assert!(wanted(&["FLY"], &[]).unwrap_err().contains("FLY"));
    }
}
