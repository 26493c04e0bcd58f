//! HPACK (RFC 7541): reads requests' headers with the dynamic table that the client fills; writes answers' headers
//! without one.

use super::huffman;
use bytes::Bytes;
use std::borrow::Cow;
use std::collections::VecDeque;

/// The bytes of the dynamic table, at most: what a server promises that says nothing.
const TABLE_MAX: usize = 4096;
/// What an entry counts beside its bytes.
const ENTRY: usize = 32;

/// Names and values with fixed numbers, from 1.
const STATIC: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

/// A header block makes no sense; the table is unknown from here on.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// Reads header blocks, in the order in which they came.
#[derive(Default)]
pub(super) struct Decoder {
    /// The newest first.
    entries: VecDeque<(Bytes, Bytes)>,
    size: usize,
    /// How much less than the most the client wants to use.
    unused: usize,
}

impl Decoder {
    /// Calls `each` with every name and value of a block.
    pub(super) fn decode(
        &mut self,
        mut block: &[u8],
        mut each: impl FnMut(&[u8], &[u8]),
    ) -> Result<(), Malformed> {
        let rest = &mut block;
        while let Some(first) = rest.first().copied() {
            match first {
                0x80.. => {
                    let index = number(rest, 7)?;
                    let (name, value) = self.entry(index)?;
                    each(name, value);
                }
                0x40..0x80 => {
                    let index = number(rest, 6)?;
                    let name = match index {
                        0 => Bytes::from(string(rest)?.into_owned()),
                        _ => Bytes::copy_from_slice(self.entry(index)?.0),
                    };
                    let value = Bytes::from(string(rest)?.into_owned());
                    each(&name, &value);
                    self.add(name, value);
                }
                0x20..0x40 => {
                    let size = number(rest, 5)?;
                    self.unused = TABLE_MAX.checked_sub(size).ok_or(Malformed)?;
                    self.evict(0);
                }
                _ => {
                    let index = number(rest, 4)?;
                    let literal = match index {
                        0 => Some(string(rest)?),
                        _ => None,
                    };
                    let value = string(rest)?;
                    match &literal {
                        Some(name) => each(name, &value),
                        None => each(self.entry(index)?.0, &value),
                    }
                }
            }
        }
        Ok(())
    }

    fn entry(&self, index: usize) -> Result<(&[u8], &[u8]), Malformed> {
        let at = index.checked_sub(1).ok_or(Malformed)?;
        if let Some((name, value)) = STATIC.get(at) {
            return Ok((name.as_bytes(), value.as_bytes()));
        }
        let entry = self.entries.get(at - STATIC.len());
        entry
            .map(|(name, value)| (&name[..], &value[..]))
            .ok_or(Malformed)
    }

    fn add(&mut self, name: Bytes, value: Bytes) {
        let size = name.len() + value.len() + ENTRY;
        self.evict(size);
        if size <= TABLE_MAX - self.unused {
            self.size += size;
            self.entries.push_front((name, value));
        }
    }

    /// Makes room for an entry of this size.
    fn evict(&mut self, size: usize) {
        while self.size + size > TABLE_MAX - self.unused {
            let Some((name, value)) = self.entries.pop_back() else {
                return;
            };
            self.size -= name.len() + value.len() + ENTRY;
        }
    }
}

/// A number that begins in the low bits of a byte.
fn number(rest: &mut &[u8], bits: u32) -> Result<usize, Malformed> {
    let most = (1usize << bits) - 1;
    let mut byte = || -> Result<u8, Malformed> {
        let (first, after) = rest.split_first().ok_or(Malformed)?;
        *rest = after;
        Ok(*first)
    };
    let mut value = usize::from(byte()?) & most;
    if value < most {
        return Ok(value);
    }
    for shift in [0, 7, 14, 21] {
        let next = byte()?;
        value += usize::from(next & 0x7f) << shift;
        if next & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Malformed)
}

