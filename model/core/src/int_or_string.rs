//! `intstr.IntOrString`: a port, count or percentage given as a number or as a text.
//! Invariant: exactly one of the two is held; the other reads as its zero. Leaves out the deprecated percent rules.

use crate::str::Str;
use std::fmt;

/// An int32 or a string.
#[derive(Clone, PartialEq, Eq)]
pub enum IntOrString {
    /// A number.
    Int(i32),
    /// A text, such as a port name or `25%`.
    String(Str),
}

/// Which whole number a percentage of a total becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    /// The next whole number above.
    Up,
    /// The next whole number below.
    Down,
}

/// Why a value cannot be scaled; the message is upstream's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PercentError {
    message: String,
}

impl fmt::Display for PercentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for PercentError {}

impl IntOrString {
    /// Reads a number when the whole text is one (int32), a string otherwise.
    pub fn parse(text: &str) -> IntOrString {
        text.parse::<i32>()
            .map_or_else(|_| IntOrString::String(Str::from(text)), IntOrString::Int)
    }

    /// The number, or the text read as a number, or 0.
    pub fn int_value(&self) -> i64 {
        match self {
            IntOrString::Int(value) => i64::from(*value),
            IntOrString::String(text) => text.parse().unwrap_or(0),
        }
    }

    /// The text, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            IntOrString::Int(_) => None,
            IntOrString::String(text) => Some(text),
        }
    }

    /// The percentage of a text such as `25%`, if it is one.
    pub fn percent(&self) -> Option<i64> {
        self.as_str()?.strip_suffix('%')?.parse().ok()
    }

    /// The number itself, or the percentage of `total` rounded as asked.
    /// Fails for a text that is not a percentage.
    pub fn scaled_value(&self, total: i64, rounding: Rounding) -> Result<i64, PercentError> {
        let text = match self {
            IntOrString::Int(value) => return Ok(i64::from(*value)),
            IntOrString::String(text) => text,
        };
        let fail = |why: String| PercentError {
            message: format!("invalid value for IntOrString: {why}"),
        };
        let Some(number) = text.strip_suffix('%') else {
            return Err(fail("invalid type: string is not a percentage".into()));
        };
        let percent: i64 = number.parse().map_err(|_| {
            fail(format!(
                "invalid value {:?}: strconv.Atoi: parsing {number:?}: invalid syntax",
                &**text
            ))
        })?;
        // Upstream computes in floats; the same order of operations gives the same rounding.
        let share = percent as f64 * total as f64 / 100.0;
        Ok(match rounding {
            Rounding::Up => share.ceil() as i64,
            Rounding::Down => share.floor() as i64,
        })
    }
}

impl Default for IntOrString {
    fn default() -> IntOrString {
        IntOrString::Int(0)
    }
}

impl From<i32> for IntOrString {
    fn from(value: i32) -> IntOrString {
        IntOrString::Int(value)
    }
}

impl From<&str> for IntOrString {
    fn from(text: &str) -> IntOrString {
        IntOrString::String(Str::from(text))
    }
}

impl fmt::Display for IntOrString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IntOrString::Int(value) => write!(f, "{value}"),
            IntOrString::String(text) => f.write_str(text),
        }
    }
}

impl fmt::Debug for IntOrString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IntOrString::Int(value) => write!(f, "{value}"),
            IntOrString::String(text) => write!(f, "{:?}", &**text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_percentages() {
        let quarter = IntOrString::from("25%");
        assert_eq!(quarter.scaled_value(10, Rounding::Up), Ok(3));
        assert_eq!(quarter.scaled_value(10, Rounding::Down), Ok(2));
        assert_eq!(IntOrString::from(4).scaled_value(10, Rounding::Down), Ok(4));
        assert_eq!(quarter.percent(), Some(25));
        assert_eq!(
            IntOrString::from("http")
                .scaled_value(1, Rounding::Up)
                .unwrap_err()
                .to_string(),
            "invalid value for IntOrString: invalid type: string is not a percentage"
        );
        assert_eq!(
            IntOrString::from("a%")
                .scaled_value(1, Rounding::Up)
                .unwrap_err()
                .to_string(),
            r#"invalid value for IntOrString: invalid value "a%": strconv.Atoi: parsing "a": invalid syntax"#
        );
    }

    #[test]
    fn reads_numbers_and_names() {
        assert_eq!(IntOrString::parse("80"), IntOrString::Int(80));
        assert_eq!(IntOrString::parse("http"), IntOrString::from("http"));
        assert_eq!(IntOrString::from("8080").int_value(), 8080);
        assert_eq!(IntOrString::default().to_string(), "0");
    }
}
