//! Field selectors: exact conditions on a few fields, as in `spec.nodeName=a,status.phase!=Failed`.

use crate::selector::SelectorError;
use corten_core::Str;
use std::fmt;

/// Conditions that must all be met.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector {
    terms: Vec<Term>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Term {
    field: Str,
    value: Str,
    equal: bool,
}

impl FieldSelector {
    /// What `fieldSelector=` of a request means; a backslash escapes `,`, `=` and itself.
    pub fn parse(text: &str) -> Result<FieldSelector, SelectorError> {
        let mut terms = Vec::new();
        let mut parts = split_terms(text);
        parts.sort_unstable();
        for part in parts.into_iter().filter(|p| !p.is_empty()) {
            let Some((field, raw, equal)) = split_term(part) else {
                return Err(SelectorError(format!(
                    "invalid selector: '{text}'; can't understand '{part}'"
                )));
            };
            let value = unescape(raw)?;
            // A term without field and value restricts nothing.
            if !field.is_empty() || !value.is_empty() {
                terms.push(Term {
                    field: field.into(),
                    value: value.into(),
                    equal,
                });
            }
        }
        Ok(FieldSelector { terms })
    }

    /// `field=value`.
    pub fn exact(field: impl Into<Str>, value: impl Into<Str>) -> FieldSelector {
        FieldSelector {
            terms: vec![Term {
                field: field.into(),
                value: value.into(),
                equal: true,
            }],
        }
    }

    /// Whether an object is selected; `look_up` gives the value of a field, empty when the object has none.
    pub fn matches<'a>(&self, look_up: impl Fn(&str) -> &'a str) -> bool {
        self.terms
            .iter()
            .all(|t| (look_up(&t.field) == t.value.as_str()) == t.equal)
    }

    /// No restriction at all.
    pub fn is_everything(&self) -> bool {
        self.terms.is_empty()
    }

    /// The value that `field` must have, when a term says so.
    pub fn required(&self, field: &str) -> Option<&str> {
        self.terms
            .iter()
            .find(|t| t.equal && t.field == field)
            .map(|t| t.value.as_str())
    }

    /// The terms: field, value, and whether they must be equal.
    pub fn terms(&self) -> impl Iterator<Item = (&str, &str, bool)> {
        let terms = self.terms.iter();
        terms.map(|t| (t.field.as_str(), t.value.as_str(), t.equal))
    }

    /// The fields that the terms speak of.
    pub fn fields(&self) -> impl Iterator<Item = &str> {
        self.terms.iter().map(|t| t.field.as_str())
    }
}

fn split_terms(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b',' => {
                parts.push(&text[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn split_term(part: &str) -> Option<(&str, &str, bool)> {
    for (index, _) in part.char_indices() {
        let rest = &part[index..];
        for (symbol, equal) in [("!=", false), ("==", true), ("=", true)] {
            if let Some(value) = rest.strip_prefix(symbol) {
                return Some((&part[..index], value, equal));
            }
        }
    }
    None
}

fn unescape(raw: &str) -> Result<String, SelectorError> {
    let mut value = String::with_capacity(raw.len());
    let mut chars = raw.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(next @ ('\\' | ',' | '=')) => value.push(next),
                Some(next) => {
                    return Err(SelectorError(format!(
                        "invalid field selector: invalid escape sequence: \\{next}"
                    )));
                }
                None => {
                    return Err(SelectorError(
                        "invalid field selector: invalid escape sequence: \\".to_owned(),
                    ));
                }
            },
            ',' | '=' => {
                return Err(SelectorError(format!(
                    "invalid field selector: unescaped character in value: {}",
                    c as u32
                )));
            }
            other => value.push(other),
        }
    }
    Ok(value)
}

fn escape(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace(',', "\\,")
        .replace('=', "\\=")
}

impl fmt::Display for FieldSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, term) in self.terms.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            let operator = if term.equal { "=" } else { "!=" };
            write!(f, "{comma}{}{operator}{}", term.field, escape(&term.value))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_matches_and_prints() {
        let selector = FieldSelector::parse("spec.nodeName=a,status.phase!=Failed").unwrap();
        let look_up = |field: &str| match field {
            "spec.nodeName" => "a",
            _ => "Running",
        };
        assert!(selector.matches(look_up));
        assert_eq!(selector.required("spec.nodeName"), Some("a"));
        assert_eq!(selector.to_string(), "spec.nodeName=a,status.phase!=Failed");
        assert_eq!(
            FieldSelector::parse("a=b\\,c").unwrap().to_string(),
            "a=b\\,c"
        );
    }

    #[test]
    fn refuses_in_upstreams_words() {
        let error = FieldSelector::parse("x").unwrap_err().to_string();
        assert_eq!(error, "invalid selector: 'x'; can't understand 'x'");
    }
}
