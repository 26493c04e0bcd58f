//! StatefulSet: pods with ordinals, names and volumes of their own, one after the other.
//!
//! Invariant: with OrderedReady, at most one pod is created or deleted at a time, and only while all before it are
//! available; a pod is never replaced before it is gone. Leaves out: the volumes themselves.

mod identity;
mod step;

use crate::claim::{self, Claim};
use crate::plan::{Context, Plan, Write};
use crate::pods;
use crate::registry::{Controller, Wake, Watched, resource};
use crate::revisions::{self, HASH, Known, Style};
use corten_api::apps::v1::{ControllerRevision, StatefulSet};
use corten_api::core::v1::{PersistentVolumeClaim, Pod, PodTemplateSpec};
use corten_core::{Str, Time};
use corten_meta::{ObjectKey, Selector, Snapshot};

/// See the module's description.
pub const CONTROLLER: Controller = Controller {
    name: "statefulset",
    service_account: "statefulset-controller",
    primary: resource::<StatefulSet>,
    wakes: &[
        Wake {
            on: Watched::One(resource::<Pod>),
            keys: claim::owner_or_selecting::<StatefulSet>,
        },
        Wake {
            on: Watched::One(resource::<ControllerRevision>),
            keys: claim::owner_or_selecting::<StatefulSet>,
        },
    ],
    reconcile: |snapshot, key, context| {
        observe(snapshot, key).map(|observed| plan(&observed, context))
    },
};

/// A stateful set, its pods, revisions and claims.
#[derive(Debug)]
pub struct Observed<'a> {
    set: &'a StatefulSet,
    selector: Selector,
    pods: Vec<&'a Pod>,
    revisions: Known<'a>,
    claims: Vec<&'a PersistentVolumeClaim>,
}

/// What concerns the set `key`; nothing when it does not exist or selects everything.
pub fn observe<'a>(snapshot: &'a Snapshot, key: &ObjectKey) -> Option<Observed<'a>> {
    let set = snapshot.get::<StatefulSet>(&key.namespace, &key.name)?;
    let selector = Selector::from_label_selector(set.spec.selector.as_deref())
        .ok()
        .filter(|s| !s.is_everything())?;
    let claims = match set.spec.volume_claim_templates.is_empty() {
        true => Vec::new(),
        false => snapshot
            .list_in::<PersistentVolumeClaim>(&key.namespace)
            .collect(),
    };
    // Only pods with the set's names can be its.
    let pods = claim::candidates(snapshot, set, &selector);
    Some(Observed {
        set,
        pods: pods
            .into_iter()
            .filter(|p| identity::ordinal(set, p).is_some())
            .collect(),
        revisions: Known::of(snapshot, set, &selector),
        selector,

        claims,
    })
}

/// A stateful set while its plan is being made.
struct Sync<'a> {
    set: &'a StatefulSet,
    /// By ordinal.
    pods: Vec<(i32, &'a Pod)>,
    claims: &'a [&'a PersistentVolumeClaim],
    /// Name and template of the revision that most pods have.
    current: (Str, PodTemplateSpec),
    /// Name and template of the revision that all shall have.
    update: (Str, PodTemplateSpec),
    now: Time,
}

impl<'a> Sync<'a> {
    fn pod(&self, ordinal: i32) -> Option<&'a Pod> {
        self.pods
            .iter()
            .find(|(o, _)| *o == ordinal)
            .map(|(_, pod)| *pod)
    }

    fn start(&self) -> i32 {
        self.set.spec.ordinals.as_ref().map_or(0, |o| o.start)
    }

    /// One past the last ordinal.
    fn end(&self) -> i32 {
        self.start() + self.set.spec.replicas.unwrap_or(1).max(0)
    }

    fn is_available(&self, pod: &Pod) -> bool {
        pod.status.phase == "Running"
            && !pod.metadata.deleting()
            && pods::is_available(pod, self.set.spec.min_ready_seconds, self.now)
    }
}

/// The writes that bring the set closer to its spec.
pub fn plan(observed: &Observed, context: &Context) -> Plan {
    let mut plan = Plan::default();
    let set = observed.set;
    let claim = Claim::new(set, &observed.selector, &observed.pods);
    claim.plan(&mut plan, set);
    let mut draft = Plan::default();
    let style = Style {
        hash_label: "controller.kubernetes.io/hash",
    };
    let (template, collisions) = (&set.spec.template, set.status.collision_count);
    let update = revisions::update(
        &mut draft,
        set,
        template,
        collisions,
        &observed.revisions,
        style,
    );
    let known = observed
        .revisions
        .owned
        .iter()
        .find(|r| r.metadata.name == set.status.current_revision);
    let current = known.and_then(|r| Some((r.metadata.name.clone(), revisions::template_of(r)?)));
    let newest = (update.name.clone(), set.spec.template.clone());
    let mut owned: Vec<(i32, &Pod)> = claim
        .owned
        .iter()
        .filter_map(|pod| Some((identity::ordinal(set, pod)?, *pod)))
        .collect();
    owned.sort_by_key(|(ordinal, _)| *ordinal);
    let sync = Sync {
        set,
        pods: owned,
        claims: &observed.claims,
        current: current.unwrap_or_else(|| newest.clone()),
        update: newest,
        now: context.now,
    };
    if !set.metadata.deleting() {
        plan.steps.append(&mut draft.steps);
        step::step(&mut plan, &sync);
        let in_use = |r: &ControllerRevision| {
            let name = &r.metadata.name;
            *name == sync.current.0
                || *name == sync.update.0
                || sync
                    .pods
                    .iter()
                    .any(|(_, p)| p.metadata.label(HASH) == name.as_str())
        };
        let limit = set.spec.revision_history_limit;
        revisions::clean_up(&mut plan, &observed.revisions.owned, limit, in_use);
    }
    status(&mut plan, &sync, update.collisions);
    plan
}

fn status(plan: &mut Plan, sync: &Sync, collisions: Option<i32>) {
    let set = sync.set;
    let mut new = set.clone();
    let status = &mut new.status;
    let count =
        |test: &dyn Fn(&Pod) -> bool| sync.pods.iter().filter(|(_, pod)| test(pod)).count() as i32;
    let revision =
        |name: &Str| count(&|p| !p.metadata.deleting() && p.metadata.label(HASH) == name.as_str());
    let ready = |p: &Pod| p.status.phase == "Running" && pods::is_ready(p);
    let available =
        |p: &Pod| ready(p) && pods::is_available(p, set.spec.min_ready_seconds, sync.now);
    status.observed_generation = set.metadata.generation;
    status.replicas = count(&|_| true);
    status.ready_replicas = count(&ready);
    status.available_replicas = count(&available);
    status.current_revision = sync.current.0.clone();
    status.update_revision = sync.update.0.clone();
    status.current_replicas = revision(&sync.current.0);
    status.updated_replicas = revision(&sync.update.0);
    status.collision_count = Some(collisions.unwrap_or(0));
    let wanted = set.spec.replicas.unwrap_or(1);
    let complete = status.updated_replicas == wanted
        && status.ready_replicas == wanted
        && status.replicas == wanted;
    if complete && set.spec.update_strategy.type_ != "OnDelete" {
        status.current_replicas = status.updated_replicas;
        status.current_revision = status.update_revision.clone();
    }
    plan.write_if(Write::patch_status(set, &new, "its pods changed"));
    for (_, pod) in &sync.pods {
        let since = pods::available_since(pod, set.spec.min_ready_seconds);
        if let Some(at) = since.filter(|at| *at > sync.now) {
            plan.wake_at(at);
        }
    }
}

#[cfg(test)]
mod tests;
