//! Protobuf's wire format: a reader with Go's checks and a writer that fills its buffer from the back.
//! Invariant: the writer emits each part before the parts that precede it, so lengths are known without a size pass.

use super::WireError;

/// How a field's payload is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WireType {
    Varint,
    Fixed64,
    Bytes,
    GroupStart,
    GroupEnd,
    Fixed32,
}

/// A position in protobuf bytes.
#[derive(Clone)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

type Wire<T> = Result<T, WireError>;

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { rest: bytes }
    }

    /// How many bytes have not been read.
    #[inline]
    pub(crate) fn left(&self) -> usize {
        self.rest.len()
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    #[inline]
    pub(crate) fn varint(&mut self) -> Wire<u64> {
        match self.rest {
            [byte, rest @ ..] if *byte < 0x80 => {
                self.rest = rest;
                Ok(u64::from(*byte))
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Wire<u64> {
        let mut value = 0u64;
        for (i, &byte) in self.rest.iter().enumerate() {
            if i >= 10 {
                return Err(WireError::Overflow);
            }
            value |= u64::from(byte & 0x7F).wrapping_shl(7 * i as u32);
            if byte < 0x80 {
                self.rest = &self.rest[i + 1..];
                return Ok(value);
            }
        }
        Err(if self.rest.len() >= 10 {
            WireError::Overflow
        } else {
            WireError::UnexpectedEnd
        })
    }

    /// The next field's number and wire type.
    #[inline]
    pub(crate) fn tag(&mut self) -> Wire<(u32, WireType)> {
        let tag = self.varint()?;
        let kind = wire_type(tag)?;
        // Go takes the number as an int32 and refuses what is not positive.
        let number = (tag >> 3) as u32;
        if number == 0 || number > i32::MAX as u32 {
            return Err(WireError::IllegalTag {
                message: "Unknown",
                number: number as i32,
                wire: tag,
            });
        }
        Ok((number, kind))
    }

    /// The tag of a field of the message `name`, where no group may end.
    #[inline]
    pub(crate) fn field_tag(&mut self, name: &'static str) -> Wire<(u32, WireType)> {
        match self.tag() {
            Ok((_, WireType::GroupEnd)) => Err(WireError::GroupEnd { message: name }),
            Ok(tag) => Ok(tag),
            Err(error) => Err(error.in_message(name)),
        }
    }

    /// A length-delimited payload.
    #[inline]
    pub(crate) fn bytes(&mut self) -> Wire<&'a [u8]> {
        let length = self.varint()?;
        if length > i64::MAX as u64 {
            return Err(WireError::InvalidLength);
        }
        if length > self.rest.len() as u64 {
            return Err(WireError::UnexpectedEnd);
        }
        let (bytes, rest) = self.rest.split_at(length as usize);
        self.rest = rest;
        Ok(bytes)
    }

    pub(crate) fn fixed64(&mut self) -> Wire<u64> {
        let (bytes, rest) = self
            .rest
            .split_first_chunk::<8>()
            .ok_or(WireError::UnexpectedEnd)?;
        self.rest = rest;
        Ok(u64::from_le_bytes(*bytes))
    }

    fn fixed32(&mut self) -> Wire<()> {
        self.rest = self.rest.get(4..).ok_or(WireError::UnexpectedEnd)?;
        Ok(())
    }

    /// Steps over the payload of an unknown field. Groups nest without recursion.
    pub(crate) fn skip(&mut self, kind: WireType) -> Wire<()> {
        let mut groups = 0usize;
        let mut kind = kind;
        loop {
            match kind {
                WireType::Varint => drop(self.varint()?),
                WireType::Fixed64 => drop(self.fixed64()?),
                WireType::Bytes => drop(self.bytes()?),
                WireType::Fixed32 => self.fixed32()?,
                WireType::GroupStart => groups += 1,
                WireType::GroupEnd => {
                    groups = groups.checked_sub(1).ok_or(WireError::UnexpectedGroupEnd)?;
                }
            }
            if groups == 0 {
                return Ok(());
            }
            kind = wire_type(self.varint()?)?;
        }
    }
}

fn wire_type(tag: u64) -> Wire<WireType> {
    Ok(match tag & 7 {
        0 => WireType::Varint,
        1 => WireType::Fixed64,
        2 => WireType::Bytes,
        3 => WireType::GroupStart,
        4 => WireType::GroupEnd,
        5 => WireType::Fixed32,
        other => return Err(WireError::IllegalWireType(other as u8)),
    })
}

/// A buffer filled from its end towards its start.
pub(crate) struct Writer {
    buffer: Vec<u8>,
    /// The bytes written are `buffer[at..]`.
    at: usize,
}

impl Writer {
    pub(crate) fn with_capacity(capacity: usize) -> Writer {
        Writer {
            buffer: vec![0; capacity],
            at: capacity,
        }
    }

    /// Bytes written so far.
    #[inline]
    pub(crate) fn written(&self) -> usize {
        self.buffer.len() - self.at
    }

    #[inline]
    fn reserve(&mut self, count: usize) {
        if self.at < count {
            self.grow(count);
        }
    }

    #[cold]
    fn grow(&mut self, count: usize) {
        let written = self.written();
        let capacity = (self.buffer.len() * 2).max(written + count).max(64);
        let mut buffer = vec![0; capacity];
        buffer[capacity - written..].copy_from_slice(&self.buffer[self.at..]);
        self.at = capacity - written;
        self.buffer = buffer;
    }

    /// Prepends bytes as they are.
    #[inline]
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.reserve(bytes.len());
        let start = self.at - bytes.len();
        self.buffer[start..self.at].copy_from_slice(bytes);
        self.at = start;
    }

    /// Prepends a varint.
    #[inline]
    pub(crate) fn varint(&mut self, value: u64) {
        if value < 0x80 {
            self.reserve(1);
            self.at -= 1;
            self.buffer[self.at] = value as u8;
            return;
        }
        let mut bytes = [0u8; 10];
        let mut length = 0;
        let mut rest = value;
        while rest >= 0x80 {
            bytes[length] = rest as u8 | 0x80;
            rest >>= 7;
            length += 1;
        }
        bytes[length] = rest as u8;
        self.raw(&bytes[..=length]);
    }

    /// Prepends a field's tag; the payload must have been written already.
    #[inline]
    pub(crate) fn tag(&mut self, number: u16, kind: u8) {
        self.varint(u64::from(number) << 3 | u64::from(kind));
    }

    /// Prepends a length-delimited field.
    #[inline]
    pub(crate) fn bytes_field(&mut self, number: u16, bytes: &[u8]) {
        self.raw(bytes);
        self.varint(bytes.len() as u64);
        self.tag(number, 2);
    }

    /// Prepends a varint field.
    #[inline]
    pub(crate) fn varint_field(&mut self, number: u16, value: u64) {
        self.varint(value);
        self.tag(number, 0);
    }

    /// Prepends the length of what was written since `mark` (a value of `written`) and the tag.
    #[inline]
    pub(crate) fn close(&mut self, number: u16, mark: usize) {
        let length = self.written() - mark;
        self.varint(length as u64);
        self.tag(number, 2);
    }

    /// The bytes written, with `prefix` before them.
    pub(crate) fn finish(mut self, prefix: &[u8]) -> Vec<u8> {
        self.raw(prefix);
        if self.at > 0 {
            self.buffer.drain(..self.at);
        }
        self.buffer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_round_trip() {
        for value in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            let mut writer = Writer::with_capacity(0);
            writer.varint(value);
            let bytes = writer.finish(&[]);
            let mut reader = Reader::new(&bytes);
            assert_eq!(reader.varint(), Ok(value));
            assert!(reader.is_empty());
        }
    }

    #[test]
    fn fields_stand_in_order() {
        let mut writer = Writer::with_capacity(1);
        let mark = writer.written();
        writer.varint_field(2, 150);
        writer.bytes_field(1, b"ab");
        writer.close(3, mark);
        assert_eq!(writer.finish(b"P"), b"P\x1a\x07\x0a\x02ab\x10\x96\x01");
    }

    #[test]
    fn malformed_input_is_refused() {
        let read = |bytes: &[u8]| Reader::new(bytes).varint();
        assert_eq!(read(&[]), Err(WireError::UnexpectedEnd));
        assert_eq!(read(&[0x80; 3]), Err(WireError::UnexpectedEnd));
        assert_eq!(read(&[0x80; 11]), Err(WireError::Overflow));
        assert_eq!(Reader::new(&[5, 1]).bytes(), Err(WireError::UnexpectedEnd));
        assert_eq!(
            Reader::new(&[0x07]).tag(),
            Err(WireError::IllegalWireType(7))
        );
        assert!(matches!(
            Reader::new(&[0x02]).tag(),
            Err(WireError::IllegalTag { .. })
        ));
        assert_eq!(
            Reader::new(&[]).skip(WireType::GroupEnd),
            Err(WireError::UnexpectedGroupEnd)
        );
    }

    #[test]
    fn groups_are_skipped() {
        // Field 1 group start, varint field 2, nested group, ends.
        let mut reader = Reader::new(&[0x10, 0x01, 0x1b, 0x1c, 0x0c, 0x08]);
        reader.skip(WireType::GroupStart).unwrap();
        assert_eq!(reader.tag(), Ok((1, WireType::Varint)));
    }
}
