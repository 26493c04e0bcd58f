//! Services: defaults, what follows from a change of type, how they are shown. Leaves out addresses and node ports, which
//! the API server assigns with the write.

mod validate;

use super::columns;
use crate::rules::{Rules, with_status};
use crate::{Column, Context, DeleteAnswer, FieldError, cells, checks, names};
use corten_api::core::v1::{
    ClientIPConfig, LoadBalancerStatus, Service, ServiceSpec, SessionAffinityConfig,
};
use corten_core::{IntOrString, List, Str, Time, Value};
use std::collections::BTreeSet;

/// The strategy of Services.
pub struct Services;

impl Rules for Services {
    type Of = Service;
    with_status!();

    fn default(&self, service: &mut Service) {
        default_spec(&mut service.spec);
        if service.spec.type_ == "LoadBalancer" {
            for ingress in service
                .status
                .load_balancer
                .ingress
                .iter_mut()
                .filter(|i| !i.ip.is_empty())
            {
                ingress.ip_mode.get_or_insert("VIP".into());
            }
        }
    }
    fn prepare_create(&self, _cx: &Context, new: &mut Service) {
        let spec = &mut new.spec;
        if !spec.cluster_ip.is_empty() && spec.cluster_ips.is_empty() {
            spec.cluster_ips = List::from([spec.cluster_ip.clone()]);
        }
    }
    fn prepare_update(&self, _cx: &Context, part: &str, new: &mut Service, old: &Service) {
        if part.is_empty() {
            normalize_addresses(&mut new.spec, &old.spec);
            drop_what_the_type_has_not(&mut new.spec, &old.spec);
            if new.spec.type_ != "LoadBalancer" {
                new.status.load_balancer = LoadBalancerStatus::default();
            }
        }
    }
    fn validate_create(&self, _cx: &Context, new: &Service) -> Vec<FieldError> {
        validate::service(new, None)
    }
    fn validate_update(
        &self,
        _cx: &Context,
        part: &str,
        new: &Service,
        old: &Service,
    ) -> Vec<FieldError> {
        match part {
            "" => validate::update(new, old),
            "status" => validate::status(new, old),
            _ => vec![],
        }
    }
    fn warnings(&self, _cx: &Context, new: &Service, _old: Option<&Service>) -> Vec<String> {
        service_warnings(new)
    }
    fn columns(&self) -> &'static [Column] {
        &columns::SERVICE
    }
    fn cells(&self, service: &Service, now: &Time) -> Vec<Value> {
        let spec = &service.spec;
        let ports: Vec<String> = spec.ports.iter().map(port_text).collect();
        vec![
            Value::from(&service.metadata.name),
            Value::from(&spec.type_),
            Value::from(spec.cluster_ips.first().map_or("<none>", |ip| ip.as_str())),
            Value::from(external_ip(service)),
            Value::from(if ports.is_empty() {
                "<none>".to_owned()
            } else {
                ports.join(",")
            }),
            cells::age(&service.metadata.creation_timestamp, now),
            Value::from(cells::labels(&spec.selector)),
        ]
    }
    fn field_labels(&self) -> &'static [&'static str] {
        &["spec.clusterIP", "spec.type"]
    }
    fn field_values(&self, service: &Service) -> Vec<Str> {
        vec![service.spec.cluster_ip.clone(), service.spec.type_.clone()]
    }
    fn create_on_update(&self) -> bool {
        true
    }
    fn delete_answer(&self) -> DeleteAnswer {
        DeleteAnswer::Object
    }
    fn invalid_name(&self, name: &str, prefix: bool) -> Vec<String> {
        // Since v1.34 names may begin with a digit.
        names::dns_label(&names::as_prefix(name, prefix))
    }
}

