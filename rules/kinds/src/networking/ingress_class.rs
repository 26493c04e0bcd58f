//! IngressClasses: defaults, generation, table.

use super::columns;
use crate::rules::{Generation, Rules};
use crate::{Column, cells};
use corten_api::networking::v1::IngressClass;
use corten_core::{Time, Value};

/// The strategy of IngressClasses.
pub struct IngressClasses;

impl Rules for IngressClasses {
    type Of = IngressClass;
    const GENERATION: Generation = Generation::Counted;

    fn default(&self, obj: &mut IngressClass) {
        if let Some(parameters) = &mut obj.spec.parameters {
            parameters.scope.get_or_insert_with(|| "Cluster".into());
        }
    }
    fn columns(&self) -> &'static [Column] {
        &columns::INGRESS_CLASS
    }
    fn cells(&self, obj: &IngressClass, now: &Time) -> Vec<Value> {
        let is_default = obj
            .metadata
            .annotation("ingressclass.kubernetes.io/is-default-class")
            == "true";
        let suffix = if is_default { " (default)" } else { "" };
        let parameters = obj.spec.parameters.as_ref().map(|p| match &p.api_group {
            Some(group) => format!("{}.{group}/{}", p.kind, p.name),
            None => format!("{}/{}", p.kind, p.name),
        });
        vec![
            Value::from(format!("{}{suffix}", obj.metadata.name)),
            Value::from(&obj.spec.controller),
            Value::from(parameters.unwrap_or_else(|| "<none>".to_owned())),
            cells::age(&obj.metadata.creation_timestamp, now),
        ]
    }
}
