//! Plugins that look at one kind each.

use crate::world::{World, admin, node, object, refusal, user};
use corten_access::admission::Operation;
use corten_api::Object;
use corten_api::certificates::v1::CertificateSigningRequest;
use corten_api::core::v1::{PersistentVolumeClaim, Pod};
use corten_api::networking::v1::Ingress;

const CLUSTER: &str = r#"
{apiVersion: storage.k8s.io/v1, kind: StorageClass, metadata: {name: old, creationTimestamp: "2024-01-01T00:00:00Z", annotations: {storageclass.kubernetes.io/is-default-class: "true"}}, provisioner: p}
---
{apiVersion: storage.k8s.io/v1, kind: StorageClass, metadata: {name: new, creationTimestamp: "2025-01-01T00:00:00Z", annotations: {storageclass.kubernetes.io/is-default-class: "true"}}, provisioner: p, allowVolumeExpansion: true}
---
{apiVersion: networking.k8s.io/v1, kind: IngressClass, metadata: {name: web, annotations: {ingressclass.kubernetes.io/is-default-class: "true"}}, spec: {controller: c}}
---
{apiVersion: node.k8s.io/v1, kind: RuntimeClass, metadata: {name: micro}, handler: h, overhead: {podFixed: {cpu: 250m}}, scheduling: {nodeSelector: {vm: "yes"}, tolerations: [{key: vm, operator: Exists}]}}
---
{apiVersion: v1, kind: ServiceAccount, metadata: {name: default, namespace: a}}
---
{apiVersion: v1, kind: ServiceAccount, metadata: {name: strict, namespace: a, annotations: {kubernetes.io/enforce-mountable-secrets: "true"}}, secrets: [{name: mine}]}
---
{apiVersion: v1, kind: Node, metadata: {name: n1, uid: u1, labels: {topology.kubernetes.io/zone: z, other: x}}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: gone}, status: {phase: Terminating}}
---
{apiVersion: v1, kind: Pod, metadata: {name: web, namespace: a, uid: u2}, spec: {nodeName: n1, containers: [], volumes: [{name: t, projected: {sources: [{serviceAccountToken: {path: token, audience: vault}}]}}]}}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: approver}, rules: [{apiGroups: [certificates.k8s.io], resources: [signers], verbs: [approve], resourceNames: ["example.com/*"]}]}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: approver}, roleRef: {kind: ClusterRole, name: approver, apiGroup: rbac.authorization.k8s.io}, subjects: [{kind: User, name: ann}]}
"#;

fn pod(spec: &str) -> Object {
    object(&format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: p, namespace: a}}, spec: {{serviceAccountName: default, {spec}}}}}"
    ))
}

fn claim(spec: &str, size: &str, phase: &str) -> Object {
    object(&format!(
        "{{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {{name: c, namespace: a}}, \
         spec: {{{spec}resources: {{requests: {{storage: {size}}}}}}}, status: {{phase: {phase}}}}}"
    ))
}

#[test]
fn claims_get_the_newest_default_class_and_a_finalizer() {
    let world = World::new(CLUSTER);
    let mut plain = claim("", "1Gi", "Pending");
    world.mutate(&admin(), &mut plain).unwrap();
    let found = plain.downcast_ref::<PersistentVolumeClaim>().unwrap();
    assert_eq!(found.spec.storage_class_name.as_deref(), Some("new"));
    assert_eq!(found.metadata.finalizers, ["kubernetes.io/pvc-protection"]);
    let mut none = claim("storageClassName: '', ", "1Gi", "Pending");
    world.mutate(&admin(), &mut none).unwrap();
    let found = none.downcast_ref::<PersistentVolumeClaim>().unwrap();
    assert_eq!(found.spec.storage_class_name.as_deref(), Some(""));
}

#[test]
fn claims_grow_where_their_class_allows_it() {
    let world = World::new(CLUSTER);
    let update = |class: &str, phase: &str| {
        let class = format!("storageClassName: {class}, ");
        world.update(
            &admin(),
            &claim(&class, "2Gi", phase),
            &claim(&class, "1Gi", phase),
        )
    };
    assert!(update("new", "Bound").is_ok());
    assert_eq!(
        refusal(update("new", "Pending")),
        "Only bound persistent volume claims can be expanded"
    );
    assert_eq!(
        refusal(update("old", "Bound")),
        "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize"
    );
}

