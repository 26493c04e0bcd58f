//! Containers of all three sorts.

use super::super::resources::is_sidecar;
use super::probes::{Role, lifecycle, probe};
use super::{Scope, env, mounts, quantities, security};
use crate::checks::{self, Errors, invalid_each, one_of, required};
use crate::error::FieldError;
use crate::names;
use corten_api::core::v1::{
    Container, ContainerPort, ContainerResizePolicy, EphemeralContainer, EphemeralContainerCommon,
    Volume,
};
use corten_core::Path;

/// When an image is pulled.
pub(super) const PULL_POLICIES: [&str; 3] = ["Always", "IfNotPresent", "Never"];
/// What ports speak.
pub(super) const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];

pub(super) fn containers(errors: &mut Errors, path: &Path, scope: &Scope, volumes: &[&Volume]) {
    let list = &scope.spec.containers;
    if list.is_empty() {
        errors.push(FieldError::required(path, ""));
        return;
    }
    for (i, container) in list.iter().enumerate() {
        let at = path.i(i);
        common(errors, &at, container, scope, volumes);
        if list[..i].iter().any(|c| c.name == container.name) {
            errors.push(FieldError::duplicate(at.f("name"), &container.name));
        }
        handlers(errors, &at, container, scope);
        restart_policy(errors, &at, container);
    }
    host_ports(errors, path, list);
}

pub(super) fn init_containers(
    errors: &mut Errors,
    path: &Path,
    scope: &Scope,
    volumes: &[&Volume],
) {
    let list = &scope.spec.init_containers;
    for (i, container) in list.iter().enumerate() {
        let at = path.i(i);
        common(errors, &at, container, scope, volumes);
        if container.restart_policy.is_some() || !container.restart_policy_rules.is_empty() {
            restart_policy(errors, &at, container);
        }
        let others = scope.spec.containers.iter().chain(&list[..i]);
        if !container.name.is_empty() && others.into_iter().any(|c| c.name == container.name) {
            errors.push(FieldError::duplicate(at.f("name"), &container.name));
        }
        host_ports(errors, path, std::slice::from_ref(container));
        if is_sidecar(container) {
            handlers(errors, &at, container, scope);
            continue;
        }
        for (name, set) in [
            ("lifecycle", container.lifecycle.is_some()),
            ("livenessProbe", container.liveness_probe.is_some()),
            ("readinessProbe", container.readiness_probe.is_some()),
            ("startupProbe", container.startup_probe.is_some()),
        ] {
            if set {
                let text = "may not be set for init containers without restartPolicy=Always";
                errors.push(FieldError::forbidden(at.f(name), text));
            }
        }
        for (j, policy) in container.resize_policy.iter().enumerate() {
            if policy.restart_policy == "RestartContainer" {
                let text = "must not be set to 'RestartContainer' for non-sidecar initContainers";
                let at = at.f("resizePolicy");
                errors.push(FieldError::invalid(
                    at.i(j).f("restartPolicy"),
                    &policy.restart_policy,
                    text,
                ));
            }
        }
    }
}

/// The fields that ephemeral containers share with all others.
pub(super) fn as_container(c: &EphemeralContainerCommon) -> Container {
    let c = c.clone();
    Container {
        name: c.name,
        image: c.image,
        command: c.command,
        args: c.args,
        working_dir: c.working_dir,
        ports: c.ports,
        env_from: c.env_from,
        env: c.env,
        resources: c.resources,
        resize_policy: c.resize_policy,
        restart_policy: c.restart_policy,
        restart_policy_rules: c.restart_policy_rules,
        volume_mounts: c.volume_mounts,
        volume_devices: c.volume_devices,
        liveness_probe: c.liveness_probe,
        readiness_probe: c.readiness_probe,
        startup_probe: c.startup_probe,
        lifecycle: c.lifecycle,
        termination_message_path: c.termination_message_path,
        termination_message_policy: c.termination_message_policy,
        image_pull_policy: c.image_pull_policy,
        security_context: c.security_context,
        stdin: c.stdin,
        stdin_once: c.stdin_once,
        tty: c.tty,
    }
}

