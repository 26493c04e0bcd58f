//! What users are warned of in pods and pod templates: fields that no longer do anything, and specs that are valid but
//! hardly meant. Invariant: an unchanged spec is warned of when it is written anew, not when only its status is.

use super::validate::system::APPARMOR;
use crate::core::volume_spec::{self, is_fractional};
use corten_api::core::v1::{
    Affinity, Container, ContainerPort, NodeSelectorTerm, PodSpec, PodTemplateSpec,
};
use corten_api::meta::v1::ObjectMeta;
use corten_core::{Map, MsgRef, Path, Quantity};
use corten_meta::labels;

/// Labels of nodes that have a newer name.
pub(crate) fn deprecated_node_label(key: &str) -> Option<&'static str> {
    Some(match key {
        "beta.kubernetes.io/arch" => "deprecated since v1.14; use \"kubernetes.io/arch\" instead",
        "beta.kubernetes.io/os" => "deprecated since v1.14; use \"kubernetes.io/os\" instead",
        "failure-domain.beta.kubernetes.io/region" => {
            "deprecated since v1.17; use \"topology.kubernetes.io/region\" instead"
        }
        "failure-domain.beta.kubernetes.io/zone" => {
            "deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead"
        }
        "beta.kubernetes.io/instance-type" => {
            "deprecated since v1.17; use \"node.kubernetes.io/instance-type\" instead"
        }
        "node-role.kubernetes.io/master" => "use \"node-role.kubernetes.io/control-plane\" instead",
        _ => return None,
    })
}

/// Of the template of a workload at `path` (`spec.template`); none when it stays as it is.
pub fn of_template(
    template: &PodTemplateSpec,
    old: Option<&PodTemplateSpec>,
    path: &'static str,
) -> Vec<String> {
    let path = Path::Root.f(path);
    if old.is_some_and(|old| corten_core::semantic_eq(old, template)) {
        return Vec::new();
    }
    let spec = path.f("spec");
    let mut warnings = of(
        &template.spec,
        &template.metadata,
        (&spec, &path.f("metadata")),
    );
    template_only(&mut warnings, template, &path.f("metadata"));
    warnings
}

/// Of a pod.
pub(super) fn of_pod(spec: &PodSpec, meta: &ObjectMeta) -> Vec<String> {
    let annotations = Path::Root.f("metadata");
    let annotations = annotations.f("annotations");
    let old = meta
        .annotations
        .keys()
        .filter(|key| key.starts_with(APPARMOR));
    let mut all: Vec<String> = old
        .map(|key| format!("{}: {USE_APPARMOR}", annotations.k(key)))
        .collect();
    all.extend(of_spec(spec, meta));
    all
}

fn of_spec(spec: &PodSpec, meta: &ObjectMeta) -> Vec<String> {
    of(
        spec,
        meta,
        (&Path::Root.f("spec"), &Path::Root.f("metadata")),
    )
}

fn of(spec: &PodSpec, meta: &ObjectMeta, (path, meta_path): (&Path, &Path)) -> Vec<String> {
    let mut out = Vec::new();
    let selector = path.f("nodeSelector");
    for (key, _) in spec.node_selector.iter() {
        if let Some(text) = deprecated_node_label(key) {
            out.push(format!("{}: {text}", selector.k(key)));
        }
    }
    if let Some(affinity) = &spec.affinity {
        nodes(&mut out, affinity, &path.f("affinity"));
    }
    spreading(&mut out, spec, path);
    annotations(&mut out, spec, meta, &meta_path.f("annotations"));
    volumes(&mut out, spec, path);
    lists(&mut out, spec, path);
    each_container(spec, path, &mut |container, at| {
        contents(&mut out, container, at)
    });
    ports(&mut out, spec, path);
    if spec.termination_grace_period_seconds.is_some_and(|s| s < 0) {
        out.push(format!(
            "{}: must be >= 0; negative values are invalid and will be treated as 1",
            path.f("terminationGracePeriodSeconds")
        ));
    }
    if let Some(affinity) = &spec.affinity {
        pods(&mut out, affinity, &path.f("affinity"));
    }
    out
}