#[test]
fn ingresses_get_the_default_class() {
    let world = World::new(CLUSTER);
    let mut ingress = object(
        "{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: i, namespace: a}}",
    );
    world.mutate(&admin(), &mut ingress).unwrap();
    let found = ingress.downcast_ref::<Ingress>().unwrap();
    assert_eq!(found.spec.ingress_class_name.as_deref(), Some("web"));
}

#[test]
fn runtime_classes_add_overhead_and_scheduling() {
    let world = World::new(CLUSTER);
    let mut good =
        pod("runtimeClassName: micro, nodeSelector: {disk: ssd}, containers: [{name: c}]");
    world.mutate(&admin(), &mut good).unwrap();
    let spec = &good.downcast_ref::<Pod>().unwrap().spec;
    assert_eq!(spec.overhead["cpu"].as_str(), "250m");
    assert_eq!(spec.node_selector["vm"], "yes");
    assert!(spec.tolerations.iter().any(|t| t.key == "vm"));
    assert!(world.create(&admin(), &good).is_ok());
    let refused = |spec: &str| refusal(world.mutate(&admin(), &mut pod(spec)));
    assert_eq!(
        refused("runtimeClassName: micro, nodeSelector: {vm: 'no'}, containers: [{name: c}]"),
        "conflict: runtimeClass.scheduling.nodeSelector[vm] = yes; pod.spec.nodeSelector[vm] = no"
    );
    assert_eq!(
        refused("runtimeClassName: other, containers: [{name: c}]"),
        "pod rejected: RuntimeClass \"other\" not found"
    );
    assert_eq!(
        refusal(world.create(
            &admin(),
            &pod("overhead: {cpu: 1}, containers: [{name: c}]")
        )),
        "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"
    );
}

#[test]
fn bound_pods_carry_the_zone_of_their_node() {
    let world = World::new(CLUSTER);
    let mut binding = object(
        "{apiVersion: v1, kind: Binding, metadata: {name: p, namespace: a}, target: {kind: Node, name: n1}}",
    );
    let user = admin();
    let mut request = world.request(&user, Operation::Create);
    request.part = "binding";
    request.resource = Some(("", "pods", "p"));
    request.mutate(&mut binding).unwrap();
    assert_eq!(binding.meta().labels["topology.kubernetes.io/zone"], "z");
    assert!(!binding.meta().labels.contains_key("other"));
}

#[test]
fn namespaces_that_are_going_take_nothing_new() {
    let world = World::new(CLUSTER);
    let secret = |namespace: &str| {
        object(&format!(
            "{{apiVersion: v1, kind: Secret, metadata: {{name: s, namespace: {namespace}}}}}"
        ))
    };
    let denial = world.create(&admin(), &secret("gone")).unwrap_err();
    assert_eq!(
        denial.message,
        "unable to create new content in namespace gone because it is being terminated"
    );
    assert_eq!(denial.causes[0].reason, "NamespaceTerminating");
    assert_eq!(
        denial.causes[0].message,
        "namespace gone is being terminated"
    );
    assert_eq!(denial.causes[0].field, "metadata.namespace");
    assert!(
        world
            .update(&admin(), &secret("gone"), &secret("gone"))
            .is_ok()
    );
    let denial = world.create(&admin(), &secret("none")).unwrap_err();
    assert_eq!(
        (denial.code, denial.message.as_str()),
        (404, "namespaces \"none\" not found")
    );
    let default = object("{apiVersion: v1, kind: Namespace, metadata: {name: default}}");
    let user = admin();
    assert_eq!(
        refusal(world.request(&user, Operation::Delete).delete(&default)),
        "this namespace may not be deleted"
    );
}

#[test]
fn strict_accounts_list_the_secrets_of_their_pods() {
    let world = World::new(CLUSTER);
    let check = |spec: &str| {
        let text = format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: p, namespace: a}}, spec: {{serviceAccountName: strict, {spec}}}}}"
        );
        world.create(&admin(), &object(&text))
    };
    assert!(check("containers: [{name: c, envFrom: [{secretRef: {name: mine}}]}]").is_ok());
    assert_eq!(
        refusal(check(
            "containers: [{name: c}], volumes: [{name: v, secret: {secretName: other}}]"
        )),
        "volume with secret.secretName=\"other\" is not allowed because service account strict does not reference that secret"
    );
    assert_eq!(
        refusal(check(
            "containers: [{name: c, env: [{name: E, valueFrom: {secretKeyRef: {name: other, key: k}}}]}]"
        )),
        "container c with envVar E referencing secret.secretName=\"other\" is not allowed because service account strict does \
         not reference that secret"
    );
    assert_eq!(
        refusal(check(
            "containers: [{name: c}], imagePullSecrets: [{name: pull}]"
        )),
        "imagePullSecrets[0].name=\"pull\" is not allowed because service account strict does not reference that imagePullSecret"
    );
}

