//! What is wrong with claims, their templates and device classes.

use super::device_selector;
use crate::checks::{self, Errors};
use crate::core::pod::validate::scheduling;
use crate::core::volume_spec;
use crate::metadata::{validate_annotations, validate_labels};
use crate::{Context, FieldError, internal};
use corten_api::core::v1::Namespace;
use corten_api::resource::v1::{
    AllocatedDeviceStatus, AllocationResult, DeviceClaim, DeviceClassSpec, DeviceConfiguration,
    DeviceRequest, DeviceToleration, ResourceClaim, ResourceClaimStatus, ResourceClaimTemplate,
};
use corten_core::{Path, RawJson, Str, semantic_eq};
use corten_meta::labels;

const ONE_OF: &str = "exactly one of `exactly` or `firstAvailable` is required";
const NOT_A_REQUEST: &str = "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";
const ADMIN_LABEL: &str = "resource.kubernetes.io/admin-access";
const PARAMETERS_MAX: usize = 10 * 1024;

/// The devices that a claim asks for.
pub(super) fn devices(errors: &mut Errors, path: &Path, claim: &DeviceClaim) {
    let list = path.f("requests");
    if claim.requests.len() > 32 {
        errors.push(FieldError::too_many(&list, claim.requests.len(), 32));
    } else {
        for (i, one) in claim.requests.iter().enumerate() {
            request(errors, &list.i(i), one);
        }
        unique(errors, &list, claim.requests.iter().map(|r| &r.name));
    }
    let list = path.f("constraints");
    for (i, constraint) in claim.constraints.iter().enumerate() {
        let at = list.i(i);
        names(errors, &at.f("requests"), &constraint.requests, claim);
        match (&constraint.match_attribute, &constraint.distinct_attribute) {
            (Some(name), _) => qualified(errors, &at.f("matchAttribute"), name),
            (None, Some(name)) => qualified(errors, &at.f("distinctAttribute"), name),
            (None, None) => errors.push(FieldError::required(
                &at,
                "exactly one of \"matchAttribute\" or \"distinctAttribute\" is required, but multiple fields are set",
            )),
        }
    }
    let list = path.f("config");
    for (i, config) in claim.config.iter().enumerate() {
        let at = list.i(i);
        names(errors, &at.f("requests"), &config.requests, claim);
        configuration(errors, &at, &config.device_configuration);
    }
}

pub(super) fn unique<'a>(errors: &mut Errors, path: &Path, keys: impl Iterator<Item = &'a Str>) {
    let mut seen: Vec<&Str> = Vec::new();
    for (i, key) in keys.enumerate() {
        if seen.contains(&key) {
            errors.push(FieldError::duplicate(path.i(i), key));
        } else {
            seen.push(key);
        }
    }
}

fn request(errors: &mut Errors, path: &Path, request: &DeviceRequest) {
    checks::dns_label(errors, &path.f("name"), &request.name);
    match (&request.exactly, request.first_available.is_empty()) {
        (None, true) => errors.push(FieldError::required(path, ONE_OF)),
        (Some(_), false) => {
            let text = format!("{ONE_OF}, but multiple fields are set");
            errors.push(FieldError::invalid(
                path,
                crate::error::verbatim("null"),
                text,
            ));
        }
        (None, false) => {
            let list = path.f("firstAvailable");
            for (i, sub) in request.first_available.iter().enumerate() {
                let at = list.i(i);
                checks::dns_label(errors, &at.f("name"), &sub.name);
                class(errors, &at.f("deviceClassName"), &sub.device_class_name);
                device_selector::all(errors, &at.f("selectors"), &sub.selectors);
                mode(errors, &at, &sub.allocation_mode, sub.count);
                tolerations(errors, &at.f("tolerations"), &sub.tolerations);
            }
            unique(
                errors,
                &list,
                request.first_available.iter().map(|r| &r.name),
            );
        }
        (Some(exactly), true) => {
            let at = path.f("exactly");
            class(errors, &at.f("deviceClassName"), &exactly.device_class_name);
            device_selector::all(errors, &at.f("selectors"), &exactly.selectors);
            mode(errors, &at, &exactly.allocation_mode, exactly.count);
            tolerations(errors, &at.f("tolerations"), &exactly.tolerations);
        }
    }
}

fn class(errors: &mut Errors, path: &Path, name: &str) {
    match name.is_empty() {
        true => errors.push(FieldError::required(path, "")),
        false => checks::dns_subdomain(errors, path, name),
    }
}

