//! Functions on texts. Positions count code points.

use crate::val::{ListVal, Val};

type Made<'a> = Result<Val<'a>, String>;

fn out_of_range(index: i64) -> String {
    format!("index out of range: {index}")
}

/// Calls a member function on a text; none when there is no such function.
pub(crate) fn member<'a>(function: &str, text: &str, args: &[Val<'a>]) -> Option<Made<'a>> {
    let string = |i: usize| args.get(i).and_then(Val::as_str);
    let int = |i: usize| match args.get(i) {
        Some(Val::Int(v)) => Some(*v),
        _ => None,
    };
    Some(match (function, args.len()) {
        ("contains", 1) => Ok(Val::Bool(text.contains(string(0)?))),
        ("startsWith", 1) => Ok(Val::Bool(text.starts_with(string(0)?))),
        ("endsWith", 1) => Ok(Val::Bool(text.ends_with(string(0)?))),
        ("charAt", 1) => char_at(text, int(0)?),
        ("indexOf", 1) => index_of(text, string(0)?, 0),
        ("indexOf", 2) => index_of(text, string(0)?, int(1)?),
        ("lastIndexOf", 1) => last_index_of(text, string(0)?, None),
        ("lastIndexOf", 2) => last_index_of(text, string(0)?, Some(int(1)?)),
        ("lowerAscii", 0) => Ok(Val::text(text.to_ascii_lowercase())),
        ("upperAscii", 0) => Ok(Val::text(text.to_ascii_uppercase())),
        ("trim", 0) => Ok(Val::text(text.trim())),
        ("replace", 2) => replace(text, string(0)?, string(1)?, -1),
        ("replace", 3) => replace(text, string(0)?, string(1)?, int(2)?),
        ("split", 1) => Ok(split(text, string(0)?, -1)),
        ("split", 2) => Ok(split(text, string(0)?, int(1)?)),
        ("substring", 1) => {
            let from = int(0)?;
            substring(text, from, None)
        }
        ("substring", 2) => substring(text, int(0)?, Some(int(1)?)),
        _ => return None,
    })
}

fn char_at<'a>(text: &str, index: i64) -> Made<'a> {
    let at = usize::try_from(index).map_err(|_| out_of_range(index))?;
    match text.chars().nth(at) {
        Some(c) => Ok(Val::text(c.to_string())),
        None if at == text.chars().count() => Ok(Val::text("")),
        None => Err(out_of_range(index)),
    }
}

fn index_of<'a>(text: &str, part: &str, offset: i64) -> Made<'a> {
    if part.is_empty() {
        return Ok(Val::Int(offset));
    }
    let at = usize::try_from(offset).map_err(|_| out_of_range(offset))?;
    let Some((byte, _)) = text.char_indices().nth(at) else {
        return Ok(Val::Int(-1));
    };
    let found = text[byte..].find(part);
    Ok(Val::Int(found.map_or(-1, |i| {
        offset + text[byte..byte + i].chars().count() as i64
    })))
}

fn last_index_of<'a>(text: &str, part: &str, offset: Option<i64>) -> Made<'a> {
    let count = text.chars().count();
    if part.is_empty() {
        return Ok(Val::Int(offset.unwrap_or(count as i64)));
    }
    if offset.is_none() && text.len() < part.len() {
        return Ok(Val::Int(-1));
    }
    let offset = offset.unwrap_or(count as i64 - 1);
    let at = usize::try_from(offset).map_err(|_| out_of_range(offset))?;
    let length = part.chars().count();
    if at >= count || count < length {
        return Ok(Val::Int(-1));
    }
    let at = at.min(count - length);
    let end = text
        .char_indices()
        .nth(at + length)
        .map_or(text.len(), |(byte, _)| byte);
    let found = text[..end].rfind(part);
    Ok(Val::Int(
        found.map_or(-1, |i| text[..i].chars().count() as i64),
    ))
}

fn replace<'a>(text: &str, old: &str, new: &str, count: i64) -> Made<'a> {
    Ok(Val::text(match usize::try_from(count) {
        Ok(count) => text.replacen(old, new, count),
        Err(_) => text.replace(old, new),
    }))
}

fn split<'a>(text: &str, separator: &str, count: i64) -> Val<'a> {
    let count = match count {
        0 => return Val::list(Vec::new()),
        n => usize::try_from(n).unwrap_or(usize::MAX),
    };
    let parts: Vec<String> = if separator.is_empty() {
        let mut chars = text.chars();
        let mut parts = Vec::new();
        while parts.len() + 1 < count {
            match chars.next() {
                Some(c) => parts.push(c.to_string()),
                None => break,
            }
        }
        if !chars.as_str().is_empty() {
            parts.push(chars.as_str().to_owned());
        }
        parts
    } else {
        text.splitn(count, separator).map(str::to_owned).collect()
    };
    Val::list(parts.into_iter().map(Val::text).collect())
}

fn substring<'a>(text: &str, from: i64, to: Option<i64>) -> Made<'a> {
    let count = text.chars().count() as i64;
    let end = to.unwrap_or(count);
    if to.is_some() && from > end {
        return Err(format!(
            "invalid substring range. start: {from}, end: {end}"
        ));
    }
    for index in [from, end] {
        if index < 0 || index > count {
            return Err(out_of_range(index));
        }
    }
    let taken: String = text
        .chars()
        .skip(from as usize)
        .take((end - from) as usize)
        .collect();
    Ok(Val::text(taken))
}

/// All texts of a list as one.
pub(crate) fn join<'a>(list: &ListVal<'a>, separator: &str) -> Made<'a> {
    let mut out = String::new();
    for (i, element) in list.all()?.iter().enumerate() {
        if i > 0 {
            out += separator;
        }
        out += element
            .as_str()
            .ok_or_else(|| format!("join: invalid input: {}", crate::convert::shown(element)))?;
    }
    Ok(Val::text(out))
}

/// A text in double quotes, escaped as literals are.
pub(crate) fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '\u{7}' => out += "\\a",
            '\u{8}' => out += "\\b",
            '\u{c}' => out += "\\f",
            '\n' => out += "\\n",
            '\r' => out += "\\r",
            '\t' => out += "\\t",
            '\u{b}' => out += "\\v",
            '\\' => out += "\\\\",
            '"' => out += "\\\"",
            c => out.push(c),
        }
    }
    out + "\""
}
