//! Protection: a claim that a pod uses, and a volume that is bound, stay until that ends.
//!
//! Invariant: the finalizer goes only from objects that are being deleted and are not in use.

use crate::plan::{Plan, Write};
use crate::pods;
use crate::registry::{Controller, Wake, Watched, resource};
use corten_api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use corten_api::{Kind, Object};
use corten_core::Str;
use corten_meta::{ObjectKey, Snapshot};

/// Protects claims.
pub const CLAIMS: Controller = Controller {
    name: "persistentvolumeclaim-protection",
    service_account: "pvc-protection-controller",
    primary: resource::<PersistentVolumeClaim>,
    wakes: &[Wake {
        on: Watched::One(resource::<Pod>),
        keys: claims_of,
    }],
    reconcile: |snapshot, key, _| {
        let claim = snapshot.get::<PersistentVolumeClaim>(&key.namespace, &key.name)?;
        let used = claim.metadata.deleting() && is_used(snapshot, key);
        Some(plan(claim, "kubernetes.io/pvc-protection", used))
    },
};

/// Protects volumes.
pub const VOLUMES: Controller = Controller {
    name: "persistentvolume-protection",
    service_account: "pv-protection-controller",
    primary: resource::<PersistentVolume>,
    wakes: &[],
    reconcile: |snapshot, key, _| {
        let volume = snapshot.get::<PersistentVolume>("", &key.name)?;
        Some(plan(
            volume,
            "kubernetes.io/pv-protection",
            volume.status.phase == "Bound",
        ))
    },
};

fn claim_names(pod: &Pod) -> impl Iterator<Item = Str> {
    pod.spec.volumes.iter().filter_map(|volume| {
        let source = &volume.volume_source;
        match (&source.persistent_volume_claim, &source.ephemeral) {
            (Some(claim), _) => Some(claim.claim_name.clone()),
            (None, Some(_)) => Some(format!("{}-{}", pod.metadata.name, volume.name).into()),
            _ => None,
        }
    })
}

fn claims_of(_: &Snapshot, object: &Object) -> Vec<ObjectKey> {
    let Some(pod) = object.downcast_ref::<Pod>() else {
        return Vec::new();
    };
    claim_names(pod)
        .map(|name| ObjectKey::new(pod.metadata.namespace.clone(), name))
        .collect()
}

/// A pod that has a node and is not finished uses its claims.
fn is_used(snapshot: &Snapshot, claim: &ObjectKey) -> bool {
    let mut pods = snapshot.list_in::<Pod>(&claim.namespace);
    pods.any(|pod| {
        !pod.spec.node_name.is_empty()
            && !pods::is_finished(pod)
            && claim_names(pod).any(|name| name == claim.name)
    })
}

/// Adds the finalizer to a living object, or takes it from one that is going and free.
fn plan<T: Kind>(object: &T, finalizer: &str, used: bool) -> Plan {
    let mut plan = Plan::default();
    let mut new = object.clone();
    let because = match (object.meta().deleting(), used) {
        (false, _) => {
            new.meta_mut().add_finalizer(finalizer);
            "it must not go while it is in use"
        }
        (true, false) => {
            new.meta_mut().remove_finalizer(finalizer);
            "it is not in use any more"
        }
        (true, true) => return plan,
    };
    let write = Write::patch(object, &new, because);
    plan.write_if(write.map(|w| w.only_if_unchanged(object)));
    plan
}

#[cfg(test)]
mod tests {
    use super::CLAIMS;
    use crate::testing::World;
    use corten_api::core::v1::{PersistentVolumeClaim, Pod};
    use expect_test::expect;

    #[test]
    fn a_claim_in_use_stays() {
        let mut world = World::new(
            "
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: c, namespace: default}
---
apiVersion: v1
kind: Pod
metadata: {name: p, namespace: default}
spec: {nodeName: n1, volumes: [{name: v, persistentVolumeClaim: {claimName: c}}]}
",
        );
        expect![[r#"patch persistentvolumeclaims default/c {"metadata":{"finalizers":["kubernetes.io/pvc-protection"]}}"#]]
            .assert_eq(&world.run(&CLAIMS, "default/c"));
        let now = world.context.now;
        world.edit::<PersistentVolumeClaim>("default", "c", |c| {
            c.metadata.deletion_timestamp = Some(now)
        });
        expect![""].assert_eq(&world.run(&CLAIMS, "default/c"));
        world.edit::<Pod>("default", "p", |p| p.status.phase = "Succeeded".into());
        world.run(&CLAIMS, "default/c");
        assert_eq!(world.snapshot.list::<PersistentVolumeClaim>().count(), 0);
    }
}