fn mode(errors: &mut Errors, path: &Path, mode: &str, count: i64) {
    match mode {
        "All" if count != 0 => {
            let text = "must not be specified when allocationMode is 'All'";
            errors.push(FieldError::invalid(path.f("count"), count, text));
        }
        "All" => {}
        "ExactCount" => checks::positive(errors, &path.f("count"), count),
        other => checks::known(
            errors,
            &path.f("allocationMode"),
            other,
            &["All", "ExactCount"],
        ),
    }
}

fn tolerations(errors: &mut Errors, path: &Path, all: &[DeviceToleration]) {
    for (i, toleration) in all.iter().enumerate() {
        let at = path.i(i);
        if !toleration.key.is_empty() {
            checks::qualified_name(errors, &at.f("key"), &toleration.key);
        }
        match toleration.operator.as_str() {
            "Exists" if !toleration.value.is_empty() => {
                let text = "must be empty for operator `Exists`";
                errors.push(FieldError::invalid(at.f("value"), &toleration.value, text));
            }
            "Exists" => {}
            "Equal" => {
                let found = labels::invalid_value(&toleration.value);
                checks::invalid_each(errors, &at.f("value"), &toleration.value, found);
            }
            other => checks::one_of(errors, &at.f("operator"), other, &["Equal", "Exists"]),
        }
        if !toleration.effect.is_empty() {
            let known = ["NoExecute", "NoSchedule", "None"];
            checks::known(errors, &at.f("effect"), &toleration.effect, &known);
        }
    }
}

/// Names of requests, each once and each there.
fn names(errors: &mut Errors, path: &Path, all: &[Str], claim: &DeviceClaim) {
    for (i, name) in all.iter().enumerate() {
        request_name(errors, &path.i(i), name, claim);
    }
    unique(errors, path, all.iter());
}

fn request_name(errors: &mut Errors, path: &Path, name: &str, claim: &DeviceClaim) {
    let parts: Vec<&str> = name.split('/').collect();
    if parts.len() > 2 {
        errors.push(FieldError::invalid(path, name, NOT_A_REQUEST));
        return;
    }
    for part in &parts {
        checks::dns_label(errors, path, part);
    }
    let request = claim.requests.iter().find(|r| r.name == parts[0]);
    let known = request.is_some_and(|r| {
        parts
            .get(1)
            .is_none_or(|sub| r.first_available.iter().any(|s| s.name == *sub))
    });
    if !known {
        errors.push(FieldError::invalid(path, name, NOT_A_REQUEST));
    }
}

fn qualified(errors: &mut Errors, path: &Path, name: &str) {
    if !name.contains('/') {
        let text = "a fully qualified name must be a domain and a name separated by a slash";
        errors.push(FieldError::invalid(path, name, text));
    }
}

fn configuration(errors: &mut Errors, path: &Path, config: &DeviceConfiguration) {
    let at = path.f("opaque");
    match &config.opaque {
        None => errors.push(FieldError::required(at, "")),
        Some(opaque) => {
            volume_spec::driver_name(errors, &at.f("driver"), &opaque.driver);
            raw(
                errors,
                &at.f("parameters"),
                &opaque.parameters,
                PARAMETERS_MAX,
            );
        }
    }
}

/// A JSON object of limited size.
fn raw(errors: &mut Errors, path: &Path, raw: &RawJson, bytes_max: usize) {
    let text = raw.as_bytes();
    let first = text.iter().find(|b| !b.is_ascii_whitespace());
    match first {
        None | Some(b'n') => errors.push(FieldError::required(path, "")),
        Some(_) if text.len() > bytes_max => errors.push(FieldError::too_long(path, bytes_max)),
        Some(b'{') => {}
        Some(_) => {
            let text = "must be a valid JSON object";
            errors.push(FieldError::invalid(path, "<value omitted>", text));
        }
    }
}

/// A device class.
pub(super) fn device_class(spec: &DeviceClassSpec) -> Errors {
    let mut errors = Vec::new();
    let path = Path::Root.f("spec");
    device_selector::all(&mut errors, &path.f("selectors"), &spec.selectors);
    let list = path.f("config");
    for (i, config) in spec.config.iter().enumerate() {
        configuration(&mut errors, &list.i(i), &config.device_configuration);
    }
    if let Some(name) = spec
        .extended_resource_name
        .as_ref()
        .filter(|n| !is_extended(n))
    {
        let text = "must be a valid extended resource name";
        errors.push(FieldError::invalid(
            path.f("extendedResourceName"),
            name,
            text,
        ));
    }
    errors
}

