//! Test support: a cluster from YAML, plans as text, and a tiny API server that applies them in memory.
//!
//! Invariant: bounded and deterministic; UIDs, names and moments are counted, never drawn. Leaves out defaulting,
//! validation and authorization: fixtures say what defaults would have said.

use crate::plan::{Context, Fact, Plan, Propagation, Step, Target, Write};
use crate::registry::{CONTROLLERS, Controller, Watched};
use corten_api::certificates::v1::CertificateSigningRequest;
use corten_api::core::v1::{Namespace, Node, NodeCondition, Pod, PodCondition};
use corten_api::{Kind, Object};
use corten_core::{Str, Time, Value};
use corten_meta::{GroupResource, ObjectKey, Snapshot};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The moment at which fixtures take place: 2026-01-01T00:00:00Z.
pub const START: i64 = 1_767_225_600;

fn resource_of(object: &Object) -> GroupResource {
    let served = corten_api::resource_of_kind(object.gvk()).expect("a built-in kind");
    GroupResource::new(served.group, served.plural)
}

fn key_of(object: &Object) -> ObjectKey {
    ObjectKey::new(object.meta().namespace.clone(), object.meta().name.clone())
}

/// A plan as text: one line for each write, event and deadline.
pub fn show(plan: &Plan) -> String {
    let mut lines: Vec<String> = plan.steps.iter().map(show_step).collect();
    for note in &plan.events {
        let (kind, name) = (note.kind, &note.about.key.name);
        lines.push(format!(
            "{} {} {kind}/{name}: {}",
            note.event_type, note.reason, note.message
        ));
    }
    lines.extend(
        plan.wake_at
            .map(|at| format!("wake at +{}s", at.unix() - START)),
    );
    lines.join("\n")
}

fn show_target(target: &Target) -> String {
    match target.key.namespace.is_empty() {
        true => format!("{} {}", target.resource.resource, target.key.name),
        false => format!(
            "{} {}/{}",
            target.resource.resource, target.key.namespace, target.key.name
        ),
    }
}

fn show_step(step: &Step) -> String {
    let given = step.given.iter().map(|fact| match fact {
        Fact::Gone(target) => format!(" if {} is gone", show_target(target)),
        Fact::Present(target) => format!(" if {} is there", show_target(target)),
        Fact::Empty { namespace } => format!(" if {namespace} is empty"),
        Fact::Allowed(spec) => {
            let what = spec.resource_attributes.as_deref();
            let part = what.map_or("", |a| a.subresource.as_str());
            format!(" if {} may create {part}", spec.user)
        }
    });
    given.fold(show_write(&step.write), |text, fact| text + &fact)
}

fn show_write(write: &Write) -> String {
    match write {
        Write::Create {
            resource, object, ..
        } => {
            let meta = object.meta();
            let name = if meta.name.is_empty() {
                &meta.generate_name
            } else {
                &meta.name
            };
            format!("create {} {}/{name}", resource.resource, meta.namespace)
        }
        Write::Patch {
            target,
            subresource,
            patch,
            ..
        } => {
            let part = if subresource.is_empty() {
                String::new()
            } else {
                format!(" /{subresource}")
            };
            format!("patch {}{part} {patch}", show_target(target))
        }
        Write::Delete {
            target,
            propagation,
            grace_period,
            ..
        } => {
            let how = propagation.map_or_else(String::new, |p| format!(" {p:?}"));
            let grace = grace_period.map_or_else(String::new, |g| format!(" grace={g}"));
            format!("delete {}{how}{grace}", show_target(target))
        }
        Write::Bind { target, node, .. } => format!("bind {} to {node}", show_target(target)),
        Write::Evict { target, .. } => format!("evict {}", show_target(target)),
        Write::Sign {
            target,
            usages,
            seconds,
            ..
        } => format!("sign {} {usages:?} {seconds}s", show_target(target)),
    }
}

/// A cluster in memory.
pub struct World {
    pub snapshot: Snapshot,
    pub context: Context,
    count: u64,
}

