//! The last steps from a prepared child to the container's program: limits, identity, capabilities, filter, exec.
//! Runs inside the container's root and namespaces; returns only when something failed.

use std::ffi::CString;
use std::fs;
use std::io;

use libc::sock_filter;

use super::{Capabilities, Identity, look_path};
use crate::config::{ContainerConfig, Rlimit, RlimitKind, SeccompProfile};
use crate::seccomp;
use crate::sys;

/// Everything about one process that does not depend on the file system it will see.
pub struct ProcessSpec {
    pub arguments: Vec<String>,
    pub environment: Vec<(String, String)>,
    pub working_directory: String,
    pub identity: Identity,
    pub capabilities: u64,
    pub no_new_privileges: bool,
    /// Assembled filter; `None` is unconfined.
    pub filter: Option<Vec<sock_filter>>,
    pub apparmor_profile: Option<String>,
    pub rlimits: Vec<Rlimit>,
}

impl ProcessSpec {
    /// The process of `config` with another command line. Reads a Localhost profile from the node's file system.
    pub fn new(
        config: &ContainerConfig,
        arguments: Vec<String>,
        environment: Vec<(String, String)>,
        identity: Identity,
    ) -> Result<Self, String> {
        let security = &config.security;
        let permitted = sys::permitted_capabilities().map_err(|e| format!("capget: {e}"))?;
        let capabilities = Capabilities::wanted(security)? & permitted;
        let profile = match &security.seccomp {
            _ if security.privileged => None,
            SeccompProfile::Unconfined => None,
            SeccompProfile::RuntimeDefault => Some(seccomp::runtime_default(capabilities)),
            SeccompProfile::Localhost(path) => {
                let fail = |why: String| format!("seccomp profile {}: {why}", path.display());
                let text = fs::read_to_string(path).map_err(|e| fail(e.to_string()))?;
                Some(seccomp::parse(&text).map_err(fail)?)
            }
        };
        Ok(Self {
            arguments,
            environment,
            working_directory: super::working_directory(config).to_owned(),
            identity,
            capabilities,
            no_new_privileges: security.no_new_privileges,
            filter: profile.map(|profile| seccomp::assemble(&profile)),
            apparmor_profile: security.apparmor_profile.clone(),
            rlimits: config.rlimits.clone(),
        })
    }
}

fn at<E: std::fmt::Display>(what: &str) -> impl FnOnce(E) -> String {
    let what = what.to_owned();
    move |error| format!("{what}: {error}")
}

/// Takes on the process's attributes, waits for `gate`, and executes the program; returns why it could not.
pub fn become_process(
    spec: &mut ProcessSpec,
    gate: impl FnOnce() -> Result<(), String>,
) -> Result<std::convert::Infallible, String> {
    for limit in &spec.rlimits {
        let _ = sys::set_rlimit(resource(limit.kind), limit.soft, limit.hard);
    }
    let _ = sys::new_session_keyring(); // kernels without keys, or over quota
    if let Some(profile) = &spec.apparmor_profile {
        change_profile(profile)?;
    }
    if spec.no_new_privileges {
        sys::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0).map_err(at("set no_new_privs"))?;
    } else if let Some(filter) = spec.filter.take() {
        // Without no_new_privs only an administrator may load a filter, so before giving that up.
        sys::install_filter(&filter).map_err(at("load seccomp filter"))?;
    }
    take_identity(spec)?;
    if !spec.environment.iter().any(|(name, _)| name == "HOME") {
        spec.environment
            .push(("HOME".to_owned(), spec.identity.home.clone()));
    }
    let program = look_path(&spec.arguments[0], &spec.environment)?;
    let c_string =
        |text: &str| CString::new(text).map_err(|_| "argument contains a NUL byte".to_owned());
    let path = c_string(&program)?;
    let arguments = spec
        .arguments
        .iter()
        .map(|a| c_string(a))
        .collect::<Result<Vec<_>, _>>()?;
    let environment = spec
        .environment
        .iter()
        .map(|(name, value)| c_string(&format!("{name}={value}")))
        .collect::<Result<Vec<_>, _>>()?;
    gate()?;
    if let Some(filter) = spec.filter.take() {
        sys::install_filter(&filter).map_err(at("load seccomp filter"))?;
    }
    let error = sys::exec(&path, &arguments, &environment);
    Err(format!("exec {program}: {}", plain(&error)))
}

