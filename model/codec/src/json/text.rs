//! JSON text as Go writes it: escaped strings (HTML characters included), numbers, base64, compacted raw text.
//! Invariant: output is valid UTF-8 JSON and byte-equal to `encoding/json` with its default escaping.

use super::scan::Scanner;

/// Bytes that need attention inside a string: 0 copies, otherwise escaped.
/// 0xE2 may start U+2028 or U+2029.
const fn escape_table() -> [u8; 256] {
    let mut table = [0u8; 256];
    let mut byte = 0;
    while byte < 0x20 {
        table[byte] = 1;
        byte += 1;
    }
    table[b'"' as usize] = 1;
    table[b'\\' as usize] = 1;
    table[b'<' as usize] = 1;
    table[b'>' as usize] = 1;
    table[b'&' as usize] = 1;
    table[0xE2] = 2;
    table
}

static ESCAPES: [u8; 256] = escape_table();

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Appends `text` in quotes.
#[inline]
pub fn write_text(text: &str, out: &mut Vec<u8>) {
    let bytes = text.as_bytes();
    out.reserve(bytes.len() + 2);
    out.push(b'"');
    let mut from = 0;
    while let Some(found) = bytes[from..].iter().position(|b| ESCAPES[*b as usize] != 0) {
        out.extend_from_slice(&bytes[from..from + found]);
        from = write_escape(bytes, from + found, out);
    }
    out.extend_from_slice(&bytes[from..]);
    out.push(b'"');
}

