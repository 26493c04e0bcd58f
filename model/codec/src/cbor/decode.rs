//! Reading into the dynamic value. Invariant: lengths are never believed before the bytes are there, and nesting is
//! limited, so that no input costs more than its size.

use super::{CborError, DEPTH_MAX};
use crate::json::write_base64;
use corten_core::{Str, Value, ValueMapFiller};

/// Decodes one document; a self-described tag may stand before it.
///
/// # Errors
/// When the bytes are not CBOR, hold what JSON has no form for, name a map key twice, or something follows.
pub fn decode_value(bytes: &[u8]) -> Result<Value, CborError> {
    let mut reader = Reader { bytes, at: 0 };
    let value = reader.value(0)?;
    match reader.at == bytes.len() {
        true => Ok(value),
        false => Err(CborError::new(format!(
            "{} bytes of extraneous data starting at index {}",
            bytes.len() - reader.at,
            reader.at
        ))),
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// Additional information 31: the length is not said, a break ends the item.
const INDEFINITE: u8 = 31;
const BREAK: u8 = 0xff;

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Result<u8, CborError> {
        let byte = self.bytes.get(self.at).copied();
        self.at += 1;
        byte.ok_or_else(|| CborError::new("unexpected EOF"))
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], CborError> {
        let rest = &self.bytes[self.at.min(self.bytes.len())..];
        let length = usize::try_from(length).ok().filter(|n| *n <= rest.len());
        let length = length.ok_or_else(|| CborError::new("unexpected EOF"))?;
        self.at += length;
        Ok(&rest[..length])
    }

    fn number(&mut self, information: u8) -> Result<u64, CborError> {
        let width = match information {
            0..=23 => return Ok(u64::from(information)),
            24 => 1,
            25 => 2,
            26 => 4,
            27 => 8,
            other => {
                return Err(CborError::new(format!(
                    "invalid additional information {other}"
                )));
            }
        };
        let bytes = self.take(width)?;
        Ok(bytes
            .iter()
            .fold(0, |number, b| number << 8 | u64::from(*b)))
    }

    fn ends(&mut self) -> bool {
        let ends = self.bytes.get(self.at) == Some(&BREAK);
        self.at += usize::from(ends);
        ends
    }

    fn value(&mut self, depth: usize) -> Result<Value, CborError> {
        if depth > DEPTH_MAX {
            return Err(CborError::new(format!(
                "exceeded max nested level {DEPTH_MAX}"
            )));
        }
        let first = self.byte()?;
        let (major, information) = (first >> 5, first & 0x1f);
        match major {
            0 => {
                let number = i64::try_from(self.number(information)?);
                number.map(Value::Int).map_err(|_| overflow())
            }
            1 => {
                let number = i64::try_from(self.number(information)?);
                number.map(|n| Value::Int(!n)).map_err(|_| overflow())
            }
            2 | 3 => self.text(major, information).map(Value::Str),
            4 => self.array(information, depth),
            5 => self.map(information, depth),
            6 => self.tagged(information, depth),
            _ => self.simple(information),
        }
    }

    fn bytes(&mut self, major: u8, information: u8) -> Result<Vec<u8>, CborError> {
        if information != INDEFINITE {
            let length = self.number(information)?;
            return Ok(self.take(length)?.to_vec());
        }
        let mut all = Vec::new();
        while !self.ends() {
            let first = self.byte()?;
            if first >> 5 != major || first & 0x1f == INDEFINITE {
                return Err(CborError::new(
                    "wrong element type in an indefinite-length string",
                ));
            }
            let length = self.number(first & 0x1f)?;
            all.extend_from_slice(self.take(length)?);
        }
        Ok(all)
    }

    fn text(&mut self, major: u8, information: u8) -> Result<Str, CborError> {
        let bytes = self.bytes(major, information)?;
        let text = String::from_utf8(bytes).map_err(|_| CborError::new("invalid UTF-8 string"))?;
        Ok(Str::from(text))
    }

    fn array(&mut self, information: u8, depth: usize) -> Result<Value, CborError> {
        let mut list = Vec::new();
        if information == INDEFINITE {
            while !self.ends() {
                list.push(self.value(depth + 1)?);
            }
        } else {
            for _ in 0..self.number(information)? {
                list.push(self.value(depth + 1)?);
            }
        }
        Ok(Value::List(list))
    }

    fn map(&mut self, information: u8, depth: usize) -> Result<Value, CborError> {
        let mut map = ValueMapFiller::default();
        let mut left = match information {
            INDEFINITE => None,
            other => Some(self.number(other)?),
        };
        loop {
            match &mut left {
                None if self.ends() => break,
                None => {}
                Some(0) => break,
                Some(n) => *n -= 1,
            }
            let first = self.byte()?;
            let (major, information) = (first >> 5, first & 0x1f);
            if !matches!(major, 2 | 3) {
                return Err(CborError::new("a map key is not a string"));
            }
            let key = self.text(major, information)?;
            let value = self.value(depth + 1)?;
            let shown = format!("{:?}", key.as_str());
            if map.insert(key, value).is_some() {
                return Err(CborError::new(format!("found duplicate map key {shown}")));
            }
        }
        Ok(Value::Map(map.finish()))
    }

    fn tagged(&mut self, information: u8, depth: usize) -> Result<Value, CborError> {
        match self.number(information)? {
            2 | 3 => Err(CborError::new("bignum tags are not allowed")),
            tag @ (21..=23) => {
                let first = self.byte()?;
                if first >> 5 != 2 {
                    self.at -= 1;
                    return self.value(depth + 1);
                }
                let bytes = self.bytes(2, first & 0x1f)?;
                Ok(Value::Str(Str::from(later(tag, &bytes))))
            }
            _ => self.value(depth + 1),
        }
    }

    fn simple(&mut self, information: u8) -> Result<Value, CborError> {
        let float = match information {
            20 => return Ok(Value::Bool(false)),
            21 => return Ok(Value::Bool(true)),
            22 => return Ok(Value::Null),
            25 => half(self.number(25)? as u16),
            26 => f64::from(f32::from_bits(self.number(26)? as u32)),
            27 => f64::from_bits(self.number(27)?),
            other => {
                return Err(CborError::new(format!(
                    "simple value {other} is not recognized"
                )));
            }
        };
        match float.is_finite() {
            true => Ok(Value::Float(float)),
            false => Err(CborError::new(
                "floating-point NaN or infinity is not allowed",
            )),
        }
    }
}

fn overflow() -> CborError {
    CborError::new("integer overflows Go type int64")
}

/// What a byte string is as text, by the tag that stands before it.
fn later(tag: u64, bytes: &[u8]) -> String {
    if tag == 23 {
        return bytes.iter().map(|b| format!("{b:02x}")).collect();
    }
    let mut out = Vec::new();
    write_base64(bytes, &mut out);
    let text: String = out
        .into_iter()
        .map(char::from)
        .filter(|c| *c != '"')
        .collect();
    match tag {
        21 => text
            .trim_end_matches('=')
            .replace('+', "-")
            .replace('/', "_"),
        _ => text,
    }
}

fn half(bits: u16) -> f64 {
    let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 0x1f), f64::from(bits & 0x3ff));
    sign * match exponent {
        0 => fraction * 2_f64.powi(-24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1.0 + fraction / 1024.0) * 2_f64.powi(exponent - 15),
    }
}
