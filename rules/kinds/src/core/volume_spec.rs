//! Sources of volumes that storage systems give, alike for pods and for PersistentVolumes: what each must say.
//! Read through the field table, because both have the same members under other types.

use crate::checks::{self, Errors};
use crate::error::FieldError;
use crate::names;
use corten_api::core::v1::PersistentVolumeSpec;
use corten_core::{MsgRef, Path, Ref};

/// Members that a source must have.
static REQUIRED: [(&str, &[&str]); 15] = [
    ("gitRepo", &["repository"]),
    ("iscsi", &["targetPortal", "iqn"]),
    ("gcePersistentDisk", &["pdName"]),
    ("awsElasticBlockStore", &["volumeID"]),
    ("glusterfs", &["endpoints", "path"]),
    ("rbd", &["monitors", "image"]),
    ("cephfs", &["monitors"]),
    ("cinder", &["volumeID"]),
    ("azureFile", &["secretName", "shareName"]),
    ("azureDisk", &["diskName", "diskURI"]),
    ("vsphereVolume", &["volumePath"]),
    ("photonPersistentDisk", &["pdID"]),
    ("portworxVolume", &["volumeID"]),
    ("scaleIO", &["gateway", "system", "volumeName"]),
    ("flexVolume", &["driver"]),
];

/// Whose volume it is; a few messages differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// A pod.
    Pod,
    /// A PersistentVolume.
    Cluster,
}

fn text<'a>(source: MsgRef<'a>, key: &str) -> &'a str {
    match source.get(key) {
        Some(Ref::Str(text)) => text.as_str(),
        _ => "",
    }
}

fn number(source: MsgRef<'_>, key: &str) -> Option<i64> {
    match source.get(key) {
        Some(Ref::I32(n)) => Some(i64::from(n)),
        Some(Ref::I64(n)) => Some(n),
        _ => None,
    }
}

fn truth(source: MsgRef<'_>, key: &str) -> bool {
    matches!(source.get(key), Some(Ref::Bool(true)))
}

fn is_empty(source: MsgRef<'_>, key: &str) -> bool {
    match source.get(key) {
        Some(Ref::Str(text)) => text.is_empty(),
        Some(Ref::List(list)) => list.len() == 0,
        _ => true,
    }
}

/// Checks the source called `key` of a volume at `path`, unless it is one of those that need more than their members.
pub(crate) fn source(
    errors: &mut Errors,
    path: &Path,
    key: &str,
    source: MsgRef<'_>,
    owner: Owner,
) {
    if let Some((_, members)) = REQUIRED.iter().find(|(k, _)| *k == key) {
        for member in *members {
            if is_empty(source, member) {
                errors.push(FieldError::required(path.f(member), ""));
            }
        }
    }
    match key {
        "gitRepo" => {
            let directory = text(source, "directory");
            checks::descending_path(errors, &path.f("directory"), directory);
        }
        "iscsi" => iscsi(errors, path, source, owner),
        "fc" => fibre(errors, path, source),
        "gcePersistentDisk" | "awsElasticBlockStore" => {
            let partition = number(source, "partition").unwrap_or(0);
            if !(0..=255).contains(&partition) {
                let text = names::range_error(1, 255);
                errors.push(FieldError::invalid(path.f("partition"), partition, text));
            }
        }
        "quobyte" => quobyte(errors, path, source),
        "flocker" => flocker(errors, path, source),
        "azureDisk" => azure_disk(errors, path, source),
        "storageos" => storage_os(errors, path, source),
        _ => {}
    }
}

/// iqn.yyyy-mm.naming-authority:name, eui.16 hexadecimal digits, naa.32.
fn is_initiator(name: &str) -> bool {
    let hexadecimal = |rest: &str, lengths: &[usize]| {
        lengths.contains(&rest.len()) && rest.bytes().all(|b| b.is_ascii_hexdigit())
    };
    if let Some(rest) = name.strip_prefix("eui.") {
        return hexadecimal(rest, &[16]);
    }
    if let Some(rest) = name.strip_prefix("naa.") {
        return hexadecimal(rest, &[32]);
    }
    let Some(rest) = name.strip_prefix("iqn.") else {
        return false;
    };
    let digits = |range: std::ops::Range<usize>| {
        rest.get(range)
            .is_some_and(|t| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit()))
    };
    let authority = rest.get(8..).unwrap_or_default();
    let domain = authority.split(':').next().unwrap_or_default();
    digits(0..4)
        && digits(5..7)
        && rest.get(4..5) == Some("-")
        && rest.get(7..8) == Some(".")
        && domain.starts_with(|c: char| c.is_ascii_alphanumeric())
        && domain
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '.' || c == '-')
        && !authority.ends_with(':')
}

