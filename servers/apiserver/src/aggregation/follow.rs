//! Keeps APIServices in step: local ones are registered for everything served here, and those that name a service are
//! checked, described and put under this server's roof. Invariant: what a user made of an APIService by hand stays.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use corten_api::apiregistration::v1::{APIService, APIServiceCondition};
use corten_api::core::v1::Service;
use corten_api::discovery::v1::EndpointSlice;
use corten_api::{Kind, Object};
use corten_client::Status;
use corten_meta::Snapshot;
use corten_store::{Scope, Watch};
use serde_json::Value;

use super::described;
use super::front;
use super::remote::{Remote, Remotes, Target};
use super::{group_priority, is_built_in, version_priority};
use crate::connect::bracketed;
use crate::options::{DeleteOptions, WriteOptions};
use crate::outbound::{Failure, Place, Verification};
use crate::server::{Server, signalled};
use crate::write::{self, Aim, Change};
use crate::{bootstrap, delete};

const MANAGED: &str = "kube-aggregator.kubernetes.io/automanaged";
/// How often servers that gave no sign are asked again.
const CHECK_EVERY: Duration = Duration::from_secs(30);
/// What a look at the objects waits for.
const FOLLOWED: [(&str, &str, &str); 4] = [
    ("apiregistration.k8s.io", "v1", "apiservices"),
    ("apiextensions.k8s.io", "v1", "customresourcedefinitions"),
    ("", "v1", "services"),
    ("discovery.k8s.io", "v1", "endpointslices"),
];

/// Follows the objects until the server stops.
pub(crate) async fn follow(server: Arc<Server>) {
    let mut stop = server.stop_signal();
    let mut again = tokio::time::interval(CHECK_EVERY);
    while let Some(mut watches) = open(&server) {
        register(&server).await;
        check(&server).await;
        loop {
            let [services, definitions, backends, slices] = &mut watches;
            let (mut a, mut b, mut c, mut d) = (vec![], vec![], vec![], vec![]);
            let seen = tokio::select! {
                seen = services.next_batch(&mut a, usize::MAX) => seen,
                seen = definitions.next_batch(&mut b, usize::MAX) => seen,
                seen = backends.next_batch(&mut c, usize::MAX) => seen,
                seen = slices.next_batch(&mut d, usize::MAX) => seen,
                _ = again.tick() => Ok(()),
                () = signalled(&mut stop) => return,
            };
            if seen.is_err() {
                break;
            }
            if !b.is_empty() || !a.is_empty() {
                register(&server).await;
            }
            check(&server).await;
        }
        if !server.store_is_open() {
            return;
        }
    }
}

fn open(server: &Server) -> Option<[Watch; 4]> {
    let catalog = server.catalog();
    let watches: Option<Vec<Watch>> = FOLLOWED
        .iter()
        .map(|(group, version, plural)| {
            let served = catalog.find(group, version, plural)?;
            let now = server.store.snapshot(&served.storage).revision();
            server.store.watch(&served.storage, Scope::All, now).ok()
        })
        .collect();
    watches?.try_into().ok()
}

fn options() -> WriteOptions {
    WriteOptions {
        manager: "kube-apiserver".into(),
        ..WriteOptions::default()
    }
}

/// Makes the APIServices of everything served here, and takes those of custom resources away that are served no more.
async fn register(server: &Arc<Server>) {
    let catalog = server.catalog();
    let Some(served) = catalog.find("apiregistration.k8s.io", "v1", "apiservices") else {
        return;
    };
    let known = server.typed.snapshot();
    let user = bootstrap::loopback();
    let mut wanted = Vec::new();
    for (group, versions) in catalog.group_versions() {
        // The aggregator does not register itself.
        if group == "apiregistration.k8s.io" {
            continue;
        }
        wanted.extend(versions.iter().map(|version| local(&group, version)));
    }
    let mut writes = Vec::new();
    for object in &wanted {
        let name = object.metadata.name.to_string();
        if known.get::<APIService>("", &name).is_none() {
            let (user, object) = (&user, object.clone());
            writes.push(async move {
                let aim = aim(served, &name, "");
                let made = write::create(server, user, &aim, object.into(), &options()).await;
                report(made.map(drop), &name);
            });
        }
    }
    futures_util::future::join_all(writes).await;
    for object in known.list::<APIService>() {
        let name = object.metadata.name.as_str();
        let stale = object.metadata.label(MANAGED) == "true"
            && !wanted.iter().any(|w| w.metadata.name == name);
        if stale {
            let aim = aim(served, name, "");
            let gone = delete::delete(server, &user, &aim, &DeleteOptions::default()).await;
            report(gone.map(drop), name);
        }
    }
}