/// The error's text without Rust's number, first letter small, as other runtimes print it.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_lowercase().chain(letters).collect()
    })
}

fn take_identity(spec: &ProcessSpec) -> Result<(), String> {
    let directory = &spec.working_directory;
    // Twice: before, for directories only root may enter; after, for those root may not (network file systems).
    let entered = std::env::set_current_dir(directory);
    for bit in 0..64 {
        if spec.capabilities & 1 << bit != 0 {
            continue;
        }
        match sys::prctl(libc::PR_CAPBSET_DROP, bit, 0) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => break, // past the kernel's last
            Err(error) => {
                return Err(format!(
                    "drop capability {bit} from the bounding set: {error}"
                ));
            }
            Ok(_) => {}
        }
    }
    sys::prctl(libc::PR_SET_KEEPCAPS, 1, 0).map_err(at("keep capabilities"))?;
    let ids = &spec.identity.ids;
    sys::set_identity(ids.uid, ids.gid, &ids.groups).map_err(at("set user and groups"))?;
    if entered.is_err() {
        std::env::set_current_dir(directory).map_err(|e| {
            format!(
                "chdir to cwd ({directory:?}) set in config.json failed: {}",
                plain(&e)
            )
        })?;
    }
    sys::prctl(libc::PR_SET_KEEPCAPS, 0, 0).map_err(at("forget capabilities"))?;
    let _ = sys::prctl(
        libc::PR_CAP_AMBIENT,
        libc::PR_CAP_AMBIENT_CLEAR_ALL as u64,
        0,
    );
    sys::set_capabilities(spec.capabilities).map_err(at("set capabilities"))
}

fn change_profile(profile: &str) -> Result<(), String> {
    let text = format!("exec {profile}");
    ["/proc/self/attr/apparmor/exec", "/proc/self/attr/exec"]
        .into_iter()
        .find(|path| fs::write(path, &text).is_ok())
        .map(drop)
        .ok_or_else(|| format!("apply apparmor profile {profile}: the kernel refused it"))
}

fn resource(kind: RlimitKind) -> u32 {
    let number = match kind {
        RlimitKind::As => libc::RLIMIT_AS,
        RlimitKind::Core => libc::RLIMIT_CORE,
        RlimitKind::Cpu => libc::RLIMIT_CPU,
        RlimitKind::Data => libc::RLIMIT_DATA,
        RlimitKind::Fsize => libc::RLIMIT_FSIZE,
        RlimitKind::Locks => libc::RLIMIT_LOCKS,
        RlimitKind::Memlock => libc::RLIMIT_MEMLOCK,
        RlimitKind::Msgqueue => libc::RLIMIT_MSGQUEUE,
        RlimitKind::Nice => libc::RLIMIT_NICE,
        RlimitKind::Nofile => libc::RLIMIT_NOFILE,
        RlimitKind::Nproc => libc::RLIMIT_NPROC,
        RlimitKind::Rss => libc::RLIMIT_RSS,
        RlimitKind::Rtprio => libc::RLIMIT_RTPRIO,
        RlimitKind::Rttime => libc::RLIMIT_RTTIME,
        RlimitKind::Sigpending => libc::RLIMIT_SIGPENDING,
        RlimitKind::Stack => libc::RLIMIT_STACK,
    };
    #[allow(
        clippy::unnecessary_cast,
        reason = "the constants' type differs between C libraries"
    )]
    let number = number as u32;
    number
}
