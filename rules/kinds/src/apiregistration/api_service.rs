//! APIServices: defaults, the availability of local ones, table.

use super::columns;
use crate::checks::{Errors, known};
use crate::names;
use crate::rules::{Rules, with_status};
use crate::{Column, Context, FieldError, FixedName, cells};
use corten_api::apiregistration::v1::{APIService, APIServiceCondition};
use corten_core::{Path, Time, Value};

/// The strategy of APIServices.
pub struct ApiServices;

impl Rules for ApiServices {
    type Of = APIService;
    with_status!();

    fn default(&self, obj: &mut APIService) {
        if let Some(service) = &mut obj.spec.service {
            service.port.get_or_insert(443);
        }
    }
    fn prepare_create(&self, cx: &Context, new: &mut APIService) {
        if new.spec.service.is_none() {
            new.status.conditions.push(APIServiceCondition {
                type_: "Available".into(),
                status: "True".into(),
                last_transition_time: cx.now,
                reason: "Local".into(),
                message: "Local APIServices are always available".into(),
            });
        }
    }
    fn prepare_update(&self, _cx: &Context, part: &str, new: &mut APIService, old: &APIService) {
        if part == "status" {
            new.metadata.labels = old.metadata.labels.clone();
            new.metadata.annotations = old.metadata.annotations.clone();
            new.metadata.finalizers = old.metadata.finalizers.clone();
            new.metadata.owner_references = old.metadata.owner_references.clone();
        }
    }
    fn validate_create(&self, _cx: &Context, new: &APIService) -> Vec<FieldError> {
        validate(new)
    }
    fn validate_update(
        &self,
        _cx: &Context,
        part: &str,
        new: &APIService,
        _old: &APIService,
    ) -> Vec<FieldError> {
        if part != "status" {
            return validate(new);
        }
        let mut errors = Vec::new();
        let path = Path::Root.f("status");
        let path = path.f("conditions");
        for (i, condition) in new.status.conditions.iter().enumerate() {
            let known_ = ["True", "False", "Unknown"];
            known(
                &mut errors,
                &path.i(i).f("status"),
                &condition.status,
                &known_,
            );
        }
        errors
    }
    fn columns(&self) -> &'static [Column] {
        &columns::API_SERVICE
    }
    fn cells(&self, obj: &APIService, now: &Time) -> Vec<Value> {
        let service = obj
            .spec
            .service
            .as_ref()
            .map(|s| format!("{}/{}", s.namespace, s.name));
        let available = obj
            .status
            .conditions
            .iter()
            .find(|c| c.type_ == "Available");
        let available = available.map(|c| {
            if c.status == "True" || c.reason.is_empty() {
                c.status.to_string()
            } else {
                format!("{} ({})", c.status, c.reason)
            }
        });
        vec![
            Value::from(&obj.metadata.name),
            Value::from(service.unwrap_or_else(|| "Local".to_owned())),
            Value::from(available.unwrap_or_else(|| "Unknown".to_owned())),
            cells::age(&obj.metadata.creation_timestamp, now),
        ]
    }
    fn invalid_name(&self, name: &str, prefix: bool) -> Vec<String> {
        names::path_segment(name, prefix)
    }
    fn unconditional_update(&self) -> bool {
        false
    }
    fn checks_finalizers(&self) -> bool {
        false
    }
    fn fixed_name(&self, new: &APIService) -> Option<FixedName> {
        let wanted = format!("{}.{}", new.spec.version, new.spec.group);
        let why = format!("must be `spec.version+\".\"+spec.group`: {wanted:?}");
        Some(FixedName {
            name: wanted,
            why,
            always: false,
        })
    }
}

fn validate(new: &APIService) -> Errors {
    let mut errors = Vec::new();
    let (path, spec) = (Path::Root.f("spec"), &new.spec);
    if spec.group.is_empty() && spec.version != "v1" {
        let text = "only v1 may have an empty group and it better be legacy kube";
        errors.push(FieldError::required(path.f("group"), text));
    }
    if !spec.group.is_empty() {
        crate::checks::dns_subdomain(&mut errors, &path.f("group"), &spec.group);
    }
    let wrong = names::dns_1035_label(&spec.version).into_iter();
    errors.extend(wrong.map(|m| FieldError::invalid(path.f("version"), &spec.version, m)));
    for (name, value, max) in [
        ("groupPriorityMinimum", spec.group_priority_minimum, 20_000),
        ("versionPriority", spec.version_priority, 1000),
    ] {
        if !(1..=max).contains(&value) {
            let text = format!("must be positive and less than {max}");
            errors.push(FieldError::invalid(path.f(name), value, text));
        }
    }
    let skip = path.f("insecureSkipTLSVerify");
    let Some(service) = &spec.service else {
        if !spec.ca_bundle.is_empty() {
            let bad = format!("{} bytes", spec.ca_bundle.len());
            let text = "local APIServices may not have a caBundle";
            errors.push(FieldError::invalid(path.f("caBundle"), bad, text));
        }
        if spec.insecure_skip_tls_verify {
            let text = "local APIServices may not have insecureSkipTLSVerify";
            errors.push(FieldError::invalid(skip, true, text));
        }
        return errors;
    };
    let inner = path.f("service");
    for (name, value) in [("namespace", &service.namespace), ("name", &service.name)] {
        if value.is_empty() {
            errors.push(FieldError::required(inner.f(name), ""));
        }
    }
    let port = service.port.unwrap_or(0);
    let wrong = names::port_number(i64::from(port));
    if !wrong.is_empty() {
        let text = format!("port is not valid: {}", wrong.join(", "));
        errors.push(FieldError::invalid(inner.f("port"), port, text));
    }
    if spec.insecure_skip_tls_verify && !spec.ca_bundle.is_empty() {
        let text = "may not be true if caBundle is present";
        errors.push(FieldError::invalid(skip, true, text));
    }
    errors
}
