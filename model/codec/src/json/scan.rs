//! The JSON scanner: positions in a byte slice, texts, numbers and skipped values, with Go's rules and messages.
//! Invariant: whatever it accepts or rejects as syntax, Go's `encoding/json` does too; invalid UTF-8 becomes U+FFFD.
//! Leaves out what values mean: typed and dynamic decoders drive it.

use super::SyntaxError;
use std::borrow::Cow;

/// Nesting that is skipped over; Go refuses deeper documents.
const SKIP_DEPTH_MAX: usize = 10_000;

/// A position in JSON text.
pub(crate) struct Scanner<'a> {
    src: &'a [u8],
    at: usize,
}

type Scan<T> = Result<T, SyntaxError>;

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// Marks, in the high bit of each byte, the bytes that end the fast run through a string:
/// the quote, the backslash, controls and anything beyond ASCII. The lowest mark is exact.
#[inline]
fn special_bytes(word: u64) -> u64 {
    let quote = word ^ (ONES * b'"' as u64);
    let slash = word ^ (ONES * b'\\' as u64);
    let found = (quote.wrapping_sub(ONES) & !quote)
        | (slash.wrapping_sub(ONES) & !slash)
        | (word.wrapping_sub(ONES * 0x20) & !word)
        | word;
    found & HIGHS
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(src: &'a [u8]) -> Scanner<'a> {
        Scanner { src, at: 0 }
    }

    /// Offset of the next byte.
    #[inline]
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// The bytes from `start` to here.
    #[inline]
    pub(crate) fn since(&self, start: usize) -> &'a [u8] {
        &self.src[start..self.at]
    }

    /// Skips white space and shows the next byte; 0 at the end.
    #[inline]
    pub(crate) fn peek(&mut self) -> u8 {
        loop {
            match self.src.get(self.at) {
                Some(b' ' | b'\t' | b'\r' | b'\n') => self.at += 1,
                Some(&byte) => return byte,
                None => return 0,
            }
        }
    }

    /// Steps over the byte just peeked.
    #[inline]
    pub(crate) fn step(&mut self) {
        self.at += 1;
    }

    /// The error for the byte at hand.
    #[cold]
    pub(crate) fn bad(&self, context: &str) -> SyntaxError {
        match self.src.get(self.at) {
            None => SyntaxError::new("unexpected end of JSON input".into()),
            Some(&byte) => {
                SyntaxError::new(format!("invalid character {} {context}", quote_char(byte)))
            }
        }
    }

    #[cold]
    pub(crate) fn too_deep(&self) -> SyntaxError {
        self.bad("exceeded max depth")
    }

    /// Requires that only white space is left.
    pub(crate) fn finish(&mut self) -> Scan<()> {
        self.peek();
        if self.at < self.src.len() {
            Err(self.bad("after top-level value"))
        } else {
            Ok(())
        }
    }

    /// At `{` or after a member: true with the scanner on a key's quote, false past `}`.
    #[inline]
    pub(crate) fn next_member(&mut self, first: bool) -> Scan<bool> {
        let mut byte = self.peek();
        if byte == b'}' {
            self.at += 1;
            return Ok(false);
        }
        if !first {
            if byte != b',' {
                return Err(self.bad("after object key:value pair"));
            }
            self.at += 1;
            byte = self.peek();
        }
        if byte != b'"' {
            return Err(self.bad("looking for beginning of object key string"));
        }
        Ok(true)
    }

    /// After a key: past the colon.
    #[inline]
    pub(crate) fn colon(&mut self) -> Scan<()> {
        if self.peek() != b':' {
            return Err(self.bad("after object key"));
        }
        self.at += 1;
        Ok(())
    }

    /// After `[` or an element: true before an element, false past `]`.
    #[inline]
    pub(crate) fn next_element(&mut self, first: bool) -> Scan<bool> {
        let byte = self.peek();
        if byte == b']' {
            self.at += 1;
            return Ok(false);
        }
        if first {
            return Ok(true);
        }
        if byte != b',' {
            return Err(self.bad("after array element"));
        }
        self.at += 1;
        Ok(true)
    }

    /// Runs over plain bytes to the next special one. The scanner stands after the opening quote.
    #[inline]
    fn run(&mut self) {
        while let Some(chunk) = self.src.get(self.at..self.at + 8) {
            let word = u64::from_le_bytes(chunk.try_into().expect("eight bytes"));
            let found = special_bytes(word);
            if found != 0 {
                self.at += (found.trailing_zeros() / 8) as usize;
                return;
            }
            self.at += 8;
        }
        while let Some(&byte) = self.src.get(self.at) {
            if byte == b'"' || byte == b'\\' || !(0x20..0x80).contains(&byte) {
                return;
            }
            self.at += 1;
        }
    }

    /// The bytes of a text (the scanner is on its quote): borrowed when it has no escapes.
    #[inline]
    pub(crate) fn key(&mut self) -> Scan<Cow<'a, [u8]>> {
        self.at += 1;
        let start = self.at;
        self.run();
        if self.src.get(self.at) == Some(&b'"') {
            let bytes = &self.src[start..self.at];
            self.at += 1;
            return Ok(Cow::Borrowed(bytes));
        }
        self.slow_text(start).map(|text| match text {
            Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        })
    }

    /// A text (the scanner is on its quote): borrowed when it has no escapes.
    #[inline]
    pub(crate) fn text(&mut self) -> Scan<Cow<'a, str>> {
        self.at += 1;
        let start = self.at;
        self.run();
        if self.src.get(self.at) == Some(&b'"') {
            let bytes = &self.src[start..self.at];
            self.at += 1;
            // The run stops at every byte beyond ASCII, so this cannot fail.
            return Ok(Cow::Borrowed(
                std::str::from_utf8(bytes).unwrap_or_default(),
            ));
        }
        self.slow_text(start)
    }

    /// Finds the end of a text with escapes or bytes beyond ASCII, checks its syntax and decodes it.
    fn slow_text(&mut self, start: usize) -> Scan<Cow<'a, str>> {
        let mut escaped = false;
        loop {
            self.run();
            match self.src.get(self.at) {
                None => return Err(self.bad("")),
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    self.at += 1;
                    self.escape()?;
                }
                Some(0x80..) => self.at += 1,
                Some(_) => return Err(self.bad("in string literal")),
            }
        }
        let raw = &self.src[start..self.at];
        self.at += 1;
        match std::str::from_utf8(raw) {
            Ok(text) if !escaped => Ok(Cow::Borrowed(text)),
            _ => Ok(Cow::Owned(unescape(raw))),
        }
    }

    fn escape(&mut self) -> Scan<()> {
        match self.src.get(self.at) {
            Some(b'b' | b'f' | b'n' | b'r' | b't' | b'\\' | b'/' | b'"') => self.at += 1,
            Some(b'u') => {
                self.at += 1;
                for _ in 0..4 {
                    if !self.src.get(self.at).is_some_and(u8::is_ascii_hexdigit) {
                        return Err(self.bad("in \\u hexadecimal character escape"));
                    }
                    self.at += 1;
                }
            }
            _ => return Err(self.bad("in string escape code")),
        }
        Ok(())
    }

    /// The text of a number (the scanner is on its first byte).
    #[inline]
    pub(crate) fn number(&mut self) -> Scan<&'a str> {
        let start = self.at;
        if self.src[self.at] == b'-' {
            self.at += 1;
        }
        match self.src.get(self.at) {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits(),
            _ => return Err(self.bad("in numeric literal")),
        }
        if self.src.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.some_digits("after decimal point in numeric literal")?;
        }
        if let Some(b'e' | b'E') = self.src.get(self.at) {
            self.at += 1;
            if let Some(b'+' | b'-') = self.src.get(self.at) {
                self.at += 1;
            }
            self.some_digits("in exponent of numeric literal")?;
        }
        Ok(std::str::from_utf8(&self.src[start..self.at]).unwrap_or_default())
    }

    #[inline]
    fn digits(&mut self) {
        while self.src.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
    }

    fn some_digits(&mut self, context: &str) -> Scan<()> {
        if !self.src.get(self.at).is_some_and(u8::is_ascii_digit) {
            return Err(self.bad(context));
        }
        self.digits();
        Ok(())
    }

    /// Steps over `true`, `false` or `null` (the scanner is on the first byte).
    #[inline]
    pub(crate) fn literal(&mut self, word: &'static str) -> Scan<()> {
        if self.src[self.at..].starts_with(word.as_bytes()) {
            self.at += word.len();
            return Ok(());
        }
        Err(self.bad_literal(word))
    }

    #[cold]
    fn bad_literal(&mut self, word: &'static str) -> SyntaxError {
        for expected in word.bytes() {
            if self.src.get(self.at) != Some(&expected) {
                let context = format!("in literal {word} (expecting '{}')", char::from(expected));
                return self.bad(&context);
            }
            self.at += 1;
        }
        self.bad("")
    }

    /// Steps over one value of any kind, checking its syntax. Not recursive.
    pub(crate) fn skip(&mut self) -> Scan<()> {
        // One entry per open container: whether it is an object.
        let mut open: Vec<bool> = Vec::new();
        loop {
            let opened = self.skip_start(&mut open)?;
            let mut first = opened;
            // Close what ends here and stop before the next value.
            loop {
                let Some(&object) = open.last() else {
                    return Ok(());
                };
                let more = if object {
                    self.next_member(first)?
                } else {
                    self.next_element(first)?
                };
                first = false;
                if more {
                    if object {
                        self.key()?;
                        self.colon()?;
                    }
                    break;
                }
                open.pop();
            }
        }
    }

    /// Steps over a scalar, or opens a container and says so.
    fn skip_start(&mut self, open: &mut Vec<bool>) -> Scan<bool> {
        let byte = self.peek();
        match byte {
            b'{' | b'[' => {
                if open.len() >= SKIP_DEPTH_MAX {
                    return Err(self.too_deep());
                }
                open.push(byte == b'{');
                self.at += 1;
                return Ok(true);
            }
            b'"' => drop(self.key()?),
            b'-' | b'0'..=b'9' => drop(self.number()?),
            b't' => self.literal("true")?,
            b'f' => self.literal("false")?,
            b'n' => self.literal("null")?,
            _ => return Err(self.bad("looking for beginning of value")),
        }
        Ok(false)
    }
}

