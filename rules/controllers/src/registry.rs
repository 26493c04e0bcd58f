//! What a controller is, and the one table that lists them all.

use crate::plan::{Context, Plan};
use corten_api::{Kind, Object};
use corten_meta::{GroupVersionResource, ObjectKey, Snapshot};

/// One controller: plain data and pure functions, run by the driver.
#[derive(Clone, Copy)]
pub struct Controller {
    /// Upstream's name, as in `--controllers`.
    pub name: &'static str,
    /// The service account in kube-system under which it acts; [`API_SERVER`] stands for the API server itself.
    pub service_account: &'static str,
    /// The kind whose keys are reconciled; an event on an object wakes its key.
    pub primary: fn() -> GroupVersionResource,
    /// Other kinds that wake keys of the primary kind.
    pub wakes: &'static [Wake],
    /// Observes the key in the snapshot and plans; nothing when the object does not concern the controller.
    pub reconcile: fn(&Snapshot, &ObjectKey, &Context) -> Option<Plan>,
}

/// Under this name act controllers that upstream runs inside the API server, with the API server's own rights: no role
/// of the bootstrap policy is theirs. The name is also the component that their events report.
pub const API_SERVER: &str = "ipallocator-repair-controller";

/// How a change of one kind wakes keys of another.
#[derive(Clone, Copy)]
pub struct Wake {
    /// What is watched.
    pub on: Watched,
    /// The keys that the change concerns. Called with the object before the change and with the one after it.
    pub keys: fn(&Snapshot, &Object) -> Vec<ObjectKey>,
}

/// Which changes a [`Wake`] is called with.
#[derive(Clone, Copy, Debug)]
pub enum Watched {
    /// Those of one resource.
    One(fn() -> GroupVersionResource),
    /// Those of every resource that is stored, custom ones included.
    Every,
}

impl Controller {
    /// The resources without which it has nothing to do: its own, and those that it names to be woken by.
    pub fn resources(&self) -> impl Iterator<Item = fn() -> GroupVersionResource> + use<> {
        let named = self.wakes.iter().filter_map(|wake| match wake.on {
            Watched::One(resource) => Some(resource),
            Watched::Every => None,
        });
        std::iter::once(self.primary).chain(named)
    }
}

impl std::fmt::Debug for Controller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Controller")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// The resource of kind `T`, in the form that the tables here take.
pub fn resource<T: Kind>() -> GroupVersionResource {
    GroupVersionResource::of::<T>()
}

/// Every controller; registering one is one line here.
pub const CONTROLLERS: &[Controller] = &[
    crate::namespace::CONTROLLER,
    crate::garbage::CONTROLLER,
    crate::resourcequota::CONTROLLER,
    crate::serviceaccount::CONTROLLER,
    crate::root_ca::CONTROLLER,
    crate::clusterrole_aggregation::CONTROLLER,
    crate::pod_gc::CONTROLLER,
    crate::ttl_after_finished::CONTROLLER,
    crate::deployment::CONTROLLER,
    crate::replicaset::CONTROLLER,
    crate::daemonset::CONTROLLER,
    crate::statefulset::CONTROLLER,
    crate::job::CONTROLLER,
    crate::cronjob::CONTROLLER,
    crate::replicationcontroller::CONTROLLER,
    crate::endpointslice::CONTROLLER,
    crate::endpoints::CONTROLLER,
    crate::disruption::CONTROLLER,
    crate::node_lifecycle::CONTROLLER,
    crate::taint_eviction::CONTROLLER,
    crate::protection::CLAIMS,
    crate::protection::VOLUMES,
    crate::persistent_volume::CLAIMS,
    crate::persistent_volume::VOLUMES,
    crate::endpointslice_mirroring::CONTROLLER,
    crate::certificates::APPROVER,
    crate::certificates::SIGNER,
    crate::certificates::CLEANER,
    crate::certificates::POD_CLEANER,
    crate::certificates::PUBLISHER,
    crate::storage_migration::CONTROLLER,
    crate::ephemeral_volume::CONTROLLER,
    crate::service_cidr::CONTROLLER,
    crate::service_address::SERVICES,
    crate::service_address::ADDRESSES,
    crate::service_address::DEFAULT_RANGE,
    crate::token_cleaner::CONTROLLER,
    crate::bootstrap_signer::CONTROLLER,
    crate::legacy_token_cleaner::CONTROLLER,
    crate::resource_claim::PODS,
    crate::resource_claim::CLAIMS,
    crate::ttl::CONTROLLER,
];
