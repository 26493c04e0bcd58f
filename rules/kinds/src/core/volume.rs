//! PersistentVolumes.

use super::claim::access_mode_list;
use super::pod::default_resources;
use super::pod::validate::{scheduling, volumes};
use super::{columns, volume_spec};
use crate::checks::{self, Errors};
use crate::error::verbatim;
use crate::rules::{Rules, with_status};
use crate::{Column, Context, DeleteAnswer, FieldError, cells, difference, internal};
use corten_api::core::v1::{
    CSIPersistentVolumeSource, PersistentVolume, PersistentVolumeSource, PersistentVolumeSpec,
};
use corten_core::{MsgRef, Path, Ref, Str, Time, Value, semantic_eq};

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
    fn validate_create(&self, _cx: &Context, new: &PersistentVolume) -> Vec<FieldError> {
        validate(&new.spec)
    }
    fn validate_update(
        &self,
        _cx: &Context,
        part: &str,
        new: &PersistentVolume,
        old: &PersistentVolume,
    ) -> Vec<FieldError> {
        if !part.is_empty() {
            return vec![];
        }
        let mut errors = validate(&new.spec);
        let (source, before) = (
            &new.spec.persistent_volume_source,
            &old.spec.persistent_volume_source,
        );
        if !semantic_eq(source, before) {
            let text = format!(
                "spec.persistentvolumesource is immutable after creation\n{}",
                difference::of_structs(before, source)
            );
            errors.push(FieldError::forbidden("spec.persistentvolumesource", text));
        }
        if let Some(before) = &old.spec.node_affinity
            && !new
                .spec
                .node_affinity
                .as_ref()
                .is_some_and(|now| semantic_eq(&**now, &**before))
        {
            let shown = new
                .spec
                .node_affinity
                .as_ref()
                .map_or(verbatim("null"), |a| internal::printed(&**a));
            let text = "field is immutable, except for updating from beta label to GA";
            errors.push(FieldError::invalid("nodeAffinity", shown, text));
        }
        let same = new.spec.volume_mode == old.spec.volume_mode;
        checks::immutable(
            &mut errors,
            &Path::Root.f("volumeMode"),
            same,
            new.spec.volume_mode.clone(),
        );
        errors
    }
    fn warnings(
        &self,
        _cx: &Context,
        new: &PersistentVolume,
        _old: Option<&PersistentVolume>,
    ) -> Vec<String> {
        warnings(new)
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
    fn delete_answer(&self) -> DeleteAnswer {
        DeleteAnswer::Object
    }
}

fn warnings(volume: &PersistentVolume) -> Vec<String> {
    let mut out = Vec::new();
    let annotations = Path::Root.f("metadata");
    let annotations = annotations.f("annotations");
    for (key, text) in [
        (
            CLASS_ANNOTATION,
            "deprecated since v1.8; use \"storageClassName\" attribute instead",
        ),
        (
            "volume.beta.kubernetes.io/mount-options",
            "deprecated since v1.31; use \"mountOptions\" attribute instead",
        ),
    ] {
        if volume.metadata.annotations.contains_key(key) {
            out.push(format!("{}: {text}", annotations.k(key)));
        }
    }
    if volume.spec.persistent_volume_reclaim_policy == "Recycle" {
        out.push(
            "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended \
             approach is to use dynamic provisioning."
                .to_owned(),
        );
    }
    let spec = Path::Root.f("spec");
    for (key, _) in volume_spec::given(MsgRef::new(&volume.spec.persistent_volume_source)) {
        if let Some(text) = volume_spec::retired(key) {
            let shown = if key == "storageos" { "storageOS" } else { key };
            out.push(format!("{}: {text}", spec.f(shown)));
        }
    }
    out
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

fn validate(spec: &PersistentVolumeSpec) -> Errors {
    let mut errors = Vec::new();
    let path = Path::Root.f("spec");
    let at = path.f("accessModes");
    if spec.access_modes.is_empty() {
        errors.push(FieldError::required(&at, ""));
    }
    access_mode_list(&mut errors, &at, &spec.access_modes);
    let at = path.f("capacity");
    if spec.capacity.is_empty() {
        errors.push(FieldError::required(&at, ""));
    }
    if !spec.capacity.contains_key("storage") || spec.capacity.len() > 1 {
        let amounts = spec.capacity.iter();
        let amounts = amounts.map(|(k, q)| (k.clone(), Value::from(q.to_string())));
        let shown = if spec.capacity.is_nil() {
            crate::error::verbatim("null")
        } else {
            Value::Map(amounts.collect())
        };
        errors.push(FieldError::not_supported(&at, shown, &["storage"]));
    }
    for (name, amount) in spec.capacity.iter().filter(|(_, q)| q.sign() <= 0) {
        errors.push(FieldError::invalid(
            at.k(name),
            amount.to_string(),
            "must be greater than zero",
        ));
    }
    let policies = ["Delete", "Recycle", "Retain"];
    checks::known(
        &mut errors,
        &path.f("persistentVolumeReclaimPolicy"),
        &spec.persistent_volume_reclaim_policy,
        &policies,
    );
    if let Some(affinity) = &spec.node_affinity {
        let at = path.f("nodeAffinity");
        match &affinity.required {
            Some(selector) => scheduling::node_selector(&mut errors, &at.f("required"), selector),
            None => errors.push(FieldError::required(
                at.f("required"),
                "must specify required node constraints",
            )),
        }
    }
    source(&mut errors, &path, spec);
    if !spec.storage_class_name.is_empty() {
        checks::dns_subdomain(
            &mut errors,
            &path.f("storageClassName"),
            &spec.storage_class_name,
        );
    }
    attributes_class(&mut errors, &path, spec);
    if let Some(mode) = &spec.volume_mode {
        checks::known(
            &mut errors,
            &path.f("volumeMode"),
            mode,
            &["Block", "Filesystem"],
        );
    }
    errors
}

fn attributes_class(errors: &mut Errors, path: &Path, spec: &PersistentVolumeSpec) {
    if let Some(class) = &spec.volume_attributes_class_name {
        let at = path.f("volumeAttributesClassName");
        if class.is_empty() {
            errors.push(FieldError::required(&at, "an empty string is disallowed"));
        } else {
            checks::dns_subdomain(errors, &at, class);
        }
        if spec.persistent_volume_source.csi.is_none() {
            let text = "has to be specified when using volumeAttributesClassName";
            errors.push(FieldError::required(path.f("csi"), text));
        }
    }
}

/// The names of the sources that are set.
fn present(source: &PersistentVolumeSource) -> Vec<&'static str> {
    let view = MsgRef::new(source);
    let set = (0..view.msg().json.len()).filter(|&i| !matches!(view.json(i), Ref::Nil));
    set.map(|i| view.msg().json[i].key).collect()
}

