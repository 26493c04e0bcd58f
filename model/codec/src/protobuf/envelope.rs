//! Upstream's envelope: `k8s\0`, then a message with type, raw object, and two empty texts.
//! Invariant: what `seal_envelope` writes is byte-equal to upstream's serializer.

use super::WireError;
use super::encode::{push_varint, varint_len};
use super::wire::{Reader, WireType};
use crate::json::TypeMeta;

/// The four bytes that start every enveloped object.
pub const MAGIC: &[u8; 4] = b"k8s\0";

/// An opened envelope.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// Type of the object.
    pub type_meta: TypeMeta,
    /// The object's bytes.
    pub raw: &'a [u8],
    /// Content encoding, usually empty.
    pub content_encoding: &'a [u8],
    /// Content type, usually empty.
    pub content_type: &'a [u8],
}

/// Opens an envelope; the object is not looked at.
pub fn open_envelope(bytes: &[u8]) -> Result<Envelope<'_>, WireError> {
    if bytes.is_empty() {
        return Err(WireError::Value("empty data".into()));
    }
    let Some(body) = bytes.strip_prefix(MAGIC) else {
        return Err(WireError::Value(
            "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]".into(),
        ));
    };
    if body.is_empty() {
        return Err(WireError::Value("empty body".into()));
    }
    let mut envelope = Envelope::default();
    let mut reader = Reader::new(body);
    while !reader.is_empty() {
        let (number, wire) = reader.field_tag("Unknown")?;
        if !(1..=4).contains(&number) {
            reader.skip(wire)?;
            continue;
        }
        if wire != WireType::Bytes {
            let field = ["TypeMeta", "Raw", "ContentEncoding", "ContentType"][number as usize - 1];
            return Err(WireError::WrongWireType {
                found: wire as u8,
                field,
            });
        }
        let payload = reader.bytes()?;
        match number {
            1 => read_type_meta(payload, &mut envelope.type_meta)?,
            2 => envelope.raw = payload,
            3 => envelope.content_encoding = payload,
            _ => envelope.content_type = payload,
        }
    }
    Ok(envelope)
}

fn read_type_meta(bytes: &[u8], meta: &mut TypeMeta) -> Result<(), WireError> {
    let mut reader = Reader::new(bytes);
    while !reader.is_empty() {
        match reader.field_tag("TypeMeta")? {
            (1, WireType::Bytes) => {
                meta.api_version = String::from_utf8_lossy(reader.bytes()?).into_owned()
            }
            (2, WireType::Bytes) => {
                meta.kind = String::from_utf8_lossy(reader.bytes()?).into_owned()
            }
            (1, wire) => {
                return Err(WireError::WrongWireType {
                    found: wire as u8,
                    field: "APIVersion",
                });
            }
            (2, wire) => {
                return Err(WireError::WrongWireType {
                    found: wire as u8,
                    field: "Kind",
                });
            }
            (_, wire) => reader.skip(wire)?,
        }
    }
    Ok(())
}

/// Puts an object's bytes into an envelope.
pub fn seal_envelope(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw.len() + api_version.len() + kind.len() + 24);
    write_envelope_head(api_version, kind, raw.len(), &mut out);
    out.extend_from_slice(raw);
    write_envelope_tail(&mut out);
    out
}

/// Appends everything before the object's bytes, of which there will be `raw_len`.
pub fn write_envelope_head(api_version: &str, kind: &str, raw_len: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(MAGIC);
    let text = |s: &str| 1 + varint_len(s.len() as u64) + s.len();
    out.push(0x0a);
    push_varint((text(api_version) + text(kind)) as u64, out);
    for (tag, value) in [(0x0a, api_version), (0x12, kind)] {
        out.push(tag);
        push_varint(value.len() as u64, out);
        out.extend_from_slice(value.as_bytes());
    }
    out.push(0x12);
    push_varint(raw_len as u64, out);
}

/// Appends everything behind the object's bytes.
pub fn write_envelope_tail(out: &mut Vec<u8>) {
    out.extend_from_slice(&[0x1a, 0, 0x22, 0]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seals_and_opens() {
        let sealed = seal_envelope("v1", "Pod", b"raw");
        assert_eq!(
            sealed,
            b"k8s\0\x0a\x09\x0a\x02v1\x12\x03Pod\x12\x03raw\x1a\x00\x22\x00"
        );
        let opened = open_envelope(&sealed).unwrap();
        assert_eq!(
            (opened.type_meta.kind.as_str(), opened.raw),
            ("Pod", &b"raw"[..])
        );
    }

    #[test]
    fn words_errors_as_upstream() {
        assert_eq!(open_envelope(b"").unwrap_err().to_string(), "empty data");
        assert_eq!(
            open_envelope(b"k8s\0").unwrap_err().to_string(),
            "empty body"
        );
        assert!(
            open_envelope(b"{}")
                .unwrap_err()
                .to_string()
                .contains("expected prefix [107 56 115 0]")
        );
        assert_eq!(
            open_envelope(b"k8s\0\x12\x05a").unwrap_err().to_string(),
            "unexpected EOF"
        );
    }

    #[test]
    fn varint_lengths() {
        for value in [0, 1, 127, 128, 16_383, 16_384, u64::MAX] {
            let mut out = Vec::new();
            push_varint(value, &mut out);
            assert_eq!(out.len(), varint_len(value));
        }
    }
}
