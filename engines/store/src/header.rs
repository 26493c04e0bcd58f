//! The header of an entry: what selectors, garbage collection and authorization read without decoding the
//! object. One packed allocation. It is not stored: it is described again from the object at open, so it can
//! never disagree with the program that reads it.

use std::fmt;
use std::sync::Arc;

const SECTIONS: usize = 5;
const UID: usize = 0;
const LABELS: usize = 1;
const OWNERS: usize = 2;
const FINALIZERS: usize = 3;
const FIELDS: usize = 4;

/// Uid, labels, owner uids, finalizers and selectable fields of one object. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct Header {
    /// Per section a count of strings, then the strings, each after its length; numbers are LEB128.
    packed: Arc<[u8]>,
}

impl Header {
    /// Starts a header for the object with this uid (empty if it has none).
    pub fn of(uid: &str) -> HeaderBuilder {
        let mut builder = HeaderBuilder::default();
        builder.push(UID, uid);
        builder
    }

    /// The object's uid, empty if it has none.
    pub fn uid(&self) -> &str {
        self.section(UID).next().unwrap_or("")
    }

    /// The labels in the order given.
    pub fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        Pairs(self.section(LABELS))
    }

    /// The value of a label.
    pub fn label(&self, name: &str) -> Option<&str> {
        self.section(LABELS).value_of(name)
    }

    /// The uids of the owner references.
    pub fn owners(&self) -> impl Iterator<Item = &str> {
        self.section(OWNERS)
    }

    /// The finalizers.
    pub fn finalizers(&self) -> impl Iterator<Item = &str> {
        self.section(FINALIZERS)
    }

    /// The selectable fields (`spec.nodeName` …) beside `metadata.name` and `metadata.namespace`, which the
    /// key holds.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        Pairs(self.section(FIELDS))
    }

    /// The value of a selectable field.
    pub fn field(&self, path: &str) -> Option<&str> {
        self.section(FIELDS).value_of(path)
    }

    /// The memory it takes, in bytes.
    pub fn size(&self) -> usize {
        self.packed.len()
    }

    fn section(&self, wanted: usize) -> Strings<'_> {
        let mut rest: &[u8] = &self.packed;
        for index in 0..SECTIONS {
            let count = take_number(&mut rest);
            if index == wanted {
                return Strings { rest, left: count };
            }
            for _ in 0..count {
                take_bytes(&mut rest);
            }
        }
        Strings { rest: &[], left: 0 }
    }
}

impl Default for Header {
    fn default() -> Header {
        Header::of("").build()
    }
}

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Header")
            .field("uid", &self.uid())
            .field("labels", &self.labels().collect::<Vec<_>>())
            .field("owners", &self.owners().collect::<Vec<_>>())
            .field("finalizers", &self.finalizers().collect::<Vec<_>>())
            .field("fields", &self.fields().collect::<Vec<_>>())
            .finish()
    }
}

/// Collects a [`Header`].
#[derive(Default, Clone, Debug)]
pub struct HeaderBuilder {
    counts: [u32; SECTIONS],
    strings: [Vec<u8>; SECTIONS],
}

impl HeaderBuilder {
    /// Adds a label.
    pub fn label(mut self, name: &str, value: &str) -> Self {
        self.push(LABELS, name);
        self.push(LABELS, value);
        self
    }

    /// Adds the uid of an owner.
    pub fn owner(mut self, uid: &str) -> Self {
        self.push(OWNERS, uid);
        self
    }

    /// Adds a finalizer.
    pub fn finalizer(mut self, name: &str) -> Self {
        self.push(FINALIZERS, name);
        self
    }

    /// Adds a selectable field.
    pub fn field(mut self, path: &str, value: &str) -> Self {
        self.push(FIELDS, path);
        self.push(FIELDS, value);
        self
    }

    /// The header.
    pub fn build(self) -> Header {
        let mut packed =
            Vec::with_capacity(SECTIONS * 2 + self.strings.iter().map(Vec::len).sum::<usize>());
        for (count, strings) in self.counts.iter().zip(&self.strings) {
            put_number(&mut packed, *count);
            packed.extend_from_slice(strings);
        }
        Header {
            packed: packed.into(),
        }
    }

    fn push(&mut self, section: usize, text: &str) {
        self.counts[section] += 1;
        put_number(&mut self.strings[section], text.len() as u32);
        self.strings[section].extend_from_slice(text.as_bytes());
    }
}

#[derive(Clone)]
struct Strings<'a> {
    rest: &'a [u8],
    left: u32,
}

impl<'a> Iterator for Strings<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        self.left = self.left.checked_sub(1)?;
        Some(take_str(&mut self.rest))
    }
}

impl<'a> Strings<'a> {
    /// The value after a key, in a section of pairs. Lists look at every object: what is passed over is only skipped.
    fn value_of(mut self, key: &str) -> Option<&'a str> {
        while self.left > 1 {
            self.left -= 2;
            if take_bytes(&mut self.rest) == key.as_bytes() {
                return Some(take_str(&mut self.rest));
            }
            take_bytes(&mut self.rest);
        }
        None
    }
}

struct Pairs<'a>(Strings<'a>);

impl<'a> Iterator for Pairs<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<(&'a str, &'a str)> {
        Some((self.0.next()?, self.0.next()?))
    }
}

fn put_number(out: &mut Vec<u8>, mut number: u32) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn take_number(from: &mut &[u8]) -> u32 {
    let mut number = 0;
    let mut shift = 0;
    while let Some((byte, rest)) = from.split_first() {
        *from = rest;
        number |= u32::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
        shift += 7;
    }
    number
}

fn take_bytes<'a>(from: &mut &'a [u8]) -> &'a [u8] {
    let len = take_number(from) as usize;
    let (text, rest) = from.split_at(len.min(from.len()));
    *from = rest;
    text
}

fn take_str<'a>(from: &mut &'a [u8]) -> &'a str {
    std::str::from_utf8(take_bytes(from)).expect("the builder packs whole strings")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_reads_back() {
        let long = "x".repeat(300);
        let header = Header::of("uid-1")
            .label("app", "web")
            .owner("uid-0")
            .label("long", &long)
            .finalizer("kubernetes.io/pv-protection")
            .field("spec.nodeName", "node-1")
            .build();
        assert_eq!(header.uid(), "uid-1");
        assert_eq!(
            header.labels().collect::<Vec<_>>(),
            [("app", "web"), ("long", long.as_str())]
        );
        assert_eq!(header.label("long"), Some(long.as_str()));
        assert_eq!(header.label("none"), None);
        assert_eq!(header.owners().collect::<Vec<_>>(), ["uid-0"]);
        assert_eq!(
            header.finalizers().collect::<Vec<_>>(),
            ["kubernetes.io/pv-protection"]
        );
        assert_eq!(header.field("spec.nodeName"), Some("node-1"));
        assert_eq!(header.field("node-1"), None, "values are no keys");
        assert_eq!(header, header.clone());
    }

    #[test]
    fn an_empty_header_has_nothing() {
        let header = Header::default();
        assert_eq!(header.uid(), "");
        assert_eq!(
            header.labels().count() + header.owners().count() + header.fields().count(),
            0
        );
    }
}
