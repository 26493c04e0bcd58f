//! The containers of a spec and whether one that ended is started again.

use crate::Exit;
use corten_api::core::v1::{Container, EphemeralContainer, PodSpec};

/// Whether an init container is a sidecar (restartPolicy Always).
pub fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// An ephemeral container's part that it shares with other containers, as a container.
pub fn as_container(ephemeral: &EphemeralContainer) -> Container {
    let c = &ephemeral.ephemeral_container_common;
    Container {
        name: c.name.clone(),
        image: c.image.clone(),
        command: c.command.clone(),
        args: c.args.clone(),
        working_dir: c.working_dir.clone(),
        ports: c.ports.clone(),
        env_from: c.env_from.clone(),
        env: c.env.clone(),
        resources: c.resources.clone(),
        volume_mounts: c.volume_mounts.clone(),
        volume_devices: c.volume_devices.clone(),
        termination_message_path: c.termination_message_path.clone(),
        termination_message_policy: c.termination_message_policy.clone(),
        image_pull_policy: c.image_pull_policy.clone(),
        security_context: c.security_context.clone(),
        stdin: c.stdin,
        stdin_once: c.stdin_once,
        tty: c.tty,
        ..Container::default()
    }
}

/// Init containers and containers, in the order of the spec.
pub(crate) fn spec_containers(spec: &PodSpec) -> impl Iterator<Item = &Container> {
    spec.init_containers.iter().chain(spec.containers.iter())
}

/// The name and the shared part of every container of a spec, ephemeral ones last.
pub fn all_containers(spec: &PodSpec) -> impl Iterator<Item = std::borrow::Cow<'_, Container>> {
    let ephemeral = spec
        .ephemeral_containers
        .iter()
        .map(|e| std::borrow::Cow::Owned(as_container(e)));
    spec_containers(spec)
        .map(std::borrow::Cow::Borrowed)
        .chain(ephemeral)
}

/// The container `name` of a spec, of whatever sort.
pub fn container_of<'a>(spec: &'a PodSpec, name: &str) -> Option<std::borrow::Cow<'a, Container>> {
    all_containers(spec).find(|c| c.name == name)
}

/// Whether a container that ended with `code` is to be started again.
pub(crate) fn restarts(spec: &PodSpec, container: &Container, code: i32) -> bool {
    let by = |policy: &str| match policy {
        "Never" => false,
        "OnFailure" => code != 0,
        _ => true,
    };
    let Some(own) = container.restart_policy.as_deref() else {
        let init = spec
            .init_containers
            .iter()
            .any(|c| c.name == container.name);
        return by(&spec.restart_policy) && !(init && code == 0);
    };
    let matched = container.restart_policy_rules.iter().find(|rule| {
        rule.exit_codes.as_ref().is_some_and(|codes| {
            let listed = codes.values.contains(&code);
            if codes.operator == "NotIn" {
                !listed
            } else {
                listed
            }
        })
    });
    matched.is_some() || by(own)
}

/// Whether a container whose probe failed is started again after it was killed.
pub(crate) fn restarts_after_probe(spec: &PodSpec, container: &Container) -> bool {
    match container.restart_policy.as_deref() {
        Some(own) => own != "Never",
        None => spec.restart_policy != "Never",
    }
}

/// As [`restarts`], of an exit.
pub(crate) fn restarts_after(spec: &PodSpec, container: &Container, exit: &Exit) -> bool {
    restarts(spec, container, exit.code)
}
