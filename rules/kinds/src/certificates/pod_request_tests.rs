//! Requests of pods and the answers of signers; the texts are upstream's.

use super::PodCertificateRequests;
use super::der::{Certificate, blocks};
use crate::{Caller, Context, FieldError, Rules};
use corten_api::certificates::v1beta1::PodCertificateRequest;
use corten_api::meta::v1::Condition;
use corten_core::Time;
use corten_meta::Snapshot;

const REQUEST: &str = include_str!("testdata/pod.csr.pem");
const CERTIFICATE: &str = include_str!("testdata/pod.pem");
/// On a curve that nobody takes.
const SHORT: &str = include_str!("testdata/short.csr.pem");
const OTHER: &str = include_str!("testdata/leaf.pem");

fn der(pem: &str) -> Vec<u8> {
    blocks(pem).next().expect("a block").bytes
}

fn request() -> PodCertificateRequest {
    let mut request = PodCertificateRequest::default();
    request.metadata.name = "r".into();
    let spec = &mut request.spec;
    spec.signer_name = "example.com/signer".into();
    spec.pod_name = "p".into();
    spec.service_account_name = "s".into();
    spec.node_name = "n".into();
    for uid in [
        &mut spec.pod_uid,
        &mut spec.service_account_uid,
        &mut spec.node_uid,
    ] {
        *uid = "u".into();
    }
    spec.stub_pkcs10_request = der(REQUEST).as_slice().into();
    PodCertificateRequests.default(&mut request);
    request
}

fn texts(errors: Vec<FieldError>) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}

fn in_context<T>(now: Time, run: impl FnOnce(&Context) -> T) -> T {
    run(&Context {
        snapshot: &Snapshot::new(),
        now,
        caller: Caller::default(),
        random: 1,
    })
}

fn created(change: impl FnOnce(&mut PodCertificateRequest)) -> Vec<String> {
    let mut new = request();
    change(&mut new);
    in_context(Time::default(), |cx| {
        texts(PodCertificateRequests.validate_create(cx, &new))
    })
}

#[test]
fn a_request_names_its_pod_and_holds_a_request_for_its_key() {
    assert_eq!(created(|_| {}), Vec::<String>::new());
    assert_eq!(
        created(|r| r.spec.max_expiration_seconds = Some(60)),
        ["spec.maxExpirationSeconds: Invalid value: 60: must be in the range [3600, 7862400]"]
    );
    let own = |r: &mut PodCertificateRequest| {
        r.spec.signer_name = "kubernetes.io/x".into();
        r.spec.max_expiration_seconds = Some(90_000);
    };
    assert_eq!(
        created(own),
        ["spec.maxExpirationSeconds: Invalid value: 90000: must be in the range [3600, 86400]"]
    );
    assert_eq!(
        created(|r| r.spec.pod_uid = Default::default()),
        ["spec.podUID: Invalid value: \"\": must not be empty"]
    );
    assert_eq!(
        created(|r| r.spec.stub_pkcs10_request = Default::default()),
        [
            "spec: Invalid value: exactly one of (stubPKCS10Request) or (pkixPublicKey, proofOfPossession) must be set"
        ]
    );
    assert_eq!(
        created(|r| r.spec.stub_pkcs10_request = b"no".as_slice().into()),
        ["spec.stubPKCS10Request: Invalid value: must be a valid PKCS#10 CSR"]
    );
    assert_eq!(
        created(|r| r.spec.stub_pkcs10_request = der(SHORT).as_slice().into()),
        [
            "spec.stubPKCS10Request: Invalid value: \"curve P-224\": elliptic public keys must use curve P256, P384, or P521"
        ]
    );
    let annotated = |r: &mut PodCertificateRequest| {
        r.spec.unverified_user_annotations.insert("bare", "x");
    };
    assert_eq!(
        created(annotated),
        [
            "spec.unverifiedUserAnnotations: Invalid value: \"bare\": must be a domain-prefixed key (such as \"acme.io/foo\")"
        ]
    );
}

fn settled(kind: &str, now: Time) -> PodCertificateRequest {
    let mut request = request();
    request.status.conditions.push(Condition {
        type_: kind.into(),
        status: "True".into(),
        reason: "Because".into(),
        last_transition_time: now,
        ..Condition::default()
    });
    request
}

/// Issued as it should be, but for what `change` changes.
fn answered(change: impl FnOnce(&mut PodCertificateRequest)) -> Vec<String> {
    let leaf = der(CERTIFICATE);
    let leaf = Certificate::parse(&leaf).expect("a certificate");
    let mut new = settled("Issued", leaf.not_before);
    new.status.certificate_chain = CERTIFICATE.into();
    new.status.not_before = Some(leaf.not_before);
    new.status.not_after = Some(leaf.not_after);
    new.status.begin_refresh_at = Some(leaf.not_before.plus_seconds(3600));
    change(&mut new);
    in_context(leaf.not_before, |cx| {
        texts(PodCertificateRequests.validate_update(cx, "status", &new, &request()))
    })
}

#[test]
fn an_answer_is_for_the_key_and_tells_the_certificates_times() {
    assert_eq!(answered(|_| {}), Vec::<String>::new());
    let foreign = answered(|r| r.status.certificate_chain = OTHER.into());
    assert!(
        foreign[0].ends_with("leaf certificate was not issued to the requested public key"),
        "{foreign:?}"
    );
    assert_eq!(
        answered(|r| r.status.begin_refresh_at = None),
        [
            "status.beginRefreshAt: Required value: must be present and in the range [notbefore+10min, notafter-10min]"
        ]
    );
    assert_eq!(
        answered(|r| r.spec.max_expiration_seconds = Some(3600)),
        [
            "status.certificateChain: Invalid value: \"24h0m0s\": leaf certificate lifetime must be <= spec.maxExpirationSeconds (3600)"
        ]
    );
    let early = answered(|r| r.status.begin_refresh_at = r.status.not_before);
    assert!(early[0].ends_with("must be at least 10 minutes after status.notBefore"));
    let more = answered(|r| {
        r.status.certificate_chain = format!("{CERTIFICATE}{REQUEST}").into();
    });
    assert!(
        more[0].contains("must consist entirely of CERTFICATE PEM blocks"),
        "{more:?}"
    );
}

#[test]
fn what_is_settled_stays() {
    let now = Time::from_unix(1_800_000_000);
    let update = |new: &PodCertificateRequest, old: &PodCertificateRequest| {
        in_context(now, |cx| {
            texts(PodCertificateRequests.validate_update(cx, "status", new, old))
        })
    };
    let denied = settled("Denied", now);
    assert_eq!(update(&denied, &request()), Vec::<String>::new());
    assert_eq!(
        update(&settled("Failed", now), &denied),
        [
            "status: Invalid value: immutable after PodCertificateRequest is issued, denied, or failed"
        ]
    );
    let mut more = denied.clone();
    more.status.certificate_chain = "x".into();
    assert_eq!(
        update(&more, &request()),
        [
            "status: Invalid value: non-condition status fields must be empty when denying or failing the PodCertificateRequest"
        ]
    );
    assert_eq!(
        update(&settled("Maybe", now), &request()),
        [
            "status.conditions.[0].type: Unsupported value: \"Maybe\": supported values: \"Issued\", \"Denied\", \"Failed\""
        ]
    );
    let mut changed = request();
    changed.spec.pod_name = "q".into();
    let told = in_context(now, |cx| {
        texts(PodCertificateRequests.validate_update(cx, "", &changed, &request()))
    });
    assert!(told[0].ends_with("field is immutable"), "{told:?}");
}
