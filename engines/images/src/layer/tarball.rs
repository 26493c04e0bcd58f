//! Reads tar streams entry by entry: ustar, GNU long names, PAX records (binary values included), base-256 numbers.
//! Invariant: names and attributes are what the archive says; whether they are safe is decided where they are used.
//! Leaves out sparse entries (refused) and multi-volume archives.

use std::collections::BTreeMap;
use std::io::{self, Read};

use tar::{EntryType, Header};

const BLOCK: u64 = 512;
/// Bytes of one extension (long name, PAX records).
const EXTENSION_MAX: u64 = 1 << 20;

/// One entry's description.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) path: Vec<u8>,
    pub(crate) link: Vec<u8>,
    pub(crate) kind: EntryType,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) size: u64,
    /// Seconds and nanoseconds since 1970.
    pub(crate) mtime: (i64, i64),
    pub(crate) device: (u32, u32),
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Where the content starts in the stream.
    pub(crate) offset: u64,
}

/// A tar stream.
pub(crate) struct Tarball<R> {
    inner: R,
    /// Bytes read so far.
    at: u64,
    /// Content and padding of the current entry still to be read.
    content_left: u64,
    padding_left: u64,
    global: BTreeMap<Vec<u8>, Vec<u8>>,
}

type Records = BTreeMap<Vec<u8>, Vec<u8>>;

fn invalid(message: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message.into())
}

impl<R: Read> Tarball<R> {
    pub(crate) fn new(inner: R) -> Tarball<R> {
        Tarball {
            inner,
            at: 0,
            content_left: 0,
            padding_left: 0,
            global: BTreeMap::new(),
        }
    }

    /// The stream below, for reading what follows the last entry.
    pub(crate) fn into_inner(self) -> R {
        self.inner
    }

    /// The next entry; `None` at the end mark or the end of the stream.
    pub(crate) fn next_entry(&mut self) -> io::Result<Option<Entry>> {
        let mut records = self.global.clone();
        let (mut long_path, mut long_link) = (None, None);
        loop {
            self.skip_content()?;
            let Some(header) = self.header()? else {
                return Ok(None);
            };
            let kind = header.entry_type();
            let size = header
                .entry_size()
                .map_err(|e| invalid(format!("tar header: {e}")))?;
            match kind {
                EntryType::XHeader => parse_records(&self.extension(size)?, &mut records)?,
                EntryType::XGlobalHeader => {
                    let bytes = self.extension(size)?;
                    parse_records(&bytes, &mut self.global)?;
                    parse_records(&bytes, &mut records)?;
                }
                EntryType::GNULongName => long_path = Some(terminated(self.extension(size)?)),
                EntryType::GNULongLink => long_link = Some(terminated(self.extension(size)?)),
                EntryType::GNUSparse => {
                    return Err(invalid("sparse tar entries are not supported"));
                }
                _ => {
                    let entry = self.describe(&header, records, long_path, long_link)?;
                    self.content_left = entry.size;
                    self.padding_left = entry.size.next_multiple_of(BLOCK) - entry.size;
                    return Ok(Some(entry));
                }
            }
        }
    }

    fn describe(
        &self,
        header: &Header,
        mut records: Records,
        long_path: Option<Vec<u8>>,
        long_link: Option<Vec<u8>>,
    ) -> io::Result<Entry> {
        let wrong = |e: io::Error| invalid(format!("tar header: {e}"));
        if records.keys().any(|key| key.starts_with(b"GNU.sparse.")) {
            return Err(invalid("sparse tar entries are not supported"));
        }
        let mut kind = header.entry_type();
        let path = records
            .remove(&b"path"[..])
            .or(long_path)
            .unwrap_or_else(|| header.path_bytes().into_owned());
        let link = records
            .remove(&b"linkpath"[..])
            .or(long_link)
            .unwrap_or_else(|| {
                header
                    .link_name_bytes()
                    .map(|l| l.into_owned())
                    .unwrap_or_default()
            });
        let size = numbered(&mut records, b"size", || header.entry_size())?;
        let uid = owner(numbered(&mut records, b"uid", || header.uid())?)?;
        let gid = owner(numbered(&mut records, b"gid", || header.gid())?)?;
        let mtime = match records.remove(&b"mtime"[..]) {
            Some(value) => parse_time(&value)?,
            None => (header.mtime().map_err(wrong)? as i64, 0),
        };
        // Before ustar a directory was a file whose name ends with a slash.
        if kind == EntryType::Regular && path.ends_with(b"/") {
            kind = EntryType::Directory;
        }
        let has_content =
            matches!(kind, EntryType::Regular | EntryType::Continuous) || !is_known(kind);
        let xattrs = records
            .into_iter()
            .filter_map(|(key, value)| Some((key.strip_prefix(b"SCHILY.xattr.")?.to_vec(), value)))
            .collect();
        let device =
            |part: io::Result<Option<u32>>| part.map(Option::unwrap_or_default).unwrap_or_default();
        Ok(Entry {
            path,
            link,
            kind,
            mode: header.mode().map_err(wrong)?,
            uid,
            gid,
            size: if has_content { size } else { 0 },
            mtime,
            device: (device(header.device_major()), device(header.device_minor())),
            xattrs,
            offset: self.at,
        })
    }

    fn header(&mut self) -> io::Result<Option<Header>> {
        let mut header = Header::new_old();
        let block = header.as_mut_bytes();
        let mut filled = 0;
        while filled < block.len() {
            match self.inner.read(&mut block[filled..])? {
                0 if filled == 0 => return Ok(None),
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                n => filled += n,
            }
        }
        self.at += BLOCK;
        if block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let sum: u32 = block[..148]
            .iter()
            .chain(&block[156..])
            .map(|byte| u32::from(*byte))
            .sum::<u32>()
            + 8 * 32;
        if header.cksum().ok() != Some(sum) {
            return Err(invalid(
                "archive header checksum mismatch: not a tar archive, or damaged",
            ));
        }
        Ok(Some(header))
    }

