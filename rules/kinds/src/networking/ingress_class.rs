//! IngressClasses: defaults, generation, table.

use super::ingress_validation::kind_and_name;
use super::{columns, domain_prefixed_path};
use crate::checks::{Errors, dns_label, dns_subdomain, immutable};
use crate::rules::{Generation, Rules};
use crate::{Column, Context, FieldError, cells};
use corten_api::networking::v1::{IngressClass, IngressClassSpec};
use corten_core::{Path, Time, Value};

/// The strategy of IngressClasses.
pub struct IngressClasses;

impl Rules for IngressClasses {
    type Of = IngressClass;
    const GENERATION: Generation = Generation::Counted;

    fn default(&self, obj: &mut IngressClass) {
        if let Some(parameters) = &mut obj.spec.parameters {
            parameters.scope.get_or_insert_with(|| "Cluster".into());
        }
    }
    fn validate_create(&self, _cx: &Context, new: &IngressClass) -> Vec<FieldError> {
        validate(&new.spec)
    }
    fn validate_update(
        &self,
        _cx: &Context,
        _part: &str,
        new: &IngressClass,
        old: &IngressClass,
    ) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let path = Path::Root.f("spec");
        let same = new.spec.controller == old.spec.controller;
        immutable(
            &mut errors,
            &path.f("controller"),
            same,
            &new.spec.controller,
        );
        errors.extend(validate(&new.spec));
        errors
    }
    fn columns(&self) -> &'static [Column] {
        &columns::INGRESS_CLASS
    }
    fn cells(&self, obj: &IngressClass, now: &Time) -> Vec<Value> {
        let is_default = obj
            .metadata
            .annotation("ingressclass.kubernetes.io/is-default-class")
            == "true";
        let suffix = if is_default { " (default)" } else { "" };
        let parameters = obj.spec.parameters.as_ref().map(|p| match &p.api_group {
            Some(group) => format!("{}.{group}/{}", p.kind, p.name),
            None => format!("{}/{}", p.kind, p.name),
        });
        vec![
            Value::from(format!("{}{suffix}", obj.metadata.name)),
            Value::from(&obj.spec.controller),
            Value::from(parameters.unwrap_or_else(|| "<none>".to_owned())),
            cells::age(&obj.metadata.creation_timestamp, now),
        ]
    }
}

fn validate(spec: &IngressClassSpec) -> Errors {
    let mut errors = Vec::new();
    let path = Path::Root.f("spec");
    if spec.controller.len() > 250 {
        errors.push(FieldError::too_long(path.f("controller"), 250));
    }
    errors.extend(domain_prefixed_path(
        &path.f("controller"),
        &spec.controller,
    ));
    let Some(parameters) = &spec.parameters else {
        return errors;
    };
    let path = path.f("parameters");
    if let Some(group) = &parameters.api_group {
        dns_subdomain(&mut errors, &path.f("apiGroup"), group);
    }
    kind_and_name(&mut errors, &path, &parameters.kind, &parameters.name);
    let namespace_path = path.f("namespace");
    match (parameters.scope.as_deref(), &parameters.namespace) {
        (None, _) => errors.push(FieldError::required(path.f("scope"), "")),
        (Some("Namespace"), None) => {
            let text = "`parameters.scope` is set to 'Namespace'";
            errors.push(FieldError::required(namespace_path, text));
        }
        (Some("Namespace"), Some(name)) => dns_label(&mut errors, &namespace_path, name),
        (Some("Cluster"), Some(_)) => {
            let text = "`parameters.scope` is set to 'Cluster'";
            errors.push(FieldError::forbidden(namespace_path, text));
        }
        (Some("Cluster"), None) => {}
        (Some(other), _) => {
            let known = ["Cluster", "Namespace"];
            errors.push(FieldError::not_supported(path.f("scope"), other, &known));
        }
    }
    errors
}
