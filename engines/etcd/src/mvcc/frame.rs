//! The bytes of the log: a segment is a head and frames, a frame is one batch that became durable at once, a batch is
//! entries. Invariant: a frame is read whole or not at all; its checksum covers its place in its segment.

use super::record::{Record, read_varint, varint};

/// The bytes before the first frame.
pub const HEAD: usize = 64;
/// The bytes before a frame's payload.
pub const FRAME_HEAD: usize = 16;
/// What says that no frame follows: it stands behind the newest one, whatever the file held before.
pub const NOTHING: [u8; FRAME_HEAD] = [0; FRAME_HEAD];
/// The version of this format: since 2 a frame's checksum covers what tells its segment from others.
pub const FORMAT: u32 = 2;
const MAGIC: &[u8; 8] = b"corten\0v";
const ALIGN: usize = 8;

/// What the log says happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry<'a> {
    /// A version of a key: which change of its transaction it is, and its encoded form.
    Put(i64, &'a [u8]),
    /// A deletion: revision, which change of its transaction, key.
    Delete(i64, i64, &'a [u8]),
    /// A lease: id and seconds.
    Grant(i64, i64),
    /// A lease that is gone.
    Revoke(i64),
    /// A compaction at a revision.
    Compact(i64),
    /// The store is at least at this revision.
    Baseline(i64),
    /// An alarm was raised (true) or ended.
    Alarm(i32, bool),
}

/// The facts at the start of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The version of the format.
    pub format: u32,
    /// The store's id.
    pub cluster: u64,
    /// The member's id.
    pub member: u64,
    /// The number of its first segment, and of its last one when several were merged.
    pub first: u32,
    /// See `first`.
    pub last: u32,
}

impl Head {
    /// As bytes.
    pub fn encode(&self) -> [u8; HEAD] {
        let mut out = [0; HEAD];
        out[..8].copy_from_slice(MAGIC);
        out[8..12].copy_from_slice(&self.format.to_le_bytes());
        out[16..24].copy_from_slice(&self.cluster.to_le_bytes());
        out[24..32].copy_from_slice(&self.member.to_le_bytes());
        out[32..36].copy_from_slice(&self.first.to_le_bytes());
        out[36..40].copy_from_slice(&self.last.to_le_bytes());
        let sum = crc32c::crc32c(&out[..HEAD - 4]);
        out[HEAD - 4..].copy_from_slice(&sum.to_le_bytes());
        out
    }

    /// From bytes; none if they are not a head.
    pub fn decode(bytes: &[u8]) -> Option<Head> {
        let bytes = bytes.get(..HEAD)?;
        let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"));
        let u64_at = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
        if &bytes[..8] != MAGIC || u32_at(HEAD - 4) != crc32c::crc32c(&bytes[..HEAD - 4]) {
            return None;
        }
        Some(Head {
            format: u32_at(8),
            cluster: u64_at(16),
            member: u64_at(24),
            first: u32_at(32),
            last: u32_at(36),
        })
    }

    /// What the checksums of a segment's frames begin with.
    fn seed(&self) -> u32 {
        let bytes = self.encode();
        match self.format {
            // With its own checksum at its end, the checksum of every head is the same.
            1 => crc32c::crc32c(&bytes),
            _ => crc32c::crc32c(&bytes[..HEAD - 4]),
        }
    }
}

/// Collects the entries of one frame.
pub struct Builder {
    bytes: Vec<u8>,
}

impl Default for Builder {
    fn default() -> Builder {
        Builder {
            bytes: vec![0; FRAME_HEAD],
        }
    }
}

impl Builder {
    /// Whether it holds no entry.
    pub fn is_empty(&self) -> bool {
        self.bytes.len() == FRAME_HEAD
    }

    /// The bytes so far.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Adds a change.
    pub fn change(&mut self, record: &Record) {
        if record.is_deletion() {
            self.delete(record.main(), record.position().sub, record.key());
        } else {
            self.put(record.position().sub, record.encoded());
        }
    }

    /// Adds a version.
    pub fn put(&mut self, sub: i64, encoded: &[u8]) {
        self.bytes.push(1);
        varint(&mut self.bytes, sub as u64);
        varint(&mut self.bytes, encoded.len() as u64);
        self.bytes.extend_from_slice(encoded);
    }

