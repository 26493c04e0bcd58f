//! Paths to fields as rules and selectors name them (`.spec.a['b']`), checked against a schema.

use corten_core::Value;

/// A path that leads somewhere.
pub(super) struct Found<'a> {
    /// As messages write it.
    pub path: String,
    /// Its first step.
    pub root: String,
    /// The schema it leads to.
    pub schema: Option<&'a Value>,
}

/// Checks a path.
pub(super) fn normalized<'a>(
    text: &str,
    schema: &'a Value,
    arrays: bool,
) -> Result<Found<'a>, String> {
    let tokens = tokens(text);
    let mut found = Found {
        path: String::new(),
        root: String::new(),
        schema: Some(schema),
    };
    let mut at = 0;
    let mut next = || {
        let token = tokens.get(at).cloned();
        at += 1;
        token
    };
    let end = || "unexpected end of JSON path".to_owned();
    while let Some(token) = next() {
        match token.as_str() {
            "." => {
                let name = next().ok_or_else(end)?;
                step(&mut found, &name)?;
            }
            "[" if !arrays => return Err("array notation is not allowed".into()),
            "[" => {
                let quoted = next().ok_or_else(end)?;
                let inner = quoted
                    .strip_prefix('\'')
                    .and_then(|q| q.strip_suffix('\''))
                    .filter(|_| quoted.len() >= 2)
                    .ok_or_else(|| format!("expected single quoted string but got {quoted}"))?;
                let name = unquoted(inner)?;
                step(&mut found, &name)?;
                let close = next().ok_or_else(end)?;
                if close != "]" {
                    return Err(format!("expected ] but got {close}"));
                }
            }
            other => return Err(format!("expected [ or . but got: {other}")),
        }
    }
    Ok(found)
}

fn step(found: &mut Found<'_>, name: &str) -> Result<(), String> {
    let wrong = || "does not refer to a valid field".to_owned();
    let schema = found.schema.ok_or_else(wrong)?;
    let properties = schema
        .get("properties")
        .filter(|p| p.as_map().is_some_and(|m| !m.is_empty()));
    if let Some(properties) = properties {
        found.schema = Some(properties.get(name).ok_or_else(wrong)?);
        if !found.path.is_empty() {
            found.path.push('.');
        }
        found.path += name;
    } else {
        let more = schema.get("additionalProperties").ok_or_else(wrong)?;
        found.schema = Some(more).filter(|m| m.as_map().is_some());
        found.path += &format!("[{name}]");
    }
    if found.root.is_empty() {
        found.root = name.to_owned();
    }
    Ok(())
}

fn tokens(text: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let end = match first {
            '.' | '[' | ']' => 1,
            '\'' => {
                let mut before = ' ';
                let close = rest.char_indices().skip(1).find(|(_, c)| {
                    let ends = *c == '\'' && before != '\\';
                    before = *c;
                    ends
                });
                close.map_or(rest.len(), |(i, _)| i + 1)
            }
            _ => rest.find(['.', '[', ']']).unwrap_or(rest.len()),
        };
        all.push(rest[..end].to_owned());
        rest = &rest[end..];
    }
    all
}

fn unquoted(text: &str) -> Result<String, String> {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        let Some(c) = chars.next() else {
            out.push('\\');
            break;
        };
        out.push(match c {
            'a' => '\u{7}',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\u{b}',
            '\'' | '\\' => c,
            other => {
                return Err(format!(
                    "invalid string literal: invalid escape char \\{other}"
                ));
            }
        });
    }
    Ok(out)
}
