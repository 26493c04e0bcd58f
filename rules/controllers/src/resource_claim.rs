//! Resource claims of pods: those of templates are made, reserved for pods that were bound past the scheduler, given up by
//! pods that ended, and deleted with their use.
//!
//! Invariant: a reservation goes only when the API server confirms that its pod is gone, or when the pod has ended.
//! Leaves out: allocation, which is the scheduler's, and claims of pod groups.

use crate::plan::{Context, Fact, Note, Plan, Target, Told, Write};
use crate::registry::{Controller, Wake, Watched, resource};
use crate::template::controller_reference;
use corten_api::core::v1::{Pod, PodResourceClaim, PodResourceClaimStatus};
use corten_api::meta::v1::ObjectMeta;
use corten_api::resource::v1::{
    ResourceClaim, ResourceClaimConsumerReference, ResourceClaimTemplate,
};
use corten_api::{Kind, Object};
use corten_core::{List, Str};
use corten_meta::{GroupVersionResource, ObjectKey, Snapshot};

/// Makes and reserves the claims of pods.
pub const PODS: Controller = Controller {
    name: "resourceclaim-pods",
    service_account: ACCOUNT,
    primary: resource::<Pod>,
    wakes: &[
        Wake {
            on: Watched::One(resource::<ResourceClaim>),
            keys: its_pods,
        },
        Wake {
            on: Watched::One(resource::<ResourceClaimTemplate>),
            keys: users_of,
        },
    ],
    reconcile: |snapshot, key, _| plan_pod(snapshot, key),
};

/// Frees and deletes claims.
pub const CLAIMS: Controller = Controller {
    name: "resourceclaim",
    service_account: ACCOUNT,
    primary: resource::<ResourceClaim>,
    wakes: &[Wake {
        on: Watched::One(resource::<Pod>),
        keys: its_claims,
    }],
    reconcile: plan_claim,
};

const ACCOUNT: &str = "resource-claim-controller";
/// Which of a pod's claims a generated one is.
const ANNOTATION: &str = "resource.kubernetes.io/pod-claim-name";
/// Keeps an allocated claim.
const FINALIZER: &str = "resource.kubernetes.io/delete-protection";
/// Consumers that a claim can have.
const RESERVED_MAX: usize = 256;
/// Characters of a generated name before the random ones.
const BASE_MAX: usize = 57;

fn its_pods(_: &Snapshot, claim: &Object) -> Vec<ObjectKey> {
    let namespace = &claim.meta().namespace;
    let owner = claim.meta().controller_of().filter(|r| r.kind == Pod::KIND);
    owner
        .map(|r| ObjectKey::new(namespace.clone(), r.name.clone()))
        .into_iter()
        .collect()
}

fn users_of(snapshot: &Snapshot, template: &Object) -> Vec<ObjectKey> {
    let meta = template.meta();
    let uses = |pod: &&Pod| {
        let mut claims = pod.spec.resource_claims.iter();
        claims.any(|c| c.resource_claim_template_name.as_ref() == Some(&meta.name))
    };
    let pods = snapshot.list_in::<Pod>(&meta.namespace).filter(uses);
    pods.map(|p| ObjectKey::new(meta.namespace.clone(), p.metadata.name.clone()))
        .collect()
}

fn its_claims(_: &Snapshot, object: &Object) -> Vec<ObjectKey> {
    let Some(pod) = object.downcast_ref::<Pod>() else {
        return Vec::new();
    };
    let named = pod
        .spec
        .resource_claims
        .iter()
        .filter_map(|c| c.resource_claim_name.as_ref());
    let made = pod
        .status
        .resource_claim_statuses
        .iter()
        .filter_map(|c| c.resource_claim_name.as_ref());
    named
        .chain(made)
        .map(|name| ObjectKey::new(pod.metadata.namespace.clone(), name.clone()))
        .collect()
}

fn is_done(pod: &Pod) -> bool {
    matches!(pod.status.phase.as_str(), "Failed" | "Succeeded")
        || (pod.metadata.deleting() && pod.spec.node_name.is_empty())
}

