//! Takes the descriptions out of k8s-openapi's schemas and compresses them: the number of texts, each text once with
//! escaped line ends, then a line for every `definition` TAB `field` (empty for the definition itself) TAB `text's number`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use k8s_openapi::apimachinery::pkg::{apis::meta::v1::WatchEvent, runtime::RawExtension};
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::Value;

/// Collects the schemas of these types and of all that they reach.
macro_rules! reach {
    ($generator:ident: $($first:ident $(:: $rest:ident)*,)*) => {
        $( collect::<k8s_openapi::$first $(:: $rest)*>($generator); )*
    };
}

fn collect<T: JsonSchema>(generator: &mut SchemaGenerator) {
    let _ = generator.subschema_for::<T>();
}

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let mut generator = SchemaGenerator::default();
    kinds_1(&mut generator);
    kinds_2(&mut generator);
    kinds_3(&mut generator);
    collect::<WatchEvent<RawExtension>>(&mut generator);
    let mut texts: BTreeMap<(String, String), String> = BTreeMap::new();
    for (name, schema) in generator.definitions() {
        take(&mut texts, name, schema);
    }
    let out = written(&texts);
    let directory = std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR");
    let file = std::path::Path::new(&directory).join("prose.z");
    let file = std::fs::File::create(file).expect("OUT_DIR can be written");
    let mut compressed = flate2::write::ZlibEncoder::new(file, flate2::Compression::best());
    compressed
        .write_all(out.as_bytes())
        .expect("OUT_DIR can be written");
    compressed.finish().expect("OUT_DIR can be written");
}

/// The texts as they are kept. Many kinds say the same of a field, and compression alone does not see that far back.
fn written(texts: &BTreeMap<(String, String), String>) -> String {
    let distinct: BTreeSet<&String> = texts.values().collect();
    let numbers: BTreeMap<&String, usize> =
        distinct.iter().zip(0..).map(|(t, n)| (*t, n)).collect();
    let mut out = format!("{}\n", distinct.len());
    for text in distinct {
        out.push_str(&text.replace('\\', "\\\\").replace('\n', "\\n"));
        out.push('\n');
    }
    for ((name, field), text) in texts {
        out.push_str(&format!("{name}\t{field}\t{}\n", numbers[text]));
    }
    out
}

fn take(texts: &mut BTreeMap<(String, String), String>, name: &str, schema: &Value) {
    let text = |value: &Value| value["description"].as_str().map(str::to_owned);
    if let Some(text) = text(schema) {
        texts.insert((name.to_owned(), String::new()), text);
    }
    for (field, value) in schema["properties"].as_object().into_iter().flatten() {
        if let Some(text) = text(value) {
            texts.insert((name.to_owned(), field.clone()), text);
        }
    }
}

#[rustfmt::skip]
fn kinds_1(generator: &mut SchemaGenerator) {
    reach! { generator:
        api::core::v1::Binding,
        api::core::v1::ComponentStatus,
        api::core::v1::ConfigMap,
        api::core::v1::Endpoints,
        api::core::v1::Event,
        api::core::v1::LimitRange,
        api::core::v1::Namespace,
        api::core::v1::Node,
        api::core::v1::PersistentVolume,
        api::core::v1::PersistentVolumeClaim,
        api::core::v1::Pod,
        api::core::v1::PodTemplate,
        api::core::v1::ReplicationController,
        api::core::v1::ResourceQuota,
        api::core::v1::Secret,
        api::core::v1::Service,
        api::core::v1::ServiceAccount,
        api::admissionregistration::v1::MutatingAdmissionPolicy,
        api::admissionregistration::v1::MutatingAdmissionPolicyBinding,
        api::admissionregistration::v1::MutatingWebhookConfiguration,
        api::admissionregistration::v1::ValidatingAdmissionPolicy,
        api::admissionregistration::v1::ValidatingAdmissionPolicyBinding,
        api::admissionregistration::v1::ValidatingWebhookConfiguration,
        api::admissionregistration::v1alpha1::MutatingAdmissionPolicy,
        api::admissionregistration::v1alpha1::MutatingAdmissionPolicyBinding,
        api::admissionregistration::v1beta1::MutatingAdmissionPolicy,
        api::admissionregistration::v1beta1::MutatingAdmissionPolicyBinding,
        apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
        kube_aggregator::pkg::apis::apiregistration::v1::APIService,
        api::apps::v1::ControllerRevision,
        api::apps::v1::DaemonSet,
        api::apps::v1::Deployment,
        api::apps::v1::ReplicaSet,
        api::apps::v1::StatefulSet,
    }
}

