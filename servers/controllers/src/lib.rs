//! Registers every controller with the driver.
//!
//! Invariant: controllers act under their own service accounts; only the shared mirror reads as the controller manager.

mod autoscaler;
mod migrator;

use corten_api::storagemigration::v1beta1::StorageVersionMigration;
use corten_client::{Client, Mirror};
pub use corten_controllers::API_SERVER;
use corten_controllers::plan::Cluster;
use corten_controllers::{CONTROLLERS, Controller, storage_migration};
pub use corten_driver::Sign;
use corten_driver::{Driver, Settings, mirror_for};
use corten_meta::GroupVersionResource;
use std::sync::Arc;

/// What holds for the whole cluster and stands in no object.
#[derive(Clone)]
pub struct ClusterFacts {
    /// The CA certificate, PEM.
    pub root_ca: String,
    /// The range of service addresses.
    pub service_cidr: String,
    /// Every resource that the API server stores: what garbage collection and namespace deletion look through.
    pub stored: Vec<GroupVersionResource>,
    /// Signs certificates with the cluster's CA; without it nobody does, as upstream without a key file.
    pub sign: Option<Sign>,
}

/// Gives the client of a service account in kube-system, and for [`API_SERVER`] the API server's own.
pub type Clients = Arc<dyn Fn(&str) -> Client + Send + Sync>;

/// Running controllers; they stop when this is dropped.
pub struct Controllers {
    _driver: Driver,
    mirror: Mirror,
    autoscaler: tokio::task::AbortHandle,
    migrator: Option<tokio::task::AbortHandle>,
}

impl Drop for Controllers {
    fn drop(&mut self) {
        self.autoscaler.abort();
        if let Some(migrator) = &self.migrator {
            migrator.abort();
        }
    }
}

impl Controllers {
    /// Starts every controller. `watcher` reads everything, as `system:kube-controller-manager`; `clients` gives each
    /// controller the client that it writes with. Must be called on a tokio runtime.
    pub fn start(watcher: Client, clients: Clients, facts: ClusterFacts) -> Controllers {
        let signs = |c: &&Controller| c.name == corten_controllers::certificates::SIGNER.name;
        let can_sign = facts.sign.is_some();
        let is_stored = |resource: fn() -> GroupVersionResource| facts.stored.contains(&resource());
        let controllers = CONTROLLERS
            .iter()
            .filter(|c| (can_sign || !signs(c)) && c.resources().all(is_stored));
        let controllers: Vec<Controller> = controllers.copied().collect();
        let mirror = mirror_for(&controllers, &facts.stored).start(watcher.transport().clone());
        let cluster = Cluster {
            root_ca: facts.root_ca.into(),
            service_cidr: facts.service_cidr.into(),
        };
        let scaling = autoscaler::run(mirror.clone(), clients(autoscaler::ACCOUNT));
        let migrates = is_stored(corten_controllers::registry::resource::<StorageVersionMigration>);
        let migrator = migrates.then(|| {
            let client = clients(storage_migration::ACCOUNT);
            let task = migrator::run(mirror.clone(), client, facts.stored.clone());
            tokio::spawn(task).abort_handle()
        });
        let settings = Settings {
            mirror,
            client_of: clients,
            cluster,
            sign: facts.sign,
        };
        Controllers {
            _driver: Driver::start(&settings, &controllers),
            mirror: settings.mirror,
            autoscaler: tokio::spawn(scaling).abort_handle(),
            migrator,
        }
    }

    /// What the controllers see: everything that is stored. Other roles of the process that may read as much of what
    /// they need can read it here.
    pub fn mirror(&self) -> &Mirror {
        &self.mirror
    }
}
