//! Just enough of DER and PEM to look at keys, certificates and requests for them.
//!
//! Invariant: lengths are checked against what is there; malformed input is nothing, never a guess. Leaves out signatures,
//! which need cryptography.

use corten_core::Time;

pub(super) const SEQUENCE: u8 = 0x30;
const SET_OR_ATTRIBUTES: u8 = 0xa0;
const BOOLEAN: u8 = 0x01;
const INTEGER: u8 = 0x02;
const BITS: u8 = 0x03;
const OCTETS: u8 = 0x04;
const OBJECT_IDENTIFIER: u8 = 0x06;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];
const ALTERNATIVE_NAMES: &[u8] = &[0x55, 0x1d, 0x11];

const ED25519: &[u8] = &[0x2b, 0x65, 0x70];
const ELLIPTIC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];

/// One element: its tag, its content, and what follows.
pub(super) fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (size, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (
                size.iter().fold(0, |sum, b| (sum << 8) | usize::from(*b)),
                rest,
            )
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// The content of an element with this tag, and what follows.
fn tagged(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, content, rest) = element(bytes)?;
    (found == tag).then_some((content, rest))
}

/// The first element as it stands, and what follows.
fn whole(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (_, _, rest) = element(bytes)?;
    Some((&bytes[..bytes.len() - rest.len()], rest))
}

/// The curve of an elliptic key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Curve {
    /// secp224r1, which upstream can read but takes nowhere.
    P224,
    /// secp256r1.
    P256,
    /// secp384r1.
    P384,
    /// secp521r1.
    P521,
}

/// What kind of key it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// Ed25519.
    Ed25519,
    /// On a curve.
    Elliptic(Curve),
    /// RSA, with the length of its modulus in bits, rounded up to bytes.
    Rsa(usize),
}

/// A public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicKey<'a> {
    /// The kind.
    pub kind: KeyKind,
    /// The key in the form of its kind: a point, or modulus and exponent.
    pub bits: &'a [u8],
}

impl<'a> PublicKey<'a> {
    /// Reads a SubjectPublicKeyInfo with nothing behind it. `Err` of a key of another kind, nothing of what is no key.
    pub fn parse(der: &'a [u8]) -> Option<Result<PublicKey<'a>, UnknownKey>> {
        let (info, []) = tagged(der, SEQUENCE)? else {
            return None;
        };
        let (algorithm, rest) = tagged(info, SEQUENCE)?;
        let (bits, []) = tagged(rest, BITS)? else {
            return None;
        };
        let (0, bits) = bits.split_first()? else {
            return None;
        };
        let (name, parameters) = tagged(algorithm, OBJECT_IDENTIFIER)?;
        let kind = match name {
            ED25519 => KeyKind::Ed25519,
            ELLIPTIC => KeyKind::Elliptic(curve(tagged(parameters, OBJECT_IDENTIFIER)?.0)?),
            RSA => KeyKind::Rsa(modulus_bits(bits)?),
            _ => return Some(Err(UnknownKey)),
        };
        Some(Ok(PublicKey { kind, bits }))
    }
}

/// A key of a kind that nothing here knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownKey;

fn curve(name: &[u8]) -> Option<Curve> {
    match name {
        [0x2b, 0x81, 0x04, 0x00, 0x21] => Some(Curve::P224),
        [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07] => Some(Curve::P256),
        [0x2b, 0x81, 0x04, 0x00, 0x22] => Some(Curve::P384),
        [0x2b, 0x81, 0x04, 0x00, 0x23] => Some(Curve::P521),
        _ => None,
    }
}

fn modulus_bits(key: &[u8]) -> Option<usize> {
    let (numbers, _) = tagged(key, SEQUENCE)?;
    let (modulus, rest) = tagged(numbers, INTEGER)?;
    tagged(rest, INTEGER)?;
    let leading = modulus.iter().take_while(|b| **b == 0).count();
    Some((modulus.len() - leading) * 8)
}

/// A PKCS #10 certificate request.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// What is signed.
    pub signed: &'a [u8],
    /// The key, as it stands.
    pub key: &'a [u8],
    /// The object identifier of the signature's algorithm.
    pub algorithm: &'a [u8],
    /// The signature.
    pub signature: &'a [u8],
}

impl<'a> Request<'a> {
    /// Reads a request with nothing behind it.
    pub fn parse(der: &'a [u8]) -> Option<Request<'a>> {
        let (request, []) = tagged(der, SEQUENCE)? else {
            return None;
        };
        let (signed, rest) = whole(request)?;
        let (info, _) = tagged(signed, SEQUENCE)?;
        let (_, info) = tagged(info, INTEGER)?;
        let (_, info) = tagged(info, SEQUENCE)?;
        let (key, attributes) = whole(info)?;
        if !attributes.is_empty() {
            tagged(attributes, SET_OR_ATTRIBUTES)?;
        }
        let (algorithm, rest) = tagged(rest, SEQUENCE)?;
        let (signature, []) = tagged(rest, BITS)? else {
            return None;
        };
        Some(Request {
            signed,
            key,
            algorithm: tagged(algorithm, OBJECT_IDENTIFIER)?.0,
            signature: signature.split_first()?.1,
        })
    }
}

/// What of a certificate is looked at.
#[derive(Clone, Debug)]
pub(super) struct Certificate<'a> {
    pub key: &'a [u8],
    pub not_before: Time,
    pub not_after: Time,
    pub dns_names: Vec<&'a str>,
    pub emails: Vec<&'a str>,
    pub is_authority: bool,
}

