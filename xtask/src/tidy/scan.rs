//! A small reader of Rust text: blanks comments and literals, then finds functions and test code.
//! It counts braces and needs no parser, so it also reads files that do not compile.

use std::ops::RangeInclusive;

/// A function found in a file.
#[derive(Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name, without path or generics.
    pub name: String,
    /// The line of `fn`, from 1.
    pub line: usize,
    /// Lines from `fn` to the closing brace.
    pub lines: usize,
}

/// The same text with comments, strings and character literals as spaces; newlines stay.
pub fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = match bytes[at] {
            b'/' if bytes.get(at + 1) == Some(&b'/') => line_end(bytes, at),
            b'/' if bytes.get(at + 1) == Some(&b'*') => block_comment_end(bytes, at),
            b'"' => string_end(bytes, at + 1),
            b'r' | b'b' | b'c' if !word_before(bytes, at) => match raw_string_end(bytes, at) {
                Some(end) => end,
                None => {
                    at += 1;
                    continue;
                }
            },
            b'\'' => match char_literal_end(bytes, at) {
                Some(end) => end,
                None => {
                    at += 1;
                    continue;
                }
            },
            _ => {
                at += 1;
                continue;
            }
        };
        for byte in &mut out[at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Every function with a body, in order; nested ones too.
pub fn functions(blanked: &str) -> Vec<Function> {
    let bytes = blanked.as_bytes();
    let mut found = Vec::new();
    for (at, _) in blanked.match_indices("fn ") {
        if word_before(bytes, at) {
            continue;
        }
        let name: String = blanked[at + 3..]
            .trim_start()
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect();
        let Some(open) = body_start(bytes, at) else {
            continue;
        };
        if name.is_empty() {
            continue;
        }
        let close = matching_brace(bytes, open);
        let lines = newlines(&bytes[at..close]) + 1;
        found.push(Function {
            name,
            line: newlines(&bytes[..at]) + 1,
            lines,
        });
    }
    found
}

/// Lines, from 1, of items under `#[cfg(test)]`.
pub fn test_lines(blanked: &str) -> Vec<RangeInclusive<usize>> {
    let bytes = blanked.as_bytes();
    let mut found = Vec::new();
    for (at, _) in blanked.match_indices("#[cfg(test)]") {
        if let Some(open) = body_start(bytes, at + "#[cfg(test)]".len()) {
            let close = matching_brace(bytes, open);
            found.push(newlines(&bytes[..at]) + 1..=newlines(&bytes[..close]) + 1);
        }
    }
    found
}

/// The first `{` outside parentheses and brackets, unless a `;` comes before it.
fn body_start(bytes: &[u8], from: usize) -> Option<usize> {
    let mut depth = 0i32;
    for (offset, byte) in bytes[from..].iter().enumerate() {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth -= 1,
            b'{' if depth == 0 => return Some(from + offset),
            b';' if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

fn matching_brace(bytes: &[u8], open: usize) -> usize {
    let mut depth = 0i32;
    for (offset, byte) in bytes[open..].iter().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return open + offset;
        }
    }
    bytes.len()
}

fn newlines(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte == b'\n').count()
}

fn word_before(bytes: &[u8], at: usize) -> bool {
    at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_')
}

fn line_end(bytes: &[u8], at: usize) -> usize {
    bytes[at..]
        .iter()
        .position(|byte| *byte == b'\n')
        .map_or(bytes.len(), |n| at + n)
}

fn block_comment_end(bytes: &[u8], at: usize) -> usize {
    let mut depth = 0;
    let mut here = at;
    while here + 1 < bytes.len() {
        match &bytes[here..here + 2] {
            b"/*" => {
                depth += 1;
                here += 2;
            }
            b"*/" => {
                depth -= 1;
                here += 2;
                if depth == 0 {
                    return here;
                }
            }
            _ => here += 1,
        }
    }
    bytes.len()
}

fn string_end(bytes: &[u8], from: usize) -> usize {
    let mut at = from;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// The end of `r"…"`, `r#"…"#`, `br"…"` or `b"…"` that starts here, if one does.
fn raw_string_end(bytes: &[u8], at: usize) -> Option<usize> {
    let mut here = at;
    if matches!(bytes[here], b'b' | b'c') {
        here += 1;
        if bytes.get(here) == Some(&b'"') {
            return Some(string_end(bytes, here + 1));
        }
    }
    if bytes.get(here) != Some(&b'r') {
        return None;
    }
    here += 1;
    let hashes = bytes[here..]
        .iter()
        .take_while(|byte| **byte == b'#')
        .count();
    here += hashes;
    if bytes.get(here) != Some(&b'"') {
        return None;
    }
    let close: Vec<u8> = std::iter::once(b'"')
        .chain(std::iter::repeat_n(b'#', hashes))
        .collect();
    let rest = &bytes[here + 1..];
    let found = rest.windows(close.len()).position(|window| window == close);
    Some(found.map_or(bytes.len(), |n| here + 1 + n + close.len()))
}

/// The end of a character literal that starts here; `None` for a lifetime.
fn char_literal_end(bytes: &[u8], at: usize) -> Option<usize> {
    if bytes.get(at + 1) == Some(&b'\\') {
        let close = bytes[at + 3..].iter().position(|byte| *byte == b'\'')?;
        return Some(at + 3 + close + 1);
    }
    let text = std::str::from_utf8(&bytes[at + 1..bytes.len().min(at + 6)])
        .or_else(|error| std::str::from_utf8(&bytes[at + 1..at + 1 + error.valid_up_to()]))
        .ok()?;
    let width = text.chars().next()?.len_utf8();
    (bytes.get(at + 1 + width) == Some(&b'\'')).then_some(at + width + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blank_and_lines_stay() {
        let text = "let a = \"fn x() {\"; // fn y() {\nlet b = 'x'; /* { /* } */ */ let c: &'a str = r#\"{\"#;\nlet d = b\"}\"; let e = '\\'';";
        let blanked = blank(text);
        assert_eq!(blanked.lines().count(), 3);
        assert!(!blanked.contains('{') && !blanked.contains('}'));
        assert!(blanked.contains("&'a str"));
    }

    #[test]
    fn functions_are_found_with_their_lengths() {
        let text = "fn one() {}\n\npub async fn two<T>(x: [u8; 4]) -> T\nwhere\n    T: Fn(u8) -> u8,\n{\n    x\n}\ntrait T { fn no_body(&self); }\ntype F = fn(u8);\n";
        let found = functions(&blank(text));
        let summary: Vec<(&str, usize, usize)> = found
            .iter()
            .map(|f| (f.name.as_str(), f.line, f.lines))
            .collect();
        assert_eq!(summary, [("one", 1, 1), ("two", 3, 6)]);
    }

    #[test]
    fn test_code_is_found() {
        let text = "fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\nfn c() {}\n#[cfg(test)]\nmod more;\n";
        assert_eq!(test_lines(&blank(text)), [2..=5]);
    }

    #[test]
    fn unbalanced_text_ends_at_the_file() {
        assert_eq!(functions("fn a() {\n{\n")[0].lines, 3);
        assert_eq!(blank("\"open").trim(), "");
    }
}
