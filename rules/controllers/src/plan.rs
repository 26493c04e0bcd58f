//! What a controller wants done: a closed set of writes with the reason for each.
//!
//! Invariant: a plan is plain data made from one snapshot; carrying it out is the driver's work, and a plan made from
//! a snapshot that already shows its effects is empty. No client, no retry and no clock in here.

use corten_api::authorization::v1::SubjectAccessReviewSpec;
use corten_api::{Kind, Object};
use corten_core::{Bin, Message, Str, Time, Value, ValueMap};
use corten_meta::{GroupVersionResource, ObjectKey};

/// Everything one reconcile of one key asks for.
#[derive(Debug, Default)]
pub struct Plan {
    /// Carried out in order; runs of creates (and of deletes) of one kind are carried out in slow-start batches, and
    /// the first failure ends the plan.
    pub steps: Vec<Step>,
    /// Recorded as Event objects once the steps are done.
    pub events: Vec<Note>,
    /// The latest moment at which the key must be looked at again even if nothing wakes it.
    pub wake_at: Option<Time>,
}

impl Plan {
    /// True when there is nothing to do now; a pending `wake_at` does not count.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty() && self.events.is_empty()
    }

    /// Asks to be woken at `at`, or earlier if something asked for that already.
    pub fn wake_at(&mut self, at: Time) {
        self.wake_at = Some(match self.wake_at {
            Some(earlier) if earlier <= at => earlier,
            _ => at,
        });
    }

    /// Adds a write.
    pub fn write(&mut self, write: Write) {
        self.steps.push(Step::of(write));
    }

    /// Adds a write whose outcome is recorded as an event.
    pub fn write_told(&mut self, write: Write, told: Told) {
        self.steps.push(Step {
            told: Some(told),
            ..Step::of(write)
        });
    }

    /// Adds a write that is carried out only when the server itself confirms `facts`, just before.
    pub fn write_given(&mut self, write: Write, facts: Vec<Fact>) {
        self.steps.push(Step {
            given: facts,
            ..Step::of(write)
        });
    }

    /// Adds a write if there is one: the shape in which [`Write::patch`] and its like answer.
    pub fn write_if(&mut self, write: Option<Write>) {
        self.steps.extend(write.map(Step::of));
    }

    /// Adds an event.
    pub fn note(&mut self, note: Note) {
        self.events.push(note);
    }
}

/// A write and, where people want to know, the event that tells of its outcome.
#[derive(Debug)]
pub struct Step {
    /// The change.
    pub write: Write,
    /// What to record about it.
    pub told: Option<Told>,
    /// What the server must confirm first; otherwise the plan is stale.
    pub given: Vec<Fact>,
}

impl Step {
    fn of(write: Write) -> Step {
        Step {
            write,
            told: None,
            given: Vec::new(),
        }
    }
}

/// Something that the snapshot does not tell: that it does not show an object proves nothing, since it may be behind, and
/// is so for each resource by another stretch; and who may do what is decided elsewhere. The driver asks the server.
#[derive(Clone, Debug, PartialEq)]
pub enum Fact {
    /// No object with the target's UID exists under its name; none at all when the target has no UID. What has gone
    /// does not come back with the same UID.
    Gone(Target),
    /// The object is still there, with the target's UID: what it needs is not made while it goes.
    Present(Target),
    /// Nothing is stored in the namespace, of any resource, definitions of custom resources counted that the snapshot
    /// does not show yet. Final once the namespace is terminating, when nothing can be created in it.
    Empty {
        /// The namespace.
        namespace: Str,
    },
    /// Whoever this is about may do it, as all configured authorizers decide.
    Allowed(Box<SubjectAccessReviewSpec>),
}