pub(super) fn ephemeral(errors: &mut Errors, path: &Path, scope: &Scope, volumes: &[&Volume]) {
    let list = &scope.spec.ephemeral_containers;
    let others: Vec<&str> = scope
        .spec
        .containers
        .iter()
        .chain(scope.spec.init_containers.iter())
        .map(|c| c.name.as_str())
        .collect();
    for (i, each) in list.iter().enumerate() {
        let at = path.i(i);
        let container = as_container(&each.ephemeral_container_common);
        common(errors, &at, &container, scope, volumes);
        trimmed_image(errors, &at, &container);
        let name = container.name.as_str();
        let before = list[..i]
            .iter()
            .map(|c| c.ephemeral_container_common.name.as_str());
        if others.iter().copied().chain(before).any(|n| n == name) {
            errors.push(FieldError::duplicate(at.f("name"), name));
        }
        let target = each.target_container_name.as_str();
        if !target.is_empty() && !others.contains(&target) {
            errors.push(FieldError::not_found(at.f("targetContainerName"), target));
        }
        not_ephemeral(errors, &at, each);
    }
}

fn not_ephemeral(errors: &mut Errors, path: &Path, container: &EphemeralContainer) {
    let c = &container.ephemeral_container_common;
    let text = "cannot be set for an Ephemeral Container";
    for (name, set) in [
        ("ports", !c.ports.is_nil()),
        (
            "resources",
            !corten_core::MsgRef::new(&c.resources).is_zero(),
        ),
        ("resizePolicy", !c.resize_policy.is_nil()),
        ("restartPolicy", c.restart_policy.is_some()),
        ("restartPolicyRules", !c.restart_policy_rules.is_nil()),
        ("livenessProbe", c.liveness_probe.is_some()),
        ("readinessProbe", c.readiness_probe.is_some()),
        ("startupProbe", c.startup_probe.is_some()),
        ("lifecycle", c.lifecycle.is_some()),
    ] {
        if set {
            errors.push(FieldError::forbidden(path.f(name), text));
        }
    }
    let list = path.f("volumeMounts");
    for (i, mount) in c.volume_mounts.iter().enumerate() {
        if !mount.sub_path.is_empty() {
            errors.push(FieldError::forbidden(list.i(i).f("subPath"), text));
        }
        if !mount.sub_path_expr.is_empty() {
            errors.push(FieldError::forbidden(list.i(i).f("subPathExpr"), text));
        }
    }
}

fn common(errors: &mut Errors, path: &Path, c: &Container, scope: &Scope, volumes: &[&Volume]) {
    if c.name.is_empty() {
        errors.push(FieldError::required(path.f("name"), ""));
    } else {
        checks::dns_label(errors, &path.f("name"), &c.name);
    }
    required(errors, &path.f("image"), &c.image);
    let policies = ["File", "FallbackToLogsOnError"];
    one_of(
        errors,
        &path.f("terminationMessagePolicy"),
        &c.termination_message_policy,
        &policies,
    );
    ports(errors, &path.f("ports"), &c.ports);
    env::env(errors, &path.f("env"), &c.env);
    env::env_from(errors, &path.f("envFrom"), &c.env_from);
    mounts::mounts(errors, &path.f("volumeMounts"), c, volumes);
    mounts::devices(errors, &path.f("volumeDevices"), c, volumes);
    one_of(
        errors,
        &path.f("imagePullPolicy"),
        &c.image_pull_policy,
        &PULL_POLICIES,
    );
    let claims: Vec<&str> = scope
        .spec
        .resource_claims
        .iter()
        .map(|c| c.name.as_str())
        .collect();
    quantities::container_resources(errors, &path.f("resources"), &c.resources, &claims);
    resize(
        errors,
        &path.f("resizePolicy"),
        &c.resize_policy,
        &scope.spec.restart_policy,
    );
    security::container(
        errors,
        &path.f("securityContext"),
        c.security_context.as_deref(),
        scope,
    );
}

fn handlers(errors: &mut Errors, path: &Path, c: &Container, scope: &Scope) {
    let grace = scope.spec.termination_grace_period_seconds;
    if let Some(hooks) = &c.lifecycle {
        lifecycle(
            errors,
            &path.f("lifecycle"),
            hooks,
            grace,
            scope.spec.os.as_deref(),
        );
    }
    for (name, each, role) in [
        ("livenessProbe", &c.liveness_probe, Role::Liveness),
        ("readinessProbe", &c.readiness_probe, Role::Readiness),
        ("startupProbe", &c.startup_probe, Role::Startup),
    ] {
        if let Some(each) = each {
            probe(errors, &path.f(name), each, role);
        }
    }
}

