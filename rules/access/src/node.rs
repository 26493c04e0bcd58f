//! The node authorizer: a node reads what its pods refer to and writes what it owns, nothing else.
//!
//! Invariant: access to secrets, config maps, claims and volumes follows from a pod that is bound to the node; static
//! rules are those of upstream's `system:node` role. Who may write which node or pod is left to NodeRestriction.

use crate::attributes::{Attributes, Decision};
use crate::bootstrap::RuleFacts;
use crate::gated;
use crate::generated::policy::ROLES;
use crate::node_references::{
    uses_claim, uses_config_map, uses_resource_claim, uses_secret, volume_needs_secret,
};
use corten_api::certificates::v1beta1::PodCertificateRequest;
use corten_api::core::v1::{PersistentVolume, Pod};
use corten_api::resource::v1::ResourceSlice;
use corten_api::storage::v1::VolumeAttachment;
use corten_meta::{Feature, FieldSelector, Snapshot};

const NODE_PREFIX: &str = "system:node:";
const NODES: &str = "system:nodes";
const MIRROR: &str = "kubernetes.io/config.mirror";
const NODE_LEASES: &str = "kube-node-lease";

/// The node as which a user acts; nothing when the user is no node.
pub(crate) fn node_name(user: &crate::UserInfo) -> Option<&str> {
    user.name
        .strip_prefix(NODE_PREFIX)
        .filter(|_| user.in_group(NODES))
}

fn refuse(reason: &str) -> Decision {
    Decision::NoOpinion(reason.to_owned())
}

fn allow() -> Decision {
    Decision::Allow(String::new())
}

/// Whether a user is a node, even one whose name cannot be told.
pub(crate) fn is_node(user: &crate::UserInfo) -> bool {
    node_name(user).is_some()
}

/// Decides a node's request; no opinion on anybody else's.
pub fn decide(snapshot: &Snapshot, a: &Attributes) -> Decision {
    let Some(node) = node_name(a.user) else {
        return Decision::NoOpinion(String::new());
    };
    if node.is_empty() {
        return Decision::NoOpinion(format!("unknown node for user {:?}", a.user.name));
    }
    if a.resource_request {
        let scope = Scope { snapshot, node, a };
        match (a.group, a.resource) {
            ("", "secrets") | ("", "configmaps") => return scope.read_single(),
            ("", "persistentvolumeclaims") if a.subresource == "status" => {
                return scope.update_status();
            }
            ("", "persistentvolumeclaims" | "persistentvolumes") => return scope.get_single(),
            ("resource.k8s.io", "resourceclaims") => return scope.get_single(),
            ("storage.k8s.io", "volumeattachments") => return scope.get_single(),
            ("", "serviceaccounts") => return scope.service_account(),
            ("coordination.k8s.io", "leases") => return scope.lease(),
            ("storage.k8s.io", "csinodes") => return scope.csi_node(),
            ("resource.k8s.io", "resourceslices") => return scope.resource_slice(),
            ("", "nodes") => return scope.node_object(),
            ("", "pods") => return scope.pod(),
            ("certificates.k8s.io", "podcertificaterequests") => return scope.pod_certificate(),
            _ => {}
        }
    }
    let rules = ROLES
        .iter()
        .find(|r| r.name == "system:node" && r.namespace.is_empty());
    let more = gated::of(snapshot.features()).flat_map(|g| g.node);
    let mut rules = rules.into_iter().flat_map(|r| r.rules).chain(more);
    match rules.any(|rule| fits(rule, a)) || is_node_rule(a) {
        true => allow(),
        false => Decision::NoOpinion(String::new()),
    }
}

/// Rules that upstream gives nodes although its `system:node` role may be bound to nobody.
fn is_node_rule(a: &Attributes) -> bool {
    a.resource_request
        && matches!(
            (a.group, a.resource, a.verb),
            ("authentication.k8s.io", "tokenreviews", "create")
                | (
                    "authorization.k8s.io",
                    "subjectaccessreviews" | "localsubjectaccessreviews",
                    "create"
                )
                | ("", "services", "get" | "list" | "watch")
                | ("", "events", "create" | "update" | "patch")
                | (
                    "certificates.k8s.io",
                    "certificatesigningrequests",
                    "create" | "get" | "list" | "watch"
                )
                | ("storage.k8s.io", "csidrivers", "get" | "list" | "watch")
                | ("node.k8s.io", "runtimeclasses", "get" | "list" | "watch")
        )
}

