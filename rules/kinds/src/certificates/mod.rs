//! CertificateSigningRequests and ClusterTrustBundles. Signing and approving rights are decided by admission.

mod columns;
mod request;
mod trust_bundle;

pub use request::CertificateSigningRequests;
pub use trust_bundle::ClusterTrustBundles;
