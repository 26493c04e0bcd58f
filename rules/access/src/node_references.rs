//! What pods and volumes refer to: the secrets, config maps and claims that a node needs for them.
//!
//! Invariant: every source that names an object is looked at. Leaves out who may read what follows from that.

use corten_api::core::v1::{
    EnvFromSource, EnvVar, EnvVarSource, PersistentVolume, Pod, SecretReference, Volume,
};

/// The secret reference inside an optional source.
macro_rules! secret_of {
    ($source:expr, $kind:ident) => {
        secret_of!($source, $kind, secret_ref)
    };
    ($source:expr, $kind:ident, $field:ident) => {
        $source.$kind.as_deref().and_then(|s| s.$field.as_deref())
    };
}

/// Whether nodes need the secret to use the volume. Where a source names no namespace, its claim's is meant.
pub(crate) fn volume_needs_secret(volume: &PersistentVolume, namespace: &str, name: &str) -> bool {
    let source = &volume.spec.persistent_volume_source;
    let claim = volume.spec.claim_ref.as_deref();
    let claim_namespace = claim.map_or("", |c| c.namespace.as_str());
    let or_claims = |given: &str| match given.is_empty() {
        true => claim_namespace == namespace,
        false => given == namespace,
    };
    let is_meant = |r: &SecretReference| r.name == name && r.namespace == namespace;
    let may_default = |r: &SecretReference| r.name == name && or_claims(&r.namespace);
    if name.is_empty() {
        return false;
    }
    if let Some(azure) = source.azure_file.as_deref() {
        let given = azure.secret_namespace.as_deref().unwrap_or_default();
        return azure.secret_name == name && or_claims(given);
    }
    let defaulting = [
        secret_of!(source, ceph_fs),
        secret_of!(source, flex_volume),
        secret_of!(source, rbd),
        secret_of!(source, scale_io),
        secret_of!(source, iscsi),
    ];
    let exact = [
        secret_of!(source, cinder),
        secret_of!(source, csi, node_publish_secret_ref),
        secret_of!(source, csi, node_stage_secret_ref),
        secret_of!(source, csi, node_expand_secret_ref),
    ];
    let storage_os = secret_of!(source, storage_os);
    defaulting.into_iter().flatten().any(may_default)
        || exact.into_iter().flatten().any(is_meant)
        || storage_os.is_some_and(|r| r.name == name && r.namespace == namespace)
}

/// Whether the pod refers to any secret.
pub(crate) fn names_secret(pod: &Pod) -> bool {
    uses_secret(pod, &|_: &str| true)
}

/// Whether the pod refers to any config map.
pub(crate) fn names_config_map(pod: &Pod) -> bool {
    uses_config_map(pod, &|_: &str| true)
}

/// Whether a name is meant.
type Meant<'a> = &'a dyn Fn(&str) -> bool;

/// What containers take environment variables from.
struct Reads {
    one: fn(&EnvVarSource) -> Option<&str>,
    all: fn(&EnvFromSource) -> Option<&str>,
}

const SECRETS: Reads = Reads {
    one: |source| {
        let key = source.secret_key_ref.as_deref()?;
        Some(&key.local_object_reference.name)
    },
    all: |source| {
        let secret = source.secret_ref.as_deref()?;
        Some(&secret.local_object_reference.name)
    },
};

const CONFIG_MAPS: Reads = Reads {
    one: |source| {
        let key = source.config_map_key_ref.as_deref()?;
        Some(&key.local_object_reference.name)
    },
    all: |source| {
        let map = source.config_map_ref.as_deref()?;
        Some(&map.local_object_reference.name)
    },
};

/// Whether the pod's containers take environment variables from one that is meant.
fn environment_uses(pod: &Pod, meant: Meant, reads: &Reads) -> bool {
    let uses = |env: &[EnvVar], env_from: &[EnvFromSource]| {
        let single = env.iter().filter_map(|e| e.value_from.as_deref());
        single.filter_map(reads.one).any(meant) || env_from.iter().filter_map(reads.all).any(meant)
    };
    let spec = &pod.spec;
    let mut regular = spec.init_containers.iter().chain(spec.containers.iter());
    let mut ephemeral = spec.ephemeral_containers.iter();
    regular.any(|c| uses(&c.env, &c.env_from))
        || ephemeral.any(|c| {
            let common = &c.ephemeral_container_common;
            uses(&common.env, &common.env_from)
        })
}

/// Whether the pod refers to a secret that is meant.
pub(crate) fn uses_secret(pod: &Pod, meant: Meant) -> bool {
    let mut volumes = pod.spec.volumes.iter();
    pod.spec.image_pull_secrets.iter().any(|s| meant(&s.name))
        || volumes.any(|v| volume_uses_secret(v, meant))
        || environment_uses(pod, meant, &SECRETS)
}

fn volume_uses_secret(volume: &Volume, meant: Meant) -> bool {
    let source = &volume.volume_source;
    let local = [
        secret_of!(source, ceph_fs),
        secret_of!(source, cinder),
        secret_of!(source, flex_volume),
        secret_of!(source, rbd),
        secret_of!(source, scale_io),
        secret_of!(source, iscsi),
        secret_of!(source, storage_os),
        secret_of!(source, csi, node_publish_secret_ref),
    ];
    let secret = source.secret.as_deref();
    let azure = source.azure_file.as_deref();
    let projected = source.projected.iter().flat_map(|p| p.sources.iter());
    secret.is_some_and(|s| meant(&s.secret_name))
        || azure.is_some_and(|s| meant(&s.secret_name))
        || local.into_iter().flatten().any(|s| meant(&s.name))
        || projected
            .filter_map(|p| p.secret.as_deref())
            .any(|s| meant(&s.local_object_reference.name))
}

/// Whether the pod refers to a config map that is meant.
pub(crate) fn uses_config_map(pod: &Pod, meant: Meant) -> bool {
    let in_volume = |volume: &Volume| {
        let source = &volume.volume_source;
        let map = source.config_map.as_deref();
        let projected = source.projected.iter().flat_map(|p| p.sources.iter());
        map.is_some_and(|c| meant(&c.local_object_reference.name))
            || projected
                .filter_map(|p| p.config_map.as_deref())
                .any(|c| meant(&c.local_object_reference.name))
    };
    pod.spec.volumes.iter().any(in_volume) || environment_uses(pod, meant, &CONFIG_MAPS)
}

/// Whether the pod uses a claim, its own ephemeral ones counted.
pub(crate) fn uses_claim(pod: &Pod, name: &str) -> bool {
    pod.spec.volumes.iter().any(|v| {
        let claim = v.volume_source.persistent_volume_claim.as_deref();
        claim.is_some_and(|c| c.claim_name == name)
            || (v.volume_source.ephemeral.is_some()
                && name == format!("{}-{}", pod.metadata.name, v.name))
    })
}

/// Whether the pod uses a resource claim, those made for it counted.
pub(crate) fn uses_resource_claim(pod: &Pod, name: &str) -> bool {
    let mut named = pod.spec.resource_claims.iter();
    let made = pod.status.resource_claim_statuses.iter();
    let extended = pod.status.extended_resource_claim_status.as_deref();
    named.any(|c| c.resource_claim_name.as_ref().is_some_and(|n| n == name))
        || extended.is_some_and(|c| c.resource_claim_name == name)
        || made
            .filter_map(|c| c.resource_claim_name.as_ref())
            .any(|n| n == name)
}
