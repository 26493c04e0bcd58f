//! The names in a PKCS #10 certificate request in PEM: just enough of DER to read the subject, and which alternative
//! names are asked for.
//!
//! Invariant: lengths are checked against what is there; malformed input is an error, never a guess.
//! Leaves out: keys, other extensions and the signature.

const COMMON_NAME: [u8; 3] = [0x55, 0x04, 0x03];
const ORGANIZATION: [u8; 3] = [0x55, 0x04, 0x0a];
const EXTENSION_REQUEST: [u8; 9] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x0e];
const ALTERNATIVE_NAMES: [u8; 3] = [0x55, 0x1d, 0x11];
const ATTRIBUTES: u8 = 0xa0;
const BOOLEAN: u8 = 0x01;
const OCTETS: u8 = 0x04;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT_IDENTIFIER: u8 = 0x06;
const INTEGER: u8 = 0x02;
const MALFORMED: &str = "asn1: structure error: malformed certificate request";

/// Names in a request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Subject {
    /// `CN`.
    pub common_name: String,
    /// Each `O`, in order.
    pub organizations: Vec<String>,
    /// How many alternative names of each sort are asked for.
    pub alternatives: Alternatives,
}

/// Numbers of alternative names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Alternatives {
    /// DNS names.
    pub dns: usize,
    /// Addresses.
    pub addresses: usize,
    /// Mailboxes.
    pub emails: usize,
    /// URIs.
    pub uris: usize,
}

impl Subject {
    /// Reads the first PEM block.
    ///
    /// # Errors
    /// What upstream says about text that is no request.
    pub fn of_pem(text: &[u8]) -> Result<Subject, &'static str> {
        const BEGIN: &str = "-----BEGIN CERTIFICATE REQUEST-----";
        const WRONG_BLOCK: &str = "PEM block type must be CERTIFICATE REQUEST";
        let text = std::str::from_utf8(text).map_err(|_| WRONG_BLOCK)?;
        let (_, body) = text.split_once(BEGIN).ok_or(WRONG_BLOCK)?;
        let (body, _) = body.split_once("-----END").ok_or(WRONG_BLOCK)?;
        let der = base64(body).ok_or(WRONG_BLOCK)?;
        Subject::of_der(&der).ok_or(MALFORMED)
    }

    fn of_der(der: &[u8]) -> Option<Subject> {
        let (request, _) = element(der, SEQUENCE)?;
        let (info, _) = element(request, SEQUENCE)?;
        let (_, rest) = element(info, INTEGER)?;
        let (mut names, rest) = element(rest, SEQUENCE)?;
        let (_, rest) = element(rest, SEQUENCE)?;
        let mut subject = Subject::default();
        if let Some((attributes, _)) = element(rest, ATTRIBUTES) {
            subject.alternatives = alternatives(attributes)?;
        }
        while !names.is_empty() {
            let (mut set, rest) = element(names, SET)?;
            names = rest;
            while !set.is_empty() {
                let (pair, rest) = element(set, SEQUENCE)?;
                set = rest;
                let (kind, value) = element(pair, OBJECT_IDENTIFIER)?;
                let (value, _) = element(value, *value.first()?)?;
                let value = String::from_utf8_lossy(value).into_owned();
                if kind == COMMON_NAME {
                    subject.common_name = value;
                } else if kind == ORGANIZATION {
                    subject.organizations.push(value);
                }
            }
        }
        Some(subject)
    }
}

fn alternatives(mut attributes: &[u8]) -> Option<Alternatives> {
    let mut found = Alternatives::default();
    while !attributes.is_empty() {
        let (attribute, rest) = element(attributes, SEQUENCE)?;
        attributes = rest;
        let (kind, values) = element(attribute, OBJECT_IDENTIFIER)?;
        if kind != EXTENSION_REQUEST {
            continue;
        }
        let (values, _) = element(values, SET)?;
        let (mut extensions, _) = element(values, SEQUENCE)?;
        while !extensions.is_empty() {
            let (extension, rest) = element(extensions, SEQUENCE)?;
            extensions = rest;
            let (kind, value) = element(extension, OBJECT_IDENTIFIER)?;
            let value = element(value, BOOLEAN).map_or(value, |(_, rest)| rest);
            if kind == ALTERNATIVE_NAMES {
                let (value, _) = element(value, OCTETS)?;
                count(&mut found, element(value, SEQUENCE)?.0)?;
            }
        }
    }
    Some(found)
}

fn count(found: &mut Alternatives, mut names: &[u8]) -> Option<()> {
    while let Some(tag) = names.first() {
        let (_, rest) = element(names, *tag)?;
        names = rest;
        match tag {
            0x81 => found.emails += 1,
            0x82 => found.dns += 1,
            0x86 => found.uris += 1,
            0x87 => found.addresses += 1,
            _ => {}
        }
    }
    Some(())
}

/// The contents of the element with this tag at the start, and what follows it.
fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = bytes.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    if found != tag {
        return None;
    }
    let mut length = usize::from(first);
    if first & 0x80 != 0 {
        let count = usize::from(first & 0x7f);
        if count == 0 || count > 4 {
            return None;
        }
        let (digits, after) = rest.split_at_checked(count)?;
        length = digits.iter().fold(0, |sum, d| (sum << 8) | usize::from(*d));
        rest = after;
    }
    rest.split_at_checked(length)
}

/// Decodes standard base64, ignoring white space.
fn base64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let (mut bits, mut count) = (0u32, 0);
    for byte in text.bytes().filter(|b| !b.is_ascii_whitespace()) {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b'=' => break,
            _ => return None,
        };
        bits = ((bits << 6) | u32::from(value)) & 0x00ff_ffff;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    Some(bytes)
}