fn each_container(spec: &PodSpec, path: &Path, visit: &mut dyn FnMut(&Container, &Path)) {
    for (name, list) in [
        ("initContainers", &spec.init_containers),
        ("containers", &spec.containers),
    ] {
        let list_path = path.f(name);
        for (i, container) in list.iter().enumerate() {
            visit(container, &list_path.i(i));
        }
    }
}

fn nodes(out: &mut Vec<String>, affinity: &Affinity, path: &Path) {
    let Some(nodes) = &affinity.node_affinity else {
        return;
    };
    let path = path.f("nodeAffinity");
    if let Some(required) = &nodes.required_during_scheduling_ignored_during_execution {
        let at = path.f("requiredDuringSchedulingIgnoredDuringExecution");
        let at = at.f("nodeSelectorTerms");
        for (i, one) in required.node_selector_terms.iter().enumerate() {
            term(out, one, &at.i(i), false);
        }
    }
    let at = path.f("preferredDuringSchedulingIgnoredDuringExecution");
    for (i, one) in nodes
        .preferred_during_scheduling_ignored_during_execution
        .iter()
        .enumerate()
    {
        let item = at.i(i);
        term(out, &one.preference, &item.f("preference"), true);
    }
}

fn term(out: &mut Vec<String>, term: &NodeSelectorTerm, path: &Path, values: bool) {
    let list = path.f("matchExpressions");
    for (i, expression) in term.match_expressions.iter().enumerate() {
        let at = list.i(i);
        if let Some(text) = deprecated_node_label(&expression.key) {
            out.push(format!("{}: {} is {text}", at.f("key"), expression.key));
        }
        let all = at.f("values");
        for (n, value) in expression.values.iter().enumerate().filter(|_| values) {
            for text in labels::invalid_value(value) {
                out.push(format!("{}: {value} is invalid, {text}", all.i(n)));
            }
        }
    }
}

fn spreading(out: &mut Vec<String>, spec: &PodSpec, path: &Path) {
    let list = path.f("topologySpreadConstraints");
    for (i, constraint) in spec.topology_spread_constraints.iter().enumerate() {
        let at = list.i(i);
        if let Some(text) = deprecated_node_label(&constraint.topology_key) {
            out.push(format!(
                "{}: {} is {text}",
                at.f("topologyKey"),
                constraint.topology_key
            ));
        }
        if constraint.label_selector.is_none() {
            out.push(null_selector(&at));
        }
    }
}

fn null_selector(at: &Path) -> String {
    format!(
        "{}: a null labelSelector results in matching no pod",
        at.f("labelSelector")
    )
}

fn pods(out: &mut Vec<String>, affinity: &Affinity, path: &Path) {
    let (near, apart) = (&affinity.pod_affinity, &affinity.pod_anti_affinity);
    let near = near.as_ref().map(|a| {
        let preferred = &a.preferred_during_scheduling_ignored_during_execution;
        (
            "podAffinity",
            &a.required_during_scheduling_ignored_during_execution,
            preferred,
        )
    });
    let apart = apart.as_ref().map(|a| {
        let preferred = &a.preferred_during_scheduling_ignored_during_execution;
        (
            "podAntiAffinity",
            &a.required_during_scheduling_ignored_during_execution,
            preferred,
        )
    });
    for (name, required, preferred) in near.into_iter().chain(apart) {
        let path = path.f(name);
        let list = path.f("requiredDuringSchedulingIgnoredDuringExecution");
        for (i, term) in required.iter().enumerate() {
            if term.label_selector.is_none() {
                out.push(null_selector(&list.i(i)));
            }
        }
        let list = path.f("preferredDuringSchedulingIgnoredDuringExecution");
        for (i, weighted) in preferred.iter().enumerate() {
            if weighted.pod_affinity_term.label_selector.is_none() {
                let at = list.i(i);
                out.push(null_selector(&at.f("podAffinityTerm")));
            }
        }
    }
}

