//! Security contexts of pods and containers.

use super::{Scope, windows};
use crate::checks::{self, Errors};
use crate::error::{FieldError, quote, verbatim};
use crate::metadata::value_of;
use crate::names;
use corten_api::core::v1::{AppArmorProfile, PodSecurityContext, SeccompProfile, SecurityContext};
use corten_core::Path;

const SYSCTL: &str = r"^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";

fn id(errors: &mut Errors, path: &Path, id: Option<i64>) {
    if let Some(id) = id {
        errors.extend(
            names::user_id(id)
                .into_iter()
                .map(|m| FieldError::invalid(path, id, m)),
        );
    }
}

pub(super) fn container(
    errors: &mut Errors,
    path: &Path,
    context: Option<&SecurityContext>,
    scope: &Scope,
) {
    let Some(c) = context else { return };
    id(errors, &path.f("runAsUser"), c.run_as_user);
    id(errors, &path.f("runAsGroup"), c.run_as_group);
    if let Some(mount) = &c.proc_mount {
        let at = path.f("procMount");
        checks::known(errors, &at, mount, &["Default", "Unmasked"]);
        if mount == "Unmasked" && scope.spec.host_users != Some(false) {
            errors.push(FieldError::invalid(
                &at,
                mount,
                "`hostUsers` must be false to use `Unmasked`",
            ));
        }
    }
    seccomp(
        errors,
        &path.f("seccompProfile"),
        c.seccomp_profile.as_deref(),
    );
    if c.allow_privilege_escalation == Some(false) {
        if c.privileged == Some(true) {
            let text = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
            errors.push(FieldError::invalid(path, value_of(c), text));
        }
        let added = c.capabilities.as_ref().map(|c| &c.add);
        if added.is_some_and(|a| a.iter().any(|c| c == "CAP_SYS_ADMIN")) {
            let text = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
            errors.push(FieldError::invalid(path, value_of(c), text));
        }
    }
    windows::options(
        errors,
        &path.f("windowsOptions"),
        c.windows_options.as_deref(),
    );
    app_armor(
        errors,
        &path.f("appArmorProfile"),
        c.app_armor_profile.as_deref(),
    );
}

pub(super) fn pod(errors: &mut Errors, path: &Path, scope: &Scope) {
    let Some(c) = scope.spec.security_context.as_deref() else {
        return;
    };
    id(errors, &path.f("fsGroup"), c.fs_group);
    id(errors, &path.f("runAsUser"), c.run_as_user);
    id(errors, &path.f("runAsGroup"), c.run_as_group);
    for (i, group) in c.supplemental_groups.iter().enumerate() {
        id(errors, &path.f("supplementalGroups").i(i), Some(*group));
    }
    if scope.spec.share_process_namespace == Some(true) && scope.spec.host_pid {
        let text = "ShareProcessNamespace and HostPID cannot both be enabled";
        errors.push(FieldError::invalid(
            path.f("shareProcessNamespace"),
            true,
            text,
        ));
    }
    sysctls(errors, &path.f("sysctls"), c, scope);
    if let Some(policy) = &c.fs_group_change_policy {
        checks::known(
            errors,
            &path.f("fsGroupChangePolicy"),
            policy,
            &["Always", "OnRootMismatch"],
        );
    }
    seccomp(
        errors,
        &path.f("seccompProfile"),
        c.seccomp_profile.as_deref(),
    );
    app_armor(
        errors,
        &path.f("appArmorProfile"),
        c.app_armor_profile.as_deref(),
    );
    if let Some(policy) = &c.supplemental_groups_policy {
        checks::known(
            errors,
            &path.f("supplementalGroupsPolicy"),
            policy,
            &["Merge", "Strict"],
        );
    }
    if let Some(policy) = &c.se_linux_change_policy {
        checks::known(
            errors,
            &path.f("seLinuxChangePolicy"),
            policy,
            &["Recursive"],
        );
    }
    windows::options(
        errors,
        &path.f("windowsOptions"),
        c.windows_options.as_deref(),
    );
}

