//! The one step behind all writes: what changed is taken from its owners and given to the writer.

use super::Request;
use super::entries::{Entries, Entry, FieldOwner, Operation};
use super::reset::{self, Filter};
use crate::Schema;
use crate::fields::FieldSet;
use crate::schema::Type;
use crate::typed::{Comparison, Duplicates, compare, reconcile, validate};
use corten_core::Value;

/// Updaters that one object keeps apart; the oldest ones above are merged.
pub(super) const UPDATERS_MAX: usize = 10;
const ANCIENT: &str = "ancient-changes";

/// Fields that nobody owns.
const NEVER_OWNED: &[&[&str]] = &[
    &["apiVersion"],
    &["kind"],
    &["metadata"],
    &["metadata", "name"],
    &["metadata", "namespace"],
    &["metadata", "creationTimestamp"],
    &["metadata", "selfLink"],
    &["metadata", "uid"],
    &["metadata", "clusterName"],
    &["metadata", "generation"],
    &["metadata", "managedFields"],
    &["metadata", "resourceVersion"],
];

/// Paths that others own and a write would change, by owner.
pub(super) type Contested = Vec<(FieldOwner, FieldSet)>;

/// Why ownership cannot be worked out.
pub(super) enum Failure {
    Text(String),
    Conflicts(Contested),
}

impl From<String> for Failure {
    fn from(text: String) -> Failure {
        Failure::Text(text)
    }
}

/// Whether a write may take over what others own.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Takeover {
    Allowed,
    Refused,
}

impl<'a> Request<'a> {
    pub fn root(&self) -> Type<'a> {
        Type::root(self.schema)
    }

    pub fn filter(&self) -> Filter {
        let group = self
            .api_version
            .split_once('/')
            .map_or("", |(group, _)| group);
        let custom = !matches!(self.schema, Schema::Table(_));
        reset::filter(group, self.kind, self.subresource, custom)
    }

    /// Sets as the schema of now has them.
    pub fn reconcile(&self, entries: &mut Entries) {
        for entry in entries.0.values_mut() {
            if let Some(set) = reconcile(self.root(), &entry.set) {
                entry.replace(set);
            }
        }
    }

    /// Takes what differs between `live` and `new` from all managers but `writer`.
    pub fn take(
        &self,
        live: &Value,
        new: &Value,
        entries: &mut Entries,
        writer: Option<&FieldOwner>,
        takeover: Takeover,
    ) -> Result<Comparison, Failure> {
        let compared = compare(self.root(), live, new)
            .map_err(|e| format!("failed to compare objects: {e}"))?;
        let filter = self.filter();
        let compared = match &filter {
            Filter::Without(fields) => compared.without(fields),
            only @ Filter::Only(_) => Comparison {
                removed: only.apply(&compared.removed),
                modified: only.apply(&compared.modified),
                added: only.apply(&compared.added),
            },
        };
        let changes = [&compared.modified, &compared.added];
        if takeover == Takeover::Refused {
            let changed = compared.modified.union(&compared.added);
            let mut contested = Contested::new();
            for (manager, entry) in &entries.0 {
                let both = entry.set.intersection(&changed);
                if Some(manager) != writer && !both.is_empty() {
                    contested.push((manager.clone(), both));
                }
            }
            if !contested.is_empty() {
                return Err(Failure::Conflicts(contested));
            }
        }
        for (manager, entry) in &mut entries.0 {
            if Some(manager) != writer {
                for gone in changes.into_iter().chain([&compared.removed]) {
                    entry.subtract(gone);
                }
            }
        }
        entries.drop_empty();
        Ok(compared)
    }

    /// Gives `manager` what an update from `live` to `new` changed.
    ///
    /// # Errors
    /// When an object does not have the type's shape.
    pub fn update(
        &self,
        live: &Value,
        new: &Value,
        entries: &mut Entries,
        manager: &str,
    ) -> Result<(), Failure> {
        for object in [new, live] {
            validate(self.root(), object, Duplicates::Allowed)?;
        }
        self.reconcile(entries);
        let compared = self.take(live, new, entries, None, Takeover::Allowed)?;
        let mut set = compared.changed();
        set.subtract(&FieldSet::of(NEVER_OWNED));
        if !set.is_empty() {
            let entry = entries
                .0
                .entry(self.updater(manager))
                .or_insert_with(|| Entry::new(FieldSet::default(), self.api_version, None));
            entry.absorb(set);
            entry.time = Some(self.now);
        }
        cap(entries);
        Ok(())
    }
}

/// Without what nobody owns.
pub(super) fn owned(set: &FieldSet) -> FieldSet {
    set.difference(&FieldSet::of(NEVER_OWNED))
}

/// Merges the oldest updaters of each version until there are few enough.
fn cap(entries: &mut Entries) {
    let updaters = entries
        .0
        .iter()
        .filter(|(m, _)| m.operation == Operation::Update);
    let mut updaters: Vec<(i64, FieldOwner)> = updaters
        .map(|(m, entry)| (entry.time.map_or(0, |t| t.unix()), m.clone()))
        .collect();
    let mut count = updaters.len();
    updaters.sort();
    let mut first_of: Vec<(String, FieldOwner)> = Vec::new();
    for (_, manager) in updaters {
        if count <= UPDATERS_MAX {
            return;
        }
        let Some(entry) = entries.0.get(&manager).cloned() else {
            continue;
        };
        let version = entry.api_version.clone();
        let Some((_, first)) = first_of.iter().find(|(v, _)| *v == version) else {
            first_of.push((version, manager));
            continue;
        };
        let bucket = FieldOwner {
            name: ANCIENT.into(),
            operation: Operation::Update,
            api_version: version,
            subresource: String::new(),
        };
        if !entries.0.contains_key(&bucket)
            && let Some(moved) = entries.0.remove(first)
        {
            entries.0.insert(bucket.clone(), moved);
        }
        if let Some(ancient) = entries.0.get_mut(&bucket) {
            ancient.absorb(entry.set);
            ancient.time = entry.time;
        }
        if manager != bucket {
            entries.0.remove(&manager);
        }
        count -= 1;
    }
}
