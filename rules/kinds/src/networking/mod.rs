//! Ingresses, IngressClasses, NetworkPolicies, IPAddresses, ServiceCIDRs: one file per kind.

mod columns;
mod ingress;
mod ingress_class;
mod ingress_validation;
mod ip_address;
mod network_policy;
mod paths;
mod service_cidr;

pub use ingress::Ingresses;
pub use ingress_class::IngressClasses;
pub use ip_address::IpAddresses;
pub use network_policy::NetworkPolicies;
pub(crate) use paths::domain_prefixed_path;
pub use service_cidr::ServiceCidrs;