    fn extension(&mut self, size: u64) -> io::Result<Vec<u8>> {
        if size > EXTENSION_MAX {
            return Err(invalid(format!(
                "tar extension of {size} bytes is larger than {EXTENSION_MAX}"
            )));
        }
        self.content_left = size;
        self.padding_left = size.next_multiple_of(BLOCK) - size;
        let mut bytes = Vec::with_capacity(size as usize);
        self.read_to_end(&mut bytes)?;
        if bytes.len() as u64 != size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(bytes)
    }

    fn skip_content(&mut self) -> io::Result<()> {
        let left = self.content_left + self.padding_left;
        let skipped = io::copy(&mut self.inner.by_ref().take(left), &mut io::sink())?;
        self.at += skipped;
        (self.content_left, self.padding_left) = (0, 0);
        // Some writers leave the padding of the last entry out; a missing content is noticed by its reader.
        Ok(())
    }
}

/// Reads the content of the current entry.
impl<R: Read> Read for Tarball<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.content_left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let n = self.inner.read(&mut buffer[..most])?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.content_left -= n as u64;
        self.at += n as u64;
        Ok(n)
    }
}

fn is_known(kind: EntryType) -> bool {
    kind.is_file()
        || kind.is_dir()
        || kind.is_symlink()
        || kind.is_hard_link()
        || kind.is_character_special()
        || kind.is_block_special()
        || kind.is_fifo()
}

fn terminated(mut bytes: Vec<u8>) -> Vec<u8> {
    if let Some(end) = bytes.iter().position(|byte| *byte == 0) {
        bytes.truncate(end);
    }
    bytes
}

/// `<length> <key>=<value>\n`, the length counting all of it; values may hold any bytes.
fn parse_records(mut bytes: &[u8], records: &mut Records) -> io::Result<()> {
    let wrong = || invalid("malformed PAX record");
    while !bytes.is_empty() {
        let space = bytes
            .iter()
            .position(|byte| *byte == b' ')
            .ok_or_else(wrong)?;
        let length = parse_number(b"length", &bytes[..space])? as usize;
        if length <= space + 1 || length > bytes.len() || bytes[length - 1] != b'\n' {
            return Err(wrong());
        }
        let record = &bytes[space + 1..length - 1];
        let equals = record
            .iter()
            .position(|byte| *byte == b'=')
            .ok_or_else(wrong)?;
        let (key, value) = (record[..equals].to_vec(), record[equals + 1..].to_vec());
        if value.is_empty() && !key.starts_with(b"SCHILY.xattr.") {
            records.remove(&key);
        } else {
            records.insert(key, value);
        }
        bytes = &bytes[length..];
    }
    Ok(())
}

/// A number of the PAX records, else of the header.
fn numbered(
    records: &mut Records,
    key: &[u8],
    header: impl FnOnce() -> io::Result<u64>,
) -> io::Result<u64> {
    match records.remove(key) {
        Some(value) => parse_number(key, &value),
        None => header().map_err(|error| invalid(format!("tar header: {error}"))),
    }
}

fn owner(value: u64) -> io::Result<u32> {
    u32::try_from(value).map_err(|_| invalid(format!("owner {value} is out of range")))
}

fn parse_number(key: &[u8], value: &[u8]) -> io::Result<u64> {
    std::str::from_utf8(value)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| invalid(format!("malformed PAX {}", String::from_utf8_lossy(key))))
}

/// Seconds with an optional fraction, possibly before 1970.
fn parse_time(value: &[u8]) -> io::Result<(i64, i64)> {
    let wrong = || invalid("malformed PAX mtime");
    let text = std::str::from_utf8(value).map_err(|_| wrong())?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().map_err(|_| wrong())?;
    let digits: String = fraction
        .chars()
        .chain("000000000".chars())
        .take(9)
        .collect();
    let nanos: i64 = digits.parse().map_err(|_| wrong())?;
    match (whole.starts_with('-'), nanos) {
        (true, 1..) => Ok((seconds - 1, 1_000_000_000 - nanos)),
        _ => Ok((seconds, nanos)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pax_values_may_hold_newlines() {
        let mut records = Records::new();
        parse_records(b"13 a=1\n2\n3\n\0\n6 b=2\n", &mut records).unwrap();
        assert_eq!(records[&b"a"[..]], b"1\n2\n3\n\0");
        assert_eq!(records[&b"b"[..]], b"2");
        for bad in [&b"5 a"[..], b"x a=1\n", b"99 a=1\n", b"3 \n", b"0 a=1\n"] {
            assert!(parse_records(bad, &mut records).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn times() {
        assert_eq!(parse_time(b"12.5").unwrap(), (12, 500_000_000));
        assert_eq!(parse_time(b"-1.25").unwrap(), (-2, 750_000_000));
        assert!(parse_time(b"x").is_err());
    }

    #[test]
    fn garbage_is_not_an_archive() {
        assert!(Tarball::new(&[7u8; 512][..]).next_entry().is_err());
        assert!(Tarball::new(&[7u8; 100][..]).next_entry().is_err());
        assert!(
            Tarball::new(&[0u8; 1024][..])
                .next_entry()
                .unwrap()
                .is_none()
        );
        assert!(Tarball::new(&[][..]).next_entry().unwrap().is_none());
    }
}
