//! Property names that are no identifiers, as expressions write them: `__dash__`, `__namespace__` and so on.

const RESERVED: [&str; 21] = [
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

const PARTS: [(&str, &str); 4] = [
    ("__", "__underscores__"),
    (".", "__dot__"),
    ("-", "__dash__"),
    ("/", "__slash__"),
];

/// Whether a word is one of the language.
pub fn is_reserved(word: &str) -> bool {
    RESERVED.contains(&word)
}

/// The identifier for a property name; none when no expression can name it.
pub fn escape(name: &str) -> Option<String> {
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    if is_reserved(name) {
        return Some(format!("__{name}__"));
    }
    let mut out = String::new();
    let mut rest = name;
    while let Some(c) = rest.chars().next() {
        if let Some((from, to)) = PARTS.iter().find(|(from, _)| rest.starts_with(from)) {
            out += to;
            rest = &rest[from.len()..];
        } else if c.is_ascii_alphanumeric() || c == '_' {
            out.push(c);
            rest = &rest[1..];
        } else {
            return None;
        }
    }
    Some(out)
}

/// The property name behind an identifier; none when it has an escape that means nothing.
pub fn unescape(identifier: &str) -> Option<String> {
    if !identifier.contains("__") {
        return Some(identifier.to_owned());
    }
    let mut out = String::new();
    let mut rest = identifier;
    while let Some(start) = rest.find("__") {
        // `__` + something without underscores + `__`
        let after = &rest[start + 2..];
        let end = after.find('_').unwrap_or(after.len());
        if end == 0 || !after[end..].starts_with("__") {
            let step = start + if end == 0 { 1 } else { 2 + end };
            let step = step.min(rest.len());
            out += &rest[..step];
            rest = &rest[step..];
            continue;
        }
        let word = &after[..end];
        out += &rest[..start];
        match PARTS.iter().find(|(_, to)| to.trim_matches('_') == word) {
            Some((from, _)) => out += from,
            None if is_reserved(word) && identifier.len() == word.len() + 4 => out += word,
            None => return None,
        }
        rest = &after[end + 2..];
    }
    out += rest;
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways() {
        for (name, escaped) in [
            ("true", "__true__"),
            ("namespace", "__namespace__"),
            ("istrue", "istrue"),
            ("a.b", "a__dot__b"),
            ("a-b/c", "a__dash__b__slash__c"),
            ("a__b", "a__underscores__b"),
            ("_if", "_if"),
            ("a_b", "a_b"),
            ("as_", "as_"),
        ] {
            assert_eq!(escape(name).as_deref(), Some(escaped), "{name}");
            assert_eq!(unescape(escaped).as_deref(), Some(name), "{escaped}");
        }
        for name in ["", "0a", "a$", "ä", "a b"] {
            assert_eq!(escape(name), None, "{name}");
        }
        for bad in ["__illegal__", "a__if__", "__dot__b__xx__"] {
            assert_eq!(unescape(bad), None, "{bad}");
        }
    }
}
