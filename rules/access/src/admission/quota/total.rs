//! What a namespace uses of what a quota limits: the whole sum, where admission only adds differences.

use super::super::pod_resources::{Amounts, add};
use super::amounts::masked;
use super::usage::Evaluator;
use corten_api::core::v1::ResourceQuota;
use corten_core::{Quantity, QuantityFormat, Time};
use corten_meta::Snapshot;

/// The usage of every resource that the quota's spec limits, 0 where nothing is used.
pub fn quota_usage(snapshot: &Snapshot, quota: &ResourceQuota, now: &Time) -> Amounts {
    let mut quota = quota.clone();
    quota.status.hard = quota.spec.hard.clone();
    let mut used: Amounts = quota
        .spec
        .hard
        .keys()
        .map(|name| (name.clone(), Quantity::new(0, QuantityFormat::DecimalSi)))
        .collect();
    for (resource, _) in snapshot.resources() {
        let evaluator = Evaluator::of(&resource.group, &resource.resource);
        if !quota.spec.hard.keys().any(|name| evaluator.tracks(name)) {
            continue;
        }
        for object in snapshot.objects_in(resource, &quota.metadata.namespace) {
            if evaluator.matches(&quota, object) {
                let usage = evaluator.usage(object, now);
                add(
                    &mut used,
                    &masked(&usage, |name| quota.spec.hard.contains_key(name)),
                );
            }
        }
    }
    used
}
