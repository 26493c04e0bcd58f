//! What each kind defaults, prepares, validates and prints: one file per kind, one line per kind in `STRATEGIES`.
//! Invariant: everything here is pure; time, randomness and the cluster come in through `Context`.
//! Leaves out what spans kinds: admission and quota (access), addresses of services (the API server).

#![allow(
    clippy::needless_borrows_for_generic_args,
    reason = "paths are lent everywhere, so that a later use of one needs no other spelling"
)]

pub mod admissionregistration;
pub mod apiextensions;
pub mod apiregistration;
pub mod apps;
pub mod autoscaling;
pub mod batch;
pub mod cells;
pub mod certificates;
pub mod checks;
pub mod coordination;
pub mod difference;
pub mod discovery;
pub mod error;
pub mod events;
pub mod flowcontrol;
pub mod generic;
pub mod internal;
mod internal_layout;
pub mod metadata;
pub mod names;
pub mod networking;
pub mod node;
pub mod plain_table;
pub mod policy;
pub mod rbac;
pub mod resource;
pub mod scheduling;
pub mod selectors;
pub mod storage;
pub mod storagemigration;
pub mod workload;

mod bootstrap;
mod convert;
pub mod core;
mod rules;

pub use bootstrap::bootstrap_objects;
pub use convert::convert;
pub use error::{ErrorKind, FieldError};
pub use metadata::{
    CUSTOM_ROUNDS, FixedName, Round, metadata_rounds, validate_metadata, validate_metadata_update,
};
pub use rules::{Generation, NAME_AND_AGE, Rules};

use corten_api::Object;
use corten_core::{Str, Time, Value};
use corten_meta::Snapshot;
use std::collections::BTreeMap;

/// What strategies may look at besides the objects. Never used to decide what must be consistent.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The cluster as the API server last saw it.
    pub snapshot: &'a Snapshot,
    /// The time of the request.
    pub now: Time,
    /// Who asks.
    pub caller: Caller<'a>,
    /// Chosen anew for each request.
    pub random: u64,
}

/// The user of a request.
#[derive(Clone, Copy, Debug, Default)]
pub struct Caller<'a> {
    /// The name.
    pub name: &'a str,
    /// A unique id; may be empty.
    pub uid: &'a str,
    /// Groups.
    pub groups: &'a [String],
    /// What else the authenticator knows.
    pub extra: Option<&'a BTreeMap<String, Vec<String>>>,
}

/// What a deletion answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeleteAnswer {
    /// A Status.
    Status,
    /// The object as it was last.
    Object,
}

/// What happens to dependents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// They are deleted afterwards.
    Background,
    /// They lose their owner and stay.
    Orphan,
}

/// What the scale subresource shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scale {
    /// Replicas asked for.
    pub replicas: i32,
    /// Replicas there are.
    pub status_replicas: i32,
    /// A label selector as text.
    pub selector: String,
}

/// One column of a Table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// `Name`
    pub name: &'static str,
    /// string, integer, date, ...
    pub kind: &'static str,
    /// `name`, or empty.
    pub format: &'static str,
    /// What it shows.
    pub description: &'static str,
    /// 0: always shown; 1: with `-o wide`.
    pub priority: i32,
}

