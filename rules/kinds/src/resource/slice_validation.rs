//! What is wrong with ResourceSlices. Leaves out the policies of requests on capacity that can be shared.

use super::validation::{pool, unique};
use crate::checks::{self, Errors};
use crate::core::pod::validate::quantities::is_native;
use crate::core::pod::validate::scheduling;
use crate::core::volume_spec::driver_name;
use crate::metadata::validate_label_key;
use crate::{FieldError, internal, names};
use corten_api::core::v1::NodeSelector;
use corten_api::resource::v1::{Counter, Device, DeviceAttribute, DeviceTaint, ResourceSliceSpec};
use corten_core::{Map, Path, Str, Value, semantic_eq};
use corten_meta::labels;

const DEVICES_MAX: usize = 128;
const DEVICES_MAX_ADVANCED: usize = 64;
const SETS_MAX: usize = 8;
const COUNTERS_MAX: usize = 32;
const CONSUMED_MAX: usize = 2;
const TAINTS_MAX: usize = 16;
const ATTRIBUTES_MAX: usize = 32;
const VALUES_MAX: usize = 48;
const VALUE_BYTES_MAX: usize = 64;
const CONDITIONS_MAX: usize = 4;
const ID_BYTES_MAX: usize = 32;
const ONE_NODE: &str =
    "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
const ONE_NODE_OF_DEVICE: &str = "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
const NOT_PER_DEVICE: &str = "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec";

/// A slice; `old` is what it was before an update.
pub(super) fn spec(spec: &ResourceSliceSpec, old: Option<&ResourceSliceSpec>) -> Errors {
    let mut errors = Vec::new();
    let path = Path::Root.f("spec");
    driver_name(&mut errors, &path.f("driver"), &spec.driver);
    pool_of(&mut errors, &path.f("pool"), spec);
    if let Some(old) = old {
        let same = spec.pool.name == old.pool.name;
        checks::immutable(
            &mut errors,
            &path.f("pool").f("name"),
            same,
            &spec.pool.name,
        );
        let same = spec.driver == old.driver;
        checks::immutable(&mut errors, &path.f("driver"), same, &spec.driver);
        let shown = spec
            .node_name
            .as_ref()
            .map_or_else(|| crate::error::verbatim("null"), Value::from);
        let same = spec.node_name == old.node_name;
        checks::immutable(&mut errors, &path.f("nodeName"), same, shown);
    }
    nodes(&mut errors, &path, spec);
    if !spec.shared_counters.is_nil() && !spec.devices.is_nil() {
        let text = "only one of `sharedCounters` or `devices` is allowed";
        errors.push(FieldError::invalid(&path, "", text));
    }
    devices(&mut errors, &path.f("devices"), spec, old);
    counter_sets(&mut errors, &path.f("sharedCounters"), spec);
    errors
}

fn pool_of(errors: &mut Errors, path: &Path, spec: &ResourceSliceSpec) {
    pool(errors, &path.f("name"), &spec.pool.name);
    let (count, generation) = (spec.pool.resource_slice_count, spec.pool.generation);
    if count <= 0 {
        let text = "must be greater than zero";
        errors.push(FieldError::invalid(
            path.f("resourceSliceCount"),
            count,
            text,
        ));
    }
    if generation < 0 {
        let text = "must be greater than or equal to zero";
        errors.push(FieldError::invalid(path.f("generation"), generation, text));
    }
}

