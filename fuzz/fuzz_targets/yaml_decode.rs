//! YAML: refused, or the own output reads back to the same value.
#![no_main]

use corten_codec::{Options, yaml};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = yaml::decode(
        data,
        &Options {
            strict: true,
            default: None,
        },
    );
    if let Ok(value) = yaml::decode_value(data) {
        let text = yaml::encode_value(&value);
        assert_eq!(yaml::decode_value(&text).as_ref(), Ok(&value));
    }
});
