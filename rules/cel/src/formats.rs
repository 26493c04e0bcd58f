//! Named formats (`format.dns1123Label()`), and base64.

use corten_meta::labels;

/// A format that texts are validated against.
#[derive(Debug)]
pub struct NamedFormat {
    pub(crate) name: &'static str,
    alias: &'static str,
    pub(crate) regex_size: u64,
    validate: fn(&str) -> Vec<String>,
}

const fn format(
    name: &'static str,
    alias: &'static str,
    regex_size: u64,
    validate: fn(&str) -> Vec<String>,
) -> NamedFormat {
    NamedFormat {
        name,
        alias,
        regex_size,
        validate,
    }
}

const FORMATS: &[NamedFormat] = &[
    format("DNS1123Label", "dns1123Label", 30, label),
    format("DNS1123Subdomain", "dns1123Subdomain", 60, subdomain),
    format("DNS1035Label", "dns1035Label", 30, label_1035),
    format("QualifiedName", "qualifiedName", 60, labels::invalid_key),
    format("DNS1123LabelPrefix", "dns1123LabelPrefix", 30, |s| {
        label(&masked(s))
    }),
    format(
        "DNS1123SubdomainPrefix",
        "dns1123SubdomainPrefix",
        60,
        |s| subdomain(&masked(s)),
    ),
    format("DNS1035LabelPrefix", "dns1035LabelPrefix", 30, |s| {
        label_1035(&masked(s))
    }),
    format("LabelValue", "labelValue", 40, labels::invalid_value),
    format("URI", "uri", 1103, |s| {
        crate::url::parse(s).err().into_iter().collect()
    }),
    format("uuid", "uuid", 70, |s| {
        wrong(is_uuid(s), "does not match the UUID format")
    }),
    format("byte", "byte", 84, |s| {
        wrong(unbase64(s).is_some(), "invalid base64")
    }),
    format("date", "date", 71, |s| {
        wrong(crate::time::parse_date(s).is_some(), "invalid date")
    }),
    format("datetime", "datetime", 71, |s| {
        wrong(crate::time::parse_timestamp(s).is_ok(), "invalid datetime")
    }),
];

/// The format of a name.
pub(crate) fn named(name: &str) -> Option<&'static NamedFormat> {
    FORMATS.iter().find(|f| f.alias == name)
}

/// The names of all formats.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    FORMATS.iter().map(|f| f.alias)
}

impl NamedFormat {
    /// What is wrong with a text.
    pub(crate) fn check(&self, text: &str) -> Vec<String> {
        (self.validate)(text)
    }
}

fn wrong(fine: bool, message: &str) -> Vec<String> {
    if fine {
        Vec::new()
    } else {
        vec![message.to_owned()]
    }
}

/// A dash at the end stands for what will follow.
fn masked(text: &str) -> String {
    match text.strip_suffix('-') {
        Some(start) if text.len() > 1 => format!("{start}a"),
        _ => text.to_owned(),
    }
}

fn is_label(text: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    bytes.iter().all(|b| alphanumeric(*b) || *b == b'-')
        && bytes.first().is_some_and(|b| alphanumeric(*b))
        && bytes.last().is_some_and(|b| alphanumeric(*b))
}

fn longer(text: &str, max: usize) -> Vec<String> {
    wrong(
        text.len() <= max,
        &format!("must be no more than {max} characters"),
    )
}

fn regex_error(what: &str, format: &str, examples: &[&str]) -> String {
    let examples: Vec<String> = examples.iter().map(|e| format!("'{e}', ")).collect();
    format!(
        "{what} (e.g. {} regex used for validation is '{format}')",
        examples.join(" or ")
    )
}

fn label(text: &str) -> Vec<String> {
    let mut errors = longer(text, 63);
    if !is_label(text) {
        errors.push(if text.split('.').all(is_label) {
            "must not contain dots".into()
        } else {
            regex_error(
                "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character",
                "[a-z0-9]([-a-z0-9]*[a-z0-9])?",
                &["my-name", "123-abc"],
            )
        });
    }
    errors
}

fn subdomain(text: &str) -> Vec<String> {
    let mut errors = longer(text, 253);
    if !text.split('.').all(is_label) {
        errors.push(regex_error(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character",
            r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*",
            &["example.com"],
        ));
    }
    errors
}

fn label_1035(text: &str) -> Vec<String> {
    let mut errors = longer(text, 63);
    if !is_label(text) || text.as_bytes()[0].is_ascii_digit() {
        errors.push(regex_error(
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character",
            "[a-z]([-a-z0-9]*[a-z0-9])?",
            &["my-name", "abc-123"],
        ));
    }
    errors
}

fn is_uuid(text: &str) -> bool {
    let mut rest = text;
    for (i, length) in [8, 4, 4, 4, 12].into_iter().enumerate() {
        if i > 0 {
            rest = rest.strip_prefix('-').unwrap_or(rest);
        }
        let Some((part, after)) = rest.split_at_checked(length) else {
            return false;
        };
        if !part.bytes().all(|b| b.is_ascii_hexdigit()) {
            return false;
        }
        rest = after;
    }
    rest.is_empty()
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Standard base64, padded.
pub(crate) fn base64(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let mut group = 0u32;
        for i in 0..3 {
            group = group << 8 | u32::from(chunk.get(i).copied().unwrap_or(0));
        }
        for i in 0..4 {
            if i <= chunk.len() {
                let index = (group >> (18 - 6 * i)) & 63;
                out.push(char::from(ALPHABET[index as usize]));
            } else {
                out.push('=');
            }
        }
    }
    out
}

/// The bytes of standard base64.
pub(crate) fn unbase64(text: &str) -> Option<Vec<u8>> {
    let clean: Vec<u8> = text
        .bytes()
        .filter(|b| !matches!(b, b'\n' | b'\r'))
        .collect();
    if !clean.len().is_multiple_of(4) {
        return None;
    }
    let mut out = Vec::with_capacity(clean.len() / 4 * 3);
    let last = clean.len() / 4;
    for (i, chunk) in clean.chunks(4).enumerate() {
        let padding = chunk.iter().filter(|b| **b == b'=').count();
        if padding > 2 || (padding > 0 && i + 1 != last) {
            return None;
        }
        let mut group = 0u32;
        for b in &chunk[..4 - padding] {
            group = group << 6 | ALPHABET.iter().position(|a| a == b)? as u32;
        }
        if chunk[4 - padding..].iter().any(|b| *b != b'=') {
            return None;
        }
        group <<= 6 * padding;
        out.extend_from_slice(&group.to_be_bytes()[1..4 - padding]);
    }
    Some(out)
}

/// Whether a text has one of the formats that schemas and expressions share: `uri`, `uuid`, `byte`, `date`,
/// `datetime`, `duration`.
pub fn text_format(format: &str, text: &str) -> bool {
    match format {
        "duration" => crate::time::parse_long_duration(text).is_ok(),
        other => named(other).is_none_or(|f| f.check(text).is_empty()),
    }
}