#[rustfmt::skip]
fn kinds_2(generator: &mut SchemaGenerator) {
    reach! { generator:
        api::authentication::v1::SelfSubjectReview,
        api::authentication::v1::TokenReview,
        api::authorization::v1::LocalSubjectAccessReview,
        api::authorization::v1::SelfSubjectAccessReview,
        api::authorization::v1::SelfSubjectRulesReview,
        api::authorization::v1::SubjectAccessReview,
        api::autoscaling::v1::HorizontalPodAutoscaler,
        api::autoscaling::v2::HorizontalPodAutoscaler,
        api::batch::v1::CronJob,
        api::batch::v1::Job,
        api::certificates::v1::CertificateSigningRequest,
        api::certificates::v1alpha1::ClusterTrustBundle,
        api::certificates::v1beta1::ClusterTrustBundle,
        api::certificates::v1beta1::PodCertificateRequest,
        api::coordination::v1::Lease,
        api::coordination::v1alpha2::LeaseCandidate,
        api::coordination::v1beta1::LeaseCandidate,
        api::discovery::v1::EndpointSlice,
        api::events::v1::Event,
        api::flowcontrol::v1::FlowSchema,
        api::flowcontrol::v1::PriorityLevelConfiguration,
        api::apiserverinternal::v1alpha1::StorageVersion,
        api::networking::v1::IPAddress,
        api::networking::v1::Ingress,
        api::networking::v1::IngressClass,
        api::networking::v1::NetworkPolicy,
        api::networking::v1::ServiceCIDR,
        api::networking::v1beta1::IPAddress,
        api::networking::v1beta1::ServiceCIDR,
        api::node::v1::RuntimeClass,
        api::policy::v1::PodDisruptionBudget,
        api::rbac::v1::ClusterRole,
        api::rbac::v1::ClusterRoleBinding,
        api::rbac::v1::Role,
    }
}

#[rustfmt::skip]
fn kinds_3(generator: &mut SchemaGenerator) {
    reach! { generator:
        api::rbac::v1::RoleBinding,
        api::resource::v1::DeviceClass,
        api::resource::v1::ResourceClaim,
        api::resource::v1::ResourceClaimTemplate,
        api::resource::v1::ResourceSlice,
        api::resource::v1alpha3::DeviceTaintRule,
        api::resource::v1alpha3::ResourcePoolStatusRequest,
        api::resource::v1beta1::DeviceClass,
        api::resource::v1beta1::ResourceClaim,
        api::resource::v1beta1::ResourceClaimTemplate,
        api::resource::v1beta1::ResourceSlice,
        api::resource::v1beta2::DeviceClass,
        api::resource::v1beta2::DeviceTaintRule,
        api::resource::v1beta2::ResourceClaim,
        api::resource::v1beta2::ResourceClaimTemplate,
        api::resource::v1beta2::ResourceSlice,
        api::scheduling::v1::PriorityClass,
        api::scheduling::v1alpha2::PodGroup,
        api::scheduling::v1alpha2::Workload,
        api::storage::v1::CSIDriver,
        api::storage::v1::CSINode,
        api::storage::v1::CSIStorageCapacity,
        api::storage::v1::StorageClass,
        api::storage::v1::VolumeAttachment,
        api::storage::v1::VolumeAttributesClass,
        api::storage::v1beta1::VolumeAttributesClass,
        api::storagemigration::v1beta1::StorageVersionMigration,
        api::autoscaling::v1::Scale,
        api::policy::v1::Eviction,
        api::authentication::v1::TokenRequest,
        apimachinery::pkg::apis::meta::v1::Status,
        apimachinery::pkg::apis::meta::v1::DeleteOptions,
        apimachinery::pkg::apis::meta::v1::ListMeta,
        apimachinery::pkg::apis::meta::v1::Patch,
        apimachinery::pkg::apis::meta::v1::APIGroupList,
        apimachinery::pkg::apis::meta::v1::APIResourceList,
        apimachinery::pkg::apis::meta::v1::APIVersions,
        apimachinery::pkg::version::Info,
    }
}
