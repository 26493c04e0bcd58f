//! The downward API: fields and resources of a pod as text.

use corten_api::core::v1::{Container, Pod, PodSpec};
use corten_core::{Map, Quantity, Str};
use corten_podplan::container_of;

/// What the node knows that fields may ask for.
#[derive(Clone, Debug, Default)]
pub(crate) struct NodeFacts {
    pub(crate) name: String,
    pub(crate) host_ips: Vec<String>,
    /// Allocatable CPU, memory and ephemeral storage stand in for limits that a container does not have.
    pub(crate) allocatable: Map<Quantity>,
    /// Bytes of memory that the node has.
    pub(crate) memory: i64,
}

/// A map as a volume file shows it: one `key="value"` per line.
fn lines(map: &Map<Str>) -> String {
    let lines: Vec<String> = map
        .iter()
        .map(|(k, v)| format!("{k}={:?}", v.as_str()))
        .collect();
    lines.join("\n")
}

/// The key in `metadata.labels['key']`.
fn subscript<'a>(path: &'a str, field: &str) -> Option<&'a str> {
    path.strip_prefix(field)?
        .strip_prefix("['")?
        .strip_suffix("']")
}

/// The value of a field path; an error for one that is not supported.
pub(crate) fn field(
    pod: &Pod,
    path: &str,
    facts: &NodeFacts,
    pod_ips: &[String],
) -> Result<String, String> {
    let meta = &pod.metadata;
    if let Some(key) = subscript(path, "metadata.annotations") {
        return Ok(meta.annotation(key).to_owned());
    }
    if let Some(key) = subscript(path, "metadata.labels") {
        return Ok(meta.label(key).to_owned());
    }
    Ok(match path {
        "metadata.name" => meta.name.to_string(),
        "metadata.namespace" => meta.namespace.to_string(),
        "metadata.uid" => meta.uid.to_string(),
        "metadata.labels" => lines(&meta.labels),
        "metadata.annotations" => lines(&meta.annotations),
        "spec.nodeName" => facts.name.clone(),
        "spec.serviceAccountName" => pod.spec.service_account_name.to_string(),
        "status.hostIP" => facts.host_ips.first().cloned().unwrap_or_default(),
        "status.hostIPs" => facts.host_ips.join(","),
        "status.podIP" => pod_ips.first().cloned().unwrap_or_default(),
        "status.podIPs" => pod_ips.join(","),
        _ => return Err(format!("unsupported fieldPath: {path}")),
    })
}

/// The value of `limits.cpu` and the like, in units of the divisor, rounded up.
pub(crate) fn resource(
    spec: &PodSpec,
    own: &str,
    container: &str,
    resource: &str,
    divisor: &Quantity,
    facts: &NodeFacts,
) -> Result<String, String> {
    let name = if container.is_empty() { own } else { container };
    let found = container_of(spec, name).ok_or_else(|| format!("container {name} not found"))?;
    let (side, kind) = resource
        .split_once('.')
        .ok_or_else(|| format!("unsupported container resource : {resource}"))?;
    let quantity = amount(&found, side, kind, facts);
    let one = Quantity::parse("1").unwrap_or_default();
    let divisor = if divisor.is_zero() { &one } else { divisor };
    let value = match kind {
        "cpu" => ceil(quantity.milli_value(), divisor.milli_value()),
        _ => ceil(quantity.value(), divisor.value()),
    };
    Ok(value.to_string())
}

fn ceil(value: i64, divisor: i64) -> i64 {
    let divisor = divisor.max(1);
    value / divisor + i64::from(value % divisor > 0)
}

fn amount(container: &Container, side: &str, kind: &str, facts: &NodeFacts) -> Quantity {
    let resources = &container.resources;
    let own = match side {
        "limits" => resources.limits.get(kind),
        _ => resources.requests.get(kind),
    };
    let fallback = (side == "limits")
        .then(|| facts.allocatable.get(kind))
        .flatten();
    own.filter(|q| !q.is_zero())
        .or(fallback)
        .cloned()
        .unwrap_or_default()
}
