//! What a pod's specification means when the client leaves something out. Shared by every kind with a pod template.
//! Invariant: defaulting twice changes nothing more.

use crate::core::claim::default_claim_spec;
use corten_api::core::v1::{
    Container, DownwardAPIVolumeFile, EmptyDirVolumeSource, EphemeralContainer, Lifecycle, Pod,
    PodSecurityContext, PodSpec, PodTemplateSpec, Probe, ProjectedVolumeSource,
    ResourceRequirements, Volume,
};
use corten_core::{List, Map, Quantity, Str, quantity::scale};

/// Upstream's SetDefaults_ResourceList: nothing finer than a thousandth.
pub fn default_resources(list: &mut Map<Quantity>) {
    for amount in list.values_mut() {
        amount.round_up(scale::MILLI);
    }
}

fn fill(text: &mut Str, default: &'static str) {
    if text.is_empty() {
        *text = Str::from_static(default);
    }
}

fn fill_option(text: &mut Option<Str>, default: &'static str) {
    text.get_or_insert(Str::from_static(default));
}

/// A pod: its specification, and what upstream sets for pods alone.
pub fn default_pod(pod: &mut Pod) {
    let spec = &mut pod.spec;
    for container in spec
        .containers
        .iter_mut()
        .chain(spec.init_containers.iter_mut())
    {
        requests_from_limits(&mut container.resources);
    }
    super::resources::default_pod_level(spec);
    spec.enable_service_links.get_or_insert(true);
    if spec.host_network {
        host_ports(&mut spec.containers);
        host_ports(&mut spec.init_containers);
    }
    default_pod_spec(spec);
    let status = &mut pod.status;
    let lists = [
        &mut status.init_container_statuses,
        &mut status.container_statuses,
        &mut status.ephemeral_container_statuses,
    ];
    for container in lists.into_iter().flat_map(|l| l.iter_mut()) {
        default_resources(&mut container.allocated_resources);
        if let Some(resources) = &mut container.resources {
            default_requirements(resources);
        }
    }
    // The first of several addresses is also the one address of the older field.
    if !status.pod_ip.is_empty()
        && status
            .pod_ips
            .first()
            .is_none_or(|first| first.ip != status.pod_ip)
    {
        status.pod_ips = List::from(vec![corten_api::core::v1::PodIP {
            ip: status.pod_ip.clone(),
        }]);
    }
    if status.pod_ip.is_empty()
        && let Some(first) = status.pod_ips.first()
    {
        status.pod_ip = first.ip.clone();
    }
}

/// A pod template.
pub fn default_pod_template(template: &mut PodTemplateSpec) {
    default_pod_spec(&mut template.spec);
    super::prepare::drop_gated(&mut template.spec);
}

fn requests_from_limits(resources: &mut ResourceRequirements) {
    if resources.limits.is_nil() {
        return;
    }
    for (name, limit) in &resources.limits {
        if !resources.requests.contains_key(name) {
            resources.requests.insert(name.clone(), limit.clone());
        }
    }
}

fn host_ports(containers: &mut [Container]) {
    for port in containers.iter_mut().flat_map(|c| c.ports.iter_mut()) {
        if port.host_port == 0 {
            port.host_port = port.container_port;
        }
    }
}

/// What pods and templates share.
pub fn default_pod_spec(spec: &mut PodSpec) {
    fill(&mut spec.dns_policy, "ClusterFirst");
    fill(&mut spec.restart_policy, "Always");
    fill(&mut spec.scheduler_name, "default-scheduler");
    spec.security_context
        .get_or_insert_with(|| Box::new(PodSecurityContext::default()));
    // A negative grace period, which older clients could store, means one second.
    let grace = spec.termination_grace_period_seconds.get_or_insert(30);
    if *grace < 0 {
        *grace = 1;
    }
    if spec.service_account_name.is_empty() {
        spec.service_account_name = spec.deprecated_service_account.clone();
    }
    spec.deprecated_service_account = spec.service_account_name.clone();
    for volume in spec.volumes.iter_mut() {
        default_volume(volume);
    }
    for container in spec
        .init_containers
        .iter_mut()
        .chain(spec.containers.iter_mut())
    {
        default_container(container);
    }
    for container in spec.ephemeral_containers.iter_mut() {
        default_ephemeral(container);
    }
    default_resources(&mut spec.overhead);
    if let Some(resources) = &mut spec.resources {
        default_requirements(resources);
    }
}