/// Which of the ways to name nodes are taken; empty and false ones are wrong in the given words.
fn ways(
    errors: &mut Errors,
    path: &Path,
    (name, selector): (Option<&Str>, Option<&NodeSelector>),
    flags: &[(&'static str, Option<bool>)],
    empty: &str,
) -> Vec<&'static str> {
    let mut set = Vec::new();
    match name {
        Some(name) if name.is_empty() => {
            errors.push(FieldError::invalid(path.f("nodeName"), "", empty));
        }
        Some(name) => {
            set.push("nodeName");
            checks::dns_subdomain(errors, &path.f("nodeName"), name);
        }
        None => {}
    }
    if let Some(selector) = selector {
        set.push("nodeSelector");
        scheduling::node_selector(errors, &path.f("nodeSelector"), selector);
    }
    for (name, flag) in flags {
        match flag {
            Some(true) => set.push(*name),
            Some(false) => {
                let text = "must be either unset or set to true";
                errors.push(FieldError::invalid(path.f(name), false, text));
            }
            None => {}
        }
    }
    set
}

fn shown(ways: &[&str]) -> String {
    let quoted: Vec<String> = ways.iter().map(|w| format!("`{w}`")).collect();
    format!("{{{}}}", quoted.join(", "))
}

fn nodes(errors: &mut Errors, path: &Path, spec: &ResourceSliceSpec) {
    let flags = [
        ("allNodes", spec.all_nodes),
        ("perDeviceNodeSelection", spec.per_device_node_selection),
    ];
    let named = (spec.node_name.as_ref(), spec.node_selector.as_deref());
    let empty = "must be either unset or set to a non-empty string";
    let before = errors.len();
    let set = ways(errors, path, named, &flags, empty);
    if let Some(selector) = spec
        .node_selector
        .as_ref()
        .filter(|s| s.node_selector_terms.len() != 1)
    {
        let at = path.f("nodeSelector").f("nodeSelectorTerms").to_string();
        let bad = internal::printed_list(&selector.node_selector_terms);
        let text = "must have exactly one node selector term";
        let wrong_flags = flags.iter().filter(|(_, f)| *f == Some(false)).count();
        let place = (errors.len() - wrong_flags).max(before);
        errors.insert(place, FieldError::invalid(at, bad, text));
    }
    match set.len() {
        0 => errors.push(FieldError::required(path, ONE_NODE)),
        1 => {}
        _ => {
            let text = format!("{ONE_NODE}, but multiple fields are set");
            errors.push(FieldError::invalid(path, shown(&set), text));
        }
    }
}

fn devices(
    errors: &mut Errors,
    path: &Path,
    spec: &ResourceSliceSpec,
    old: Option<&ResourceSliceSpec>,
) {
    let advanced = spec.devices.iter().any(|d| {
        !d.taints.is_empty()
            || !d.consumes_counters.is_empty()
            || d.attributes.values().any(|a| !values_nil(a))
    });
    let max = if advanced {
        DEVICES_MAX_ADVANCED
    } else {
        DEVICES_MAX
    };
    if spec.devices.len() > max {
        errors.push(FieldError::too_many(path, spec.devices.len(), max));
        return;
    }
    let per_device = spec.per_device_node_selection == Some(true);
    for (i, one) in spec.devices.iter().enumerate() {
        let before = old.and_then(|o| o.devices.iter().find(|d| d.name == one.name));
        device(errors, &path.i(i), one, before, per_device);
    }
    unique(errors, path, spec.devices.iter().map(|d| &d.name));
}

fn values_nil(a: &DeviceAttribute) -> bool {
    a.bool_values.is_nil()
        && a.int_values.is_nil()
        && a.string_values.is_nil()
        && a.version_values.is_nil()
}

fn device(
    errors: &mut Errors,
    path: &Path,
    device: &Device,
    old: Option<&Device>,
    per_device: bool,
) {
    checks::dns_label(errors, &path.f("name"), &device.name);
    let entries = device.attributes.len() + device.capacity.len();
    if entries > ATTRIBUTES_MAX {
        let text = format!(
            "the total number of attributes and capacities must not exceed {ATTRIBUTES_MAX}"
        );
        errors.push(FieldError::invalid(path, entries as i64, text));
    }
    let count = |a: &DeviceAttribute| {
        let listed = a.bool_values.len()
            + a.int_values.len()
            + a.string_values.len()
            + a.version_values.len();
        listed.max(1)
    };
    let values: usize = device.attributes.values().map(count).sum();
    if values > VALUES_MAX {
        let text = format!("the total number of attribute values must not exceed {VALUES_MAX}");
        errors.push(FieldError::invalid(path, values as i64, text));
    }
    let at = path.f("attributes");
    for (key, value) in &device.attributes {
        qualified_name(errors, &at, key);
        attribute(errors, &at.k(key), value);
    }
    let at = path.f("capacity");
    for (key, value) in &device.capacity {
        qualified_name(errors, &at, key);
        if value.request_policy.is_some() && device.allow_multiple_allocations != Some(true) {
            let text = "allowMultipleAllocations must be true";
            errors.push(FieldError::forbidden(at.k(key).f("requestPolicy"), text));
        }
    }
    if old.is_none_or(|o| !semantic_eq_list(&o.taints, &device.taints)) {
        taints(errors, &path.f("taints"), &device.taints);
    }
    consumed(errors, &path.f("consumesCounters"), device);
    nodes_of_device(errors, path, device, per_device);
    conditions(errors, path, device);
    mappings(errors, &path.f("nodeAllocatableResourceMappings"), device);
}

fn semantic_eq_list(a: &[DeviceTaint], b: &[DeviceTaint]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| semantic_eq(a, b))
}