fn string<'a>(rest: &mut &'a [u8]) -> Result<Cow<'a, [u8]>, Malformed> {
    let coded = rest.first().ok_or(Malformed)? & 0x80 != 0;
    let length = number(rest, 7)?;
    if length > rest.len() {
        return Err(Malformed);
    }
    let (bytes, after) = rest.split_at(length);
    *rest = after;
    match coded {
        true => huffman::decode(bytes).map(Cow::Owned).ok_or(Malformed),
        false => Ok(Cow::Borrowed(bytes)),
    }
}

/// A header block to send, one header after another.
#[derive(Default)]
pub(crate) struct Block {
    bytes: Vec<u8>,
}

impl Block {
    /// An answer's first block.
    pub(crate) fn status(status: u16) -> Block {
        let mut block = Block::default();
        match status {
            200 => block.bytes.push(0x88),
            other => {
                // A value for the name of entry 8.
                block.bytes.push(0x08);
                block.string(other.to_string().as_bytes());
            }
        }
        block
    }

    /// Adds a header, to be kept in no table.
    pub(crate) fn add(&mut self, name: &str, value: &[u8]) {
        self.bytes.push(0);
        self.string(name.as_bytes());
        self.string(value);
    }

    /// The bytes.
    pub(crate) fn finish(self) -> Bytes {
        self.bytes.into()
    }

    fn string(&mut self, bytes: &[u8]) {
        let length = bytes.len();
        if length < 127 {
            self.bytes.push(length as u8);
        } else {
            self.bytes.push(127);
            let mut left = length - 127;
            while left >= 128 {
                self.bytes.push(left as u8 | 0x80);
                left >>= 7;
            }
            self.bytes.push(left as u8);
        }
        self.bytes.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<String>, Malformed> {
        let mut all = Vec::new();
        decoder.decode(block, |name, value| {
            let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
            all.push(format!("{}={}", text(name), text(value)));
        })?;
        Ok(all)
    }

    #[test]
    fn requests_of_the_standard_are_read() {
        // RFC 7541, C.3: three requests on one connection.
        let mut decoder = Decoder::default();
        let first = b"\x82\x86\x84\x41\x0fwww.example.com";
        let of_first = [
            ":method=GET",
            ":scheme=http",
            ":path=/",
            ":authority=www.example.com",
        ];
        assert_eq!(read(&mut decoder, first).unwrap(), of_first);
        let second = read(&mut decoder, b"\x82\x86\x84\xbe\x58\x08no-cache").unwrap();
        assert_eq!(second[3..], [of_first[3], "cache-control=no-cache"]);
        let third = b"\x82\x87\x85\xbf\x40\x0acustom-key\x0ccustom-value";
        let third = read(&mut decoder, third).unwrap();
        assert_eq!(
            third[1..],
            [
                ":scheme=https",
                ":path=/index.html",
                of_first[3],
                "custom-key=custom-value"
            ]
        );
        assert_eq!(decoder.size, 164);
    }

    #[test]
    fn the_table_forgets_the_oldest() {
        let mut decoder = Decoder::default();
        read(&mut decoder, b"\x3f\x21\x40\x01a\x01b\x40\x01c\x01d").unwrap();
        assert_eq!(decoder.entries.len(), 1);
        assert_eq!(read(&mut decoder, b"\xbe").unwrap(), ["c=d"]);
        assert_eq!(read(&mut decoder, b"\xbf"), Err(Malformed));
        assert_eq!(read(&mut decoder, b"\x3f\xe2\x1f"), Err(Malformed));
        assert_eq!(read(&mut decoder, b"\x80"), Err(Malformed));
        assert_eq!(read(&mut decoder, b"\x40\x05ab"), Err(Malformed));
    }

    #[test]
    fn what_is_written_is_read() {
        let mut block = Block::status(200);
        block.add("grpc-message", "x".repeat(300).as_bytes());
        let read_back = read(&mut Decoder::default(), &block.finish()).unwrap();
        assert_eq!(read_back[0], ":status=200");
        assert_eq!(read_back[1].len(), "grpc-message=".len() + 300);
        let other = read(&mut Decoder::default(), &Block::status(405).finish());
        assert_eq!(other.unwrap(), [":status=405"]);
    }
}