fn is_owned(claim: &ResourceClaim, pod: &Pod) -> bool {
    claim
        .metadata
        .controller_of()
        .is_some_and(|o| o.uid == pod.metadata.uid)
}

/// What is known of one of a pod's claims.
enum Standing<'a> {
    /// It is there, or none is needed.
    Settled(Option<&'a ResourceClaim>),
    /// It was made, and the pod does not say so yet.
    Made(&'a ResourceClaim),
    /// It has to be made.
    Missing(&'a Str),
}

fn standing<'a>(snapshot: &'a Snapshot, pod: &'a Pod, claim: &'a PodResourceClaim) -> Standing<'a> {
    let namespace = &pod.metadata.namespace;
    if let Some(name) = &claim.resource_claim_name {
        return Standing::Settled(snapshot.get::<ResourceClaim>(namespace, name));
    }
    let Some(template) = &claim.resource_claim_template_name else {
        return Standing::Settled(None);
    };
    let mut statuses = pod.status.resource_claim_statuses.iter();
    match statuses
        .find(|s| s.name == claim.name)
        .map(|s| &s.resource_claim_name)
    {
        Some(None) => return Standing::Settled(None),
        Some(Some(name)) => {
            let found = snapshot.get::<ResourceClaim>(namespace, name);
            if let Some(found) = found.filter(|c| is_owned(c, pod)) {
                return Standing::Settled(Some(found));
            }
        }
        None => {}
    }
    let mut all = snapshot.list_in::<ResourceClaim>(namespace);
    let made =
        all.find(|c| is_owned(c, pod) && c.metadata.annotation(ANNOTATION) == claim.name.as_str());
    made.map_or(Standing::Missing(template), Standing::Made)
}

fn plan_pod(snapshot: &Snapshot, key: &ObjectKey) -> Option<Plan> {
    let pod = snapshot.get::<Pod>(&key.namespace, &key.name)?;
    if pod.metadata.deleting() || pod.spec.resource_claims.is_empty() {
        return None;
    }
    let mut plan = Plan::default();
    let mut new = pod.clone();
    for claim in &pod.spec.resource_claims {
        match standing(snapshot, pod, claim) {
            Standing::Settled(None) => {}
            Standing::Settled(Some(found)) => reserve(pod, found, &mut plan),
            Standing::Made(found) => {
                let statuses = &mut new.status.resource_claim_statuses;
                statuses.retain(|s| s.name != claim.name);
                statuses.push(PodResourceClaimStatus {
                    name: claim.name.clone(),
                    resource_claim_name: Some(found.metadata.name.clone()),
                });
            }
            Standing::Missing(template) => {
                make(snapshot, pod, claim, template, &mut plan);
                break;
            }
        }
    }
    plan.write_if(Write::patch_status(pod, &new, "its claims were made"));
    Some(plan)
}

/// Reserves an allocated claim for a pod that runs: the scheduler does so for pods that it binds itself.
fn reserve(pod: &Pod, claim: &ResourceClaim, plan: &mut Plan) {
    let status = &claim.status;
    let has = status
        .reserved_for
        .iter()
        .any(|r| r.uid == pod.metadata.uid);
    let free = status.reserved_for.len() < RESERVED_MAX;
    if pod.spec.node_name.is_empty() || status.allocation.is_none() || has || !free {
        return;
    }
    let mut new = claim.clone();
    new.status
        .reserved_for
        .push(ResourceClaimConsumerReference {
            resource: "pods".into(),
            name: pod.metadata.name.clone(),
            uid: pod.metadata.uid.clone(),
            ..ResourceClaimConsumerReference::default()
        });
    let write = Write::patch_status(claim, &new, "a pod that was bound uses it");
    plan.write_if(write.map(|w| w.only_if_unchanged(claim)));
}

