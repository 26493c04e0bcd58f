//! What the access rules decide, on clusters written as YAML.

mod escalation;
mod limits;
mod node;
mod optional;
mod plugins;
mod pod_certificate;
mod pod_security;
mod quota;
mod rbac;
mod settings;
mod world;