/// Escapes the character at `at` where it needs it and returns the offset behind it.
#[cold]
fn write_escape(bytes: &[u8], at: usize, out: &mut Vec<u8>) -> usize {
    let byte = bytes[at];
    let short = match byte {
        b'"' | b'\\' => byte,
        0x08 => b'b',
        0x0c => b'f',
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0xE2 => {
            let end = (at + 3).min(bytes.len());
            match &bytes[at..end] {
                b"\xE2\x80\xA8" => out.extend_from_slice(b"\\u2028"),
                b"\xE2\x80\xA9" => out.extend_from_slice(b"\\u2029"),
                other => out.extend_from_slice(other),
            }
            return end;
        }
        _ => {
            out.extend_from_slice(b"\\u00");
            out.push(HEX[(byte >> 4) as usize]);
            out.push(HEX[(byte & 15) as usize]);
            return at + 1;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
    at + 1
}

/// Appends a whole number.
#[inline]
pub fn write_int(value: i64, out: &mut Vec<u8>) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    let mut rest = value.unsigned_abs();
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if value < 0 {
        at -= 1;
        digits[at] = b'-';
    }
    out.extend_from_slice(&digits[at..]);
}

/// Appends a float as Go does: the shortest digits, exponents below 1e-6 and from 1e21.
/// JSON has no infinities; they are written as `null`.
pub fn write_float(value: f64, out: &mut Vec<u8>) {
    if !value.is_finite() {
        out.extend_from_slice(b"null");
        return;
    }
    let size = value.abs();
    if size != 0.0 && !(1e-6..1e21).contains(&size) {
        let text = format!("{value:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        out.extend_from_slice(digits.as_bytes());
        out.push(b'e');
        if !exponent.starts_with('-') {
            out.push(b'+');
        }
        out.extend_from_slice(exponent.as_bytes());
        return;
    }
    out.extend_from_slice(format!("{value}").as_bytes());
}

/// Appends base64 (standard alphabet, padded) in quotes.
pub fn write_base64(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    push_base64(bytes, out);
    out.push(b'"');
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

pub(crate) fn push_base64(bytes: &[u8], out: &mut Vec<u8>) {
    out.reserve(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word =
            chunk.iter().fold(0u32, |w, b| w << 8 | u32::from(*b)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let digit = BASE64[(word >> (18 - 6 * place) & 63) as usize];
            out.push(if place <= chunk.len() { digit } else { b'=' });
        }
    }
}

/// Decodes standard base64 as Go does: line breaks are skipped, padding is required.
/// The error is the offset of the first bad byte.
pub(crate) fn decode_base64(text: &[u8]) -> Result<Vec<u8>, usize> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let (mut word, mut digits, mut padding) = (0u32, 0, 0);
    let mut group = 0;
    for (at, &byte) in text.iter().enumerate() {
        let value = match byte {
            b'\r' | b'\n' => continue,
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b'=' if digits >= 2 && digits + padding < 4 => {
                padding += 1;
                continue;
            }
            _ => return Err(at),
        };
        if padding > 0 {
            // Data after padding: Go points at the byte after the padding it expected.
            return Err(at);
        }
        if digits == 0 {
            group = at;
        }
        word = word << 6 | u32::from(value);
        digits += 1;
        if digits == 4 {
            out.extend_from_slice(&word.to_be_bytes()[1..]);
            (word, digits) = (0, 0);
        }
    }
    match (digits, padding) {
        (0, 0) => {}
        (2, 2) => out.push((word >> 4) as u8),
        (3, 1) => out.extend_from_slice(&[(word >> 10) as u8, (word >> 2) as u8]),
        (_, 0) => return Err(group),
        _ => return Err(text.len()),
    }
    Ok(out)
}

/// Appends raw JSON as Go's encoder shows it: no white space outside of strings, HTML characters escaped.
/// Text that is not JSON (it can come in over protobuf) is written as `null`.
pub fn write_raw(raw: &[u8], out: &mut Vec<u8>) {
    let mut scanner = Scanner::new(raw);
    if scanner.skip().and_then(|()| scanner.finish()).is_err() {
        out.extend_from_slice(b"null");
        return;
    }
    let mut in_text = false;
    let mut at = 0;
    while let Some(&byte) = raw.get(at) {
        match byte {
            b'"' => in_text = !in_text,
            b'\\' => {
                // The scanner has seen a complete escape.
                out.push(byte);
                at += 1;
                out.push(raw[at]);
                at += 1;
                continue;
            }
            b' ' | b'\t' | b'\r' | b'\n' if !in_text => {
                at += 1;
                continue;
            }
            b'<' | b'>' | b'&' => {
                at = write_escape(raw, at, out);
                continue;
            }
            0xE2 if raw[at..].starts_with(b"\xE2\x80\xA8")
                || raw[at..].starts_with(b"\xE2\x80\xA9") =>
            {
                at = write_escape(raw, at, out);
                continue;
            }
            _ => {}
        }
        out.push(byte);
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn escapes_texts() {
        let text = "a<b>&\"\\\n\t\u{8}\u{c}\u{1}\u{7f}é\u{2028}\u{2029}\u{2027}";
        assert_eq!(
            made(|o| write_text(text, o)),
            "\"a\\u003cb\\u003e\\u0026\\\"\\\\\\n\\t\\b\\f\\u0001\u{7f}é\\u2028\\u2029\u{2027}\""
        );
    }

    #[test]
    fn prints_numbers_as_go() {
        for (value, text) in [
            (0.0, "0"),
            (1.0, "1"),
            (-0.5, "-0.5"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (1.5e-7, "1.5e-7"),
            (0.000001, "0.000001"),
            (f64::MAX, "1.7976931348623157e+308"),
            (5e-324, "5e-324"),
        ] {
            assert_eq!(made(|o| write_float(value, o)), text);
        }
        for value in [0, -1, 42, i64::MIN, i64::MAX] {
            assert_eq!(made(|o| write_int(value, o)), value.to_string());
        }
    }

    #[test]
    fn base64_round_trips() {
        for n in 0..40u8 {
            let bytes: Vec<u8> = (0..n).map(|b| b.wrapping_mul(37)).collect();
            let text = made(|o| push_base64(&bytes, o));
            assert_eq!(decode_base64(text.as_bytes()), Ok(bytes));
        }
        assert_eq!(decode_base64(b"Zm9v\nYg=="), Ok(b"foob".to_vec()));
        for bad in ["Zg", "Zg=", "=", "Zm9v=", "Z!==", "Zg==Zg=="] {
            assert!(decode_base64(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn compacts_raw_text() {
        assert_eq!(
            made(|o| write_raw(b" { \"a b\" : [ 1 , \"<\\\"x\" ] } ", o)),
            r#"{"a b":[1,"\u003c\"x"]}"#
        );
        assert_eq!(made(|o| write_raw(b"{", o)), "null");
    }
}