/// `POD-CLAIM-`, both cut down alike when that is too long.
fn generate_name(pod: &str, claim: &str) -> String {
    let whole = format!("{pod}-{claim}-");
    let length = whole.len();
    if length <= BASE_MAX {
        return whole;
    }
    let cut = |text: &str| text[..text.len() * BASE_MAX / length].to_owned();
    format!("{}-{}", cut(pod), cut(claim))
}

fn make(snapshot: &Snapshot, pod: &Pod, claim: &PodResourceClaim, name: &Str, plan: &mut Plan) {
    let namespace = &pod.metadata.namespace;
    let failed = |why: &str| format!("PodResourceClaim {}: {why}", claim.name);
    let Some(template) = snapshot.get::<ResourceClaimTemplate>(namespace, name) else {
        let why = format!(
            "resource claim template {0:?}: resourceclaimtemplate.resource.k8s.io {0:?} not found",
            name.as_str()
        );
        // Only the pod's first look is told of; the template wakes it.
        if pod.status.conditions.is_empty() {
            plan.note(Note::warning(
                pod,
                "FailedResourceClaimCreation",
                failed(&why),
            ));
        }
        return;
    };
    let mut annotations = template.spec.metadata.annotations.clone();
    annotations.insert(ANNOTATION, claim.name.clone());
    let made = ResourceClaim {
        metadata: ObjectMeta {
            generate_name: generate_name(&pod.metadata.name, &claim.name).into(),
            namespace: namespace.clone(),
            annotations,
            labels: template.spec.metadata.labels.clone(),
            owner_references: List::from_iter([owner(pod)]),
            ..ObjectMeta::default()
        },
        spec: template.spec.spec.clone(),
        ..ResourceClaim::default()
    };
    let text = failed("create ResourceClaim : {error}");
    let told = Told::about(pod, ("", ""), ("FailedResourceClaimCreation", &text));
    plan.write_told(Write::create(made, "the pod's template asks for it"), told);
}

/// The controller reference, which does not hold up the pod's deletion.
fn owner(pod: &Pod) -> corten_api::meta::v1::OwnerReference {
    let mut reference = controller_reference(pod);
    reference.block_owner_deletion = None;
    reference
}

/// Whether a consumer is given up, and what the server has to confirm first.
fn given_up(
    snapshot: &Snapshot,
    claim: &ResourceClaim,
    one: &ResourceClaimConsumerReference,
) -> Option<Vec<Fact>> {
    if !one.api_group.is_empty() || one.resource != "pods" {
        return None;
    }
    let namespace = &claim.metadata.namespace;
    match snapshot.get::<Pod>(namespace, &one.name) {
        Some(pod) if pod.metadata.uid == one.uid => is_done(pod).then(Vec::new),
        _ => Some(vec![Fact::Gone(Target {
            resource: GroupVersionResource::of::<Pod>(),
            key: ObjectKey::new(namespace.clone(), one.name.clone()),
            uid: one.uid.clone(),
            resource_version: None,
        })]),
    }
}

fn plan_claim(snapshot: &Snapshot, key: &ObjectKey, _: &Context) -> Option<Plan> {
    let claim = snapshot.get::<ResourceClaim>(&key.namespace, &key.name)?;
    let mut plan = Plan::default();
    let mut facts = Vec::new();
    let mut new = claim.clone();
    new.status
        .reserved_for
        .retain(|one| match given_up(snapshot, claim, one) {
            Some(mut more) => {
                facts.append(&mut more);
                false
            }
            None => true,
        });
    let unused = new.status.reserved_for.is_empty();
    let protected = claim.metadata.has_finalizer(FINALIZER);
    let freed = !claim.status.reserved_for.is_empty();
    if unused && protected && (freed || claim.metadata.deleting()) {
        new.status.allocation = None;
    }
    if let Some(write) = Write::patch_status(claim, &new, "it is not used any more") {
        plan.write_given(write.only_if_unchanged(claim), facts);
        return Some(plan);
    }
    if unused && protected && claim.metadata.deleting() {
        new.metadata.remove_finalizer(FINALIZER);
        plan.write_if(Write::patch(claim, &new, "nothing is allocated to it"));
        return Some(plan);
    }
    let owner = claim
        .metadata
        .controller_of()
        .filter(|o| o.kind == Pod::KIND && o.api_version == "v1");
    let pod = owner.and_then(|o| Some((o, snapshot.get::<Pod>(&key.namespace, &o.name)?)));
    let over = pod.is_some_and(|(o, pod)| pod.metadata.uid != o.uid || is_done(pod));
    if unused && over && !claim.metadata.deleting() {
        plan.write(Write::delete(claim, "its pod will not run any more"));
    }
    Some(plan)
}

