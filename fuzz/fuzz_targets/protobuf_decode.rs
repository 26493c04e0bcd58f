//! Enveloped protobuf: refused, or the own output reads back to the same bytes, in JSON as well.
#![no_main]

use corten_codec::{Options, json, protobuf};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(decoded) = protobuf::decode(data, &Options::default()) {
        let bytes = protobuf::encode(&decoded.object).expect("a decoded kind is built in");
        let again = protobuf::decode(&bytes, &Options::default()).expect("own output is accepted");
        assert_eq!(protobuf::encode(&again.object), Some(bytes));
        json::decode_value(&json::encode(&decoded.object)).expect("own output is JSON");
    }
});
