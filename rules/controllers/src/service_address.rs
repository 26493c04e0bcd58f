//! Addresses of services: each cluster IP has the IPAddress object that keeps others from being given it, and each such
//! object stands for a service that has the address.
//!
//! Invariant: nothing is made or deleted because the snapshot lacks something; the server confirms it first. Giving
//! addresses to new services is the API server's, which writes the service and its IPAddress together.

use crate::plan::{Context, Fact, Note, Plan, Target, Write};
use crate::registry::{API_SERVER, Controller, Wake, Watched, resource};
use crate::service_cidr::{MANAGED_BY, Range, address_of, ranges};
use corten_api::core::v1::Service;
use corten_api::networking::v1::{IPAddress, ParentReference, ServiceCIDR};
use corten_api::{Kind, Object};
use corten_core::Str;
use corten_meta::{GroupVersionResource, ObjectKey, Snapshot};
use std::net::IpAddr;

/// Makes the missing IPAddress objects of a service anew.
pub const SERVICES: Controller = Controller {
    name: "service-ip-repair-controller",
    service_account: API_SERVER,
    primary: resource::<Service>,
    wakes: &[
        Wake {
            on: Watched::One(resource::<IPAddress>),
            keys: holders,
        },
        Wake {
            on: Watched::One(resource::<ServiceCIDR>),
            keys: addressed,
        },
    ],
    reconcile: repair_service,
};

/// Deletes IPAddress objects whose service has gone or has another address.
pub const ADDRESSES: Controller = Controller {
    name: "ip-address-repair-controller",
    service_account: API_SERVER,
    primary: resource::<IPAddress>,
    wakes: &[Wake {
        on: Watched::One(resource::<Service>),
        keys: addresses_for,
    }],
    reconcile: repair_address,
};

/// Makes the ServiceCIDR of the configured range anew when it has gone.
pub const DEFAULT_RANGE: Controller = Controller {
    name: "kubernetes-service-cidr-controller",
    service_account: API_SERVER,
    primary: resource::<ServiceCIDR>,
    wakes: &[],
    reconcile: restore_range,
};

/// The name of the configured range's ServiceCIDR.
const DEFAULT_NAME: &str = "kubernetes";
const FAMILY: &str = "ipaddress.kubernetes.io/ip-family";
/// So long may a service take to appear after its address, seconds: a request's own limit.
const REQUEST: i64 = 60;
/// So long may an address be seen before a change to its service, seconds.
const LAG: i64 = 5;

fn is_service(parent: &ParentReference) -> bool {
    parent.group.is_empty() && parent.resource == "services"
}

fn parent_of(address: &IPAddress) -> Option<&ParentReference> {
    address.spec.parent_ref.as_deref().filter(|p| is_service(p))
}

fn has_address(service: &Service) -> bool {
    !service.spec.cluster_ip.is_empty() && service.spec.cluster_ip != "None"
}

/// The service that an address names and those that have it.
fn holders(snapshot: &Snapshot, object: &Object) -> Vec<ObjectKey> {
    let Some(address) = object.downcast_ref::<IPAddress>() else {
        return Vec::new();
    };
    let name = &address.metadata.name;
    let named = parent_of(address).map(|p| ObjectKey::new(p.namespace.clone(), p.name.clone()));
    // Where the object names a service that has the address, as nearly all do, nobody else needs a look.
    let known = named
        .as_ref()
        .and_then(|k| snapshot.get::<Service>(&k.namespace, &k.name));
    if known.is_some_and(|s| s.spec.cluster_ips.iter().any(|ip| ip == name)) {
        return named.into_iter().collect();
    }
    let others = snapshot
        .list::<Service>()
        .filter(|s| s.spec.cluster_ips.iter().any(|ip| ip == name));
    named.into_iter().chain(others.map(key_of)).collect()
}

fn key_of(service: &Service) -> ObjectKey {
    let meta = &service.metadata;
    ObjectKey::new(meta.namespace.clone(), meta.name.clone())
}

fn addressed(snapshot: &Snapshot, _: &Object) -> Vec<ObjectKey> {
    let services = snapshot.list::<Service>();
    services.filter(|s| has_address(s)).map(key_of).collect()
}