fn aim<'a>(
    served: &'a Arc<crate::catalog::Served>,
    name: &'a str,
    subresource: &'a str,
) -> Aim<'a> {
    Aim {
        served,
        namespace: "",
        name,
        subresource,
    }
}

fn report(result: Result<(), Status>, name: &str) {
    if let Err(status) = result
        && !status.is_already_exists()
        && !status.is_not_found()
    {
        tracing::warn!(%status, name, "register an APIService");
    }
}

/// The APIService of a group version served here.
fn local(group: &str, version: &str) -> APIService {
    let mut object = APIService::named(&format!("{version}.{group}"));
    let managed = match is_built_in(group) {
        true => "onstart",
        false => "true",
    };
    object.metadata.labels.insert(MANAGED, managed);
    object.spec.group = group.into();
    object.spec.version = version.into();
    object.spec.group_priority_minimum = group_priority(group);
    object.spec.version_priority = version_priority(group, version);
    object
}

/// Asks every aggregated server whether it is there, and takes its answer into force.
async fn check(server: &Arc<Server>) {
    let snapshot = server.typed.snapshot();
    let old = server.remotes();
    let services: Vec<&APIService> = snapshot
        .list::<APIService>()
        .filter(|s| s.spec.service.is_some())
        .collect();
    if services.is_empty() && old.iter().next().is_none() {
        return;
    }
    let remotes: Vec<Arc<Remote>> = services
        .iter()
        .filter_map(|service| remote(server, service, &old))
        .map(Arc::new)
        .collect();
    server.aggregated.store(Arc::new(Remotes(remotes.clone())));
    let checks = services.iter().filter_map(|service| {
        let remote = remotes.iter().find(|r| r.name == *service.metadata.name)?;
        Some(check_one(server, &snapshot, service, remote.clone()))
    });
    futures_util::future::join_all(checks).await;
}

/// What an APIService says of another server.
fn remote(server: &Server, service: &APIService, old: &Remotes) -> Option<Remote> {
    let spec = &service.spec;
    let reference = spec.service.as_deref()?;
    let known = old.iter().find(|r| r.name == *service.metadata.name);
    let target = Target {
        namespace: reference.namespace.to_string(),
        name: reference.name.to_string(),
        port: u16::try_from(reference.port.unwrap_or(443)).ok()?,
    };
    let place = Place::Service {
        namespace: target.namespace.clone(),
        name: target.name.clone(),
        port: target.port,
    };
    let verification = match spec.insecure_skip_tls_verify {
        true => Verification::Skipped,
        false => Verification::Required,
    };
    Some(Remote {
        name: service.metadata.name.to_string(),
        group: spec.group.to_string(),
        version: spec.version.to_string(),
        group_priority: spec.group_priority_minimum,
        version_priority: spec.version_priority,
        target,
        endpoint: front::endpoint(server, place, &spec.ca_bundle, verification),
        available: condition(service).is_some_and(|c| c.status == "True"),
        tag: ArcSwapOption::new(known.and_then(|k| k.tag.load_full())),
        resources: ArcSwapOption::new(known.and_then(|k| k.resources.load_full())),
        schema: ArcSwapOption::new(known.and_then(|k| k.schema.load_full())),
        swagger: ArcSwapOption::new(known.and_then(|k| k.swagger.load_full())),
    })
}

fn condition(service: &APIService) -> Option<&APIServiceCondition> {
    let mut all = service.status.conditions.iter();
    all.find(|c| c.type_ == "Available")
}

/// What a check found.
struct Found {
    status: &'static str,
    reason: &'static str,
    message: String,
}

fn not(reason: &'static str, message: String) -> Found {
    Found {
        status: "False",
        reason,
        message,
    }
}

async fn check_one(
    server: &Arc<Server>,
    snapshot: &Snapshot,
    service: &APIService,
    remote: Arc<Remote>,
) {
    let found = match backend(snapshot, &remote.target) {
        Err(found) => found,
        Ok(()) => describe(server, &remote).await,
    };
    let said = condition(service);
    let same = said.is_some_and(|c| {
        c.status == found.status && c.reason == found.reason && c.message == found.message.as_str()
    });
    if same {
        return;
    }
    let catalog = server.catalog();
    let Some(served) = catalog.find("apiregistration.k8s.io", "v1", "apiservices") else {
        return;
    };
    let now = server.now();
    let change = |old: &Object| {
        let mut new = old.clone();
        if let Some(new) = new.downcast_mut::<APIService>() {
            set(new, &found, now);
        }
        Ok(new)
    };
    let aim = aim(served, &remote.name, "status");
    let user = bootstrap::loopback();
    let written = write::update(server, &user, &aim, Change::Compute(&change), &options()).await;
    report(written.map(drop), &remote.name);
}

