//! Content digests: `sha256:<64 hex digits>`, parsed, printed and computed while streaming.
//! Invariant: a `Digest` always is 32 bytes of SHA-256. Other algorithms are refused when parsing.

use std::fmt;
use std::io::{self, Read};
use std::str::FromStr;

use aws_lc_rs::digest as sha;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The SHA-256 digest of some content.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

/// Why a text is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// The part before the colon is not `sha256`.
    #[error("unsupported digest algorithm in {0:?}: only sha256 is understood")]
    Algorithm(String),
    /// Not 64 lower-case hex digits.
    #[error("invalid checksum digest format: {0:?}")]
    Format(String),
}

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Digest {
        let mut hasher = Hasher::new();
        hasher.update(bytes);
        hasher.finish()
    }

    /// The 64 hex digits without the algorithm: the file name of a blob.
    pub fn hex(&self) -> String {
        let mut text = String::with_capacity(64);
        for byte in self.0 {
            for nibble in [byte >> 4, byte & 15] {
                text.push(char::from(b"0123456789abcdef"[usize::from(nibble)]));
            }
        }
        text
    }

    /// Parses 64 lower-case hex digits without an algorithm.
    pub fn from_hex(text: &str) -> Result<Digest, DigestError> {
        let wrong = || DigestError::Format(text.to_owned());
        let bytes = text.as_bytes();
        if bytes.len() != 64 {
            return Err(wrong());
        }
        let mut out = [0u8; 32];
        for (slot, pair) in out.iter_mut().zip(bytes.chunks_exact(2)) {
            let high = nibble(pair[0]).ok_or_else(wrong)?;
            let low = nibble(pair[1]).ok_or_else(wrong)?;
            *slot = high << 4 | low;
        }
        Ok(Digest(out))
    }
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

impl FromStr for Digest {
    type Err = DigestError;
    fn from_str(text: &str) -> Result<Digest, DigestError> {
        match text.split_once(':') {
            Some(("sha256", hex)) => Digest::from_hex(hex),
            Some(_) => Err(DigestError::Algorithm(text.to_owned())),
            None => Err(DigestError::Format(text.to_owned())),
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Computes a digest piece by piece.
pub struct Hasher(sha::Context);

impl Hasher {
    /// Starts with no content.
    pub fn new() -> Hasher {
        Hasher(sha::Context::new(&sha::SHA256))
    }

    /// Adds the next piece of content.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of everything added.
    pub fn finish(self) -> Digest {
        let mut out = [0u8; 32];
        out.copy_from_slice(self.0.finish().as_ref());
        Digest(out)
    }
}

impl Default for Hasher {
    fn default() -> Hasher {
        Hasher::new()
    }
}

/// A reader that digests and counts what passes through, and fails beyond `max` bytes.
pub(crate) struct DigestingReader<R> {
    inner: R,
    hasher: Hasher,
    count: u64,
    max: u64,
}

impl<R: Read> DigestingReader<R> {
    /// Reads from `inner`, at most `max` bytes.
    pub(crate) fn new(inner: R, max: u64) -> DigestingReader<R> {
        DigestingReader {
            inner,
            hasher: Hasher::new(),
            count: 0,
            max,
        }
    }

    /// Reads what is left (padding, trailers), then gives the digest and the number of bytes.
    pub(crate) fn drain(mut self) -> io::Result<(Digest, u64)> {
        let mut scratch = [0u8; 16 * 1024];
        while self.read(&mut scratch)? > 0 {}
        Ok((self.hasher.finish(), self.count))
    }
}

impl<R: Read> Read for DigestingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.count += n as u64;
        if self.count > self.max {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("content exceeds the limit of {} bytes", self.max),
            ));
        }
        self.hasher.update(&buffer[..n]);
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_and_parses() {
        let digest = Digest::of(b"abc");
        let text = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(digest.to_string(), text);
        assert_eq!(text.parse::<Digest>(), Ok(digest));
        assert!("sha512:00".parse::<Digest>().is_err());
        assert!("sha256:BA".parse::<Digest>().is_err());
        assert!("../../etc/passwd".parse::<Digest>().is_err());
    }

    #[test]
    fn reader_counts_and_bounds() {
        let (digest, n) = DigestingReader::new(&b"abc"[..], 3).drain().unwrap();
        assert_eq!((digest, n), (Digest::of(b"abc"), 3));
        assert!(DigestingReader::new(&b"abcd"[..], 3).drain().is_err());
    }
}
