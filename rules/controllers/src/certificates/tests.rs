//! Certificate requests in fixtures: who is approved, what is signed or refused, and when requests go.

use super::{APPROVER, CLEANER, SIGNER};
use crate::testing::World;
use corten_api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestCondition};
use corten_core::Time;
use expect_test::expect;

/// `O=system:nodes, CN=system:node:…`, without alternative names.
const NODE: &[u8] = include_bytes!("requests/node.pem");
/// `O=system:masters`.
const MASTERS: &[u8] = include_bytes!("requests/masters.pem");

const ROLES: &str = "
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: node-client}
rules: [{apiGroups: [certificates.k8s.io], resources: [certificatesigningrequests/nodeclient], verbs: [create]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: node-client}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: node-client}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: Group, name: joining}]
";

fn request(signer: &str, pem: &[u8], usages: &str) -> World {
    let mut world = World::new(&format!(
        "
apiVersion: certificates.k8s.io/v1
kind: CertificateSigningRequest
metadata: {{name: r}}
spec: {{signerName: kubernetes.io/{signer}, username: someone, groups: [joining], usages: [{usages}]}}
{ROLES}"
    ));
    world.edit::<CertificateSigningRequest>("", "r", |r| r.spec.request = pem.into());
    world
}

fn decided(mut world: World, kind: &str) -> World {
    let now = world.context.now;
    world.edit::<CertificateSigningRequest>("", "r", |r| {
        r.status
            .conditions
            .push(CertificateSigningRequestCondition {
                type_: kind.into(),
                status: "True".into(),
                last_update_time: now,
                ..Default::default()
            });
    });
    world
}

const CLIENT: &str = "digital signature, client auth";

#[test]
fn a_kubelet_that_may_join_is_approved_and_gets_its_certificate() {
    let mut world = request("kube-apiserver-client-kubelet", NODE, CLIENT);
    expect![[r#"patch certificatesigningrequests r /approval {"status":{"conditions":[{"lastTransitionTime":"2026-01-01T00:00:00Z","lastUpdateTime":"2026-01-01T00:00:00Z","message":"Auto approving kubelet client certificate after SubjectAccessReview.","reason":"AutoApproved","status":"True","type":"Approved"}]}}"#]]
        .assert_eq(&world.run(&APPROVER, "r"));
    expect![[
        r#"sign certificatesigningrequests r ["digital signature", "client auth"] 31536000s"#
    ]]
    .assert_eq(&world.run(&SIGNER, "r"));
}

#[test]
fn who_may_not_is_left_to_people() {
    let mut world = request("kube-apiserver-client-kubelet", NODE, CLIENT);
    world.edit::<CertificateSigningRequest>("", "r", |r| r.spec.groups = Default::default());
    expect![""].assert_eq(&world.run(&APPROVER, "r"));
    expect![""].assert_eq(&world.run(&SIGNER, "r"));
}

#[test]
fn only_what_a_kubelet_needs_is_approved() {
    for (signer, pem, usages) in [
        ("kube-apiserver-client-kubelet", MASTERS, CLIENT),
        (
            "kube-apiserver-client-kubelet",
            NODE,
            "digital signature, server auth",
        ),
        ("kube-apiserver-client-kubelet", NODE, "client auth"),
        ("kube-apiserver-client", NODE, CLIENT),
        ("kubelet-serving", NODE, "digital signature, server auth"),
    ] {
        expect![""].assert_eq(&request(signer, pem, usages).run(&APPROVER, "r"));
    }
}

fn refusal(signer: &str, pem: &[u8], usages: &str) -> String {
    let mut world = decided(request(signer, pem, usages), "Approved");
    let done = world.run(&SIGNER, "r");
    let request = world
        .snapshot
        .get::<CertificateSigningRequest>("", "r")
        .unwrap();
    let failed = request
        .status
        .conditions
        .iter()
        .find(|c| c.type_ == "Failed");
    failed.map_or(done, |c| format!("{}: {}", c.reason, c.message))
}

/// Upstream's wordings.
#[test]
fn each_signer_has_its_demands() {
    for (signer, pem, usages, told) in [
        (
            "kube-apiserver-client",
            MASTERS,
            "client auth, server auth",
            "invalid usage for client certificate: server auth",
        ),
        (
            "kube-apiserver-client",
            MASTERS,
            "digital signature",
            "missing required usage for client certificate: client auth",
        ),
        (
            "kube-apiserver-client-kubelet",
            MASTERS,
            CLIENT,
            "subject organization is not system:nodes",
        ),
        (
            "kube-apiserver-client-kubelet",
            NODE,
            "client auth",
            "usages did not match [client auth digital signature key encipherment]",
        ),
        (
            "kubelet-serving",
            NODE,
            "digital signature, server auth",
            "DNS or IP subjectAltName is required",
        ),
    ] {
        assert_eq!(
            refusal(signer, pem, usages),
            format!("SignerValidationFailure: {told}")
        );
    }
    expect![[r#"sign certificatesigningrequests r ["client auth"] 31536000s"#]]
        .assert_eq(&refusal("kube-apiserver-client", MASTERS, "client auth"));
    expect![[r#"sign certificatesigningrequests r ["any"] 31536000s"#]].assert_eq(&refusal(
        "legacy-unknown",
        MASTERS,
        "any",
    ));
    let mut other = decided(request("x", MASTERS, "any"), "Approved");
    other.edit::<CertificateSigningRequest>("", "r", |r| {
        r.spec.signer_name = "example.com/mine".into()
    });
    expect![""].assert_eq(&other.run(&SIGNER, "r"));
}

#[test]
fn shorter_lives_are_granted_down_to_ten_minutes() {
    for (asked, granted) in [(3600, 3600), (1, 600), (i32::MAX, 31_536_000)] {
        let mut world = decided(
            request("kube-apiserver-client", MASTERS, "client auth"),
            "Approved",
        );
        world.edit::<CertificateSigningRequest>("", "r", |r| {
            r.spec.expiration_seconds = Some(asked)
        });
        let done = world.run(&SIGNER, "r");
        assert!(done.ends_with(&format!(" {granted}s")), "{done}");
    }
}

#[test]
fn requests_go_when_they_are_dealt_with_or_forgotten() {
    let pending = || request("kube-apiserver-client", MASTERS, "client auth");
    let mut issued = decided(pending(), "Approved");
    issued.run(&SIGNER, "r");
    for (mut world, hours) in [
        (pending(), 23),
        (decided(pending(), "Denied"), 1),
        (decided(pending(), "Failed"), 1),
        (decided(pending(), "Approved"), 24),
        (issued, 1),
    ] {
        let at = world.plan(&CLEANER, "r").wake_at.map(Time::unix);
        assert_eq!(at, Some(world.context.now.unix() + hours * 3600 + 1));
        world.later(hours * 3600 + 1);
        expect!["delete certificatesigningrequests r"].assert_eq(&world.step(&CLEANER, "r"));
    }
}
