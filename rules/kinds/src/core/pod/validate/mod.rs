//! What is wrong with a pod or pod template, with upstream's paths and words. One file per part of the specification;
//! this one walks them in upstream's order. Leaves out what Windows alone can have.

mod containers;
mod credentials;
mod env;
mod mounts;
mod probes;
pub(crate) mod quantities;
pub(crate) mod scheduling;
mod security;
pub(crate) mod system;
mod update;
pub(crate) mod volumes;
mod windows;

pub(super) use update::{ephemeral_update, pod_update, resize, status_update};

use crate::checks::{self, Errors, invalid_each, one_of};
use crate::error::{FieldError, quote, verbatim};
use crate::metadata::{validate_annotations, validate_labels, value_of_texts};
use crate::names;
use corten_api::core::v1::{Pod, PodDNSConfig, PodResourceClaim, PodSpec, PodTemplateSpec};
use corten_api::meta::v1::ObjectMeta;
use corten_core::{Map, Path, Str};

/// What the checks of one specification share.
pub(super) struct Scope<'a> {
    /// The specification.
    pub spec: &'a PodSpec,
    /// Metadata of the pod; none for templates.
    pub meta: Option<&'a ObjectMeta>,
}

impl Scope<'_> {
    fn is_pod(&self) -> bool {
        self.meta.is_some()
    }
}

/// A new pod.
pub(super) fn pod_create(pod: &Pod) -> Errors {
    let mut errors = metadata_and_spec(pod);
    let path = Path::Root.f("spec");
    if !pod.spec.ephemeral_containers.is_empty() {
        errors.push(FieldError::forbidden(
            path.f("ephemeralContainers"),
            "cannot be set on create",
        ));
    }
    if !pod.spec.node_name.is_empty() && !pod.spec.scheduling_gates.is_empty() {
        let text = "cannot be set until all schedulingGates have been cleared";
        errors.push(FieldError::forbidden(path.f("nodeName"), text));
    }
    errors
}

/// The parts of a pod that clients write, new or updated.
fn metadata_and_spec(pod: &Pod) -> Errors {
    let mut errors = Vec::new();
    annotations(
        &mut errors,
        &Path::Root.f("metadata").f("annotations"),
        &pod.metadata.annotations,
        &pod.spec,
    );
    let path = Path::Root.f("spec");
    spec(
        &mut errors,
        &path,
        &Scope {
            spec: &pod.spec,
            meta: Some(&pod.metadata),
        },
    );
    if pod.spec.service_account_name.is_empty() {
        for (i, volume) in pod.spec.volumes.iter().enumerate() {
            let sources = volume
                .volume_source
                .projected
                .iter()
                .flat_map(|p| p.sources.iter());
            for (j, _) in sources
                .enumerate()
                .filter(|(_, s)| s.service_account_token.is_some())
            {
                let text = "must not be specified when serviceAccountName is not set";
                let at = path.f("volumes");
                let at = at.i(i);
                let at = at.f("projected");
                errors.push(FieldError::forbidden(
                    at.f("sources").i(j).f("serviceAccountToken"),
                    text,
                ));
            }
        }
    }
    for (name, list) in [
        ("containers", &pod.spec.containers),
        ("initContainers", &pod.spec.init_containers),
    ] {
        for (i, container) in list.iter().enumerate() {
            containers::trimmed_image(&mut errors, &path.f(name).i(i), container);
        }
    }
    errors
}

/// A pod template at `path`: labels, annotations and specification. Shared by all workloads.
pub fn validate_pod_template(template: &PodTemplateSpec, path: &Path) -> Vec<FieldError> {
    let mut errors = validate_labels(&template.metadata.labels, &path.f("labels"));
    errors.extend(validate_annotations(
        &template.metadata.annotations,
        &path.f("annotations"),
    ));
    annotations(
        &mut errors,
        &path.f("annotations"),
        &template.metadata.annotations,
        &template.spec,
    );
    spec(
        &mut errors,
        &path.f("spec"),
        &Scope {
            spec: &template.spec,
            meta: None,
        },
    );
    if !template.spec.ephemeral_containers.is_empty() {
        let text = "ephemeral containers not allowed in pod template";
        errors.push(FieldError::forbidden(
            path.f("spec").f("ephemeralContainers"),
            text,
        ));
    }
    errors
}

