//! APIServices: defaults, the availability of local ones, table.

use super::columns;
use crate::rules::{Rules, with_status};
use crate::{Column, Context, cells};
use corten_api::apiregistration::v1::{APIService, APIServiceCondition};
use corten_core::{Time, Value};

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
    fn unconditional_update(&self) -> bool {
        false
    }
}
