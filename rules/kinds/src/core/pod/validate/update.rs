//! What updates of pods may change, by subresource.

use super::super::resources::{is_sidecar, qos_class};
use super::{containers, metadata_and_spec, scheduling};
use crate::checks::{self, Errors};
use crate::error::FieldError;
use crate::{difference, names};
use corten_api::core::v1::{
    Container, ContainerStatus, Pod, PodCondition, PodSpec, PodStatus, Toleration,
};
use corten_core::{Map, MsgRef, Path, Quantity, Str, Value, semantic_eq};

const UPDATABLE: &str = "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,\
    `spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set \
    to 1 if it was previously negative)";
const MIRROR: &str = "kubernetes.io/config.mirror";

fn fixed_annotations(errors: &mut Errors, new: &Pod, old: &Pod) {
    let (new, old) = (&new.metadata.annotations, &old.metadata.annotations);
    if new.get(MIRROR) == old.get(MIRROR) {
        return;
    }
    let verb = if old.contains_key(MIRROR) {
        "remove or update"
    } else {
        "add"
    };
    let at = Path::Root.f("metadata");
    let at = at.f("annotations");
    errors.push(FieldError::forbidden(
        at.k(MIRROR),
        format!("may not {verb} mirror pod annotation"),
    ));
}

fn same_count(errors: &mut Errors, path: &Path, new: &[Container], old: &[Container]) -> bool {
    if new.len() != old.len() {
        errors.push(FieldError::forbidden(
            path,
            "pod updates may not add or remove containers",
        ));
        return false;
    }
    for (i, container) in new.iter().enumerate() {
        checks::required(errors, &path.i(i).f("image"), &container.image);
        containers::trimmed_image(errors, &path.i(i), container);
    }
    true
}

/// An update of the pod itself.
pub(crate) fn pod_update(new: &Pod, old: &Pod) -> Errors {
    let mut errors = metadata_and_spec(new);
    fixed_annotations(&mut errors, new, old);
    let path = Path::Root.f("spec");
    if !same_count(
        &mut errors,
        &path.f("containers"),
        &new.spec.containers,
        &old.spec.containers,
    ) || !same_count(
        &mut errors,
        &path.f("initContainers"),
        &new.spec.init_containers,
        &old.spec.init_containers,
    ) || !deadline(
        &mut errors,
        &path.f("activeDeadlineSeconds"),
        &new.spec,
        &old.spec,
    ) {
        return errors;
    }
    added_tolerations(
        &mut errors,
        &path.f("tolerations"),
        &new.spec.tolerations,
        &old.spec.tolerations,
    );
    for (i, gate) in new.spec.scheduling_gates.iter().enumerate() {
        if !old
            .spec
            .scheduling_gates
            .iter()
            .any(|g| g.name == gate.name)
        {
            let text = format!(
                "only deletion is allowed, but found new scheduling gate '{}'",
                gate.name
            );
            errors.push(FieldError::forbidden(
                path.f("schedulingGates").i(i).f("name"),
                text,
            ));
        }
    }
    if !semantic_eq(&new.spec, &old.spec) {
        only_updatable(&mut errors, &path, &new.spec, &old.spec);
    }
    errors
}

fn deadline(errors: &mut Errors, path: &Path, new: &PodSpec, old: &PodSpec) -> bool {
    match (new.active_deadline_seconds, old.active_deadline_seconds) {
        (Some(seconds), before) => {
            let max = i64::from(i32::MAX);
            if !(0..=max).contains(&seconds) {
                errors.push(FieldError::invalid(
                    path,
                    seconds,
                    names::range_error(0, max),
                ));
                return false;
            }
            if before.is_some_and(|b| b < seconds) {
                errors.push(FieldError::invalid(
                    path,
                    seconds,
                    "must be less than or equal to previous value",
                ));
                return false;
            }
        }
        (None, Some(_)) => {
            let text = "null: must not update from a positive integer to nil value";
            errors.push(FieldError::invalid(path, Value::Null, text));
        }
        (None, None) => {}
    }
    true
}

