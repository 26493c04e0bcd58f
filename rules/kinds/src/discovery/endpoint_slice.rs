//! EndpointSlices: defaults, generation (labels count), table. The topology map of old versions is not written.

use super::{columns, validation as validate};
use crate::checks::immutable;
use crate::generic::content_changed;
use crate::rules::{Generation, Rules};
use crate::workload::with_more;
use crate::{Column, Context, FieldError, cells};
use corten_api::discovery::v1::{EndpointPort, EndpointSlice};
use corten_core::{Path, Time, Value};

/// The strategy of EndpointSlices.
pub struct EndpointSlices;

impl Rules for EndpointSlices {
    type Of = EndpointSlice;
    const GENERATION: Generation = Generation::Counted;

    fn default(&self, obj: &mut EndpointSlice) {
        for port in &mut obj.ports {
            port.name.get_or_insert_default();
            port.protocol.get_or_insert_with(|| "TCP".into());
        }
    }
    fn prepare_create(&self, _cx: &Context, new: &mut EndpointSlice) {
        drop_topology(new, None);
    }
    fn prepare_update(
        &self,
        _cx: &Context,
        _part: &str,
        new: &mut EndpointSlice,
        old: &EndpointSlice,
    ) {
        drop_topology(new, Some(old));
    }
    fn is_new_generation(&self, new: &EndpointSlice, old: &EndpointSlice) -> bool {
        let (a, b) = (&new.metadata.labels, &old.metadata.labels);
        content_changed(new, old)
            || a.len() != b.len()
            || a.iter().any(|(k, v)| b.get(k) != Some(v))
    }
    fn warnings(
        &self,
        _cx: &Context,
        new: &EndpointSlice,
        old: Option<&EndpointSlice>,
    ) -> Vec<String> {
        if old.is_none() && new.address_type == "FQDN" {
            return vec!["spec.addressType: FQDN endpoints are deprecated".to_owned()];
        }
        vec![]
    }
    fn validate_create(&self, _cx: &Context, new: &EndpointSlice) -> Vec<FieldError> {
        validate::slice(new, None)
    }
    fn validate_update(
        &self,
        _cx: &Context,
        _part: &str,
        new: &EndpointSlice,
        old: &EndpointSlice,
    ) -> Vec<FieldError> {
        let mut errors = validate::slice(new, Some(old));
        let same = new.address_type == old.address_type;
        immutable(
            &mut errors,
            &Path::Root.f("addressType"),
            same,
            &new.address_type,
        );
        errors
    }
    fn columns(&self) -> &'static [Column] {
        &columns::ENDPOINT_SLICE
    }
    fn cells(&self, obj: &EndpointSlice, now: &Time) -> Vec<Value> {
        let ports: Vec<String> = obj.ports.iter().map(port_text).collect();
        let addresses = obj.endpoints.iter().flat_map(|e| e.addresses.iter());
        vec![
            Value::from(&obj.metadata.name),
            Value::from(&obj.address_type),
            Value::from(with_more(ports.iter().map(String::as_str), 3)),
            Value::from(with_more(addresses.map(|a| a.as_str()), 3)),
            cells::age(&obj.metadata.creation_timestamp, now),
        ]
    }
}

fn port_text(port: &EndpointPort) -> String {
    match (port.port, &port.name) {
        (Some(number), _) => number.to_string(),
        (None, Some(name)) => name.to_string(),
        (None, None) => "*".to_owned(),
    }
}

const HOSTNAME: &str = "kubernetes.io/hostname";

fn drop_topology(new: &mut EndpointSlice, old: Option<&EndpointSlice>) {
    let known = |node: &str| {
        let mut endpoints = old.into_iter().flat_map(|o| o.endpoints.iter());
        endpoints.any(|e| {
            e.deprecated_topology
                .get(HOSTNAME)
                .is_some_and(|n| n == node)
        })
    };
    for endpoint in &mut new.endpoints {
        let node = endpoint
            .deprecated_topology
            .get(HOSTNAME)
            .filter(|n| !n.is_empty() && known(n));
        if let (None, Some(node)) = (&endpoint.node_name, node) {
            endpoint.node_name = Some(node.clone());
        }
        endpoint.deprecated_topology = Default::default();
    }
}
