//! Registers every controller with the driver.
//!
//! Invariant: controllers act under their own service accounts; only the shared mirror reads as the controller manager.

use corten_client::Client;
use corten_controllers::CONTROLLERS;
use corten_controllers::plan::Cluster;
use corten_driver::{Driver, Settings, mirror_for};
use corten_meta::GroupVersionResource;
use std::sync::Arc;

/// What holds for the whole cluster and stands in no object.
#[derive(Clone, Debug)]
pub struct ClusterFacts {
    /// The CA certificate, PEM.
    pub root_ca: String,
    /// The range of service addresses.
    pub service_cidr: String,
}

/// Gives the client of a service account in kube-system.
pub type Clients = Arc<dyn Fn(&str) -> Client + Send + Sync>;

/// Running controllers; they stop when this is dropped.
#[derive(Debug)]
pub struct Controllers {
    _driver: Driver,
}

impl Controllers {
    /// Starts every controller. `watcher` reads everything, as `system:kube-controller-manager`; `clients` gives each
    /// controller the client that it writes with. Must be called on a tokio runtime.
    pub fn start(watcher: Client, clients: Clients, facts: ClusterFacts) -> Controllers {
        let mirror = mirror_for(CONTROLLERS, &stored()).start(watcher.transport().clone());
        let cluster = Cluster {
            root_ca: facts.root_ca.into(),
            service_cidr: facts.service_cidr.into(),
        };
        let settings = Settings {
            mirror,
            client_of: clients,
            cluster,
        };
        Controllers {
            _driver: Driver::start(&settings, CONTROLLERS),
        }
    }
}

/// Every resource that is stored and served by default, each once, in the version in which it is stored.
fn stored() -> Vec<GroupVersionResource> {
    let mut found: Vec<GroupVersionResource> = Vec::new();
    for resource in corten_api::resources()
        .iter()
        .filter(|r| r.stored() && r.default_on())
    {
        // Events of both groups are the same objects.
        let is_double = resource.group != resource.storage_group;
        let known = found
            .iter()
            .any(|f| f.group == resource.group && f.resource == resource.plural);
        let is_storage_version = resource.version == resource.storage_version;
        if is_double || (known && !is_storage_version) {
            continue;
        }
        found.retain(|f| f.group != resource.group || f.resource != resource.plural);
        found.push(GroupVersionResource::from(resource));
    }
    found
}
