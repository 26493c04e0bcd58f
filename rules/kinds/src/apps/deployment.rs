//! Deployments: defaults, generation (annotations count, because they are copied to ReplicaSets), table and scale.

use super::columns;
use crate::core::pod::default_pod_template;
use crate::rules::{Generation, Rules, with_status};
use crate::workload::{container_cells, name_warning};
use crate::{Column, Context, Scale, cells, selectors};
use corten_api::apps::v1::Deployment;
use corten_core::{IntOrString, Time, Value, semantic_eq};
use corten_meta::Selector;

/// The strategy of Deployments.
pub struct Deployments;

impl Rules for Deployments {
    type Of = Deployment;
    const GENERATION: Generation = Generation::Counted;
    with_status!();

    fn default(&self, obj: &mut Deployment) {
        default_pod_template(&mut obj.spec.template);
        let spec = &mut obj.spec;
        spec.replicas.get_or_insert(1);
        let strategy = &mut spec.strategy;
        if strategy.type_.is_empty() {
            strategy.type_ = "RollingUpdate".into();
        }
        if strategy.type_ == "RollingUpdate" {
            let rolling = strategy.rolling_update.get_or_insert_default();
            rolling
                .max_unavailable
                .get_or_insert_with(|| IntOrString::from("25%"));
            rolling
                .max_surge
                .get_or_insert_with(|| IntOrString::from("25%"));
        }
        spec.revision_history_limit.get_or_insert(10);
        spec.progress_deadline_seconds.get_or_insert(600);
    }
    fn prepare_update(&self, _cx: &Context, part: &str, new: &mut Deployment, old: &Deployment) {
        if part == "status" {
            new.metadata.labels = old.metadata.labels.clone();
        }
    }
    fn is_new_generation(&self, new: &Deployment, old: &Deployment) -> bool {
        let (a, b) = (&new.metadata.annotations, &old.metadata.annotations);
        !semantic_eq(&new.spec, &old.spec)
            || a.len() != b.len()
            || a.iter().any(|(k, v)| b.get(k) != Some(v))
    }
    fn warnings(&self, _cx: &Context, new: &Deployment, old: Option<&Deployment>) -> Vec<String> {
        if old.is_some() {
            return vec![];
        }
        name_warning(&new.metadata.name).into_iter().collect()
    }
    fn columns(&self) -> &'static [Column] {
        &columns::DEPLOYMENT
    }
    fn cells(&self, obj: &Deployment, now: &Time) -> Vec<Value> {
        let selector = Selector::from_label_selector(obj.spec.selector.as_deref());
        let [names, images] = container_cells(&obj.spec.template.spec.containers);
        vec![
            Value::from(&obj.metadata.name),
            Value::from(format!(
                "{}/{}",
                obj.status.ready_replicas,
                obj.spec.replicas.unwrap_or(0)
            )),
            Value::from(obj.status.updated_replicas),
            Value::from(obj.status.available_replicas),
            cells::age(&obj.metadata.creation_timestamp, now),
            names,
            images,
            Value::from(selector.map_or("<invalid>".to_owned(), |s| s.to_string())),
        ]
    }
    fn scale(&self, obj: &Deployment) -> Option<Scale> {
        Some(Scale {
            replicas: obj.spec.replicas.unwrap_or(0),
            status_replicas: obj.status.replicas,
            selector: selectors::scale_text(obj.spec.selector.as_deref()),
        })
    }
    fn set_scale(&self, obj: &mut Deployment, replicas: i32) {
        obj.spec.replicas = Some(replicas);
    }
}
