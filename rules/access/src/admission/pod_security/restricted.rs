//! Checks of the restricted level: what hardening asks of every pod.

use super::baseline::confines;
use super::subject::{
    Subject, Values, Violation, containers_text, plural, quoted, setters, violation,
};
use corten_api::core::v1::VolumeSource;

pub(super) fn privilege_escalation(s: Subject, minor: u32) -> Option<Violation> {
    if minor >= 25 && s.is_windows() {
        return None;
    }
    let fine = |allow: Option<bool>| allow == Some(false);
    let containers = s.containers();
    let bad: Vec<&str> = containers
        .filter(|c| !fine(c.security.and_then(|c| c.allow_privilege_escalation)))
        .map(|c| c.name)
        .collect();
    let who = setters(false, &bad)?;
    violation(
        "allowPrivilegeEscalation != false",
        format!("{who} must set securityContext.allowPrivilegeEscalation=false"),
    )
}

pub(super) fn capabilities(s: Subject, minor: u32) -> Option<Violation> {
    if minor >= 25 && s.is_windows() {
        return None;
    }
    let (mut keeping, mut adding) = (Vec::new(), Vec::new());
    let mut values = Values::new();
    for container in s.containers() {
        let Some(capabilities) = container.security.and_then(|c| c.capabilities.as_deref()) else {
            keeping.push(container.name);
            continue;
        };
        if !capabilities.drop.iter().any(|c| c == "ALL") {
            keeping.push(container.name);
        }
        let added = capabilities.add.iter().map(|c| c.as_str());
        let wrong: Vec<&str> = added.filter(|c| *c != "NET_BIND_SERVICE").collect();
        if !wrong.is_empty() {
            adding.push(container.name);
            values.extend(wrong);
        }
    }
    let mut details = Vec::new();
    if !keeping.is_empty() {
        let who = containers_text(&keeping);
        details.push(format!(
            "{who} must set securityContext.capabilities.drop=[\"ALL\"]"
        ));
    }
    if !adding.is_empty() {
        let who = containers_text(&adding);
        details.push(format!(
            "{who} must not include {} in securityContext.capabilities.add",
            quoted(values)
        ));
    }
    match details.is_empty() {
        true => None,
        false => violation("unrestricted capabilities", details.join("; ")),
    }
}

/// The type of a volume that is not among the allowed ones.
fn restricted_type(v: &VolumeSource) -> Option<&'static str> {
    let allowed = v.config_map.is_some()
        || v.csi.is_some()
        || v.downward_api.is_some()
        || v.empty_dir.is_some()
        || v.ephemeral.is_some()
        || v.image.is_some()
        || v.persistent_volume_claim.is_some()
        || v.projected.is_some()
        || v.secret.is_some();
    if allowed {
        return None;
    }
    let others = [
        (v.host_path.is_some(), "hostPath"),
        (v.gce_persistent_disk.is_some(), "gcePersistentDisk"),
        (v.aws_elastic_block_store.is_some(), "awsElasticBlockStore"),
        (v.git_repo.is_some(), "gitRepo"),
        (v.nfs.is_some(), "nfs"),
        (v.iscsi.is_some(), "iscsi"),
        (v.glusterfs.is_some(), "glusterfs"),
        (v.rbd.is_some(), "rbd"),
        (v.flex_volume.is_some(), "flexVolume"),
        (v.cinder.is_some(), "cinder"),
        (v.ceph_fs.is_some(), "cephfs"),
        (v.flocker.is_some(), "flocker"),
        (v.fc.is_some(), "fc"),
        (v.azure_file.is_some(), "azureFile"),
        (v.vsphere_volume.is_some(), "vsphereVolume"),
        (v.quobyte.is_some(), "quobyte"),
        (v.azure_disk.is_some(), "azureDisk"),
        (v.photon_persistent_disk.is_some(), "photonPersistentDisk"),
        (v.portworx_volume.is_some(), "portworxVolume"),
        (v.scale_io.is_some(), "scaleIO"),
        (v.storage_os.is_some(), "storageos"),
    ];
    let found = others.into_iter().find(|(is, _)| *is);
    Some(found.map_or("unknown", |(_, name)| name))
}

pub(super) fn volumes(s: Subject, _minor: u32) -> Option<Violation> {
    let mut bad = Vec::new();
    let mut types = Values::new();
    for volume in s.spec.volumes.iter() {
        if let Some(kind) = restricted_type(&volume.volume_source) {
            bad.push(volume.name.as_str());
            types.insert(kind);
        }
    }
    if bad.is_empty() {
        return None;
    }
    let count = bad.len();
    let word = plural(
        "restricted volume type",
        "restricted volume types",
        types.len(),
    );
    violation(
        "restricted volume types",
        format!(
            "{} {} {} {word} {}",
            plural("volume", "volumes", count),
            quoted(bad),
            plural("uses", "use", count),
            quoted(types)
        ),
    )
}

pub(super) fn non_root(s: Subject, minor: u32) -> Option<Violation> {
    if minor >= 35 && s.has_own_users() {
        return None;
    }
    let own = s.own().and_then(|c| c.run_as_non_root);
    let explicit = s.named(|c| c.run_as_non_root == Some(false));
    if let Some(who) = setters(own == Some(false), &explicit) {
        return violation(
            "runAsNonRoot != true",
            format!("{who} must not set securityContext.runAsNonRoot=false"),
        );
    }
    let silent = s
        .containers()
        .filter(|c| c.security.is_none_or(|c| c.run_as_non_root.is_none()));
    let silent: Vec<&str> = silent.map(|c| c.name).collect();
    if own == Some(true) || silent.is_empty() {
        return None;
    }
    let who = containers_text(&silent);
    violation(
        "runAsNonRoot != true",
        format!("pod or {who} must set securityContext.runAsNonRoot=true"),
    )
}

pub(super) fn user(s: Subject, minor: u32) -> Option<Violation> {
    if minor >= 35 && s.has_own_users() {
        return None;
    }
    let own = s.own().and_then(|c| c.run_as_user);
    let who = setters(own == Some(0), &s.named(|c| c.run_as_user == Some(0)))?;
    violation("runAsUser=0", format!("{who} must not set runAsUser=0"))
}

pub(super) fn seccomp(s: Subject, minor: u32) -> Option<Violation> {
    if minor >= 25 && s.is_windows() {
        return None;
    }
    if let Some(found) = super::baseline::seccomp(s, minor) {
        return Some(found);
    }
    let own = s.own().and_then(|c| c.seccomp_profile.as_deref());
    if own.is_some_and(|p| confines(&p.type_)) {
        return None;
    }
    let silent = s
        .containers()
        .filter(|c| c.security.is_none_or(|c| c.seccomp_profile.is_none()));
    let silent: Vec<&str> = silent.map(|c| c.name).collect();
    if silent.is_empty() {
        return None;
    }
    let who = containers_text(&silent);
    violation(
        "seccompProfile",
        format!(
            "pod or {who} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\""
        ),
    )
}
