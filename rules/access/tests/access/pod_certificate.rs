//! PodCertificateRequests: what a node may ask for, read and not touch, and who signs.

use crate::world::{World, admin, node, object, refusal, user};
use corten_access::admission::Operation;
use corten_access::{Decision, Rules};
use corten_api::Object;
use corten_meta::Feature;

const CLUSTER: &str = r#"
apiVersion: v1
kind: Node
metadata: {name: n1, uid: node-1}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: runner, namespace: a, uid: account-1}
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: a, uid: pod-1}
spec: {nodeName: n1, serviceAccountName: runner, containers: []}
---
apiVersion: v1
kind: Pod
metadata: {name: far, namespace: a, uid: pod-2}
spec: {nodeName: n2, serviceAccountName: runner, containers: []}
---
apiVersion: certificates.k8s.io/v1beta1
kind: PodCertificateRequest
metadata: {name: mine, namespace: a}
spec: {nodeName: n1}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: signer}
rules: [{apiGroups: [certificates.k8s.io], resources: [signers], resourceNames: [example.com/*], verbs: [sign]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: signer}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: signer}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: signer}]
"#;

fn world() -> World {
    let mut world = World::new(CLUSTER);
    let features = world.snapshot.features();
    world
        .snapshot
        .set_features(features.with(Feature::PodCertificateRequest));
    world.rules = Rules::build(&world.snapshot);
    world
}

/// What the node `n1` asks for its pod `web`, with one text replaced.
fn request(replaced: (&str, &str)) -> Object {
    let yaml = "
apiVersion: certificates.k8s.io/v1beta1
kind: PodCertificateRequest
metadata: {name: r, namespace: a}
spec: {signerName: example.com/s, nodeName: n1, nodeUID: node-1, podName: web, podUID: pod-1, serviceAccountName: runner, serviceAccountUID: account-1}
";
    object(&yaml.replacen(replaced.0, replaced.1, 1))
}

#[test]
fn a_node_asks_for_its_own_pods_alone() {
    let (world, n1) = (world(), node("n1"));
    world.create(&n1, &request(("", ""))).expect("it is true");
    world
        .create(&admin(), &request(("nodeName: n1", "nodeName: n2")))
        .expect("others are not looked at");
    let text = |a, b| refusal(world.create(&n1, &request((a, b))));
    assert_eq!(
        text("nodeName: n1", "nodeName: n2"),
        r#"PodCertificateRequest.Spec.NodeName="n2", which is not the requesting node "n1""#
    );
    assert_eq!(
        text("podName: web, podUID: pod-1", "podName: far, podUID: pod-2"),
        r#"pod "a/far" is not running on node "n1" named in the PodCertificateRequest"#
    );
    assert_eq!(
        text("serviceAccountName: runner", "serviceAccountName: other"),
        r#"PodCertificateRequest for pod "a/web" contains serviceAccountName ("other") that differs from running pod ("runner")"#
    );
    for (a, b) in [("pod-1", "pod-0"), ("node-1", "node-0"), ("account-1", "x")] {
        let denial = world.create(&n1, &request((a, b))).expect_err("not yet");
        assert_eq!(
            denial.code, 500,
            "it may be true a moment later: {denial:?}"
        );
    }
    let mut update = world.request(&n1, Operation::Update);
    let mine = request(("", ""));
    assert_eq!(
        refusal(update.validate(&mine, Some(&mine))),
        "unexpected operation UPDATE"
    );
    update.part = "status";
    assert!(update.validate(&mine, Some(&mine)).is_err());
}

#[test]
fn a_node_reads_requests_about_itself() {
    let world = world();
    let resource = "certificates.k8s.io/podcertificaterequests";
    let ask = |who: &str, verb: &str, name: &str, fields: &str| {
        let question = format!("{verb} {resource} a {name}");
        match world.ask_selecting(&node(who), &question, fields) {
            Decision::Allow(_) => "allowed".to_owned(),
            Decision::Deny(why) | Decision::NoOpinion(why) => why,
        }
    };
    assert_eq!(ask("n1", "create", "-", ""), "allowed");
    assert_eq!(ask("n1", "get", "mine", ""), "allowed");
    assert_eq!(ask("n1", "watch", "-", "spec.nodeName=n1"), "allowed");
    assert_ne!(ask("n2", "get", "mine", ""), "allowed");
    assert_eq!(
        ask("n1", "list", "-", ""),
        "can only list/watch podcertificaterequests with nodeName field selector"
    );
    assert_eq!(
        ask("n1", "delete", "mine", ""),
        "nodes may not delete podcertificaterequests"
    );
}

#[test]
fn nothing_of_it_is_there_while_the_gate_is_closed() {
    let (world, n1) = (World::new(CLUSTER), node("n1"));
    let question = "create certificates.k8s.io/podcertificaterequests a -";
    let decision = world.ask(&n1, question);
    assert!(matches!(decision, Decision::NoOpinion(why) if why.is_empty()));
    assert_eq!(
        refusal(world.create(&n1, &request(("", "")))),
        "PodCertificateRequest feature gate is disabled"
    );
}

#[test]
fn only_the_signer_answers() {
    let world = world();
    let old = request(("", ""));
    let mut new = old.clone();
    new.downcast_mut::<corten_api::certificates::v1beta1::PodCertificateRequest>()
        .expect("it is one")
        .status
        .certificate_chain = "x".into();
    let answer = |who: &str| {
        let who = user(who, &[]);
        let mut update = world.request(&who, Operation::Update);
        update.part = "status";
        update.validate(&new, Some(&old))
    };
    answer("signer").expect("it may sign for the domain");
    let denial = answer("stranger").expect_err("it may not");
    assert_eq!((denial.code, denial.reason), (422, "Invalid"));
    assert_eq!(
        denial.message,
        r#"PodCertificateRequest.certificates.k8s.io "r" is invalid: spec.signerName: Forbidden: User "stranger" is not permitted to "sign" for signer "example.com/s""#
    );
}
