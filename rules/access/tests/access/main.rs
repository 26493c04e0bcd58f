//! What the access rules decide, on clusters written as YAML.

mod escalation;
mod node;
mod rbac;
mod world;
