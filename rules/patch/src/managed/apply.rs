//! Server-side apply: merge, prune what the manager no longer applies, and take ownership or answer with conflicts.

use super::entries::{Entries, Entry, FieldOwner, Operation};
use super::last_applied;
use super::update::{Failure, Takeover, owned};
use super::{Request, same_object, settled, with_entries};
use crate::error::{bad, misfit};
use crate::fields::{FieldSet, values_equal};
use crate::typed::{Duplicates, merge, remove, to_set, validate};
use crate::{Apply, Conflict, PatchError};
use corten_core::Value;

/// Owns what an object had before the first write that was tracked.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";

/// The new object with metadata.managedFields brought up to date. The same object when nothing changes.
///
/// # Errors
/// `Bad` when the configuration is of another kind or does not fit the schema, `Conflict` when others own what it
/// changes and `force` is off.
pub fn apply(a: &Apply) -> Result<Value, PatchError> {
    let request = Request {
        schema: a.schema,
        api_version: a.patch.str_at(&["apiVersion"]),
        kind: a.patch.str_at(&["kind"]),
        subresource: a.subresource,
        manager: a.manager,
        now: *a.now,
    };
    check_kind(a, &request)?;
    let nothing;
    let live = match a.live {
        Some(live) => live,
        None => {
            nothing = request.empty();
            &nothing
        }
    };
    let mut entries = match Entries::parse(&live["metadata"]["managedFields"]) {
        Ok(entries) => entries,
        Err(e) => return bad(format!("failed to decode managed fields: {e}")),
    };
    if entries.is_empty() && a.live.is_some() {
        match request.update(&request.empty(), live, &mut entries, BEFORE_FIRST_APPLY) {
            Ok(()) => {}
            Err(Failure::Text(e)) => {
                return bad(format!("failed to create manager for existing fields: {e}"));
            }
            Err(Failure::Conflicts(_)) => {}
        }
    }
    let takeover = if a.force {
        Takeover::Allowed
    } else {
        Takeover::Refused
    };
    let mut outcome = request.apply(live, a.patch, &entries, takeover);
    if a.manager == last_applied::KUBECTL
        && let Err(Failure::Conflicts(contested)) = outcome
    {
        outcome = match last_applied::left(&request, live, contested) {
            left if left.is_empty() => request.apply(live, a.patch, &entries, Takeover::Allowed),
            left => Err(Failure::Conflicts(left)),
        };
    }
    let (mut object, entries) = match outcome {
        Ok(done) => done,
        Err(Failure::Text(e)) => return misfit(e),
        Err(Failure::Conflicts(contested)) => {
            return Err(PatchError::Conflict(conflicts(&contested)));
        }
    };
    if a.manager == last_applied::KUBECTL {
        last_applied::refresh(&mut object, a.patch);
    }
    let mut object = with_entries(object, &entries);
    if a.live.is_some() {
        let before = &live["metadata"]["managedFields"];
        let mut list = entries.to_value();
        if same_object(&object, live) {
            list = settled(before, list);
        }
        if !list.is_null() {
            object.set(&["metadata", "managedFields"], list);
        }
    }
    Ok(object)
}

fn check_kind(a: &Apply, request: &Request) -> Result<(), PatchError> {
    let fits = |key: &str, given: &str| match a.live {
        Some(live) => {
            let wanted = live.str_at(&[key]);
            wanted.is_empty() || wanted == given
        }
        None => true,
    };
    let (version, kind) = (request.api_version, request.kind);
    if kind.is_empty() || !fits("kind", kind) || !fits("apiVersion", version) {
        let (group, version) = version.split_once('/').unwrap_or(("", version));
        return bad(format!(
            "invalid object type: {group}/{version}, Kind={kind}"
        ));
    }
    if a.patch
        .at(&["metadata", "managedFields"])
        .is_some_and(|v| !v.is_null())
    {
        return bad("metadata.managedFields must be nil");
    }
    Ok(())
}

fn conflicts(contested: &[(FieldOwner, FieldSet)]) -> Vec<Conflict> {
    let mut out = Vec::new();
    for (manager, set) in contested {
        for path in set.paths() {
            out.push(Conflict {
                manager: manager.name.clone(),
                field: path.iter().map(ToString::to_string).collect(),
                message: format!("conflict with {}", manager.shown()),
            });
        }
    }
    out
}

/// `namespace/name; group/version, Kind=kind` of an object, for errors.
fn shown(object: &Value) -> String {
    let version = object.str_at(&["apiVersion"]);
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    format!(
        "{}/{}; {group}/{version}, Kind={}",
        object.str_at(&["metadata", "namespace"]),
        object.str_at(&["metadata", "name"]),
        object.str_at(&["kind"])
    )
}

impl Request<'_> {
    /// The merged object, or the live one when it would be the same, and the entries.
    fn apply(
        &self,
        live: &Value,
        config: &Value,
        entries: &Entries,
        takeover: Takeover,
    ) -> Result<(Value, Entries), Failure> {
        let root = self.root();
        validate(root, config, Duplicates::Refused).map_err(|e| {
            format!(
                "failed to create typed patch object ({}): {e}",
                shown(config)
            )
        })?;
        validate(root, live, Duplicates::Allowed)
            .map_err(|e| format!("failed to create typed live object ({}): {e}", shown(live)))?;
        let mut entries = entries.clone();
        self.reconcile(&mut entries);
        let merged = merge(root, Some(live), Some(config))
            .map_err(|e| format!("failed to merge config: {e}"))?
            .unwrap_or(Value::map());
        let manager = FieldOwner {
            name: if self.manager.is_empty() {
                "unknown".into()
            } else {
                self.manager.into()
            },
            operation: Operation::Apply,
            api_version: String::new(),
            subresource: self.subresource.into(),
        };
        let last = entries.0.get(&manager).cloned();
        let set = self.filter().apply(&to_set(root, config));
        let time = last.as_ref().and_then(|entry| entry.time);
        let applied = Entry::new(set, self.api_version, time);
        entries.0.insert(manager.clone(), applied);
        let new = self.prune(merged, &entries, last.map(|entry| entry.set));
        self.take(live, &new, &mut entries, Some(&manager), takeover)?;
        let same = values_equal(live, &new);
        if let Some(entry) = entries.0.get_mut(&manager) {
            entry.replace(owned(&entry.set));
            if !same {
                entry.time = Some(self.now);
            }
        }
        entries.drop_empty();
        Ok((if same { live.clone() } else { new }, entries))
    }

    /// Removes what the manager applied last time but not now, unless someone else owns it.
    fn prune(&self, merged: Value, entries: &Entries, last: Option<FieldSet>) -> Value {
        let Some(last) = last.filter(|set| !set.is_empty()) else {
            return merged;
        };
        let root = self.root();
        let named = |set: &FieldSet| set.with_named_fields(Some(root));
        let last = named(&last);
        let all = named(&to_set(root, &merged));
        let pruned = remove(root, &merged, &last);
        // What someone owns comes back.
        let mut kept = FieldSet::default();
        for entry in entries.0.values() {
            kept = kept.union(&entry.set);
        }
        let left = named(&to_set(root, &pruned)).union(&named(&kept));
        let pruned = remove(root, &merged, &all.difference(&left));
        // What this manager did not apply last time comes back.
        let left = named(&to_set(root, &pruned));
        remove(root, &merged, &all.difference(&left).intersection(&last))
    }
}