fn default_spec(spec: &mut ServiceSpec) {
    if spec.session_affinity.is_empty() {
        spec.session_affinity = "None".into();
    }
    match spec.session_affinity.as_str() {
        "None" => spec.session_affinity_config = None,
        "ClientIP" => {
            let config = spec
                .session_affinity_config
                .as_ref()
                .and_then(|c| c.client_ip.as_ref());
            if config.and_then(|c| c.timeout_seconds).is_none() {
                let client_ip = Some(Box::new(ClientIPConfig {
                    timeout_seconds: Some(10800),
                }));
                spec.session_affinity_config = Some(Box::new(SessionAffinityConfig { client_ip }));
            }
        }
        _ => {}
    }
    if spec.type_.is_empty() {
        spec.type_ = "ClusterIP".into();
    }
    for port in spec.ports.iter_mut() {
        if port.protocol.is_empty() {
            port.protocol = "TCP".into();
        }
        let unset = match &port.target_port {
            IntOrString::Int(number) => *number == 0,
            IntOrString::String(name) => name.is_empty(),
        };
        if unset {
            port.target_port = IntOrString::from(port.port);
        }
    }
    if is_external(spec) && spec.external_traffic_policy.is_empty() {
        spec.external_traffic_policy = "Cluster".into();
    }
    if matches!(
        spec.type_.as_str(),
        "ClusterIP" | "NodePort" | "LoadBalancer"
    ) {
        spec.internal_traffic_policy.get_or_insert("Cluster".into());
    }
    if spec.type_ == "LoadBalancer" {
        spec.allocate_load_balancer_node_ports.get_or_insert(true);
    }
}

/// Whether it can be reached from outside the cluster.
fn is_external(spec: &ServiceSpec) -> bool {
    has_node_ports(spec) || (spec.type_ == "ClusterIP" && !spec.external_ips.is_empty())
}

/// Whether its ports are opened on nodes.
fn has_node_ports(spec: &ServiceSpec) -> bool {
    matches!(spec.type_.as_str(), "NodePort" | "LoadBalancer")
}

/// Whether it has a port for health checks.
fn has_health_port(spec: &ServiceSpec) -> bool {
    spec.type_ == "LoadBalancer" && spec.external_traffic_policy == "Local"
}

/// clusterIP and clusterIPs name the same address first; whichever the client changed wins.
/// What is wrong with a service's own addresses and families, before any are given to it.
pub fn cluster_ip_errors(service: &Service, old: Option<&Service>) -> Vec<FieldError> {
    validate::own_addresses(service, old)
}

/// Makes `clusterIP` and `clusterIPs` of an update agree, as the one that was changed has it.
pub fn normalize(service: &mut Service, old: &Service) {
    normalize_addresses(&mut service.spec, &old.spec);
}

/// What users are warned of.
fn service_warnings(service: &Service) -> Vec<String> {
    let (spec, mut all) = (&service.spec, Vec::new());
    let mut warn = |wrong: bool, text: &str| {
        if wrong {
            all.push(text.to_owned());
        }
    };
    let old_hints = service
        .metadata
        .annotations
        .contains_key("service.kubernetes.io/topology-aware-hints");
    warn(
        old_hints,
        "annotation service.kubernetes.io/topology-aware-hints is deprecated, please use \
         service.kubernetes.io/topology-mode instead",
    );
    let addressed = !matches!(spec.cluster_ip.as_str(), "" | "None");
    for (i, ip) in spec.cluster_ips.iter().enumerate().filter(|_| addressed) {
        all.extend(checks::ip_warning(&format!("spec.clusterIPs[{i}]"), ip));
    }
    for (i, ip) in spec.external_ips.iter().enumerate() {
        all.extend(checks::ip_warning(&format!("spec.externalIPs[{i}]"), ip));
    }
    if !spec.load_balancer_ip.is_empty() {
        all.extend(checks::ip_warning(
            "spec.loadBalancerIP",
            &spec.load_balancer_ip,
        ));
    }
    let mut warn = |wrong: bool, text: &str| {
        if wrong {
            all.push(text.to_owned());
        }
    };
    let headless = spec.type_ == "ClusterIP" && spec.cluster_ip == "None";
    let external = spec.type_ == "ExternalName";
    let ips = !spec.external_ips.is_empty();
    warn(
        headless && !spec.load_balancer_ip.is_empty(),
        "spec.loadBalancerIP is ignored for headless services",
    );
    warn(
        headless && ips,
        "spec.externalIPs is ignored for headless services",
    );
    let sticky = headless && spec.session_affinity != "None";
    warn(
        sticky,
        "spec.SessionAffinity is ignored for headless services",
    );
    warn(
        ips && !headless && !external,
        "spec.externalIPs is deprecated and may no longer be implemented in some clusters",
    );
    warn(
        external && ips,
        "spec.externalIPs is ignored when spec.type is \"ExternalName\"",
    );
    warn(
        !external && !spec.external_name.is_empty(),
        "spec.externalName is ignored when spec.type is not \"ExternalName\"",
    );
    warn(
        spec.traffic_distribution
            .as_ref()
            .is_some_and(|d| *d == "PreferClose"),
        "spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\"",
    );
    all
}

