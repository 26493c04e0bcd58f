//! `resource.Quantity`: an amount such as `500m`, `1Gi` or `12e6`, kept as the text upstream would print.
//! Invariant: the text is empty (zero) or one that upstream's parser keeps or produces, so writing it back is exact.
//! Arithmetic happens on `Amount`, a decimal of up to 38 digits; beyond that the larger operand wins (upstream uses big integers).

use crate::quantity_parse::{self, canonical_decimal};
use crate::str::Str;
use std::cmp::Ordering;
use std::fmt;

/// An amount of a resource; `Default` is zero. Equality and order compare amounts (`1Ki == 1024`), not texts.
#[derive(Clone, Default)]
pub struct Quantity {
    /// Empty for zero.
    text: Str,
}

/// How an amount is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum QuantityFormat {
    /// `12M`, `500m`.
    #[default]
    DecimalSi,
    /// `12Mi`.
    BinarySi,
    /// `12e6`.
    DecimalExponent,
}

/// Why a text is not a quantity; the messages are upstream's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuantityError {
    /// The text as a whole has the wrong shape.
    Format,
    /// The number before the suffix cannot be read.
    Numeric,
    /// The suffix is unknown.
    Suffix,
}

impl fmt::Display for QuantityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            QuantityError::Format => {
                "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
            }
            QuantityError::Numeric => "unable to parse numeric part of quantity",
            QuantityError::Suffix => "unable to parse quantity's suffix",
        })
    }
}

impl std::error::Error for QuantityError {}

/// Powers of ten that amounts are commonly scaled to.
pub mod scale {
    /// 10^-9.
    pub const NANO: i32 = -9;
    /// 10^-6.
    pub const MICRO: i32 = -6;
    /// 10^-3.
    pub const MILLI: i32 = -3;
}

impl Quantity {
    /// Zero, printed `0`.
    pub const ZERO: Quantity = Quantity { text: Str::EMPTY };

    /// Parses a quantity; the text is kept when it looks canonical to upstream and canonicalised otherwise.
    pub fn parse(text: &str) -> Result<Quantity, QuantityError> {
        quantity_parse::parse(text).map(|kept| match kept {
            quantity_parse::Parsed::Keep => Quantity::from_text(text),
            quantity_parse::Parsed::Rewritten(canonical) => Quantity::from_text(&canonical),
        })
    }

    fn from_text(text: &str) -> Quantity {
        Quantity {
            text: if text == "0" {
                Str::EMPTY
            } else {
                Str::from(text)
            },
        }
    }

    /// `value` units in the given format.
    pub fn new(value: i64, format: QuantityFormat) -> Quantity {
        Amount::new(i128::from(value), 0, format).to_quantity()
    }

    /// `value` thousandths in the given format.
    pub fn new_milli(value: i64, format: QuantityFormat) -> Quantity {
        Amount::new(i128::from(value), scale::MILLI, format).to_quantity()
    }

    /// The text that every wire format carries.
    pub fn as_str(&self) -> &str {
        if self.text.is_empty() {
            "0"
        } else {
            &self.text
        }
    }

    /// The exact amount and its format.
    pub fn amount(&self) -> Amount {
        Amount::of_text(self.as_str())
    }

    /// Whether the amount is zero.
    pub fn is_zero(&self) -> bool {
        self.amount().mantissa == 0
    }

    /// -1, 0 or 1.
    pub fn sign(&self) -> i32 {
        self.amount().mantissa.signum() as i32
    }

    /// The amount in whole units, rounded away from zero; 0 when it does not fit, as upstream answers.
    pub fn value(&self) -> i64 {
        self.scaled_value(0)
    }

    /// The amount in thousandths, rounded away from zero.
    pub fn milli_value(&self) -> i64 {
        self.scaled_value(scale::MILLI)
    }

    /// The amount in units of `10^scale`, rounded away from zero.
    pub fn scaled_value(&self, scale: i32) -> i64 {
        self.amount().scaled_value(scale)
    }

