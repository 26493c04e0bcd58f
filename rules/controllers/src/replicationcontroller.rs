//! ReplicationController: the older ReplicaSet, with a plain map as its selector.
//!
//! Invariant: as for replica sets, of which this is a thin form: it is planned as one.

use crate::claim;
use crate::plan::{Context, Plan, Target, Told, Write};
use crate::registry::{Controller, Wake, Watched, resource};
use crate::replicaset;
use corten_api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetSpec, ReplicaSetStatus};
use corten_api::core::v1::{Pod, ReplicationController};
use corten_api::meta::v1::LabelSelector;
use corten_api::{Kind, Object};
use corten_core::Value;
use corten_meta::{GroupVersionResource, ObjectKey, Selector, Snapshot};

/// See the module's description.
pub const CONTROLLER: Controller = Controller {
    name: "replicationcontroller",
    service_account: "replication-controller",
    primary: resource::<ReplicationController>,
    wakes: &[Wake {
        on: Watched::One(resource::<Pod>),
        keys: claim::owner_or_selecting::<ReplicationController>,
    }],
    reconcile,
};

fn reconcile(snapshot: &Snapshot, key: &ObjectKey, context: &Context) -> Option<Plan> {
    let controller = snapshot.get::<ReplicationController>(&key.namespace, &key.name)?;
    let selector = claim::Selecting::selector(controller)?;
    let set = as_set(controller)?;
    let pods = claim::candidates(snapshot, controller, &selector);
    Some(plan(controller, &set, &selector, pods, context))
}

fn as_set(controller: &ReplicationController) -> Option<ReplicaSet> {
    let conditions = controller
        .status
        .conditions
        .iter()
        .map(|c| ReplicaSetCondition {
            type_: c.type_.clone(),
            status: c.status.clone(),
            last_transition_time: c.last_transition_time,
            reason: c.reason.clone(),
            message: c.message.clone(),
        });
    Some(ReplicaSet {
        metadata: controller.metadata.clone(),
        spec: ReplicaSetSpec {
            replicas: controller.spec.replicas,
            min_ready_seconds: controller.spec.min_ready_seconds,
            selector: Some(Box::new(LabelSelector {
                match_labels: controller.spec.selector.clone(),
                ..Default::default()
            })),
            template: controller.spec.template.as_deref()?.clone(),
        },
        status: ReplicaSetStatus {
            replicas: controller.status.replicas,
            fully_labeled_replicas: controller.status.fully_labeled_replicas,
            ready_replicas: controller.status.ready_replicas,
            available_replicas: controller.status.available_replicas,
            observed_generation: controller.status.observed_generation,
            conditions: conditions.collect::<Vec<_>>().into(),
            ..Default::default()
        },
        ..Default::default()
    })
}

/// The plan of the set, told as the controller's own.
fn plan(
    controller: &ReplicationController,
    set: &ReplicaSet,
    selector: &Selector,
    pods: Vec<&Pod>,
    context: &Context,
) -> Plan {
    let mut plan = replicaset::plan_for(set, selector.clone(), pods, context);
    plan.steps.retain_mut(|step| {
        if let Some(told) = &mut step.told {
            *told = Told {
                about: Target::of(controller),
                kind: ReplicationController::KIND,
                ..told.clone()
            };
        }
        own(&mut step.write, controller)
    });
    plan
}

/// Rewrites what names the set; says whether anything of the write is left.
fn own(write: &mut Write, controller: &ReplicationController) -> bool {
    let right = Value::from(ReplicationController::API_VERSION);
    match write {
        Write::Create { object, .. } => {
            if let Some(pod) = pod_of(object) {
                for owner in pod.metadata.owner_references.iter_mut() {
                    owner.api_version = ReplicationController::API_VERSION.into();
                    owner.kind = ReplicationController::KIND.into();
                }
            }
        }
        Write::Patch { target, patch, .. } if target.resource.resource == "replicasets" => {
            *target = Target::of(controller);
            target.resource = GroupVersionResource::of::<ReplicationController>();
            let status = patch.get_mut("status").and_then(Value::as_map_mut);
            let left = status.is_some_and(|status| {
                // The older kind does not count terminating pods.
                status.remove("terminatingReplicas");
                !status.is_empty()
            });
            return left;
        }
        Write::Patch { patch, .. } => {
            let owners = patch
                .get_mut("metadata")
                .and_then(|m| m.get_mut("ownerReferences"));
            for owner in owners.and_then(Value::as_list_mut).into_iter().flatten() {
                if owner.str_at(&["uid"]) == controller.metadata.uid.as_str() {
                    owner.set(&["apiVersion"], right.clone());
                    owner.set(&["kind"], ReplicationController::KIND);
                }
            }
        }
        _ => {}
    }
    true
}

fn pod_of(object: &mut Object) -> Option<&mut Pod> {
    object.downcast_mut::<Pod>()
}

#[cfg(test)]
mod tests {
    use crate::testing::World;
    use corten_api::core::v1::{Pod, ReplicationController};
    use expect_test::expect;

    #[test]
    fn pods_are_the_controllers_own() {
        let mut world = World::new(
            "
apiVersion: v1
kind: Node
metadata: {name: n1}
---
apiVersion: v1
kind: ReplicationController
metadata: {name: r, namespace: default}
spec:
  replicas: 2
  selector: {app: r}
  template: {metadata: {labels: {app: r}}, spec: {containers: [{name: c}]}}
---
apiVersion: v1
kind: Pod
metadata: {name: orphan, namespace: default, labels: {app: r}}
",
        );
        world.settle(20);
        let owner = |p: &Pod| {
            let owner = p.metadata.controller_of().expect("an owner");
            format!("{} {} {}", owner.api_version, owner.kind, owner.name)
        };
        let owners = world.list::<Pod>(owner);
        assert_eq!(
            owners.matches("v1 ReplicationController r").count(),
            2,
            "{owners}"
        );
        expect!["r 2/2"].assert_eq(&world.list::<ReplicationController>(|r| {
            format!("{}/{}", r.status.ready_replicas, r.status.replicas)
        }));
        world.edit::<ReplicationController>("default", "r", |r| r.spec.replicas = Some(0));
        world.settle(20);
        assert_eq!(world.snapshot.list::<Pod>().count(), 0);
    }
}