/// Sets the condition; its time moves only when its status does.
fn set(service: &mut APIService, found: &Found, now: corten_core::Time) {
    let new = APIServiceCondition {
        type_: "Available".into(),
        status: found.status.into(),
        last_transition_time: now,
        reason: found.reason.into(),
        message: found.message.as_str().into(),
    };
    let mut all = service.status.conditions.iter_mut();
    match all.find(|c| c.type_ == "Available") {
        Some(old) => {
            let since = match old.status == new.status {
                true => old.last_transition_time,
                false => now,
            };
            *old = new;
            old.last_transition_time = since;
        }
        None => service.status.conditions.push(new),
    }
}

/// Whether the service is there, has the port and somebody behind it.
fn backend(snapshot: &Snapshot, target: &Target) -> Result<(), Found> {
    let Target {
        namespace,
        name,
        port,
    } = target;
    let Some(service) = snapshot.get::<Service>(namespace, name) else {
        let text = format!("service/{name} in {namespace:?} is not present");
        return Err(not("ServiceNotFound", text));
    };
    if service.spec.type_ != "ClusterIP" {
        return Ok(());
    }
    let mut ports = service.spec.ports.iter();
    let Some(port) = ports.find(|p| p.port == i32::from(*port)) else {
        let text = format!("service/{name} in {namespace:?} is not listening on port {port}");
        return Err(not("ServicePortError", text));
    };
    let slices: Vec<&EndpointSlice> = snapshot
        .list_in::<EndpointSlice>(namespace)
        .filter(|s| s.metadata.label("kubernetes.io/service-name") == name.as_str())
        .collect();
    if slices.is_empty() {
        let text = format!("cannot find endpointslices for service/{name} in {namespace:?}");
        return Err(not("EndpointsNotFound", text));
    }
    let there = slices.iter().any(|slice| {
        let ready = slice
            .endpoints
            .iter()
            .any(|e| e.conditions.ready != Some(false));
        let named = slice.ports.iter().any(|p| {
            p.name.as_deref().unwrap_or_default() == port.name.as_str() && p.port.is_some()
        });
        ready && named
    });
    if !there {
        let text = format!(
            "endpointslices for service/{name} in {namespace:?} have no addresses with port name {:?}",
            port.name.as_str()
        );
        return Err(not("MissingEndpoints", text));
    }
    Ok(())
}

/// Asks the server for its resources; that it answers shows that it is there.
async fn describe(server: &Server, remote: &Remote) -> Found {
    let failed = |message: String| not("FailedDiscoveryCheck", message);
    let path = format!("/apis/{}/{}", remote.group, remote.version);
    let url = |place: &str| format!("https://{place}{path}");
    let place = match server.outbound.address(&remote.endpoint) {
        Ok((host, port)) => format!("{}:{port}", bracketed(&host)),
        Err(failure) => return failed(failure.to_string()),
    };
    let body = match front::get(server, remote, &path).await {
        Ok((200..=299, body)) => body,
        Ok((300..=399, _)) => bytes::Bytes::new(),
        Ok((code, _)) => {
            let url = url(&place);
            return failed(format!(
                "failing or missing response from {url}: bad status from {url}: {code}"
            ));
        }
        Err(failure) => {
            let url = match &failure {
                Failure::Unreachable { address, .. } => url(address),
                _ => url(&place),
            };
            let why = match failure {
                Failure::Late => {
                    "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
                        .to_owned()
                }
                other => other.to_string(),
            };
            return failed(format!(
                "failing or missing response from {url}: Get {url:?}: {why}"
            ));
        }
    };
    if !described::by_itself(server, remote).await
        && let Ok(list) = serde_json::from_slice::<Value>(&body)
    {
        let list = described::of_list(&list);
        remote.resources.store(Some(Arc::new(list)));
    }
    let path = format!("/openapi/v3{path}");
    if let Ok((200, body)) = front::get(server, remote, &path).await {
        let same = remote.schema.load_full().is_some_and(|old| *old == body);
        remote.schema.store(Some(Arc::new(body)));
        if same && remote.swagger.load().is_some() {
            return there();
        }
    }
    // The whole document of the server: asked for when it has changed, and only its part of it kept.
    let path = "/openapi/v2";
    if let Ok((200, body)) = front::get(server, remote, path).await
        && let Ok(whole) = serde_json::from_slice::<Value>(&body)
    {
        let part = crate::openapi::part(&whole, &remote.group, &remote.version);
        remote
            .swagger
            .store(Some(Arc::new(part.to_string().into())));
    }
    there()
}

fn there() -> Found {
    Found {
        status: "True",
        reason: "Passed",
        message: "all checks passed".into(),
    }
}
