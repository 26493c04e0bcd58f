//! The whole PodStatus from what is observed, in upstream's words.

mod conditions;
mod containers;
mod phase;

use crate::resources::Side;
use crate::{Moment, Observed, resources};
use corten_api::core::v1::{HostIP, Pod, PodIP, PodStatus, ResourceRequirements};
use corten_core::{Map, Quantity, QuantityFormat, Str};

pub(crate) use containers::backs_off;

/// `name_namespace(uid)`, as messages name a pod.
pub fn pod_name_and_uid(pod: &Pod) -> String {
    let meta = &pod.metadata;
    format!("{}_{}({})", meta.name, meta.namespace, meta.uid)
}

/// The quality of service class of a pod.
pub fn qos_class(pod: &Pod) -> &'static str {
    resources::qos_class(&pod.spec)
}

/// The status at `now`.
pub(crate) fn status(o: &Observed, now: Moment) -> PodStatus {
    let pod = &o.pod;
    let spec = &pod.spec;
    let last = &o.last;
    let mut status = PodStatus {
        observed_generation: pod.metadata.generation,
        nominated_node_name: last.nominated_node_name.clone(),
        qos_class: match pod.status.qos_class.is_empty() {
            true => qos_class(pod).into(),
            false => pod.status.qos_class.clone(),
        },
        start_time: Some(
            last.start_time
                .or(pod.status.start_time)
                .unwrap_or(now.time()),
        ),
        resource_claim_statuses: pod.status.resource_claim_statuses.clone(),
        resize: pod.status.resize.clone(),
        allocated_resources: resources::pod_sums(spec, Side::Requests),
        resources: Some(Box::new(whole(o))),
        ..PodStatus::default()
    };
    addresses(o, &mut status);
    if let Some(rejection) = &o.rejection {
        status.phase = "Failed".into();
        status.reason = rejection.reason.clone();
        status.message = rejection.message.as_str().into();
        status.container_statuses = last.container_statuses.clone();
        conditions::rejected(o, now, &mut status);
        return status;
    }
    status.init_container_statuses = spec
        .init_containers
        .iter()
        .map(|c| containers::container_status(o, c, containers::Role::Init, now))
        .collect();
    let mut main: Vec<_> = spec
        .containers
        .iter()
        .map(|c| containers::container_status(o, c, containers::Role::Main, now))
        .collect();
    main.sort_by(|a, b| a.name.cmp(&b.name));
    status.container_statuses = main.into();
    let mut ephemeral: Vec<_> = spec
        .ephemeral_containers
        .iter()
        .map(|c| {
            let c = crate::as_container(c);
            containers::container_status(o, &c, containers::Role::Ephemeral, now)
        })
        .collect();
    ephemeral.sort_by(|a, b| a.name.cmp(&b.name));
    if !ephemeral.is_empty() {
        status.ephemeral_container_statuses = ephemeral.into();
    }
    set_phase(o, now, &mut status);
    conditions::set(o, now, &mut status);
    status
}

/// What the pod as a whole has.
fn whole(o: &Observed) -> ResourceRequirements {
    let spec = &o.pod.spec;
    let mut own = ResourceRequirements {
        requests: resources::pod_sums(spec, Side::Requests),
        limits: resources::pod_sums(spec, Side::Limits),
        ..spec.resources.as_deref().cloned().unwrap_or_default()
    };
    // Until a resize is carried out, its control group says what the pod has.
    let Some(sizes) = o.resize.group else {
        return own;
    };
    let milli = |value: i64| Quantity::new_milli(value, QuantityFormat::DecimalSi);
    let bytes = |value: i64| Quantity::new(value, QuantityFormat::BinarySi);
    let set = |map: &mut Map<Quantity>, name: &str, quantity: Quantity| {
        if !quantity.is_zero() && map.get(name) != Some(&quantity) {
            map.insert(name, quantity);
        }
    };
    set(&mut own.requests, "cpu", milli(sizes.cpu_request));
    set(&mut own.limits, "cpu", milli(sizes.cpu_limit));
    set(&mut own.limits, "memory", bytes(sizes.memory_limit));
    own
}

fn set_phase(o: &Observed, now: Moment, status: &mut PodStatus) {
    let ended = |phase: &str| matches!(phase, "Failed" | "Succeeded");
    let last = &o.last;
    status.phase = phase::phase(o, status).into();
    for earlier in [&o.pod.status, last] {
        if ended(&earlier.phase) {
            status.phase = earlier.phase.clone();
        }
    }
    if status.phase == last.phase {
        status.reason = last.reason.clone();
        status.message = last.message.clone();
    }
    let start = status.start_time.map(Moment::from).unwrap_or(now);
    let over = o
        .pod
        .spec
        .active_deadline_seconds
        .is_some_and(|s| start.plus_seconds(s) <= now);
    if over && !ended(&status.phase) {
        status.phase = "Failed".into();
        status.reason = "DeadlineExceeded".into();
        status.message = "Pod was active on the node longer than the specified deadline".into();
    }
}

fn addresses(o: &Observed, status: &mut PodStatus) {
    if let Some(first) = o.host_ips.first() {
        status.host_ip = first.clone();
        status.host_ips = o
            .host_ips
            .iter()
            .map(|ip| HostIP { ip: ip.clone() })
            .collect();
    }
    let ips: Vec<Str> = match o.pod.spec.host_network {
        true => o.host_ips.clone(),
        false => o.sandbox.ips.clone(),
    };
    // A pod that ended keeps the address it had.
    match ips.first() {
        Some(first) => {
            status.pod_ip = first.clone();
            status.pod_ips = ips.iter().map(|ip| PodIP { ip: ip.clone() }).collect();
        }
        None => {
            status.pod_ip = o.last.pod_ip.clone();
            status.pod_ips = o.last.pod_ips.clone();
        }
    }
}
