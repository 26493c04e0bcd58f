//! Volumes of pods: one source each, and what each source must say. Sources of storage systems that no longer run in
//! tree are `volume_spec`'s.

use super::Scope;
use super::credentials::{certificate_paths, pod_certificate, trust_bundle};
use super::env::{FILE_FIELDS, Place, field_ref, resource_ref};
use crate::checks::{self, Errors, file_mode, file_path, required};
use crate::core::claim::validate_claim_template;
use crate::core::volume_spec;
use crate::error::FieldError;
use crate::names;
use corten_api::core::v1::{
    CSIVolumeSource, DownwardAPIVolumeFile, HostPathVolumeSource, ImageVolumeSource, KeyToPath,
    NFSVolumeSource, ProjectedVolumeSource, ServiceAccountTokenProjection, Volume,
    VolumeProjection, VolumeSource,
};
use corten_core::Path;

/// Checks all volumes; answers those that mounts can name.
pub(super) fn volumes<'a>(errors: &mut Errors, path: &Path, scope: &Scope<'a>) -> Vec<&'a Volume> {
    let list = &scope.spec.volumes;
    let mut fine: Vec<&Volume> = Vec::new();
    let pod_name = scope.meta.map_or("", |m| m.name.as_str());
    let made = |claim: &str| {
        let volumes = list.iter().filter(|v| v.volume_source.ephemeral.is_some());
        !pod_name.is_empty()
            && volumes
                .into_iter()
                .any(|v| claim == format!("{pod_name}-{}", v.name))
    };
    for (i, volume) in list.iter().enumerate() {
        let at = path.i(i);
        let before = errors.len();
        source(errors, &at, volume, scope);
        if volume.name.is_empty() {
            errors.push(FieldError::required(at.f("name"), ""));
        } else {
            checks::dns_label(errors, &at.f("name"), &volume.name);
        }
        if fine.iter().any(|v| v.name == volume.name) {
            errors.push(FieldError::duplicate(at.f("name"), &volume.name));
        }
        if errors.len() == before {
            fine.push(volume);
        }
        if let Some(claim) = volume
            .volume_source
            .persistent_volume_claim
            .as_ref()
            .filter(|c| made(&c.claim_name))
        {
            errors.push(FieldError::invalid(
                at.f("persistentVolumeClaim").f("claimName"),
                &claim.claim_name,
                "must not reference a PVC that gets created for an ephemeral volume",
            ));
        }
    }
    fine
}

/// The sources that are set, in the order in which upstream looks at them, with the name in its message.
fn present(s: &VolumeSource) -> Vec<&'static str> {
    [
        ("emptyDir", s.empty_dir.is_some()),
        ("hostPath", s.host_path.is_some()),
        ("gitRepo", s.git_repo.is_some()),
        ("gcePersistentDisk", s.gce_persistent_disk.is_some()),
        ("awsElasticBlockStore", s.aws_elastic_block_store.is_some()),
        ("secret", s.secret.is_some()),
        ("nfs", s.nfs.is_some()),
        ("iscsi", s.iscsi.is_some()),
        ("glusterfs", s.glusterfs.is_some()),
        ("flocker", s.flocker.is_some()),
        ("persistentVolumeClaim", s.persistent_volume_claim.is_some()),
        ("rbd", s.rbd.is_some()),
        ("cinder", s.cinder.is_some()),
        ("cephFS", s.ceph_fs.is_some()),
        ("quobyte", s.quobyte.is_some()),
        // Upstream's message misspells the field.
        ("downwarAPI", s.downward_api.is_some()),
        ("fc", s.fc.is_some()),
        ("flexVolume", s.flex_volume.is_some()),
        ("configMap", s.config_map.is_some()),
        ("azureFile", s.azure_file.is_some()),
        ("vsphereVolume", s.vsphere_volume.is_some()),
        ("photonPersistentDisk", s.photon_persistent_disk.is_some()),
        ("portworxVolume", s.portworx_volume.is_some()),
        ("azureDisk", s.azure_disk.is_some()),
        ("storageos", s.storage_os.is_some()),
        ("projected", s.projected.is_some()),
        ("scaleIO", s.scale_io.is_some()),
        ("csi", s.csi.is_some()),
        ("ephemeral", s.ephemeral.is_some()),
        ("image", s.image.is_some()),
    ]
    .into_iter()
    .filter_map(|(name, set)| set.then_some(name))
    .collect()
}