impl World {
    /// The objects of a YAML stream; UIDs (`kind-name`), creation times and revisions are filled in where absent.
    pub fn new(yaml: &str) -> World {
        let now = Time::from_unix(START);
        let mut world = World {
            snapshot: Snapshot::with_owners(),
            context: Context {
                now,
                ..Context::default()
            },
            count: 0,
        };
        world.context.cluster.root_ca = "CA".into();
        for value in corten_codec::yaml::decode_documents(yaml.as_bytes()).expect("YAML") {
            if value.is_null() {
                continue;
            }
            let mut unknown = Vec::new();
            let mut object = Object::from_value_strict(&value, &mut unknown).expect("an object");
            assert!(unknown.is_empty(), "{unknown:?}");
            let uid = format!("{}-{}", object.kind().to_lowercase(), object.meta().name);
            let meta = object.meta_mut();
            if meta.uid.is_empty() {
                meta.uid = uid.into();
            }
            if meta.creation_timestamp.is_zero() {
                meta.creation_timestamp = now.plus_seconds(-3600);
            }
            meta.generation = meta.generation.max(1);
            world.put(object);
        }
        world
    }

    /// Grows with every change.
    pub fn revision(&self) -> u64 {
        self.count
    }

    /// Moves the clock.
    pub fn later(&mut self, seconds: i64) {
        self.context.now = self.context.now.plus_seconds(seconds);
    }

    pub fn put(&mut self, mut object: Object) {
        self.count += 1;
        object.meta_mut().resource_version = Str::from(self.count.to_string());
        let (resource, key) = (resource_of(&object), key_of(&object));
        self.snapshot.insert(&resource, key, Arc::new(object));
    }

    /// Changes one object.
    pub fn edit<T: Kind>(&mut self, namespace: &str, name: &str, change: impl FnOnce(&mut T)) {
        let mut object = self
            .snapshot
            .get::<T>(namespace, name)
            .expect("an object to edit")
            .clone();
        change(&mut object);
        self.put(Object::from(object));
    }

    pub fn plan(&self, controller: &Controller, key: &str) -> Plan {
        let (namespace, name) = key.rsplit_once('/').unwrap_or(("", key));
        (controller.reconcile)(
            &self.snapshot,
            &ObjectKey::new(namespace, name),
            &self.context,
        )
        .unwrap_or_default()
    }

    /// What the controller plans for `key` (`namespace/name`); then it is done.
    pub fn step(&mut self, controller: &Controller, key: &str) -> String {
        let plan = self.plan(controller, key);
        let text = show(&plan);
        self.apply(plan);
        text
    }

    /// Runs one controller on one key until it plans nothing; gives all that it did.
    pub fn run(&mut self, controller: &Controller, key: &str) -> String {
        let mut done = Vec::new();
        for _ in 0..20 {
            let plan = self.plan(controller, key);
            if plan.is_empty() {
                return done.join("\n");
            }
            done.push(show(&plan));
            self.apply(plan);
        }
        panic!(
            "{} does not come to rest on {key}:\n{}",
            controller.name,
            done.join("\n")
        );
    }

    pub fn apply(&mut self, plan: Plan) {
        for step in plan.steps {
            match step.write {
                Write::Create { object, .. } => self.create(object),
                Write::Patch {
                    target,
                    subresource,
                    patch,
                    ..
                } => self.patch(&target, subresource, &patch),
                Write::Delete {
                    target,
                    propagation,
                    grace_period,
                    ..
                } => {
                    self.delete(&target, propagation, grace_period);
                }
                Write::Bind { target, node, .. } => {
                    self.edit::<Pod>(&target.key.namespace, &target.key.name, |p| {
                        p.spec.node_name = node
                    });
                }
                Write::Evict { target, .. } => self.delete(&target, None, None),
                Write::Sign { target, .. } => {
                    self.edit::<CertificateSigningRequest>("", &target.key.name, |r| {
                        r.status.certificate = b"signed".as_slice().into();
                    });
                }
            }
        }
    }

