//! Comparisons that say what was seen when they fail.

use std::fmt::Debug;

use anyhow::{Result, bail};

/// The text contains each of these parts.
pub fn expect_parts(text: &str, parts: &[&str]) -> Result<()> {
    match parts.iter().find(|part| !text.contains(**part)) {
        Some(missing) => bail!("{missing:?} is not in:\n{text}"),
        None => Ok(()),
    }
}

/// Both are equal.
pub fn expect_equal<T: PartialEq<U> + Debug, U: Debug>(seen: T, wanted: U) -> Result<()> {
    if seen != wanted {
        bail!("wanted {wanted:?}, saw {seen:?}");
    }
    Ok(())
}