fn nodes_of_device(errors: &mut Errors, path: &Path, device: &Device, per_device: bool) {
    let named = (device.node_name.as_ref(), device.node_selector.as_deref());
    if !per_device {
        if named.0.is_some() || named.1.is_some() || device.all_nodes.is_some() {
            let null = crate::error::verbatim("null");
            errors.push(FieldError::invalid(path, null, NOT_PER_DEVICE));
        }
        return;
    }
    let flags = [("allNodes", device.all_nodes)];
    let set = ways(errors, path, named, &flags, "must not be empty");
    match set.len() {
        0 => errors.push(FieldError::required(path, ONE_NODE_OF_DEVICE)),
        1 => {}
        _ => errors.push(FieldError::invalid(path, shown(&set), ONE_NODE_OF_DEVICE)),
    }
}

fn conditions(errors: &mut Errors, path: &Path, device: &Device) {
    for (name, list) in [
        ("bindingConditions", &device.binding_conditions),
        (
            "bindingFailureConditions",
            &device.binding_failure_conditions,
        ),
    ] {
        let at = path.f(name);
        if list.len() > CONDITIONS_MAX {
            errors.push(FieldError::too_many(&at, list.len(), CONDITIONS_MAX));
            continue;
        }
        for (i, condition) in list.iter().enumerate() {
            errors.extend(validate_label_key(condition, &at.i(i)));
        }
    }
    let (ready, failed) = (
        &device.binding_conditions,
        &device.binding_failure_conditions,
    );
    unique(errors, &path.f("bindingConditions"), ready.iter());
    let at = path.f("bindingFailureConditions");
    unique(errors, &at, failed.iter());
    for (i, condition) in failed.iter().enumerate().filter(|(_, c)| ready.contains(c)) {
        let text = "bindingFailureConditions must not overlap with bindingConditions";
        errors.push(FieldError::invalid(at.i(i), condition, text));
    }
    if ready.is_empty() != failed.is_empty() {
        let (missing, given) = if ready.is_empty() {
            ("bindingConditions", "bindingFailureConditions")
        } else {
            ("bindingFailureConditions", "bindingConditions")
        };
        let text = format!("{missing} are required to use {given}");
        errors.push(FieldError::invalid(
            path.f(missing),
            crate::error::verbatim("null"),
            text,
        ));
    }
}

