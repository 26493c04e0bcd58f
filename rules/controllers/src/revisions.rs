//! ControllerRevisions: the pod templates that a daemon set or stateful set has had.
//!
//! Invariant: the data of a revision never changes; going back to an old template gives its revision the highest number.

use crate::plan::{Plan, Target, Write, value_of};
use crate::template::{controller_reference, template_hash};
use corten_api::Kind;
use corten_api::apps::v1::ControllerRevision;
use corten_api::core::v1::PodTemplateSpec;
use corten_api::meta::v1::ObjectMeta;
use corten_core::{List, Map, RawJson, Str, Value};
use corten_meta::{Selector, Snapshot};

/// The label of a daemon set's revisions and pods with the hash, and of a stateful set's pods with the revision's name.
pub const HASH: &str = "controller-revision-hash";

/// The revisions of a namespace as one owner sees them.
#[derive(Debug)]
pub struct Known<'a> {
    /// Those that it controls or adopts, oldest number first.
    pub owned: Vec<&'a ControllerRevision>,
    /// All others: their names are taken.
    others: Vec<&'a ControllerRevision>,
}

impl<'a> Known<'a> {
    /// Sorts out the revisions in the namespace of `owner`: it adopts those without a controller that `selector` matches.
    pub fn of<T: Kind>(snapshot: &'a Snapshot, owner: &T, selector: &Selector) -> Known<'a> {
        let meta = owner.meta();
        let is_own = |revision: &&ControllerRevision| match revision.metadata.controller_of() {
            Some(reference) => reference.uid == meta.uid,
            None => {
                !meta.deleting()
                    && !revision.metadata.deleting()
                    && selector.matches(&revision.metadata.labels)
            }
        };
        let all = snapshot.list_in::<ControllerRevision>(&meta.namespace);
        let (mut owned, others): (Vec<_>, Vec<_>) = all.partition(is_own);
        owned.sort_by_key(|r| {
            (
                r.revision,
                r.metadata.creation_timestamp,
                r.metadata.name.clone(),
            )
        });
        Known { owned, others }
    }

    fn named(&self, name: &str) -> Option<&'a ControllerRevision> {
        let mut all = self.owned.iter().chain(&self.others);
        all.find(|r| r.metadata.name == name).copied()
    }

    fn adopt<T: Kind>(&self, plan: &mut Plan, owner: &T) {
        let orphans = self.owned.iter().copied();
        for revision in orphans.filter(|r| r.metadata.controller_of().is_none()) {
            let mut new = revision.clone();
            new.metadata
                .owner_references
                .push(controller_reference(owner));
            let because = format!("{} selects it", owner.meta().name);
            let write = Write::patch(revision, &new, because);
            plan.write_if(write.map(|w| w.only_if_unchanged(revision)));
        }
    }
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

/// The revision of the current template; the writes that adopt, make or renumber revisions go to `plan`.
pub fn update<T: Kind>(
    plan: &mut Plan,
    owner: &T,
    template: &PodTemplateSpec,
    collisions: Option<i32>,
    known: &Known,
    style: Style,
) -> Update {
    known.adopt(plan, owner);
    let wanted = data(template);
    let holds_it = |r: &ControllerRevision| value_of(r).get("data") == Some(&wanted);
    let highest = known.owned.last().map_or(0, |r| r.revision);
    if let Some(revision) = known.owned.iter().rev().find(|r| holds_it(r)) {
        if revision.revision < highest {
            let mut newest = (**revision).clone();
            newest.revision = highest + 1;
            plan.write_if(Write::patch(
                *revision,
                &newest,
                "its template is the current one again",
            ));
        }
        let hash = revision.metadata.labels.get(style.hash_label);
        return Update {
            name: revision.metadata.name.clone(),
            hash: hash.cloned().unwrap_or_default(),
            collisions,
        };
    }
    let (mut collisions, mut taken) = (collisions, true);
    let (mut name, mut hash) = (Str::default(), Str::default());
    while taken {
        hash = template_hash(template, collisions).into();
        name = format!("{}-{hash}", owner.meta().name).into();
        let other = known.named(&name);
        if other.is_some_and(holds_it) {
            // Somebody else's, but as good as one of its own.
            return Update {
                name,
                hash,
                collisions,
            };
        }
        taken = other.is_some();
        if taken {
            collisions = Some(collisions.unwrap_or(0) + 1);
        }
    }
    // When the name is taken by a revision that the snapshot does not show yet, this fails until it does.
    let revision = new_revision(owner, template, wanted, (style, &hash), highest + 1);
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