fn added_tolerations(errors: &mut Errors, path: &Path, new: &[Toleration], old: &[Toleration]) {
    let kept = |o: &Toleration| {
        new.iter().any(|n| {
            let mut o = o.clone();
            o.toleration_seconds = n.toleration_seconds;
            o == *n
        })
    };
    if !old.iter().all(kept) {
        let text = "existing toleration can not be modified except its tolerationSeconds";
        errors.push(FieldError::forbidden(path, text));
        return;
    }
    scheduling::tolerations(errors, path, new);
}

fn only_updatable(errors: &mut Errors, path: &Path, new: &PodSpec, old: &PodSpec) {
    let mut rest = new.clone();
    let lists = [
        (&mut rest.containers, &old.containers),
        (&mut rest.init_containers, &old.init_containers),
    ];
    for (list, before) in lists {
        list.iter_mut()
            .zip(before.iter())
            .for_each(|(c, b)| c.image = b.image.clone());
    }
    rest.active_deadline_seconds = old.active_deadline_seconds;
    rest.scheduling_gates = old.scheduling_gates.clone();
    rest.tolerations = old.tolerations.clone();
    if old.termination_grace_period_seconds.is_some_and(|s| s < 0)
        && rest.termination_grace_period_seconds == Some(1)
    {
        rest.termination_grace_period_seconds = old.termination_grace_period_seconds;
    }
    if !old.scheduling_gates.is_empty() {
        narrowed(errors, path, &mut rest, old);
    }
    if !semantic_eq(&rest, old) {
        let changed = difference::of_structs(old, &rest);
        let text = format!("pod updates may not change fields other than {UPDATABLE}\n{changed}");
        errors.push(FieldError::forbidden(path, text));
    }
}

/// A gated pod may narrow where it runs.
fn narrowed(errors: &mut Errors, path: &Path, new: &mut PodSpec, old: &PodSpec) {
    if old
        .node_selector
        .iter()
        .any(|(k, v)| new.node_selector.get(k) != Some(v))
    {
        let text = "only additions are allowed (no mutations or deletions)";
        errors.push(FieldError::invalid(
            path.f("nodeSelector"),
            labels_value(&new.node_selector),
            text,
        ));
    }
    new.node_selector = old.node_selector.clone();
    let before = old.affinity.as_ref().and_then(|a| a.node_affinity.clone());
    match &mut new.affinity {
        Some(affinity) => affinity.node_affinity = before,
        None if before.is_some() => {
            new.affinity.get_or_insert_default().node_affinity = before;
        }
        None => {}
    }
    let empty = new
        .affinity
        .as_ref()
        .is_some_and(|a| MsgRef::new(&**a).is_zero());
    if empty && old.affinity.is_none() {
        new.affinity = None;
    }
}

fn labels_value(map: &Map<Str>) -> Value {
    Value::Map(
        map.iter()
            .map(|(k, v)| (k.clone(), Value::from(v)))
            .collect(),
    )
}

/// An update of the status.
pub(crate) fn status_update(new: &Pod, old: &Pod) -> Errors {
    let mut errors = Vec::new();
    fixed_annotations(&mut errors, new, old);
    let path = Path::Root.f("status");
    conditions(&mut errors, &path.f("conditions"), &new.status.conditions);
    let nominated = &new.status.nominated_node_name;
    if *nominated != old.status.nominated_node_name && !nominated.is_empty() {
        let at = path.f("nominatedNodeName");
        checks::dns_subdomain(&mut errors, &at, nominated);
        if !old.spec.node_name.is_empty() {
            let text = "may not be set on pods that are already bound to a node";
            errors.push(FieldError::forbidden(&at, text));
        }
    }
    if new.status.observed_generation < 0 {
        let at = path.f("observedGeneration");
        errors.push(FieldError::invalid(
            at,
            new.status.observed_generation,
            "must be a non-negative integer",
        ));
    }
    let same = new.status.qos_class == old.status.qos_class;
    checks::immutable(
        &mut errors,
        &path.f("qosClass"),
        same,
        &new.status.qos_class,
    );
    let (n, o) = (&new.status, &old.status);
    let at = path.f("containerStatuses");
    stays_terminated(
        &mut errors,
        &at,
        (&n.container_statuses, &o.container_statuses),
        &old.spec,
        &old.spec.containers,
    );
    let lists = (
        &n.init_container_statuses[..],
        &o.init_container_statuses[..],
    );
    stays_terminated(
        &mut errors,
        &path.f("initContainerStatuses"),
        lists,
        &old.spec,
        &old.spec.init_containers,
    );
    let at = path.f("resourceClaimStatuses");
    for (i, claim) in n.resource_claim_statuses.iter().enumerate() {
        if !new
            .spec
            .resource_claims
            .iter()
            .any(|c| c.name == claim.name)
        {
            let text = "must match the name of an entry in `spec.resourceClaims`";
            errors.push(FieldError::invalid(at.i(i).f("name"), &claim.name, text));
        }
    }
    for (i, ip) in new.status.pod_ips.iter().enumerate() {
        let before: Vec<Str> = old.status.pod_ips.iter().map(|p| p.ip.clone()).collect();
        checks::ip(&mut errors, &path.f("podIPs").i(i), &ip.ip, &before);
    }
    host_ips(&mut errors, &path.f("hostIPs"), n, o);
    errors
}

