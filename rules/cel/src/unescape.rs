//! The value of a text or bytes literal: prefixes, quotes and escapes.

/// What a literal stands for.
pub(crate) enum Unescaped {
    Str(String),
    Bytes(Vec<u8>),
}

/// Reads a literal as written, quotes included.
pub(crate) fn unescape(text: &str, is_bytes: bool) -> Result<Unescaped, &'static str> {
    let mut rest = text;
    let mut raw = false;
    while let Some(c) = rest.chars().next() {
        match c {
            'r' | 'R' => raw = true,
            'b' | 'B' => {}
            _ => break,
        }
        rest = &rest[1..];
    }
    let body = ["\"\"\"", "'''"]
        .iter()
        .find_map(|q| {
            rest.strip_prefix(q)
                .and_then(|r| r.strip_suffix(q))
                .filter(|_| rest.len() >= 6)
        })
        .unwrap_or_else(|| &rest[1..rest.len() - 1]);
    let body = body.replace("\r\n", "\n").replace('\r', "\n");
    let mut out = Out {
        text: String::new(),
        bytes: Vec::new(),
        is_bytes,
    };
    if raw || !body.contains('\\') {
        for c in body.chars() {
            out.push(c);
        }
        return Ok(out.done());
    }
    let mut chars = body.chars();
    while let Some(c) = chars.next() {
        if c == '\\' {
            escape(&mut chars, &mut out)?;
        } else {
            out.push(c);
        }
    }
    Ok(out.done())
}

struct Out {
    text: String,
    bytes: Vec<u8>,
    is_bytes: bool,
}

impl Out {
    fn push(&mut self, c: char) {
        if self.is_bytes {
            self.bytes
                .extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        } else {
            self.text.push(c);
        }
    }
    fn done(self) -> Unescaped {
        if self.is_bytes {
            Unescaped::Bytes(self.bytes)
        } else {
            Unescaped::Str(self.text)
        }
    }
}

fn escape(chars: &mut std::str::Chars<'_>, out: &mut Out) -> Result<(), &'static str> {
    let c = chars
        .next()
        .ok_or("unable to unescape string, found '\\' as last character")?;
    let (radix, count) = match c {
        'a' => return push(out, '\u{7}'),
        'b' => return push(out, '\u{8}'),
        'f' => return push(out, '\u{c}'),
        'n' => return push(out, '\n'),
        'r' => return push(out, '\r'),
        't' => return push(out, '\t'),
        'v' => return push(out, '\u{b}'),
        '\\' | '\'' | '"' | '`' | '?' => return push(out, c),
        'x' | 'X' => (16, 2),
        'u' => (16, 4),
        'U' => (16, 8),
        '0'..='3' => (8, 2),
        '4'..='7' => return Err("unable to unescape octal sequence in string"),
        _ => return Err("unable to unescape string"),
    };
    if out.is_bytes && matches!(c, 'u' | 'U') {
        return Err("unable to unescape string");
    }
    let mut value = if radix == 8 {
        c.to_digit(8).unwrap_or(0)
    } else {
        0
    };
    for _ in 0..count {
        let digit = chars
            .next()
            .and_then(|d| d.to_digit(radix))
            .ok_or(if radix == 8 {
                "unable to unescape octal sequence in string"
            } else {
                "unable to unescape string"
            })?;
        value = value.wrapping_mul(radix).wrapping_add(digit);
    }
    if out.is_bytes && matches!(c, 'x' | 'X' | '0'..='3') {
        out.bytes.push(value as u8);
        return Ok(());
    }
    push(
        out,
        char::from_u32(value).ok_or("unable to unescape string")?,
    )
}

fn push(out: &mut Out, c: char) -> Result<(), &'static str> {
    out.push(c);
    Ok(())
}
