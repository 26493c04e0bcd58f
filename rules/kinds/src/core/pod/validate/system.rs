//! What a pod may not say because of the operating system it is for, and profiles in annotations of old.

use crate::checks::{self, Errors};
use crate::error::FieldError;
use corten_api::core::v1::{Container, PodSpec};
use corten_core::{Map, MsgRef, Path, Ref, Str};

const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";
/// The annotation that named a container's AppArmor profile.
pub(crate) const APPARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";

/// Checks the spec against the system that it names, if any.
pub(super) fn check(errors: &mut Errors, path: &Path, spec: &PodSpec) {
    match spec.os.as_ref().map(|os| os.name.as_str()) {
        Some("linux") => linux(errors, path, spec),
        Some("windows") => windows(errors, path, spec),
        _ => {}
    }
}

fn containers<'a>(spec: &'a PodSpec) -> impl Iterator<Item = (&'static str, usize, &'a Container)> {
    let numbered =
        |name, list: &'a [Container]| list.iter().enumerate().map(move |(i, c)| (name, i, c));
    numbered("initContainers", &spec.init_containers)
        .chain(numbered("containers", &spec.containers))
}

fn linux(errors: &mut Errors, path: &Path, spec: &PodSpec) {
    const TEXT: &str = "windows options cannot be set for a linux pod";
    if spec
        .security_context
        .as_ref()
        .is_some_and(|c| c.windows_options.is_some())
    {
        errors.push(FieldError::forbidden(
            path.f("securityContext").f("windowsOptions"),
            TEXT,
        ));
    }
    for (list, i, container) in containers(spec) {
        if container
            .security_context
            .as_ref()
            .is_some_and(|c| c.windows_options.is_some())
        {
            let at = path.f(list);
            let at = at.i(i);
            errors.push(FieldError::forbidden(
                at.f("securityContext").f("windowsOptions"),
                TEXT,
            ));
        }
    }
}

/// Whether a member of a security context is there.
fn is_set(context: MsgRef<'_>, key: &str) -> bool {
    match context.get(key) {
        None | Some(Ref::Nil) => false,
        Some(Ref::List(list)) => !list.is_nil(),
        Some(_) => true,
    }
}

fn windows(errors: &mut Errors, path: &Path, spec: &PodSpec) {
    const TEXT: &str = "cannot be set for a windows pod";
    let own = spec.security_context.as_ref().map(|c| MsgRef::new(&**c));
    let has = |key: &str| own.is_some_and(|c| is_set(c, key));
    let at = path.f("securityContext");
    let context = |errors: &mut Errors, keys: &[&'static str]| {
        for key in keys.iter().filter(|key| has(key)) {
            errors.push(FieldError::forbidden(at.f(key), TEXT));
        }
    };
    context(errors, &["appArmorProfile", "seLinuxOptions"]);
    for (key, set) in [
        ("hostUsers", spec.host_users.is_some()),
        ("hostPID", spec.host_pid),
        ("hostIPC", spec.host_ipc),
    ] {
        if set {
            errors.push(FieldError::forbidden(path.f(key), TEXT));
        }
    }
    context(
        errors,
        &[
            "seccompProfile",
            "fsGroup",
            "fsGroupChangePolicy",
            "sysctls",
        ],
    );
    if spec.share_process_namespace.is_some() {
        errors.push(FieldError::forbidden(path.f("shareProcessNamespace"), TEXT));
    }
    context(
        errors,
        &[
            "runAsUser",
            "runAsGroup",
            "supplementalGroups",
            "supplementalGroupsPolicy",
            "seLinuxChangePolicy",
        ],
    );
    for (list, i, container) in containers(spec) {
        let Some(security) = &container.security_context else {
            continue;
        };
        let list = path.f(list);
        let item = list.i(i);
        let at = item.f("securityContext");
        for key in [
            "appArmorProfile",
            "seLinuxOptions",
            "seccompProfile",
            "capabilities",
            "readOnlyRootFilesystem",
            "privileged",
            "allowPrivilegeEscalation",
            "procMount",
            "runAsUser",
            "runAsGroup",
        ] {
            if is_set(MsgRef::new(&**security), key) {
                errors.push(FieldError::forbidden(at.f(key), TEXT));
            }
        }
    }
}

/// Seccomp and AppArmor profiles in annotations.
pub(super) fn profiles(errors: &mut Errors, path: &Path, map: &Map<Str>, spec: &PodSpec) {
    for (key, profile) in map.iter() {
        if key == SECCOMP_POD || key.starts_with(SECCOMP_CONTAINER) {
            // Upstream shows these keys after a dot, not in brackets.
            let at = format!("{path}.{key}");
            let named = matches!(
                profile.as_str(),
                "runtime/default" | "docker/default" | "unconfined"
            );
            match profile.strip_prefix("localhost/") {
                Some(file) => {
                    let mut found = Vec::new();
                    checks::descending_path(&mut found, &Path::Root.f("x"), file);
                    errors.extend(found.into_iter().map(|e| FieldError {
                        field: at.clone(),
                        ..e
                    }));
                }
                None if !named => {
                    let text = "must be a valid seccomp profile";
                    errors.push(FieldError::invalid(&at, profile, text));
                }
                None => {}
            }
        }
        if let Some(name) = key.strip_prefix(APPARMOR) {
            if !containers(spec).any(|(_, _, c)| c.name == name) {
                errors.push(FieldError::invalid(
                    path.k(key),
                    name,
                    "container not found",
                ));
            }
            let known = matches!(profile.as_str(), "" | "runtime/default" | "unconfined");
            if !known && !profile.starts_with("localhost/") {
                let text = format!(
                    "invalid AppArmor profile name: {}",
                    crate::error::quote(profile)
                );
                errors.push(FieldError::invalid(path.k(key), profile, text));
            }
        }
    }
}
