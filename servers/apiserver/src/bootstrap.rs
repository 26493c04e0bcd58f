//! What a fresh cluster is given at start: system namespaces, priority classes, the RBAC policy, the service that stands
//! for the API server. Runs at every start and only adds what is missing; RBAC is reconciled as upstream does, and the
//! service and its endpoints follow the address and port that this start advertises.

use corten_access::UserInfo;
use corten_api::core::v1::{
    ConfigMap, EndpointAddress, EndpointPort as Port, EndpointSubset, Endpoints, Service,
    ServicePort,
};
use corten_api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};
use corten_api::meta::v1::Condition;
use corten_api::networking::v1::ServiceCIDR;
use corten_api::{Kind, Object};
use corten_client::Status;
use corten_core::IntOrString;

use futures_util::future::join_all;

use crate::catalog::Served;
use crate::etcd::Members;
use crate::options::WriteOptions;
use crate::server::Server;
use crate::write::{Aim, Change};
use crate::{typed, write};
use std::net::IpAddr;
use std::sync::Arc;

/// The server itself, past RBAC.
pub(crate) fn loopback() -> UserInfo {
    UserInfo {
        name: "system:apiserver".into(),
        groups: vec!["system:masters".into(), "system:authenticated".into()],
        ..UserInfo::default()
    }
}

/// Brings a cluster's fixed objects up to date. One that is refused does not keep the server from starting: it is
/// logged, and the server does not report itself ready.
pub(crate) async fn run(server: &Server, members: Option<&Members>) -> Result<(), Status> {
    let (namespaces, others): (Vec<Object>, Vec<Object>) = corten_kinds::bootstrap_objects()
        .into_iter()
        .partition(|object| object.kind() == "Namespace");
    // All at once, so that they share a few syncs of the disk: one after another would cost a sync each.
    let mut refused = count(join_all(namespaces.into_iter().map(|o| ensure(server, o))).await);
    let others = join_all(others.into_iter().map(|o| ensure(server, o)));
    let policy = corten_access::bootstrap_objects(server.config.runtime.features());
    let policy = policy
        .into_iter()
        .map(|wanted| reconcile(server, wanted, corten_access::reconcile));
    let (others, policy) = tokio::join!(others, join_all(policy));
    refused += count(others) + count(policy);
    // Before any service: addresses come from it.
    refused += report(ensure(server, service_range(server).into()).await);
    refused += report(settle_range(server).await);
    refused += report(reconcile(server, service(server)?.into(), refit_service).await);
    refused += report(ensure(server, token_tracking(server).into()).await);
    let authentication = authentication(server).into();
    refused += report(reconcile(server, authentication, refit_authentication).await);
    let own = server.config.advertise.ip();
    // A loopback address is no endpoint that pods could reach.
    if !own.is_loopback() {
        refused += report(match members {
            Some(members) => members.settle(server).await,
            None => place(server, &[own]).await,
        });
    }
    if refused == 0 {
        server.set_bootstrapped();
    }
    Ok(())
}

/// Makes these addresses the endpoints of the service `kubernetes`.
pub(crate) async fn place(server: &Server, addresses: &[IpAddr]) -> Result<(), Status> {
    let endpoints = endpoints(server, addresses).into();
    reconcile(server, endpoints, refit_endpoints).await?;
    reconcile(server, slice(server, addresses).into(), refit_slice).await
}

fn count(results: Vec<Result<(), Status>>) -> usize {
    results.into_iter().map(report).sum()
}

fn report(result: Result<(), Status>) -> usize {
    match result {
        Ok(()) => 0,
        Err(status) => {
            tracing::error!(%status, "write one of the cluster's first objects");
            1
        }
    }
}

fn served_for(server: &Server, object: &Object) -> Result<Arc<Served>, Status> {
    let gvk = object.gvk();
    let catalog = server.catalog();
    let found = catalog
        .all()
        .iter()
        .find(|s| s.group == gvk.group && s.version == gvk.version && s.kind == gvk.kind);
    found
        .cloned()
        .ok_or_else(|| Status::internal(format!("{gvk} is not served")))
}

/// Upstream's flow control writes its own objects.
fn options(served: &Served) -> WriteOptions {
    let manager = match served.group.as_str() {
        "flowcontrol.apiserver.k8s.io" => "api-priority-and-fairness-config-producer-v1",
        _ => "kube-apiserver",
    };
    WriteOptions {
        manager: manager.into(),
        ..WriteOptions::default()
    }
}

