//! ControllerRevisions: the pod templates that a daemon set or stateful set has had.
//!
//! Invariant: the data of a revision never changes; going back to an old template gives its revision the highest number.

use crate::plan::{Context, Plan, Target, Write, value_of};
use crate::template::{controller_reference, template_hash};
use corten_api::Kind;
use corten_api::apps::v1::ControllerRevision;
use corten_api::core::v1::PodTemplateSpec;
use corten_api::meta::v1::ObjectMeta;
use corten_core::{List, Map, RawJson, Str, Value};
use corten_meta::Snapshot;

/// The label of a daemon set's revisions and pods with the hash, and of a stateful set's pods with the revision's name.
pub const HASH: &str = "controller-revision-hash";

/// The revisions that `owner` controls, oldest number first.
pub fn owned<'a, T: Kind>(snapshot: &'a Snapshot, owner: &T) -> Vec<&'a ControllerRevision> {
    let uid = &owner.meta().uid;
    let all = snapshot.list_in::<ControllerRevision>(&owner.meta().namespace);
    let mut owned: Vec<_> = all.filter(|r| r.metadata.controlled_by(uid)).collect();
    owned.sort_by_key(|r| {
        (
            r.revision,
            r.metadata.creation_timestamp,
            r.metadata.name.clone(),
        )
    });
    owned
}

/// The template in the form in which revisions keep it: a patch of the owner.
fn data(template: &PodTemplateSpec) -> Value {
    let mut template = value_of(template);
    template.set(&["$patch"], "replace");
    let mut data = Value::map();
    data.set(&["spec", "template"], template);
    data
}

/// The template that a revision keeps.
pub fn template_of(revision: &ControllerRevision) -> Option<PodTemplateSpec> {
    let value = value_of(revision);
    corten_core::from_value(value.at(&["data", "spec", "template"])?).ok()
}

/// What a set's current template is called.
#[derive(Debug)]
pub struct Update {
    /// The revision's name.
    pub name: Str,
    /// The hash in it.
    pub hash: Str,
    /// Grows when another template has the same hash.
    pub collisions: Option<i32>,
}

/// What differs between the kinds that keep revisions.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// The label of revisions that holds the hash.
    pub hash_label: &'static str,
}

/// The revision of the current template; the write that makes or renumbers it goes to `plan`.
pub fn update<T: Kind>(
    plan: &mut Plan,
    owner: &T,
    template: &PodTemplateSpec,
    collisions: Option<i32>,
    known: &[&ControllerRevision],
    (style, context): (Style, &Context),
) -> Update {
    let wanted = data(template);
    let highest = known.last().map_or(0, |r| r.revision);
    let equal = known
        .iter()
        .rev()
        .find(|r| value_of(**r).get("data") == Some(&wanted));
    if let Some(revision) = equal {
        if revision.revision < highest {
            let mut newest = (**revision).clone();
            newest.revision = highest + 1;
            plan.write_if(Write::patch(
                *revision,
                &newest,
                "its template is the current one again",
            ));
        }
        let hash = revision
            .metadata
            .labels
            .get(style.hash_label)
            .cloned()
            .unwrap_or_default();
        return Update {
            name: revision.metadata.name.clone(),
            hash,
            collisions,
        };
    }
    let collided = context
        .failure
        .as_ref()
        .is_some_and(|f| f.reason == "AlreadyExists" && f.message.contains("controllerrevisions"));
    let collisions = if collided {
        Some(collisions.unwrap_or(0) + 1)
    } else {
        collisions
    };
    let hash: Str = template_hash(template, collisions).into();
    let revision = new_revision(owner, template, wanted, (style, &hash), highest + 1);
    let name = revision.metadata.name.clone();
    plan.write(Write::create(
        revision,
        "no revision holds the current template",
    ));
    Update {
        name,
        hash,
        collisions,
    }
}

fn new_revision<T: Kind>(
    owner: &T,
    template: &PodTemplateSpec,
    data: Value,
    (style, hash): (Style, &Str),
    number: i64,
) -> ControllerRevision {
    let mut labels: Map<Str> = template.metadata.labels.clone();
    labels.insert(style.hash_label, hash.clone());
    ControllerRevision {
        metadata: ObjectMeta {
            name: format!("{}-{hash}", owner.meta().name).into(),
            namespace: owner.meta().namespace.clone(),
            labels,
            annotations: owner.meta().annotations.clone(),
            owner_references: List::from_iter([controller_reference(owner)]),
            ..Default::default()
        },
        data: RawJson::from(data.to_string()),
        revision: number,
        ..Default::default()
    }
}

/// Deletes the oldest revisions beyond `limit` that nothing uses.
pub fn clean_up(
    plan: &mut Plan,
    known: &[&ControllerRevision],
    limit: Option<i32>,
    in_use: impl Fn(&ControllerRevision) -> bool,
) {
    let limit = usize::try_from(limit.unwrap_or(10)).unwrap_or(0);
    let unused: Vec<_> = known.iter().filter(|r| !in_use(r)).collect();
    for revision in &unused[..unused.len().saturating_sub(limit)] {
        plan.write(Write::Delete {
            target: Target::of(**revision),
            propagation: None,
            grace_period: None,
            because: format!("only {limit} old revisions are kept"),
        });
    }
}
