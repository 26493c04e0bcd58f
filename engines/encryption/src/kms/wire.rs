//! The protobuf messages of the plugin's protocol and of what is stored: fields by number, maps sorted.

use std::collections::BTreeMap;

/// Fields of a message: number and bytes; numbers that are varints are in `numbers`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Fields {
    texts: Vec<(u64, Vec<u8>)>,
    numbers: Vec<(u64, u64)>,
}

/// Annotations that a plugin gives and gets back.
pub(super) type Annotations = BTreeMap<String, Vec<u8>>;

impl Fields {
    /// Reads a message; none if it is cut or has fields of another shape.
    pub(super) fn read(mut bytes: &[u8]) -> Option<Fields> {
        let mut fields = Fields::default();
        while !bytes.is_empty() {
            let tag = take_number(&mut bytes)?;
            match tag & 7 {
                0 => fields.numbers.push((tag >> 3, take_number(&mut bytes)?)),
                2 => {
                    let len = usize::try_from(take_number(&mut bytes)?).ok()?;
                    let (text, rest) = bytes.split_at_checked(len)?;
                    fields.texts.push((tag >> 3, text.to_vec()));
                    bytes = rest;
                }
                _ => return None,
            }
        }
        Some(fields)
    }

    /// The last value of a field, empty if it is not there.
    pub(super) fn bytes(&self, number: u64) -> Vec<u8> {
        let mut found = self.texts.iter().rev().filter(|(of, _)| *of == number);
        found
            .next()
            .map(|(_, text)| text.clone())
            .unwrap_or_default()
    }

    /// The same as text.
    pub(super) fn text(&self, number: u64) -> String {
        String::from_utf8_lossy(&self.bytes(number)).into_owned()
    }

    /// The last value of a number, 0 if it is not there.
    pub(super) fn number(&self, number: u64) -> u64 {
        let mut found = self.numbers.iter().rev().filter(|(of, _)| *of == number);
        found.next().map_or(0, |(_, value)| *value)
    }

    /// A map from text to bytes.
    pub(super) fn map(&self, number: u64) -> Annotations {
        let entries = self.texts.iter().filter(|(of, _)| *of == number);
        entries
            .filter_map(|(_, entry)| {
                let entry = Fields::read(entry)?;
                Some((entry.text(1), entry.bytes(2)))
            })
            .collect()
    }
}

/// Writes a field of bytes; empty ones are not written.
pub(super) fn put_bytes(out: &mut Vec<u8>, number: u64, bytes: &[u8]) {
    if !bytes.is_empty() {
        put_number(out, number << 3 | 2);
        put_number(out, bytes.len() as u64);
        out.extend_from_slice(bytes);
    }
}

/// Writes a field that is a number; 0 is not written.
pub(super) fn put_value(out: &mut Vec<u8>, number: u64, value: u64) {
    if value != 0 {
        put_number(out, number << 3);
        put_number(out, value);
    }
}

/// Writes a map.
pub(super) fn put_map(out: &mut Vec<u8>, number: u64, map: &Annotations) {
    for (key, value) in map {
        let mut entry = Vec::new();
        put_bytes(&mut entry, 1, key.as_bytes());
        put_bytes(&mut entry, 2, value);
        put_bytes(out, number, &entry);
    }
}

fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn take_number(from: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = from.split_first()?;
        *from = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_read_back() {
        let map = Annotations::from([("a.example".to_owned(), vec![1; 200])]);
        let mut out = Vec::new();
        put_bytes(&mut out, 1, b"text");
        put_value(&mut out, 5, 300);
        put_map(&mut out, 4, &map);
        let fields = Fields::read(&out).unwrap();
        assert_eq!((fields.text(1).as_str(), fields.number(5)), ("text", 300));
        assert_eq!(fields.map(4), map);
        assert_eq!((fields.bytes(2), fields.number(9)), (Vec::new(), 0));
        assert!(Fields::read(&out[..out.len() - 1]).is_none());
    }
}
