//! Ingresses: generation, table, the deprecated annotation.

use super::{columns, ingress_validation as validate};
use crate::rules::{Generation, Rules, with_status};
use crate::{Column, Context, FieldError, cells};
use corten_api::networking::v1::{Ingress, IngressRule};
use corten_core::{Path, Time, Value};
use std::collections::BTreeSet;

/// The strategy of Ingresses.
pub struct Ingresses;

const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";

impl Rules for Ingresses {
    type Of = Ingress;
    const GENERATION: Generation = Generation::Counted;
    with_status!();

    fn warnings(&self, _cx: &Context, new: &Ingress, old: Option<&Ingress>) -> Vec<String> {
        let annotated = new.metadata.annotations.contains_key(CLASS_ANNOTATION);
        if old.is_some() || !annotated || new.spec.ingress_class_name.is_some() {
            return vec![];
        }
        vec![format!(
            "annotation \"{CLASS_ANNOTATION}\" is deprecated, please use 'spec.ingressClassName' instead"
        )]
    }
    fn validate_create(&self, _cx: &Context, new: &Ingress) -> Vec<FieldError> {
        let mut errors = validate::create(&new.spec);
        let annotated = new.metadata.annotations.get(CLASS_ANNOTATION);
        if let (Some(value), Some(class)) = (annotated, &new.spec.ingress_class_name)
            && value != class
        {
            let text = "must match `ingressClassName` when both are specified";
            let path = Path::Root.f("annotations");
            errors.push(FieldError::invalid(path.f(CLASS_ANNOTATION), value, text));
        }
        errors
    }
    fn validate_update(
        &self,
        _cx: &Context,
        part: &str,
        new: &Ingress,
        old: &Ingress,
    ) -> Vec<FieldError> {
        match part {
            "status" => validate::status(&new.status.load_balancer, &old.status.load_balancer),
            _ => validate::update(&new.spec, &old.spec),
        }
    }
    fn columns(&self) -> &'static [Column] {
        &columns::INGRESS
    }
    fn cells(&self, obj: &Ingress, now: &Time) -> Vec<Value> {
        let addresses: BTreeSet<&str> = obj
            .status
            .load_balancer
            .ingress
            .iter()
            .map(|i| {
                if i.ip.is_empty() {
                    i.hostname.as_str()
                } else {
                    i.ip.as_str()
                }
            })
            .filter(|a| !a.is_empty())
            .collect();
        let addresses: Vec<&str> = addresses.into_iter().collect();
        let class = obj.spec.ingress_class_name.as_ref();
        vec![
            Value::from(&obj.metadata.name),
            Value::from(class.map_or("<none>", |c| c)),
            Value::from(hosts(&obj.spec.rules)),
            Value::from(addresses.join(",")),
            Value::from(if obj.spec.tls.is_empty() {
                "80"
            } else {
                "80, 443"
            }),
            cells::age(&obj.metadata.creation_timestamp, now),
        ]
    }
}

fn hosts(rules: &[IngressRule]) -> String {
    let (mut list, mut more) = (Vec::new(), false);
    for rule in rules {
        more |= list.len() == 3;
        if !more && !rule.host.is_empty() {
            list.push(rule.host.as_str());
        }
    }
    if list.is_empty() {
        return "*".to_owned();
    }
    let text = list.join(",");
    if more {
        format!("{text} + {} more...", rules.len() - 3)
    } else {
        text
    }
}