fn is_sysctl(name: &str) -> bool {
    let edge = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    name.len() <= 253
        && name.split(['.', '/']).all(|part| {
            let bytes = part.as_bytes();
            bytes.iter().all(|b| edge(b) || matches!(b, b'-' | b'_'))
                && bytes.first().is_some_and(edge)
                && bytes.last().is_some_and(edge)
        })
}

fn sysctls(errors: &mut Errors, path: &Path, context: &PodSecurityContext, scope: &Scope) {
    for (i, sysctl) in context.sysctls.iter().enumerate() {
        let at = path.i(i);
        let at = at.f("name");
        let name = sysctl.name.as_str();
        if name.is_empty() {
            errors.push(FieldError::required(&at, ""));
        } else if !is_sysctl(name) {
            let text = format!("must have at most 253 characters and match regex {SYSCTL}");
            errors.push(FieldError::invalid(&at, name, text));
        } else if context.sysctls[..i].iter().any(|s| s.name == name) {
            errors.push(FieldError::duplicate(&at, name));
        }
        let dotted = name.replace('/', ".");
        if scope.spec.host_network && dotted.starts_with("net.") {
            errors.push(FieldError::invalid(
                &at,
                name,
                "may not be specified when 'hostNetwork' is true",
            ));
        }
        let ipc = ["kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue."]
            .iter()
            .any(|p| dotted.starts_with(p));
        if scope.spec.host_ipc && ipc {
            errors.push(FieldError::invalid(
                &at,
                name,
                "may not be specified when 'hostIPC' is true",
            ));
        }
    }
}

const PROFILES: [&str; 3] = ["Localhost", "RuntimeDefault", "Unconfined"];

fn seccomp(errors: &mut Errors, path: &Path, profile: Option<&SeccompProfile>) {
    let Some(profile) = profile else { return };
    let at = path.f("type");
    if profile.type_.is_empty() {
        errors.push(FieldError::required(
            &at,
            "type is required when seccompProfile is set",
        ));
    } else {
        checks::known(errors, &at, &profile.type_, &PROFILES);
    }
    let at = path.f("localhostProfile");
    match (&profile.localhost_profile, profile.type_ == "Localhost") {
        (None, true) => {
            errors.push(FieldError::required(
                &at,
                "must be set when seccomp type is Localhost",
            ));
        }
        (Some(file), true) => checks::descending_path(errors, &at, file),
        (Some(_), false) => {
            let text = "can only be set when seccomp type is Localhost";
            let file = profile
                .localhost_profile
                .as_ref()
                .map_or("", |f| f.as_str());
            let (kind, file) = (quote(&profile.type_), quote(file));
            let shown = verbatim(format!("{{\"Type\":{kind},\"LocalhostProfile\":{file}}}"));
            errors.push(FieldError::invalid(&at, shown, text));
        }
        (None, false) => {}
    }
}

fn app_armor(errors: &mut Errors, path: &Path, profile: Option<&AppArmorProfile>) {
    let Some(profile) = profile else { return };
    let at = path.f("localhostProfile");
    let needed = "must be set when AppArmor type is Localhost";
    match (profile.type_.as_str(), &profile.localhost_profile) {
        ("Localhost", None) => errors.push(FieldError::required(&at, needed)),
        ("Localhost", Some(name)) => {
            if name.trim() != name.as_str() {
                errors.push(FieldError::invalid(
                    &at,
                    name,
                    "must not be padded with whitespace",
                ));
            } else if name.is_empty() {
                errors.push(FieldError::required(&at, needed));
            }
            if name.len() > 4095 {
                errors.push(FieldError::too_long(&at, 4095));
            }
        }
        ("RuntimeDefault" | "Unconfined", None) => {}
        ("RuntimeDefault" | "Unconfined", Some(name)) => {
            errors.push(FieldError::invalid(
                &at,
                name,
                "can only be set when AppArmor type is Localhost",
            ));
        }
        ("", _) => {
            errors.push(FieldError::required(
                path.f("type"),
                "type is required when appArmorProfile is set",
            ));
        }
        (other, _) => errors.push(FieldError::not_supported(path.f("type"), other, &PROFILES)),
    }
}