fn source(errors: &mut Errors, path: &Path, volume: &Volume, scope: &Scope) {
    let source = &volume.volume_source;
    let present = present(source);
    let Some((first, more)) = present.split_first() else {
        errors.push(FieldError::required(path, "must specify a volume type"));
        return;
    };
    // Where upstream's paths have other names than the fields, or than its own messages.
    let at = path.f(match *first {
        "downwarAPI" => "downwardAPI",
        "cephFS" => "cephfs",
        "gcePersistentDisk" => "persistentDisk",
        first => first,
    });
    local_source(errors, &at, source);
    let key = if *first == "cephFS" { "cephfs" } else { first };
    let given = volume_spec::given(corten_core::MsgRef::new(source));
    if let Some((_, message)) = given.into_iter().find(|(name, _)| *name == key) {
        volume_spec::source(errors, &at, key, message, volume_spec::Owner::Pod);
    }
    if let Some(nfs) = source.nfs.as_ref().filter(|_| *first == "nfs") {
        nfs_source(errors, &at, nfs);
    }
    if let Some(csi) = source.csi.as_ref().filter(|_| *first == "csi") {
        csi_source(errors, &at, csi);
    }
    if let Some(image) = source.image.as_ref().filter(|_| *first == "image") {
        image_source(errors, &at, image, scope);
    }
    if let Some(ephemeral) = source.ephemeral.as_ref().filter(|_| *first == "ephemeral") {
        let at = at.f("volumeClaimTemplate");
        match &ephemeral.volume_claim_template {
            None => errors.push(FieldError::required(&at, "")),
            Some(template) if !template.metadata.name.is_empty() => {
                let at = at.f("metadata");
                errors.push(FieldError::forbidden(at.f("name"), "cannot be set"));
            }
            Some(template) => errors.extend(validate_claim_template(template, &at)),
        }
        if let Some(meta) = scope
            .meta
            .filter(|m| !m.name.is_empty() && !volume.name.is_empty())
        {
            let claim = format!("{}-{}", meta.name, volume.name);
            for text in names::dns_subdomain(&claim) {
                let text = format!("PVC name {}: {text}", crate::error::quote(&claim));
                errors.push(FieldError::invalid(path.f("name"), &volume.name, text));
            }
        }
    }
    for name in more {
        errors.push(FieldError::forbidden(
            path.f(name),
            "may not specify more than 1 volume type",
        ));
    }
}

/// Checks the source at `path` when it is one that the node makes by itself.
fn local_source(errors: &mut Errors, path: &Path, source: &VolumeSource) {
    let Path::Field(_, name) = path else { return };
    match *name {
        "emptyDir" => {
            let limit = source
                .empty_dir
                .as_ref()
                .and_then(|e| e.size_limit.as_ref());
            if limit.is_some_and(|l| l.sign() < 0) {
                let text = "SizeLimit field must be a valid resource quantity";
                errors.push(FieldError::forbidden(path.f("sizeLimit"), text));
            }
        }
        "hostPath" => {
            if let Some(host) = &source.host_path {
                host_path(errors, path, host);
            }
        }
        "secret" => {
            if let Some(secret) = &source.secret {
                required(errors, &path.f("secretName"), &secret.secret_name);
                file_mode(errors, &path.f("defaultMode"), secret.default_mode);
                keys(errors, path, &secret.items);
            }
        }
        "configMap" => {
            if let Some(map) = &source.config_map {
                required(errors, &path.f("name"), &map.local_object_reference.name);
                file_mode(errors, &path.f("defaultMode"), map.default_mode);
                keys(errors, path, &map.items);
            }
        }
        "downwardAPI" => {
            if let Some(downward) = &source.downward_api {
                file_mode(errors, &path.f("defaultMode"), downward.default_mode);
                downward
                    .items
                    .iter()
                    .for_each(|f| downward_file(errors, path, f));
            }
        }
        "persistentVolumeClaim" => {
            if let Some(claim) = &source.persistent_volume_claim {
                required(errors, &path.f("claimName"), &claim.claim_name);
            }
        }
        "projected" => {
            if let Some(all) = &source.projected {
                projected(errors, path, all);
            }
        }
        _ => {}
    }
}