fn annotations(errors: &mut Errors, path: &Path, map: &Map<Str>, spec: &PodSpec) {
    const MIRROR: &str = "kubernetes.io/config.mirror";
    const COST: &str = "controller.kubernetes.io/pod-deletion-cost";
    system::profiles(errors, path, map, spec);
    if let Some(value) = map.get(MIRROR).filter(|_| spec.node_name.is_empty()) {
        let text = "must set spec.nodeName if mirror pod annotation is set";
        errors.push(FieldError::invalid(path.k(MIRROR), value, text));
    }
    if let Some(cost) = map.get(COST) {
        let digits = cost.strip_prefix('-').unwrap_or(cost);
        let fine = !cost.starts_with('+') && (digits == "0" || !digits.starts_with('0'));
        if !fine || cost.parse::<i32>().is_err() {
            errors.push(FieldError::invalid(
                path.k(COST),
                cost,
                "must be a 32bit integer",
            ));
        }
    }
}

/// The specification of a pod or template.
fn spec(errors: &mut Errors, path: &Path, scope: &Scope) {
    let s = scope.spec;
    if s.termination_grace_period_seconds.is_none() {
        errors.push(FieldError::required(
            path.f("terminationGracePeriodSeconds"),
            "",
        ));
    }
    system::check(errors, path, s);
    let volumes = volumes::volumes(errors, &path.f("volumes"), scope);
    resource_claims(errors, &path.f("resourceClaims"), s);
    containers::containers(errors, &path.f("containers"), scope, &volumes);
    containers::init_containers(errors, &path.f("initContainers"), scope, &volumes);
    containers::ephemeral(errors, &path.f("ephemeralContainers"), scope, &volumes);
    quantities::pod_resources(errors, &path.f("resources"), s);
    host_network_ports(errors, path, scope);
    one_of(
        errors,
        &path.f("restartPolicy"),
        &s.restart_policy,
        &["Always", "OnFailure", "Never"],
    );
    let policies = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
    one_of(errors, &path.f("dnsPolicy"), &s.dns_policy, &policies);
    errors.extend(validate_labels(&s.node_selector, &path.f("nodeSelector")));
    security::pod(errors, &path.f("securityContext"), scope);
    windows::host_processes(errors, path, scope.spec);
    if let Some(affinity) = &s.affinity {
        scheduling::affinity(errors, &path.f("affinity"), affinity);
    }
    dns_config(
        errors,
        &path.f("dnsConfig"),
        s.dns_config.as_deref(),
        &s.dns_policy,
    );
    for (i, gate) in s.readiness_gates.iter().enumerate() {
        let at = path.f("readinessGates");
        checks::qualified_name(errors, &at.i(i).f("conditionType"), &gate.condition_type);
    }
    scheduling::gates(errors, &path.f("schedulingGates"), &s.scheduling_gates);
    scheduling::spread(
        errors,
        &path.f("topologySpreadConstraints"),
        &s.topology_spread_constraints,
    );
    host_users(errors, path, s);
    identity(errors, path, s);
    scheduling::tolerations(errors, &path.f("tolerations"), &s.tolerations);
    for (i, alias) in s.host_aliases.iter().enumerate() {
        let at = path.f("hostAliases");
        let at = at.i(i);
        checks::ip(errors, &at.f("ip"), &alias.ip, &[]);
        for (j, name) in alias.hostnames.iter().enumerate() {
            checks::dns_subdomain(errors, &at.f("hostnames").i(j), name);
        }
    }
    classes(errors, path, s);
    file_key_volumes(errors, path, s);
}

