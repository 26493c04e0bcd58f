//! Custom resources as JSON, made of what is stored: the same text with a resourceVersion in it. Invariant: only where
//! making it once has shown that it is the same, for this entry and this definition.

use bytes::Bytes;
use corten_client::Status;
use corten_store::Entry;

use crate::catalog::Served;

/// The JSON of an entry; none when it is not known to be what is stored.
pub(super) fn spliced(served: &Served, entry: &Entry) -> Result<Option<Bytes>, Status> {
    let Some(note) = entry.note().map(|note| note.get()) else {
        return Ok(None);
    };
    if !is_spliced(served) || (note >> 32) as u32 != served.version_number() {
        return Ok(None);
    }
    let stored = entry.stored().map_err(Status::internal)?;
    let at = (note as u32 as usize).min(stored.len());
    let member = member(entry);
    let mut out = Vec::with_capacity(stored.len() + member.len());
    out.extend_from_slice(&stored[..at]);
    out.extend_from_slice(member.as_bytes());
    out.extend_from_slice(&stored[at..]);
    Ok(Some(out.into()))
}

/// Looks whether the JSON that was made of an entry is what is stored, and remembers it.
pub(super) fn remember(served: &Served, entry: &Entry, made: &[u8]) -> bool {
    if !is_spliced(served) || entry.note().is_some() {
        return false;
    }
    let Ok(stored) = entry.stored() else {
        return false;
    };
    let member = member(entry);
    let same = made.iter().zip(stored.iter()).take_while(|(a, b)| a == b);
    // Where they begin to differ, some of the member may look like what follows it.
    let differ = same.count();
    let at = (differ.saturating_sub(member.len())..=differ)
        .find(|at| made[*at..].strip_prefix(member.as_bytes()) == stored.get(*at..));
    let number = served.version_number();
    match at.map(u32::try_from) {
        Some(Ok(at)) if number != 0 => {
            entry.keep_note(u64::from(number) << 32 | u64::from(at));
            true
        }
        _ => false,
    }
}

fn is_spliced(served: &Served) -> bool {
    served.is_custom() && served.conversion().is_none()
}

fn member(entry: &Entry) -> String {
    format!("\"resourceVersion\":\"{}\",", entry.mod_revision())
}
