//! Deployment: replica sets that move from an old pod template to the current one, with a history to go back to.
//!
//! Invariant: the new replica set is the oldest one whose template equals the deployment's, pod-template-hash aside; the
//! sum of replicas never exceeds `replicas + maxSurge` by this controller's doing, and availability is never lowered
//! below `replicas - maxUnavailable`. Leaves out: pods, which only replica sets touch.

mod history;
mod rollout;
mod scale;
mod status;

use crate::claim;
use crate::plan::{Context, Note, Plan, Target, Told, Write};
use crate::registry::{Controller, Wake, Watched, resource};
use crate::template::controller_reference;
use corten_api::apps::v1::{Deployment, ReplicaSet};
use corten_api::core::v1::Pod;
use corten_api::{Kind, Object};
use corten_meta::{ObjectKey, Selector, Snapshot};
pub use status::condition;

/// See the module's description.
pub const CONTROLLER: Controller = Controller {
    name: "deployment",
    service_account: "deployment-controller",
    primary: resource::<Deployment>,
    wakes: &[
        Wake {
            on: Watched::One(resource::<ReplicaSet>),
            keys: claim::owner_or_selecting::<Deployment>,
        },
        Wake {
            on: Watched::One(resource::<Pod>),
            keys: recreating_deployment,
        },
    ],
    reconcile: |snapshot, key, context| {
        observe(snapshot, key).map(|observed| plan(&observed, context))
    },
};

/// A Recreate deployment waits for the last old pod to go; others learn all they need from replica sets.
fn recreating_deployment(snapshot: &Snapshot, pod: &Object) -> Vec<ObjectKey> {
    let meta = pod.meta();
    let owner = meta.controller_of().filter(|r| r.kind == "ReplicaSet");
    let set = owner.and_then(|r| snapshot.get::<ReplicaSet>(&meta.namespace, &r.name));
    let deployment = set
        .and_then(|s| s.metadata.controller_of())
        .and_then(|r| snapshot.get::<Deployment>(&meta.namespace, &r.name))
        .filter(|d| d.spec.strategy.type_ == "Recreate");
    deployment
        .map(|d| ObjectKey::new(meta.namespace.clone(), d.metadata.name.clone()))
        .into_iter()
        .collect()
}

/// A deployment and what concerns it.
#[derive(Debug)]
pub struct Observed<'a> {
    deployment: &'a Deployment,
    selector: Option<Selector>,
    /// Replica sets that the deployment controls, oldest first.
    sets: Vec<&'a ReplicaSet>,
    /// Matching replica sets without a controller.
    orphans: Vec<&'a ReplicaSet>,
    /// Controlled replica sets that match no longer.
    strays: Vec<&'a ReplicaSet>,
    /// Pods of the controlled replica sets, looked at by Recreate only.
    pods: Vec<&'a Pod>,
}

/// What concerns the deployment `key`; nothing when it does not exist.
pub fn observe<'a>(snapshot: &'a Snapshot, key: &ObjectKey) -> Option<Observed<'a>> {
    let deployment = snapshot.get::<Deployment>(&key.namespace, &key.name)?;
    let selector = Selector::from_label_selector(deployment.spec.selector.as_deref())
        .ok()
        .filter(|s| !s.is_everything());
    let mut observed = Observed {
        deployment,
        selector,
        sets: Vec::new(),
        orphans: Vec::new(),
        strays: Vec::new(),
        pods: Vec::new(),
    };
    for set in snapshot.list_in::<ReplicaSet>(&key.namespace) {
        let matches = observed
            .selector
            .as_ref()
            .is_some_and(|s| s.matches(&set.metadata.labels));
        match set.metadata.controller_of() {
            Some(owner) if owner.uid != deployment.metadata.uid => {}
            Some(_) if matches => observed.sets.push(set),
            Some(_) => observed.strays.push(set),
            None if matches => observed.orphans.push(set),
            None => {}
        }
    }
    observed.sets.sort_by(|a, b| scale::by_age(a, b));
    if deployment.spec.strategy.type_ == "Recreate" {
        let ours = |p: &&Pod| {
            let owner = p.metadata.controller_of();
            owner.is_some_and(|o| observed.sets.iter().any(|s| s.metadata.uid == o.uid))
        };
        observed.pods = snapshot
            .list_in::<Pod>(&key.namespace)
            .filter(ours)
            .collect();
    }
    Some(observed)
}

/// A replica set as it is and as it shall be.
#[derive(Debug)]
struct Draft<'a> {
    /// Nothing for a set that has to be created.
    seen: Option<&'a ReplicaSet>,
    set: ReplicaSet,
}

impl Draft<'_> {
    fn replicas(&self) -> i32 {
        self.set.spec.replicas.unwrap_or(1)
    }
}

/// The deployment's replica sets while a plan is being made.
#[derive(Debug)]
struct Sets<'a> {
    new: Option<Draft<'a>>,
    /// Oldest first.
    old: Vec<Draft<'a>>,
}