fn is_extended(name: &str) -> bool {
    let native = !name.contains('/') || name.contains("kubernetes.io/");
    !native
        && !name.starts_with("requests.")
        && labels::invalid_key(&format!("requests.{name}")).is_empty()
}

/// A claim.
pub(super) fn claim(claim: &ResourceClaim) -> Errors {
    let mut errors = Vec::new();
    let path = Path::Root.f("spec");
    devices(&mut errors, &path.f("devices"), &claim.spec.devices);
    errors
}

/// A claim's update: its spec never changes.
pub(super) fn claim_update(new: &ResourceClaim, old: &ResourceClaim) -> Errors {
    let mut errors = Vec::new();
    if !semantic_eq(&new.spec, &old.spec) {
        errors.push(FieldError::immutable("spec", internal::printed(&new.spec)));
    }
    errors
}

/// A template.
pub(super) fn template(template: &ResourceClaimTemplate) -> Errors {
    let path = Path::Root.f("spec");
    let meta = path.f("metadata");
    let given = &template.spec.metadata;
    let mut errors = validate_annotations(&given.annotations, &meta.f("annotations"));
    errors.extend(validate_labels(&given.labels, &meta.f("labels")));
    for (name, set) in [
        ("name", !given.name.is_empty()),
        ("generateName", !given.generate_name.is_empty()),
        ("namespace", !given.namespace.is_empty()),
        ("uid", !given.uid.is_empty()),
        ("ownerReferences", !given.owner_references.is_empty()),
        ("finalizers", !given.finalizers.is_empty()),
    ] {
        if set {
            errors.push(FieldError::forbidden(meta.f(name), "cannot be set"));
        }
    }
    let spec = path.f("spec");
    devices(&mut errors, &spec.f("devices"), &template.spec.spec.devices);
    errors
}

/// A template's update.
pub(super) fn template_update(new: &ResourceClaimTemplate, old: &ResourceClaimTemplate) -> Errors {
    let mut errors = Vec::new();
    if !semantic_eq(&new.spec, &old.spec) {
        errors.push(FieldError::immutable("spec", internal::printed(&new.spec)));
    }
    errors
}

/// A claim's status.
pub(super) fn status_update(new: &ResourceClaim, old: &ResourceClaim) -> Errors {
    let mut errors = Vec::new();
    let path = Path::Root.f("status");
    let (now, before) = (&new.status, &old.status);
    reserved(&mut errors, &path.f("reservedFor"), now);
    let list = path.f("devices");
    for (i, device) in now.devices.iter().enumerate() {
        device_status(&mut errors, &list.i(i), device, now.allocation.as_deref());
    }
    let at = path.f("reservedFor");
    if !now.reserved_for.is_empty() {
        if now.allocation.is_none() {
            let text = "may not be specified when `allocated` is not set";
            errors.push(FieldError::forbidden(&at, text));
        } else if new.metadata.deletion_timestamp.is_some()
            && now
                .reserved_for
                .iter()
                .any(|r| !before.reserved_for.iter().any(|o| o == r))
        {
            let text = "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set";
            errors.push(FieldError::forbidden(&at, text));
        }
    }
    let at = path.f("allocation");
    match (&now.allocation, &before.allocation) {
        (Some(now), Some(before)) if !semantic_eq(&**now, &**before) => {
            errors.push(FieldError::immutable(at, internal::printed(&**now)));
        }
        (Some(now), None) => allocation(&mut errors, &at, now, &new.spec.devices),
        _ => {}
    }
    errors
}

fn reserved(errors: &mut Errors, path: &Path, status: &ResourceClaimStatus) {
    if status.reserved_for.len() > 256 {
        errors.push(FieldError::too_many(path, status.reserved_for.len(), 256));
        return;
    }
    for (i, consumer) in status.reserved_for.iter().enumerate() {
        let at = path.i(i);
        checks::required(errors, &at.f("resource"), &consumer.resource);
        checks::required(errors, &at.f("name"), &consumer.name);
        checks::required(errors, &at.f("uid"), &consumer.uid);
    }
    unique(errors, path, status.reserved_for.iter().map(|c| &c.uid));
}