fn iscsi(errors: &mut Errors, path: &Path, source: MsgRef<'_>, owner: Owner) {
    let mut name_of = |key: &str, shown: &'static str| {
        let name = text(source, key);
        if name.is_empty() || is_initiator(name) {
            return;
        }
        let known = ["iqn", "eui", "naa"].iter().any(|p| name.starts_with(p));
        let detail = match owner == Owner::Pod && !known {
            true => "must be valid format starting with iqn, eui, or naa",
            false => "must be valid format",
        };
        errors.push(FieldError::invalid(path.f(shown), name, detail));
    };
    name_of("iqn", "iqn");
    name_of("initiatorName", "initiatorname");
    let lun = number(source, "lun").unwrap_or(0);
    if !(0..=255).contains(&lun) {
        let text = names::range_error(0, 255);
        errors.push(FieldError::invalid(path.f("lun"), lun, text));
    }
    let authenticated = truth(source, "chapAuthDiscovery") || truth(source, "chapAuthSession");
    let secret = source.get("secretRef").and_then(Ref::as_msg);
    match secret {
        None if authenticated => errors.push(FieldError::required(path.f("secretRef"), "")),
        Some(secret) if owner == Owner::Cluster && text(secret, "name").is_empty() => {
            let at = path.f("secretRef");
            errors.push(FieldError::required(at.f("name"), ""));
        }
        _ => {}
    }
}

fn fibre(errors: &mut Errors, path: &Path, source: MsgRef<'_>) {
    let (ports, ids) = (is_empty(source, "targetWWNs"), is_empty(source, "wwids"));
    let at = path.f("targetWWNs");
    if ports && ids {
        errors.push(FieldError::required(
            &at,
            "must specify either targetWWNs or wwids, but not both",
        ));
    }
    if !ports && !ids {
        let given = source
            .get("targetWWNs")
            .and_then(|r| r.to_value().ok())
            .unwrap_or_default();
        let text = "targetWWNs and wwids can not be specified simultaneously";
        errors.push(FieldError::invalid(&at, given, text));
    }
    match number(source, "lun") {
        None if !ports => {
            let text = "lun is required if targetWWNs is specified";
            errors.push(FieldError::required(path.f("lun"), text));
        }
        Some(lun) if !ports && !(0..=255).contains(&lun) => {
            let text = names::range_error(0, 255);
            errors.push(FieldError::invalid(path.f("lun"), lun, text));
        }
        _ => {}
    }
}

fn quobyte(errors: &mut Errors, path: &Path, source: MsgRef<'_>) {
    let registry = text(source, "registry");
    let detail = "must be a host:port pair or multiple pairs separated by commas";
    if registry.is_empty() {
        errors.push(FieldError::required(path.f("registry"), detail));
    } else if text(source, "tenant").len() >= 65 {
        let text = "must be a UUID and may not exceed a length of 64 characters";
        errors.push(FieldError::required(path.f("tenant"), text));
    } else {
        for pair in registry.split(',').filter(|pair| !pair.contains(':')) {
            let _ = pair;
            errors.push(FieldError::invalid(path.f("registry"), registry, detail));
        }
    }
    if text(source, "volume").is_empty() {
        errors.push(FieldError::required(path.f("volume"), ""));
    }
}

fn flocker(errors: &mut Errors, path: &Path, source: MsgRef<'_>) {
    let (name, id) = (text(source, "datasetName"), text(source, "datasetUUID"));
    if name.is_empty() && id.is_empty() {
        errors.push(FieldError::required(
            path,
            "one of datasetName and datasetUUID is required",
        ));
    }
    if !name.is_empty() && !id.is_empty() {
        let text = "datasetName and datasetUUID can not be specified simultaneously";
        errors.push(FieldError::invalid(path, "resource", text));
    }
    if name.contains('/') {
        errors.push(FieldError::invalid(
            path.f("datasetName"),
            name,
            "must not contain '/'",
        ));
    }
}