fn fits(rule: &RuleFacts, a: &Attributes) -> bool {
    let has = |list: &[&str], wanted: &str| list.iter().any(|item| *item == "*" || *item == wanted);
    if !has(rule.verbs, a.verb) {
        return false;
    }
    if !a.resource_request {
        return rule.urls.contains(&a.path);
    }
    let resource = match a.subresource.is_empty() {
        true => a.resource.to_owned(),
        false => format!("{}/{}", a.resource, a.subresource),
    };
    has(rule.groups, a.group) && has(rule.resources, &resource) && rule.names.is_empty()
}

struct Scope<'a> {
    snapshot: &'a Snapshot,
    node: &'a str,
    a: &'a Attributes<'a>,
}

impl Scope<'_> {
    fn related(&self) -> Decision {
        if self.a.name.is_empty() {
            return refuse("No Object name found");
        }
        match self.is_related() {
            true => allow(),
            false => Decision::NoOpinion(format!(
                "no relationship found between node '{}' and this object",
                self.node
            )),
        }
    }

    fn read_single(&self) -> Decision {
        if !matches!(self.a.verb, "get" | "list" | "watch") {
            return refuse("can only read resources of this type");
        }
        if !self.a.subresource.is_empty() {
            return refuse("cannot read subresource");
        }
        if self.a.namespace.is_empty() {
            return refuse("can only read namespaced object of this type");
        }
        self.related()
    }

    fn get_single(&self) -> Decision {
        if self.a.verb != "get" {
            return refuse("can only get individual resources of this type");
        }
        if !self.a.subresource.is_empty() {
            return refuse("cannot get subresource");
        }
        self.related()
    }

    fn update_status(&self) -> Decision {
        match self.a.verb {
            "update" | "patch" => self.related(),
            _ => refuse("can only get/update/patch this type"),
        }
    }

    fn service_account(&self) -> Decision {
        if self.a.verb == "get" && self.a.subresource.is_empty() {
            return self.read_single();
        }
        if self.a.verb != "create" || self.a.name.is_empty() {
            return refuse("can only create tokens for individual service accounts");
        }
        if self.a.subresource != "token" {
            return refuse("can only create token subresource of serviceaccount");
        }
        self.related()
    }

    fn lease(&self) -> Decision {
        if !matches!(
            self.a.verb,
            "get" | "create" | "update" | "patch" | "delete"
        ) {
            return refuse("can only get, create, update, patch, or delete a node lease");
        }
        if self.a.namespace != NODE_LEASES {
            return Decision::NoOpinion(format!(
                "can only access leases in the {NODE_LEASES:?} system namespace"
            ));
        }
        // On create the name is not known yet; admission looks at it.
        if self.a.verb != "create" && self.a.name != self.node {
            return refuse("can only access node lease with the same name as the requesting node");
        }
        allow()
    }

    fn csi_node(&self) -> Decision {
        if !matches!(
            self.a.verb,
            "get" | "create" | "update" | "patch" | "delete"
        ) {
            return refuse("can only get, create, update, patch, or delete a CSINode");
        }
        if !self.a.subresource.is_empty() {
            return refuse("cannot authorize CSINode subresources");
        }
        if self.a.verb != "create" && self.a.name != self.node {
            return refuse("can only access CSINode with the same name as the requesting node");
        }
        allow()
    }

    fn resource_slice(&self) -> Decision {
        if !self.a.subresource.is_empty() {
            return refuse("cannot authorize ResourceSlice subresources");
        }
        match self.a.verb {
            // Whose slice it is, admission sees.
            "create" => allow(),
            "get" | "update" | "patch" | "delete" => self.related(),
            "watch" | "list" | "deletecollection" => match self.selects_itself() {
                true => allow(),
                false => refuse(
                    "can only list/watch/deletecollection resourceslices with nodeName field selector",
                ),
            },
            _ => refuse(
                "only the following verbs are allowed for a ResourceSlice: get, watch, list, create, update, patch, \
                 delete, deletecollection",
            ),
        }
    }

    /// Whether the request is limited to objects of the node by a field selector.
    fn selects_itself(&self) -> bool {
        let selector = FieldSelector::parse(self.a.field_selector).unwrap_or_default();
        selector.required("spec.nodeName") == Some(self.node)
    }

    fn pod_certificate(&self) -> Decision {
        if !self.snapshot.has_feature(Feature::PodCertificateRequest) {
            return refuse("");
        }
        if !self.a.subresource.is_empty() {
            return refuse("nodes may not access the status subresource of PodCertificateRequests");
        }
        match self.a.verb {
            // For which pod, admission sees.
            "create" => allow(),
            "get" => self.related(),
            "list" | "watch" => match self.selects_itself() {
                true => allow(),
                false => refuse(
                    "can only list/watch podcertificaterequests with nodeName field selector",
                ),
            },
            verb => Decision::NoOpinion(format!("nodes may not {verb} podcertificaterequests")),
        }
    }

    fn node_object(&self) -> Decision {
        let node = self.node;
        match (self.a.subresource, self.a.verb) {
            ("", "create" | "update" | "patch") | ("status", "update" | "patch") => allow(),
            ("", "get" | "list" | "watch") => match self.a.name {
                name if name == node => allow(),
                "" => Decision::NoOpinion(format!(
                    "node '{node}' cannot read all nodes, only its own Node object"
                )),
                other => Decision::NoOpinion(format!(
                    "node '{node}' cannot read '{other}', only its own Node object"
                )),
            },
            _ => Decision::NoOpinion(String::new()),
        }
    }

    fn pod(&self) -> Decision {
        match (self.a.subresource, self.a.verb) {
            ("", "get") => self.get_single(),
            ("", "list" | "watch") => {
                if self.selects_itself() {
                    return allow();
                }
                match self.a.name.is_empty() {
                    true => refuse("can only list/watch pods with spec.nodeName field selector"),
                    false => self.related(),
                }
            }
            ("", "create" | "delete") | ("status", "update" | "patch") | ("eviction", "create") => {
                allow()
            }
            _ => Decision::NoOpinion(String::new()),
        }
    }

    /// Whether a pod of the node refers to the object.
    fn is_related(&self) -> bool {
        let name = self.a.name;
        match self.a.resource {
            "persistentvolumes" => {
                self.snapshot
                    .get::<PersistentVolume>("", name)
                    .is_some_and(|pv| {
                        pv.spec.claim_ref.as_deref().is_some_and(|claim| {
                            self.any_pod(&claim.namespace, |pod| uses_claim(pod, &claim.name))
                        })
                    })
            }
            "volumeattachments" => self
                .snapshot
                .get::<VolumeAttachment>("", name)
                .is_some_and(|va| va.spec.node_name == self.node),
            "resourceslices" => self
                .snapshot
                .get::<ResourceSlice>("", name)
                .is_some_and(|slice| slice.spec.node_name.as_deref() == Some(self.node)),
            "podcertificaterequests" => self
                .snapshot
                .get::<PodCertificateRequest>(self.a.namespace, name)
                .is_some_and(|request| request.spec.node_name == self.node),
            "pods" => self
                .snapshot
                .find::<Pod>(self.a.namespace, name)
                .is_some_and(|pod| pod.spec.node_name == self.node),
            "secrets" => {
                self.any_pod(self.a.namespace, |pod| {
                    uses_secret(pod, &|n: &str| n == name)
                }) || self.claims_secret()
            }
            resource => self.any_pod(self.a.namespace, |pod| match resource {
                "configmaps" => uses_config_map(pod, &|n: &str| n == name),
                "persistentvolumeclaims" => uses_claim(pod, name),
                "serviceaccounts" => pod.spec.service_account_name == name,
                "resourceclaims" => uses_resource_claim(pod, name),
                _ => false,
            }),
        }
    }

    /// Whether a pod of the node fits. Mirror pods are written by the node itself, so they give it nothing.
    fn any_pod(&self, namespace: &str, test: impl Fn(&Pod) -> bool) -> bool {
        let own = ("spec.nodeName", self.node);
        let mut pods = self.snapshot.find_where::<Pod>(namespace, own);
        pods.any(|pod| self.gives(&pod) && test(&pod))
    }

    fn gives(&self, pod: &Pod) -> bool {
        pod.spec.node_name == self.node && !pod.metadata.annotations.contains_key(MIRROR)
    }

    /// Whether a volume behind a claim of one of the node's pods needs the secret, whose namespace may be any.
    fn claims_secret(&self) -> bool {
        let (namespace, name) = (self.a.namespace, self.a.name);
        let needs = |volume: &PersistentVolume| volume_needs_secret(volume, namespace, name);
        let volumes = self.snapshot.list::<PersistentVolume>();
        volumes.filter(|v| needs(v)).any(|volume| {
            let claim = volume.spec.claim_ref.as_deref();
            claim.is_some_and(|c| self.any_pod(&c.namespace, |pod| uses_claim(pod, &c.name)))
        })
    }
}
