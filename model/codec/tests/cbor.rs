//! CBOR: what upstream's serializer writes for an object, and that everything comes back.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use corten_api::Kind as _;
use corten_api::Object;
use corten_api::core::v1::{ConfigMap, Secret};
use corten_codec::{Options, cbor, json};
use corten_core::Value;
use proptest::prelude::*;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[test]
fn values_have_their_shortest_form_and_keys_the_order_of_their_encoding() {
    let value = json::decode_value(br#"{"bb":1,"a":-1,"c":[true,null,1.5,100000,"x"]}"#).unwrap();
    // Tag 55799, a map of three, keys as byte strings: "a" and "c" before the longer "bb".
    let expected = "d9d9f7a341612041 6385f5f6f93e001a000186a04178426262 01".replace(' ', "");
    assert_eq!(hex(&cbor::encode_value(&value)), expected);
}

#[test]
fn bytes_stand_under_the_tag_for_later_base64() {
    let mut secret = Secret::namespaced("n", "s");
    secret
        .data
        .insert("k", corten_core::Bin::from(b"hi".to_vec()));
    let bytes = cbor::encode(&Object::from(secret.clone()));
    assert!(hex(&bytes).contains("416bd6426869"), "{}", hex(&bytes));
    let back = cbor::decode(&bytes, &Options::default()).unwrap().object;
    assert_eq!(back.downcast_ref::<Secret>(), Some(&secret));
}

#[test]
fn text_strings_and_indefinite_lengths_are_read() {
    // {_ "a": [_ 1, (_ "b", "c")]}
    let bytes = [
        0xbf, 0x61, b'a', 0x9f, 0x01, 0x7f, 0x61, b'b', 0x61, b'c', 0xff, 0xff, 0xff,
    ];
    let value = cbor::decode_value(&bytes).unwrap();
    assert_eq!(value, json::decode_value(br#"{"a":[1,"bc"]}"#).unwrap());
}

#[test]
fn what_json_has_no_form_for_is_refused() {
    for (bytes, why) in [
        (&[0xf9, 0x7e, 0x00][..], "NaN"),
        (&[0xa1, 0x01, 0x01], "map key"),
        (&[0xa2, 0x61, b'a', 0x01, 0x61, b'a', 0x02], "duplicate"),
        (
            &[0x1b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            "overflows",
        ),
        (&[0x5a, 0xff, 0xff, 0xff, 0xff], "EOF"),
        (&[0x01, 0x01], "extraneous"),
        (&[0x61, 0xff], "UTF-8"),
        (&[0xc2, 0x41, 0x01], "bignum"),
    ] {
        let error = cbor::decode_value(bytes).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
    assert!(cbor::decode_value(&[0x81; 100_000]).is_err());
}

#[test]
fn a_built_in_kind_keeps_what_json_omits() {
    let map = ConfigMap::namespaced("n", "c");
    let through = cbor::decode_value(&cbor::encode(&Object::from(map.clone()))).unwrap();
    let text = json::decode_value(&json::encode(&Object::from(map))).unwrap();
    assert_eq!(through, text);
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        any::<f32>()
            .prop_filter("finite", |f| f.is_finite())
            .prop_map(|f| Value::Float(f64::from(f))),
        any::<f64>()
            .prop_filter("finite", |f| f.is_finite())
            .prop_map(Value::Float),
        "[a-zé\"]{0,30}".prop_map(|s| Value::from(s.as_str())),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::List),
            prop::collection::btree_map("[a-z]{0,12}", inner, 0..6).prop_map(|m| {
                Value::Map(m.iter().map(|(k, v)| (k.as_str(), v.clone())).collect())
            }),
        ]
    })
}

proptest! {
    #[test]
    fn every_value_comes_back(value in values()) {
        let bytes = cbor::encode_value(&value);
        prop_assert!(cbor::is_self_described(&bytes));
        prop_assert_eq!(cbor::decode_value(&bytes).unwrap(), value);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = cbor::decode_value(&bytes);
    }
}

#[test]
fn nesting_and_lengths_are_not_believed() {
    let deep = |open: u8, times: usize| vec![open; times];
    for bytes in [
        deep(0x81, 1 << 20),
        deep(0x9f, 1 << 20),
        deep(0xc0, 1 << 20),
    ] {
        let why = cbor::decode_value(&bytes).unwrap_err().to_string();
        assert!(why.contains("max nested level"), "{why}");
    }
    for head in [0x9b_u8, 0xbb, 0x5b, 0x7b] {
        let mut bytes = vec![head];
        bytes.extend([0xff; 8]);
        assert!(cbor::decode_value(&bytes).is_err());
    }
    // 300,000 keys in descending order.
    let mut bytes = vec![0xba];
    bytes.extend(300_000_u32.to_be_bytes());
    for key in (0..300_000).rev() {
        bytes.extend(format!("\x46{key:06}\x01").bytes());
    }
    assert_eq!(
        cbor::decode_value(&bytes).unwrap().as_map().unwrap().len(),
        300_000
    );
}