/// The two structs of containers have the same fields.
macro_rules! default_any_container {
    ($c:expr) => {
        if $c.image_pull_policy.is_empty() {
            $c.image_pull_policy = pull_policy(&$c.image);
        }
        fill(&mut $c.termination_message_path, "/dev/termination-log");
        fill(&mut $c.termination_message_policy, "File");
        for port in $c.ports.iter_mut() {
            fill(&mut port.protocol, "TCP");
        }
        for from in $c.env.iter_mut().filter_map(|e| e.value_from.as_mut()) {
            if let Some(field) = &mut from.field_ref {
                fill(&mut field.api_version, "v1");
            }
            if let Some(file) = &mut from.file_key_ref {
                file.optional.get_or_insert(false);
            }
        }
        default_requirements(&mut $c.resources);
        for probe in [
            &mut $c.liveness_probe,
            &mut $c.readiness_probe,
            &mut $c.startup_probe,
        ]
        .into_iter()
        .flatten()
        {
            default_probe(probe);
        }
        if let Some(lifecycle) = &mut $c.lifecycle {
            default_lifecycle(lifecycle);
        }
    };
}

fn default_container(container: &mut Container) {
    default_any_container!(container);
}

fn default_ephemeral(container: &mut EphemeralContainer) {
    let container = &mut container.ephemeral_container_common;
    default_any_container!(container);
}

fn default_requirements(resources: &mut ResourceRequirements) {
    default_resources(&mut resources.limits);
    default_resources(&mut resources.requests);
}

fn default_probe(probe: &mut Probe) {
    for (field, default) in [
        (&mut probe.timeout_seconds, 1),
        (&mut probe.period_seconds, 10),
        (&mut probe.success_threshold, 1),
        (&mut probe.failure_threshold, 3),
    ] {
        if *field == 0 {
            *field = default;
        }
    }
    if let Some(http) = &mut probe.probe_handler.http_get {
        fill(&mut http.path, "/");
        fill(&mut http.scheme, "HTTP");
    }
    if let Some(grpc) = &mut probe.probe_handler.grpc {
        fill_option(&mut grpc.service, "");
    }
}

fn default_lifecycle(lifecycle: &mut Lifecycle) {
    for handler in [&mut lifecycle.post_start, &mut lifecycle.pre_stop]
        .into_iter()
        .flatten()
    {
        if let Some(http) = &mut handler.http_get {
            fill(&mut http.path, "/");
            fill(&mut http.scheme, "HTTP");
        }
    }
}

/// `Always` for the tag `latest` or none, else `IfNotPresent`.
pub fn pull_policy(image: &str) -> Str {
    Str::from_static(if tag_of(image) == Some("latest") {
        "Always"
    } else {
        "IfNotPresent"
    })
}

/// The tag that an image reference stands for; none for digests and for what is no reference.
fn tag_of(image: &str) -> Option<&str> {
    let (name, digest) = image
        .split_once('@')
        .map_or((image, ""), |(name, digest)| (name, digest));
    let last = name.rfind('/').map_or(0, |i| i + 1);
    let (repository, tag) = match name[last..].rfind(':') {
        Some(i) => (&name[..last + i], Some(&name[last + i + 1..])),
        None => (name, None),
    };
    // The host may have upper case letters, the path may not: such a text is no reference and has no tag.
    let path = repository
        .split_once('/')
        .map_or(repository, |(host, rest)| {
            if host.contains(['.', ':']) || host == "localhost" {
                rest
            } else {
                repository
            }
        });
    let fine = |b: u8| {
        b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.' | b'/')
    };
    if path.is_empty() || !path.bytes().all(fine) {
        return None;
    }
    match (tag, digest.is_empty()) {
        (Some(tag), _) => Some(tag),
        (None, true) => Some("latest"),
        (None, false) => None,
    }
}