/// Decodes escapes; lone surrogates and each byte that is not UTF-8 become U+FFFD, as in Go.
fn unescape(raw: &[u8]) -> String {
    let mut out = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(&byte) = rest.first() {
        match byte {
            b'\\' => rest = unescape_one(rest, &mut out),
            0x00..0x80 => {
                out.push(char::from(byte));
                rest = &rest[1..];
            }
            _ => {
                let (decoded, length) = decode_char(rest);
                out.push(decoded);
                rest = &rest[length..];
            }
        }
    }
    out
}

/// The character at the start and its length; a byte that starts none is U+FFFD of length 1.
pub(crate) fn decode_char(bytes: &[u8]) -> (char, usize) {
    let length = match bytes.first() {
        Some(0xC2..=0xDF) => 2,
        Some(0xE0..=0xEF) => 3,
        Some(0xF0..=0xF4) => 4,
        _ => 1,
    };
    bytes
        .get(..length)
        .and_then(|b| std::str::from_utf8(b).ok())
        .and_then(|s| s.chars().next())
        .map_or((char::REPLACEMENT_CHARACTER, 1), |c| (c, length))
}

fn unescape_one<'r>(rest: &'r [u8], out: &mut String) -> &'r [u8] {
    let plain = match rest.get(1) {
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        Some(b'u') => {
            let first = code_unit(rest).unwrap_or(0xFFFD);
            let tail = &rest[6.min(rest.len())..];
            if let Some(second) = code_unit(tail)
                && let Some(Ok(pair)) = char::decode_utf16([first, second]).next()
                && pair > '\u{FFFF}'
            {
                out.push(pair);
                return &tail[6..];
            }
            out.push(char::from_u32(u32::from(first)).unwrap_or(char::REPLACEMENT_CHARACTER));
            return tail;
        }
        Some(&other) => char::from(other),
        None => return &[],
    };
    out.push(plain);
    &rest[2..]
}