fn conditions(errors: &mut Errors, path: &Path, all: &[PodCondition]) {
    for (i, condition) in all.iter().enumerate() {
        if condition.observed_generation < 0 {
            let text = "must be a non-negative integer";
            let at = path.i(i);
            let at = at.f("observedGeneration");
            errors.push(FieldError::invalid(at, condition.observed_generation, text));
        }
        let own = ["PodScheduled", "Ready", "Initialized"];
        if !own.contains(&condition.type_.as_str()) {
            checks::qualified_name(errors, &path.i(i).f("Type"), &condition.type_);
        }
    }
}

fn host_ips(errors: &mut Errors, path: &Path, new: &PodStatus, old: &PodStatus) {
    let Some(first) = new.host_ips.first() else {
        return;
    };
    if first.ip != new.host_ip {
        let text = "must be equal to `hostIP`";
        errors.push(FieldError::invalid(path.i(0).f("ip"), &first.ip, text));
    }
    let before: Vec<Str> = old.host_ips.iter().map(|h| h.ip.clone()).collect();
    for (i, host) in new.host_ips.iter().enumerate() {
        checks::ip(errors, &path.i(i), &host.ip, &before);
    }
}

/// Whether a container that ended with `code` is started again.
fn restarts(container: &Container, spec: &PodSpec, code: i32) -> bool {
    for rule in container.restart_policy_rules.iter() {
        let Some(exit) = &rule.exit_codes else {
            continue;
        };
        let listed = exit.values.contains(&code);
        if listed == (exit.operator == "In") {
            return matches!(rule.action.as_str(), "Restart" | "RestartAllContainers");
        }
    }
    match container
        .restart_policy
        .as_ref()
        .unwrap_or(&spec.restart_policy)
        .as_str()
    {
        "Always" => true,
        "OnFailure" => code != 0,
        _ => false,
    }
}

fn stays_terminated(
    errors: &mut Errors,
    path: &Path,
    (new, old): (&[ContainerStatus], &[ContainerStatus]),
    spec: &PodSpec,
    containers: &[Container],
) {
    let all = spec.containers.iter().chain(spec.init_containers.iter());
    if all
        .flat_map(|c| c.restart_policy_rules.iter())
        .any(|r| r.action == "RestartAllContainers")
    {
        return;
    }
    for (i, before) in old.iter().enumerate() {
        let Some(ended) = &before.state.terminated else {
            continue;
        };
        let revived = new
            .iter()
            .any(|n| n.name == before.name && n.state.terminated.is_none());
        let allowed = containers
            .iter()
            .any(|c| c.name == before.name && restarts(c, spec, ended.exit_code));
        if revived && !allowed {
            let text = "may not be transitioned to non-terminated state";
            errors.push(FieldError::forbidden(path.i(i).f("state"), text));
        }
    }
}

