//! Typed messages as JSON, byte-equal to Go's encoder: struct order, omitted fields, nulls, escaping.
//! Invariant: output is one line without spaces. The place of `metadata.resourceVersion` can be left open as a `Gap`.

use super::text::{write_base64, write_float, write_int, write_raw, write_text};
use corten_core::{Form, IntOrString, Kind, MsgRef, Ref, Shape};

/// Where a resource version goes in bytes that were encoded without one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    at: usize,
    comma_before: bool,
    comma_after: bool,
}

impl Gap {
    /// Offset in the bytes: everything before stays before.
    pub fn offset(&self) -> usize {
        self.at
    }

    /// Length of the bytes with the version filled in, beyond those without.
    pub fn filled_len(&self, revision: u64) -> usize {
        let digits = revision.checked_ilog10().unwrap_or(0) as usize + 1;
        KEY.len() + digits + 1 + usize::from(self.comma_before) + usize::from(self.comma_after)
    }

    /// Appends `bytes` with `revision` filled in.
    pub fn fill(&self, bytes: &[u8], revision: u64, out: &mut Vec<u8>) {
        let (head, tail) = bytes.split_at(self.at);
        out.reserve(bytes.len() + self.filled_len(revision));
        out.extend_from_slice(head);
        self.write(revision, out);
        out.extend_from_slice(tail);
    }

    /// Appends what goes into the gap: between `bytes[..offset]` and `bytes[offset..]`.
    pub fn write(&self, revision: u64, out: &mut Vec<u8>) {
        if self.comma_before {
            out.push(b',');
        }
        out.extend_from_slice(KEY);
        out.extend_from_slice(revision.to_string().as_bytes());
        out.push(b'"');
        if self.comma_after {
            out.push(b',');
        }
    }

    pub(crate) fn new(at: usize, comma_before: bool, comma_after: bool) -> Gap {
        Gap {
            at,
            comma_before,
            comma_after,
        }
    }
}

const KEY: &[u8] = b"\"resourceVersion\":\"";

/// The JSON of a message.
pub fn encode_message(message: MsgRef<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    write_message(message, &mut out);
    out
}

/// Appends the JSON of a message.
pub fn write_message(message: MsgRef<'_>, out: &mut Vec<u8>) {
    Encoder::new(out, Order::Struct).message(message);
}

/// The JSON of a message without `metadata.resourceVersion`, whatever it holds, and the place where it belongs.
/// None when the message has no such field.
pub fn encode_message_with_gap(message: MsgRef<'_>) -> (Vec<u8>, Option<Gap>) {
    let mut out = Vec::with_capacity(1024);
    let mut encoder = Encoder::new(&mut out, Order::Struct).with_gap();
    encoder.message(message);
    let gap = encoder.gap;
    (out, gap)
}

/// The order of members.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Order {
    /// Go's struct order.
    Struct,
    /// Ascending by key, as Go prints maps.
    Sorted,
}

pub(super) struct Encoder<'o> {
    out: &'o mut Vec<u8>,
    order: Order,
    gap: Option<Gap>,
    /// Whether the next `ObjectMeta` is the object's own.
    seek: bool,
}

impl<'o> Encoder<'o> {
    pub(super) fn new(out: &'o mut Vec<u8>, order: Order) -> Encoder<'o> {
        Encoder {
            out,
            order,
            gap: None,
            seek: false,
        }
    }

    /// Leaves the first metadata's resource version open.
    pub(super) fn with_gap(mut self) -> Encoder<'o> {
        self.seek = true;
        self
    }

    pub(super) fn gap(&self) -> Option<Gap> {
        self.gap
    }

    pub(super) fn out(&mut self) -> &mut Vec<u8> {
        self.out
    }

    pub(super) fn message(&mut self, message: MsgRef<'_>) {
        if message.msg().form != Form::Struct {
            return self.custom(message);
        }
        let own_metadata = self.seek && message.msg().name == "ObjectMeta";
        if own_metadata || self.order == Order::Sorted {
            return self.ordered(message);
        }
        let mut mark = b'{';
        for (index, field) in message.msg().json.iter().enumerate() {
            let value = message.json(index);
            if field.omits(value) {
                continue;
            }
            self.key(mark, field.key);
            mark = b',';
            self.value(value);
        }
        self.close(mark, b'{', b'}');
    }

