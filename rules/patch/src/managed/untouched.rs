//! Entries that a write cannot change, told by their texts: they are not read. Invariant: the entries that reading all of
//! them gives. Only for built-in kinds, whose schema does not change while entries lie in the store.

use super::Request;
use super::entries::Entries;
use super::update::UPDATERS_MAX;
use crate::Schema;
use crate::fields::{FieldSet, PathElement};
use crate::typed::compare;
use corten_api::meta::v1::ManagedFieldsEntry;
use corten_core::{List, Time, Value};

/// The entries after an update from `live` to `new`; none when all of them have to be read.
pub(super) fn updated(
    request: &Request,
    (live, new): (&Value, &Value),
    entries: &List<ManagedFieldsEntry>,
) -> Option<List<ManagedFieldsEntry>> {
    let is_known = matches!(request.schema, Schema::Table(_));
    if !is_known || entries.is_empty() || entries.len() >= UPDATERS_MAX || !are_plain(entries) {
        return None;
    }
    let compared = compare(request.root(), live, new).ok()?;
    let mut changed = Vec::new();
    for set in [&compared.removed, &compared.modified, &compared.added] {
        last_steps(set, &mut changed);
    }
    let writer = request.updater(request.manager);
    let is_writer = |entry: &ManagedFieldsEntry| {
        entry.operation == "Update"
            && entry.manager == writer.name.as_str()
            && entry.api_version == writer.api_version.as_str()
            && entry.subresource == writer.subresource.as_str()
    };
    let (touched, untouched): (Vec<_>, Vec<_>) = entries.iter().cloned().partition(|entry| {
        is_writer(entry) || changed.iter().any(|step| may_name(text(entry), step))
    });
    let mut read = Entries::read(&touched).ok()?;
    request.update(live, new, &mut read, request.manager).ok()?;
    let mut all: Vec<ManagedFieldsEntry> = read.written().iter().cloned().collect();
    all.extend(untouched);
    all.sort_by(|a, b| order(a).cmp(&order(b)));
    Some(all.into_iter().collect())
}

/// As [`Entries::to_value`] orders them.
fn order(entry: &ManagedFieldsEntry) -> (bool, i64, &str, &str, &str) {
    (
        entry.operation == "Update",
        entry.time.map_or(0, Time::unix),
        &entry.manager,
        &entry.api_version,
        &entry.subresource,
    )
}

fn text(entry: &ManagedFieldsEntry) -> &[u8] {
    entry.fields_v1.as_ref().map_or(&[], |text| text.as_bytes())
}

/// Whether all are written as this server writes them, own something, and are different managers'.
fn are_plain(entries: &[ManagedFieldsEntry]) -> bool {
    let is_plain = |entry: &ManagedFieldsEntry| {
        matches!(&*entry.operation, "Apply" | "Update")
            && !entry.manager.is_empty()
            && !entry.api_version.is_empty()
            && entry.fields_type == "FieldsV1"
            && entry.time.is_none_or(|time| !time.is_zero())
            && text(entry).starts_with(b"{\"f:")
    };
    let same = |a: &ManagedFieldsEntry, b: &ManagedFieldsEntry| {
        (&a.manager, &a.operation, &a.subresource) == (&b.manager, &b.operation, &b.subresource)
            && (a.operation == "Apply" || a.api_version == b.api_version)
    };
    let mut rest = entries;
    while let Some((first, others)) = rest.split_first() {
        if !is_plain(first) || others.iter().any(|other| same(first, other)) {
            return false;
        }
        rest = others;
    }
    true
}

/// The last steps of all paths of a set.
fn last_steps<'s>(set: &'s FieldSet, out: &mut Vec<&'s PathElement>) {
    out.extend(&set.members);
    for child in set.children.values() {
        last_steps(child, out);
    }
}

/// Whether a path that ends with this step may be in the set that a text says.
fn may_name(text: &[u8], step: &PathElement) -> bool {
    let PathElement::Field(name) = step else {
        // Keys of items may be written in many ways.
        return true;
    };
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._/".contains(&byte);
    if !name.bytes().all(is_plain) || holds(text, "\\u") || holds(text, "\\/") {
        return true;
    }
    holds(text, &format!("\"f:{name}\""))
}

fn holds(text: &[u8], part: &str) -> bool {
    std::str::from_utf8(text).map_or(true, |text| text.contains(part))
}