fn request(signer: &str, pem: &[u8]) -> Object {
    let mut request = CertificateSigningRequest::default();
    request.metadata.name = "r".into();
    request.spec.signer_name = signer.into();
    request.spec.request = pem.into();
    Object::from(request)
}

const MASTERS: &[u8] = include_bytes!("requests/masters.pem");
const NODE: &[u8] = include_bytes!("requests/node.pem");

#[test]
fn certificates_are_for_those_who_may_have_them() {
    let world = World::new(CLUSTER);
    let client = "kubernetes.io/kube-apiserver-client";
    assert_eq!(
        refusal(world.create(&admin(), &request(client, MASTERS))),
        "use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed"
    );
    assert!(world.create(&admin(), &request(client, NODE)).is_ok());
    assert_eq!(
        refusal(world.create(&admin(), &request(client, b"x"))),
        "failed to parse CSR: PEM block type must be CERTIFICATE REQUEST"
    );
    let kubelet = "kubernetes.io/kubelet-serving";
    assert!(world.create(&node("n1"), &request(kubelet, NODE)).is_ok());
    assert_eq!(
        refusal(world.create(&node("n2"), &request(kubelet, NODE))),
        "can only create a node CSR with CN=system:node:n2"
    );
}

#[test]
fn signers_are_asked_about_by_name_and_domain() {
    let world = World::new(CLUSTER);
    let ann = user("ann", &[]);
    let part = |part: &'static str, signer: &str| {
        let old = request(signer, NODE);
        let mut new = old.clone();
        let changed = new.downcast_mut::<CertificateSigningRequest>().unwrap();
        changed.status.certificate = b"x"[..].into();
        let mut request = world.request(&ann, Operation::Update);
        request.part = part;
        request.validate(&new, Some(&old))
    };
    assert!(part("approval", "example.com/a").is_ok());
    assert_eq!(
        refusal(part("approval", "other.com/a")),
        "user not permitted to approve requests with signerName \"other.com/a\""
    );
    assert_eq!(
        refusal(part("status", "example.com/a")),
        "user not permitted to sign requests with signerName \"example.com/a\""
    );
}

#[test]
fn nodes_create_mirror_pods_of_their_own_only() {
    let world = World::new(CLUSTER);
    let mirror = |owner: &str, rest: &str| {
        let text = format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: m, namespace: a, annotations: {{kubernetes.io/config.mirror: x}}, \
             ownerReferences: [{owner}]}}, spec: {{nodeName: n1, containers: [{{name: c}}]{rest}}}}}"
        );
        world.create(&node("n1"), &object(&text))
    };
    let own = "{apiVersion: v1, kind: Node, name: n1, uid: u1, controller: true}";
    assert!(mirror(own, "").is_ok());
    let cases = [
        (
            "",
            "",
            "node \"n1\" can only create pods with an owner reference set to itself",
        ),
        (
            "{apiVersion: v1, kind: Node, name: n1, uid: u1}",
            "",
            "node \"n1\" can only create pods with a controller owner reference set to itself",
        ),
        (
            "{apiVersion: v1, kind: Node, name: n1, uid: u9, controller: true}",
            "",
            "node n1 UID mismatch: expected u9 got u1",
        ),
        (
            own,
            ", volumes: [{name: v, persistentVolumeClaim: {claimName: c}}]",
            "node \"n1\" can not create pods that reference persistentvolumeclaims",
        ),
    ];
    for (owner, rest, wanted) in cases {
        assert_eq!(refusal(mirror(owner, rest)), wanted);
    }
    assert_eq!(
        refusal(world.create(&node("n1"), &pod("nodeName: n1, containers: [{name: c}]"))),
        "pod does not have \"kubernetes.io/config.mirror\" annotation, node \"n1\" can only create mirror pods"
    );
}