fn device_status(
    errors: &mut Errors,
    path: &Path,
    device: &AllocatedDeviceStatus,
    allocation: Option<&AllocationResult>,
) {
    volume_spec::driver_name(errors, &path.f("driver"), &device.driver);
    pool(errors, &path.f("pool"), &device.pool);
    checks::dns_label(errors, &path.f("device"), &device.device);
    let results = allocation.map(|a| &*a.devices.results).unwrap_or_default();
    let allocated = results.iter().any(|r| {
        (&r.driver, &r.pool, &r.device, &r.share_id)
            == (
                &device.driver,
                &device.pool,
                &device.device,
                &device.share_id,
            )
    });
    if !allocated {
        let quote = crate::error::quote;
        let shown = crate::error::verbatim(format!(
            "{{\"Driver\":{},\"Pool\":{},\"Device\":{},\"ShareID\":{}}}",
            quote(&device.driver),
            quote(&device.pool),
            quote(&device.device),
            quote(device.share_id.as_deref().unwrap_or_default()),
        ));
        errors.push(FieldError::invalid(
            path,
            shown,
            "must be an allocated device in the claim",
        ));
    }
    if let Some(data) = &device.data {
        raw(errors, &path.f("data"), data, PARAMETERS_MAX);
    }
    if let Some(network) = &device.network_data {
        let at = path.f("networkData");
        if network.interface_name.len() > 256 {
            errors.push(FieldError::too_long(at.f("interfaceName"), 256));
        }
        if network.hardware_address.len() > 128 {
            errors.push(FieldError::too_long(at.f("hardwareAddress"), 128));
        }
        let list = at.f("ips");
        for (i, address) in network.ips.iter().enumerate() {
            interface_address(errors, &list.i(i), address);
        }
        unique(errors, &list, network.ips.iter());
    }
}

/// An address with the length of its network: 192.168.1.5/24.
fn interface_address(errors: &mut Errors, path: &Path, text: &str) {
    let parsed = text.split_once('/').is_some_and(|(address, bits)| {
        let max = checks::parse_ip(address).map(|ip| if ip.is_ipv4() { 32 } else { 128 });
        bits.parse::<u8>()
            .is_ok_and(|bits| max.is_some_and(|max| bits <= max))
    });
    if !parsed {
        let detail = "must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)";
        errors.push(FieldError::invalid(path, text, detail));
    }
}

pub(super) fn pool(errors: &mut Errors, path: &Path, name: &str) {
    if name.is_empty() {
        errors.push(FieldError::required(path, ""));
        return;
    }
    if name.len() > 253 {
        errors.push(FieldError::too_long(path, 253));
    }
    for part in name.split('/') {
        checks::dns_subdomain(errors, path, part);
    }
}

fn allocation(errors: &mut Errors, path: &Path, result: &AllocationResult, claim: &DeviceClaim) {
    let at = path.f("devices");
    let list = at.f("results");
    for (i, one) in result.devices.results.iter().enumerate() {
        let at = list.i(i);
        request_name(errors, &at.f("request"), &one.request, claim);
        volume_spec::driver_name(errors, &at.f("driver"), &one.driver);
        pool(errors, &at.f("pool"), &one.pool);
        checks::dns_label(errors, &at.f("device"), &one.device);
    }
    let list = at.f("config");
    for (i, config) in result.devices.config.iter().enumerate() {
        let at = list.i(i);
        checks::one_of(
            errors,
            &at.f("source"),
            &config.source,
            &["FromClaim", "FromClass"],
        );
        names(errors, &at.f("requests"), &config.requests, claim);
        configuration(errors, &at, &config.device_configuration);
    }
    if let Some(selector) = &result.node_selector {
        scheduling::node_selector(errors, &path.f("nodeSelector"), selector);
    }
}

/// Administrators' access to devices is for namespaces that are marked for it.
pub(super) fn admin_access(cx: &Context, namespace: &str, claim: &DeviceClaim) -> Errors {
    let asks = |r: &DeviceRequest| {
        let exactly = r.exactly.as_ref();
        exactly.is_some_and(|e| e.admin_access == Some(true))
    };
    let Some(at) = claim.requests.iter().position(asks) else {
        return vec![];
    };
    let marked = cx.snapshot.get::<Namespace>("", namespace);
    if marked.is_some_and(|n| {
        n.metadata
            .labels
            .get(ADMIN_LABEL)
            .is_some_and(|v| v == "true")
    }) {
        return vec![];
    }
    let path = Path::Root.f("spec.devices.requests");
    let text = format!(
        "admin access to devices requires the `{ADMIN_LABEL}: true` label on the containing namespace"
    );
    vec![FieldError::forbidden(path.i(at).f("adminAccess"), text)]
}
