//! ReplicationControllers: selector and labels default to the template's; they can be scaled.

use super::columns;
use super::pod::default_pod_template;
use super::podtemplate::container_names;
use crate::rules::{Rules, with_status};
use crate::{Column, DeleteAnswer, Generation, Propagation, Scale, cells};
use corten_api::core::v1::ReplicationController;
use corten_core::{Str, Time, Value};

/// The strategy of ReplicationControllers.
pub struct ReplicationControllers;

impl Rules for ReplicationControllers {
    type Of = ReplicationController;
    const GENERATION: Generation = Generation::Counted;
    with_status!();

    fn default(&self, controller: &mut ReplicationController) {
        controller.spec.replicas.get_or_insert(1);
        let Some(template) = &mut controller.spec.template else {
            return;
        };
        let labels = &template.metadata.labels;
        if !labels.is_nil() {
            if controller.spec.selector.is_empty() {
                controller.spec.selector = labels.clone();
            }
            if controller.metadata.labels.is_empty() {
                controller.metadata.labels = labels.clone();
            }
        }
        default_pod_template(template);
    }
    fn columns(&self) -> &'static [Column] {
        &columns::REPLICATION_CONTROLLER
    }
    fn cells(&self, controller: &ReplicationController, now: &Time) -> Vec<Value> {
        let (names, images) = controller
            .spec
            .template
            .as_ref()
            .map(|t| container_names(&t.spec))
            .unwrap_or_default();
        vec![
            Value::from(&controller.metadata.name),
            Value::from(controller.spec.replicas.unwrap_or(0)),
            Value::from(controller.status.replicas),
            Value::from(controller.status.ready_replicas),
            cells::age(&controller.metadata.creation_timestamp, now),
            Value::from(names),
            Value::from(images),
            Value::from(cells::labels(&controller.spec.selector)),
        ]
    }
    fn field_labels(&self) -> &'static [&'static str] {
        &["status.replicas"]
    }
    fn field_values(&self, controller: &ReplicationController) -> Vec<Str> {
        vec![controller.status.replicas.to_string().into()]
    }
    fn delete_answer(&self) -> DeleteAnswer {
        DeleteAnswer::Status
    }
    fn default_propagation(&self) -> Propagation {
        Propagation::Orphan
    }
    fn scale(&self, controller: &ReplicationController) -> Option<Scale> {
        let pairs: Vec<String> = controller
            .spec
            .selector
            .iter()
            .map(|(k, v)| format!("{k}={v}"))
            .collect();
        Some(Scale {
            replicas: controller.spec.replicas.unwrap_or(0),
            status_replicas: controller.status.replicas,
            selector: pairs.join(","),
        })
    }
    fn set_scale(&self, controller: &mut ReplicationController, replicas: i32) {
        controller.spec.replicas = Some(replicas);
    }
}
