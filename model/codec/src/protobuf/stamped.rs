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

/// Where the parts are in stored bytes that are written as upstream writes them, so that they are looked for once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// What [`Stamped::size`] says.
    pub size: u32,
    /// Offset of the empty resourceVersion, its tag included.
    version: u16,
    /// Offset of the object.
    object: u16,
}

impl Layout {
    /// As a number, which is not 0.
    pub fn packed(self) -> u64 {
        u64::from(self.size) << 32 | u64::from(self.version) << 16 | u64::from(self.object)
    }

    /// The layout that a number says.
    pub fn unpacked(packed: u64) -> Layout {
        Layout {
            size: (packed >> 32) as u32,
            version: (packed >> 16) as u16,
            object: packed as u16,
        }
    }
}

/// An empty resourceVersion.
const EMPTY: &[u8] = &[0x32, 0];
/// What follows an object in its envelope.
const TAIL: &[u8] = &[0x1a, 0, 0x22, 0];

impl<'a> Stamped<'a> {
    /// Where the parts of these stored bytes are; none when they have to be looked for each time.
    pub fn layout(&self, stored: &'a [u8]) -> Option<Layout> {
        let end = self.rest.as_ptr() as usize + self.rest.len();
        let offset = |at: usize| u16::try_from(at.checked_sub(stored.as_ptr() as usize)?).ok();
        let version = offset(self.metadata[0].as_ptr() as usize + self.metadata[0].len())?;
        let length = self.metadata[0].len() + EMPTY.len() + self.metadata[1].len();
        let before = 1 + varint_len(length as u64);
        let is_plain = stored
            .get(version.into()..)
            .is_some_and(|v| v.starts_with(EMPTY))
            && end + TAIL.len() == stored.as_ptr() as usize + stored.len()
            && stored.ends_with(TAIL);
        is_plain.then_some(Layout {
            size: u32::try_from(self.size()).ok()?,
            version,
            object: offset((self.metadata[0].as_ptr() as usize).checked_sub(before)?)?,
        })
    }

    /// The parts of stored bytes whose layout is known.
    pub fn laid_out(stored: &'a [u8], layout: Layout, resource_version: &'a str) -> Option<Self> {
        let end = stored.len().checked_sub(TAIL.len())?;
        let object = stored.get(layout.object.into()..end)?;
        let mut reader = Reader::new(object.get(1..)?);
        let metadata = reader.bytes().ok()?;
        let rest = &object[object.len() - reader.left()..];
        let start = end - rest.len() - metadata.len();
        let at = usize::from(layout.version).checked_sub(start)?;
        Some(Stamped {
            metadata: [metadata.get(..at)?, metadata.get(at + EMPTY.len()..)?],
            resource_version,
            rest,
        })
    }

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
        let layout = stamped.layout(&stored).unwrap();
        assert_eq!(Layout::unpacked(layout.packed()), layout);
        assert_eq!(layout.size as usize, out.len());
        let mut again = Vec::new();
        let laid_out = Stamped::laid_out(&stored, layout, version).unwrap();
        laid_out.write(&mut again);
        assert_eq!(again, out);
        out
    }

    #[test]
    fn is_the_encoding_of_the_object_with_its_version() {
        let texts: [&[u8]; 3] = [
            br#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"x","namespace":"n","uid":"u","labels":{"a":"b"},
                "generation":3},"spec":{"nodeName":"n"}}"#,
            br#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{},"data":{"a":"b"}}"#,
            br#"{"kind":"Deployment","apiVersion":"apps/v1","metadata":{"name":"x","finalizers":["a/b"]}}"#,
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
        let stamped = Stamped::new(&stored, ("v1", "Pod"), "1").unwrap();
        assert_eq!(stamped.layout(&stored), None, "no version is in it");
        assert!(Stamped::new(&stored, ("v1", "Secret"), "1").is_none());
        assert!(Stamped::new(&stored, ("v2", "Pod"), "1").is_none());
        assert!(Stamped::new(b"{}", ("v1", "Pod"), "1").is_none());
        let cut = protobuf::seal_envelope("v1", "Pod", &raw[..3]);
        assert!(Stamped::new(&cut, ("v1", "Pod"), "1").is_none());
    }
}
