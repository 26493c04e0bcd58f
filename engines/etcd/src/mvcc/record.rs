//! One change of one key: the encoded `mvccpb.KeyValue` as it is answered, stored and hashed, and the numbers that
//! decisions read without decoding it. Immutable and shared.

use crate::proto::mvccpb::KeyValue;
use bytes::Bytes;
use prost::Message;
use std::borrow::Cow;

/// Where a change stands in the order of all changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct Position {
    /// The transaction's revision.
    pub main: i64,
    /// Which change of the transaction, from 0.
    pub sub: i64,
}

/// A change: a version of a key, or its deletion.
#[derive(Debug)]
pub struct Record {
    encoded: Bytes,
    key: (u32, u32),
    value: (u32, u32),
    position: Position,
    create: i64,
    version: i64,
    lease: i64,
    /// The segment of the log that holds it.
    segment: u32,
    deleted: bool,
}

/// What a version is made of.
#[derive(Debug)]
pub struct Parts<'a> {
    /// The key.
    pub key: &'a [u8],
    /// The value.
    pub value: &'a [u8],
    /// The revision at which the key was created.
    pub create: i64,
    /// How often it was written since.
    pub version: i64,
    /// The lease it is attached to, or 0.
    pub lease: i64,
}

impl Record {
    /// A version of a key.
    pub fn put(parts: &Parts<'_>, position: Position, segment: u32) -> Record {
        let mut out = Vec::with_capacity(parts.key.len() + parts.value.len() + 48);
        let key = field(&mut out, 0x0a, parts.key);
        number(&mut out, 0x10, parts.create);
        number(&mut out, 0x18, position.main);
        number(&mut out, 0x20, parts.version);
        let value = field(&mut out, 0x2a, parts.value);
        number(&mut out, 0x30, parts.lease);
        Record {
            encoded: Bytes::from(out.into_boxed_slice()),
            key,
            value,
            position,
            create: parts.create,
            version: parts.version,
            lease: parts.lease,
            segment,
            deleted: false,
        }
    }

    /// The deletion of a key.
    pub fn tombstone(key: &[u8], position: Position, segment: u32) -> Record {
        let mut out = Vec::with_capacity(key.len() + 16);
        let key = field(&mut out, 0x0a, key);
        number(&mut out, 0x18, position.main);
        Record {
            encoded: Bytes::from(out.into_boxed_slice()),
            key,
            value: (0, 0),
            position,
            create: 0,
            version: 0,
            lease: 0,
            segment,
            deleted: true,
        }
    }

    /// A version from its encoded form; none if that is not one.
    pub fn decode(encoded: &[u8], sub: i64, segment: u32) -> Option<Record> {
        if let Some(read) = Read::usual(encoded) {
            return Some(Record {
                encoded: Bytes::copy_from_slice(encoded),
                key: read.key,
                value: read.value,
                position: Position {
                    main: read.main,
                    sub,
                },
                create: read.create,
                version: read.version,
                lease: read.lease,
                segment,
                deleted: false,
            });
        }
        let kv = KeyValue::decode(encoded).ok()?;
        let parts = Parts {
            key: &kv.key,
            value: &kv.value,
            create: kv.create_revision,
            version: kv.version,
            lease: kv.lease,
        };
        let position = Position {
            main: kv.mod_revision,
            sub,
        };
        Some(Record::put(&parts, position, segment))
    }

    /// The key and the revision of an encoded version, without making a record of it.
    pub(crate) fn peek(encoded: &[u8]) -> Option<(Cow<'_, [u8]>, i64)> {
        if let Some(read) = Read::usual(encoded) {
            let key = &encoded[read.key.0 as usize..read.key.1 as usize];
            return Some((key.into(), read.main));
        }
        let kv = KeyValue::decode(encoded).ok()?;
        Some((kv.key.to_vec().into(), kv.mod_revision))
    }

    /// The key.
    pub fn key(&self) -> &[u8] {
        &self.encoded[self.key.0 as usize..self.key.1 as usize]
    }

    /// The value.
    pub fn value(&self) -> &[u8] {
        &self.encoded[self.value.0 as usize..self.value.1 as usize]
    }

    /// The encoded `mvccpb.KeyValue`.
    pub fn encoded(&self) -> &Bytes {
        &self.encoded
    }

    /// Where it stands.
    pub fn position(&self) -> Position {
        self.position
    }

    /// The revision of its transaction.
    pub fn main(&self) -> i64 {
        self.position.main
    }

    /// The revision at which the key was created; 0 for a deletion.
    pub fn create(&self) -> i64 {
        self.create
    }

    /// How often the key was written since it was created; 0 for a deletion.
    pub fn version(&self) -> i64 {
        self.version
    }