    /// A message in either order; the object's own metadata gets a gap in the place of the resource version.
    fn ordered(&mut self, message: MsgRef<'_>) {
        let fields = message.msg().json;
        let mut order: Vec<usize> = (0..fields.len()).collect();
        if self.order == Order::Sorted {
            order.sort_unstable_by_key(|i| fields[*i].key);
        }
        let leave_gap = self.seek && message.msg().name == "ObjectMeta";
        self.seek = self.seek && !leave_gap;
        let mut gap = None;
        let start = self.out.len() + 1;
        self.out.push(b'{');
        for index in order {
            let field = &fields[index];
            if leave_gap && field.key == "resourceVersion" {
                gap = Some(Gap::new(self.out.len(), self.out.len() > start, false));
                continue;
            }
            let value = message.json(index);
            if field.omits(value) {
                continue;
            }
            if self.out.len() > start {
                self.out.push(b',');
            }
            self.member(field.key);
            self.value(value);
        }
        if let Some(gap) = &mut gap {
            // Without a member before it, the version is followed by whatever comes first.
            gap.comma_after = !gap.comma_before && self.out.len() > start;
            self.gap = Some(*gap);
        }
        self.out.push(b'}');
    }

    #[inline]
    fn key(&mut self, mark: u8, key: &str) {
        self.out.push(mark);
        self.member(key);
    }

    #[inline]
    fn member(&mut self, key: &str) {
        self.out.push(b'"');
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    #[inline]
    fn close(&mut self, mark: u8, open: u8, close: u8) {
        if mark == open {
            self.out.push(open);
        }
        self.out.push(close);
    }

    fn null(&mut self) {
        self.out.extend_from_slice(b"null");
    }

    fn value(&mut self, value: Ref<'_>) {
        match value {
            Ref::Nil => self.null(),
            Ref::Bool(true) => self.out.extend_from_slice(b"true"),
            Ref::Bool(false) => self.out.extend_from_slice(b"false"),
            Ref::I32(v) => write_int(i64::from(v), self.out),
            Ref::I64(v) => write_int(v, self.out),
            Ref::F64(v) => write_float(v, self.out),
            Ref::Str(v) => write_text(v, self.out),
            Ref::Bin(v) if v.is_nil() => self.null(),
            Ref::Bin(v) => write_base64(v, self.out),
            Ref::Time(v) if v.is_zero() => self.null(),
            Ref::Time(v) => self.quoted(|out| v.write_to(out)),
            Ref::MicroTime(v) if v.is_zero() => self.null(),
            Ref::MicroTime(v) => self.quoted(|out| v.write_to(out)),
            Ref::Duration(v) => write_text(&v.to_string(), self.out),
            Ref::Quantity(v) => self.quoted(|out| out.extend_from_slice(v.as_str().as_bytes())),
            Ref::IntOrString(IntOrString::Int(v)) => write_int(i64::from(*v), self.out),
            Ref::IntOrString(IntOrString::String(v)) => write_text(v, self.out),
            Ref::Raw(v) if v.as_bytes().is_empty() => self.null(),
            Ref::Raw(v) => write_raw(v.as_bytes(), self.out),
            Ref::Msg(v) => self.message(v),
            Ref::List(v) if v.is_nil() => self.null(),
            Ref::List(v) => {
                let mut mark = b'[';
                for element in v.iter() {
                    self.out.push(mark);
                    mark = b',';
                    self.value(element);
                }
                self.close(mark, b'[', b']');
            }
            Ref::Map(v) if v.is_nil() => self.null(),
            Ref::Map(v) => {
                let mut mark = b'{';
                for (key, value) in v.iter() {
                    self.out.push(mark);
                    mark = b',';
                    write_text(key, self.out);
                    self.out.push(b':');
                    self.value(value);
                }
                self.close(mark, b'{', b'}');
            }
        }
    }

    #[inline]
    fn quoted(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.out.push(b'"');
        write(self.out);
        self.out.push(b'"');
    }

    /// The schema-or-something types of custom resource definitions.
    fn custom(&mut self, message: MsgRef<'_>) {
        let part = |kind: Kind, shape: Shape| {
            let fields = message.msg().fields;
            let index = fields
                .iter()
                .position(|f| f.kind == kind && f.shape == shape);
            index.map_or(Ref::Nil, |index| message.field(index))
        };
        let schema = part(Kind::Msg, Shape::Pointer);
        let list = match message.msg().form {
            Form::OrBool if matches!(schema, Ref::Nil) => {
                return self.value(part(Kind::Bool, Shape::Plain));
            }
            Form::OrArray => part(Kind::Msg, Shape::List),
            Form::OrStringArray => part(Kind::Str, Shape::List),
            _ => Ref::Nil,
        };
        match list {
            Ref::List(list) if !list.is_empty() => self.value(Ref::List(list)),
            _ => self.value(schema),
        }
    }
}
