//! Certificate requests in fixtures: who is approved, what is signed or refused, and when requests go.

use super::{APPROVER, CLEANER, POD_CLEANER, PUBLISHER, SIGNER};
use crate::plan::{Fact, Failure};
use crate::testing::World;
use corten_api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestCondition};
use corten_core::Time;
use expect_test::expect;

/// `O=system:nodes, CN=system:node:…`, without alternative names.
const NODE: &[u8] = include_bytes!("requests/node.pem");
/// `O=system:masters`.
const MASTERS: &[u8] = include_bytes!("requests/masters.pem");

fn request(signer: &str, pem: &[u8], usages: &str) -> World {
    let mut world = World::new(&format!(
        "
apiVersion: certificates.k8s.io/v1
kind: CertificateSigningRequest
metadata: {{name: r}}
spec: {{signerName: kubernetes.io/{signer}, username: someone, groups: [joining], usages: [{usages}]}}
"
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
    expect![[r#"patch certificatesigningrequests r /approval {"status":{"conditions":[{"lastTransitionTime":"2026-01-01T00:00:00Z","lastUpdateTime":"2026-01-01T00:00:00Z","message":"Auto approving kubelet client certificate after SubjectAccessReview.","reason":"AutoApproved","status":"True","type":"Approved"}]}} if someone may create nodeclient"#]]
        .assert_eq(&world.run(&APPROVER, "r"));
    expect![[
        r#"sign certificatesigningrequests r ["digital signature", "client auth"] 31536000s"#
    ]]
    .assert_eq(&world.run(&SIGNER, "r"));
}

#[test]
fn a_node_that_renews_is_asked_about_as_itself_first() {
    let mut world = request("kube-apiserver-client-kubelet", NODE, CLIENT);
    let name = corten_access::admission::Subject::of_pem(NODE)
        .unwrap()
        .common_name;
    world.edit::<CertificateSigningRequest>("", "r", |r| r.spec.username = name.as_str().into());
    let planned = |world: &World| world.plan(&APPROVER, "r").steps[0].given[0].clone();
    let part = |fact: Fact| match fact {
        Fact::Allowed(spec) => spec.resource_attributes.unwrap().subresource.to_string(),
        other => format!("{other:?}"),
    };
    assert_eq!(part(planned(&world)), "selfnodeclient");
    world.context.failure = Some(Failure {
        verb: "update",
        reason: "Forbidden".into(),
        message: "someone may not create certificatesigningrequests/selfnodeclient".into(),
    });
    assert_eq!(part(planned(&world)), "nodeclient");
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

#[test]
fn requests_of_pods_go_after_a_quarter_of_an_hour() {
    let mut world = World::new(
        "
apiVersion: certificates.k8s.io/v1beta1
kind: PodCertificateRequest
metadata: {name: r, namespace: a, creationTimestamp: 2026-01-01T00:00:00Z}
",
    );
    let wakes = world.plan(&POD_CLEANER, "a/r").wake_at.map(Time::unix);
    assert_eq!(wakes, Some(world.context.now.unix() + 900));
    world.later(900);
    expect!["delete podcertificaterequests a/r"].assert_eq(&world.step(&POD_CLEANER, "a/r"));
}

#[test]
fn one_bundle_holds_the_ca_of_the_api_server() {
    let mut world = World::new(
        "
apiVersion: certificates.k8s.io/v1beta1
kind: ClusterTrustBundle
metadata: {name: 'kubernetes.io:kube-apiserver-serving:old'}
spec: {signerName: kubernetes.io/kube-apiserver-serving, trustBundle: OLD}
---
apiVersion: certificates.k8s.io/v1beta1
kind: ClusterTrustBundle
metadata: {name: other}
spec: {trustBundle: OTHER}
",
    );
    expect![[r#"
        create clustertrustbundles /kubernetes.io:kube-apiserver-serving:4b650e5c4785025dee7bd65e
        delete clustertrustbundles kubernetes.io:kube-apiserver-serving:old"#]]
    .assert_eq(&world.run(&PUBLISHER, "kube-system"));
    let name = "kubernetes.io:kube-apiserver-serving:4b650e5c4785025dee7bd65e";
    world.edit::<corten_api::certificates::v1beta1::ClusterTrustBundle>("", name, |b| {
        b.spec.trust_bundle = "CHANGED".into();
    });
    assert!(world.run(&PUBLISHER, "kube-system").starts_with("patch"));
    expect![""].assert_eq(&world.run(&PUBLISHER, "default"));
}