/// Annotations that became fields.
static ANNOTATIONS: [(&str, &str); 3] = [
    (
        "scheduler.alpha.kubernetes.io/critical-pod",
        "non-functional in v1.16+; use the \"priorityClassName\" field instead",
    ),
    (
        "security.alpha.kubernetes.io/sysctls",
        "non-functional in v1.11+; use the \"sysctls\" field instead",
    ),
    (
        "security.alpha.kubernetes.io/unsafe-sysctls",
        "non-functional in v1.11+; use the \"sysctls\" field instead",
    ),
];

const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";
const USE_SECCOMP: &str = "non-functional in v1.27+; use the \"seccompProfile\" field instead";
const USE_APPARMOR: &str = "deprecated since v1.30; use the \"appArmorProfile\" field instead";

fn annotations(out: &mut Vec<String>, spec: &PodSpec, meta: &ObjectMeta, path: &Path) {
    for (key, text) in ANNOTATIONS {
        if meta.annotations.contains_key(key) {
            out.push(format!("{}: {text}", path.k(key)));
        }
    }
    let of_pod = spec.security_context.as_ref();
    if of_pod.is_none_or(|c| c.seccomp_profile.is_none())
        && meta.annotations.contains_key(SECCOMP_POD)
    {
        out.push(format!("{}: {USE_SECCOMP}", path.k(SECCOMP_POD)));
    }
    for container in spec.init_containers.iter().chain(spec.containers.iter()) {
        let context = container.security_context.as_ref();
        let key = format!("{SECCOMP_CONTAINER}{}", container.name);
        if context.is_none_or(|c| c.seccomp_profile.is_none())
            && meta.annotations.contains_key(&key)
        {
            out.push(format!("{}: {USE_SECCOMP}", path.k(&key)));
        }
    }
}

/// Templates keep the annotation; in pods it is turned into the field.
fn template_only(out: &mut Vec<String>, template: &PodTemplateSpec, path: &Path) {
    let path = path.f("annotations");
    let spec = &template.spec;
    for container in spec.init_containers.iter().chain(spec.containers.iter()) {
        let key = format!("{APPARMOR}{}", container.name);
        let context = container.security_context.as_ref();
        let has_field = context.is_some_and(|c| c.app_armor_profile.is_some());
        if !has_field && template.metadata.annotations.contains_key(&key) {
            out.push(format!("{}: {USE_APPARMOR}", path.k(&key)));
        }
    }
}

fn volumes(out: &mut Vec<String>, spec: &PodSpec, path: &Path) {
    let list = path.f("volumes");
    for (i, volume) in spec.volumes.iter().enumerate() {
        let at = list.i(i);
        for (key, _) in volume_spec::given(MsgRef::new(&volume.volume_source)) {
            if let Some(text) = volume_spec::retired(key) {
                let shown = if key == "storageos" { "storageOS" } else { key };
                out.push(format!("{}: {text}", at.f(shown)));
            }
        }
        let claim = volume.volume_source.ephemeral.as_ref();
        if let Some(template) = claim.and_then(|e| e.volume_claim_template.as_ref()) {
            let at = at.f("ephemeral");
            let at = at.f("volumeClaimTemplate");
            out.extend(crate::core::claim::spec_warnings(
                &template.spec,
                &at.f("spec"),
            ));
        }
        let projected = volume.volume_source.projected.iter();
        let sources = projected.flat_map(|p| p.sources.iter());
        for _ in sources.filter(|s| MsgRef::new(*s).is_zero()) {
            let name = crate::error::quote(&volume.name);
            out.push(format!("volume {name} (Projected) has no sources provided"));
        }
    }
}

