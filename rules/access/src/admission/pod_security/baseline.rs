//! Checks of the baseline level: nothing that is known to escape from a container.

use super::subject::{
    Subject, Values, View, Violation, containers_text, plural, quoted, setters, violation,
};
use corten_api::core::v1::{LifecycleHandler, ProbeHandler, SELinuxOptions};
use std::collections::BTreeSet;

const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";
const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";
const DEFAULT_CAPABILITIES: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];
/// Safe sysctls, with the minor version that first allowed each.
const SYSCTLS: [(&str, u32); 12] = [
    ("kernel.shm_rmid_forced", 0),
    ("net.ipv4.ip_local_port_range", 0),
    ("net.ipv4.tcp_syncookies", 0),
    ("net.ipv4.ping_group_range", 0),
    ("net.ipv4.ip_unprivileged_port_start", 0),
    ("net.ipv4.ip_local_reserved_ports", 27),
    ("net.ipv4.tcp_keepalive_time", 29),
    ("net.ipv4.tcp_fin_timeout", 29),
    ("net.ipv4.tcp_keepalive_intvl", 29),
    ("net.ipv4.tcp_keepalive_probes", 29),
    ("net.ipv4.tcp_rmem", 32),
    ("net.ipv4.tcp_wmem", 32),
];

pub(super) fn app_armor(s: Subject, _minor: u32) -> Option<Violation> {
    let allowed = |t: &str| matches!(t, "RuntimeDefault" | "Localhost");
    let own = s.own().and_then(|c| c.app_armor_profile.as_deref());
    let own = own.map(|p| p.type_.as_str()).filter(|t| !allowed(t));
    let mut values: Values = own.into_iter().collect();
    let mut bad = Vec::new();
    for container in s.containers() {
        let profile = container
            .security
            .and_then(|c| c.app_armor_profile.as_deref());
        if let Some(profile) = profile.filter(|p| !allowed(&p.type_)) {
            bad.push(container.name);
            values.insert(&profile.type_);
        }
    }
    let annotations: BTreeSet<String> = s
        .annotations
        .iter()
        .filter(|(key, value)| {
            let fine = value.is_empty() || *value == "runtime/default";
            key.starts_with(APP_ARMOR) && !fine && !value.starts_with("localhost/")
        })
        .map(|(key, value)| format!("{key}={:?}", value.as_str()))
        .collect();
    let count = values.len() + annotations.len();
    let mut who: Vec<String> = setters(own.is_some(), &bad).into_iter().collect();
    if !annotations.is_empty() {
        who.push(plural("annotation", "annotations", annotations.len()).to_owned());
    }
    if who.is_empty() {
        return None;
    }
    let values = values.iter().map(|v| (*v).to_owned()).chain(annotations);
    let reason = plural(
        "forbidden AppArmor profile",
        "forbidden AppArmor profiles",
        count,
    );
    let who = who.join(" and ");
    violation(
        reason,
        format!(
            "{who} must not set AppArmor profile type to {}",
            quoted(values)
        ),
    )
}

pub(super) fn capabilities(s: Subject, _minor: u32) -> Option<Violation> {
    let mut values = Values::new();
    let mut bad = Vec::new();
    for container in s.containers() {
        let capabilities = container.security.and_then(|c| c.capabilities.as_deref());
        let added = capabilities.into_iter().flat_map(|c| c.add.iter());
        let wrong: Vec<&str> = added
            .map(|c| c.as_str())
            .filter(|c| !DEFAULT_CAPABILITIES.contains(c))
            .collect();
        if !wrong.is_empty() {
            bad.push(container.name);
            values.extend(wrong);
        }
    }
    if bad.is_empty() {
        return None;
    }
    violation(
        "non-default capabilities",
        format!(
            "{} must not include {} in securityContext.capabilities.add",
            containers_text(&bad),
            quoted(values)
        ),
    )
}

pub(super) fn host_namespaces(s: Subject, _minor: u32) -> Option<Violation> {
    let shared = [
        (s.spec.host_network, "hostNetwork=true"),
        (s.spec.host_pid, "hostPID=true"),
        (s.spec.host_ipc, "hostIPC=true"),
    ];
    let shared: Vec<&str> = shared
        .iter()
        .filter(|(is, _)| *is)
        .map(|(_, text)| *text)
        .collect();
    match shared.is_empty() {
        true => None,
        false => violation("host namespaces", shared.join(", ")),
    }
}