#[test]
fn nodes_write_only_what_is_theirs_in_nodes() {
    let world = World::new(CLUSTER);
    let with = |labels: &str, spec: &str| {
        object(&format!(
            "{{apiVersion: v1, kind: Node, metadata: {{name: n1, labels: {{{labels}}}}}, spec: {{{spec}}}}}"
        ))
    };
    let update = |new: &Object| world.update(&node("n1"), new, &with("", ""));
    assert!(
        update(&with(
            "kubernetes.io/os: linux, node.kubernetes.io/x: a, plain: b",
            ""
        ))
        .is_ok()
    );
    assert_eq!(
        refusal(update(&with(
            "foo.k8s.io/x: a, node-restriction.kubernetes.io/y: b",
            ""
        ))),
        "is not allowed to modify labels: foo.k8s.io/x, node-restriction.kubernetes.io/y"
    );
    assert_eq!(
        refusal(world.create(&node("n1"), &with("foo.kubernetes.io/x: a", ""))),
        "node \"n1\" is not allowed to set the following labels: foo.kubernetes.io/x"
    );
    assert_eq!(
        refusal(update(&with("", "taints: [{key: a, effect: NoSchedule}]"))),
        "node \"n1\" is not allowed to modify taints"
    );
    assert_eq!(
        refusal(world.update(&node("n2"), &with("", ""), &with("", ""))),
        "node \"n2\" is not allowed to modify node \"n1\""
    );
}

#[test]
fn nodes_ask_for_tokens_of_their_pods_only() {
    let world = World::new(CLUSTER);
    let ask = |who: &str, spec: &str| {
        let n = node(who);
        let token = object(&format!(
            "{{apiVersion: authentication.k8s.io/v1, kind: TokenRequest, metadata: {{name: default, namespace: a}}, spec: {{{spec}}}}}"
        ));
        let mut request = world.request(&n, Operation::Create);
        request.part = "token";
        request.resource = Some(("", "serviceaccounts", "default"));
        request.validate(&token, None).map(|_| ())
    };
    let bound = "boundObjectRef: {apiVersion: v1, kind: Pod, name: web, uid: u2}";
    assert!(ask("n1", &format!("{bound}, audiences: [vault]")).is_ok());
    assert_eq!(
        refusal(ask("n1", &format!("{bound}, audiences: [bank]"))),
        "audience \"bank\" not found in pod spec volume, system:node:n1 is not authorized to request tokens for this audience"
    );
    assert_eq!(
        refusal(ask("n2", &format!("{bound}, audiences: [vault]"))),
        "node requested token bound to a pod scheduled on a different node"
    );
    assert_eq!(
        refusal(ask("n1", "audiences: [vault]")),
        "node requested token not bound to a pod"
    );
}

#[test]
fn a_pod_changes_only_as_its_node_can() {
    let world = |features: &str| {
        World::new(&format!(
            "{{apiVersion: v1, kind: Node, metadata: {{name: n1}}, status: {{allocatable: {{cpu: 9}}, declaredFeatures: [{features}]}}}}"
        ))
    };
    let pod = |generation: i64, whole: &str, init: &str| {
        object(&format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: p, namespace: a, generation: {generation}}}, spec: {{nodeName: n1, \
             resources: {{requests: {{cpu: {whole}}}}}, containers: [], \
             initContainers: [{{name: i, resources: {{requests: {{cpu: {init}}}}}}}]}}}}"
        ))
    };
    let (admin, old) = (admin(), pod(1, "1", "1"));
    let resized = |world: &World, new: &Object| {
        let mut request = world.request(&admin, Operation::Update);
        request.part = "resize";
        request.validate(new, Some(&old))
    };
    let both =
        world("InPlacePodLevelResourcesVerticalScaling, InPlacePodVerticalScalingInitContainers");
    resized(&both, &pod(2, "2", "2")).expect("the node can do both");
    let none = world("");
    resized(&none, &pod(1, "1", "1")).expect("nothing changes");
    assert_eq!(
        refusal(resized(&none, &pod(2, "2", "2"))),
        "pod update requires features InPlacePodLevelResourcesVerticalScaling, InPlacePodVerticalScalingInitContainers which are not available on node \"n1\""
    );
    assert_eq!(
        refusal(resized(&none, &pod(2, "1", "2"))),
        "pod update requires features InPlacePodVerticalScalingInitContainers which are not available on node \"n1\""
    );
}