/// What the API server asks a kind on the way of a write and of a table. `part` is empty for the main resource, else the
/// subresource. All functions but `default` see the version that is stored.
pub trait Strategy: Sync {
    /// Fills in what the client left out.
    fn default(&self, _obj: &mut Object) {}
    /// Clears what a client cannot set, sets generation where the kind counts it.
    fn prepare_create(&self, _cx: &Context, _new: &mut Object) {}
    /// Takes over from `old` what this part of the object cannot change, and counts generations.
    fn prepare_update(&self, _cx: &Context, _part: &str, _new: &mut Object, _old: &Object) {}
    /// What is wrong with a new object.
    fn validate_create(&self, _cx: &Context, _new: &Object) -> Vec<FieldError> {
        vec![]
    }
    /// What is wrong with an update.
    fn validate_update(
        &self,
        _cx: &Context,
        _part: &str,
        _new: &Object,
        _old: &Object,
    ) -> Vec<FieldError> {
        vec![]
    }
    /// Texts for `Warning` headers.
    fn warnings(&self, _cx: &Context, _new: &Object, _old: Option<&Object>) -> Vec<String> {
        vec![]
    }
    /// Columns of the kind's table.
    fn columns(&self) -> &'static [Column];
    /// The cells of one row.
    fn cells(&self, obj: &Object, now: &Time) -> Vec<Value>;
    /// Field labels that selectors may use besides metadata.name and metadata.namespace.
    fn field_labels(&self) -> &'static [&'static str] {
        &[]
    }
    /// Their values, in the same order.
    fn field_values(&self, _obj: &Object) -> Vec<Str> {
        vec![]
    }
    /// Whether an update of what does not exist creates it.
    fn create_on_update(&self) -> bool {
        false
    }
    /// Whether an update need not name a resourceVersion.
    fn unconditional_update(&self) -> bool {
        true
    }
    /// What a deletion answers.
    fn delete_answer(&self) -> DeleteAnswer {
        DeleteAnswer::Status
    }
    /// Graceful deletion: None deletes at once, Some keeps the object with a deletionTimestamp for that many seconds.
    /// `asked` is the client's gracePeriodSeconds.
    fn grace(&self, _obj: &Object, _asked: Option<i64>) -> Option<i64> {
        None
    }
    /// What happens to dependents when a deletion does not say.
    fn default_propagation(&self) -> Propagation {
        Propagation::Background
    }
    /// The scale subresource, for kinds that have it.
    fn scale(&self, _obj: &Object) -> Option<Scale> {
        None
    }
    /// Changes the scale.
    fn set_scale(&self, _obj: &mut Object, _replicas: i32) {}
    /// Whether finalizers without a domain must be standard ones; custom resources take any.
    fn checks_finalizers(&self) -> bool {
        true
    }
    /// The one name that an object may have because of what else it says, and upstream's words when it has another.
    fn fixed_name(&self, _obj: &Object) -> Option<FixedName> {
        None
    }
    /// What is wrong with a name, in upstream's words; `prefix` when it is a generateName.
    fn invalid_name(&self, name: &str, prefix: bool) -> Vec<String> {
        names::dns_subdomain(&names::as_prefix(name, prefix))
    }
}

/// The strategy of a kind; kinds without a file get the generic one.
pub fn strategy(group: &str, kind: &str) -> &'static dyn Strategy {
    let found = STRATEGIES
        .iter()
        .find(|(g, k, _)| *k == kind && *g == group);
    found.map_or(&generic::Generic, |(_, _, strategy)| *strategy)
}