/// A path of the node.
pub(crate) fn host_path(errors: &mut Errors, path: &Path, host: &HostPathVolumeSource) {
    if host.path.is_empty() {
        errors.push(FieldError::required(path.f("path"), ""));
        return;
    }
    checks::no_backsteps(errors, &path.f("path"), &host.path);
    if let Some(kind) = &host.type_ {
        let kinds = [
            "",
            "BlockDevice",
            "CharDevice",
            "Directory",
            "DirectoryOrCreate",
            "File",
            "FileOrCreate",
            "Socket",
        ];
        checks::known(errors, &path.f("type"), kind, &kinds);
    }
}

/// An NFS export.
pub(crate) fn nfs_source(errors: &mut Errors, path: &Path, nfs: &NFSVolumeSource) {
    required(errors, &path.f("server"), &nfs.server);
    required(errors, &path.f("path"), &nfs.path);
    if !nfs.path.starts_with('/') {
        errors.push(FieldError::invalid(
            path.f("path"),
            &nfs.path,
            "must be an absolute path",
        ));
    }
}

/// The name of a CSI driver.
pub(crate) fn csi_driver(errors: &mut Errors, path: &Path, driver: &str) {
    if driver.is_empty() {
        errors.push(FieldError::required(path, ""));
        return;
    }
    if driver.len() > 63 {
        errors.push(FieldError::too_long(path, 63));
    }
    checks::dns_subdomain(errors, path, &driver.to_lowercase());
}

fn csi_source(errors: &mut Errors, path: &Path, csi: &CSIVolumeSource) {
    csi_driver(errors, &path.f("driver"), &csi.driver);
    if let Some(secret) = &csi.node_publish_secret_ref {
        if secret.name.is_empty() {
            errors.push(FieldError::required(
                path.f("nodePublishSecretRef").f("name"),
                "",
            ));
        } else {
            checks::dns_subdomain(errors, &path.f("name"), &secret.name);
        }
    }
}

fn image_source(errors: &mut Errors, path: &Path, image: &ImageVolumeSource, scope: &Scope) {
    if scope.is_pod() {
        required(errors, &path.f("reference"), &image.reference);
    }
    checks::one_of(
        errors,
        &path.f("pullPolicy"),
        &image.pull_policy,
        &super::containers::PULL_POLICIES,
    );
}

fn keys(errors: &mut Errors, path: &Path, items: &[KeyToPath]) {
    let list = path.f("items");
    for (i, item) in items.iter().enumerate() {
        let at = list.i(i);
        required(errors, &at.f("key"), &item.key);
        required(errors, &at.f("path"), &item.path);
        file_path(errors, &at.f("path"), &item.path);
        file_mode(errors, &at.f("mode"), item.mode);
    }
}

fn downward_file(errors: &mut Errors, path: &Path, file: &DownwardAPIVolumeFile) {
    required(errors, &path.f("path"), &file.path);
    file_path(errors, &path.f("path"), &file.path);
    match (&file.field_ref, &file.resource_field_ref) {
        (Some(field), resource) => {
            field_ref(errors, &path.f("fieldRef"), field, &FILE_FIELDS);
            if resource.is_some() {
                let text = "fieldRef and resourceFieldRef can not be specified simultaneously";
                errors.push(FieldError::invalid(path, "resource", text));
            }
        }
        (None, Some(resource)) => {
            resource_ref(errors, &path.f("resourceFieldRef"), resource, Place::File)
        }
        (None, None) => {
            errors.push(FieldError::required(
                path,
                "one of fieldRef and resourceFieldRef is required",
            ));
        }
    }
    file_mode(errors, &path.f("mode"), file.mode);
}

