//! Security contexts as the runtime's permissions, and the check of runAsNonRoot.

use corten_api::core::v1::{
    Container, Pod, PodSecurityContext, SeccompProfile as Seccomp, SecurityContext,
};
use corten_podplan::pod_name_and_uid;
use corten_runtime::{
    DEFAULT_MASKED_PATHS, DEFAULT_READONLY_PATHS, RunAs, SeccompProfile, SecurityConfig,
    SupplementalGroupsPolicy,
};
use std::path::Path;

fn id(value: i64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// The user that a container asks for by number.
pub(crate) fn run_as_user(pod: &Pod, container: &Container) -> Option<i64> {
    let own = container
        .security_context
        .as_ref()
        .and_then(|c| c.run_as_user);
    own.or_else(|| {
        pod.spec
            .security_context
            .as_ref()
            .and_then(|c| c.run_as_user)
    })
}

/// Whether a container may run as the user that it and its image ask for; the message of a CreateContainerConfigError.
pub(crate) fn check_non_root(
    pod: &Pod,
    container: &Container,
    image_user: &str,
) -> Result<(), String> {
    let own = container
        .security_context
        .as_ref()
        .and_then(|c| c.run_as_non_root);
    let wanted = own.or_else(|| {
        pod.spec
            .security_context
            .as_ref()
            .and_then(|c| c.run_as_non_root)
    });
    if wanted != Some(true) {
        return Ok(());
    }
    let place = format!(
        "(pod: {:?}, container: {})",
        pod_name_and_uid(pod),
        container.name
    );
    match run_as_user(pod, container) {
        Some(0) => {
            return Err(format!(
                "container's runAsUser breaks non-root policy {place}"
            ));
        }
        Some(_) => return Ok(()),
        None => {}
    }
    let user = image_user.split(':').next().unwrap_or_default();
    match (user, user.parse::<u32>()) {
        ("", _) | (_, Ok(0)) => Err(format!(
            "container has runAsNonRoot and image will run as root {place}"
        )),
        (_, Ok(_)) => Ok(()),
        (name, Err(_)) => Err(format!(
            "container has runAsNonRoot and image has non-numeric user ({name}), cannot verify user is non-root {place}"
        )),
    }
}

fn seccomp(profile: Option<&Seccomp>, profiles: &Path) -> SeccompProfile {
    match profile.map(|p| p.type_.as_str()) {
        Some("RuntimeDefault") => SeccompProfile::RuntimeDefault,
        Some("Localhost") => {
            let name = profile
                .and_then(|p| p.localhost_profile.as_deref())
                .unwrap_or_default();
            SeccompProfile::Localhost(profiles.join(name))
        }
        _ => SeccompProfile::Unconfined,
    }
}

fn texts(list: &[&str]) -> Vec<String> {
    list.iter().map(|text| (*text).to_owned()).collect()
}

/// The permissions of a container. `profiles` is where Localhost seccomp profiles are.
pub(crate) fn security(pod: &Pod, container: &Container, profiles: &Path) -> SecurityConfig {
    let no_pod = PodSecurityContext::default();
    let none = SecurityContext::default();
    let shared = pod.spec.security_context.as_deref().unwrap_or(&no_pod);
    let own = container.security_context.as_deref().unwrap_or(&none);
    let mut groups: Vec<u32> = shared.supplemental_groups.iter().map(|g| id(*g)).collect();
    groups.extend(shared.fs_group.map(id));
    let capabilities = own.capabilities.as_deref();
    let names = |list: Option<&corten_core::List<corten_core::Str>>| {
        list.map(|l| l.iter().map(ToString::to_string).collect())
            .unwrap_or_default()
    };
    let unmasked = own.proc_mount.as_deref() == Some("Unmasked");
    let apparmor = own
        .app_armor_profile
        .as_deref()
        .or(shared.app_armor_profile.as_deref());
    SecurityConfig {
        privileged: own.privileged == Some(true),
        run_as: run_as_user(pod, container).map_or(RunAs::Image, |user| RunAs::Uid(id(user))),
        run_as_group: own.run_as_group.or(shared.run_as_group).map(id),
        supplemental_groups: groups,
        supplemental_groups_policy: match shared.supplemental_groups_policy.as_deref() {
            Some("Strict") => SupplementalGroupsPolicy::Strict,
            _ => SupplementalGroupsPolicy::Merge,
        },
        add_capabilities: names(capabilities.map(|c| &c.add)),
        drop_capabilities: names(capabilities.map(|c| &c.drop)),
        no_new_privileges: own.allow_privilege_escalation == Some(false),
        readonly_rootfs: own.read_only_root_filesystem == Some(true),
        seccomp: seccomp(
            own.seccomp_profile
                .as_deref()
                .or(shared.seccomp_profile.as_deref()),
            profiles,
        ),
        apparmor_profile: apparmor
            .filter(|p| p.type_ == "Localhost")
            .and_then(|p| p.localhost_profile.as_deref().map(str::to_owned)),
        masked_paths: if unmasked {
            Vec::new()
        } else {
            texts(DEFAULT_MASKED_PATHS)
        },
        readonly_paths: if unmasked {
            Vec::new()
        } else {
            texts(DEFAULT_READONLY_PATHS)
        },
    }
}
