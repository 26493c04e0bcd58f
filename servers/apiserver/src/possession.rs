//! Whether whoever asks for a pod's certificate holds the key: the signature in a PodCertificateRequest.
//!
//! Leaves out what else a request must be, which is looked at before (`corten_kinds::certificates`).

use aws_lc_rs::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use corten_api::Object;
use corten_api::certificates::v1beta1::{PodCertificateRequest, PodCertificateRequestSpec};
use corten_kinds::FieldError;
use corten_kinds::certificates::{Curve, KeyKind, PublicKey, Request, unproven};

/// What is wrong with the proof in a new object that is fine otherwise; nothing of other kinds.
pub(crate) fn check(object: &Object) -> Option<FieldError> {
    let request = object.downcast_ref::<PodCertificateRequest>()?;
    match holds(&request.spec) {
        Some(true) => None,
        _ => Some(unproven(&request.spec)),
    }
}

fn holds(spec: &PodCertificateRequestSpec) -> Option<bool> {
    if spec.stub_pkcs10_request.is_empty() {
        let key = PublicKey::parse(&spec.pkix_public_key)?.ok()?;
        let by = of_key(key.kind)?;
        return Some(verifies(
            by,
            &key,
            spec.pod_uid.as_bytes(),
            &spec.proof_of_possession,
        ));
    }
    let request = Request::parse(&spec.stub_pkcs10_request)?;
    let key = PublicKey::parse(request.key)?.ok()?;
    let by = of_request(key.kind, request.algorithm)?;
    Some(verifies(by, &key, request.signed, request.signature))
}

type Algorithm = &'static dyn VerificationAlgorithm;

fn verifies(by: Algorithm, key: &PublicKey, signed: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(by, key.bits)
        .verify(signed, signature)
        .is_ok()
}

/// How the proof beside a bare key is signed.
fn of_key(kind: KeyKind) -> Option<Algorithm> {
    Some(match kind {
        KeyKind::Ed25519 => &signature::ED25519,
        KeyKind::Elliptic(Curve::P256) => &signature::ECDSA_P256_SHA256_ASN1,
        KeyKind::Elliptic(Curve::P384) => &signature::ECDSA_P384_SHA256_ASN1,
        KeyKind::Elliptic(Curve::P521) => &signature::ECDSA_P521_SHA256_ASN1,
        KeyKind::Elliptic(Curve::P224) => return None,
        KeyKind::Rsa(_) => &signature::RSA_PSS_2048_8192_SHA256,
    })
}

/// How a request is signed, by its key and the object identifier of the algorithm.
fn of_request(kind: KeyKind, algorithm: &[u8]) -> Option<Algorithm> {
    const ECDSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03];
    const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01];
    let (&last, family) = algorithm.split_last()?;
    Some(match (kind, last) {
        (KeyKind::Ed25519, _) => &signature::ED25519,
        (KeyKind::Elliptic(curve), 2..=4) if family == ECDSA => match (curve, last) {
            (Curve::P256, 2) => &signature::ECDSA_P256_SHA256_ASN1,
            (Curve::P256, 3) => &signature::ECDSA_P256_SHA384_ASN1,
            (Curve::P256, _) => &signature::ECDSA_P256_SHA512_ASN1,
            (Curve::P384, 2) => &signature::ECDSA_P384_SHA256_ASN1,
            (Curve::P384, 3) => &signature::ECDSA_P384_SHA384_ASN1,
            (Curve::P384, _) => &signature::ECDSA_P384_SHA512_ASN1,
            (Curve::P521, 2) => &signature::ECDSA_P521_SHA256_ASN1,
            (Curve::P521, 3) => &signature::ECDSA_P521_SHA384_ASN1,
            (Curve::P521, _) => &signature::ECDSA_P521_SHA512_ASN1,
            (Curve::P224, _) => return None,
        },
        (KeyKind::Rsa(_), 11) if family == RSA => &signature::RSA_PKCS1_2048_8192_SHA256,
        (KeyKind::Rsa(_), 12) if family == RSA => &signature::RSA_PKCS1_2048_8192_SHA384,
        (KeyKind::Rsa(_), 13) if family == RSA => &signature::RSA_PKCS1_2048_8192_SHA512,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::PublicKeyData as _;
    use rcgen::{
        CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PKCS_RSA_SHA256,
    };

    fn request(key: &KeyPair) -> PodCertificateRequestSpec {
        let params = CertificateParams::default();
        let request = params.serialize_request(key).expect("a request");
        PodCertificateRequestSpec {
            stub_pkcs10_request: request.der().as_ref().into(),
            ..Default::default()
        }
    }

    #[test]
    fn a_request_is_signed_with_its_own_key() {
        for algorithm in [&PKCS_ECDSA_P256_SHA256, &PKCS_ED25519, &PKCS_RSA_SHA256] {
            let key = KeyPair::generate_for(algorithm).expect("a key");
            let mut spec = request(&key);
            assert_eq!(holds(&spec), Some(true));
            let mut forged = spec.stub_pkcs10_request.to_vec();
            let last = forged.len() - 1;
            forged[last] ^= 1;
            spec.stub_pkcs10_request = forged.as_slice().into();
            assert_eq!(holds(&spec), Some(false));
        }
    }

    #[test]
    fn a_bare_key_signs_the_uid_of_the_pod() {
        let key = KeyPair::generate_for(&PKCS_ED25519).expect("a key");
        let pair = aws_lc_rs::signature::Ed25519KeyPair::from_pkcs8(key.serialized_der());
        let mut spec = PodCertificateRequestSpec {
            pod_uid: "uid".into(),
            pkix_public_key: key.subject_public_key_info().as_slice().into(),
            proof_of_possession: pair.expect("the key").sign(b"uid").as_ref().into(),
            ..Default::default()
        };
        assert_eq!(holds(&spec), Some(true));
        spec.pod_uid = "other".into();
        assert_eq!(holds(&spec), Some(false));
        let object = PodCertificateRequest {
            spec,
            ..Default::default()
        };
        let told = check(&Object::from(object))
            .expect("it is wrong")
            .to_string();
        assert_eq!(
            told,
            "spec.proofOfPossession: Invalid value: could not verify proof-of-possession signature"
        );
    }
}