impl<'a> Sets<'a> {
    fn sort_out(observed: &Observed<'a>) -> Sets<'a> {
        let wanted = &observed.deployment.spec.template;
        let mut sets = Sets {
            new: None,
            old: Vec::new(),
        };
        for seen in observed.sets.iter().copied() {
            let draft = Draft {
                seen: Some(seen),
                set: seen.clone(),
            };
            match sets.new.is_none() && history::same_template(&seen.spec.template, wanted) {
                true => sets.new = Some(draft),
                false => sets.old.push(draft),
            }
        }
        sets
    }

    fn all(&self) -> impl Iterator<Item = &Draft<'a>> {
        self.old.iter().chain(self.new.iter())
    }

    fn total(&self) -> i32 {
        self.all().map(Draft::replicas).sum()
    }

    fn available(&self) -> i32 {
        self.all().map(|d| d.set.status.available_replicas).sum()
    }
}

/// The writes that bring the deployment closer to its spec.
pub fn plan(observed: &Observed, context: &Context) -> Plan {
    let mut plan = Plan::default();
    let deployment = observed.deployment;
    if observed.selector.is_none() {
        selects_everything(&mut plan, deployment);
        return plan;
    }
    let deleting = deployment.metadata.deletion_timestamp.is_some();
    if !deleting && (!observed.orphans.is_empty() || !observed.strays.is_empty()) {
        adopt(&mut plan, observed);
        return plan;
    }
    let mut sets = Sets::sort_out(observed);
    let mut draft = deployment.clone();
    if deleting {
        status::update(&mut plan, &mut draft, deployment, &sets, context);
        return plan;
    }
    status::paused(&mut draft, context);
    history::annotate_new(&mut draft, &mut sets, context);
    let steady = !deployment.spec.paused && !scale::is_scaling(deployment, &sets);
    if steady {
        rollout::step(&mut plan, observed, &mut draft, &mut sets, context);
    } else {
        scale::proportionally(deployment, &mut sets);
        if deployment.spec.paused {
            history::clean_up(&mut plan, deployment, &sets);
        }
    }
    emit(&mut plan, deployment, &sets);
    match steady {
        true => status::rollout(&mut plan, &mut draft, deployment, &sets, context),
        false => status::update(&mut plan, &mut draft, deployment, &sets, context),
    }
    plan
}

fn selects_everything(plan: &mut Plan, deployment: &Deployment) {
    if deployment.status.observed_generation < deployment.metadata.generation {
        let text = "This deployment is selecting all pods. A non-empty selector is required.";
        plan.note(Note::warning(deployment, "SelectingAll", text));
        let mut new = deployment.clone();
        new.status.observed_generation = deployment.metadata.generation;
        plan.write_if(Write::patch_status(
            deployment,
            &new,
            "an empty selector selects every pod",
        ));
    }
}

fn adopt(plan: &mut Plan, observed: &Observed) {
    let deployment = observed.deployment;
    for set in &observed.orphans {
        let mut new = (*set).clone();
        new.metadata
            .owner_references
            .push(controller_reference(deployment));
        let write = Write::patch(
            *set,
            &new,
            format!("{} selects it", deployment.metadata.name),
        );
        plan.write_if(write.map(|w| w.only_if_unchanged(*set)));
    }
    for set in &observed.strays {
        let mut new = (*set).clone();
        let kept = set
            .metadata
            .owner_references
            .iter()
            .filter(|r| r.uid != deployment.metadata.uid)
            .cloned();
        new.metadata.owner_references = kept.collect();
        let write = Write::patch(*set, &new, "its labels match the selector no longer");
        plan.write_if(write.map(|w| w.only_if_unchanged(*set)));
    }
}

/// One write for each replica set that changed.
fn emit(plan: &mut Plan, deployment: &Deployment, sets: &Sets) {
    for draft in sets.all() {
        let name = &draft.set.metadata.name;
        let Some(seen) = draft.seen else {
            let text = format!(
                "Scaled up replica set {name} from 0 to {}",
                draft.replicas()
            );
            let failed = (
                "ReplicaSetCreateError",
                format!("Failed to create new replica set \"{name}\": {{error}}"),
            );
            let told = Told {
                about: Target::of(deployment),
                kind: Deployment::KIND,
                done: if draft.replicas() > 0 {
                    ("ScalingReplicaSet", text)
                } else {
                    ("", String::new())
                },
                failed,
            };
            plan.write_told(
                Write::create(
                    draft.set.clone(),
                    "no replica set has the deployment's template",
                ),
                told,
            );
            continue;
        };
        let before = seen.spec.replicas.unwrap_or(1);
        let Some(write) = Write::patch(seen, &draft.set, "the rollout moved on") else {
            continue;
        };
        let write = write.only_if_unchanged(seen);
        match before == draft.replicas() {
            true => plan.write(write),
            false => {
                let direction = if before < draft.replicas() {
                    "up"
                } else {
                    "down"
                };
                let text = format!(
                    "Scaled {direction} replica set {name} from {before} to {}",
                    draft.replicas()
                );
                let told = Told::about(deployment, ("ScalingReplicaSet", &text), ("", ""));
                plan.write_told(write, told);
            }
        }
    }
}

#[cfg(test)]
mod tests;
