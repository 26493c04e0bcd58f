//! `FieldError`: what validation finds, in the words of Go's `field.Error`. Invariant: `Display` prints what upstream
//! prints for the same field, value and detail. A struct as bad value prints its members in alphabetical order.

use corten_core::{Value, json_text};
use std::fmt::{self, Display, Write};

/// One thing that is wrong with one field.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldError {
    /// What sort of problem.
    pub kind: ErrorKind,
    /// `spec.containers[0].name`
    pub field: String,
    /// The value that was given; null prints nothing.
    pub bad_value: Value,
    /// What would be right.
    pub detail: String,
}

/// Sorts of problems.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// Something that the value names does not exist.
    NotFound,
    /// A value must be given.
    Required,
    /// The value must be unique.
    Duplicate,
    /// The value is malformed or out of range.
    Invalid,
    /// The value is not one of those allowed.
    NotSupported,
    /// The value is well-formed but not permitted here.
    Forbidden,
    /// The text is too long.
    TooLong,
    /// The text is too short.
    TooShort,
    /// The list has too many items.
    TooMany,
    /// The list has too few items.
    TooFew,
    /// Not the caller's fault.
    Internal,
    /// The value is of the wrong type.
    TypeInvalid,
}

/// Says that a field cannot change.
pub const IMMUTABLE: &str = "field is immutable";
/// Says that a number is negative.
pub const NEGATIVE: &str = "must be greater than or equal to 0";

impl FieldError {
    /// An error of any sort.
    pub fn new(
        kind: ErrorKind,
        field: impl Display,
        bad_value: impl Into<Value>,
        detail: impl Into<String>,
    ) -> FieldError {
        FieldError {
            kind,
            field: field.to_string(),
            bad_value: bad_value.into(),
            detail: detail.into(),
        }
    }
    /// A value must be given.
    pub fn required(field: impl Display, detail: impl Into<String>) -> FieldError {
        FieldError::new(ErrorKind::Required, field, "", detail)
    }
    /// The value is malformed or out of range.
    pub fn invalid(
        field: impl Display,
        bad_value: impl Into<Value>,
        detail: impl Into<String>,
    ) -> FieldError {
        FieldError::new(ErrorKind::Invalid, field, bad_value, detail)
    }
    /// The value cannot change.
    pub fn immutable(field: impl Display, bad_value: impl Into<Value>) -> FieldError {
        FieldError::new(ErrorKind::Invalid, field, bad_value, IMMUTABLE)
    }
    /// The value is not permitted here.
    pub fn forbidden(field: impl Display, detail: impl Into<String>) -> FieldError {
        FieldError::new(ErrorKind::Forbidden, field, "", detail)
    }
    /// The value is not one of those supported (named in the order given).
    pub fn not_supported<T: AsRef<str>>(
        field: impl Display,
        bad_value: impl Into<Value>,
        supported: &[T],
    ) -> FieldError {
        let quoted: Vec<String> = supported.iter().map(|s| quote(s.as_ref())).collect();
        let detail = if quoted.is_empty() {
            String::new()
        } else {
            format!("supported values: {}", quoted.join(", "))
        };
        FieldError::new(ErrorKind::NotSupported, field, bad_value, detail)
    }
    /// The value is there already.
    pub fn duplicate(field: impl Display, bad_value: impl Into<Value>) -> FieldError {
        FieldError::new(ErrorKind::Duplicate, field, bad_value, "")
    }
    /// What the value names does not exist.
    pub fn not_found(field: impl Display, bad_value: impl Into<Value>) -> FieldError {
        FieldError::new(ErrorKind::NotFound, field, bad_value, "")
    }
    /// The text has more than `bytes_max` bytes.
    pub fn too_long(field: impl Display, bytes_max: usize) -> FieldError {
        let unit = if bytes_max == 1 { "byte" } else { "bytes" };
        let detail = format!("may not be more than {bytes_max} {unit}");
        FieldError::new(ErrorKind::TooLong, field, "<value omitted>", detail)
    }
    /// The text has more than `characters_max` characters.
    pub fn too_long_characters(field: impl Display, characters_max: usize) -> FieldError {
        let unit = if characters_max == 1 {
            "character"
        } else {
            "characters"
        };
        let detail = format!("may not be more than {characters_max} {unit}");
        FieldError::new(ErrorKind::TooLong, field, "<value omitted>", detail)
    }
    /// The list has `actual` items, which is more than `items_max`.
    pub fn too_many(field: impl Display, actual: usize, items_max: usize) -> FieldError {
        let unit = if items_max == 1 { "item" } else { "items" };
        FieldError::new(
            ErrorKind::TooMany,
            field,
            actual as i64,
            format!("must have at most {items_max} {unit}"),
        )
    }
    /// Something went wrong that is not the caller's fault.
    pub fn internal(field: impl Display, what: impl Into<String>) -> FieldError {
        FieldError::new(ErrorKind::Internal, field, Value::Null, what)
    }
    /// The value is of the wrong type.
    pub fn type_invalid(
        field: impl Display,
        bad_value: impl Into<Value>,
        detail: impl Into<String>,
    ) -> FieldError {
        FieldError::new(ErrorKind::TypeInvalid, field, bad_value, detail)
    }