    fn create(&mut self, mut object: Object) {
        let namespace = self.snapshot.get::<Namespace>("", &object.meta().namespace);
        if namespace.is_some_and(|n| n.metadata.deleting()) {
            // As the server: nothing new comes into a namespace that ends.
            return;
        }
        self.count += 1;
        let count = self.count;
        let now = self.context.now;
        let meta = object.meta_mut();
        if meta.name.is_empty() {
            meta.name = format!("{}{count}", meta.generate_name).into();
        }
        meta.uid = format!("u{count}").into();
        meta.creation_timestamp = now;
        meta.generation = 1;
        let (resource, key) = (resource_of(&object), key_of(&object));
        assert!(
            self.snapshot.object(&resource, &key).is_none(),
            "{resource} {key} exists already"
        );
        self.put(object);
    }

    fn patch(&mut self, target: &Target, subresource: &str, patch: &Value) {
        let resource = target.resource.group_resource();
        let Some(old) = self.snapshot.object(&resource, &target.key).cloned() else {
            return;
        };
        assert!(
            target.uid.is_empty() || old.meta().uid == target.uid,
            "a patch of another object: {target:?}"
        );
        let mut value = old.to_value().expect("a value");
        let before = value.clone();
        merge(&mut value, patch);
        assert_ne!(
            before,
            value,
            "a patch that changes nothing: {} {patch}",
            show_target(target)
        );
        let mut object = Object::from_value(&value).expect("an object");
        if value.get("spec") != before.get("spec") && subresource != "finalize" {
            object.meta_mut().generation += 1;
        }
        let finalized = value
            .at(&["spec", "finalizers"])
            .is_none_or(|f| f.as_list().is_none_or(<[Value]>::is_empty));
        let gone = object.meta().deleting() && object.meta().finalizers.is_empty();
        let held = match resource.resource.as_str() {
            "pods" => old.meta().finalizers.is_empty() || is_running(&object),
            "namespaces" => !finalized,
            _ => false,
        };
        match gone && !held {
            true => drop(self.snapshot.remove(&resource, &target.key)),
            false => self.put(object),
        }
    }

    fn delete(&mut self, target: &Target, propagation: Option<Propagation>, grace: Option<i64>) {
        let resource = target.resource.group_resource();
        let Some(old) = self.snapshot.object(&resource, &target.key) else {
            return;
        };
        assert!(
            target.uid.is_empty() || old.meta().uid == target.uid,
            "a delete of another object: {target:?}"
        );
        let mut object = (**old).clone();
        let finalizer = match propagation {
            Some(Propagation::Foreground) => Some("foregroundDeletion"),
            Some(Propagation::Orphan) => Some("orphan"),
            _ => None,
        };
        if let Some(finalizer) = finalizer {
            object.meta_mut().add_finalizer(finalizer);
        }
        let held = resource.resource == "namespaces" || (is_running(&object) && grace != Some(0));
        if object.meta().finalizers.is_empty() && !held {
            self.snapshot.remove(&resource, &target.key);
            return;
        }
        let now = self.context.now;
        object.meta_mut().deletion_timestamp.get_or_insert(now);
        self.put(object);
    }

    /// What scheduler and kubelets would do: bind, run, let go. True when anything changed.
    pub fn live(&mut self) -> bool {
        self.beat();
        let node = self
            .snapshot
            .list::<Node>()
            .next()
            .map(|n| n.metadata.name.clone());
        let now = self.context.now;
        let pods: Vec<Pod> = self.snapshot.list::<Pod>().cloned().collect();
        let mut changed = false;
        for mut pod in pods {
            let before = pod.clone();
            if pod.metadata.deleting()
                && (is_running(&Object::from(pod.clone())) || pod.metadata.finalizers.is_empty())
            {
                changed = true;
                if pod.metadata.finalizers.is_empty() {
                    let key =
                        ObjectKey::new(pod.metadata.namespace.clone(), pod.metadata.name.clone());
                    self.snapshot.remove(&GroupResource::of::<Pod>(), &key);
                    continue;
                }
                pod.status.phase = "Failed".into();
            } else if pod.spec.node_name.is_empty() {
                pod.spec.node_name = node.clone().unwrap_or_default();
            } else if pod.status.phase.is_empty() || pod.status.phase == "Pending" {
                pod.status.phase = "Running".into();
                pod.status.pod_ip = format!("10.0.0.{}", pod.metadata.resource_version).into();
                pod.status.conditions.push(PodCondition {
                    type_: "Ready".into(),
                    status: "True".into(),
                    last_transition_time: now,
                    ..PodCondition::default()
                });
            }
            if pod != before {
                changed = true;
                self.put(Object::from(pod));
            }
        }
        changed
    }