/// Every kind with a file of its own.
#[rustfmt::skip]
static STRATEGIES: &[(&str, &str, &dyn Strategy)] = &[
    // core
    ("", "ConfigMap", &core::configmap::ConfigMaps),
    ("", "ComponentStatus", &core::component_status::ComponentStatuses),
    ("", "Endpoints", &core::endpoints::EndpointsOfServices),
    ("", "Event", &core::event::Events),
    ("", "LimitRange", &core::limitrange::LimitRanges),
    ("", "Namespace", &core::namespace::Namespaces),
    ("", "Node", &core::node::Nodes),
    ("", "PersistentVolume", &core::volume::PersistentVolumes),
    ("", "PersistentVolumeClaim", &core::claim::PersistentVolumeClaims),
    ("", "Pod", &core::pod::Pods),
    ("", "PodTemplate", &core::podtemplate::PodTemplates),
    ("", "ReplicationController", &core::replicationcontroller::ReplicationControllers),
    ("", "ResourceQuota", &core::quota::ResourceQuotas),
    ("", "Secret", &core::secret::Secrets),
    ("", "Service", &core::service::Services),
    ("", "ServiceAccount", &core::serviceaccount::ServiceAccounts),
    // apps
    ("apps", "ControllerRevision", &apps::ControllerRevisions),
    ("apps", "DaemonSet", &apps::DaemonSets),
    ("apps", "Deployment", &apps::Deployments),
    ("apps", "ReplicaSet", &apps::ReplicaSets),
    ("apps", "StatefulSet", &apps::StatefulSets),
    // batch
    ("batch", "CronJob", &batch::CronJobs),
    ("batch", "Job", &batch::Jobs),
    // autoscaling
    ("autoscaling", "HorizontalPodAutoscaler", &autoscaling::HorizontalPodAutoscalers),
    // networking
    ("networking.k8s.io", "IPAddress", &networking::IpAddresses),
    ("networking.k8s.io", "Ingress", &networking::Ingresses),
    ("networking.k8s.io", "IngressClass", &networking::IngressClasses),
    ("networking.k8s.io", "NetworkPolicy", &networking::NetworkPolicies),
    ("networking.k8s.io", "ServiceCIDR", &networking::ServiceCidrs),
    // policy, scheduling, node, storage, coordination, discovery
    ("node.k8s.io", "RuntimeClass", &node::RuntimeClasses),
    ("policy", "PodDisruptionBudget", &policy::PodDisruptionBudgets),
    ("storage.k8s.io", "CSIDriver", &storage::CsiDrivers),
    ("storage.k8s.io", "CSINode", &storage::CsiNodes),
    ("storage.k8s.io", "CSIStorageCapacity", &storage::CsiStorageCapacities),
    ("storage.k8s.io", "StorageClass", &storage::StorageClasses),
    ("storage.k8s.io", "VolumeAttachment", &storage::VolumeAttachments),
    ("storage.k8s.io", "VolumeAttributesClass", &storage::VolumeAttributesClasses),
    ("coordination.k8s.io", "Lease", &coordination::Leases),
    ("storagemigration.k8s.io", "StorageVersionMigration", &storagemigration::StorageVersionMigrations),
    ("discovery.k8s.io", "EndpointSlice", &discovery::EndpointSlices),
    ("scheduling.k8s.io", "PriorityClass", &scheduling::PriorityClasses),
    // rbac, certificates, authentication, authorization
    ("certificates.k8s.io", "CertificateSigningRequest", &certificates::CertificateSigningRequests),
    ("certificates.k8s.io", "ClusterTrustBundle", &certificates::ClusterTrustBundles),
    ("certificates.k8s.io", "PodCertificateRequest", &certificates::PodCertificateRequests),
    ("rbac.authorization.k8s.io", "ClusterRole", &rbac::ClusterRoles),
    ("rbac.authorization.k8s.io", "ClusterRoleBinding", &rbac::ClusterRoleBindings),
    ("rbac.authorization.k8s.io", "Role", &rbac::Roles),
    ("rbac.authorization.k8s.io", "RoleBinding", &rbac::RoleBindings),
    // admissionregistration, apiextensions, apiregistration, flowcontrol, events, resource
    ("admissionregistration.k8s.io", "MutatingAdmissionPolicy", &admissionregistration::MutatingAdmissionPolicies),
    ("admissionregistration.k8s.io", "MutatingAdmissionPolicyBinding", &admissionregistration::MutatingAdmissionPolicyBindings),
    ("admissionregistration.k8s.io", "MutatingWebhookConfiguration", &admissionregistration::MutatingWebhookConfigurations),
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy", &admissionregistration::ValidatingAdmissionPolicies),
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding", &admissionregistration::ValidatingAdmissionPolicyBindings),
    ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration", &admissionregistration::ValidatingWebhookConfigurations),
    ("apiregistration.k8s.io", "APIService", &apiregistration::ApiServices),
    ("flowcontrol.apiserver.k8s.io", "FlowSchema", &flowcontrol::FlowSchemas),
    ("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration", &flowcontrol::PriorityLevelConfigurations),
    ("resource.k8s.io", "DeviceClass", &resource::DeviceClasses),
    ("resource.k8s.io", "ResourceClaim", &resource::ResourceClaims),
    ("resource.k8s.io", "ResourceClaimTemplate", &resource::ResourceClaimTemplates),
    ("resource.k8s.io", "ResourceSlice", &resource::ResourceSlices),
    ("apiextensions.k8s.io", "CustomResourceDefinition", &apiextensions::CustomResourceDefinitions),
    ("events.k8s.io", "Event", &events::Events),
];
