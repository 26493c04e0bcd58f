//! One step of a stateful set: create what is missing, delete what is too much, then replace what is old.

use super::{Sync, identity};
use crate::plan::{Plan, Told, Write};
use crate::pods;
use crate::revisions::HASH;
use corten_api::core::v1::Pod;
use corten_core::Rounding;

/// Whether to go on after one pod.
#[derive(PartialEq)]
enum Next {
    Go,
    Stop,
}

pub(super) fn step(plan: &mut Plan, sync: &Sync) {
    let parallel = sync.set.spec.pod_management_policy == "Parallel";
    let mut settled = true;
    for ordinal in sync.start()..sync.end() {
        if replica(plan, sync, ordinal, parallel) == Next::Stop {
            settled = false;
            if !parallel {
                return;
            }
        }
    }
    if !settled {
        return;
    }
    let condemned: Vec<(i32, &Pod)> = sync
        .pods
        .iter()
        .rev()
        .copied()
        .filter(|(ordinal, _)| !(sync.start()..sync.end()).contains(ordinal))
        .collect();
    for &(ordinal, pod) in &condemned {
        own_claims(plan, sync, ordinal, Some(pod));
    }
    let first_unavailable = sync.pods.iter().find(|(ordinal, pod)| {
        (sync.start()..sync.end()).contains(ordinal) && !sync.is_available(pod)
    });
    let first_unavailable = first_unavailable
        .or_else(|| {
            condemned
                .iter()
                .rev()
                .find(|(_, pod)| !sync.is_available(pod))
        })
        .map(|(_, pod)| &pod.metadata.uid);
    for (_, pod) in &condemned {
        if pod.metadata.deleting() {
            if parallel {
                continue;
            }
            return;
        }
        let healthy = sync.is_available(pod) || first_unavailable == Some(&pod.metadata.uid);
        if !parallel && !healthy {
            return;
        }
        delete(
            plan,
            sync,
            pod,
            "it is beyond the wanted number of replicas",
        );
        if !parallel {
            return;
        }
    }
    if condemned.is_empty() && sync.set.spec.update_strategy.type_ != "OnDelete" {
        update(plan, sync);
    }
}

fn replica(plan: &mut Plan, sync: &Sync, ordinal: i32, parallel: bool) -> Next {
    let Some(pod) = sync.pod(ordinal) else {
        create(plan, sync, ordinal);
        return Next::Stop;
    };
    if pods::is_finished(pod) {
        if !pod.metadata.deleting() {
            delete(plan, sync, pod, "it is finished and shall run");
        }
        return Next::Stop;
    }
    if pod.status.phase == "Pending" {
        create_claims(plan, sync, ordinal);
    }
    if !parallel && !sync.is_available(pod) {
        return Next::Stop;
    }
    let mut right = pod.clone();
    identity::label(&mut right, ordinal);
    let because = "its labels tell its identity";
    plan.write_if(Write::patch(pod, &right, because).map(|w| w.only_if_unchanged(pod)));
    own_claims(plan, sync, ordinal, None);
    Next::Go
}

fn create(plan: &mut Plan, sync: &Sync, ordinal: i32) {
    let names: Vec<_> = identity::claims(sync.set, ordinal)
        .into_iter()
        .map(|c| c.metadata.name)
        .collect();
    // A claim that is going would take its data along: wait until it is gone.
    let going = sync
        .claims
        .iter()
        .any(|c| c.metadata.deleting() && names.contains(&c.metadata.name));
    if going {
        return;
    }
    create_claims(plan, sync, ordinal);
    let pod = identity::new_pod(sync, ordinal);
    let (name, set) = (&pod.metadata.name, &sync.set.metadata.name);
    let done = format!("create Pod {name} in StatefulSet {set} successful");
    let failed = format!("create Pod {name} in StatefulSet {set} failed error: {{error}}");
    let told = Told::about(
        sync.set,
        ("SuccessfulCreate", &done),
        ("FailedCreate", &failed),
    );
    plan.write_told(Write::create(pod, "no pod has this ordinal"), told);
}

fn create_claims(plan: &mut Plan, sync: &Sync, ordinal: i32) {
    for claim in identity::claims(sync.set, ordinal) {
        let name = claim.metadata.name.clone();
        if sync.claims.iter().any(|c| c.metadata.name == name) {
            continue;
        }
        let set = &sync.set.metadata.name;
        let pod = format!("{set}-{ordinal}");
        let done = format!("create Claim {name} Pod {pod} in StatefulSet {set} success");
        let failed = format!(
            "create Claim {name} for Pod {pod} in StatefulSet {set} failed error: {{error}}"
        );
        let told = Told::about(
            sync.set,
            ("SuccessfulCreate", &done),
            ("FailedCreate", &failed),
        );
        plan.write_told(Write::create(claim, "the pod claims this volume"), told);
    }
}

fn own_claims(plan: &mut Plan, sync: &Sync, ordinal: i32, condemned: Option<&Pod>) {
    for wanted in identity::claims(sync.set, ordinal) {
        let found = sync
            .claims
            .iter()
            .find(|c| c.metadata.name == wanted.metadata.name);
        if let Some(claim) = found.filter(|c| !c.metadata.deleting()) {
            let owned = identity::with_owners(sync.set, claim, condemned);
            let write = Write::patch(
                *claim,
                &owned,
                "the set's retention policy says whose it is",
            );
            plan.write_if(write.map(|w| w.only_if_unchanged(*claim)));
        }
    }
}

fn delete(plan: &mut Plan, sync: &Sync, pod: &Pod, because: &str) {
    let (name, set) = (&pod.metadata.name, &sync.set.metadata.name);
    let done = format!("delete Pod {name} in StatefulSet {set} successful");
    let failed = format!("delete Pod {name} in StatefulSet {set} failed error: {{error}}");
    let told = Told::about(
        sync.set,
        ("SuccessfulDelete", &done),
        ("FailedDelete", &failed),
    );
    plan.write_told(Write::delete(pod, because), told);
}

/// Deletes pods of old revisions from the highest ordinal down, within maxUnavailable.
fn update(plan: &mut Plan, sync: &Sync) {
    let rolling = sync.set.spec.update_strategy.rolling_update.as_deref();
    let partition = rolling.and_then(|r| r.partition).unwrap_or(0);
    let replicas = i64::from(sync.set.spec.replicas.unwrap_or(1));
    let max = rolling.and_then(|r| r.max_unavailable.as_ref());
    let max = max.map_or(1, |m| {
        m.scaled_value(replicas, Rounding::Down).unwrap_or(1).max(1)
    });
    let unavailable = sync
        .pods
        .iter()
        .filter(|(_, pod)| !sync.is_available(pod))
        .count();
    let room = usize::try_from(max)
        .unwrap_or(1)
        .saturating_sub(unavailable);
    let old = sync.pods.iter().rev().filter(|(ordinal, pod)| {
        *ordinal >= sync.start() + partition
            && !pod.metadata.deleting()
            && pod.metadata.label(HASH) != sync.update.0.as_str()
    });
    for (_, pod) in old.take(room) {
        delete(plan, sync, pod, "its revision is old");
    }
}
