//! CertificateSigningRequests. Signing and approving rights are decided by admission.

mod columns;
mod request;

pub use request::CertificateSigningRequests;