/// The objects of a service's addresses: what it no longer has was in the object before the change.
fn addresses_for(_: &Snapshot, object: &Object) -> Vec<ObjectKey> {
    let Some(service) = object.downcast_ref::<Service>() else {
        return Vec::new();
    };
    let addresses = service.spec.cluster_ips.iter().filter(|ip| *ip != "None");
    addresses.map(|ip| ObjectKey::new("", ip.clone())).collect()
}

fn family(address: IpAddr) -> &'static str {
    if address.is_ipv6() { "IPv6" } else { "IPv4" }
}

/// The object that stands for an address of a service.
fn object_for(service: &Service, address: IpAddr) -> IPAddress {
    let mut object = IPAddress::named(address.to_string().as_str());
    let labels = &mut object.metadata.labels;
    labels.insert(MANAGED_BY.0, MANAGED_BY.1);
    labels.insert(FAMILY, family(address));
    object.spec.parent_ref = Some(Box::new(ParentReference {
        resource: "services".into(),
        namespace: service.metadata.namespace.clone(),
        name: service.metadata.name.clone(),
        ..ParentReference::default()
    }));
    object
}

fn repair_service(snapshot: &Snapshot, key: &ObjectKey, _: &Context) -> Option<Plan> {
    let service = snapshot.get::<Service>(&key.namespace, &key.name)?;
    if !has_address(service) || service.metadata.deleting() {
        return None;
    }
    let mut plan = Plan::default();
    for text in &service.spec.cluster_ips {
        match text.parse() {
            Ok(address) => repair_one(&mut plan, snapshot, service, address),
            Err(_) => warn(
                &mut plan,
                service,
                "ClusterIPNotValid",
                format!("Cluster IP {text} is not a valid IP; please recreate Service"),
            ),
        }
    }
    Some(plan)
}

fn repair_one(plan: &mut Plan, snapshot: &Snapshot, service: &Service, address: IpAddr) {
    let (family, text) = (family(address), Str::from(address.to_string().as_str()));
    let place = address_of(&text);
    let holds = |range: Range| place.is_some_and(|a| range.holds(a));
    if !snapshot.list::<ServiceCIDR>().flat_map(ranges).any(holds) {
        // Only the ranges themselves tell; a snapshot without any has not seen them yet.
        if snapshot.list::<ServiceCIDR>().next().is_some() {
            let text = format!(
                "Cluster IP [{family}]: {text} is not within any configured Service CIDR; please recreate service"
            );
            warn(plan, service, "ClusterIPOutOfRange", text);
        }
        return;
    }
    let wanted = object_for(service, address);
    let Some(found) = snapshot.get::<IPAddress>("", &text) else {
        let missing = Target {
            resource: GroupVersionResource::of::<IPAddress>(),
            key: ObjectKey::new("", text.clone()),
            uid: Str::default(),
            resource_version: None,
        };
        plan.write_given(
            Write::create(
                wanted,
                "a service has this address and no object stands for it",
            ),
            // A service that goes takes its address with it, which may be seen first.
            vec![Fact::Gone(missing), Fact::Present(Target::of(service))],
        );
        let text = format!("Cluster IP [{family}]: {text} is not allocated; repairing");
        return warn(plan, service, "ClusterIPNotAllocated", text);
    };
    let (namespace, name) = (&service.metadata.namespace, &service.metadata.name);
    let wrong = format!(
        "the ClusterIP [{family}]: {text} for Service {namespace}/{name} has a wrong reference; repairing"
    );
    let Some(parent) = parent_of(found) else {
        warn(plan, service, "ClusterIPNotAllocated", wrong);
        return replace(plan, found, wanted, Vec::new());
    };
    if (&parent.namespace, &parent.name) != (namespace, name) {
        match snapshot.get::<Service>(&parent.namespace, &parent.name) {
            None => {
                warn(plan, service, "ClusterIPNotAllocated", wrong);
                return replace(plan, found, wanted, vec![gone(parent)]);
            }
            // Two services with one address: replacing the object would go on for ever.
            Some(other) if other.spec.cluster_ips.contains(&text) => {
                let text = format!(
                    "Cluster IP [{family}]:{text} was assigned to multiple services; please recreate service"
                );
                warn(plan, service, "ClusterIPAlreadyAllocated", text);
            }
            Some(_) => {}
        }
        return;
    }
    let labelled = found.metadata.label(MANAGED_BY.0) == MANAGED_BY.1;
    if !labelled || found.metadata.label(FAMILY) != family {
        replace(plan, found, wanted, Vec::new());
    }
}

