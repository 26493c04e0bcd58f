//! PersistentVolumes.

use super::columns;
use super::pod::default_resources;
use crate::rules::{Rules, with_status};
use crate::{Column, Context, DeleteAnswer, cells};
use corten_api::core::v1::PersistentVolume;
use corten_core::{Str, Time, Value};

/// The annotation that named the storage class before there was a field.
pub(super) const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";

/// The strategy of PersistentVolumes.
pub struct PersistentVolumes;

impl Rules for PersistentVolumes {
    type Of = PersistentVolume;
    with_status!();

    fn default(&self, volume: &mut PersistentVolume) {
        if volume.status.phase.is_empty() {
            volume.status.phase = "Pending".into();
        }
        let spec = &mut volume.spec;
        if spec.persistent_volume_reclaim_policy.is_empty() {
            spec.persistent_volume_reclaim_policy = "Retain".into();
        }
        spec.volume_mode.get_or_insert("Filesystem".into());
        default_resources(&mut spec.capacity);
        let source = &mut spec.persistent_volume_source;
        if let Some(host_path) = &mut source.host_path {
            host_path.type_.get_or_insert(Str::EMPTY);
        }
        let fill = |text: &mut Str, default: &'static str| {
            if text.is_empty() {
                *text = Str::from_static(default);
            }
        };
        if let Some(rbd) = &mut source.rbd {
            fill(&mut rbd.rbd_pool, "rbd");
            fill(&mut rbd.rados_user, "admin");
            fill(&mut rbd.keyring, "/etc/ceph/keyring");
        }
        if let Some(iscsi) = &mut source.iscsi {
            fill(&mut iscsi.iscsi_interface, "default");
        }
        if let Some(scale_io) = &mut source.scale_io {
            fill(&mut scale_io.storage_mode, "ThinProvisioned");
            fill(&mut scale_io.fs_type, "xfs");
        }
        if let Some(disk) = &mut source.azure_disk {
            disk.caching_mode.get_or_insert("ReadWrite".into());
            disk.fs_type.get_or_insert("ext4".into());
            disk.kind.get_or_insert("Shared".into());
            disk.read_only.get_or_insert(false);
        }
    }
    fn prepare_create(&self, cx: &Context, new: &mut PersistentVolume) {
        new.status.phase = "Pending".into();
        new.status.last_phase_transition_time = Some(cx.now);
    }
    fn prepare_update(
        &self,
        cx: &Context,
        part: &str,
        new: &mut PersistentVolume,
        old: &PersistentVolume,
    ) {
        if part != "status" {
            return;
        }
        let (time, before) = (
            new.status.last_phase_transition_time,
            old.status.last_phase_transition_time,
        );
        let same = old.status.phase == new.status.phase;
        if same && time.is_none() {
            new.status.last_phase_transition_time = before;
        } else if !same && (time.is_none() || time == before) {
            new.status.last_phase_transition_time = Some(cx.now);
        }
    }
    fn columns(&self) -> &'static [Column] {
        &columns::PERSISTENT_VOLUME
    }
    fn cells(&self, volume: &PersistentVolume, now: &Time) -> Vec<Value> {
        let spec = &volume.spec;
        let claim = spec
            .claim_ref
            .as_ref()
            .map_or(String::new(), |c| format!("{}/{}", c.namespace, c.name));
        let deleting = volume.metadata.deletion_timestamp.is_some();
        let class = volume
            .metadata
            .annotations
            .get(CLASS_ANNOTATION)
            .unwrap_or(&spec.storage_class_name);
        vec![
            Value::from(&volume.metadata.name),
            Value::from(
                spec.capacity
                    .get("storage")
                    .map_or_else(|| "0".to_owned(), |q| q.to_string()),
            ),
            Value::from(access_modes(&spec.access_modes)),
            Value::from(&spec.persistent_volume_reclaim_policy),
            Value::from(if deleting {
                "Terminating"
            } else {
                volume.status.phase.as_str()
            }),
            Value::from(claim),
            Value::from(class),
            or_unset(spec.volume_attributes_class_name.as_ref()),
            Value::from(&volume.status.reason),
            cells::age(&volume.metadata.creation_timestamp, now),
            or_unset(spec.volume_mode.as_ref()),
        ]
    }
    fn field_labels(&self) -> &'static [&'static str] {
        &["name"]
    }
    fn field_values(&self, volume: &PersistentVolume) -> Vec<Str> {
        vec![volume.metadata.name.clone()]
    }
    fn delete_answer(&self) -> DeleteAnswer {
        DeleteAnswer::Object
    }
}

pub(super) fn or_unset(text: Option<&Str>) -> Value {
    Value::from(text.map_or("<unset>", |t| t.as_str()))
}

/// `RWO,ROX`, each once and in this order.
pub(super) fn access_modes(modes: &[Str]) -> String {
    let known = [
        ("ReadWriteOnce", "RWO"),
        ("ReadOnlyMany", "ROX"),
        ("ReadWriteMany", "RWX"),
        ("ReadWriteOncePod", "RWOP"),
    ];
    let shown: Vec<&str> = known
        .iter()
        .filter(|(m, _)| modes.iter().any(|x| x == m))
        .map(|(_, s)| *s)
        .collect();
    shown.join(",")
}
