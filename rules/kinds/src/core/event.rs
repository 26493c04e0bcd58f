//! Events as they are stored (core/v1). Their twins of events.k8s.io are converted on the way in and out.

use super::columns;
use crate::checks::{self, Errors};
use crate::rules::Rules;
use crate::{Column, Context, FieldError, cells, names};
use corten_api::core::v1::Event;
use corten_core::{Path, Str, Time, Value};

/// The strategy of Events.
pub struct Events;

impl Rules for Events {
    type Of = Event;

    fn validate_create(&self, _cx: &Context, new: &Event) -> Vec<FieldError> {
        validate(new, "reportingComponent")
    }
    fn validate_update(
        &self,
        _cx: &Context,
        _part: &str,
        new: &Event,
        _old: &Event,
    ) -> Vec<FieldError> {
        validate(new, "reportingComponent")
    }
    fn checks_finalizers(&self) -> bool {
        false
    }
    fn invalid_name(&self, name: &str, prefix: bool) -> Vec<String> {
        names::path_segment(name, prefix)
    }
    fn columns(&self) -> &'static [Column] {
        &columns::EVENT
    }
    fn cells(&self, event: &Event, now: &Time) -> Vec<Value> {
        let at = |time: Time| cells::age(&time, now);
        let first = if event.first_timestamp.is_zero() {
            Time::from(event.event_time)
        } else {
            event.first_timestamp
        };
        let mut last = if event.last_timestamp.is_zero() {
            first
        } else {
            event.last_timestamp
        };
        let mut count = if event.count == 0 { 1 } else { event.count };
        if let Some(series) = &event.series {
            (last, count) = (Time::from(series.last_observed_time), series.count);
        }
        let object = &event.involved_object;
        let kind = object.kind.to_lowercase();
        let target = if object.name.is_empty() {
            kind
        } else {
            format!("{kind}/{}", object.name)
        };
        vec![
            at(last),
            Value::from(&event.type_),
            Value::from(&event.reason),
            Value::from(target),
            Value::from(&object.field_path),
            Value::from(source_text(event)),
            Value::from(event.message.trim()),
            at(first),
            Value::from(i64::from(count)),
            Value::from(&event.metadata.name),
        ]
    }
    fn field_labels(&self) -> &'static [&'static str] {
        &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ]
    }
    fn field_values(&self, event: &Event) -> Vec<Str> {
        let object = &event.involved_object;
        let source = if event.source.component.is_empty() {
            &event.reporting_controller
        } else {
            &event.source.component
        };
        vec![
            object.kind.clone(),
            object.namespace.clone(),
            object.name.clone(),
            object.uid.clone(),
            object.api_version.clone(),
            object.resource_version.clone(),
            object.field_path.clone(),
            event.reason.clone(),
            event.reporting_controller.clone(),
            source.clone(),
            event.type_.clone(),
        ]
    }
    fn create_on_update(&self) -> bool {
        true
    }
}

fn source_text(event: &Event) -> String {
    let first = |a: &Str, b: &Str| {
        if a.is_empty() {
            b.to_string()
        } else {
            a.to_string()
        }
    };
    let component = first(&event.source.component, &event.reporting_controller);
    let instance = first(&event.source.host, &event.reporting_instance);
    if instance.is_empty() {
        component
    } else {
        format!("{component}, {instance}")
    }
}

/// What holds for both forms of events. Events with a time are of the newer form.
pub(crate) fn validate(event: &Event, controller: &'static str) -> Errors {
    let mut errors = Vec::new();
    let (own, about) = (
        event.metadata.namespace.as_str(),
        event.involved_object.namespace.as_str(),
    );
    let fine = match (event.event_time.is_zero(), about.is_empty()) {
        (true, true) => matches!(own, "" | "default"),
        (true, false) => own == about,
        (false, true) => matches!(own, "default" | "kube-system"),
        (false, false) => true,
    };
    if !fine {
        errors.push(FieldError::invalid(
            "involvedObject.namespace",
            about,
            "does not match event.namespace",
        ));
    }
    if event.event_time.is_zero() {
        return errors;
    }
    let controller = Path::Root.f(controller);
    checks::required(&mut errors, &controller, &event.reporting_controller);
    checks::qualified_name(&mut errors, &controller, &event.reporting_controller);
    for (name, text, required, max) in [
        ("reportingInstance", &event.reporting_instance, true, 128),
        ("action", &event.action, true, 128),
        ("reason", &event.reason, true, 128),
        ("message", &event.message, false, 1024),
    ] {
        if required {
            checks::required(&mut errors, &Path::Root.f(name), text);
        }
        if text.len() > max {
            errors.push(FieldError::invalid(
                name,
                "",
                format!("can have at most {max} characters"),
            ));
        }
    }
    errors
}
