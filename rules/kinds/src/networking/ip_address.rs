//! IPAddresses: names, table (one cell more than there are columns, as upstream).

use super::columns;
use crate::rules::Rules;
use crate::{Column, cells};
use corten_api::networking::v1::IPAddress;
use corten_core::{Time, Value};

/// The strategy of IPAddresses.
pub struct IpAddresses;

impl Rules for IpAddresses {
    type Of = IPAddress;

    fn invalid_name(&self, name: &str, _prefix: bool) -> Vec<String> {
        match name.parse::<std::net::IpAddr>() {
            Err(_) => {
                vec!["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)".to_owned()]
            }
            Ok(ip) if ip.to_string() != name => {
                vec![format!("must be in canonical form (\"{ip}\")")]
            }
            Ok(_) => vec![],
        }
    }
    fn columns(&self) -> &'static [Column] {
        &columns::IP_ADDRESS
    }
    fn cells(&self, obj: &IPAddress, now: &Time) -> Vec<Value> {
        let parent = obj.spec.parent_ref.as_ref().map(|parent| {
            let mut text = parent.resource.to_lowercase();
            for (between, part) in [(".", &parent.group), ("/", &parent.namespace)] {
                if !part.is_empty() {
                    text = format!("{text}{between}{part}");
                }
            }
            format!("{text}/{}", parent.name)
        });
        vec![
            Value::from(&obj.metadata.name),
            Value::from(parent.unwrap_or_else(|| "<none>".to_owned())),
            cells::age(&obj.metadata.creation_timestamp, now),
        ]
    }
}
