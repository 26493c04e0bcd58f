//! CBOR: refused, or the own output reads back to the same value and the same bytes.
#![no_main]

use corten_codec::{Options, cbor};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = cbor::decode(data, &Options::default());
    if let Ok(value) = cbor::decode_value(data) {
        let bytes = cbor::encode_value(&value);
        let again = cbor::decode_value(&bytes).expect("own output is accepted");
        assert_eq!(cbor::encode_value(&again), bytes);
    }
});
