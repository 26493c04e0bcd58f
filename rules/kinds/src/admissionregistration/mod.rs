//! Webhook configurations, admission policies and their bindings.

mod binding;
mod columns;
mod matching;
mod policy;
mod webhooks;

pub use binding::{MutatingAdmissionPolicyBindings, ValidatingAdmissionPolicyBindings};
pub use policy::{MutatingAdmissionPolicies, ValidatingAdmissionPolicies};
pub use webhooks::{MutatingWebhookConfigurations, ValidatingWebhookConfigurations};
