//! PodCertificateRequests: what a pod's certificate is asked for, and what a signer may answer.
//!
//! Invariant: the spec never changes, and neither does a status that settles the request. Leaves out whether the asker
//! holds the key, which needs cryptography, and who may ask and sign, which admission decides.

use super::columns;
use super::der::{Curve, KeyKind, PublicKey, Request};
use super::pod_status::validate_status;
use super::request::validate_signer;
use crate::checks::{self, Errors};
use crate::metadata::reset_for_status;
use crate::rules::{Rules, with_status};
use crate::{Column, Context, FieldError, cells};
use corten_api::certificates::v1beta1::{PodCertificateRequest, PodCertificateRequestSpec};
use corten_core::{MsgRef, Path, Str, Time, Value, semantic_eq};
use corten_meta::labels;

/// The strategy of PodCertificateRequests.
pub struct PodCertificateRequests;

/// The longest life that is asked for by default, seconds: a day.
const LIFE: i32 = 24 * 3600;
/// The shortest that may be asked for, seconds.
pub(crate) const LIFE_MIN: i32 = 3600;
/// The longest of other signers than Kubernetes' own, seconds.
const LIFE_MAX: i32 = 91 * 24 * 3600;
/// Bytes of a key, a proof or a request at most.
const SIZE_MAX: usize = 10 << 10;
const UID_MAX: usize = 128;
const ANNOTATIONS_MAX: usize = 256 << 10;
const UNKNOWN_KEY: &str = "unknown public key type; supported types are Ed25519, ECDSA, and RSA";

impl Rules for PodCertificateRequests {
    type Of = PodCertificateRequest;
    with_status!();

    fn default(&self, obj: &mut PodCertificateRequest) {
        obj.spec.max_expiration_seconds.get_or_insert(LIFE);
    }
    fn prepare_update(
        &self,
        _cx: &Context,
        part: &str,
        new: &mut PodCertificateRequest,
        old: &PodCertificateRequest,
    ) {
        if part == "status" {
            reset_for_status(&mut new.metadata, &old.metadata);
        }
    }
    fn validate_create(&self, _cx: &Context, new: &PodCertificateRequest) -> Vec<FieldError> {
        validate(&new.spec)
    }
    fn validate_update(
        &self,
        cx: &Context,
        part: &str,
        new: &PodCertificateRequest,
        old: &PodCertificateRequest,
    ) -> Vec<FieldError> {
        match part {
            "status" => validate_status(new, old, cx.now),
            _ if semantic_eq(&new.spec, &old.spec) => Vec::new(),
            _ => {
                let shown = crate::metadata::value_of(&new.spec);
                vec![FieldError::immutable("spec", shown)]
            }
        }
    }
    fn unconditional_update(&self) -> bool {
        false
    }
    fn columns(&self) -> &'static [Column] {
        &columns::POD_CERTIFICATE_REQUEST
    }
    fn cells(&self, obj: &PodCertificateRequest, _now: &Time) -> Vec<Value> {
        let known = ["Issued", "Denied", "Failed"];
        let conditions = obj.status.conditions.iter().rev();
        let mut kinds = conditions.map(|c| c.type_.as_str());
        let state = kinds.find(|kind| known.contains(kind));
        vec![
            Value::from(&obj.metadata.name),
            Value::from(&obj.spec.pod_name),
            Value::from(&obj.spec.service_account_name),
            Value::from(&obj.spec.node_name),
            Value::from(&obj.spec.signer_name),
            Value::from(state.unwrap_or("Pending")),
            Value::from(cells::labels(&obj.spec.unverified_user_annotations)),
        ]
    }
    fn field_labels(&self) -> &'static [&'static str] {
        &["spec.signerName", "spec.podName", "spec.nodeName"]
    }
    fn field_values(&self, obj: &PodCertificateRequest) -> Vec<Str> {
        let spec = &obj.spec;
        vec![
            spec.signer_name.clone(),
            spec.pod_name.clone(),
            spec.node_name.clone(),
        ]
    }
}

/// The longest life that a signer's certificates may have, seconds.
pub(crate) fn life_max(signer: &str) -> i32 {
    let host = signer.split('/').next().unwrap_or_default();
    match host == "kubernetes.io" || host.ends_with(".kubernetes.io") {
        true => LIFE,
        false => LIFE_MAX,
    }
}

/// Keys with a domain, and their size with the values.
pub(crate) fn validate_user_annotations(
    errors: &mut Errors,
    path: &Path,
    map: &corten_core::Map<Str>,
) {
    let mut size = 0;
    for (key, value) in map {
        size += key.len() + value.len();
        let key = key.to_lowercase();
        if key.is_empty() {
            errors.push(FieldError::required(path, ""));
            continue;
        }
        let wrong = labels::invalid_key(&key);
        if wrong.is_empty() && !key.contains('/') {
            let text = "must be a domain-prefixed key (such as \"acme.io/foo\")";
            errors.push(FieldError::invalid(path, key.as_str(), text));
        }
        checks::invalid_each(errors, path, &key, wrong);
    }
    if size > ANNOTATIONS_MAX {
        errors.push(FieldError::too_long(path, ANNOTATIONS_MAX));
    }
}