    /// The text without the field, as causes of a Status carry it.
    pub fn body(&self) -> String {
        let mut text = self.kind.text().to_owned();
        if self.kind.prints_value() && !self.bad_value.is_null() {
            let _ = write!(text, ": {}", printed(&self.bad_value));
        }
        if !self.detail.is_empty() {
            let _ = write!(text, ": {}", self.detail);
        }
        text
    }

    /// The reason that causes of a Status carry: `FieldValueInvalid`.
    pub const fn reason(&self) -> &'static str {
        match self.kind {
            ErrorKind::NotFound => "FieldValueNotFound",
            ErrorKind::Required => "FieldValueRequired",
            ErrorKind::Duplicate => "FieldValueDuplicate",
            ErrorKind::Invalid => "FieldValueInvalid",
            ErrorKind::NotSupported => "FieldValueNotSupported",
            ErrorKind::Forbidden => "FieldValueForbidden",
            ErrorKind::TooLong => "FieldValueTooLong",
            ErrorKind::TooShort => "FieldValueTooShort",
            ErrorKind::TooMany => "FieldValueTooMany",
            ErrorKind::TooFew => "FieldValueTooFew",
            ErrorKind::Internal => "InternalError",
            ErrorKind::TypeInvalid => "FieldValueTypeInvalid",
        }
    }
}

impl ErrorKind {
    const fn text(self) -> &'static str {
        match self {
            ErrorKind::NotFound => "Not found",
            ErrorKind::Required => "Required value",
            ErrorKind::Duplicate => "Duplicate value",
            ErrorKind::Invalid | ErrorKind::TypeInvalid => "Invalid value",
            ErrorKind::NotSupported => "Unsupported value",
            ErrorKind::Forbidden => "Forbidden",
            ErrorKind::TooLong => "Too long",
            ErrorKind::TooShort => "Too short",
            ErrorKind::TooMany => "Too many",
            ErrorKind::TooFew => "Too few",
            ErrorKind::Internal => "Internal error",
        }
    }
    const fn prints_value(self) -> bool {
        !matches!(
            self,
            ErrorKind::Required
                | ErrorKind::Forbidden
                | ErrorKind::TooLong
                | ErrorKind::TooShort
                | ErrorKind::Internal
        )
    }
}

impl Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.body())
    }
}

/// A bad value that prints as the text itself: for structs whose members upstream prints in their own order, and `null`.
pub fn verbatim(text: impl Into<String>) -> Value {
    let text: String = text.into();
    Value::Map([("", Value::from(text))].into_iter().collect())
}

fn printed(value: &Value) -> String {
    match value {
        // No object of upstream's has a member without a name; see `verbatim`.
        Value::Map(map) if map.len() == 1 && map.contains_key("") => value.str_at(&[""]).to_owned(),
        Value::Str(text) => quote(text),
        other => json_text::print(other),
    }
}

/// Go's `%q` of a text.
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            c if (c as u32) < 0x20 || c as u32 == 0x7f => {
                let _ = write!(out, "\\x{:02x}", c as u32);
            }
            c if (c as u32) < 0xa0 && !c.is_ascii() => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_read_as_go_prints_them() {
        let e = FieldError::invalid("spec.replicas", -1_i64, NEGATIVE);
        assert_eq!(
            e.to_string(),
            "spec.replicas: Invalid value: -1: must be greater than or equal to 0"
        );
        let e = FieldError::required("spec.containers", "");
        assert_eq!(e.to_string(), "spec.containers: Required value");
        let e = FieldError::not_supported("spec.restartPolicy", "x\"y", &["Always", "Never"]);
        assert_eq!(
            e.body(),
            "Unsupported value: \"x\\\"y\": supported values: \"Always\", \"Never\""
        );
        assert_eq!(e.reason(), "FieldValueNotSupported");
        assert_eq!(
            FieldError::too_long("a", 3).to_string(),
            "a: Too long: may not be more than 3 bytes"
        );
        assert_eq!(
            FieldError::too_many("a", 4, 1).to_string(),
            "a: Too many: 4: must have at most 1 item"
        );
    }
}
