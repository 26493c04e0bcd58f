//! Built-in admission: what may be written beyond what roles allow, and what is filled in on the way.
//!
//! Invariant: plugins run in upstream's order, mutation before validation; the first refusal ends the request.

mod certificate_request;
mod certificates;
mod classes;
mod declared_features;
mod escalation;
mod limit_ranger;
mod mountable_secrets;
mod namespace;
mod node_certificate;
mod node_objects;
mod node_restriction;
mod optional_objects;
mod optional_pods;
mod plugins;
mod pod_resize;
mod pod_resources;
mod pod_security;
mod priority;
mod quota;
mod service_account;
mod settings;
mod tolerations;
mod topology;
mod volumes;

pub use certificate_request::{Alternatives, Subject};
pub use plugins::{PLUGINS, Plugin, PluginSet};
pub use quota::quota_usage;
pub use settings::{
    AdmissionConfiguration, EventLimit, EventLimitType, ImagePolicy, PluginConfiguration,
    PluginSettings, event_limits, image_policy, webhook_kubeconfig,
};

use crate::attributes::{Attributes, Decision, UserInfo};
use crate::rbac::Rules;
use corten_api::Object;
use corten_core::Time;
use corten_meta::{GroupVersionKind, GroupVersionResource, Snapshot};

/// What a request does to an object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
    /// Makes one.
    Create,
    /// Changes one.
    Update,
    /// Deletes one.
    Delete,
    /// Opens a stream or a proxy.
    Connect,
}

impl Operation {
    /// As refusals print it.
    fn as_str(self) -> &'static str {
        match self {
            Operation::Create => "CREATE",
            Operation::Update => "UPDATE",
            Operation::Delete => "DELETE",
            Operation::Connect => "CONNECT",
        }
    }
}

/// Decides what users may do besides the request itself, as whoever configured the authorizers wants it.
pub trait Authorize: Sync {
    /// Whether the attributes' user may do what they describe.
    fn decide(&self, attributes: &Attributes) -> Decision;
}

/// Asks the node authorizer and RBAC alone.
#[derive(Debug)]
pub struct ByRoles<'a> {
    /// The state of the cluster.
    pub snapshot: &'a Snapshot,
    /// Compiled RBAC.
    pub rules: &'a Rules,
}

impl Authorize for ByRoles<'_> {
    fn decide(&self, attributes: &Attributes) -> Decision {
        crate::authorize(self.rules, self.snapshot, attributes)
    }
}

/// Everything that admission may look at beside the object.
pub struct Review<'a> {
    /// The state of the cluster.
    pub snapshot: &'a Snapshot,
    /// Who decides what else the user may do.
    pub authorizer: &'a dyn Authorize,
    /// Compiled RBAC.
    pub rules: &'a Rules,
    /// The plugins that run.
    pub enabled: &'a PluginSet,
    /// What they are told.
    pub settings: &'a PluginSettings,
    /// The moment of the request.
    pub now: &'a Time,
    /// A random number, for names.
    pub random: u64,
    /// Who asks.
    pub user: &'a UserInfo,
    /// What is done.
    pub operation: Operation,
    /// The kind.
    pub kind: &'a GroupVersionKind,
    /// The resource.
    pub resource: &'a GroupVersionResource,
    /// Empty, or `status` …
    pub subresource: &'a str,
    /// The namespace.
    pub namespace: &'a str,
    /// The name.
    pub name: &'a str,
    /// Nothing will be stored.
    pub dry_run: bool,
    /// The object as it is stored.
    pub old: Option<&'a Object>,
}

impl Review<'_> {
    /// Whether the request is about `resource` of `group` itself, not about a subresource.
    fn is(&self, group: &str, resource: &str) -> bool {
        self.is_part(group, resource, "")
    }

    fn is_part(&self, group: &str, resource: &str, subresource: &str) -> bool {
        self.resource.group == group
            && self.resource.resource == resource
            && self.subresource == subresource
    }

    /// Whether the user has another right.
    fn may(&self, attributes: &Attributes) -> bool {
        self.authorizer.decide(attributes).is_allowed()
    }

    /// The start of a question to the authorizer about another right of the same user.
    fn asks(&self) -> Attributes<'_> {
        Attributes {
            user: self.user,
            verb: "",
            group: "",
            version: "*",
            resource: "",
            subresource: "",
            namespace: "",
            name: "",
            path: "",
            resource_request: true,
            field_selector: "",
            label_selector: "",
        }
    }
}

/// One cause among a refusal's details.
#[derive(Clone, Debug, PartialEq)]
pub struct Cause {
    /// What kind of cause, such as `NamespaceTerminating`.
    pub reason: &'static str,
    /// The text that people read.
    pub message: String,
    /// The field at fault, or empty.
    pub field: String,
}

/// What a refusal is about, when that is not the object of the request.
#[derive(Clone, Debug, PartialEq)]
pub struct About {
    /// API group.
    pub group: String,
    /// Plural name.
    pub resource: String,
    /// The object's name.
    pub name: String,
}

/// A refusal. With code 403 the message lacks the leading `pods "x" is forbidden: `, which the API server adds.
#[derive(Clone, Debug, PartialEq)]
pub struct Denial {
    /// HTTP status code.
    pub code: u16,
    /// Status reason.
    pub reason: &'static str,
    /// The text that people read.
    pub message: String,
    /// Causes for the details.
    pub causes: Vec<Cause>,
    /// What the details are about; the object of the request when missing.
    pub about: Option<About>,
}

