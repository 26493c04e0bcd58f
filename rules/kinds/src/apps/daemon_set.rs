//! DaemonSets: defaults, table, and the generation of the template, which lives in an annotation.

use super::columns;
use crate::core::pod::default_pod_template;
use crate::rules::{Generation, Rules, with_status};
use crate::workload::container_cells;
use crate::{Column, Context, cells, selectors};
use corten_api::apps::v1::DaemonSet;
use corten_core::{IntOrString, Time, Value, semantic_eq};

/// The strategy of DaemonSets.
pub struct DaemonSets;

/// Counts changes of the template.
const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

fn template_generation(obj: &DaemonSet) -> i64 {
    obj.metadata
        .annotation(TEMPLATE_GENERATION)
        .parse()
        .unwrap_or(0)
}

impl Rules for DaemonSets {
    type Of = DaemonSet;
    const GENERATION: Generation = Generation::Counted;
    with_status!();

    fn default(&self, obj: &mut DaemonSet) {
        default_pod_template(&mut obj.spec.template);
        let strategy = &mut obj.spec.update_strategy;
        if strategy.type_.is_empty() {
            strategy.type_ = "RollingUpdate".into();
        }
        if strategy.type_ == "RollingUpdate" {
            let rolling = strategy.rolling_update.get_or_insert_default();
            rolling.max_unavailable.get_or_insert(IntOrString::Int(1));
            rolling.max_surge.get_or_insert(IntOrString::Int(0));
        }
        obj.spec.revision_history_limit.get_or_insert(10);
    }
    fn prepare_create(&self, _cx: &Context, new: &mut DaemonSet) {
        let at_least_one = template_generation(new).max(1);
        new.metadata
            .annotations
            .insert(TEMPLATE_GENERATION, at_least_one.to_string());
    }
    fn prepare_update(&self, _cx: &Context, part: &str, new: &mut DaemonSet, old: &DaemonSet) {
        let changed = part != "status" && !semantic_eq(&new.spec.template, &old.spec.template);
        let generation = template_generation(old) + i64::from(changed);
        new.metadata
            .annotations
            .insert(TEMPLATE_GENERATION, generation.to_string());
    }
    fn columns(&self) -> &'static [Column] {
        &columns::DAEMON_SET
    }
    fn cells(&self, obj: &DaemonSet, now: &Time) -> Vec<Value> {
        let [names, images] = container_cells(&obj.spec.template.spec.containers);
        let status = &obj.status;
        vec![
            Value::from(&obj.metadata.name),
            Value::from(status.desired_number_scheduled),
            Value::from(status.current_number_scheduled),
            Value::from(status.number_ready),
            Value::from(status.updated_number_scheduled),
            Value::from(status.number_available),
            Value::from(cells::labels(&obj.spec.template.spec.node_selector)),
            cells::age(&obj.metadata.creation_timestamp, now),
            names,
            images,
            Value::from(selectors::text(obj.spec.selector.as_deref())),
        ]
    }
}