    /// The amount as a whole number, if it is one and fits.
    pub fn as_i64(&self) -> Option<i64> {
        let amount = self.amount();
        let (rounded, exact) = amount.rounded_to(0)?;
        if exact {
            i64::try_from(rounded).ok()
        } else {
            None
        }
    }

    /// The amount as a float, with the precision a float has.
    pub fn as_f64(&self) -> f64 {
        let amount = self.amount();
        amount.mantissa as f64 * 10f64.powi(amount.scale)
    }

    /// Adds `other` in place; a zero takes over the other's format.
    pub fn add(&mut self, other: &Quantity) {
        *self = self.amount().plus(&other.amount()).to_quantity();
    }

    /// Subtracts `other` in place; a zero takes over the other's format.
    pub fn sub(&mut self, other: &Quantity) {
        *self = self.amount().minus(&other.amount()).to_quantity();
    }

    /// Multiplies in place.
    pub fn mul(&mut self, factor: i64) {
        *self = self.amount().times(factor).to_quantity();
    }

    /// Negates in place.
    pub fn neg(&mut self) {
        *self = self.amount().times(-1).to_quantity();
    }

    /// Rounds away from zero to a multiple of `10^scale`; amounts that are one keep their text.
    pub fn round_up(&mut self, scale: i32) {
        let amount = self.amount();
        if let Some((mantissa, _)) = amount.rounded_to(scale).filter(|_| amount.scale < scale) {
            *self = Amount::new(mantissa, scale, amount.format).to_quantity();
        }
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Quantity) -> bool {
        self.as_str() == other.as_str() || self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Quantity) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Quantity) -> Ordering {
        self.amount().compare(&other.amount())
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// `mantissa * 10^scale` with a print format: what sums are accumulated in.
#[derive(Clone, Copy, Debug)]
pub struct Amount {
    mantissa: i128,
    scale: i32,
    format: QuantityFormat,
}

impl Amount {
    /// Zero.
    pub const ZERO: Amount = Amount {
        mantissa: 0,
        scale: 0,
        format: QuantityFormat::DecimalSi,
    };

    /// `mantissa * 10^scale`.
    pub const fn new(mantissa: i128, scale: i32, format: QuantityFormat) -> Amount {
        Amount {
            mantissa,
            scale,
            format,
        }
    }

    /// Reads a text that [`Quantity::parse`] kept or produced.
    fn of_text(text: &str) -> Amount {
        let Some(parts) = quantity_parse::split_valid(text) else {
            return Amount::ZERO;
        };
        let mut mantissa = 0i128;
        let mut scale = parts.exponent.wrapping_sub(parts.fraction.len() as i32);
        for b in parts.whole.bytes().chain(parts.fraction.bytes()) {
            match mantissa
                .checked_mul(10)
                .and_then(|m| m.checked_add(i128::from(b - b'0')))
            {
                Some(next) if scale != i32::MAX => mantissa = next,
                // Digits beyond 38 only move the decimal point.
                _ => scale = scale.saturating_add(1),
            }
        }
        mantissa = mantissa.saturating_mul(1i128 << parts.shift);
        Amount::new(
            if parts.positive { mantissa } else { -mantissa },
            scale,
            parts.format,
        )
    }

    /// How the amount is printed.
    pub const fn format(&self) -> QuantityFormat {
        self.format
    }

    /// Whether the amount is zero.
    pub const fn is_zero(&self) -> bool {
        self.mantissa == 0
    }

    /// The sum; a zero left side takes over the right side's format.
    #[must_use]
    pub fn plus(&self, other: &Amount) -> Amount {
        let format = if self.mantissa == 0 {
            other.format
        } else {
            self.format
        };
        if other.mantissa == 0 {
            return Amount { format, ..*self };
        }
        if self.mantissa == 0 {
            return Amount { format, ..*other };
        }
        let scale = self.scale.min(other.scale);
        let sum = match (self.at_scale(scale), other.at_scale(scale)) {
            (Some(a), Some(b)) => a.checked_add(b),
            _ => None,
        };
        match sum {
            Some(mantissa) => Amount::new(mantissa, scale, format),
            None if self.magnitude() >= other.magnitude() => *self,
            None => Amount { format, ..*other },
        }
    }

    /// The difference; a zero left side takes over the right side's format.
    #[must_use]
    pub fn minus(&self, other: &Amount) -> Amount {
        self.plus(&other.times(-1))
    }

    /// The product.
    #[must_use]
    pub const fn times(&self, factor: i64) -> Amount {
        Amount {
            mantissa: self.mantissa.saturating_mul(factor as i128),
            ..*self
        }
    }

    /// Orders by amount.
    pub fn compare(&self, other: &Amount) -> Ordering {
        let sign = self.mantissa.signum();
        if sign != other.mantissa.signum() || sign == 0 {
            return sign.cmp(&other.mantissa.signum());
        }
        let by_size = self.magnitude().cmp(&other.magnitude()).then_with(|| {
            let scale = self.scale.min(other.scale);
            // Equal magnitudes: a side too large for 38 digits at the finer scale is the larger one.
            let a = self.at_scale(scale).map_or(u128::MAX, i128::unsigned_abs);
            let b = other.at_scale(scale).map_or(u128::MAX, i128::unsigned_abs);
            a.cmp(&b)
        });
        if sign < 0 { by_size.reverse() } else { by_size }
    }

    /// Position of the first digit: comparable between amounts of one sign.
    fn magnitude(&self) -> i64 {
        match self.mantissa.unsigned_abs().checked_ilog10() {
            Some(digits) => i64::from(digits) + i64::from(self.scale),
            None => i64::MIN,
        }
    }

    /// The mantissa at a scale not above the own one, if it fits.
    fn at_scale(&self, scale: i32) -> Option<i128> {
        if self.mantissa == 0 {
            return Some(0);
        }
        let steps = u32::try_from(i64::from(self.scale) - i64::from(scale)).ok()?;
        self.mantissa.checked_mul(10i128.checked_pow(steps)?)
    }

    /// The multiple of `10^scale` next to the amount, away from zero, and whether it is exact.
    fn rounded_to(&self, scale: i32) -> Option<(i128, bool)> {
        if self.scale >= scale {
            return self.at_scale(scale).map(|m| (m, true));
        }
        let steps = u32::try_from(i64::from(scale) - i64::from(self.scale)).ok()?;
        let Some(divisor) = 10i128.checked_pow(steps) else {
            return Some((self.mantissa.signum(), self.mantissa == 0));
        };
        let (quotient, remainder) = (self.mantissa / divisor, self.mantissa % divisor);
        Some((quotient + remainder.signum(), remainder == 0))
    }

    /// The amount in units of `10^scale`, rounded away from zero; 0 when it does not fit.
    pub fn scaled_value(&self, scale: i32) -> i64 {
        self.rounded_to(scale)
            .and_then(|(m, _)| i64::try_from(m).ok())
            .unwrap_or(0)
    }

    /// The quantity with this amount in canonical form.
    pub fn to_quantity(&self) -> Quantity {
        Quantity::from_text(&self.canonical_text())
    }

    /// Upstream's canonical text: no fraction, the largest fitting suffix.
    pub(crate) fn canonical_text(&self) -> String {
        if self.mantissa == 0 {
            return "0".into();
        }
        let mut format = self.format;
        if format == QuantityFormat::BinarySi {
            match self.rounded_to(0) {
                Some((whole, true)) if whole.unsigned_abs() >= 1024 => return binary_text(whole),
                // Small or fractional amounts print in decimal rather than lose precision.
                _ => format = QuantityFormat::DecimalSi,
            }
        }
        let digits = self.mantissa.unsigned_abs().to_string();
        canonical_decimal(self.mantissa < 0, &digits, self.scale, format)
    }
}

fn binary_text(whole: i128) -> String {
    let (mut value, mut power) = (whole, 0usize);
    while value.unsigned_abs() >= 1024 && value % 1024 == 0 {
        value /= 1024;
        power += 1;
    }
    let suffix = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"]
        .get(power)
        .copied()
        .unwrap_or("");
    format!("{value}{suffix}")
}
