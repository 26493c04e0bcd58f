//! Label and field selectors: refused, or matched against labels without a panic.
#![no_main]

use corten_meta::{FieldSelector, Selector};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(selector) = Selector::parse(text) {
        let _ = selector.matches_with(|key| (key.len() % 2 == 0).then_some("value"));
    }
    if let Ok(selector) = FieldSelector::parse(text) {
        let _ = selector.matches(|field| if field.len() % 2 == 0 { "value" } else { "" });
    }
});
