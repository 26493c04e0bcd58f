//! Webhook configurations, admission policies and their bindings.

mod binding;
pub(crate) mod client_config;
mod columns;
mod conditions;
mod expressions;
mod matching;
mod policy;
mod policy_validation;
mod type_checking;
mod webhook_validation;
mod webhooks;

pub use binding::{MutatingAdmissionPolicyBindings, ValidatingAdmissionPolicyBindings};
pub use expressions::{Compiler, Naming, Purpose};
pub use policy::{MutatingAdmissionPolicies, ValidatingAdmissionPolicies};
pub use type_checking::{kinds_to_check, message_schema, resource_type, type_warnings};
pub use webhooks::{MutatingWebhookConfigurations, ValidatingWebhookConfigurations};

#[cfg(test)]
mod tests;