/// Makes an object unless it is there.
async fn ensure(server: &Server, object: Object) -> Result<(), Status> {
    let served = served_for(server, &object)?;
    let (namespace, name) = (
        object.meta().namespace.to_string(),
        object.meta().name.to_string(),
    );
    let aim = Aim {
        served: &served,
        namespace: &namespace,
        name: &name,
        subresource: "",
    };
    if server.store.get(&aim.key()).is_some() {
        return Ok(());
    }
    match write::create(server, &loopback(), &aim, object, &options(&served)).await {
        // Another server may have been first, also with an address that only one service can have.
        Err(status) if server.store.get(&aim.key()).is_none() => Err(status),
        _ => Ok(()),
    }
}

/// The range that the server is configured with, as the object that addresses are given from.
fn service_range(server: &Server) -> ServiceCIDR {
    let mut range = ServiceCIDR::named("kubernetes");
    for (base, prefix) in &server.config.ranges.services {
        range.spec.cidrs.push(format!("{base}/{prefix}").as_str());
    }
    range
}

/// Says of the range that it is ready, unless its conditions were written before.
async fn settle_range(server: &Server) -> Result<(), Status> {
    let served = served_for(server, &service_range(server).into())?;
    let aim = Aim {
        served: &served,
        namespace: "",
        name: "kubernetes",
        subresource: "status",
    };
    let Some(entry) = server.store.get(&aim.key()) else {
        return Ok(());
    };
    let stored = typed::object(&entry)?;
    let settled = |range: &ServiceCIDR| !range.status.conditions.is_empty();
    if stored.downcast_ref::<ServiceCIDR>().is_none_or(settled) {
        return Ok(());
    }
    let now = server.now();
    let compute = |old: &Object| {
        let mut new = old.clone();
        if let Some(range) = new.downcast_mut::<ServiceCIDR>() {
            range.status.conditions.push(Condition {
                type_: "Ready".into(),
                status: "True".into(),
                last_transition_time: now,
                message: "Kubernetes default Service CIDR is ready".into(),
                ..Condition::default()
            });
        }
        Ok(new)
    };
    let change = Change::Compute(&compute);
    write::update(server, &loopback(), &aim, change, &options(&served))
        .await
        .map(drop)
}

/// Since when uses of tokens in secrets are counted.
fn token_tracking(server: &Server) -> ConfigMap {
    let name = "kube-apiserver-legacy-service-account-token-tracking";
    let mut map = ConfigMap::namespaced("kube-system", name);
    let now = server.now().to_string();
    let day = now.split('T').next().unwrap_or_default();
    map.data.insert("since", day);
    map
}

/// What aggregated servers need to know to trust the front proxy and client certificates.
fn authentication(server: &Server) -> ConfigMap {
    let mut map = ConfigMap::namespaced("kube-system", "extension-apiserver-authentication");
    let config = &server.config;
    for (key, value) in [
        ("client-ca-file", config.client_ca.as_str()),
        ("requestheader-allowed-names", "[\"front-proxy-client\"]"),
        ("requestheader-client-ca-file", &config.front_proxy_ca),
        (
            "requestheader-extra-headers-prefix",
            "[\"X-Remote-Extra-\"]",
        ),
        ("requestheader-group-headers", "[\"X-Remote-Group\"]"),
        ("requestheader-username-headers", "[\"X-Remote-User\"]"),
    ] {
        map.data.insert(key, value);
    }
    map
}

fn refit_authentication(old: &Object, wanted: &Object) -> Option<Object> {
    let (was, wanted) = (
        old.downcast_ref::<ConfigMap>()?,
        wanted.downcast_ref::<ConfigMap>()?,
    );
    let mut new = was.clone();
    for (key, value) in wanted.data.iter() {
        new.data.insert(key.clone(), value.clone());
    }
    (new != *was).then(|| new.into())
}

/// What an existing object (first) must become to be as wanted (second); none when it is already.
type Refit = fn(&Object, &Object) -> Option<Object>;

/// Makes an object, or brings it up to date.
async fn reconcile(server: &Server, wanted: Object, refit: Refit) -> Result<(), Status> {
    let served = served_for(server, &wanted)?;
    let (namespace, name) = (
        wanted.meta().namespace.to_string(),
        wanted.meta().name.to_string(),
    );
    let aim = Aim {
        served: &served,
        namespace: &namespace,
        name: &name,
        subresource: "",
    };
    let Some(entry) = server.store.get(&aim.key()) else {
        return ensure(server, wanted).await;
    };
    let existing = typed::object(&entry)?;
    if refit(&existing, &wanted).is_none() {
        return Ok(());
    }
    let change = |old: &Object| Ok(refit(old, &wanted).unwrap_or_else(|| old.clone()));
    write::update(
        server,
        &loopback(),
        &aim,
        Change::Compute(&change),
        &options(&served),
    )
    .await
    .map(|_| ())
}