fn identity(errors: &mut Errors, path: &Path, s: &PodSpec) {
    if let Some(name) = &s.hostname_override {
        let at = path.f("hostnameOverride");
        if s.set_hostname_as_fqdn == Some(true) {
            errors.push(FieldError::forbidden(
                &at,
                "may not be specified when setHostnameAsFQDN is true",
            ));
        }
        if s.host_network {
            errors.push(FieldError::forbidden(
                &at,
                "may not be specified when hostNetwork is true",
            ));
        }
        if name.len() > 64 {
            errors.push(FieldError::too_long(&at, 64));
        }
        checks::dns_subdomain(errors, &at, name);
    }
    let mut when_set = |key: &str, value: &str, check: fn(&str) -> Vec<String>| {
        if !value.is_empty() {
            invalid_each(errors, &path.f(key), value, check(value));
        }
    };
    when_set(
        "serviceAccountName",
        &s.service_account_name,
        names::dns_subdomain,
    );
    when_set("nodeName", &s.node_name, names::dns_subdomain);
    if let Some(seconds) = s
        .active_deadline_seconds
        .filter(|v| !(1..=i64::from(i32::MAX)).contains(v))
    {
        let text = names::range_error(1, i64::from(i32::MAX));
        errors.push(FieldError::invalid(
            path.f("activeDeadlineSeconds"),
            seconds,
            text,
        ));
    }
    let mut when_set = |key: &str, value: &str, check: fn(&str) -> Vec<String>| {
        if !value.is_empty() {
            invalid_each(errors, &path.f(key), value, check(value));
        }
    };
    when_set("hostname", &s.hostname, names::dns_label);
    when_set("subdomain", &s.subdomain, names::dns_label);
}

fn classes(errors: &mut Errors, path: &Path, s: &PodSpec) {
    if !s.priority_class_name.is_empty() {
        checks::dns_subdomain(errors, &path.f("priorityClassName"), &s.priority_class_name);
    }
    if let Some(class) = &s.runtime_class_name {
        checks::dns_subdomain(errors, &path.f("runtimeClassName"), class);
    }
    if let Some(policy) = &s.preemption_policy {
        one_of(
            errors,
            &path.f("preemptionPolicy"),
            policy,
            &["PreemptLowerPriority", "Never"],
        );
    }
    for (name, amount) in &s.overhead {
        let at = path.f("overhead");
        let at = at.f("limits");
        quantities::resource_name(errors, &at.k(name), name);
        quantities::amount(errors, &at.k(name), name, amount);
    }
    if let Some(os) = &s.os {
        let at = path.f("os");
        if os.name.is_empty() {
            errors.push(FieldError::required(at.f("name"), ""));
        } else {
            checks::known(errors, &at, &os.name, &["linux", "windows"]);
        }
    }
}

fn resource_claims(errors: &mut Errors, path: &Path, s: &PodSpec) {
    for (i, claim) in s.resource_claims.iter().enumerate() {
        let at = path.i(i);
        if claim.name.is_empty() {
            errors.push(FieldError::required(at.f("name"), ""));
        } else if s.resource_claims[..i].iter().any(|c| c.name == claim.name) {
            errors.push(FieldError::duplicate(at.f("name"), &claim.name));
        } else {
            checks::dns_label(errors, &at.f("name"), &claim.name);
        }
        match (
            &claim.resource_claim_name,
            &claim.resource_claim_template_name,
        ) {
            (Some(_), Some(_)) => {
                let text = "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified";
                errors.push(FieldError::invalid(&at, internal_claim(claim), text));
            }
            (None, None) => {
                let text = "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`";
                errors.push(FieldError::invalid(&at, internal_claim(claim), text));
            }
            (Some(name), None) => checks::dns_subdomain(errors, &at.f("resourceClaimName"), name),
            (None, Some(name)) => {
                checks::dns_subdomain(errors, &at.f("resourceClaimTemplateName"), name)
            }
        }
    }
}

/// A claim as upstream's internal struct prints.
fn internal_claim(claim: &PodResourceClaim) -> corten_core::Value {
    let shown = |text: &Option<Str>| {
        text.as_ref()
            .map_or_else(|| "null".to_owned(), |t| quote(t))
    };
    verbatim(format!(
        "{{\"Name\":{},\"ResourceClaimName\":{},\"ResourceClaimTemplateName\":{}}}",
        quote(&claim.name),
        shown(&claim.resource_claim_name),
        shown(&claim.resource_claim_template_name)
    ))
}

