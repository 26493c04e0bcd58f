//! Events of events.k8s.io, which are stored as Events of the core group.

use corten_api::core::v1::{Event as CoreEvent, EventSeries as CoreSeries};
use corten_api::events::v1::{Event, EventSeries};
use corten_api::{Kind, Object};
use corten_meta::GroupVersionKind;

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
