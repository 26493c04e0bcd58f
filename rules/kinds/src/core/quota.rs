//! ResourceQuotas. Counting against them is admission's.

use super::columns;
use super::pod::default_resources;
use crate::rules::{Rules, with_status};
use crate::{Column, Context, DeleteAnswer, cells};
use corten_api::core::v1::ResourceQuota;
use corten_core::{Time, Value};
use std::cmp::Ordering;

/// The strategy of ResourceQuotas.
pub struct ResourceQuotas;

impl Rules for ResourceQuotas {
    type Of = ResourceQuota;
    with_status!();

    fn default(&self, quota: &mut ResourceQuota) {
        default_resources(&mut quota.spec.hard);
        default_resources(&mut quota.status.hard);
        default_resources(&mut quota.status.used);
    }
    fn warnings(
        &self,
        _cx: &Context,
        new: &ResourceQuota,
        old: Option<&ResourceQuota>,
    ) -> Vec<String> {
        if old.is_some() {
            return vec![];
        }
        let hard = &new.spec.hard;
        let mut warnings = Vec::new();
        for name in ["cpu", "memory", "storage", "ephemeral-storage"] {
            let mut asked = format!("requests.{name}");
            if !hard.contains_key(&asked) && matches!(name, "cpu" | "memory") {
                asked = name.to_owned();
            }
            let allowed = format!("limits.{name}");
            if let (Some(request), Some(limit)) = (hard.get(&asked), hard.get(&allowed))
                && request.amount().compare(&limit.amount()) == Ordering::Greater
            {
                warnings.push(format!(
                    "ResourceQuota {asked} ({request}) should be less than {allowed} ({limit})"
                ));
            }
        }
        warnings
    }
    fn columns(&self) -> &'static [Column] {
        &columns::RESOURCE_QUOTA
    }
    fn cells(&self, quota: &ResourceQuota, now: &Time) -> Vec<Value> {
        let (mut requests, mut limits) = (Vec::new(), Vec::new());
        for (name, hard) in &quota.status.hard {
            let used = quota
                .status
                .used
                .get(name)
                .map_or_else(|| "0".to_owned(), |q| q.to_string());
            let list = if name.starts_with("limits.") {
                &mut limits
            } else {
                &mut requests
            };
            list.push(format!("{name}: {used}/{hard}"));
        }
        vec![
            Value::from(&quota.metadata.name),
            Value::from(requests.join(", ")),
            Value::from(limits.join(", ")),
            cells::age(&quota.metadata.creation_timestamp, now),
        ]
    }
    fn delete_answer(&self) -> DeleteAnswer {
        DeleteAnswer::Object
    }
}