fn lists(out: &mut Vec<String>, spec: &PodSpec, path: &Path) {
    let list = path.f("hostAliases");
    for (i, alias) in spec.host_aliases.iter().enumerate() {
        if spec.host_aliases[..i].iter().any(|a| a.ip == alias.ip) {
            let ip = crate::error::quote(&alias.ip);
            out.push(format!("{}: duplicate ip {ip}", list.i(i).f("ip")));
        }
    }
    let list = path.f("imagePullSecrets");
    for (i, secret) in spec.image_pull_secrets.iter().enumerate() {
        if spec.image_pull_secrets[..i]
            .iter()
            .any(|s| s.name == secret.name)
        {
            let name = crate::error::quote(&secret.name);
            out.push(format!("{}: duplicate name {name}", list.i(i).f("name")));
        }
    }
    for (i, secret) in spec.image_pull_secrets.iter().enumerate() {
        if secret.name.is_empty() {
            out.push(format!("{}: invalid empty name \"\"", list.i(i).f("name")));
        }
    }
    for name in ["memory", "ephemeral-storage"] {
        fraction(out, &spec.overhead, name, &path.f("overhead"));
    }
}

fn fraction(out: &mut Vec<String>, amounts: &Map<Quantity>, name: &str, path: &Path) {
    if let Some(amount) = amounts.get(name).filter(|q| is_fractional(q)) {
        out.push(format!(
            "{}: fractional byte value \"{amount}\" is invalid, must be an integer",
            path.k(name)
        ));
    }
}

fn contents(out: &mut Vec<String>, container: &Container, path: &Path) {
    let resources = path.f("resources");
    for name in ["memory", "ephemeral-storage"] {
        fraction(
            out,
            &container.resources.limits,
            name,
            &resources.f("limits"),
        );
        fraction(
            out,
            &container.resources.requests,
            name,
            &resources.f("requests"),
        );
    }
    let list = path.f("env");
    for (i, variable) in container.env.iter().enumerate() {
        if !container.env[..i].iter().any(|v| v.name == variable.name) {
            continue;
        }
        let reference = format!("$({})", variable.name);
        let hides = variable.value_from.is_some()
            || variable.value == reference.as_str()
            || !variable.value.contains(&reference);
        if hides {
            let name = crate::error::quote(&variable.name);
            out.push(format!(
                "{}: hides previous definition of {name}, which may be dropped when using apply",
                list.i(i)
            ));
        }
    }
}

fn ports(out: &mut Vec<String>, spec: &PodSpec, path: &Path) {
    let mut seen: Vec<(String, ContainerPort)> = Vec::new();
    each_container(spec, path, &mut |container, at| {
        let list = at.f("ports");
        for (i, port) in container.ports.iter().enumerate() {
            let at = list.i(i).to_string();
            for (other, before) in &seen {
                if (before.container_port, &before.protocol)
                    == (port.container_port, &port.protocol)
                    && let Some(text) = clash(before, port)
                {
                    out.push(format!("{at}: {text} port definition with {other}"));
                }
            }
            seen.push((at, port.clone()));
        }
    });
    for (i, (at, port)) in seen.iter().enumerate() {
        let first = seen[..i]
            .iter()
            .find(|(_, p)| !p.name.is_empty() && p.name == port.name);
        if let Some((other, _)) = first {
            let name = crate::error::quote(&port.name);
            out.push(format!(
                "{at}: duplicate port name {name} with {other}, services and probes that select ports by name will use {other}"
            ));
        }
    }
}

fn clash(before: &ContainerPort, port: &ContainerPort) -> Option<&'static str> {
    if before.host_ip == port.host_ip && before.host_port == port.host_port {
        return Some("duplicate");
    }
    if before.host_port == 0 || port.host_port == 0 {
        return Some("overlapping");
    }
    let one_anywhere = before.host_ip.is_empty() != port.host_ip.is_empty();
    (before.host_port == port.host_port && one_anywhere).then_some("dangerously ambiguous")
}
