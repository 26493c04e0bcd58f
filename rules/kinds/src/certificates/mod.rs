//! CertificateSigningRequests, PodCertificateRequests and ClusterTrustBundles. Signing and approving rights are decided by
//! admission.

mod columns;
mod der;
mod pod_request;
#[cfg(test)]
mod pod_request_tests;
mod pod_status;
mod request;
mod trust_bundle;

pub use der::{Curve, KeyKind, PublicKey, Request, UnknownKey};
pub(crate) use pod_request::{LIFE_MIN, life_max, validate_user_annotations};
pub use pod_request::{PodCertificateRequests, unproven};
pub use request::CertificateSigningRequests;
pub(crate) use request::validate_signer;
pub use trust_bundle::ClusterTrustBundles;
pub(crate) use trust_bundle::name_problems;