/// The value of a `\uXXXX` at the start.
fn code_unit(text: &[u8]) -> Option<u16> {
    let digits = text.strip_prefix(b"\\u")?.get(..4)?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// A byte as Go prints it in messages: the character with that code point, in single quotes.
fn quote_char(byte: u8) -> String {
    match byte {
        b'\'' => r"'\''".into(),
        b'"' => "'\"'".into(),
        _ => {
            let quoted = super::quote(&char::from(byte).to_string());
            format!("'{}'", &quoted[1..quoted.len() - 1])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn skip(text: &str) -> Result<usize, String> {
        let mut s = Scanner::new(text.as_bytes());
        s.skip()
            .and_then(|()| s.finish())
            .map(|()| s.at())
            .map_err(|e| e.to_string())
    }

    #[test]
    fn accepts_what_go_accepts() {
        for text in [
            "{}",
            "[]",
            " null ",
            "-0",
            "1.5e+10",
            r#"{"a":[1,{"b":"\u00e9\n"}],"c":true}"#,
            "\"\u{7f}é\"",
        ] {
            assert!(skip(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn words_errors_as_go() {
        for (text, message) in [
            ("", "unexpected end of JSON input"),
            ("{", "unexpected end of JSON input"),
            (
                "{a",
                "invalid character 'a' looking for beginning of object key string",
            ),
            (r#"{"a"1"#, "invalid character '1' after object key"),
            (
                r#"{"a":1 "b""#,
                "invalid character '\"' after object key:value pair",
            ),
            (
                r#"{"a":1,}"#,
                "invalid character '}' looking for beginning of object key string",
            ),
            ("[1 2]", "invalid character '2' after array element"),
            (
                "[1,]",
                "invalid character ']' looking for beginning of value",
            ),
            ("tru", "unexpected end of JSON input"),
            (
                "trux",
                "invalid character 'x' in literal true (expecting 'e')",
            ),
            ("01", "invalid character '1' after top-level value"),
            (
                "1.x",
                "invalid character 'x' after decimal point in numeric literal",
            ),
            (
                "1ex",
                "invalid character 'x' in exponent of numeric literal",
            ),
            ("-x", "invalid character 'x' in numeric literal"),
            ("\"\n\"", "invalid character '\\n' in string literal"),
            (r#""\x""#, "invalid character 'x' in string escape code"),
            (
                r#""\u12g4""#,
                "invalid character 'g' in \\u hexadecimal character escape",
            ),
            ("{} x", "invalid character 'x' after top-level value"),
            (
                "'",
                "invalid character '\\'' looking for beginning of value",
            ),
            ("é", "invalid character 'Ã' looking for beginning of value"),
        ] {
            assert_eq!(skip(text).unwrap_err(), message, "{text}");
        }
    }

    #[test]
    fn depth_is_bounded() {
        assert!(skip(&("[".repeat(10_000) + &"]".repeat(10_000))).is_ok());
        assert!(
            skip(&"[".repeat(10_001))
                .unwrap_err()
                .contains("exceeded max depth")
        );
    }

    fn text(raw: &[u8]) -> String {
        Scanner::new(raw).text().unwrap().into_owned()
    }

    #[test]
    fn decodes_texts_as_go() {
        assert_eq!(text(br#""a\u0041\n\/\"""#), "aA\n/\"");
        assert_eq!(text(br#""\ud83d\ude00""#), "\u{1F600}");
        assert_eq!(text(br#""\ud83dx""#), "\u{FFFD}x");
        assert_eq!(text(br#""\ud83d\u0041""#), "\u{FFFD}A");
        assert_eq!(text(b"\"a\xff\xc3\""), "a\u{FFFD}\u{FFFD}");
        assert_eq!(text(b"\"\xe2\x82\""), "\u{FFFD}\u{FFFD}");
        assert_eq!(text("\"0123456789é\"".as_bytes()), "0123456789é");
    }
}