/// References cannot be changed, so that the object is made anew.
fn replace(plan: &mut Plan, found: &IPAddress, wanted: IPAddress, given: Vec<Fact>) {
    let because = "it does not stand for the service that has the address";
    let delete = Write::delete(found, because).only_if_unchanged(found);
    plan.write_given(delete, given);
    plan.write(Write::create(
        wanted,
        "in place of the object that was wrong",
    ));
}

fn gone(parent: &ParentReference) -> Fact {
    Fact::Gone(Target {
        resource: GroupVersionResource::of::<Service>(),
        key: ObjectKey::new(parent.namespace.clone(), parent.name.clone()),
        uid: Str::default(),
        resource_version: None,
    })
}

fn warn<T: Kind>(plan: &mut Plan, object: &T, reason: &'static str, text: String) {
    plan.note(Note::warning(object, reason, text));
}

fn repair_address(snapshot: &Snapshot, key: &ObjectKey, context: &Context) -> Option<Plan> {
    let address = snapshot.get::<IPAddress>("", &key.name)?;
    let meta = &address.metadata;
    if meta.label(MANAGED_BY.0) != MANAGED_BY.1 || meta.deleting() {
        return None;
    }
    let mut plan = Plan::default();
    let Some(parent) = parent_of(address) else {
        let text = format!(
            "IPAddress {} appears to have been modified, not referencing a Service: cleaning up",
            meta.name
        );
        warn(&mut plan, address, "IPAddressNotAllocated", text);
        plan.write(Write::delete(address, "it stands for no service").only_if_unchanged(address));
        return Some(plan);
    };
    let born = meta.creation_timestamp;
    let (namespace, name) = (&parent.namespace, &parent.name);
    let Some(service) = snapshot.get::<Service>(namespace, name) else {
        if !waited(&mut plan, context, born.plus_seconds(REQUEST)) {
            return Some(plan);
        }
        let text = format!(
            "IPAddress: {} for Service {namespace}/{name} appears to have leaked: cleaning up",
            meta.name
        );
        warn(&mut plan, address, "IPAddressNotAllocated", text);
        plan.write_given(
            Write::delete(address, "its service has gone"),
            vec![gone(parent)],
        );
        return Some(plan);
    };
    if service.spec.cluster_ips.contains(&meta.name) {
        return Some(plan);
    }
    let grace = match &*service.spec.type_ {
        "ExternalName" => REQUEST,
        _ => LAG,
    };
    if born > service.metadata.creation_timestamp
        && !waited(&mut plan, context, born.plus_seconds(grace))
    {
        return Some(plan);
    }
    let text = format!(
        "IPAddress: {} for Service {namespace}/{name} has a wrong reference; cleaning up",
        meta.name
    );
    warn(&mut plan, address, "IPAddressWrongReference", text);
    plan.write(Write::delete(address, "its service has another address"));
    Some(plan)
}

fn restore_range(snapshot: &Snapshot, key: &ObjectKey, context: &Context) -> Option<Plan> {
    let range = &context.cluster.service_cidr;
    if key.name != DEFAULT_NAME || range.is_empty() {
        return None;
    }
    let mut plan = Plan::default();
    if snapshot.get::<ServiceCIDR>("", DEFAULT_NAME).is_none() {
        let mut wanted = ServiceCIDR::named(DEFAULT_NAME);
        for part in range.split(',') {
            wanted.spec.cidrs.push(part);
        }
        let missing = Target {
            resource: GroupVersionResource::of::<ServiceCIDR>(),
            key: key.clone(),
            uid: Str::default(),
            resource_version: None,
        };
        let because = "addresses are given from the range that the cluster was started with";
        plan.write_given(Write::create(wanted, because), vec![Fact::Gone(missing)]);
    }
    Some(plan)
}

/// Whether the moment has come; otherwise the key is looked at again then.
fn waited(plan: &mut Plan, context: &Context, until: corten_core::Time) -> bool {
    if until > context.now {
        plan.wake_at(until);
    }
    until <= context.now
}