/// One of the three objects that the request is about.
fn party(
    errors: &mut Errors,
    path: &Path,
    (name_field, name): (&str, &str),
    (uid_field, uid): (&str, &str),
) {
    checks::dns_subdomain(errors, &path.f(name_field), name);
    if uid.is_empty() {
        errors.push(FieldError::invalid(
            path.f(uid_field),
            "",
            "must not be empty",
        ));
    }
    if uid.len() > UID_MAX {
        errors.push(FieldError::too_long(path.f(uid_field), UID_MAX));
    }
}

fn validate(spec: &PodCertificateRequestSpec) -> Errors {
    let mut errors = Vec::new();
    let path = Path::Root.f("spec");
    validate_signer(&mut errors, &path.f("signerName"), &spec.signer_name);
    let annotations = &spec.unverified_user_annotations;
    validate_user_annotations(
        &mut errors,
        &path.f("unverifiedUserAnnotations"),
        annotations,
    );
    let parties = [
        (("podName", &spec.pod_name), ("podUID", &spec.pod_uid)),
        (
            ("serviceAccountName", &spec.service_account_name),
            ("serviceAccountUID", &spec.service_account_uid),
        ),
        (("nodeName", &spec.node_name), ("nodeUID", &spec.node_uid)),
    ];
    for (name, uid) in parties {
        party(&mut errors, &path, (name.0, name.1), (uid.0, uid.1));
    }
    let at = path.f("maxExpirationSeconds");
    let Some(seconds) = spec.max_expiration_seconds else {
        errors.push(FieldError::required(at, "must be set"));
        return errors;
    };
    let most = life_max(&spec.signer_name);
    if !(LIFE_MIN..=most).contains(&seconds) {
        let text = format!("must be in the range [{LIFE_MIN}, {most}]");
        errors.push(FieldError::invalid(at, seconds, text));
    }
    let has_pair = !spec.pkix_public_key.is_empty() && !spec.proof_of_possession.is_empty();
    let has_none = spec.pkix_public_key.is_empty() && spec.proof_of_possession.is_empty();
    if !spec.stub_pkcs10_request.is_empty() && has_none {
        errors.extend(stub(&spec.stub_pkcs10_request).err());
    } else if spec.stub_pkcs10_request.is_empty() && has_pair {
        errors.extend(bare_key(spec));
    } else {
        let text =
            "exactly one of (stubPKCS10Request) or (pkixPublicKey, proofOfPossession) must be set";
        errors.push(FieldError::invalid(&path, Value::Null, text));
    }
    errors
}

const STUB: &str = "spec.stubPKCS10Request";

/// The request inside the request.
fn stub(der: &[u8]) -> Result<(), FieldError> {
    if der.len() > SIZE_MAX {
        return Err(FieldError::too_long(STUB, SIZE_MAX));
    }
    let malformed = || FieldError::invalid(STUB, Value::Null, "must be a valid PKCS#10 CSR");
    let request = Request::parse(der).ok_or_else(malformed)?;
    let key = PublicKey::parse(request.key).ok_or_else(malformed)?;
    let key = key.map_err(|_| FieldError::invalid(STUB, Value::Null, UNKNOWN_KEY))?;
    let curves = "elliptic public keys must use curve P256, P384, or P521";
    acceptable(key.kind, STUB, curves)
}

fn acceptable(kind: KeyKind, field: &str, curves: &str) -> Result<(), FieldError> {
    match kind {
        KeyKind::Elliptic(Curve::P224) => Err(FieldError::invalid(field, "curve P-224", curves)),
        KeyKind::Rsa(bits) if bits != 3072 && bits != 4096 => Err(FieldError::invalid(
            field,
            format!("{bits}-bit modulus"),
            "RSA keys must have modulus size 3072 or 4096",
        )),
        _ => Ok(()),
    }
}

/// The key and the proof that older kubelets send.
fn bare_key(spec: &PodCertificateRequestSpec) -> Option<FieldError> {
    let field = "spec.pkixPublicKey";
    if spec.pkix_public_key.len() > SIZE_MAX {
        return Some(FieldError::too_long(field, SIZE_MAX));
    }
    if spec.proof_of_possession.len() > SIZE_MAX {
        return Some(FieldError::too_long("spec.proofOfPossession", SIZE_MAX));
    }
    let invalid = |text: &str| {
        let shown = MsgRef::new(spec)
            .get("pkixPublicKey")
            .and_then(|r| r.to_value().ok());
        FieldError::invalid(field, shown.unwrap_or_default(), text)
    };
    let Some(key) = PublicKey::parse(&spec.pkix_public_key) else {
        return Some(invalid("must be a valid PKIX-serialized public key"));
    };
    let Ok(key) = key else {
        return Some(invalid(UNKNOWN_KEY));
    };
    let curves = "elliptic public keys must use curve P256 or P384";
    acceptable(key.kind, field, curves).err()
}

/// What the answer says when whoever asks does not hold the key.
pub fn unproven(spec: &PodCertificateRequestSpec) -> FieldError {
    match spec.stub_pkcs10_request.is_empty() {
        true => FieldError::invalid(
            "spec.proofOfPossession",
            Value::Null,
            "could not verify proof-of-possession signature",
        ),
        false => FieldError::invalid(STUB, Value::Null, "invalid signature"),
    }
}
