//! ServiceAccount: every pod runs under an account that exists, and gets its token, unless told otherwise.

use super::{Denial, Operation, Review};
use corten_api::Object;
use corten_api::core::v1::{
    ConfigMapProjection, DownwardAPIProjection, DownwardAPIVolumeFile, KeyToPath,
    LocalObjectReference, ObjectFieldSelector, Pod, ProjectedVolumeSource, ServiceAccount,
    ServiceAccountTokenProjection, Volume, VolumeMount, VolumeProjection, VolumeSource,
};
use corten_core::{List, Str};

const DEFAULT: &str = "default";
const MIRROR: &str = "kubernetes.io/config.mirror";
const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const VOLUME_PREFIX: &str = "kube-api-access-";
/// Seconds that a mounted token is valid: an hour, and seven seconds so that tests can tell such tokens from others.
const TOKEN_SECONDS: i64 = 3607;
/// The file mode of everything in the volume.
const MODE: i32 = 0o644;

pub(super) fn mutate(review: &Review, object: &mut Object) -> Result<(), Denial> {
    if !review.is("", "pods") || review.operation != Operation::Create {
        return Ok(());
    }
    let Some(pod) = object.downcast_mut::<Pod>() else {
        return Ok(());
    };
    if pod.metadata.annotations.contains_key(MIRROR) {
        return mirror(pod);
    }
    if pod.spec.service_account_name.is_empty() {
        pod.spec.service_account_name = DEFAULT.into();
    }
    let name = pod.spec.service_account_name.clone();
    let Some(account) = review
        .snapshot
        .get::<ServiceAccount>(review.namespace, &name)
    else {
        let namespace = review.namespace;
        return Err(Denial::forbidden(format!(
            "error looking up service account {namespace}/{name}: serviceaccount {:?} not found",
            name.as_str()
        )));
    };
    pod.spec.deprecated_service_account = name;
    let wanted = pod
        .spec
        .automount_service_account_token
        .or(account.automount_service_account_token);
    if wanted.unwrap_or(true) {
        mount_token(pod, review.random);
    }
    if pod.spec.image_pull_secrets.is_empty() {
        pod.spec.image_pull_secrets = account.image_pull_secrets.clone();
    }
    Ok(())
}

/// The image of a static pod: it cannot use what only the API has.
fn mirror(pod: &Pod) -> Result<(), Denial> {
    if !pod.spec.service_account_name.is_empty() {
        return Err(Denial::forbidden(
            "a mirror pod may not reference service accounts",
        ));
    }
    if crate::node_references::names_secret(pod) {
        return Err(Denial::forbidden("a mirror pod may not reference secrets"));
    }
    let tokens = pod
        .spec
        .volumes
        .iter()
        .filter_map(|v| v.volume_source.projected.as_deref());
    if tokens
        .flat_map(|p| p.sources.iter())
        .any(|s| s.service_account_token.is_some())
    {
        return Err(Denial::forbidden(
            "a mirror pod may not use ServiceAccountToken volume projections",
        ));
    }
    Ok(())
}

fn mount_token(pod: &mut Pod, random: u64) {
    let existing = pod
        .spec
        .volumes
        .iter()
        .find(|v| v.name.starts_with(VOLUME_PREFIX))
        .map(|v| v.name.clone());
    let volume = existing
        .clone()
        .unwrap_or_else(|| format!("{VOLUME_PREFIX}{}", suffix(random)).into());
    let mut mounted = false;
    for container in pod
        .spec
        .init_containers
        .iter_mut()
        .chain(pod.spec.containers.iter_mut())
    {
        mounted |= mount(&mut container.volume_mounts, &volume);
    }
    if mounted && existing.is_none() {
        pod.spec.volumes.push(token_volume(volume));
    }
}

fn mount(mounts: &mut List<VolumeMount>, volume: &Str) -> bool {
    if mounts.iter().any(|m| m.mount_path == MOUNT_PATH) {
        return false;
    }
    mounts.push(VolumeMount {
        name: volume.clone(),
        read_only: true,
        mount_path: MOUNT_PATH.into(),
        ..Default::default()
    });
    true
}

/// Five characters of the alphabet that generated names use.
fn suffix(mut random: u64) -> String {
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut text = String::new();
    for _ in 0..5 {
        text.push(char::from(
            ALPHABET[(random % ALPHABET.len() as u64) as usize],
        ));
        random /= ALPHABET.len() as u64;
    }
    text
}

fn token_volume(name: Str) -> Volume {
    let token = VolumeProjection {
        service_account_token: Some(Box::new(ServiceAccountTokenProjection {
            path: "token".into(),
            expiration_seconds: Some(TOKEN_SECONDS),
            ..Default::default()
        })),
        ..Default::default()
    };
    let authority = VolumeProjection {
        config_map: Some(Box::new(ConfigMapProjection {
            local_object_reference: LocalObjectReference {
                name: "kube-root-ca.crt".into(),
            },
            items: List::from_iter([KeyToPath {
                key: "ca.crt".into(),
                path: "ca.crt".into(),
                mode: None,
            }]),
            optional: None,
        })),
        ..Default::default()
    };
    let namespace = DownwardAPIVolumeFile {
        path: "namespace".into(),
        field_ref: Some(Box::new(ObjectFieldSelector {
            api_version: "v1".into(),
            field_path: "metadata.namespace".into(),
        })),
        ..Default::default()
    };
    let downward = VolumeProjection {
        downward_api: Some(Box::new(DownwardAPIProjection {
            items: List::from_iter([namespace]),
        })),
        ..Default::default()
    };
    let projected = ProjectedVolumeSource {
        sources: List::from_iter([token, authority, downward]),
        default_mode: Some(MODE),
    };
    Volume {
        name,
        volume_source: VolumeSource {
            projected: Some(Box::new(projected)),
            ..Default::default()
        },
    }
}
