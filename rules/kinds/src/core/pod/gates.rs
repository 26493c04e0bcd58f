//! Fields of pods and pod templates whose gate is closed: dropped without a word, unless the object had them before.

use corten_api::Object;
use corten_api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use corten_api::batch::v1::{CronJob, Job};
use corten_api::core::v1::{Pod, PodSpec, PodTemplate, ReplicationController, VolumeProjection};
use corten_meta::{Feature, Features};

/// The spec of the pods that an object is or makes.
fn spec_of(object: &Object) -> Option<&PodSpec> {
    let of = object;
    of.downcast_ref::<Pod>()
        .map(|o| &o.spec)
        .or_else(|| Some(&of.downcast_ref::<Deployment>()?.spec.template.spec))
        .or_else(|| Some(&of.downcast_ref::<ReplicaSet>()?.spec.template.spec))
        .or_else(|| Some(&of.downcast_ref::<StatefulSet>()?.spec.template.spec))
        .or_else(|| Some(&of.downcast_ref::<DaemonSet>()?.spec.template.spec))
        .or_else(|| Some(&of.downcast_ref::<Job>()?.spec.template.spec))
        .or_else(|| {
            let job = &of.downcast_ref::<CronJob>()?.spec.job_template;
            Some(&job.spec.template.spec)
        })
        .or_else(|| Some(&of.downcast_ref::<PodTemplate>()?.template.spec))
        .or_else(|| {
            let controller = of.downcast_ref::<ReplicationController>()?;
            Some(&controller.spec.template.as_deref()?.spec)
        })
}

fn spec_mut(object: &mut Object) -> Option<&mut PodSpec> {
    macro_rules! of {
        ($($kind:ty => $($field:ident).+),+) => {
            $(if object.downcast_ref::<$kind>().is_some() {
                return object.downcast_mut::<$kind>().map(|o| &mut o.$($field).+);
            })+
        };
    }
    of!(
        Pod => spec,
        Deployment => spec.template.spec,
        ReplicaSet => spec.template.spec,
        StatefulSet => spec.template.spec,
        DaemonSet => spec.template.spec,
        Job => spec.template.spec,
        CronJob => spec.job_template.spec.template.spec,
        PodTemplate => template.spec
    );
    let controller = object.downcast_mut::<ReplicationController>()?;
    Some(&mut controller.spec.template.as_deref_mut()?.spec)
}

fn sources(spec: &PodSpec) -> impl Iterator<Item = &VolumeProjection> {
    let volumes = spec.volumes.iter();
    let projected = volumes.filter_map(|v| v.volume_source.projected.as_deref());
    projected.flat_map(|p| p.sources.iter())
}

fn has_bundle(spec: &PodSpec) -> bool {
    sources(spec).any(|s| s.cluster_trust_bundle.is_some())
}

fn has_certificate(spec: &PodSpec) -> bool {
    sources(spec).any(|s| s.pod_certificate.is_some())
}

/// Drops what the cluster has no features for.
pub(crate) fn drop_closed(features: Features, new: &mut Object, old: Option<&Object>) {
    let Some(spec) = spec_of(new) else { return };
    let before = old.and_then(spec_of);
    let bundles = has_bundle(spec)
        && !features.has(Feature::ClusterTrustBundleProjection)
        && !before.is_some_and(has_bundle);
    let certificates = has_certificate(spec)
        && !features.has(Feature::PodCertificateRequest)
        && !before.is_some_and(has_certificate);
    if !bundles && !certificates {
        return;
    }
    let Some(spec) = spec_mut(new) else { return };
    let volumes = spec.volumes.iter_mut();
    let projected = volumes.filter_map(|v| v.volume_source.projected.as_mut());
    for source in projected.flat_map(|p| p.sources.iter_mut()) {
        if bundles {
            source.cluster_trust_bundle = None;
        }
        if certificates {
            source.pod_certificate = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployment() -> Object {
        let yaml = "
apiVersion: apps/v1
kind: Deployment
spec:
  template:
    spec:
      volumes:
      - name: v
        projected:
          sources: [{clusterTrustBundle: {name: b, path: p}}, {podCertificate: {signerName: s, keyType: ED25519}}]
";
        let value = corten_codec::yaml::decode_value(yaml.as_bytes()).expect("YAML");
        Object::from_value(&value).expect("an object")
    }

    fn kept(features: Features, old: Option<&Object>) -> (bool, bool) {
        let mut new = deployment();
        drop_closed(features, &mut new, old);
        let spec = spec_of(&new).expect("it has one");
        (has_bundle(spec), has_certificate(spec))
    }

    #[test]
    fn closed_gates_drop_what_was_not_there_before() {
        assert_eq!(kept(Features::default(), None), (false, false));
        assert_eq!(kept(Features::default(), Some(&deployment())), (true, true));
        let open = Features::from_iter([Feature::PodCertificateRequest]);
        assert_eq!(kept(open, None), (false, true));
    }
}