fn host_network_ports(errors: &mut Errors, path: &Path, scope: &Scope) {
    if !scope.spec.host_network {
        return;
    }
    let list = path.f("containers");
    for (i, container) in scope.spec.containers.iter().enumerate() {
        for (j, port) in container.ports.iter().enumerate() {
            let counts = scope.is_pod() || port.host_port != 0;
            if counts && port.host_port != port.container_port {
                let text = "must match `containerPort` when `hostNetwork` is true";
                let at = list.i(i);
                errors.push(FieldError::invalid(
                    at.f("ports").i(j).f("hostPort"),
                    port.host_port,
                    text,
                ));
            }
        }
    }
}

fn dns_config(errors: &mut Errors, path: &Path, config: Option<&PodDNSConfig>, policy: &str) {
    let Some(config) = config else {
        if policy == "None" {
            errors.push(FieldError::required(
                path,
                "must provide `dnsConfig` when `dnsPolicy` is None",
            ));
        }
        return;
    };
    let at = path.f("nameservers");
    if policy == "None" && config.nameservers.is_empty() {
        let text = "must provide at least one DNS nameserver when `dnsPolicy` is None";
        errors.push(FieldError::required(&at, text));
        return;
    }
    if config.nameservers.len() > 3 {
        let text = "must not have more than 3 nameservers";
        errors.push(FieldError::invalid(
            &at,
            value_of_texts(&config.nameservers),
            text,
        ));
    }
    for (i, server) in config.nameservers.iter().enumerate() {
        checks::ip(errors, &at.i(i), server, &[]);
    }
    let at = path.f("searches");
    if config.searches.len() > 32 {
        let text = "must not have more than 32 search paths";
        errors.push(FieldError::invalid(
            &at,
            value_of_texts(&config.searches),
            text,
        ));
    }
    let length: usize = config.searches.iter().map(|s| s.len() + 1).sum();
    if length > 2049 {
        let text = "must not have more than 2048 characters (including spaces) in the search list";
        errors.push(FieldError::invalid(
            &at,
            value_of_texts(&config.searches),
            text,
        ));
    }
    for (i, search) in config
        .searches
        .iter()
        .enumerate()
        .filter(|(_, s)| **s != ".")
    {
        let name = search.strip_suffix('.').unwrap_or(search);
        invalid_each(
            errors,
            &at.i(i),
            name,
            names::dns_subdomain_with_underscore(name),
        );
    }
    for (i, option) in config.options.iter().enumerate() {
        if option.name.is_empty() {
            errors.push(FieldError::required(
                path.f("options").i(i),
                "must not be empty",
            ));
        }
    }
}

fn host_users(errors: &mut Errors, path: &Path, s: &PodSpec) {
    if s.host_users != Some(false) {
        return;
    }
    let text = "when `hostUsers` is false";
    for (name, set) in [
        ("hostNetwork", s.host_network),
        ("HostPID", s.host_pid),
        ("HostIPC", s.host_ipc),
    ] {
        if set {
            errors.push(FieldError::forbidden(path.f(name), text));
        }
    }
}

fn file_key_volumes(errors: &mut Errors, path: &Path, s: &PodSpec) {
    for (list, containers) in [
        ("initContainers", &s.init_containers),
        ("containers", &s.containers),
    ] {
        let list = path.f(list);
        for (i, container) in containers.iter().enumerate() {
            for (j, var) in container.env.iter().enumerate() {
                let Some(key) = var
                    .value_from
                    .as_ref()
                    .and_then(|f| f.file_key_ref.as_ref())
                else {
                    continue;
                };
                let at = list.i(i);
                let at = at.f("env");
                let at = at.i(j);
                let at = at.f("valueFrom");
                let at = at.f("fileKeyRef");
                match s.volumes.iter().find(|v| v.name == key.volume_name) {
                    None => {
                        errors.push(FieldError::not_found(at.f("volumeName"), &key.volume_name))
                    }
                    Some(volume) if volume.volume_source.empty_dir.is_none() => {
                        let text = "referenced volume must be of type emptyDir";
                        errors.push(FieldError::invalid(
                            at.f("volumeName"),
                            &key.volume_name,
                            text,
                        ));
                    }
                    Some(_) => {}
                }
            }
        }
    }
}
