//! Stored objects with a resourceVersion put in, without decoding them.
//! Invariant: byte-equal to decoding the object, setting its resourceVersion and encoding it again.

use super::encode::{push_varint, varint_len};
use super::envelope::open_envelope;
use super::wire::{Reader, WireType};

/// The fields of ObjectMeta that stand before its resourceVersion end with this number.
const RESOURCE_VERSION: u32 = 6;

/// A stored object with a resourceVersion, in the parts that it is written of.
#[derive(Clone, Copy, Debug)]
pub struct Stamped<'a> {
    /// Metadata before its resourceVersion and behind it.
    metadata: [&'a [u8]; 2],
    resource_version: &'a str,
    rest: &'a [u8],
}

impl<'a> Stamped<'a> {
    /// A stored envelope of an object of this type. None when it holds another type, or is not written as upstream
    /// writes it.
    pub fn new(
        stored: &'a [u8],
        (api_version, kind): (&str, &str),
        resource_version: &'a str,
    ) -> Option<Stamped<'a>> {
        let envelope = open_envelope(stored).ok()?;
        let is_type =
            envelope.type_meta.api_version == api_version && envelope.type_meta.kind == kind;
        let mut reader = Reader::new(envelope.raw);
        if !is_type || reader.tag().ok()? != (1, WireType::Bytes) {
            return None;
        }
        let metadata = reader.bytes().ok()?;
        let rest = &envelope.raw[envelope.raw.len() - reader.left()..];
        let mut reader = Reader::new(metadata);
        let (mut before, mut behind) = (metadata, &metadata[metadata.len()..]);
        let mut last = 0;
        while !reader.is_empty() {
            let at = metadata.len() - reader.left();
            let (number, wire) = reader.tag().ok()?;
            if number < last {
                return None;
            }
            last = number;
            if number >= RESOURCE_VERSION {
                (before, behind) = metadata.split_at(at);
                if number == RESOURCE_VERSION {
                    reader.skip(wire).ok()?;
                    behind = &metadata[metadata.len() - reader.left()..];
                }
                break;
            }
            reader.skip(wire).ok()?;
        }
        Some(Stamped {
            metadata: [before, behind],
            resource_version,
            rest,
        })
    }

    fn metadata_len(&self) -> usize {
        let version = self.resource_version.len();
        self.metadata[0].len() + (1 + varint_len(version as u64) + version) + self.metadata[1].len()
    }

    /// How many bytes it is, without an envelope.
    pub fn size(&self) -> usize {
        let metadata = self.metadata_len();
        1 + varint_len(metadata as u64) + metadata + self.rest.len()
    }

    /// Appends it, without an envelope.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.push(0x0a);
        push_varint(self.metadata_len() as u64, out);
        out.extend_from_slice(self.metadata[0]);
        out.push(0x32);
        push_varint(self.resource_version.len() as u64, out);
        out.extend_from_slice(self.resource_version.as_bytes());
        out.extend_from_slice(self.metadata[1]);
        out.extend_from_slice(self.rest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{json, protobuf};
    use corten_api::Object;

    fn stamped(object: &Object, version: &str) -> Vec<u8> {
        let raw = protobuf::encode_message(object.message().unwrap());
        let stored = protobuf::seal_envelope(object.api_version(), object.kind(), &raw);
        let of = (object.api_version(), object.kind());
        let stamped = Stamped::new(&stored, of, version).unwrap();
        let mut out = Vec::new();
        stamped.write(&mut out);
        assert_eq!(out.len(), stamped.size());
        out
    }

    #[test]
    fn is_the_encoding_of_the_object_with_its_version() {
        let texts: [&[u8]; 3] = [
            br#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"x","namespace":"n","uid":"u","labels":{"a":"b"},
                "generation":3},"spec":{"nodeName":"n"}}"#,
            br#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{},"data":{"a":"b"}}"#,
            br#"{"kind":"Deployment","apiVersion":"apps/v1","metadata":{"name":"x","resourceVersion":"17"}}"#,
        ];
        for text in texts {
            let mut object = json::decode(text, &crate::Options::default())
                .unwrap()
                .object;
            for version in ["1", "123456", &"9".repeat(200)] {
                let made = stamped(&object, version);
                object.meta_mut().resource_version = version.into();
                assert_eq!(made, protobuf::encode_message(object.message().unwrap()));
                object.meta_mut().resource_version = "".into();
            }
        }
    }

    #[test]
    fn leaves_alone_what_is_something_else() {
        let raw = [0x0a, 2, 0x0a, 0];
        let stored = protobuf::seal_envelope("v1", "Pod", &raw);
        assert!(Stamped::new(&stored, ("v1", "Pod"), "1").is_some());
        assert!(Stamped::new(&stored, ("v1", "Secret"), "1").is_none());
        assert!(Stamped::new(&stored, ("v2", "Pod"), "1").is_none());
        assert!(Stamped::new(b"{}", ("v1", "Pod"), "1").is_none());
        let cut = protobuf::seal_envelope("v1", "Pod", &raw[..3]);
        assert!(Stamped::new(&cut, ("v1", "Pod"), "1").is_none());
    }
}