impl Denial {
    fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Denial {
        Denial {
            code,
            reason,
            message: message.into(),
            causes: Vec::new(),
            about: None,
        }
    }

    fn forbidden(message: impl Into<String>) -> Denial {
        Denial::new(403, "Forbidden", message)
    }

    /// Something that the request refers to does not exist.
    fn not_found(group: &str, resource: &str, name: &str) -> Denial {
        let dot = if group.is_empty() { "" } else { "." };
        let mut denial = Denial::new(
            404,
            "NotFound",
            format!("{resource}{dot}{group} {name:?} not found"),
        );
        denial.about = Some(About {
            group: group.to_owned(),
            resource: resource.to_owned(),
            name: name.to_owned(),
        });
        denial
    }
}

/// Fills in what built-in admission fills in, and refuses what must not be written. Returns warnings.
pub fn mutate(review: &Review, object: &mut Object) -> Result<Vec<String>, Denial> {
    let on = |plugin| review.enabled.has(plugin);
    if on(Plugin::NamespaceLifecycle) {
        namespace::check(review)?;
    }
    if on(Plugin::LimitRanger) {
        limit_ranger::mutate(review, object);
    }
    if on(Plugin::ServiceAccount) {
        service_account::mutate(review, object)?;
    }
    if on(Plugin::AlwaysPullImages) {
        optional_pods::always_pull(review, object);
    }
    if on(Plugin::PodNodeSelector) {
        optional_pods::node_selector(review, object)?;
    }
    if on(Plugin::Priority) {
        priority::mutate(review, object)?;
    }
    tolerations::mutate(review, object);
    if on(Plugin::PodTolerationRestriction) {
        optional_pods::tolerations(review, object)?;
    }
    if on(Plugin::ExtendedResourceToleration) {
        optional_pods::extended_resources(review, object);
    }
    if on(Plugin::DefaultStorageClass) {
        classes::default_storage_class(review, object);
    }
    if on(Plugin::StorageObjectInUseProtection) {
        volumes::protect(review, object);
    }
    if on(Plugin::RuntimeClass) {
        classes::apply_runtime_class(review, object)?;
    }
    if on(Plugin::DefaultIngressClass) {
        classes::default_ingress_class(review, object);
    }
    if on(Plugin::PodTopologyLabels) {
        topology::mutate(review, object);
    }
    Ok(Vec::new())
}

/// What is refused only where it was asked for.
fn validate_optional(review: &Review, object: Option<&Object>) -> Result<(), Denial> {
    let on = |plugin| review.enabled.has(plugin);
    if on(Plugin::NamespaceExists) {
        namespace::exists(review)?;
    }
    if on(Plugin::LimitPodHardAntiAffinityTopology) {
        optional_pods::anti_affinity(review, object)?;
    }
    if on(Plugin::AlwaysPullImages) {
        optional_pods::check_always_pull(review, object)?;
    }
    if on(Plugin::PodNodeSelector) {
        optional_pods::check_node_selector(review, object)?;
    }
    if on(Plugin::PodTolerationRestriction) {
        optional_pods::check_tolerations(review, object)?;
    }
    if on(Plugin::OwnerReferencesPermissionEnforcement) {
        optional_objects::owners(review, object)?;
    }
    if on(Plugin::DenyServiceExternalIPs) {
        optional_objects::external_ips(review, object)?;
    }
    Ok(())
}

/// Keys and values that the audit event of a write is told, whether the write is refused or not.
pub fn audit_notes(review: &Review, object: Option<&Object>) -> Vec<(String, String)> {
    match review.enabled.has(Plugin::PodSecurity) {
        true => pod_security::audit::notes(review, object),
        false => Vec::new(),
    }
}

/// Refuses what must not be written in its final form; `object` is missing for deletions. Returns warnings.
pub fn validate(review: &Review, object: Option<&Object>) -> Result<Vec<String>, Denial> {
    let on = |plugin| review.enabled.has(plugin);
    if on(Plugin::NamespaceLifecycle) {
        namespace::check(review)?;
    }
    if on(Plugin::LimitRanger) {
        limit_ranger::validate(review, object)?;
    }
    if on(Plugin::ServiceAccount) {
        mountable_secrets::validate(review, object)?;
    }
    if on(Plugin::NodeRestriction) {
        node_restriction::validate(review, object)?;
    }
    escalation::validate(review, object)?;
    let mut warnings = Vec::new();
    if on(Plugin::PodSecurity) {
        warnings = pod_security::validate(review, object)?;
    }
    if on(Plugin::PersistentVolumeClaimResize) {
        volumes::check_resize(review, object)?;
    }
    if on(Plugin::RuntimeClass) {
        classes::check_overhead(review, object)?;
    }
    certificates::validate(review, object)?;
    if on(Plugin::NodeDeclaredFeatureValidator) {
        declared_features::validate(review, object)?;
    }
    if on(Plugin::PodResizeValidator) {
        pod_resize::validate(review, object)?;
    }
    validate_optional(review, object)?;
    if on(Plugin::AlwaysDeny) {
        return Err(Denial::forbidden(
            "admission control is denying all modifications",
        ));
    }
    Ok(warnings)
}

/// The last step, after everything else has let the request pass: ResourceQuota objects with the usage that it adds.
pub fn charge(review: &Review, object: Option<&Object>) -> Result<Vec<Object>, Denial> {
    match review.enabled.has(Plugin::ResourceQuota) {
        true => quota::charge(review, object),
        false => Ok(Vec::new()),
    }
}
