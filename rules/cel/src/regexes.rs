//! Regular expressions: Go's syntax on this side's engine, with its size bounded. Constant ones are compiled once.

use std::collections::BTreeMap;

use regex::{Regex, RegexBuilder};

use crate::ast::{Expr, Kind, Literal};
use crate::env::each_child;

/// Compiles a regular expression of Go's syntax.
///
/// # Errors
/// Why it is none, in Go's words where they are known.
pub fn compile(pattern: &str) -> Result<Regex, String> {
    if let Some(count) = repeat_too_large(pattern) {
        return Err(format!(
            "error parsing regexp: invalid repeat count: `{count}`"
        ));
    }
    RegexBuilder::new(&translated(pattern))
        .size_limit(10 << 20)
        .unicode(true)
        .build()
        .map_err(|error| {
            let error = error.to_string();
            let why = [
                ("unclosed group", "missing closing ): "),
                ("unopened group", "unexpected ): "),
                ("unclosed character class", "missing closing ]: "),
                (
                    "repetition operator missing",
                    "missing argument to repetition operator: ",
                ),
            ];
            let found = why.iter().find(|(text, _)| error.contains(text));
            let why = found.map_or("invalid syntax: ", |(_, why)| why);
            format!("error parsing regexp: {why}`{pattern}`")
        })
}

/// A repetition of more than a thousand, which Go refuses.
fn repeat_too_large(pattern: &str) -> Option<&str> {
    pattern.match_indices('{').find_map(|(start, _)| {
        let end = start + pattern[start..].find('}')?;
        let counts = &pattern[start + 1..end];
        let large = |n: &str| n.parse::<u64>().is_ok_and(|n| n > 1000);
        counts.split(',').any(large).then(|| &pattern[start..=end])
    })
}

/// A Go pattern as this engine's: Perl classes are ASCII there, and brackets inside classes mean themselves.
fn translated(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 16);
    let mut rest = pattern;
    let mut class = false;
    while let Some(c) = rest.chars().next() {
        let after = &rest[c.len_utf8()..];
        rest = after;
        match c {
            '\\' => rest = escaped(after, class, &mut out),
            '[' if !class => {
                class = true;
                out.push('[');
                for first in ["^", "]"] {
                    if rest.starts_with(first) {
                        out += if first == "]" { "\\]" } else { "^" };
                        rest = &rest[1..];
                    }
                }
            }
            '[' if after.starts_with(':') && after.contains(":]") => {
                let end = after.find(":]").map_or(0, |i| i + 2);
                out.push('[');
                out += &after[..end];
                rest = &after[end..];
            }
            '[' | '&' | '~' if class => {
                out.push('\\');
                out.push(c);
            }
            '-' if class && after.starts_with('-') => out += "\\-",
            ']' => {
                // Outside a class it means itself.
                out += if class { "]" } else { "\\]" };
                class = false;
            }
            _ => out.push(c),
        }
    }
    out
}

/// What follows a backslash; answers what is left.
fn escaped<'a>(rest: &'a str, class: bool, out: &mut String) -> &'a str {
    let Some(c) = rest.chars().next() else {
        out.push('\\');
        return rest;
    };
    let after = &rest[c.len_utf8()..];
    let inside = match c {
        'd' | 'D' => "0-9",
        'w' | 'W' => "0-9A-Za-z_",
        's' | 'S' => "\\t\\n\\f\\r ",
        'b' if !class => {
            *out += "(?-u:\\b)";
            return after;
        }
        'Q' => {
            let quoted = after.split("\\E").next().unwrap_or("");
            *out += &regex::escape(quoted);
            let left = &after[quoted.len()..];
            return left.strip_prefix("\\E").unwrap_or(left);
        }
        _ => {
            out.push('\\');
            out.push(c);
            return after;
        }
    };
    if c.is_ascii_uppercase() {
        *out += "[^";
        *out += inside;
        out.push(']');
    } else if class {
        *out += inside;
    } else {
        out.push('[');
        *out += inside;
        out.push(']');
    }
    after
}

/// All constant patterns of an expression.
pub(crate) fn constants(root: &Expr) -> BTreeMap<String, Regex> {
    let mut found = BTreeMap::new();
    collect(root, &mut found);
    found
}

fn collect(expr: &Expr, found: &mut BTreeMap<String, Regex>) {
    if let Kind::Call { function, args, .. } = &expr.kind
        && matches!(function.as_str(), "matches" | "find" | "findAll")
    {
        for arg in args {
            if let Kind::Literal(Literal::Str(pattern)) = &arg.kind
                && let Ok(regex) = compile(pattern)
            {
                found.insert(pattern.clone(), regex);
            }
        }
    }
    each_child(expr, &mut |child| collect(child, found));
}

/// Constant patterns that are none: a program with them cannot be made.
pub(crate) fn wrong(expr: &Expr) -> Option<String> {
    let mut found = None;
    if let Kind::Call {
        function,
        args,
        target: Some(_),
    } = &expr.kind
        && matches!(function.as_str(), "find" | "findAll")
        && let Some(Expr {
            kind: Kind::Literal(Literal::Str(pattern)),
            ..
        }) = args.first()
    {
        found = compile(pattern).err();
    }
    if found.is_none() {
        found = crate::eval::constant_error(expr);
    }
    each_child(expr, &mut |child| {
        if found.is_none() {
            found = wrong(child);
        }
    });
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_syntax() {
        for (pattern, text, matches) in [
            (r"^[\w-]+$", "a-b", true),
            (r"^[\w.-]+$", "a.b", true),
            (r"^\d+$", "\u{661}", false),
            (r"^[[]$", "[", true),
            (r"^[a&&b]$", "&", true),
            (r"^[[:alpha:]_]$", "_", true),
            (r"^\Qa.b\E$", "axb", false),
            (r"^[^\s]$", "x", true),
            (r"\bfoo\b", "a foo b", true),
            (r"^a]$", "a]", true),
        ] {
            assert_eq!(
                compile(pattern).unwrap().is_match(text),
                matches,
                "{pattern}"
            );
        }
        assert!(compile("a(").is_err());
    }
}
