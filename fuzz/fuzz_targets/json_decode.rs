//! JSON of any kind: refused, or the own output reads back to the same bytes.
#![no_main]

use corten_codec::{Options, json};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(decoded) = json::decode(
        data,
        &Options {
            strict: true,
            default: None,
        },
    ) {
        let text = json::encode(&decoded.object);
        let again = json::decode(&text, &Options::default()).expect("own output is accepted");
        assert_eq!(json::encode(&again.object), text);
    }
    if let Ok(value) = json::decode_value(data) {
        // Once more than for objects: a float of minus nothing is written as -0 and read as the integer 0, as upstream does.
        let text = again(&json::encode_value(&value));
        assert_eq!(again(&text), text);
    }
});

fn again(text: &[u8]) -> Vec<u8> {
    json::encode_value(&json::decode_value(text).expect("own output is accepted"))
}