fn mappings(errors: &mut Errors, path: &Path, device: &Device) {
    for (name, mapping) in &device.node_allocatable_resource_mappings {
        let at = path.k(name);
        if !is_native(name) {
            let text = "must be a node allocatable resource name";
            errors.push(FieldError::invalid(&at, name, text));
        }
        if mapping.allocation_multiplier.is_none() && mapping.capacity_key.is_none() {
            let text = "at least one of allocationMultiplier or capacityKey must be set";
            errors.push(FieldError::invalid(&at, "", text));
        }
        if let Some(by) = mapping
            .allocation_multiplier
            .as_ref()
            .filter(|q| q.sign() <= 0)
        {
            let at = at.f("allocationMultiplier");
            errors.push(FieldError::invalid(at, by.to_string(), "must be positive"));
        }
        match &mapping.capacity_key {
            Some(key) if key.is_empty() => {
                let text = "capacityKey must not be an empty string";
                errors.push(FieldError::invalid(at.f("capacityKey"), "", text));
            }
            Some(key) if !device.capacity.contains_key(key) => {
                errors.push(FieldError::not_found(at.f("capacityKey"), key));
            }
            _ => {}
        }
    }
}

fn attribute(errors: &mut Errors, path: &Path, a: &DeviceAttribute) {
    if let Some(text) = &a.string_value {
        string_value(errors, &path.f("string"), text);
    }
    if let Some(text) = &a.version_value {
        version_value(errors, &path.f("version"), text);
    }
    let lists = [
        ("bools", a.bool_values.is_nil(), a.bool_values.is_empty()),
        ("ints", a.int_values.is_nil(), a.int_values.is_empty()),
        (
            "strings",
            a.string_values.is_nil(),
            a.string_values.is_empty(),
        ),
        (
            "versions",
            a.version_values.is_nil(),
            a.version_values.is_empty(),
        ),
    ];
    for (name, nil, empty) in lists {
        if empty && !nil {
            let bad = Value::List(Vec::new());
            errors.push(FieldError::invalid(
                path.f(name),
                bad,
                "must not be empty if specified",
            ));
        }
        let at = path.f(name);
        for (i, text) in a
            .string_values
            .iter()
            .enumerate()
            .filter(|_| name == "strings")
        {
            string_value(errors, &at.i(i), text);
        }
        for (i, text) in a
            .version_values
            .iter()
            .enumerate()
            .filter(|_| name == "versions")
        {
            version_value(errors, &at.i(i), text);
        }
    }
    let scalars = [
        a.bool_value.is_some(),
        a.int_value.is_some(),
        a.string_value.is_some(),
        a.version_value.is_some(),
    ];
    let set =
        scalars.iter().filter(|s| **s).count() + lists.iter().filter(|(_, nil, _)| !nil).count();
    let text = "exactly one value must be specified";
    match set {
        0 => errors.push(FieldError::invalid(path, "", text)),
        1 => {}
        _ => errors.push(FieldError::invalid(path, internal::printed(a), text)),
    }
}

fn string_value(errors: &mut Errors, path: &Path, text: &str) {
    if text.len() > VALUE_BYTES_MAX {
        errors.push(FieldError::too_long(path, VALUE_BYTES_MAX));
    }
}

fn version_value(errors: &mut Errors, path: &Path, text: &str) {
    if !is_semver(text) {
        let detail = "must be a string compatible with semver.org spec 2.0.0";
        errors.push(FieldError::invalid(path, text, detail));
    }
    string_value(errors, path, text);
}

fn is_semver(text: &str) -> bool {
    let number = |t: &str| {
        !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit()) && (t == "0" || !t.starts_with('0'))
    };
    let word = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let pre = |t: &str| word(t) && (number(t) || !t.bytes().all(|b| b.is_ascii_digit()));
    let (rest, build) = match text.split_once('+') {
        Some((rest, build)) => (rest, Some(build)),
        None => (text, None),
    };
    let (core, release) = match rest.split_once('-') {
        Some((core, release)) => (core, Some(release)),
        None => (rest, None),
    };
    core.split('.').count() == 3
        && core.split('.').all(number)
        && release.is_none_or(|r| r.split('.').all(pre))
        && build.is_none_or(|b| b.split('.').all(word))
}