fn normalize_addresses(new: &mut ServiceSpec, old: &ServiceSpec) {
    let same_list = new.cluster_ips[..] == old.cluster_ips[..];
    let given = old.cluster_ip.is_empty() && new.cluster_ips.is_empty();
    let changed = old.cluster_ip != new.cluster_ip && same_list;
    if !old.cluster_ip.is_empty() && new.cluster_ip.is_empty() && same_list {
        new.cluster_ips = List::NIL;
    } else if !new.cluster_ip.is_empty() && (given || changed) {
        new.cluster_ips = List::from([new.cluster_ip.clone()]);
    }
}

/// A change of type takes with it what only the old type had, unless the client changed that too.
fn drop_what_the_type_has_not(new: &mut ServiceSpec, old: &ServiceSpec) {
    if old.type_ != "ExternalName" && new.type_ == "ExternalName" {
        if old.cluster_ip == new.cluster_ip && old.cluster_ips[..] == new.cluster_ips[..] {
            new.cluster_ip = Str::EMPTY;
            new.cluster_ips = List::NIL;
        }
        if old.ip_families[..] == new.ip_families[..] {
            new.ip_families = List::NIL;
        }
        if old.ip_family_policy == new.ip_family_policy {
            new.ip_family_policy = None;
        }
        if old.internal_traffic_policy == new.internal_traffic_policy {
            new.internal_traffic_policy = None;
        }
    }
    let node_ports = |s: &ServiceSpec| -> BTreeSet<i32> {
        s.ports
            .iter()
            .map(|p| p.node_port)
            .filter(|p| *p != 0)
            .collect()
    };
    if has_node_ports(old) && !has_node_ports(new) && node_ports(old).is_superset(&node_ports(new))
    {
        new.ports.iter_mut().for_each(|p| p.node_port = 0);
    }
    if has_health_port(old)
        && !has_health_port(new)
        && old.health_check_node_port == new.health_check_node_port
    {
        new.health_check_node_port = 0;
    }
    if old.type_ == "LoadBalancer" && new.type_ != "LoadBalancer" {
        let both = old.allocate_load_balancer_node_ports.is_some();
        if both && old.allocate_load_balancer_node_ports == new.allocate_load_balancer_node_ports {
            new.allocate_load_balancer_node_ports = None;
        }
        if old.load_balancer_class == new.load_balancer_class {
            new.load_balancer_class = None;
        }
    }
    if is_external(old)
        && !is_external(new)
        && old.external_traffic_policy == new.external_traffic_policy
    {
        new.external_traffic_policy = Str::EMPTY;
    }
}

fn port_text(port: &corten_api::core::v1::ServicePort) -> String {
    if port.node_port > 0 {
        return format!("{}:{}/{}", port.port, port.node_port, port.protocol);
    }
    format!("{}/{}", port.port, port.protocol)
}

fn external_ip(service: &Service) -> String {
    let external: Vec<&str> = service
        .spec
        .external_ips
        .iter()
        .map(|ip| ip.as_str())
        .collect();
    match service.spec.type_.as_str() {
        "ClusterIP" | "NodePort" if external.is_empty() => "<none>".to_owned(),
        "ClusterIP" | "NodePort" => external.join(","),
        "LoadBalancer" => {
            let ingress = service.status.load_balancer.ingress.iter();
            let own: BTreeSet<&str> = ingress
                .map(|i| {
                    if i.ip.is_empty() {
                        i.hostname.as_str()
                    } else {
                        i.ip.as_str()
                    }
                })
                .filter(|t| !t.is_empty())
                .collect();
            let all: Vec<&str> = own.into_iter().chain(external).collect();
            if all.is_empty() {
                "<pending>".to_owned()
            } else {
                all.join(",")
            }
        }
        "ExternalName" => service.spec.external_name.to_string(),
        _ => "<unknown>".to_owned(),
    }
}
