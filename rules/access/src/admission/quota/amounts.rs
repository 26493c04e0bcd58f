//! Arithmetic on amounts by name, and how refusals print them.

use super::super::pod_resources::Amounts;
use corten_core::{Quantity, QuantityFormat, Str};

/// The amounts whose names fit.
pub(super) fn masked(amounts: &Amounts, fits: impl Fn(&str) -> bool) -> Amounts {
    let kept = amounts.iter().filter(|(name, _)| fits(name));
    kept.map(|(name, amount)| (name.clone(), amount.clone()))
        .collect()
}

/// `a - b` for the names in either, never below zero.
pub(super) fn without(a: &Amounts, b: &Amounts) -> Amounts {
    let zero = || Quantity::new(0, QuantityFormat::DecimalSi);
    let mut left = Amounts::default();
    for (name, amount) in a.iter() {
        let mut amount = amount.clone();
        if let Some(other) = b.get(name) {
            amount.sub(other);
        }
        let amount = if amount.sign() < 0 { zero() } else { amount };
        left.insert(name.clone(), amount);
    }
    left
}

pub(super) fn without_zeros(mut amounts: Amounts) -> Amounts {
    amounts.retain(|_, amount| !amount.is_zero());
    amounts
}

/// Whether both have the same names and amounts.
pub(super) fn same(a: &Amounts, b: &Amounts) -> bool {
    a.len() == b.len() && a.iter().all(|(name, amount)| b.get(name) == Some(amount))
}

/// `cpu=1,pods=2`.
pub(super) fn listed(amounts: &Amounts) -> String {
    let parts: Vec<String> = amounts.iter().map(|(k, v)| format!("{k}={v}")).collect();
    parts.join(",")
}

/// Names in order, separated by commas.
pub(super) fn names<'a>(found: impl Iterator<Item = &'a Str>) -> String {
    let mut found: Vec<&str> = found.map(|n| n.as_str()).collect();
    found.sort_unstable();
    found.join(",")
}
