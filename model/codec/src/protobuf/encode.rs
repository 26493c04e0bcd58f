//! Typed messages as protobuf, written back to front over the field table.
//! Invariant: a field is written exactly when its Go type cannot be nil or it is not nil; map entries ascend by key.

use super::wire::Writer;
use corten_core::{Field, IntOrString, Kind, MsgRef, Ref, Shape};

/// The protobuf of a message, without envelope.
pub fn encode_message(message: MsgRef<'_>) -> Vec<u8> {
    let mut encoder = Encoder {
        out: Writer::with_capacity(1024),
        keep_version: true,
        gap: None,
        level: 0,
    };
    encoder.message(message);
    encoder.out.finish(&[])
}

/// The protobuf of an object with an empty `metadata.resourceVersion`, whatever it holds, and the place where it belongs.
/// This is also the form that upstream stores. None when the message has no metadata in its first field.
pub fn encode_message_with_gap(message: MsgRef<'_>) -> (Vec<u8>, Option<ItemGap>) {
    let mut encoder = Encoder {
        out: Writer::with_capacity(1024),
        keep_version: false,
        gap: None,
        level: 0,
    };
    encoder.message(message);
    let gap = encoder.gap;
    let bytes = encoder.out.finish(&[]);
    let gap = gap.map(|(from_end, meta_from_end)| {
        let at = bytes.len() - from_end;
        let meta_at = bytes.len() - meta_from_end;
        // The first field is the metadata: its length stands between the tag and its first byte.
        let mut head = super::wire::Reader::new(bytes.get(1..).unwrap_or_default());
        ItemGap {
            at,
            meta_at,
            meta_len: head.varint().unwrap_or(0) as usize,
            len: bytes.len(),
        }
    });
    let first = bytes.first() == Some(&0x0a);
    let gap = gap.filter(|gap| first && gap.meta_at + gap.meta_len <= bytes.len());
    (bytes, gap)
}

/// The protobuf of a message as a length-delimited field of another one.
pub fn encode_nested(number: u16, message: MsgRef<'_>) -> Vec<u8> {
    let mut encoder = Encoder {
        out: Writer::with_capacity(1024),
        keep_version: true,
        gap: None,
        level: 0,
    };
    encoder.message(message);
    encoder.out.close(number, 0);
    encoder.out.finish(&[])
}

/// Where a resource version goes in the bytes of an object that were encoded with an empty one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ItemGap {
    /// Offset of the empty text's length byte.
    at: usize,
    /// Offset of the metadata's first byte.
    meta_at: usize,
    meta_len: usize,
    len: usize,
}

impl ItemGap {
    /// Length of the object with the version filled in.
    pub fn filled_len(&self, revision: u64) -> usize {
        let digits = digits_of(revision);
        let meta = self.meta_len + digits;
        self.len - self.meta_at + 1 + varint_len(meta as u64) + digits
    }

    /// Appends the object with `revision` filled in; `bytes` are those that came with this gap.
    pub fn fill(&self, bytes: &[u8], revision: u64, out: &mut Vec<u8>) {
        let digits = digits_of(revision);
        out.reserve(self.filled_len(revision));
        out.push(0x0a);
        push_varint((self.meta_len + digits) as u64, out);
        out.extend_from_slice(&bytes[self.meta_at..self.at]);
        push_varint(digits as u64, out);
        out.extend_from_slice(revision.to_string().as_bytes());
        out.extend_from_slice(&bytes[self.at + 1..]);
    }

    /// Appends the object as a list item: field `items = 2`, length, object.
    pub fn fill_item(&self, bytes: &[u8], revision: u64, out: &mut Vec<u8>) {
        out.push(0x12);
        push_varint(self.filled_len(revision) as u64, out);
        self.fill(bytes, revision, out);
    }
}

fn digits_of(revision: u64) -> usize {
    revision.checked_ilog10().unwrap_or(0) as usize + 1
}

pub(crate) fn varint_len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