    /// The lease it is attached to, or 0.
    pub fn lease(&self) -> i64 {
        self.lease
    }

    /// Whether it is a deletion.
    pub fn is_deletion(&self) -> bool {
        self.deleted
    }

    pub(crate) fn segment(&self) -> u32 {
        self.segment
    }

    /// The bytes it takes in the log.
    pub(crate) fn logged_len(&self) -> u64 {
        self.encoded.len() as u64 + 8
    }

    /// As a message; nothing is copied.
    pub fn key_value(&self) -> KeyValue {
        KeyValue {
            key: self.encoded.slice(self.key.0 as usize..self.key.1 as usize),
            create_revision: self.create,
            mod_revision: self.position.main,
            version: self.version,
            value: self
                .encoded
                .slice(self.value.0 as usize..self.value.1 as usize),
            lease: self.lease,
        }
    }
}

/// What an encoded version says, and where its bytes stand.
#[derive(Default)]
struct Read {
    key: (u32, u32),
    value: (u32, u32),
    main: i64,
    create: i64,
    version: i64,
    lease: i64,
}

impl Read {
    /// Reads what [`Record::put`] writes: every field once, in order, none of them zero. Others take the long way.
    fn usual(encoded: &[u8]) -> Option<Read> {
        let mut read = Read::default();
        let mut rest = encoded;
        let mut last = 0;
        while let Some((tag, after)) = rest.split_first() {
            rest = after;
            let number = read_varint(&mut rest)?;
            if *tag <= last || number == 0 {
                return None;
            }
            last = *tag;
            let mut bytes = || -> Option<(u32, u32)> {
                let from = encoded.len() - rest.len();
                rest = rest.get(usize::try_from(number).ok()?..)?;
                Some((from as u32, (encoded.len() - rest.len()) as u32))
            };
            match tag {
                0x0a => read.key = bytes()?,
                0x10 => read.create = number as i64,
                0x18 => read.main = number as i64,
                0x20 => read.version = number as i64,
                0x2a => read.value = bytes()?,
                0x30 => read.lease = number as i64,
                _ => return None,
            }
        }
        Some(read)
    }
}

fn field(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) -> (u32, u32) {
    if bytes.is_empty() {
        return (0, 0);
    }
    out.push(tag);
    varint(out, bytes.len() as u64);
    let from = out.len() as u32;
    out.extend_from_slice(bytes);
    (from, out.len() as u32)
}

fn number(out: &mut Vec<u8>, tag: u8, value: i64) {
    if value != 0 {
        out.push(tag);
        varint(out, value as u64);
    }
}

/// Appends a number in protobuf's variable length.
pub fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Reads a number in protobuf's variable length from the front of `bytes`.
pub fn read_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_encoding_is_the_messages_own() {
        let parts = Parts {
            key: b"a",
            value: b"",
            create: 7,
            version: 300,
            lease: -1,
        };
        let record = Record::put(&parts, Position { main: 9, sub: 2 }, 0);
        assert_eq!(record.encoded()[..], record.key_value().encode_to_vec());
        let again = Record::decode(record.encoded(), 2, 0).unwrap();
        assert_eq!(again.encoded(), record.encoded());
        assert_eq!(again.position(), record.position());
        let (key, main) = Record::peek(record.encoded()).unwrap();
        assert_eq!((&key[..], main), (&b"a"[..], 9));
    }

    #[test]
    fn unusual_encodings_are_read_too() {
        // The key after the revision, and a zero that need not be there.
        let unusual = [0x18, 9, 0x0a, 1, b'a', 0x20, 0];
        let record = Record::decode(&unusual, 0, 0).unwrap();
        assert_eq!((record.key(), record.main()), (&b"a"[..], 9));
        assert_eq!(Record::peek(&unusual).unwrap().1, 9);
        assert!(Record::decode(&[0x0a, 5, b'a'], 0, 0).is_none());
        let whole = Record::put(
            &Parts {
                key: b"k",
                value: b"v",
                create: 1,
                version: 1,
                lease: 7,
            },
            Position { main: 1, sub: 0 },
            0,
        );
        for end in 1..whole.encoded().len() {
            // Cut between fields it is another version; within one it is none.
            if let Some(cut) = Record::decode(&whole.encoded()[..end], 0, 0) {
                assert_eq!(cut.encoded()[..], whole.encoded()[..end]);
            }
        }
    }

    #[test]
    fn numbers_round_trip() {
        for value in [0, 1, 127, 128, 1 << 40, u64::MAX] {
            let mut out = Vec::new();
            varint(&mut out, value);
            assert_eq!(read_varint(&mut &out[..]), Some(value));
        }
    }
}