fn source(errors: &mut Errors, path: &Path, spec: &PersistentVolumeSpec) {
    let source = &spec.persistent_volume_source;
    let present = present(source);
    if present.is_empty() {
        errors.push(FieldError::required(path, "must specify a volume type"));
    }
    for name in present.iter().skip(1) {
        errors.push(FieldError::forbidden(
            path.f(name),
            "may not specify more than 1 volume type",
        ));
    }
    if let Some(host) = &source.host_path {
        volumes::host_path(errors, &path.f("hostPath"), host);
        if host.path == "/" && spec.persistent_volume_reclaim_policy == "Recycle" {
            let text = "may not be 'recycle' for a hostPath mount of '/'";
            errors.push(FieldError::forbidden(
                path.f("persistentVolumeReclaimPolicy"),
                text,
            ));
        }
    }
    if let Some(nfs) = &source.nfs {
        volumes::nfs_source(errors, &path.f("nfs"), nfs);
    }
    for (key, message) in volume_spec::given(MsgRef::new(source)).into_iter().take(1) {
        let at = path.f(if key == "gcePersistentDisk" {
            "persistentDisk"
        } else {
            key
        });
        volume_spec::source(errors, &at, key, message, volume_spec::Owner::Cluster);
    }
    let first = |name: &str| present.first().is_some_and(|p| *p == name);
    if let Some(local) = source.local.as_ref().filter(|_| first("local")) {
        let at = path.f("local");
        if local.path.is_empty() {
            errors.push(FieldError::required(at.f("path"), ""));
        } else {
            checks::no_backsteps(errors, &at.f("path"), &local.path);
        }
        if spec.node_affinity.is_none() {
            errors.push(FieldError::required(
                path.f("nodeAffinity"),
                "Local volume requires node affinity",
            ));
        }
    }
    if let Some(csi) = &source.csi {
        let at = path.f("csi");
        volumes::csi_driver(errors, &at.f("driver"), &csi.driver);
        checks::required(errors, &at.f("volumeHandle"), &csi.volume_handle);
        secrets(errors, &at, csi);
    }
}

/// Secrets that a driver is called with name their namespace too.
fn secrets(errors: &mut Errors, path: &Path, csi: &CSIPersistentVolumeSource) {
    for (name, secret) in [
        (
            "controllerPublishSecretRef",
            &csi.controller_publish_secret_ref,
        ),
        (
            "controllerExpandSecretRef",
            &csi.controller_expand_secret_ref,
        ),
        ("nodePublishSecretRef", &csi.node_publish_secret_ref),
        ("nodeExpandSecretRef", &csi.node_expand_secret_ref),
    ] {
        let Some(secret) = secret else { continue };
        let at = path.f(name);
        for (member, text) in [("name", &secret.name), ("namespace", &secret.namespace)] {
            if text.is_empty() {
                errors.push(FieldError::required(at.f(member), ""));
            } else {
                checks::dns_label(errors, &at.f(member), text);
            }
        }
    }
}
