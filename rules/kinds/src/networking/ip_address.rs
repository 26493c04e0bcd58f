//! IPAddresses: names, validation, table (one cell more than there are columns, as upstream).

use super::columns;
use crate::checks::{self, Errors};
use crate::rules::Rules;
use crate::{Column, Context, FieldError, cells, internal, names};
use corten_api::networking::v1::IPAddress;
use corten_core::{Path, Time, Value};

/// The strategy of IPAddresses.
pub struct IpAddresses;

impl Rules for IpAddresses {
    type Of = IPAddress;

    fn validate_create(&self, _cx: &Context, new: &IPAddress) -> Vec<FieldError> {
        validate(new)
    }
    fn validate_update(
        &self,
        _cx: &Context,
        _part: &str,
        new: &IPAddress,
        old: &IPAddress,
    ) -> Vec<FieldError> {
        let shown = new
            .spec
            .parent_ref
            .as_ref()
            .map_or(Value::Null, |p| internal::printed(&**p));
        let same = new.spec.parent_ref == old.spec.parent_ref;
        let mut errors = Vec::new();
        let at = Path::Root.f("spec");
        checks::immutable(&mut errors, &at.f("parentRef"), same, shown);
        errors
    }
    fn invalid_name(&self, name: &str, _prefix: bool) -> Vec<String> {
        let mut errors = Vec::new();
        checks::canonical_ip(&mut errors, &Path::Root, name);
        errors.into_iter().map(|e| e.detail).collect()
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

fn validate(address: &IPAddress) -> Errors {
    let mut errors = Vec::new();
    let path = Path::Root.f("spec");
    let path = path.f("parentRef");
    let Some(parent) = &address.spec.parent_ref else {
        return vec![FieldError::required(path, "")];
    };
    if !parent.group.is_empty() {
        checks::dns_subdomain(&mut errors, &path.f("group"), &parent.group);
    }
    for (name, text, required) in [
        ("resource", &parent.resource, true),
        ("name", &parent.name, true),
        ("namespace", &parent.namespace, false),
    ] {
        let at = path.f(name);
        if !text.is_empty() {
            checks::invalid_each(&mut errors, &at, text, names::path_segment(text, false));
        } else if required {
            errors.push(FieldError::required(at, ""));
        }
    }
    errors
}