/// An update of the ephemeral containers.
pub(crate) fn ephemeral_update(new: &Pod, old: &Pod) -> Errors {
    if old.metadata.annotations.contains_key(MIRROR) {
        return vec![FieldError::forbidden(
            "",
            "static pods do not support ephemeral containers",
        )];
    }
    let mut errors = metadata_and_spec(new);
    let path = Path::Root.f("spec");
    let path = path.f("ephemeralContainers");
    for before in old.spec.ephemeral_containers.iter() {
        let name = &before.ephemeral_container_common.name;
        let quoted = crate::error::quote(name);
        let after = new
            .spec
            .ephemeral_containers
            .iter()
            .find(|c| c.ephemeral_container_common.name == *name);
        match after {
            None => {
                let text = format!("existing ephemeral containers {quoted} may not be removed\n");
                errors.push(FieldError::forbidden(&path, text));
            }
            Some(after) if !semantic_eq(after, before) => {
                let changed = difference::of_structs(before, after);
                let text =
                    format!("existing ephemeral containers {quoted} may not be changed\n{changed}");
                errors.push(FieldError::forbidden(&path, text));
            }
            Some(_) => {}
        }
    }
    errors
}

/// An update of cpu and memory of a running pod.
pub(crate) fn resize(new: &Pod, old: &Pod) -> Errors {
    if old.metadata.annotations.contains_key(MIRROR) {
        return vec![FieldError::forbidden("", "static pods cannot be resized")];
    }
    let mut errors = metadata_and_spec(new);
    let path = Path::Root.f("spec");
    let class = if old.status.qos_class.is_empty() {
        qos_class(&old.spec)
    } else {
        &old.status.qos_class
    };
    if class != qos_class(&new.spec) {
        let text = "Pod QOS Class may not change as a result of resizing";
        errors.push(FieldError::invalid(&path, &new.status.qos_class, text));
    }
    let names = |list: &[Container]| list.iter().map(|c| c.name.clone()).collect::<Vec<_>>();
    let same = names(&new.spec.containers) == names(&old.spec.containers)
        && names(&new.spec.init_containers) == names(&old.spec.init_containers);
    if !same {
        errors.push(FieldError::forbidden(
            &path,
            "containers may not be renamed or reordered on resize",
        ));
        return errors;
    }
    let mut rest = new.spec.clone();
    rest.resources = old.spec.resources.clone();
    for (name, list, before) in [
        (
            "initContainers",
            &mut rest.init_containers,
            &old.spec.init_containers,
        ),
        ("containers", &mut rest.containers, &old.spec.containers),
    ] {
        let path = path.f(name);
        for (i, (container, before)) in list.iter_mut().zip(before.iter()).enumerate() {
            resize_container(&mut errors, &path.i(i), container, before);
        }
    }
    if errors.is_empty() && !semantic_eq(&rest, &old.spec) {
        errors.push(FieldError::forbidden(
            &path,
            "only cpu and memory resources are mutable",
        ));
    }
    errors
}

fn resize_container(
    errors: &mut Errors,
    path: &Path,
    container: &mut Container,
    before: &Container,
) {
    let removed = |new: &Map<Quantity>, old: &Map<Quantity>| {
        ["cpu", "memory"]
            .into_iter()
            .any(|n| old.contains_key(n) && !new.contains_key(n))
    };
    let at = path.f("resources");
    let (new, old) = (&container.resources, &before.resources);
    if removed(&new.limits, &old.limits) {
        errors.push(FieldError::forbidden(
            at.f("limits"),
            "resource limits cannot be removed",
        ));
    }
    if removed(&new.requests, &old.requests) {
        errors.push(FieldError::forbidden(
            at.f("requests"),
            "resource requests cannot be removed",
        ));
    }
    let restarts = container
        .resize_policy
        .iter()
        .any(|p| p.restart_policy == "RestartContainer");
    if !semantic_eq(new, old)
        && !is_sidecar(before)
        && restarts
        && path.to_string().contains("initContainers")
    {
        let text = "non-sidecar init containers with a resize policy of RestartContainer cannot be resized";
        errors.push(FieldError::forbidden(path, text));
    }
    let lists = [
        (&mut container.resources.limits, &before.resources.limits),
        (
            &mut container.resources.requests,
            &before.resources.requests,
        ),
    ];
    for (list, old) in lists {
        for name in ["cpu", "memory"] {
            match old.get(name) {
                Some(amount) => list.insert(name, amount.clone()),
                None => list.remove(name),
            };
        }
    }
}