#[cfg(test)]
mod tests {
    use super::{CLAIMS, PODS, generate_name};
    use crate::testing::World;
    use expect_test::expect;

    const TEMPLATE: &str = "
apiVersion: resource.k8s.io/v1
kind: ResourceClaimTemplate
metadata: {name: t, namespace: d}
spec: {metadata: {labels: {a: b}}, spec: {devices: {}}}
---
";
    const POD: &str = "
apiVersion: v1
kind: Pod
metadata: {name: p, namespace: d}
spec: {resourceClaims: [{name: gpu, resourceClaimTemplateName: t}], containers: [{name: c}]}
";

    #[test]
    fn claims_are_made_and_named() {
        let mut world = World::new(&format!("{TEMPLATE}{POD}"));
        expect!["create resourceclaims d/p-gpu-"].assert_eq(&world.step(&PODS, "d/p"));
        let named = world.step(&PODS, "d/p");
        assert!(named.starts_with(r#"patch pods d/p /status {"status":{"resourceClaimStatuses":[{"name":"gpu","resourceClaimName":"p-gpu-"#), "{named}");
        expect![""].assert_eq(&world.step(&PODS, "d/p"));
    }

    #[test]
    fn a_missing_template_is_told_of() {
        let mut world = World::new(POD);
        expect![[r#"Warning FailedResourceClaimCreation Pod/p: PodResourceClaim gpu: resource claim template "t": resourceclaimtemplate.resource.k8s.io "t" not found"#]]
            .assert_eq(&world.step(&PODS, "d/p"));
    }

    fn claim(more: &str, pod: &str) -> World {
        World::new(&format!(
            "apiVersion: resource.k8s.io/v1\nkind: ResourceClaim\nmetadata: {{name: c, namespace: d, finalizers: [resource.kubernetes.io/delete-protection]{more}}}\nspec: {{devices: {{}}}}\nstatus: {{allocation: {{devices: {{}}}}, reservedFor: [{{resource: pods, name: p, uid: pod-p}}]}}\n---\n{pod}"
        ))
    }

    #[test]
    fn ended_pods_give_their_claims_up() {
        let done = "apiVersion: v1\nkind: Pod\nmetadata: {name: p, namespace: d}\nspec: {containers: [{name: c}]}\nstatus: {phase: Succeeded}\n";
        expect![[
            r#"patch resourceclaims d/c /status {"status":{"allocation":null,"reservedFor":null}}"#
        ]]
        .assert_eq(&claim("", done).step(&CLAIMS, "d/c"));
        expect![[r#"patch resourceclaims d/c /status {"status":{"allocation":null,"reservedFor":null}} if pods d/p is gone"#]]
            .assert_eq(&claim("", "").step(&CLAIMS, "d/c"));
        let runs = done.replace("Succeeded", "Running");
        expect![""].assert_eq(&claim("", &runs).step(&CLAIMS, "d/c"));
        let owned = ", ownerReferences: [{apiVersion: v1, kind: Pod, name: p, uid: pod-p, controller: true}]";
        let mut world = claim(owned, done);
        world.step(&CLAIMS, "d/c");
        expect!["delete resourceclaims d/c"].assert_eq(&world.step(&CLAIMS, "d/c"));
    }

    #[test]
    fn long_names_are_cut() {
        let long = "x".repeat(100);
        assert!(generate_name(&long, "claim").len() <= 58);
        assert_eq!(generate_name("p", "c"), "p-c-");
    }
}