fn restart_policy(errors: &mut Errors, path: &Path, c: &Container) {
    let at = path.f("restartPolicy");
    match &c.restart_policy {
        None if c.restart_policy_rules.is_empty() => return,
        None => {
            errors.push(FieldError::required(
                &at,
                "must specify restartPolicy when restart rules are used",
            ));
        }
        Some(policy) => checks::known(errors, &at, policy, &["Always", "Never", "OnFailure"]),
    }
    let list = path.f("restartPolicyRules");
    if c.restart_policy_rules.len() > 20 {
        errors.push(FieldError::too_many(
            &list,
            c.restart_policy_rules.len(),
            20,
        ));
    }
    for (i, rule) in c.restart_policy_rules.iter().enumerate() {
        let at = list.i(i);
        checks::known(
            errors,
            &at.f("action"),
            &rule.action,
            &["Restart", "RestartAllContainers"],
        );
        let codes = at.f("exitCodes");
        match &rule.exit_codes {
            None => errors.push(FieldError::required(&codes, "must be specified")),
            Some(exit) => {
                checks::known(
                    errors,
                    &codes.f("operator"),
                    &exit.operator,
                    &["In", "NotIn"],
                );
                if exit.values.len() > 255 {
                    errors.push(FieldError::too_many(
                        codes.f("values"),
                        exit.values.len(),
                        255,
                    ));
                }
            }
        }
    }
}

fn ports(errors: &mut Errors, path: &Path, ports: &[ContainerPort]) {
    for (i, port) in ports.iter().enumerate() {
        let at = path.i(i);
        if !port.name.is_empty() {
            let wrong = names::port_name(&port.name);
            if wrong.is_empty() && ports[..i].iter().any(|p| p.name == port.name) {
                errors.push(FieldError::duplicate(at.f("name"), &port.name));
            }
            invalid_each(errors, &at.f("name"), &port.name, wrong);
        }
        if port.container_port == 0 {
            errors.push(FieldError::required(at.f("containerPort"), ""));
        } else {
            checks::port_number(
                errors,
                &at.f("containerPort"),
                i64::from(port.container_port),
            );
        }
        if port.host_port != 0 {
            checks::port_number(errors, &at.f("hostPort"), i64::from(port.host_port));
        }
        one_of(errors, &at.f("protocol"), &port.protocol, &PROTOCOLS);
    }
}

fn host_ports(errors: &mut Errors, path: &Path, containers: &[Container]) {
    let mut seen: Vec<String> = Vec::new();
    for (i, container) in containers.iter().enumerate() {
        let list = path.i(i);
        let list = list.f("ports");
        for (j, port) in container
            .ports
            .iter()
            .enumerate()
            .filter(|(_, p)| p.host_port != 0)
        {
            let key = format!("{}/{}/{}", port.protocol, port.host_ip, port.host_port);
            if seen.contains(&key) {
                errors.push(FieldError::duplicate(list.i(j).f("hostPort"), key));
            } else {
                seen.push(key);
            }
        }
    }
}

fn resize(errors: &mut Errors, path: &Path, policies: &[ContainerResizePolicy], pod_policy: &str) {
    for (i, policy) in policies.iter().enumerate() {
        if policies[..i]
            .iter()
            .any(|p| p.resource_name == policy.resource_name)
        {
            errors.push(FieldError::duplicate(path.i(i), &policy.resource_name));
        }
        one_of(errors, path, &policy.resource_name, &["cpu", "memory"]);
        one_of(
            errors,
            path,
            &policy.restart_policy,
            &["NotRequired", "RestartContainer"],
        );
        if pod_policy == "Never" && policy.restart_policy != "NotRequired" {
            let text = "must be 'NotRequired' when pod `restartPolicy` is 'Never'";
            errors.push(FieldError::invalid(path, &policy.restart_policy, text));
        }
    }
}

/// Pods, unlike templates, refuse spaces around images.
pub(super) fn trimmed_image(errors: &mut Errors, path: &Path, container: &Container) {
    if container.image.trim().len() != container.image.len() {
        let text = "must not have leading or trailing whitespace";
        errors.push(FieldError::invalid(path.f("image"), &container.image, text));
    }
}
