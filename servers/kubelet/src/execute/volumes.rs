//! Making a pod's volumes, and keeping the files in them current.

use crate::container::downward;
use crate::container::mounts::{Ready, Source as At};
use crate::execute::{blocking, credentials, image, token};
use crate::pod::context::Work;
use corten_api::core::v1::{
    ConfigMap, DownwardAPIVolumeFile, Pod, Secret, ServiceAccountTokenProjection, Volume,
};
use corten_core::{List, Str};
use corten_podplan::Note;
use corten_volumes::{
    ContainerMount, DesiredVolume, HostPathType, KeyToPath, Medium, Payload, PayloadPlugin,
    Presence, Source, memory_bytes_max, nested_mount_points,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How soon refreshing is tried again after it failed.
const RETRY: Duration = Duration::from_secs(30);

/// What payloads are made from.
struct Material {
    config_maps: BTreeMap<Str, Option<ConfigMap>>,
    secrets: BTreeMap<Str, Option<Secret>>,
    refresh_at: Option<Instant>,
}

impl Material {
    /// Has the files brought up to date at this moment, or earlier.
    fn refresh_by(&mut self, at: Instant) {
        self.refresh_at = Some(self.refresh_at.map_or(at, |earlier| earlier.min(at)));
    }
}

/// Makes every volume of the pod.
pub(crate) async fn mount(work: &Work) -> Result<(), String> {
    let _alone = work.volumes_busy.lock().await;
    let pod = work.pod();
    let (config_maps, secrets) = work.referenced().await?;
    let mut material = Material {
        config_maps,
        secrets,
        refresh_at: None,
    };
    let mut ready = Ready::new();
    let mut failures = Vec::new();
    for volume in &pod.spec.volumes {
        match one(work, &pod, volume, &mut material).await {
            Ok(at) => {
                ready.insert(volume.name.to_string(), at);
            }
            Err(error) => {
                let text = format!(
                    "MountVolume.SetUp failed for volume {:?} : {error}",
                    volume.name.as_str()
                );
                work.tell(Note::warning("", "FailedMount", text.clone()));
                failures.push(text);
            }
        }
    }
    work.set_ready(ready, material.refresh_at);
    if failures.is_empty() {
        Ok(())
    } else {
        Err(failures.join("; "))
    }
}

/// Brings the files of mounted volumes up to date.
pub(crate) async fn refresh(work: Arc<Work>) {
    work.postpone_refresh(None);
    if let Err(error) = mount(&work).await {
        tracing::info!(pod = %work.pod().metadata.full_name(), %error, "mounted files could not be brought up to date");
        work.postpone_refresh(Some(Instant::now() + RETRY));
    }
}

async fn one(
    work: &Work,
    pod: &Pod,
    volume: &Volume,
    material: &mut Material,
) -> Result<At, String> {
    if let Some(image) = &volume.volume_source.image {
        let found = image::image_of(work, pod, "", &image.reference, &image.pull_policy)
            .await
            .map_err(|(reason, message)| format!("{reason}: {message}"))?;
        let mut layers = work.context.engines.images.lower_directories(&found);
        layers.reverse();
        return Ok(At::Layers(layers));
    }
    let source = source(work, pod, volume, material).await?;
    let group = pod.spec.security_context.as_ref().and_then(|c| c.fs_group);
    let desired = DesiredVolume {
        name: volume.name.to_string(),
        source,
        fs_group: group.and_then(|g| u32::try_from(g).ok()),
        nested: nested(pod, &volume.name)?,
    };
    let (engine, uid) = (
        work.context.engines.volumes.clone(),
        pod.metadata.uid.to_string(),
    );
    let made = blocking(move || engine.ensure(&uid, &desired).map_err(|e| e.to_string())).await?;
    Ok(At::Path(made.path))
}

fn nested(pod: &Pod, volume: &str) -> Result<Vec<String>, String> {
    let mounts: Vec<Vec<ContainerMount>> = corten_podplan::all_containers(&pod.spec)
        .map(|container| {
            let mounts = container.volume_mounts.iter();
            mounts
                .map(|m| ContainerMount {
                    volume: m.name.to_string(),
                    mount_path: m.mount_path.to_string(),
                })
                .collect()
        })
        .collect();
    nested_mount_points(volume, &mounts).map_err(|e| e.to_string())
}

async fn source(
    work: &Work,
    pod: &Pod,
    volume: &Volume,
    material: &mut Material,
) -> Result<Source, String> {
    let from = &volume.volume_source;
    if let Some(dir) = &from.empty_dir {
        return Ok(Source::EmptyDir(medium(work, dir)));
    }
    if let Some(path) = &from.host_path {
        let kind = path.type_.as_deref().unwrap_or_default();
        let kind =
            HostPathType::parse(kind).ok_or_else(|| format!("unknown hostPath type {kind:?}"))?;
        return Ok(Source::HostPath {
            path: path.path.to_string(),
            kind,
        });
    }
    let (plugin, files) = if let Some(map) = &from.config_map {
        let presence = presence(map.optional);
        let name = &map.local_object_reference.name;
        let mode = mode(map.default_mode);
        (
            PayloadPlugin::ConfigMap,
            config_map(material, name, &map.items, mode, presence)?,
        )
    } else if let Some(secret) = &from.secret {
        let mode = mode(secret.default_mode);
        let presence = presence(secret.optional);
        (
            PayloadPlugin::Secret,
            secret_files(material, &secret.secret_name, &secret.items, mode, presence)?,
        )
    } else if let Some(api) = &from.downward_api {
        (
            PayloadPlugin::DownwardApi,
            downward_files(work, pod, &api.items, mode(api.default_mode))?,
        )
    } else if let Some(projected) = &from.projected {
        (
            PayloadPlugin::Projected,
            projection(work, pod, &volume.name, projected, material).await?,
        )
    } else if from.persistent_volume_claim.is_some() || from.ephemeral.is_some() {
        return Err("persistent volumes are not supported by this node".to_owned());
    } else {
        return Err("no volume plugin matched".to_owned());
    };
    let bytes_max = Some(memory_bytes_max(
        work.context.memory().max(0) as u64,
        None,
        None,
    ));
    Ok(Source::Payload {
        plugin,
        files,
        bytes_max,
    })
}

fn medium(work: &Work, dir: &corten_api::core::v1::EmptyDirVolumeSource) -> Medium {
    let limit = dir
        .size_limit
        .as_ref()
        .and_then(|q| u64::try_from(q.value()).ok());
    match dir.medium.as_str() {
        "Memory" => {
            let memory = work.context.memory().max(0) as u64;
            Medium::Memory {
                bytes_max: Some(memory_bytes_max(memory, None, limit)),
            }
        }
        "HugePages" => Medium::HugePages {
            page_bytes: 2 << 20,
        },
        other => match other.strip_prefix("HugePages-") {
            Some(size) => {
                let size = corten_core::Quantity::parse(size).map_or(2 << 20, |q| q.value());
                Medium::HugePages {
                    page_bytes: size.max(0) as u64,
                }
            }
            None => Medium::Disk,
        },
    }
}

fn presence(optional: Option<bool>) -> Presence {
    match optional {
        Some(true) => Presence::Optional,
        _ => Presence::Required,
    }
}

fn mode(mode: Option<i32>) -> u32 {
    mode.and_then(|m| u32::try_from(m).ok()).unwrap_or(0o644)
}

fn items(items: &List<corten_api::core::v1::KeyToPath>) -> Vec<KeyToPath> {
    let item = |i: &corten_api::core::v1::KeyToPath| KeyToPath {
        key: i.key.to_string(),
        path: i.path.to_string(),
        mode: i.mode.and_then(|m| u32::try_from(m).ok()),
    };
    items.iter().map(item).collect()
}

fn config_map(
    material: &Material,
    name: &Str,
    wanted: &List<corten_api::core::v1::KeyToPath>,
    mode: u32,
    presence: Presence,
) -> Result<Payload, String> {
    let found = material.config_maps.get(name).and_then(Option::as_ref);
    if found.is_none() && presence == Presence::Required {
        return Err(format!("configmap {:?} not found", name.as_str()));
    }
    let mut data: BTreeMap<&str, &[u8]> = BTreeMap::new();
    if let Some(map) = found {
        data.extend(map.data.iter().map(|(k, v)| (k.as_str(), v.as_bytes())));
        data.extend(map.binary_data.iter().map(|(k, v)| (k.as_str(), &v[..])));
    }
    Payload::from_config_map(&items(wanted), &data, mode, presence).map_err(|e| e.to_string())
}

fn secret_files(
    material: &Material,
    name: &Str,
    wanted: &List<corten_api::core::v1::KeyToPath>,
    mode: u32,
    presence: Presence,
) -> Result<Payload, String> {
    let found = material.secrets.get(name).and_then(Option::as_ref);
    if found.is_none() && presence == Presence::Required {
        return Err(format!("secret {:?} not found", name.as_str()));
    }
    let data: BTreeMap<&str, &[u8]> = found
        .iter()
        .flat_map(|s| s.data.iter())
        .map(|(k, v)| (k.as_str(), &v[..]))
        .collect();
    Payload::from_secret(&items(wanted), &data, mode, presence).map_err(|e| e.to_string())
}

fn downward_files(
    work: &Work,
    pod: &Pod,
    files: &List<DownwardAPIVolumeFile>,
    default_mode: u32,
) -> Result<Payload, String> {
    let mut payload = Payload::new();
    let facts = &work.context.facts;
    for file in files {
        let text = if let Some(field) = &file.field_ref {
            downward::field(pod, &field.field_path, facts, &work.ips())?
        } else if let Some(r) = &file.resource_field_ref {
            downward::resource(
                &pod.spec,
                "",
                &r.container_name,
                &r.resource,
                &r.divisor,
                facts,
            )?
        } else {
            continue;
        };
        let mode = file
            .mode
            .and_then(|m| u32::try_from(m).ok())
            .unwrap_or(default_mode);
        payload
            .put(&file.path, text.into_bytes(), mode)
            .map_err(|e| e.to_string())?;
    }
    Ok(payload)
}

async fn projection(
    work: &Work,
    pod: &Pod,
    volume: &str,
    projected: &corten_api::core::v1::ProjectedVolumeSource,
    material: &mut Material,
) -> Result<Payload, String> {
    let default_mode = mode(projected.default_mode);
    let mut payload = Payload::new();
    for (index, part) in projected.sources.iter().enumerate() {
        let files = if let Some(map) = &part.config_map {
            let name = &map.local_object_reference.name;
            config_map(
                material,
                name,
                &map.items,
                default_mode,
                presence(map.optional),
            )?
        } else if let Some(secret) = &part.secret {
            let name = &secret.local_object_reference.name;
            secret_files(
                material,
                name,
                &secret.items,
                default_mode,
                presence(secret.optional),
            )?
        } else if let Some(api) = &part.downward_api {
            downward_files(work, pod, &api.items, default_mode)?
        } else if let Some(wanted) = &part.service_account_token {
            account_token(work, pod, wanted, default_mode, material).await?
        } else if let Some(wanted) = &part.cluster_trust_bundle {
            let (text, refresh_at) = credentials::trust_bundle(work, wanted).await?;
            material.refresh_by(refresh_at);
            secret_file(pod, &[(&wanted.path, text)], default_mode)?
        } else if let Some(wanted) = &part.pod_certificate {
            let given = credentials::certificate(work, pod, (volume, index), wanted).await?;
            material.refresh_by(given.refresh_at);
            let both = format!("{}{}", given.key, given.chain);
            let files = [
                (&wanted.credential_bundle_path, both),
                (&wanted.key_path, given.key),
                (&wanted.certificate_chain_path, given.chain),
            ];
            secret_file(pod, &files, default_mode)?
        } else {
            continue;
        };
        payload.merge(files);
    }
    Ok(payload)
}

async fn account_token(
    work: &Work,
    pod: &Pod,
    wanted: &ServiceAccountTokenProjection,
    default_mode: u32,
    material: &mut Material,
) -> Result<Payload, String> {
    let seconds = wanted.expiration_seconds.unwrap_or(3600);
    let token = token::token(work, &wanted.audience, seconds).await?;
    material.refresh_by(token.refresh_at);
    secret_file(pod, &[(&wanted.path, token.text)], default_mode)
}

/// Files that only the pod's user reads; those without a path are left out.
fn secret_file(pod: &Pod, files: &[(&Str, String)], mode: u32) -> Result<Payload, String> {
    let shared = pod.spec.security_context.as_deref();
    let group = shared.and_then(|c| c.fs_group);
    let group = group.and_then(|g| u32::try_from(g).ok());
    let mut payload = Payload::new();
    for (path, text) in files.iter().filter(|(path, _)| !path.is_empty()) {
        payload
            .put_credential(path, text.clone(), mode, only_user(pod), group)
            .map_err(|e| e.to_string())?;
    }
    Ok(payload)
}

/// The user that all containers run as, if there is one.
fn only_user(pod: &Pod) -> Option<u32> {
    let mut users = corten_podplan::all_containers(&pod.spec)
        .map(|container| crate::container::security::run_as_user(pod, &container));
    let first = users.next().flatten()?;
    users
        .all(|user| user == Some(first))
        .then(|| u32::try_from(first).ok())
        .flatten()
}
