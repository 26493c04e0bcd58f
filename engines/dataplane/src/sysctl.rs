//! Settings under /proc/sys/net of the calling thread's network namespace.

use std::fs;
use std::path::PathBuf;

use crate::{Error, Result};

/// Makes a setting (`ipv4/ip_forward`) have a value. It is only written if it differs, so that a read-only /proc/sys
/// with the right values is enough.
pub fn set(name: &str, value: &str) -> Result<()> {
    let path = PathBuf::from("/proc/sys/net").join(name);
    if fs::read_to_string(&path).is_ok_and(|now| now.trim() == value) {
        return Ok(());
    }
    fs::write(&path, value).map_err(|source| Error::Sysctl { path, source })
}
