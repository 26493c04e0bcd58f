//! ReplicaSets: defaults, table and scale.

use super::columns;
use crate::core::pod::default_pod_template;
use crate::rules::{Generation, Rules, with_status};
use crate::workload::{container_cells, name_warning};
use crate::{Column, Context, Scale, cells, selectors};
use corten_api::apps::v1::ReplicaSet;
use corten_core::{Time, Value};

/// The strategy of ReplicaSets.
pub struct ReplicaSets;

impl Rules for ReplicaSets {
    type Of = ReplicaSet;
    const GENERATION: Generation = Generation::Counted;
    with_status!();

    fn default(&self, obj: &mut ReplicaSet) {
        default_pod_template(&mut obj.spec.template);
        obj.spec.replicas.get_or_insert(1);
    }
    fn warnings(&self, _cx: &Context, new: &ReplicaSet, old: Option<&ReplicaSet>) -> Vec<String> {
        if old.is_some() {
            return vec![];
        }
        name_warning(&new.metadata.name).into_iter().collect()
    }
    fn columns(&self) -> &'static [Column] {
        &columns::REPLICA_SET
    }
    fn cells(&self, obj: &ReplicaSet, now: &Time) -> Vec<Value> {
        let [names, images] = container_cells(&obj.spec.template.spec.containers);
        vec![
            Value::from(&obj.metadata.name),
            Value::from(obj.spec.replicas.unwrap_or(0)),
            Value::from(obj.status.replicas),
            Value::from(obj.status.ready_replicas),
            cells::age(&obj.metadata.creation_timestamp, now),
            names,
            images,
            Value::from(selectors::text(obj.spec.selector.as_deref())),
        ]
    }
    fn scale(&self, obj: &ReplicaSet) -> Option<Scale> {
        Some(Scale {
            replicas: obj.spec.replicas.unwrap_or(0),
            status_replicas: obj.status.replicas,
            selector: selectors::scale_text(obj.spec.selector.as_deref()),
        })
    }
    fn set_scale(&self, obj: &mut ReplicaSet, replicas: i32) {
        obj.spec.replicas = Some(replicas);
    }
}