fn azure_disk(errors: &mut Errors, path: &Path, source: MsgRef<'_>) {
    let (kind, uri) = (text(source, "kind"), text(source, "diskURI"));
    let caching = text(source, "cachingMode");
    if !caching.is_empty() {
        let known = ["None", "ReadOnly", "ReadWrite"];
        checks::known(errors, &path.f("cachingMode"), caching, &known);
    }
    if kind.is_empty() {
        return;
    }
    checks::known(
        errors,
        &path.f("kind"),
        kind,
        &["Dedicated", "Managed", "Shared"],
    );
    let (prefix, form) = match kind {
        "Managed" => (
            "/subscriptions/",
            "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}",
        ),
        _ => (
            "https://",
            "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd",
        ),
    };
    if !uri.starts_with(prefix) {
        errors.push(FieldError::not_supported(path.f("diskURI"), uri, &[form]));
    }
}

fn storage_os(errors: &mut Errors, path: &Path, source: MsgRef<'_>) {
    for (key, required) in [("volumeName", true), ("volumeNamespace", false)] {
        let name = text(source, key);
        if name.is_empty() {
            if required {
                errors.push(FieldError::required(path.f(key), ""));
            }
        } else {
            checks::dns_label(errors, &path.f(key), name);
        }
    }
}

/// The name of a CSI driver.
pub(crate) fn driver_name(errors: &mut Errors, path: &Path, name: &str) {
    super::pod::validate::volumes::csi_driver(errors, path, name);
}

/// What a VolumeAttachment may carry instead of the name of a volume: only CSI.
pub(crate) fn inline(errors: &mut Errors, path: &Path, spec: &PersistentVolumeSpec) {
    let set = |given: bool, name: &str, errors: &mut Errors| {
        if given {
            let text = "may not be specified in the context of inline volumes";
            errors.push(FieldError::forbidden(path.f(name), text));
        }
    };
    let csi = &spec.persistent_volume_source.csi;
    set(spec.claim_ref.is_some(), "claimRef", errors);
    set(!spec.capacity.is_empty(), "capacity", errors);
    if csi.is_none() {
        let text = "has to be specified in the context of inline volumes";
        errors.push(FieldError::required(path.f("csi"), text));
    }
    let at = path.f("accessModes");
    if spec.access_modes.is_empty() {
        errors.push(FieldError::required(&at, ""));
    }
    super::claim::access_mode_list(errors, &at, &spec.access_modes);
    let policy = &spec.persistent_volume_reclaim_policy;
    if !policy.is_empty() && policy != "Retain" {
        let text = "may only be Retain in the context of inline volumes";
        let at = path.f("persistentVolumeReclaimPolicy");
        errors.push(FieldError::forbidden(at, text));
    }
    set(spec.node_affinity.is_some(), "nodeAffinity", errors);
    match csi {
        Some(csi) => {
            let at = path.f("csi");
            driver_name(errors, &at.f("driver"), &csi.driver);
            checks::required(errors, &at.f("volumeHandle"), &csi.volume_handle);
        }
        None => errors.push(FieldError::required(path, "must specify a volume type")),
    }
    let class = !spec.storage_class_name.is_empty();
    set(class, "storageClassName", errors);
    if spec.volume_mode.as_ref().is_some_and(|m| m != "Filesystem") {
        let text =
            "may not specify volumeMode other than Filesystem in the context of inline volumes";
        errors.push(FieldError::forbidden(path.f("volumeMode"), text));
    }
}

/// Texts for sources that no longer work, by their name.
pub(crate) fn retired(key: &str) -> Option<&'static str> {
    Some(match key {
        "photonPersistentDisk" => "deprecated in v1.11, non-functional in v1.16+",
        "gitRepo" => "deprecated in v1.11, and disabled by default in v1.33+",
        "scaleIO" => "deprecated in v1.16, non-functional in v1.22+",
        "flocker" | "storageos" | "quobyte" => "deprecated in v1.22, non-functional in v1.25+",
        "glusterfs" => "deprecated in v1.25, non-functional in v1.26+",
        "cephfs" | "rbd" => "deprecated in v1.28, non-functional in v1.31+",
        _ => return None,
    })
}

/// The sources that are set, by name.
pub(crate) fn given(source: MsgRef<'_>) -> Vec<(&'static str, MsgRef<'_>)> {
    let fields = source.msg().json.iter().enumerate();
    let set = fields.filter_map(|(i, field)| Some((field.key, source.json(i).as_msg()?)));
    set.collect()
}

/// A bad value for an amount that is not a whole number of bytes.
pub(crate) fn is_fractional(amount: &corten_core::Quantity) -> bool {
    amount.milli_value() % 1000 != 0
}