/// `default/kubernetes`, at the first address of the service network.
fn service(server: &Server) -> Result<Service, Status> {
    let mut service = Service::namespaced("default", "kubernetes");
    service.metadata.labels.insert("component", "apiserver");
    service.metadata.labels.insert("provider", "kubernetes");
    let first = server
        .config
        .ranges
        .services
        .first()
        .map(|(ip, _)| match ip {
            std::net::IpAddr::V4(ip) => {
                std::net::IpAddr::from(std::net::Ipv4Addr::from(u32::from(*ip) + 1))
            }
            std::net::IpAddr::V6(ip) => {
                std::net::IpAddr::from(std::net::Ipv6Addr::from(u128::from(*ip) + 1))
            }
        });
    let first = first
        .ok_or_else(|| Status::internal("there is no service network"))?
        .to_string();
    service.spec.cluster_ip = first.as_str().into();
    service.spec.ip_family_policy = Some("SingleStack".into());
    service.spec.type_ = "ClusterIP".into();
    service.spec.session_affinity = "None".into();
    service.spec.ports.push(ServicePort {
        name: "https".into(),
        protocol: "TCP".into(),
        port: 443,
        target_port: IntOrString::from(i32::from(server.config.advertise.port())),
        ..ServicePort::default()
    });
    Ok(service)
}

/// The service's ports and type are the server's; its address stays.
fn refit_service(old: &Object, wanted: &Object) -> Option<Object> {
    let (was, wanted) = (
        old.downcast_ref::<Service>()?,
        wanted.downcast_ref::<Service>()?,
    );
    let mut new = was.clone();
    new.spec.ports = wanted.spec.ports.clone();
    new.spec.type_ = wanted.spec.type_.clone();
    (new != *was).then(|| new.into())
}

fn refit_endpoints(old: &Object, wanted: &Object) -> Option<Object> {
    let (was, wanted) = (
        old.downcast_ref::<Endpoints>()?,
        wanted.downcast_ref::<Endpoints>()?,
    );
    let mut new = was.clone();
    new.subsets = wanted.subsets.clone();
    for (key, value) in wanted.metadata.labels.iter() {
        new.metadata.labels.insert(key.clone(), value.clone());
    }
    (new != *was).then(|| new.into())
}

/// The family of a slice's addresses cannot change; a slice of the other family stays as it is.
fn refit_slice(old: &Object, wanted: &Object) -> Option<Object> {
    let (was, wanted) = (
        old.downcast_ref::<EndpointSlice>()?,
        wanted.downcast_ref::<EndpointSlice>()?,
    );
    if was.address_type != wanted.address_type {
        return None;
    }
    let mut new = was.clone();
    new.endpoints = wanted.endpoints.clone();
    new.ports = wanted.ports.clone();
    for (key, value) in wanted.metadata.labels.iter() {
        new.metadata.labels.insert(key.clone(), value.clone());
    }
    (new != *was).then(|| new.into())
}

/// `default/kubernetes` as Endpoints; nobody is to mirror them, the slice is written beside them.
fn endpoints(server: &Server, addresses: &[IpAddr]) -> Endpoints {
    let advertise = server.config.advertise;
    let mut endpoints = Endpoints::namespaced("default", "kubernetes");
    endpoints
        .metadata
        .labels
        .insert("endpointslice.kubernetes.io/skip-mirror", "true");
    let mut subset = EndpointSubset::default();
    for ip in addresses {
        subset.addresses.push(EndpointAddress {
            ip: ip.to_string().into(),
            ..EndpointAddress::default()
        });
    }
    subset.ports.push(Port {
        name: "https".into(),
        protocol: "TCP".into(),
        port: i32::from(advertise.port()),
        ..Port::default()
    });
    endpoints.subsets.push(subset);
    endpoints
}

fn slice(server: &Server, addresses: &[IpAddr]) -> EndpointSlice {
    let mut slice = EndpointSlice::namespaced("default", "kubernetes");
    slice
        .metadata
        .labels
        .insert("kubernetes.io/service-name", "kubernetes");
    let ip = server.config.advertise.ip();
    slice.address_type = if ip.is_ipv4() { "IPv4" } else { "IPv6" }.into();
    for address in addresses.iter().filter(|a| a.is_ipv4() == ip.is_ipv4()) {
        let mut endpoint = Endpoint::default();
        endpoint.addresses.push(address.to_string().as_str());
        endpoint.conditions.ready = Some(true);
        slice.endpoints.push(endpoint);
    }
    slice.ports.push(EndpointPort {
        name: Some("https".into()),
        protocol: Some("TCP".into()),
        port: Some(i32::from(server.config.advertise.port())),
        ..EndpointPort::default()
    });
    slice
}