fn default_files(items: &mut [DownwardAPIVolumeFile]) {
    for field in items.iter_mut().filter_map(|i| i.field_ref.as_mut()) {
        fill(&mut field.api_version, "v1");
    }
}

/// A volume of a pod.
pub fn default_volume(volume: &mut Volume) {
    let source = &mut volume.volume_source;
    if corten_core::MsgRef::new(&*source).is_zero() {
        source.empty_dir = Some(Box::new(EmptyDirVolumeSource::default()));
    }
    if let Some(image) = &mut source.image
        && image.pull_policy.is_empty()
    {
        image.pull_policy = pull_policy(&image.reference);
    }
    if let Some(host_path) = &mut source.host_path {
        fill_option(&mut host_path.type_, "");
    }
    if let Some(secret) = &mut source.secret {
        secret.default_mode.get_or_insert(0o644);
    }
    if let Some(config_map) = &mut source.config_map {
        config_map.default_mode.get_or_insert(0o644);
    }
    if let Some(downward) = &mut source.downward_api {
        downward.default_mode.get_or_insert(0o644);
        default_files(&mut downward.items);
    }
    if let Some(projected) = &mut source.projected {
        default_projected(projected);
    }
    if let Some(template) = source
        .ephemeral
        .as_mut()
        .and_then(|e| e.volume_claim_template.as_mut())
    {
        default_claim_spec(&mut template.spec);
    }
    default_networked(volume);
}

fn default_projected(projected: &mut ProjectedVolumeSource) {
    projected.default_mode.get_or_insert(0o644);
    for source in projected.sources.iter_mut() {
        if let Some(downward) = &mut source.downward_api {
            default_files(&mut downward.items);
        }
        if let Some(token) = &mut source.service_account_token {
            token.expiration_seconds.get_or_insert(3600);
        }
    }
}

fn default_networked(volume: &mut Volume) {
    let source = &mut volume.volume_source;
    if let Some(iscsi) = &mut source.iscsi {
        fill(&mut iscsi.iscsi_interface, "default");
    }
    if let Some(rbd) = &mut source.rbd {
        fill(&mut rbd.rbd_pool, "rbd");
        fill(&mut rbd.rados_user, "admin");
        fill(&mut rbd.keyring, "/etc/ceph/keyring");
    }
    if let Some(disk) = &mut source.azure_disk {
        fill_option(&mut disk.caching_mode, "ReadWrite");
        fill_option(&mut disk.fs_type, "ext4");
        fill_option(&mut disk.kind, "Shared");
        disk.read_only.get_or_insert(false);
    }
    if let Some(scale_io) = &mut source.scale_io {
        fill(&mut scale_io.storage_mode, "ThinProvisioned");
        fill(&mut scale_io.fs_type, "xfs");
    }
}

#[cfg(test)]
mod tests {
    use super::pull_policy;

    #[test]
    fn pull_policy_follows_the_tag() {
        for (image, policy) in [
            ("nginx", "Always"),
            ("nginx:latest", "Always"),
            ("nginx:1.2", "IfNotPresent"),
            ("host:5000/a/b", "Always"),
            ("host:5000/a/b:1", "IfNotPresent"),
            ("nginx@sha256:abc", "IfNotPresent"),
            ("nginx:latest@sha256:abc", "Always"),
            ("", "IfNotPresent"),
            ("NGINX", "IfNotPresent"),
        ] {
            assert_eq!(pull_policy(image), policy, "{image}");
        }
    }
}