/// The events that tell how a write ended. `{name}` in a message stands for the written object's name, which the API
/// server may have completed; `{error}` for the error's text.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// What the events are about.
    pub about: Target,
    /// Its kind.
    pub kind: &'static str,
    /// Reason and message of the `Normal` event after success.
    pub done: (&'static str, String),
    /// Reason and message of the `Warning` event after a failure.
    pub failed: (&'static str, String),
}

impl Told {
    /// Events about `object`.
    pub fn about<T: Kind>(
        object: &T,
        done: (&'static str, &str),
        failed: (&'static str, &str),
    ) -> Told {
        Told {
            about: Target::of(object),
            kind: T::KIND,
            done: (done.0, done.1.to_owned()),
            failed: (failed.0, failed.1.to_owned()),
        }
    }
}

/// What a reconcile may know beside the snapshot.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// The moment of the reconcile.
    pub now: Time,
    /// When the controllers started: nobody watched before, so that silence counts from then on.
    pub started: Time,
    /// How the last plan for the same key failed, if it did.
    pub failure: Option<Failure>,
    /// What holds for the whole cluster.
    pub cluster: Cluster,
}

/// Facts about the cluster that controllers need and no object holds.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    /// The CA certificate, PEM.
    pub root_ca: Str,
    /// The range of service addresses, such as `10.96.0.0/16`.
    pub service_cidr: Str,
}

/// The error that ended the last plan for a key.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// The verb of the write that failed: `create`, `patch`, `delete` …
    pub verb: &'static str,
    /// The Status reason, such as `Forbidden`.
    pub reason: String,
    /// The Status message.
    pub message: String,
}

/// The object that a write touches, with the preconditions under which the plan was made.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// Group, version and plural name.
    pub resource: GroupVersionResource,
    /// Namespace (empty for cluster-scoped kinds) and name.
    pub key: ObjectKey,
    /// The object must still have this UID; empty means any.
    pub uid: Str,
    /// When set, the object must still be at this resourceVersion.
    pub resource_version: Option<Str>,
}

impl Target {
    /// `object` as it was seen: its UID is a precondition, its revision is not.
    pub fn of<T: Kind>(object: &T) -> Target {
        let meta = object.meta();
        Target {
            resource: GroupVersionResource::of::<T>(),
            key: ObjectKey::new(meta.namespace.clone(), meta.name.clone()),
            uid: meta.uid.clone(),
            resource_version: None,
        }
    }

    /// The same object, but only if it has not changed since it was seen as `object`.
    pub fn unchanged<T: Kind>(object: &T) -> Target {
        Target {
            resource_version: Some(object.meta().resource_version.clone()),
            ..Target::of(object)
        }
    }
}

/// What happens to an object's dependents when it is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// The garbage collector deletes them afterwards.
    Background,
    /// The object stays until they are gone.
    Foreground,
    /// They stay, without this owner.
    Orphan,
}

/// One change to one object.
#[derive(Debug)]
pub enum Write {
    /// Create `object`; a generateName is completed by the API server.
    Create {
        /// The resource to create in.
        resource: GroupVersionResource,
        /// The whole object.
        object: Object,
        /// Why, for `corten why` and the logs.
        because: String,
    },
    /// Apply a JSON merge patch to the object or to one of its subresources.
    Patch {
        /// What to patch.
        target: Target,
        /// Empty, or a subresource such as `status`, `scale` or `finalize`.
        subresource: &'static str,
        /// The merge patch.
        patch: Value,
        /// Why.
        because: String,
    },
    /// Delete the object.
    Delete {
        /// What to delete.
        target: Target,
        /// What happens to its dependents; the kind's default when absent.
        propagation: Option<Propagation>,
        /// Overrides the grace period, in seconds.
        grace_period: Option<i64>,
        /// Why.
        because: String,
    },
    /// Bind a pod to a node.
    Bind {
        /// The pod.
        target: Target,
        /// The node's name.
        node: Str,
        /// Why.
        because: String,
    },
    /// Evict a pod, respecting disruption budgets.
    Evict {
        /// The pod.
        target: Target,
        /// Why.
        because: String,
    },
    /// Put a certificate of the cluster's CA into the status of a certificate request.
    Sign {
        /// The CertificateSigningRequest.
        target: Target,
        /// The certificate request, PEM.
        request: Bin,
        /// As in the API: `client auth` and so on.
        usages: Vec<Str>,
        /// How long the certificate lives.
        seconds: i64,
        /// Why.
        because: String,
    },
}