pub(super) fn host_path(s: Subject, _minor: u32) -> Option<Violation> {
    let volumes = s.spec.volumes.iter();
    let bad: Vec<&str> = volumes
        .filter(|v| v.volume_source.host_path.is_some())
        .map(|v| v.name.as_str())
        .collect();
    match bad.len() {
        0 => None,
        count => violation(
            "hostPath volumes",
            format!("{} {}", plural("volume", "volumes", count), quoted(bad)),
        ),
    }
}

pub(super) fn host_ports(s: Subject, _minor: u32) -> Option<Violation> {
    let mut ports: BTreeSet<String> = BTreeSet::new();
    let mut bad = Vec::new();
    for container in s.containers() {
        let found = container.ports.iter().filter(|p| p.host_port != 0);
        let found: Vec<String> = found.map(|p| p.host_port.to_string()).collect();
        if !found.is_empty() {
            bad.push(container.name);
            ports.extend(found);
        }
    }
    if bad.is_empty() {
        return None;
    }
    let ports: Vec<String> = ports.into_iter().collect();
    violation(
        "hostPort",
        format!(
            "{} {} {} {}",
            containers_text(&bad),
            plural("uses", "use", bad.len()),
            plural("hostPort", "hostPorts", ports.len()),
            ports.join(", ")
        ),
    )
}

fn probe_hosts(handler: &ProbeHandler) -> impl Iterator<Item = &str> {
    let http = handler.http_get.as_deref().map(|h| h.host.as_str());
    let tcp = handler.tcp_socket.as_deref().map(|t| t.host.as_str());
    http.into_iter().chain(tcp).filter(|host| !host.is_empty())
}

fn hook_hosts(handler: &LifecycleHandler) -> impl Iterator<Item = &str> {
    let http = handler.http_get.as_deref().map(|h| h.host.as_str());
    let tcp = handler.tcp_socket.as_deref().map(|t| t.host.as_str());
    http.into_iter().chain(tcp).filter(|host| !host.is_empty())
}

fn hosts<'a>(container: &View<'a>) -> Vec<&'a str> {
    let probes = container.probes.into_iter().flatten();
    let hooks = container.lifecycle.into_iter().flat_map(|l| {
        let both = [l.post_start.as_deref(), l.pre_stop.as_deref()];
        both.into_iter().flatten()
    });
    probes
        .flat_map(|p| probe_hosts(&p.probe_handler))
        .chain(hooks.flat_map(hook_hosts))
        .collect()
}

pub(super) fn host_probes(s: Subject, _minor: u32) -> Option<Violation> {
    let mut bad = Values::new();
    let mut found = Values::new();
    for container in s.containers() {
        let hosts = hosts(&container);
        if !hosts.is_empty() {
            bad.insert(container.name);
            found.extend(hosts);
        }
    }
    if bad.is_empty() {
        return None;
    }
    let bad: Vec<&str> = bad.into_iter().collect();
    let word = plural(
        "probe or lifecycle host",
        "probe or lifecycle hosts",
        found.len(),
    );
    violation(
        "probe or lifecycle host",
        format!(
            "{} {} {word} {}",
            containers_text(&bad),
            plural("uses", "use", bad.len()),
            quoted(found)
        ),
    )
}

pub(super) fn privileged(s: Subject, _minor: u32) -> Option<Violation> {
    let bad = s.named(|c| c.privileged == Some(true));
    let who = setters(false, &bad)?;
    violation(
        "privileged",
        format!("{who} must not set securityContext.privileged=true"),
    )
}

pub(super) fn proc_mount(s: Subject, minor: u32) -> Option<Violation> {
    if minor >= 35 && s.has_own_users() {
        return None;
    }
    any_proc_mount(s, minor)
}

/// The same for the restricted level, which trusts user namespaces no more than others.
pub(super) fn any_proc_mount(s: Subject, _minor: u32) -> Option<Violation> {
    let mut values = Values::new();
    let mut bad = Vec::new();
    for container in s.containers() {
        let mount = container.security.and_then(|c| c.proc_mount.as_deref());
        if let Some(mount) = mount.filter(|m| *m != "Default") {
            bad.push(container.name);
            values.insert(mount);
        }
    }
    let who = setters(false, &bad)?;
    violation(
        "procMount",
        format!(
            "{who} must not set securityContext.procMount to {}",
            quoted(values)
        ),
    )
}

