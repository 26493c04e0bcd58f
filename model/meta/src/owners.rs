//! Who belongs to whom: the dependents of every UID that owner references name.
//!
//! Invariant: equal to what a scan of the snapshot would find; an owner is marked as gone only when it was seen, and
//! then seen to go, so that the mark is proof. Owners without dependents take no room.

use crate::{GroupResource, ObjectKey};
use corten_api::Object;
use corten_core::Str;
use imbl::{OrdMap, OrdSet};

#[derive(Clone, Debug, Default)]
struct Owned {
    dependents: OrdSet<(GroupResource, ObjectKey)>,
    owner_has_gone: bool,
}

/// See the module's description. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct OwnerIndex {
    owned: OrdMap<Str, Owned>,
}

impl OwnerIndex {
    /// Takes in that the object at a key was `old` and is `new`.
    pub(crate) fn change(
        &mut self,
        resource: &GroupResource,
        key: &ObjectKey,
        old: Option<&Object>,
        new: Option<&Object>,
    ) {
        let before = old.map(|o| &o.meta().owner_references);
        let after = new.map(|o| &o.meta().owner_references);
        let uids = |list: Option<&corten_core::List<_>>| -> Vec<Str> {
            let references = list.into_iter().flat_map(|l| l.iter());
            references
                .map(|r: &corten_api::meta::v1::OwnerReference| r.uid.clone())
                .collect()
        };
        if before != after {
            let (before, after) = (uids(before), uids(after));
            for uid in before.iter().filter(|uid| !after.contains(uid)) {
                self.leave(uid, resource, key);
            }
            for uid in after.into_iter().filter(|uid| !before.contains(uid)) {
                let owned = self.owned.entry(uid).or_default();
                owned.dependents.insert((resource.clone(), key.clone()));
            }
        }
        if let Some(old) = old
            && new.is_none_or(|new| new.meta().uid != old.meta().uid)
            && let Some(owned) = self.owned.get_mut(&old.meta().uid)
        {
            owned.owner_has_gone = true;
        }
    }

    /// The object at a key is not followed any longer.
    pub(crate) fn forget(&mut self, resource: &GroupResource, key: &ObjectKey, object: &Object) {
        for owner in object.meta().owner_references.iter() {
            self.leave(&owner.uid, resource, key);
        }
    }

    fn leave(&mut self, uid: &Str, resource: &GroupResource, key: &ObjectKey) {
        let Some(owned) = self.owned.get_mut(uid) else {
            return;
        };
        owned.dependents.remove(&(resource.clone(), key.clone()));
        if owned.dependents.is_empty() {
            self.owned.remove(uid);
        }
    }

    /// Where the dependents of `uid` are, in order.
    pub(crate) fn dependents<'a>(
        &'a self,
        uid: &str,
    ) -> impl Iterator<Item = &'a (GroupResource, ObjectKey)> + use<'a> {
        let owned = self.owned.get(&Str::from(uid));
        owned.into_iter().flat_map(|o| o.dependents.iter())
    }

    /// Whether the object with `uid` was seen to go while dependents of it were known.
    pub(crate) fn has_gone(&self, uid: &str) -> bool {
        let owned = self.owned.get(&Str::from(uid));
        owned.is_some_and(|o| o.owner_has_gone)
    }
}
