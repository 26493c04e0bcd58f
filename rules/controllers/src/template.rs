//! Pods made from a template on behalf of a controller.

use crate::plan::value_of;
use corten_api::Kind;
use corten_api::core::v1::{Pod, PodTemplateSpec};
use corten_api::meta::v1::{ObjectMeta, OwnerReference};
use corten_core::{List, Str};

/// Upstream keeps generated names within 63 characters: 58 of the owner's name and 5 random ones.
const NAME_BASE_MAX: usize = 58;

/// The reference that makes `owner` the one controller of an object.
pub fn controller_reference<T: Kind>(owner: &T) -> OwnerReference {
    OwnerReference {
        api_version: T::API_VERSION.into(),
        kind: T::KIND.into(),
        name: owner.meta().name.clone(),
        uid: owner.meta().uid.clone(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// The generateName of `owner`'s pods: its name, a dash if that is a valid prefix.
pub fn pod_name_prefix(owner: &str) -> Str {
    let base: String = owner.chars().take(NAME_BASE_MAX).collect();
    format!("{base}-").into()
}

/// A pod of `owner` as its template says: labels, annotations and finalizers are copied, the name is generated.
pub fn pod_from<T: Kind>(owner: &T, template: &PodTemplateSpec) -> Pod {
    Pod {
        metadata: ObjectMeta {
            namespace: owner.meta().namespace.clone(),
            generate_name: pod_name_prefix(&owner.meta().name),
            labels: template.metadata.labels.clone(),
            annotations: template.metadata.annotations.clone(),
            finalizers: template.metadata.finalizers.clone(),
            owner_references: List::from_iter([controller_reference(owner)]),
            ..Default::default()
        },
        spec: template.spec.clone(),
        ..Default::default()
    }
}

/// A short name for a template: FNV-1a over its JSON form and the collision count, in upstream's vowel-free alphabet.
pub fn template_hash(template: &PodTemplateSpec, collisions: Option<i32>) -> String {
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut hash: u32 = 0x811c_9dc5;
    let mut feed = |bytes: &[u8]| {
        for byte in bytes {
            hash = (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
        }
    };
    feed(value_of(template).to_string().as_bytes());
    if let Some(count) = collisions.filter(|count| *count != 0) {
        feed(&count.to_le_bytes());
    }
    hash.to_string()
        .bytes()
        .map(|digit| char::from(ALPHABET[usize::from(digit) % ALPHABET.len()]))
        .collect()
}
