//! Endpoints, the older form of EndpointSlices.

use super::columns;
use crate::rules::Rules;
use crate::{Column, cells};
use corten_api::core::v1::Endpoints;
use corten_core::{Time, Value};

const SHOWN_MAX: usize = 3;

/// The strategy of Endpoints.
pub struct EndpointsOfServices;

impl Rules for EndpointsOfServices {
    type Of = Endpoints;

    fn default(&self, endpoints: &mut Endpoints) {
        for port in endpoints
            .subsets
            .iter_mut()
            .flat_map(|s| s.ports.iter_mut())
        {
            if port.protocol.is_empty() {
                port.protocol = "TCP".into();
            }
        }
    }
    fn columns(&self) -> &'static [Column] {
        &columns::ENDPOINTS
    }
    fn cells(&self, endpoints: &Endpoints, now: &Time) -> Vec<Value> {
        vec![
            Value::from(&endpoints.metadata.name),
            Value::from(shown(endpoints)),
            cells::age(&endpoints.metadata.creation_timestamp, now),
        ]
    }
    fn create_on_update(&self) -> bool {
        true
    }
}

fn shown(endpoints: &Endpoints) -> String {
    if endpoints.subsets.is_empty() {
        return "<none>".to_owned();
    }
    let mut all = Vec::new();
    for subset in endpoints.subsets.iter() {
        let ips = subset.addresses.iter().map(|a| &a.ip);
        if subset.ports.is_empty() {
            all.extend(ips.map(|ip| ip.to_string()));
            continue;
        }
        for port in subset.ports.iter() {
            let host = |ip: &str| {
                if ip.contains(':') {
                    format!("[{ip}]:{}", port.port)
                } else {
                    format!("{ip}:{}", port.port)
                }
            };
            all.extend(ips.clone().map(|ip| host(ip)));
        }
    }
    let more = all.len().saturating_sub(SHOWN_MAX);
    all.truncate(SHOWN_MAX);
    let text = all.join(",");
    if more > 0 {
        format!("{text} + {more} more...")
    } else {
        text
    }
}