    /// The heartbeats of all nodes.
    fn beat(&mut self) {
        let now = self.context.now;
        let nodes: Vec<Node> = self.snapshot.list::<Node>().cloned().collect();
        for mut node in nodes {
            let before = node.clone();
            let conditions = &mut node.status.conditions;
            if !conditions.iter().any(|c| c.type_ == "Ready") {
                conditions.push(NodeCondition {
                    type_: "Ready".into(),
                    status: "True".into(),
                    ..NodeCondition::default()
                });
            }
            conditions
                .iter_mut()
                .for_each(|c| c.last_heartbeat_time = now);
            if node != before {
                self.put(Object::from(node));
            }
        }
    }

    /// Every key that any object wakes for `controller`.
    fn keys(&self, controller: &Controller) -> BTreeSet<ObjectKey> {
        let mut keys = BTreeSet::new();
        for (resource, table) in self.snapshot.resources() {
            if (controller.primary)().group_resource() == *resource {
                keys.extend(table.keys().cloned());
            }
            for wake in controller.wakes {
                let watched = match wake.on {
                    Watched::One(one) => one().group_resource() == *resource,
                    Watched::Every => true,
                };
                for object in table.values().filter(|_| watched) {
                    keys.extend((wake.keys)(&self.snapshot, object));
                }
            }
        }
        keys
    }

    /// Runs every controller, and pods, until nothing is left to do; panics when that takes more than `rounds`.
    pub fn settle(&mut self, rounds: usize) {
        let mut last = String::new();
        for _ in 0..rounds {
            last.clear();
            let mut quiet = !self.live();
            for controller in CONTROLLERS {
                for key in self.keys(controller) {
                    let plan = (controller.reconcile)(&self.snapshot, &key, &self.context)
                        .unwrap_or_default();
                    // Whoever waits may tell so again and again; rest means that nothing is written.
                    if !plan.steps.is_empty() {
                        quiet = false;
                        last.push_str(&format!("{} {key}:\n{}\n", controller.name, show(&plan)));
                        self.apply(plan);
                    }
                }
            }
            if quiet {
                return;
            }
        }
        panic!("the cluster does not come to rest; the last round:\n{last}");
    }

    /// `resource namespace/name` of what exists of kind `T`, one line each, with `what` of it.
    pub fn list<T: Kind>(&self, what: impl Fn(&T) -> String) -> String {
        let line = |o: &T| format!("{} {}", o.meta().name, what(o));
        self.snapshot
            .list::<T>()
            .map(line)
            .collect::<Vec<_>>()
            .join("\n")
    }
}

/// A pod whose containers a kubelet may have started.
fn is_running(object: &Object) -> bool {
    object.downcast_ref::<Pod>().is_some_and(|p| {
        !p.spec.node_name.is_empty() && p.status.phase != "Succeeded" && p.status.phase != "Failed"
    })
}

fn merge(target: &mut Value, patch: &Value) {
    let Value::Map(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if target.as_map().is_none() {
        *target = Value::map();
    }
    let Some(map) = target.as_map_mut() else {
        return;
    };
    for (key, value) in patch.iter() {
        if value.is_null() {
            map.remove(key);
            continue;
        }
        let mut inner = map.get(key).cloned().unwrap_or(Value::Null);
        merge(&mut inner, value);
        map.insert(key.clone(), inner);
    }
}