    /// Adds a deletion.
    pub fn delete(&mut self, main: i64, sub: i64, key: &[u8]) {
        self.bytes.push(2);
        varint(&mut self.bytes, main as u64);
        varint(&mut self.bytes, sub as u64);
        varint(&mut self.bytes, key.len() as u64);
        self.bytes.extend_from_slice(key);
    }

    /// Adds any entry.
    pub fn entry(&mut self, entry: &Entry<'_>) {
        match *entry {
            Entry::Put(sub, encoded) => self.put(sub, encoded),
            Entry::Delete(main, sub, key) => self.delete(main, sub, key),
            Entry::Grant(id, ttl) => self.numbers(3, &[id, ttl]),
            Entry::Revoke(id) => self.numbers(4, &[id]),
            Entry::Compact(revision) => self.numbers(5, &[revision]),
            Entry::Baseline(revision) => self.numbers(6, &[revision]),
            Entry::Alarm(kind, on) => self.numbers(7, &[i64::from(kind), i64::from(on)]),
        }
    }

    fn numbers(&mut self, kind: u8, numbers: &[i64]) {
        self.bytes.push(kind);
        for number in numbers {
            varint(&mut self.bytes, *number as u64);
        }
    }

    /// The frame, the `sequence`th of its segment: its length, and its bytes with [`NOTHING`] behind them. The builder
    /// is empty afterwards when [`Builder::clear`]ed.
    pub fn seal(&mut self, head: &Head, sequence: u64) -> (u64, &[u8]) {
        let length = (self.bytes.len() - FRAME_HEAD) as u32;
        self.bytes[0..4].copy_from_slice(&length.to_le_bytes());
        self.bytes[8..16].copy_from_slice(&sequence.to_le_bytes());
        let sum = crc32c::crc32c_append(head.seed(), &self.bytes[8..]);
        self.bytes[4..8].copy_from_slice(&sum.to_le_bytes());
        let padded = self.bytes.len().next_multiple_of(ALIGN);
        self.bytes.resize(padded + NOTHING.len(), 0);
        (padded as u64, &self.bytes)
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.resize(FRAME_HEAD, 0);
    }
}

/// What stands at a place in a segment.
#[derive(Debug, PartialEq, Eq)]
pub enum Next<'a> {
    /// A frame's payload, and where the next frame starts.
    Frame(&'a [u8], usize),
    /// Nothing was ever written here.
    End,
    /// Bytes that are no whole frame.
    Broken,
}

/// Reads the frame at `at`, which must be the `sequence`th of the segment.
pub fn next<'a>(bytes: &'a [u8], at: usize, head: &Head, sequence: u64) -> Next<'a> {
    let Some(front) = bytes.get(at..at + FRAME_HEAD) else {
        let rest = bytes.get(at..).unwrap_or_default();
        return if rest.iter().all(|byte| *byte == 0) {
            Next::End
        } else {
            Next::Broken
        };
    };
    if front.iter().all(|byte| *byte == 0) {
        return Next::End;
    }
    let length = u32::from_le_bytes(front[..4].try_into().expect("4 bytes")) as usize;
    let sum = u32::from_le_bytes(front[4..8].try_into().expect("4 bytes"));
    let found = u64::from_le_bytes(front[8..16].try_into().expect("8 bytes"));
    let Some(covered) = bytes.get(at + 8..at + FRAME_HEAD + length) else {
        return Next::Broken;
    };
    if length == 0 || found != sequence || crc32c::crc32c_append(head.seed(), covered) != sum {
        return Next::Broken;
    }
    let end = (at + FRAME_HEAD + length).next_multiple_of(ALIGN);
    Next::Frame(&covered[8..], end)
}

/// Whether a whole frame later than the `sequence`th stands anywhere after `at`: then what is broken at `at` is not
/// the end of the log, but damage inside it.
pub fn continues_after(bytes: &[u8], at: usize, head: &Head, sequence: u64) -> Option<usize> {
    let mut place = at + ALIGN;
    let frames_max = (bytes.len() / (FRAME_HEAD + ALIGN)) as u64;
    while place + FRAME_HEAD <= bytes.len() {
        let found = u64::from_le_bytes(bytes[place + 8..place + 16].try_into().expect("8 bytes"));
        if found > sequence
            && found - sequence <= frames_max
            && matches!(next(bytes, place, head, found), Next::Frame(..))
        {
            return Some(place);
        }
        place += ALIGN;
    }
    None
}

