//! The stored form of one entry: version byte, CRC-32C of the path and the rest, then lengths of the path's
//! parts, revisions, expiry and the object's bytes. The header is not in it: it is described again at open.
//! Version 2 has a lease after the expiry; it is written only for what is leased or encrypted, so that everything
//! else can be read by programs of the format before.

use super::Damage;
use crate::key::ROOT;
use crate::{Entry, Key, Note, Resource, Revision};
use bytes::Bytes;

const VERSION: u8 = 1;
const VERSION_LEASED: u8 = 2;
const BODY_AT: usize = 5;
/// What encrypted objects begin with, in every scheme.
const SEALED: &[u8] = b"k8s:enc:";

/// A record taken apart.
#[derive(Debug)]
pub struct Record<'a> {
    /// The key.
    pub key: Key,
    /// When the object was created.
    pub create_revision: Revision,
    /// When this version was written.
    pub mod_revision: Revision,
    /// Which version this is.
    pub version: u64,
    /// Milliseconds since the Unix epoch; 0 is never.
    pub expires_at: u64,
    /// The lease it is attached to; 0 is none.
    pub lease: u64,
    /// The object's bytes.
    pub stored: &'a [u8],
}

/// The stored form of an entry whose key has this path and whose bytes at rest are `stored`.
pub fn encode(path: &[u8], entry: &Entry, stored: &[u8]) -> Vec<u8> {
    let key = entry.key();
    let mut out = Vec::with_capacity(BODY_AT + 32 + stored.len());
    let version = match needs_newer(entry, stored) {
        false => VERSION,
        true => VERSION_LEASED,
    };
    out.extend_from_slice(&[version, 0, 0, 0, 0]);
    for number in [
        key.resource().as_str().len() as u64,
        key.namespace().len() as u64,
        entry.create_revision().0,
        entry.mod_revision().0,
        entry.version(),
        entry.expires_at_millis(),
    ] {
        put_number(&mut out, number);
    }
    if version == VERSION_LEASED {
        put_number(&mut out, entry.lease());
    }
    out.extend_from_slice(stored);
    let sum = checksum(path, &out[BODY_AT..]);
    out[1..BODY_AT].copy_from_slice(&sum.to_le_bytes());
    out
}

/// Reads the record stored under a path; the error says what is wrong with it.
pub fn decode<'a>(path: &[u8], record: &'a [u8]) -> Result<Record<'a>, String> {
    let Some((&[version, a, b, c, d], mut body)) = record.split_first_chunk::<BODY_AT>() else {
        return Err(format!("the record has only {} bytes", record.len()));
    };
    let form = version;
    if !(VERSION..=VERSION_LEASED).contains(&form) {
        return Err(format!(
            "the record has version {form}, this program reads up to {VERSION_LEASED}"
        ));
    }
    let (wanted, found) = (u32::from_le_bytes([a, b, c, d]), checksum(path, body));
    if wanted != found {
        return Err(format!(
            "the record's checksum is {wanted:08x}, its bytes give {found:08x}"
        ));
    }
    let mut numbers = [0u64; 6];
    for number in &mut numbers {
        *number = take_number(&mut body).ok_or("the record ends early")?;
    }
    let lease = match form {
        VERSION_LEASED => take_number(&mut body).ok_or("the record ends early")?,
        _ => 0,
    };
    let [
        resource_len,
        namespace_len,
        create,
        modified,
        version,
        expires_at,
    ] = numbers;
    Ok(Record {
        key: split(path, resource_len as usize, namespace_len as usize)
            .ok_or("the record's path has other parts")?,
        create_revision: Revision(create),
        mod_revision: Revision(modified),
        version,
        expires_at,
        lease,
        stored: body,
    })
}

/// Whether only programs of format 2 can read the record of this entry.
pub(crate) fn needs_newer(entry: &Entry, stored: &[u8]) -> bool {
    entry.lease() != 0 || stored.starts_with(SEALED)
}

/// Whether a program of format 1 can read this record.
pub fn is_of_format_one(record: &[u8]) -> bool {
    record.first() == Some(&VERSION)
}

fn split(path: &[u8], resource_len: usize, namespace_len: usize) -> Option<Key> {
    if resource_len == 0 {
        return Some(Key::raw(path));
    }
    let path = std::str::from_utf8(path).ok()?.strip_prefix(ROOT)?;
    let tail = path.get(resource_len..)?.strip_prefix('/')?;
    let resource = Resource::new(&path[..resource_len]);
    if namespace_len == 0 {
        return Some(Key::cluster(&resource, tail));
    }
    let name = tail.get(namespace_len..)?.strip_prefix('/')?;
    Some(Key::new(&resource, &tail[..namespace_len], name))
}

/// The stored form of a note: CRC-32C of name and text, then the text.
pub(crate) fn encode_note(name: &[u8], text: &[u8]) -> Vec<u8> {
    [&checksum(name, text).to_le_bytes()[..], text].concat()
}

/// Reads the note stored under a name, of which the first `prefix` bytes are not the note's own.
pub(crate) fn decode_note(name: &[u8], prefix: usize, stored: &[u8]) -> Result<Note, Damage> {
    let sound = stored
        .split_first_chunk::<4>()
        .filter(|(sum, text)| u32::from_le_bytes(**sum) == checksum(name, text));
    let own = name.get(prefix..).unwrap_or_default();
    match (sound, std::str::from_utf8(own)) {
        (Some((_, text)), Ok(own)) => Ok(Note::set(own, Bytes::copy_from_slice(text))),
        _ => Err(Damage {
            key: format!("(store) {}", String::from_utf8_lossy(name)),
            reason: "its checksum does not match".to_owned(),
        }),
    }
}

fn checksum(path: &[u8], body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(path), body)
}

fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn take_number(from: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = from.split_first()?;
        *from = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Header;
    use crate::cache::Budget;
    use crate::entry::EntryParts;

    fn entry(namespace: &str, lease: u64) -> Entry {
        let key = Key::new(&Resource::new("services/specs"), namespace, "kubernetes");
        let parts = EntryParts {
            key,
            create_revision: Revision(3),
            mod_revision: Revision(1 << 40),
            version: 200,
            expires_at: 1_700_000_000_000,
            lease,
            is_stale: false,
            header: Header::default(),
            stored: Bytes::from_static(b"k8s\0...").into(),
        };
        Entry::new(parts, &Budget::new(0))
    }

    #[test]
    fn a_record_reads_back() {
        for (namespace, lease) in [("", 0), ("default", 0), ("default", 1 << 62)] {
            let entry = entry(namespace, lease);
            let path = entry.key().bytes();
            let bytes = encode(&path, &entry, &entry.stored().unwrap());
            let record = decode(&path, &bytes).unwrap();
            assert_eq!(is_of_format_one(&bytes), lease == 0);
            assert_eq!(record.lease, lease);
            assert_eq!(&record.key, entry.key());
            assert_eq!(
                (record.create_revision, record.mod_revision),
                (Revision(3), Revision(1 << 40))
            );
            assert_eq!(
                (record.version, record.expires_at),
                (200, 1_700_000_000_000)
            );
            assert_eq!(record.stored, b"k8s\0...");
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let entry = entry("default", 7);
        let path = entry.key().bytes();
        let bytes = encode(&path, &entry, &entry.stored().unwrap());
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            decode(&path, &bytes).unwrap_err();
        }
        decode(b"/registry/services/specs/default/other", &bytes).unwrap_err();
        for len in 0..bytes.len() {
            decode(&path, &bytes[..len]).unwrap_err();
        }
    }
}