fn taints(errors: &mut Errors, path: &Path, taints: &[DeviceTaint]) {
    if taints.len() > TAINTS_MAX {
        errors.push(FieldError::too_many(path, taints.len(), TAINTS_MAX));
        return;
    }
    for (i, taint) in taints.iter().enumerate() {
        let at = path.i(i);
        errors.extend(validate_label_key(&taint.key, &at.f("key")));
        if !taint.value.is_empty() {
            let found = labels::invalid_value(&taint.value);
            checks::invalid_each(errors, &at.f("value"), &taint.value, found);
        }
        let known = ["NoExecute", "NoSchedule", "None"];
        checks::one_of(errors, &at.f("effect"), &taint.effect, &known);
    }
}

fn consumed(errors: &mut Errors, path: &Path, device: &Device) {
    let list = &device.consumes_counters;
    if list.len() > CONSUMED_MAX {
        errors.push(FieldError::too_many(path, list.len(), CONSUMED_MAX));
        return;
    }
    for (i, one) in list.iter().enumerate() {
        counters(
            errors,
            &path.i(i),
            ("counterSet", one.counter_set.as_str()),
            &one.counters,
        );
    }
    unique(errors, path, list.iter().map(|c| &c.counter_set));
}

fn counter_sets(errors: &mut Errors, path: &Path, spec: &ResourceSliceSpec) {
    let sets = &spec.shared_counters;
    if sets.len() > SETS_MAX {
        errors.push(FieldError::too_many(path, sets.len(), SETS_MAX));
        return;
    }
    for (i, set) in sets.iter().enumerate() {
        counters(
            errors,
            &path.i(i),
            ("name", set.name.as_str()),
            &set.counters,
        );
    }
    unique(errors, path, sets.iter().map(|s| &s.name));
}

fn counters(
    errors: &mut Errors,
    path: &Path,
    (key, name): (&'static str, &str),
    all: &Map<Counter>,
) {
    if name.is_empty() {
        errors.push(FieldError::required(path.f(key), ""));
    } else {
        checks::dns_label(errors, &path.f(key), name);
    }
    let at = path.f("counters");
    if all.is_empty() {
        errors.push(FieldError::required(at, ""));
    } else if all.len() > COUNTERS_MAX {
        errors.push(FieldError::too_many(at, all.len(), COUNTERS_MAX));
    } else {
        for (name, _) in all {
            checks::dns_label(errors, &at, name);
        }
    }
}

fn qualified_name(errors: &mut Errors, path: &Path, name: &str) {
    match name.split_once('/') {
        None => identifier(errors, path, name),
        Some((_, rest)) if rest.contains('/') => {}
        Some((domain, id)) => {
            if domain.is_empty() {
                errors.push(FieldError::invalid(
                    path,
                    "",
                    "the domain must not be empty",
                ));
            } else {
                driver_name(errors, path, domain);
            }
            if id.is_empty() {
                errors.push(FieldError::invalid(path, "", "the name must not be empty"));
            } else {
                identifier(errors, path, id);
            }
        }
    }
}

fn identifier(errors: &mut Errors, path: &Path, id: &str) {
    if id.len() > ID_BYTES_MAX {
        errors.push(FieldError::too_long(path, ID_BYTES_MAX));
    }
    checks::invalid_each(errors, path, id, names::c_identifier(id));
}

#[cfg(test)]
mod tests {
    use super::is_semver;

    #[test]
    fn versions_are_semantic() {
        for good in [
            "1.2.3",
            "0.0.0",
            "1.0.0-alpha.1",
            "1.0.0+b.01",
            "1.0.0-0a-b+c",
        ] {
            assert!(is_semver(good), "{good}");
        }
        for bad in ["odd", "1.2", "01.2.3", "1.2.3-", "1.2.3-01", "1.2.3+"] {
            assert!(!is_semver(bad), "{bad}");
        }
    }
}
