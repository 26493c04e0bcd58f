//! StatefulSets: defaults (those of their claims included), table and scale.

use super::{columns, stateful_set_validation as validate};
use crate::core::pod::warnings::of_template;
use crate::core::pod::{default_pod_template, default_resources};
use crate::rules::{Generation, Rules, with_status};
use crate::workload::container_cells;
use crate::{Column, Context, FieldError, Scale, cells, names, selectors};
use corten_api::apps::v1::StatefulSet;
use corten_api::core::v1::PersistentVolumeClaim;
use corten_core::{Time, Value};

/// The strategy of StatefulSets.
pub struct StatefulSets;

fn default_claim(claim: &mut PersistentVolumeClaim) {
    claim.api_version = "v1".into();
    claim.kind = "PersistentVolumeClaim".into();
    if claim.status.phase.is_empty() {
        claim.status.phase = "Pending".into();
    }
    claim
        .spec
        .volume_mode
        .get_or_insert_with(|| "Filesystem".into());
    default_resources(&mut claim.spec.resources.limits);
    default_resources(&mut claim.spec.resources.requests);
}

impl Rules for StatefulSets {
    type Of = StatefulSet;
    const GENERATION: Generation = Generation::Counted;
    with_status!();

    fn default(&self, obj: &mut StatefulSet) {
        let spec = &mut obj.spec;
        default_pod_template(&mut spec.template);
        spec.volume_claim_templates
            .iter_mut()
            .for_each(default_claim);
        if spec.pod_management_policy.is_empty() {
            spec.pod_management_policy = "OrderedReady".into();
        }
        let strategy = &mut spec.update_strategy;
        if strategy.type_.is_empty() {
            strategy.type_ = "RollingUpdate".into();
            strategy.rolling_update.get_or_insert_default();
        }
        if let Some(rolling) = strategy
            .rolling_update
            .as_mut()
            .filter(|_| strategy.type_ == "RollingUpdate")
        {
            rolling.partition.get_or_insert(0);
        }
        let retention = spec
            .persistent_volume_claim_retention_policy
            .get_or_insert_default();
        if retention.when_deleted.is_empty() {
            retention.when_deleted = "Retain".into();
        }
        if retention.when_scaled.is_empty() {
            retention.when_scaled = "Retain".into();
        }
        spec.replicas.get_or_insert(1);
        spec.revision_history_limit.get_or_insert(10);
    }
    fn prepare_create(&self, _cx: &Context, new: &mut StatefulSet) {
        drop_max_unavailable(new);
    }
    fn prepare_update(&self, _cx: &Context, _part: &str, new: &mut StatefulSet, old: &StatefulSet) {
        let rolling = old.spec.update_strategy.rolling_update.as_ref();
        if rolling.is_none_or(|r| r.max_unavailable.is_none()) {
            drop_max_unavailable(new);
        }
    }
    fn warnings(&self, _cx: &Context, new: &StatefulSet, old: Option<&StatefulSet>) -> Vec<String> {
        let negative = new.spec.revision_history_limit.is_some_and(|l| l < 0);
        let text = "spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is \
                    recommended";
        let before = old.map(|o| &o.spec.template);
        let mut all = of_template(&new.spec.template, before, "spec.template");
        all.extend(negative.then(|| text.to_owned()));
        all
    }
    fn validate_create(&self, _cx: &Context, new: &StatefulSet) -> Vec<FieldError> {
        validate::create(&new.spec)
    }
    fn validate_update(
        &self,
        _cx: &Context,
        part: &str,
        new: &StatefulSet,
        old: &StatefulSet,
    ) -> Vec<FieldError> {
        match part {
            "status" => validate::status(&new.status, &old.status),
            _ => validate::update(&new.spec, &old.spec),
        }
    }
    fn invalid_name(&self, name: &str, prefix: bool) -> Vec<String> {
        names::dns_label(&names::as_prefix(name, prefix))
    }
    fn columns(&self) -> &'static [Column] {
        &columns::STATEFUL_SET
    }
    fn cells(&self, obj: &StatefulSet, now: &Time) -> Vec<Value> {
        let [names, images] = container_cells(&obj.spec.template.spec.containers);
        vec![
            Value::from(&obj.metadata.name),
            Value::from(format!(
                "{}/{}",
                obj.status.ready_replicas,
                obj.spec.replicas.unwrap_or(0)
            )),
            cells::age(&obj.metadata.creation_timestamp, now),
            names,
            images,
        ]
    }
    fn scale(&self, obj: &StatefulSet) -> Option<Scale> {
        Some(Scale {
            replicas: obj.spec.replicas.unwrap_or(0),
            status_replicas: obj.status.replicas,
            selector: selectors::scale_text(obj.spec.selector.as_deref()),
        })
    }
    fn set_scale(&self, obj: &mut StatefulSet, replicas: i32) {
        obj.spec.replicas = Some(replicas);
    }
}

/// The field belongs to a feature that is off by default.
fn drop_max_unavailable(new: &mut StatefulSet) {
    if let Some(rolling) = new.spec.update_strategy.rolling_update.as_mut() {
        rolling.max_unavailable = None;
    }
}
