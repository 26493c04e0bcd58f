//! What everybody asks metadata: the controller, labels, annotations, finalizers.

use crate::kind::Kind;
use crate::meta::v1::{ObjectMeta, OwnerReference};

impl ObjectMeta {
    /// The owner reference that is marked as controller.
    pub fn controller_of(&self) -> Option<&OwnerReference> {
        self.owner_references
            .iter()
            .find(|o| o.controller == Some(true))
    }
    /// Whether the controller is the object with this uid.
    pub fn controlled_by(&self, uid: &str) -> bool {
        self.controller_of().is_some_and(|o| o.uid == uid)
    }
    /// The value of a label, empty when it is not set.
    pub fn label(&self, key: &str) -> &str {
        self.labels.get(key).map_or("", |v| v.as_str())
    }
    /// The value of an annotation, empty when it is not set.
    pub fn annotation(&self, key: &str) -> &str {
        self.annotations.get(key).map_or("", |v| v.as_str())
    }
    /// Whether the object is being deleted.
    pub fn deleting(&self) -> bool {
        self.deletion_timestamp.is_some()
    }
    /// Whether a finalizer is set.
    pub fn has_finalizer(&self, name: &str) -> bool {
        self.finalizers.iter().any(|f| f == name)
    }
    /// Sets a finalizer; says whether that changed anything.
    pub fn add_finalizer(&mut self, name: &str) -> bool {
        let add = !self.has_finalizer(name);
        if add {
            self.finalizers.push(name);
        }
        add
    }
    /// Takes a finalizer away; says whether that changed anything.
    pub fn remove_finalizer(&mut self, name: &str) -> bool {
        let before = self.finalizers.len();
        self.finalizers.retain(|f| f != name);
        self.finalizers.len() != before
    }
    /// `namespace/name`, or the name of a cluster-wide object.
    pub fn full_name(&self) -> String {
        if self.namespace.is_empty() {
            self.name.to_string()
        } else {
            format!("{}/{}", self.namespace, self.name)
        }
    }
}

impl OwnerReference {
    /// The reference of a controlling owner that blocks its deletion, as upstream's controllers write it.
    pub fn controller<K: Kind>(owner: &K) -> OwnerReference {
        OwnerReference {
            api_version: K::API_VERSION.into(),
            kind: K::KIND.into(),
            name: owner.meta().name.clone(),
            uid: owner.meta().uid.clone(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        }
    }
}
