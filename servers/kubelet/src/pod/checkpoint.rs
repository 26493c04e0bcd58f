//! What is kept on disk of a pod that was resized, so that the next agent knows what was granted and what was done.
//!
//! Invariant: the file appears whole, before anything is done about a grant; it goes with the pod's directory.

use corten_api::core::v1::ResourceRequirements;
use corten_core::{Str, Value, from_value, to_value};
use corten_podplan::resources::Sizes;
use corten_podplan::{Allocation, Checkpoint};
use std::path::{Path, PathBuf};

fn file(directory: &Path) -> PathBuf {
    directory.join("allocation.json")
}

fn sizes(value: &Sizes) -> Value {
    let numbers = [
        value.cpu_request,
        value.cpu_limit,
        value.memory_request,
        value.memory_limit,
    ];
    Value::List(numbers.into_iter().map(Value::Int).collect())
}

fn read_sizes(value: &Value) -> Option<Sizes> {
    let [cpu_request, cpu_limit, memory_request, memory_limit] = value.as_list()? else {
        return None;
    };
    Some(Sizes {
        cpu_request: cpu_request.as_i64()?,
        cpu_limit: cpu_limit.as_i64()?,
        memory_request: memory_request.as_i64()?,
        memory_limit: memory_limit.as_i64()?,
    })
}

fn resources(own: &ResourceRequirements) -> Value {
    to_value(own).unwrap_or_default()
}

/// The checkpoint as JSON.
fn encode(checkpoint: &Checkpoint) -> Vec<u8> {
    let mut value = Value::map();
    if let Some(own) = checkpoint.allocation.pod.as_deref() {
        value.set(&["pod"], resources(own));
    }
    value.set(&["containers"], Value::map());
    for (name, own) in &checkpoint.allocation.containers {
        value.set(&["containers", name.as_str()], resources(own));
    }
    if let Some(group) = &checkpoint.group {
        value.set(&["group"], sizes(group));
    }
    value.set(&["actuated"], Value::map());
    for (name, (id, own)) in &checkpoint.containers {
        value.set(&["actuated", name.as_str(), "id"], id.clone());
        value.set(&["actuated", name.as_str(), "sizes"], sizes(own));
    }
    corten_codec::json::encode_value(&value)
}

fn decode(bytes: &[u8]) -> Option<Checkpoint> {
    let value = corten_codec::json::decode_value(bytes).ok()?;
    let requirements = |value: &Value| from_value::<ResourceRequirements>(value).ok();
    let mut checkpoint = Checkpoint {
        allocation: Allocation {
            pod: value.get("pod").and_then(requirements).map(Box::new),
            ..Allocation::default()
        },
        group: value.get("group").and_then(read_sizes),
        ..Checkpoint::default()
    };
    for (name, own) in value.get("containers")?.as_map()?.iter() {
        let own = requirements(own)?;
        checkpoint.allocation.containers.insert(name.clone(), own);
    }
    for (name, own) in value.get("actuated")?.as_map()?.iter() {
        let id: Str = own.get("id")?.as_str()?.into();
        let entry = (id, read_sizes(own.get("sizes")?)?);
        checkpoint.containers.insert(name.clone(), entry);
    }
    Some(checkpoint)
}

/// What is kept of a pod; nothing when it was never resized.
pub(crate) fn read(directory: &Path) -> Option<Checkpoint> {
    let path = file(directory);
    let bytes = std::fs::read(&path).ok()?;
    let checkpoint = decode(&bytes);
    if checkpoint.is_none() {
        tracing::warn!(path = %path.display(), "what was granted to a resized pod cannot be read; its status counts");
    }
    checkpoint
}

/// Keeps it.
pub(crate) fn write(directory: &Path, checkpoint: &Checkpoint) {
    let path = file(directory);
    let aside = path.with_extension("new");
    let written =
        std::fs::write(&aside, encode(checkpoint)).and_then(|()| std::fs::rename(&aside, &path));
    if let Err(error) = written {
        tracing::warn!(path = %path.display(), %error, "what was granted to a resized pod could not be kept");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read_again() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(read(directory.path()), None);
        let mut own = ResourceRequirements::default();
        own.limits
            .insert("cpu", corten_core::Quantity::parse("20m").unwrap());
        let actuated = Sizes {
            cpu_limit: 10,
            memory_limit: 1 << 40,
            ..Sizes::default()
        };
        let checkpoint = Checkpoint {
            allocation: Allocation {
                pod: None,
                containers: [("a".into(), own)].into(),
            },
            group: Some(actuated),
            containers: [("a".into(), ("corten://1".into(), actuated))].into(),
        };
        write(directory.path(), &checkpoint);
        assert_eq!(read(directory.path()), Some(checkpoint));
        std::fs::write(file(directory.path()), "{").unwrap();
        assert_eq!(read(directory.path()), None);
    }
}
