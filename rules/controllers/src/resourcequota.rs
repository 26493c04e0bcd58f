//! ResourceQuota: its status shows what the spec limits and what the namespace uses of it.
//!
//! Invariant: admission adds usage when it lets an object in; this controller counts everything anew, which is how
//! usage goes down again.

use crate::plan::{Context, Plan, Write};
use crate::registry::{Controller, Wake, Watched, resource};
use corten_access::admission::quota_usage;
use corten_api::Object;
use corten_api::core::v1::ResourceQuota;
use corten_core::semantic_eq;
use corten_meta::{ObjectKey, Snapshot};

/// See the module's description.
pub const CONTROLLER: Controller = Controller {
    name: "resourcequota",
    service_account: "resourcequota-controller",
    primary: resource::<ResourceQuota>,
    wakes: &[Wake {
        on: Watched::Every,
        keys: quotas_of_its_namespace,
    }],
    reconcile: plan,
};

fn quotas_of_its_namespace(snapshot: &Snapshot, object: &Object) -> Vec<ObjectKey> {
    let namespace = &object.meta().namespace;
    let quotas = snapshot.list_in::<ResourceQuota>(namespace);
    quotas
        .filter(|_| !namespace.is_empty())
        .map(|q| ObjectKey::new(namespace.clone(), q.metadata.name.clone()))
        .collect()
}

/// Writes the status where it is not what the snapshot shows; nothing when the quota does not exist.
pub fn plan(snapshot: &Snapshot, key: &ObjectKey, context: &Context) -> Option<Plan> {
    let quota = snapshot.get::<ResourceQuota>(&key.namespace, &key.name)?;
    let mut new = quota.clone();
    new.status.hard = quota.spec.hard.clone();
    new.status.used = quota_usage(snapshot, quota, &context.now);
    let mut plan = Plan::default();
    if !semantic_eq(quota, &new) {
        plan.write_if(Write::patch_status(
            quota,
            &new,
            "what the namespace uses changed",
        ));
    }
    Some(plan)
}
