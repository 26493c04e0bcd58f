//! Ephemeral volumes: a pod's volumes with a claim template get claims of their own, which go with the pod.
//!
//! Invariant: a claim of that name that is not the pod's is never taken over. Leaves out: binding and mounting.

use crate::plan::{Note, Plan, Told, Write};
use crate::registry::{Controller, Wake, Watched, resource};
use crate::template::controller_reference;
use corten_api::core::v1::{PersistentVolumeClaim, Pod};
use corten_api::meta::v1::ObjectMeta;
use corten_api::{Kind, Object};
use corten_core::List;
use corten_meta::{ObjectKey, Snapshot};

/// See the module's description.
pub const CONTROLLER: Controller = Controller {
    name: "ephemeral-volume",
    service_account: "ephemeral-volume-controller",
    primary: resource::<Pod>,
    wakes: &[Wake {
        on: Watched::One(resource::<PersistentVolumeClaim>),
        keys: its_pod,
    }],
    reconcile: |snapshot, key, _| plan(snapshot, key),
};

fn its_pod(_: &Snapshot, claim: &Object) -> Vec<ObjectKey> {
    let meta = claim.meta();
    let owner = meta.controller_of().filter(|r| r.kind == Pod::KIND);
    owner
        .map(|r| ObjectKey::new(meta.namespace.clone(), r.name.clone()))
        .into_iter()
        .collect()
}

fn plan(snapshot: &Snapshot, key: &ObjectKey) -> Option<Plan> {
    let pod = snapshot.get::<Pod>(&key.namespace, &key.name)?;
    let mut plan = Plan::default();
    if pod.metadata.deleting() {
        return Some(plan);
    }
    let volumes = pod.spec.volumes.iter();
    for (name, source) in
        volumes.filter_map(|v| Some((&v.name, v.volume_source.ephemeral.as_ref()?)))
    {
        let claim_name = format!("{}-{name}", pod.metadata.name);
        let failed = |why: &str| format!("ephemeral volume {name}: {why}");
        match snapshot.get::<PersistentVolumeClaim>(&key.namespace, &claim_name) {
            Some(claim) if is_of(claim, pod) => {}
            Some(_) => {
                let why = format!(
                    "PVC {}/{claim_name} was not created for pod {}/{} (pod is not owner)",
                    key.namespace, key.namespace, key.name
                );
                // The pod stays as it is; only its first look is told of.
                if pod.status.conditions.is_empty() {
                    plan.note(Note::warning(pod, "FailedBinding", failed(&why)));
                }
                break;
            }
            None => {
                let Some(template) = &source.volume_claim_template else {
                    continue;
                };
                let claim = PersistentVolumeClaim {
                    metadata: ObjectMeta {
                        name: claim_name.as_str().into(),
                        namespace: key.namespace.clone(),
                        annotations: template.metadata.annotations.clone(),
                        labels: template.metadata.labels.clone(),
                        owner_references: List::from_iter([controller_reference(pod)]),
                        ..Default::default()
                    },
                    spec: template.spec.clone(),
                    ..Default::default()
                };
                let text = failed(&format!("create PVC {claim_name}: {{error}}"));
                let told = Told::about(pod, ("", ""), ("FailedBinding", &text));
                plan.write_told(Write::create(claim, "the pod's volume needs it"), told);
            }
        }
    }
    Some(plan)
}

fn is_of(claim: &PersistentVolumeClaim, pod: &Pod) -> bool {
    let owner = claim.metadata.controller_of();
    owner.is_some_and(|o| o.uid == pod.metadata.uid)
}

#[cfg(test)]
mod tests {
    use super::CONTROLLER;
    use crate::testing::World;
    use corten_api::core::v1::{PersistentVolumeClaim, Pod};
    use expect_test::expect;

    const POD: &str = "
apiVersion: v1
kind: Pod
metadata: {name: p, namespace: default}
spec:
  volumes:
  - name: plain
    emptyDir: {}
  - name: data
    ephemeral:
      volumeClaimTemplate:
        metadata: {labels: {a: b}}
        spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
";

    #[test]
    fn each_templated_volume_gets_its_claim() {
        let mut world = World::new(POD);
        expect!["create persistentvolumeclaims default/p-data"]
            .assert_eq(&world.step(&CONTROLLER, "default/p"));
        let claim = world
            .snapshot
            .get::<PersistentVolumeClaim>("default", "p-data")
            .unwrap();
        assert_eq!(claim.metadata.label("a"), "b");
        let owner = claim.metadata.controller_of().unwrap();
        assert_eq!((owner.kind.as_str(), owner.uid.as_str()), ("Pod", "pod-p"));
        assert_eq!(owner.block_owner_deletion, Some(true));
        expect![""].assert_eq(&world.step(&CONTROLLER, "default/p"));
    }

    #[test]
    fn a_strangers_claim_is_told_of() {
        let claim = "\n---\napiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: p-data, namespace: default}\n";
        let mut world = World::new(&format!("{POD}{claim}"));
        expect!["Warning FailedBinding Pod/p: ephemeral volume data: PVC default/p-data was not created for pod default/p (pod is not owner)"]
            .assert_eq(&world.step(&CONTROLLER, "default/p"));
    }

    #[test]
    fn a_pod_that_goes_gets_none() {
        let mut world = World::new(POD);
        let now = world.context.now;
        world.edit::<Pod>("default", "p", |p| {
            p.metadata.deletion_timestamp = Some(now)
        });
        expect![""].assert_eq(&world.step(&CONTROLLER, "default/p"));
    }
}