impl Write {
    /// Creates `object` of kind `T`.
    pub fn create<T: Kind>(object: T, because: impl Into<String>) -> Write {
        Write::Create {
            resource: GroupVersionResource::of::<T>(),
            object: Object::from(object),
            because: because.into(),
        }
    }

    /// The merge patch that turns `old` into `new`, or nothing when they are equal.
    pub fn patch<T: Kind>(old: &T, new: &T, because: impl Into<String>) -> Option<Write> {
        Write::patch_part(old, new, "", because)
    }

    /// As [`Write::patch`], through the status subresource.
    pub fn patch_status<T: Kind>(old: &T, new: &T, because: impl Into<String>) -> Option<Write> {
        Write::patch_part(old, new, "status", because)
    }

    fn patch_part<T: Kind>(
        old: &T,
        new: &T,
        subresource: &'static str,
        because: impl Into<String>,
    ) -> Option<Write> {
        let patch = merge_diff(&value_of(old), &value_of(new))?;
        Some(Write::Patch {
            target: Target::of(old),
            subresource,
            patch,
            because: because.into(),
        })
    }

    /// Deletes `object`, with the kind's default grace and propagation.
    pub fn delete<T: Kind>(object: &T, because: impl Into<String>) -> Write {
        Write::Delete {
            target: Target::of(object),
            propagation: None,
            grace_period: None,
            because: because.into(),
        }
    }

    /// Makes the write fail with a conflict if the object has changed since it was seen.
    pub fn only_if_unchanged<T: Kind>(mut self, object: &T) -> Write {
        if let Write::Patch { target, .. } | Write::Delete { target, .. } = &mut self {
            target.resource_version = Some(object.meta().resource_version.clone());
        }
        self
    }

    /// Why the write was planned.
    pub fn because(&self) -> &str {
        match self {
            Write::Create { because, .. }
            | Write::Patch { because, .. }
            | Write::Delete { because, .. }
            | Write::Bind { because, .. }
            | Write::Evict { because, .. }
            | Write::Sign { because, .. } => because,
        }
    }
}

/// An Event to record about an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Note {
    /// What the event is about.
    pub about: Target,
    /// Its kind, for `involvedObject`.
    pub kind: &'static str,
    /// `Normal` or `Warning`.
    pub event_type: &'static str,
    /// A CamelCase reason, as upstream's.
    pub reason: &'static str,
    /// The text that people read.
    pub message: String,
}

impl Note {
    /// A `Normal` event about `object`.
    pub fn normal<T: Kind>(object: &T, reason: &'static str, message: impl Into<String>) -> Note {
        Note {
            about: Target::of(object),
            kind: T::KIND,
            event_type: "Normal",
            reason,
            message: message.into(),
        }
    }

    /// A `Warning` event about `object`.
    pub fn warning<T: Kind>(object: &T, reason: &'static str, message: impl Into<String>) -> Note {
        Note {
            event_type: "Warning",
            ..Note::normal(object, reason, message)
        }
    }
}

/// The object as a dynamic value. It came out of the API server, so that its raw fields are valid JSON.
pub fn value_of<M: Message>(object: &M) -> Value {
    corten_core::to_value(object).expect("an object of the API holds valid JSON in its raw fields")
}

/// The JSON merge patch (RFC 7386) that turns `old` into `new`; nothing when they are equal.
pub fn merge_diff(old: &Value, new: &Value) -> Option<Value> {
    let (Value::Map(old_map), Value::Map(new_map)) = (old, new) else {
        return (old != new).then(|| new.clone());
    };
    let mut patch = ValueMap::default();
    for (key, new_value) in new_map.iter() {
        match old_map.get(key) {
            None => {
                patch.insert(key.clone(), new_value.clone());
            }
            Some(old_value) => {
                if let Some(change) = merge_diff(old_value, new_value) {
                    patch.insert(key.clone(), change);
                }
            }
        }
    }
    for (key, _) in old_map.iter() {
        if new_map.get(key).is_none() {
            patch.insert(key.clone(), Value::Null);
        }
    }
    (!patch.is_empty()).then_some(Value::Map(patch))
}
