//! HTTP/2's frames: nine bytes that say what follows, and what follows.

use bytes::{BufMut, BytesMut};

/// The bytes before a frame's payload.
pub(super) const HEAD: usize = 9;
/// The bytes of a payload that is received, at most.
pub(super) const PAYLOAD_MAX: usize = 16_384;

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const PRIORITY: u8 = 2;
pub(super) const RESET: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PUSH: u8 = 5;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

/// Of data and headers: nothing follows on the stream.
pub(super) const END_STREAM: u8 = 1;
/// Of settings and pings.
pub(super) const ACK: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const PRIORITIZED: u8 = 32;

/// Why a stream or a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    Nothing = 0,
    Protocol = 1,
    FlowControl = 3,
    StreamClosed = 5,
    FrameSize = 6,
    Refused = 7,
    Cancel = 8,
    Compression = 9,
    Calm = 11,
}

/// What a frame is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) length: usize,
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
}

impl Head {
    /// From the front of what was received; none if more has to come.
    pub(super) fn read(bytes: &[u8]) -> Option<Head> {
        let bytes = bytes.get(..HEAD)?;
        let word = |at: usize| {
            u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        Some(Head {
            length: (word(0) >> 8) as usize,
            kind: bytes[3],
            flags: bytes[4],
            stream: word(5) & 0x7fff_ffff,
        })
    }

    pub(super) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Takes padding and priority off a payload.
    pub(super) fn strip<'a>(&self, mut payload: &'a [u8]) -> Result<&'a [u8], Reason> {
        let mut padding = 0;
        if self.has(PADDED) {
            let (first, rest) = payload.split_first().ok_or(Reason::FrameSize)?;
            (padding, payload) = (usize::from(*first), rest);
        }
        if self.kind == HEADERS && self.has(PRIORITIZED) {
            payload = payload.get(5..).ok_or(Reason::FrameSize)?;
        }
        let length = payload.len().checked_sub(padding).ok_or(Reason::Protocol)?;
        Ok(&payload[..length])
    }
}

/// Writes what comes before a payload.
pub(super) fn head(out: &mut BytesMut, length: usize, kind: u8, flags: u8, stream: u32) {
    out.reserve(HEAD + length);
    out.put_uint(length as u64, 3);
    out.put_u8(kind);
    out.put_u8(flags);
    out.put_u32(stream);
}

/// Writes a frame.
pub(super) fn write(out: &mut BytesMut, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    head(out, payload.len(), kind, flags, stream);
    out.put_slice(payload);
}

/// Writes a header block, in as many frames as it takes.
pub(super) fn block(out: &mut BytesMut, flags: u8, stream: u32, block: &[u8]) {
    let mut kind = HEADERS;
    let mut flags = flags & END_STREAM;
    let mut pieces = block.chunks(PAYLOAD_MAX).peekable();
    while let Some(piece) = pieces.next() {
        if pieces.peek().is_none() {
            flags |= END_HEADERS;
        }
        write(out, kind, flags, stream, piece);
        (kind, flags) = (CONTINUATION, 0);
    }
}

/// Lets the other side send more, on a stream or (0) on the connection.
pub(super) fn window(out: &mut BytesMut, stream: u32, more: u32) {
    write(out, WINDOW, 0, stream, &more.to_be_bytes());
}

/// Ends a stream at once.
pub(super) fn reset(out: &mut BytesMut, stream: u32, reason: Reason) {
    write(out, RESET, 0, stream, &(reason as u32).to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_blocks_are_continued() {
        let mut out = BytesMut::new();
        block(&mut out, END_STREAM, 3, &vec![1; PAYLOAD_MAX + 5]);
        let first = Head::read(&out).unwrap();
        assert_eq!(
            (first.kind, first.flags, first.stream),
            (HEADERS, END_STREAM, 3)
        );
        let second = Head::read(&out[HEAD + PAYLOAD_MAX..]).unwrap();
        assert_eq!(
            (second.kind, second.flags, second.length),
            (CONTINUATION, END_HEADERS, 5)
        );
    }

    #[test]
    fn padding_and_priority_are_taken_off() {
        let head = Head {
            length: 0,
            kind: HEADERS,
            flags: PADDED | PRIORITIZED,
            stream: 1,
        };
        assert_eq!(head.strip(b"\x02prio!text.."), Ok(&b"text"[..]));
        assert_eq!(head.strip(b"\x09prio!text"), Err(Reason::Protocol));
        assert_eq!(head.strip(b""), Err(Reason::FrameSize));
    }
}