fn projected(errors: &mut Errors, path: &Path, projected: &ProjectedVolumeSource) {
    file_mode(errors, &path.f("defaultMode"), projected.default_mode);
    let list = path.f("sources");
    let mut taken: Vec<String> = Vec::new();
    for (i, source) in projected.sources.iter().enumerate() {
        let mut claim = |errors: &mut Errors, file: &str, shown: &str| {
            if file.is_empty() {
                return;
            }
            if taken.iter().any(|t| t == file) {
                let text = "conflicting duplicate paths";
                errors.push(FieldError::invalid(path, shown, text));
            } else {
                taken.push(file.to_owned());
            }
        };
        projection(errors, path, &list.i(i), source, &mut claim);
    }
}

/// Notes that a file is claimed, and as what a second claim shows.
type Claim<'a> = &'a mut dyn FnMut(&mut Errors, &str, &str);

fn projection(
    errors: &mut Errors,
    volume: &Path,
    at: &Path,
    source: &VolumeProjection,
    claim: Claim,
) {
    if let Some(secret) = &source.secret {
        let (at, name) = (at.f("secret"), &secret.local_object_reference.name);
        required(errors, &at.f("name"), name);
        keys(errors, &at, &secret.items);
        let items = secret.items.iter();
        items.for_each(|item| claim(errors, &item.path, name));
    }
    if let Some(map) = &source.config_map {
        let (at, name) = (at.f("configMap"), &map.local_object_reference.name);
        required(errors, &at.f("name"), name);
        keys(errors, &at, &map.items);
        let items = map.items.iter();
        items.for_each(|item| claim(errors, &item.path, name));
    }
    for file in source.downward_api.iter().flat_map(|d| d.items.iter()) {
        downward_file(errors, &at.f("downwardAPI"), file);
        claim(errors, &file.path, &file.path);
    }
    if let Some(token) = &source.service_account_token {
        token_source(errors, volume, &at.f("serviceAccountToken"), token);
    }
    if let Some(bundle) = &source.cluster_trust_bundle {
        trust_bundle(errors, &at.f("clusterTrustBundle"), bundle);
        claim(errors, &bundle.path, &bundle.path);
    }
    if let Some(certificate) = &source.pod_certificate {
        pod_certificate(errors, &at.f("podCertificate"), certificate);
        let files = certificate_paths(certificate);
        files
            .into_iter()
            .for_each(|(_, file)| claim(errors, file, file));
    }
    let given = [
        source.secret.is_some(),
        source.config_map.is_some(),
        source.downward_api.is_some(),
        source.service_account_token.is_some(),
        source.cluster_trust_bundle.is_some(),
        source.pod_certificate.is_some(),
    ];
    if given.into_iter().filter(|is| *is).count() > 1 {
        let text = "may not specify more than 1 volume type per source";
        errors.push(FieldError::forbidden(at, text));
    }
}

fn token_source(
    errors: &mut Errors,
    volume: &Path,
    path: &Path,
    token: &ServiceAccountTokenProjection,
) {
    let seconds = token.expiration_seconds.unwrap_or(3600);
    let at = path.f("expirationSeconds");
    if seconds < 600 {
        errors.push(FieldError::invalid(
            &at,
            seconds,
            "may not specify a duration less than 10 minutes",
        ));
    }
    if seconds > 1 << 32 {
        errors.push(FieldError::invalid(
            &at,
            seconds,
            "may not specify a duration larger than 2^32 seconds",
        ));
    }
    if token.path.is_empty() {
        errors.push(FieldError::required(volume.f("path"), ""));
    } else {
        file_path(errors, &volume.f("path"), &token.path);
    }
}
