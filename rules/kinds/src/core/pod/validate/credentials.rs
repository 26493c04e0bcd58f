//! Trust bundles and certificates as sources of projected volumes. Leaves out whether two sources claim the same path.

use crate::FieldError;
use crate::certificates::{
    LIFE_MIN, life_max, name_problems, validate_signer, validate_user_annotations,
};
use crate::checks::{Errors, file_path, known, required};
use crate::metadata::{SelectorValues, validate_selector};
use corten_api::core::v1::{ClusterTrustBundleProjection, PodCertificateProjection};
use corten_core::Path;

const KEY_TYPES: [&str; 6] = [
    "RSA3072",
    "RSA4096",
    "ECDSAP256",
    "ECDSAP384",
    "ECDSAP521",
    "ED25519",
];

/// The files that a certificate is written to, by the field that names each.
pub(super) fn certificate_paths(source: &PodCertificateProjection) -> [(&'static str, &str); 3] {
    [
        ("credentialBundlePath", &source.credential_bundle_path),
        ("keyPath", &source.key_path),
        ("certificateChainPath", &source.certificate_chain_path),
    ]
}

/// A certificate for the pod.
pub(super) fn pod_certificate(errors: &mut Errors, path: &Path, source: &PodCertificateProjection) {
    validate_signer(errors, &path.f("signerName"), &source.signer_name);
    validate_user_annotations(errors, &path.f("userAnnotations"), &source.user_annotations);
    known(errors, &path.f("keyType"), &source.key_type, &KEY_TYPES);
    if let Some(seconds) = source.max_expiration_seconds {
        let most = life_max(&source.signer_name);
        let at = path.f("maxExpirationSeconds");
        if seconds < LIFE_MIN {
            let text = format!("if provided, maxExpirationSeconds must be >= {LIFE_MIN}");
            errors.push(FieldError::invalid(&at, seconds, text));
        }
        if seconds > most {
            let text = format!("if provided, maxExpirationSeconds must be <= {most}");
            errors.push(FieldError::invalid(&at, seconds, text));
        }
    }
    let given = certificate_paths(source);
    let mut given = given
        .into_iter()
        .filter(|(_, file)| !file.is_empty())
        .peekable();
    if given.peek().is_none() {
        let text =
            "specify at least one of credentialBundlePath, keyPath, and certificateChainPath";
        errors.push(FieldError::required(path, text));
    }
    for (field, file) in given {
        file_path(errors, &path.f(field), file);
    }
}

/// A trust bundle, by its name or by its signer.
pub(super) fn trust_bundle(
    errors: &mut Errors,
    path: &Path,
    bundle: &ClusterTrustBundleProjection,
) {
    match (&bundle.name, &bundle.signer_name) {
        (Some(_), Some(_)) => {
            let shown = crate::metadata::value_of(bundle);
            errors.push(FieldError::invalid(
                path,
                shown,
                "only one of name and signerName may be used",
            ));
        }
        (Some(name), None) => {
            if name.is_empty() {
                errors.push(FieldError::required(
                    path.f("name"),
                    "must be a valid object name",
                ));
            }
            let signer = name
                .rsplit_once(':')
                .map(|(signer, _)| signer.replace(':', "/"));
            for problem in name_problems(signer.as_deref().unwrap_or_default(), name) {
                let text = format!("not a valid clustertrustbundlename: {problem}");
                errors.push(FieldError::invalid(path.f("name"), name, text));
            }
            if let Some(selector) = &bundle.label_selector {
                let text = "labelSelector must be unset if name is specified";
                let shown = crate::metadata::value_of(&**selector);
                errors.push(FieldError::invalid(path.f("labelSelector"), shown, text));
            }
        }
        (None, Some(signer)) => {
            if signer.is_empty() {
                errors.push(FieldError::required(
                    path.f("signerName"),
                    "must be a valid signer name",
                ));
            }
            validate_signer(errors, &path.f("signerName"), signer);
            if let Some(selector) = &bundle.label_selector {
                errors.extend(validate_selector(
                    selector,
                    SelectorValues::Checked,
                    &path.f("labelSelector"),
                ));
            }
        }
        (None, None) => errors.push(FieldError::required(
            path,
            "either name or signerName must be specified",
        )),
    }
    required(errors, &path.f("path"), &bundle.path);
    file_path(errors, &path.f("path"), &bundle.path);
}