impl<'a> Certificate<'a> {
    /// Reads a certificate with nothing behind it.
    pub(super) fn parse(der: &'a [u8]) -> Option<Certificate<'a>> {
        let (certificate, []) = tagged(der, SEQUENCE)? else {
            return None;
        };
        let (fields, signature) = tagged(certificate, SEQUENCE)?;
        element(element(signature)?.2)?;
        let rest = tagged(fields, VERSION).map_or(fields, |(_, rest)| rest);
        let (_, rest) = tagged(rest, INTEGER)?;
        let (_, rest) = tagged(rest, SEQUENCE)?;
        let (_, rest) = tagged(rest, SEQUENCE)?;
        let (validity, rest) = tagged(rest, SEQUENCE)?;
        let (_, rest) = tagged(rest, SEQUENCE)?;
        let (key, mut rest) = whole(rest)?;
        let (tag, from, until) = element(validity)?;
        let not_before = time(tag, from)?;
        let (tag, until, _) = element(until)?;
        let mut found = Certificate {
            key,
            not_before,
            not_after: time(tag, until)?,
            dns_names: Vec::new(),
            emails: Vec::new(),
            is_authority: false,
        };
        while !rest.is_empty() {
            let (tag, content, after) = element(rest)?;
            rest = after;
            if tag == EXTENSIONS {
                found.read_extensions(element(content)?.1)?;
            }
        }
        Some(found)
    }

    fn read_extensions(&mut self, mut extensions: &'a [u8]) -> Option<()> {
        while !extensions.is_empty() {
            let (extension, rest) = tagged(extensions, SEQUENCE)?;
            extensions = rest;
            let (name, value) = tagged(extension, OBJECT_IDENTIFIER)?;
            let value = tagged(value, BOOLEAN).map_or(value, |(_, rest)| rest);
            let (value, _) = tagged(value, OCTETS)?;
            match name {
                BASIC_CONSTRAINTS => {
                    let inner = element(value)?.1;
                    self.is_authority =
                        tagged(inner, BOOLEAN).is_some_and(|(content, _)| content == [0xff]);
                }
                ALTERNATIVE_NAMES => self.read_names(tagged(value, SEQUENCE)?.0)?,
                _ => {}
            }
        }
        Some(())
    }

    fn read_names(&mut self, mut names: &'a [u8]) -> Option<()> {
        while !names.is_empty() {
            let (tag, name, rest) = element(names)?;
            names = rest;
            match tag {
                0x81 => self.emails.push(std::str::from_utf8(name).ok()?),
                0x82 => self.dns_names.push(std::str::from_utf8(name).ok()?),
                _ => {}
            }
        }
        Some(())
    }
}

/// A moment of a certificate's life: two digits of the year below 2050, four from then on.
fn time(tag: u8, text: &[u8]) -> Option<Time> {
    let text = std::str::from_utf8(text).ok()?;
    let (year, rest) = match tag {
        0x17 => {
            let (year, rest) = text.split_at_checked(2)?;
            let century = if year < "50" { "20" } else { "19" };
            (format!("{century}{year}"), rest)
        }
        0x18 => {
            let (year, rest) = text.split_at_checked(4)?;
            (year.to_owned(), rest)
        }
        _ => return None,
    };
    let part = |at: usize| rest.get(at..at + 2);
    let (month, day) = (part(0)?, part(2)?);
    let (hour, minute, second) = (part(4)?, part(6)?, part(8)?);
    let text = format!("{year}-{month}-{day}T{hour}:{minute}:{second}Z");
    (rest.get(10..)? == "Z").then(|| Time::parse(&text).ok())?
}

/// A PEM block.
pub(super) struct Block<'a> {
    pub kind: &'a str,
    pub has_headers: bool,
    pub bytes: Vec<u8>,
}

/// The PEM blocks of a text; what is not one is passed over.
pub(super) fn blocks(text: &str) -> impl Iterator<Item = Block<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        loop {
            let begin = rest.find("-----BEGIN ")?;
            rest = &rest[begin + 11..];
            let Some((kind, after)) = rest.split_once("-----") else {
                continue;
            };
            let Some((body, after)) = after.split_once(&format!("-----END {kind}-----")) else {
                continue;
            };
            let (headers, data): (Vec<&str>, Vec<&str>) = body
                .lines()
                .map(str::trim)
                .filter(|l| !l.is_empty())
                .partition(|l| l.contains(':'));
            let Some(bytes) = base64(&data.concat()) else {
                continue;
            };
            rest = after;
            return Some(Block {
                kind,
                has_headers: !headers.is_empty(),
                bytes,
            });
        }
    })
}

fn base64(text: &str) -> Option<Vec<u8>> {
    let body = text.trim_end_matches('=');
    if !text.len().is_multiple_of(4) || text.len() - body.len() > 2 {
        return None;
    }
    let mut out = Vec::with_capacity(body.len() * 3 / 4);
    let (mut word, mut bits) = (0_u32, 0);
    for byte in body.bytes() {
        let digit = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        word = (word << 6) | u32::from(digit);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            out.push((word >> bits) as u8);
        }
    }
    Some(out)
}
