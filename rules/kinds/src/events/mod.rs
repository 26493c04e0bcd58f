//! Events of events.k8s.io, which are stored as Events of the core group but validated more strictly.

use corten_api::core::v1::{Event as CoreEvent, EventSeries as CoreSeries};
use corten_api::events::v1::{Event, EventSeries};
use corten_api::{Kind, Object};
use corten_core::{Path, Str, Time, Value};
use corten_meta::GroupVersionKind;

use crate::checks::Errors;
use crate::core::event as stored;
use crate::rules::Rules;
use crate::{Column, Context, FieldError, internal};

/// The strategy of Events that come through this group, over their stored form.
pub struct Events;

impl Rules for Events {
    type Of = CoreEvent;

    fn validate_create(&self, _cx: &Context, new: &CoreEvent) -> Vec<FieldError> {
        let mut errors = stored::validate(new, "reportingController");
        validate_series(&mut errors, new);
        if new.event_time.is_zero() {
            errors.push(FieldError::required("eventTime", ""));
        }
        if !matches!(new.type_.as_str(), "Normal" | "Warning") {
            let text = format!("has invalid value: {}", new.type_);
            errors.push(FieldError::invalid("type", "", text));
        }
        for (field, unset) in [
            ("firstTimestamp", new.first_timestamp.is_zero()),
            ("lastTimestamp", new.last_timestamp.is_zero()),
            ("count", new.count == 0),
            (
                "source",
                new.source.component.is_empty() && new.source.host.is_empty(),
            ),
        ] {
            if !unset {
                errors.push(FieldError::invalid(field, "", "needs to be unset"));
            }
        }
        errors
    }
    fn validate_update(
        &self,
        _cx: &Context,
        _part: &str,
        new: &CoreEvent,
        old: &CoreEvent,
    ) -> Vec<FieldError> {
        let mut errors = stored::validate(new, "reportingController");
        if new.series != old.series {
            validate_series(&mut errors, new);
        }
        unchanged(&mut errors, new, old);
        errors
    }
    fn columns(&self) -> &'static [Column] {
        Rules::columns(&stored::Events)
    }
    fn cells(&self, event: &CoreEvent, now: &Time) -> Vec<Value> {
        Rules::cells(&stored::Events, event, now)
    }
    fn field_labels(&self) -> &'static [&'static str] {
        Rules::field_labels(&stored::Events)
    }
    fn field_values(&self, event: &CoreEvent) -> Vec<Str> {
        Rules::field_values(&stored::Events, event)
    }
    fn create_on_update(&self) -> bool {
        true
    }
}

fn validate_series(errors: &mut Errors, event: &CoreEvent) {
    let Some(series) = &event.series else { return };
    if series.count < 2 {
        errors.push(FieldError::invalid(
            "series.count",
            "",
            "should be at least 2",
        ));
    }
    if series.last_observed_time.is_zero() {
        errors.push(FieldError::required("series.lastObservedTime", ""));
    }
}

/// Of an event only its series changes.
fn unchanged(errors: &mut Errors, new: &CoreEvent, old: &CoreEvent) {
    let mut check = |field: &'static str, same: bool, value: Value| {
        crate::checks::immutable(errors, &Path::Root.f(field), same, value);
    };
    let same = new.involved_object == old.involved_object;
    check(
        "involvedObject",
        same,
        internal::printed(&new.involved_object),
    );
    check("reason", new.reason == old.reason, Value::from(&new.reason));
    check(
        "message",
        new.message == old.message,
        Value::from(&new.message),
    );
    check(
        "source",
        new.source == old.source,
        internal::printed(&new.source),
    );
    let (now, before) = (new.first_timestamp, old.first_timestamp);
    check(
        "firstTimestamp",
        now == before,
        Value::from(now.to_string()),
    );
    let (now, before) = (new.last_timestamp, old.last_timestamp);
    check("lastTimestamp", now == before, Value::from(now.to_string()));
    check(
        "count",
        new.count == old.count,
        Value::from(i64::from(new.count)),
    );
    // Upstream looks at it twice.
    check("reason", new.reason == old.reason, Value::from(&new.reason));
    check("type", new.type_ == old.type_, Value::from(&new.type_));
    let (now, before) = (new.event_time, old.event_time);
    check("eventTime", now == before, Value::from(now.to_string()));
    check("action", new.action == old.action, Value::from(&new.action));
    let shown = new
        .related
        .as_ref()
        .map_or(Value::Null, |r| internal::printed(&**r));
    check("related", new.related == old.related, shown);
    let (now, before) = (&new.reporting_controller, &old.reporting_controller);
    check("reportingController", now == before, Value::from(now));
    let (now, before) = (&new.reporting_instance, &old.reporting_instance);
    check("reportingInstance", now == before, Value::from(now));
}

/// An Event in the other group.
///
/// # Errors
/// When it is not an Event, or the version is not one of the two.
pub fn convert(obj: Object, to: &GroupVersionKind) -> Result<Object, String> {
    let from = obj.gvk().to_string();
    let wrong = |_: Object| format!("cannot convert {from} to {}", to.api_version());
    match (to.group.as_str(), to.version.as_str()) {
        ("", "v1") => Ok(to_core(*obj.downcast::<Event>().map_err(wrong)?).into()),
        ("events.k8s.io", "v1") => {
            Ok(from_core(*obj.downcast::<CoreEvent>().map_err(wrong)?).into())
        }
        _ => Err(wrong(obj)),
    }
}

/// The label under which a field is stored (in the core group) that selectors of events.k8s.io name otherwise.
pub fn stored_label(label: &str) -> &str {
    match label {
        "reportingController" => "reportingComponent",
        "regarding.kind" => "involvedObject.kind",
        "regarding.namespace" => "involvedObject.namespace",
        "regarding.name" => "involvedObject.name",
        "regarding.uid" => "involvedObject.uid",
        "regarding.apiVersion" => "involvedObject.apiVersion",
        "regarding.resourceVersion" => "involvedObject.resourceVersion",
        "regarding.fieldPath" => "involvedObject.fieldPath",
        other => other,
    }
}

fn to_core(event: Event) -> CoreEvent {
    CoreEvent {
        metadata: event.metadata,
        involved_object: event.regarding,
        reason: event.reason,
        message: event.note,
        source: event.deprecated_source,
        first_timestamp: event.deprecated_first_timestamp,
        last_timestamp: event.deprecated_last_timestamp,
        count: event.deprecated_count,
        type_: event.type_,
        event_time: event.event_time,
        series: event.series.map(|s| {
            Box::new(CoreSeries {
                count: s.count,
                last_observed_time: s.last_observed_time,
            })
        }),
        action: event.action,
        related: event.related,
        reporting_controller: event.reporting_controller,
        reporting_instance: event.reporting_instance,
        ..CoreEvent::new()
    }
}

fn from_core(event: CoreEvent) -> Event {
    Event {
        metadata: event.metadata,
        event_time: event.event_time,
        series: event.series.map(|s| {
            Box::new(EventSeries {
                count: s.count,
                last_observed_time: s.last_observed_time,
            })
        }),
        reporting_controller: event.reporting_controller,
        reporting_instance: event.reporting_instance,
        action: event.action,
        reason: event.reason,
        regarding: event.involved_object,
        related: event.related,
        note: event.message,
        type_: event.type_,
        deprecated_source: event.source,
        deprecated_first_timestamp: event.first_timestamp,
        deprecated_last_timestamp: event.last_timestamp,
        deprecated_count: event.count,
        ..Event::new()
    }
}
