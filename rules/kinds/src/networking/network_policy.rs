//! NetworkPolicies: defaults, generation, table.

use super::columns;
use crate::rules::{Generation, Rules};
use crate::{Column, cells, selectors};
use corten_api::networking::v1::NetworkPolicy;
use corten_core::{Time, Value};

/// The strategy of NetworkPolicies.
pub struct NetworkPolicies;

impl Rules for NetworkPolicies {
    type Of = NetworkPolicy;
    const GENERATION: Generation = Generation::Counted;

    fn default(&self, obj: &mut NetworkPolicy) {
        let spec = &mut obj.spec;
        let inward = spec.ingress.iter_mut().flat_map(|r| r.ports.iter_mut());
        let outward = spec.egress.iter_mut().flat_map(|r| r.ports.iter_mut());
        for port in inward.chain(outward) {
            port.protocol.get_or_insert_with(|| "TCP".into());
        }
        if spec.policy_types.is_empty() {
            spec.policy_types.push("Ingress");
            if !spec.egress.is_empty() {
                spec.policy_types.push("Egress");
            }
        }
    }
    fn columns(&self) -> &'static [Column] {
        &columns::NETWORK_POLICY
    }
    fn cells(&self, obj: &NetworkPolicy, now: &Time) -> Vec<Value> {
        vec![
            Value::from(&obj.metadata.name),
            Value::from(selectors::text(Some(&obj.spec.pod_selector))),
            cells::age(&obj.metadata.creation_timestamp, now),
        ]
    }
}