pub(crate) fn push_varint(value: u64, out: &mut Vec<u8>) {
    let mut rest = value;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

struct Encoder {
    out: Writer,
    /// Whether the object's own resource version is written as it is.
    keep_version: bool,
    /// Distances from the end of the length byte of the empty version, and of the metadata's first byte.
    gap: Option<(usize, usize)>,
    level: u32,
}

impl Encoder {
    fn message(&mut self, message: MsgRef<'_>) {
        let msg = message.msg();
        self.level += 1;
        // Objects carry their metadata at the second level, in the field that is written last.
        let own_metadata = !self.keep_version && self.level == 2 && msg.name == "ObjectMeta";
        for &index in msg.order.iter().rev() {
            let field = &msg.fields[index as usize];
            if own_metadata && field.key == "resourceVersion" {
                self.out.varint(0);
                self.gap = Some((self.out.written(), 0));
                self.out.tag(field.number, 2);
                continue;
            }
            self.field(field, message.field(index as usize));
        }
        if own_metadata && let Some((_, meta)) = &mut self.gap {
            *meta = self.out.written();
        }
        self.level -= 1;
    }

    #[inline]
    fn field(&mut self, field: &'static Field, value: Ref<'_>) {
        let number = field.number;
        match value {
            Ref::Nil => {}
            Ref::Str(v) => self.out.bytes_field(number, v.as_bytes()),
            Ref::Bin(v) => {
                if !v.is_nil() {
                    self.out.bytes_field(number, v);
                }
            }
            Ref::List(list) if field.wrapped() => {
                if !list.is_nil() {
                    let mark = self.out.written();
                    for element in list.iter().rev() {
                        self.value(1, element);
                    }
                    self.out.close(number, mark);
                }
            }
            Ref::List(list) => {
                for element in list.iter().rev() {
                    match element {
                        // An element cannot be nil: nil bytes are empty bytes.
                        Ref::Bin(v) => self.out.bytes_field(number, v),
                        element => self.value(number, element),
                    }
                }
            }
            Ref::Map(map) => {
                for (key, value) in map.iter().rev() {
                    let mark = self.out.written();
                    self.entry_value(map.kind(), value);
                    self.out.bytes_field(1, key.as_bytes());
                    self.out.close(number, mark);
                }
            }
            value => self.value(number, value),
        }
        debug_assert!(field.shape != Shape::Map || matches!(value, Ref::Map(_)));
    }

    fn entry_value(&mut self, kind: Kind, value: Ref<'_>) {
        match value {
            Ref::Bin(v) if v.is_nil() => {}
            Ref::List(list) if kind == Kind::StrList => {
                let mark = self.out.written();
                for element in list.iter().rev() {
                    self.value(1, element);
                }
                self.out.close(2, mark);
            }
            value => self.value(2, value),
        }
    }

    fn value(&mut self, number: u16, value: Ref<'_>) {
        let out = &mut self.out;
        match value {
            Ref::Bool(v) => out.varint_field(number, u64::from(v)),
            Ref::I32(v) => out.varint_field(number, i64::from(v) as u64),
            Ref::I64(v) => out.varint_field(number, v as u64),
            Ref::F64(v) => {
                out.raw(&v.to_le_bytes());
                out.tag(number, 1);
            }
            Ref::Str(v) => out.bytes_field(number, v.as_bytes()),
            Ref::Bin(v) => out.bytes_field(number, v),
            Ref::Msg(message) => {
                let mark = out.written();
                self.message(message);
                self.out.close(number, mark);
            }
            Ref::Time(v) => {
                let mark = out.written();
                if !v.is_zero() {
                    out.varint_field(2, 0);
                    out.varint_field(1, v.unix() as u64);
                }
                out.close(number, mark);
            }
            Ref::MicroTime(v) => {
                let mark = out.written();
                if !v.is_zero() {
                    out.varint_field(2, u64::from(v.micros()) * 1_000);
                    out.varint_field(1, v.unix() as u64);
                }
                out.close(number, mark);
            }
            Ref::Duration(v) => {
                let mark = out.written();
                out.varint_field(1, v.nanos() as u64);
                out.close(number, mark);
            }
            Ref::Quantity(v) => {
                let mark = out.written();
                out.bytes_field(1, v.as_str().as_bytes());
                out.close(number, mark);
            }
            Ref::IntOrString(v) => {
                let mark = out.written();
                let (kind, int, text) = match v {
                    IntOrString::Int(int) => (0, *int, ""),
                    IntOrString::String(text) => (1, 0, &**text),
                };
                out.bytes_field(3, text.as_bytes());
                out.varint_field(2, i64::from(int) as u64);
                out.varint_field(1, kind);
                out.close(number, mark);
            }
            Ref::Raw(v) => {
                let mark = out.written();
                if !v.is_nil() {
                    out.bytes_field(1, v.as_bytes());
                }
                out.close(number, mark);
            }
            // Neither lists nor maps nor nil are elements.
            Ref::Nil | Ref::List(_) | Ref::Map(_) => {}
        }
    }
}