/// The next entry at the front of a payload; an error if it makes no sense.
pub fn read_entry<'a>(payload: &mut &'a [u8]) -> Result<Option<Entry<'a>>, String> {
    let Some((kind, rest)) = payload.split_first() else {
        return Ok(None);
    };
    *payload = rest;
    let kind = *kind;
    let mut number = || -> Result<i64, String> {
        read_varint(payload)
            .map(|n| n as i64)
            .ok_or_else(|| "a number is cut off".to_owned())
    };
    let entry = match kind {
        1 => {
            let (sub, length) = (number()?, number()?);
            Entry::Put(sub, take(payload, length)?)
        }
        2 => {
            let (main, sub, length) = (number()?, number()?, number()?);
            Entry::Delete(main, sub, take(payload, length)?)
        }
        3 => Entry::Grant(number()?, number()?),
        4 => Entry::Revoke(number()?),
        5 => Entry::Compact(number()?),
        6 => Entry::Baseline(number()?),
        7 => Entry::Alarm(number()? as i32, number()? != 0),
        other => return Err(format!("an entry has the unknown kind {other}")),
    };
    Ok(Some(entry))
}

fn take<'a>(payload: &mut &'a [u8], length: i64) -> Result<&'a [u8], String> {
    let length = usize::try_from(length).map_err(|_| "a length is negative".to_owned())?;
    if length > payload.len() {
        return Err("an entry is cut off".to_owned());
    }
    let (taken, rest) = payload.split_at(length);
    *payload = rest;
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD_OF_TEST: Head = Head {
        format: FORMAT,
        cluster: 7,
        member: 8,
        first: 1,
        last: 1,
    };

    fn frame(sequence: u64, id: i64) -> Vec<u8> {
        let mut builder = Builder::default();
        builder.entry(&Entry::Grant(id, 5));
        builder.entry(&Entry::Delete(3, 1, b"key"));
        let (length, frame) = builder.seal(&HEAD_OF_TEST, sequence);
        frame[..length as usize].to_vec()
    }

    #[test]
    fn frames_round_trip() {
        let mut bytes = frame(0, 1);
        let second = bytes.len();
        bytes.extend(frame(1, -2));
        bytes.resize(bytes.len() + 40, 0);
        let Next::Frame(_, at) = next(&bytes, 0, &HEAD_OF_TEST, 0) else {
            panic!("no frame");
        };
        assert_eq!(at, second);
        let Next::Frame(mut payload, end) = next(&bytes, at, &HEAD_OF_TEST, 1) else {
            panic!("no frame");
        };
        assert_eq!(read_entry(&mut payload), Ok(Some(Entry::Grant(-2, 5))));
        assert_eq!(
            read_entry(&mut payload),
            Ok(Some(Entry::Delete(3, 1, b"key")))
        );
        assert_eq!(read_entry(&mut payload), Ok(None));
        assert_eq!(next(&bytes, end, &HEAD_OF_TEST, 2), Next::End);
        assert_eq!(Head::decode(&HEAD_OF_TEST.encode()), Some(HEAD_OF_TEST));
    }

    #[test]
    fn frames_of_other_segments_are_none_of_this_one() {
        let other = Head {
            first: 2,
            last: 2,
            ..HEAD_OF_TEST
        };
        assert_eq!(next(&frame(0, 1), 0, &other, 0), Next::Broken);
        // The first format could not tell.
        let [first, second] = [HEAD_OF_TEST, other].map(|head| Head { format: 1, ..head });
        let mut builder = Builder::default();
        builder.entry(&Entry::Revoke(1));
        let (length, bytes) = builder.seal(&first, 0);
        let found = next(&bytes[..length as usize], 0, &second, 0);
        assert!(matches!(found, Next::Frame(..)), "{found:?}");
    }

    #[test]
    fn damage_inside_is_told_from_a_torn_end() {
        let mut bytes = frame(0, 1);
        let second = bytes.len();
        bytes.extend(frame(1, 2));
        bytes.extend(frame(2, 3));
        bytes[second + 20] ^= 1;
        assert_eq!(next(&bytes, second, &HEAD_OF_TEST, 1), Next::Broken);
        assert!(continues_after(&bytes, second, &HEAD_OF_TEST, 1).is_some());
        bytes.truncate(2 * second);
        assert_eq!(continues_after(&bytes, second, &HEAD_OF_TEST, 1), None);
    }
}
