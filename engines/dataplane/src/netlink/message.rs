//! Netlink's wire form: building a run of messages with nested attributes, and walking those of an answer.
//! Invariant: everything is aligned to 4 bytes and every length is filled in when its scope closes.

/// Marks a request.
const REQUEST: u16 = 0x1;
/// Asks for an acknowledgement.
pub const ACK: u16 = 0x4;
/// Asks for every object.
pub const DUMP: u16 = 0x300;
/// Replaces an existing object.
pub const REPLACE: u16 = 0x100;
/// Fails if the object exists.
pub const EXCLUSIVE: u16 = 0x200;
/// Makes the object if it does not exist.
pub const CREATE: u16 = 0x400;
/// Adds behind what exists.
pub const APPEND: u16 = 0x800;

const HEADER: usize = 16;
const NESTED: u16 = 0x8000;

/// A run of messages, sent together.
#[derive(Debug)]
pub struct Messages {
    pub(super) bytes: Vec<u8>,
    pub(super) first: u32,
    pub(super) next: u32,
    latest: usize,
}

impl Messages {
    /// Messages numbered from `first`.
    pub(super) fn from(first: u32) -> Self {
        Messages {
            bytes: Vec::with_capacity(512),
            first,
            next: first,
            latest: 0,
        }
    }

    /// Appends a message: its type and flags, the family's fixed header, and what `body` writes. Answers its number.
    pub fn message(
        &mut self,
        kind: u16,
        flags: u16,
        fixed: &[u8],
        body: impl FnOnce(&mut Attributes<'_>),
    ) -> u32 {
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        let start = self.bytes.len();
        self.latest = start;
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes
            .extend_from_slice(&(flags | REQUEST).to_ne_bytes());
        self.bytes.extend_from_slice(&number.to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(fixed);
        pad(&mut self.bytes);
        body(&mut Attributes {
            bytes: &mut self.bytes,
        });
        let length = (self.bytes.len() - start) as u32;
        self.bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes());
        number
    }

    /// Makes the latest message ask for an acknowledgement. Answers its number.
    pub fn acknowledge_latest(&mut self) -> u32 {
        if let Some(flags) = self.bytes.get_mut(self.latest + 6) {
            *flags |= ACK as u8;
        }
        self.next.wrapping_sub(1)
    }

    /// The size so far, in bytes.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The number of messages so far.
    pub fn count(&self) -> u32 {
        self.next.wrapping_sub(self.first)
    }
}

/// Writes attributes into a message.
#[derive(Debug)]
pub struct Attributes<'a> {
    bytes: &'a mut Vec<u8>,
}

impl Attributes<'_> {
    /// Raw bytes.
    pub fn bytes(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        self.bytes
            .extend_from_slice(&((4 + value.len()) as u16).to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        pad(self.bytes);
        self
    }

    /// Text with its closing NUL.
    pub fn text(&mut self, kind: u16, value: &str) -> &mut Self {
        self.bytes
            .extend_from_slice(&((5 + value.len()) as u16).to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value.as_bytes());
        self.bytes.push(0);
        pad(self.bytes);
        self
    }

    /// A number in the host's byte order, as rtnetlink wants it.
    pub fn u32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.bytes(kind, &value.to_ne_bytes())
    }

    /// A number in network byte order, as netfilter wants it.
    pub fn be32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    /// An attribute that holds what `inner` writes: attributes, or a fixed header by `raw` and then attributes.
    pub fn nest(&mut self, kind: u16, inner: impl FnOnce(&mut Attributes<'_>)) -> &mut Self {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 2]);
        self.bytes.extend_from_slice(&(kind | NESTED).to_ne_bytes());
        inner(&mut Attributes { bytes: self.bytes });
        let length = (self.bytes.len() - start) as u16;
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self
    }

    /// Bytes without an attribute around them, padded.
    pub fn raw(&mut self, value: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(value);
        pad(self.bytes);
        self
    }

    /// The message's size so far counted from the start of the run, in bytes.
    pub fn position(&self) -> usize {
        self.bytes.len()
    }
}

/// One message of an answer.
#[derive(Debug, Clone)]
pub struct Message {
    pub kind: u16,
    pub(super) flags: u16,
    pub(super) number: u32,
    /// What follows netlink's own header.
    pub body: Vec<u8>,
}

/// Splits what one receive gave; stops at the first malformed length.
pub(super) fn split(mut bytes: &[u8]) -> Vec<Message> {
    let mut messages = Vec::new();
    while bytes.len() >= HEADER {
        let length = u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize;
        if length < HEADER || length > bytes.len() {
            break;
        }
        messages.push(Message {
            kind: u16::from_ne_bytes([bytes[4], bytes[5]]),
            flags: u16::from_ne_bytes([bytes[6], bytes[7]]),
            number: u32::from_ne_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]),
            body: bytes[HEADER..length].to_vec(),
        });
        bytes = &bytes[align(length).min(bytes.len())..];
    }
    messages
}

/// The attributes in `bytes`, as (kind, value); stops at the first malformed length.
fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.len() < 4 {
            return None;
        }
        let length = usize::from(u16::from_ne_bytes([rest[0], rest[1]]));
        if length < 4 || length > rest.len() {
            return None;
        }
        let kind = u16::from_ne_bytes([rest[2], rest[3]]) & 0x3fff;
        let value = &rest[4..length];
        rest = &rest[align(length).min(rest.len())..];
        Some((kind, value))
    })
}

/// The first attribute of a kind.
pub fn attribute(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes)
        .find(|(k, _)| *k == kind)
        .map(|(_, value)| value)
}

/// A number in the host's byte order.
pub fn read_u32(value: &[u8]) -> Option<u32> {
    value.try_into().ok().map(u32::from_ne_bytes)
}

/// A number in network byte order.
pub fn read_be32(value: &[u8]) -> Option<u32> {
    value.try_into().ok().map(u32::from_be_bytes)
}

/// Text without its closing NUL.
pub fn read_text(value: &[u8]) -> Option<&str> {
    std::str::from_utf8(value.strip_suffix(&[0]).unwrap_or(value)).ok()
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(align(bytes.len()), 0);
}

fn align(length: usize) -> usize {
    length.next_multiple_of(4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip() {
        let mut run = Messages::from(7);
        let first = run.message(20, ACK, &[1, 2], |a| {
            a.text(3, "eth0").nest(18, |a| {
                a.u32(1, 9).be32(2, 9);
            });
        });
        run.message(21, 0, &[], |_| {});
        assert_eq!((first, run.count()), (7, 2));
        let messages = split(&run.bytes);
        assert_eq!(
            (messages.len(), messages[0].kind, messages[1].number),
            (2, 20, 8)
        );
        let body = &messages[0].body[4..];
        assert_eq!(attribute(body, 3).and_then(read_text), Some("eth0"));
        let nested = attribute(body, 18).unwrap();
        assert_eq!(attribute(nested, 1).and_then(read_u32), Some(9));
        assert_eq!(attribute(nested, 2).and_then(read_be32), Some(9));
        assert_eq!(attribute(nested, 5), None);
    }

    #[test]
    fn malformed_lengths_end_the_walk() {
        assert_eq!(attributes(&[255, 0, 1, 0, 9]).count(), 0);
        assert_eq!(attributes(&[0, 0, 1, 0]).count(), 0);
        assert!(split(&[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).is_empty());
    }
}