pub(super) fn se_linux(s: Subject, minor: u32) -> Option<Violation> {
    let mut types = Values::new();
    let (mut user, mut role) = (false, false);
    let allowed = |t: &str| {
        matches!(
            t,
            "" | "container_t" | "container_init_t" | "container_kvm_t"
        ) || (minor >= 31 && t == "container_engine_t")
    };
    fn wrong(options: &SELinuxOptions, fine: bool) -> bool {
        !fine || !options.user.is_empty() || !options.role.is_empty()
    }
    let own = s.own().and_then(|c| c.se_linux_options.as_deref());
    let own_is_bad = own.is_some_and(|o| wrong(o, allowed(&o.type_)));
    let mut bad = Vec::new();
    let mut seen: Vec<&SELinuxOptions> = own.into_iter().collect();
    for container in s.containers() {
        let options = container
            .security
            .and_then(|c| c.se_linux_options.as_deref());
        if let Some(options) = options {
            seen.push(options);
            if wrong(options, allowed(&options.type_)) {
                bad.push(container.name);
            }
        }
    }
    for options in seen {
        if !allowed(&options.type_) {
            types.insert(&options.type_);
        }
        user |= !options.user.is_empty();
        role |= !options.role.is_empty();
    }
    let who = setters(own_is_bad, &bad)?;
    let mut data = Vec::new();
    if !types.is_empty() {
        let word = plural("type", "types", types.len());
        data.push(format!("{word} {}", quoted(types)));
    }
    if user {
        data.push("user may not be set".to_owned());
    }
    if role {
        data.push("role may not be set".to_owned());
    }
    violation(
        "seLinuxOptions",
        format!(
            "{who} set forbidden securityContext.seLinuxOptions: {}",
            data.join("; ")
        ),
    )
}

/// Whether a seccomp profile confines.
pub(super) fn confines(kind: &str) -> bool {
    matches!(kind, "Localhost" | "RuntimeDefault")
}

pub(super) fn seccomp(s: Subject, minor: u32) -> Option<Violation> {
    if minor < 19 {
        return seccomp_annotations(s);
    }
    let own = s.own().and_then(|c| c.seccomp_profile.as_deref());
    let own = own.map(|p| p.type_.as_str()).filter(|t| !confines(t));
    let mut values: Values = own.into_iter().collect();
    let mut bad = Vec::new();
    for container in s.containers() {
        let profile = container
            .security
            .and_then(|c| c.seccomp_profile.as_deref());
        if let Some(profile) = profile.filter(|p| !confines(&p.type_)) {
            bad.push(container.name);
            values.insert(&profile.type_);
        }
    }
    let who = setters(own.is_some(), &bad)?;
    violation(
        "seccompProfile",
        format!(
            "{who} must not set securityContext.seccompProfile.type to {}",
            quoted(values)
        ),
    )
}

fn seccomp_annotations(s: Subject) -> Option<Violation> {
    let containers = s
        .containers()
        .map(|c| format!("{SECCOMP_CONTAINER}{}", c.name));
    let keys = std::iter::once(SECCOMP_POD.to_owned()).chain(containers);
    let bad: BTreeSet<String> = keys
        .filter_map(|key| {
            let value = s.annotations.get(&key)?;
            let fine = matches!(value.as_str(), "runtime/default" | "docker/default")
                || value.starts_with("localhost/");
            (!fine).then(|| format!("{key}={:?}", value.as_str()))
        })
        .collect();
    if bad.is_empty() {
        return None;
    }
    let word = plural("annotation", "annotations", bad.len());
    let bad: Vec<String> = bad.into_iter().collect();
    violation(
        "seccompProfile",
        format!("forbidden {word} {}", bad.join(", ")),
    )
}

pub(super) fn sysctls(s: Subject, minor: u32) -> Option<Violation> {
    let allowed = |name: &str| {
        SYSCTLS
            .iter()
            .any(|(n, since)| *n == name && *since <= minor)
    };
    let set = s.own().into_iter().flat_map(|c| c.sysctls.iter());
    let bad: Vec<&str> = set
        .map(|c| c.name.as_str())
        .filter(|n| !allowed(n))
        .collect();
    match bad.is_empty() {
        true => None,
        false => violation("forbidden sysctls", bad.join(", ")),
    }
}

pub(super) fn host_process(s: Subject, _minor: u32) -> Option<Violation> {
    let own = s.own().and_then(|c| c.windows_options.as_deref());
    let bad = s.named(|c| {
        let options = c.windows_options.as_deref();
        options.is_some_and(|o| o.host_process == Some(true))
    });
    let who = setters(own.is_some_and(|o| o.host_process == Some(true)), &bad)?;
    violation(
        "hostProcess",
        format!("{who} must not set securityContext.windowsOptions.hostProcess=true"),
    )
}
