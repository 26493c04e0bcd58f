//! Damaged input never panics, and whatever is accepted survives a round trip.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod vectors;

use corten_api::Object;
use corten_codec::{Options, json, protobuf, yaml};
use corten_core::{Str, Value, ValueMap};
use proptest::prelude::*;
use vectors::{assert_same, enveloped, options};

/// Mutations per format; all vectors take turns.
const MUTATIONS: usize = 4_000;

/// A small generator with a fixed seed, so that a failure repeats.
struct Random(u64);

impl Random {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % below.max(1) as u64) as usize
    }

    fn damage(&mut self, bytes: &[u8], tokens: &[&[u8]]) -> Vec<u8> {
        let mut damaged = bytes.to_vec();
        for _ in 0..1 + self.next(4) {
            let at = self.next(damaged.len());
            match self.next(5) {
                0 if !damaged.is_empty() => damaged[at] = self.next(256) as u8,
                1 if !damaged.is_empty() => drop(damaged.remove(at)),
                2 => damaged.truncate(at),
                3 => {
                    let token = tokens[self.next(tokens.len())];
                    damaged.splice(at..at, token.iter().copied());
                }
                _ => {
                    let end = (at + self.next(40)).min(damaged.len());
                    let piece = damaged[at.min(end)..end].to_vec();
                    damaged.splice(at..at, piece);
                }
            }
        }
        damaged
    }
}

const TEXT_TOKENS: &[&[u8]] = &[
    b"{", b"}", b"[", b"]", b"\"", b"null", b":", b",", b"1e9", b"\\u12", b"\xff", b"\n", b"- ",
    b"&a ", b"*a", b"'",
];
const WIRE_TOKENS: &[&[u8]] = &[
    b"\x0a\x00",
    b"\x80\x80\x80",
    b"\x12\xff\xff\xff\xff\x0f",
    b"\x0b",
    b"\x0c",
    b"\x08\x01",
];

fn round_trips(kind: &str, object: &Object) {
    let text = json::encode(object);
    let again = json::decode(&text, &options(kind))
        .unwrap_or_else(|e| panic!("{kind}: own output refused: {e}"));
    assert_same(kind, &json::encode(&again.object), &text);
    if object.message().is_none() {
        return;
    }
    let bytes = enveloped(object);
    let again = protobuf::decode(&bytes, &options(kind))
        .unwrap_or_else(|e| panic!("{kind}: own output refused: {e}"));
    assert_same(kind, &enveloped(&again.object), &bytes);
    let (bytes, gap) = json::encode_with_gap(object);
    assert!(gap.is_none_or(|gap| gap.offset() <= bytes.len()));
}

#[test]
fn damaged_json_is_refused_or_round_trips() {
    let mut random = Random(0x5eed_0001);
    let vectors = vectors::load("HEAD");
    for (kind, vector) in vectors.iter().cycle().take(MUTATIONS) {
        let damaged = random.damage(&vector["json"], TEXT_TOKENS);
        if let Ok(decoded) = json::decode(&damaged, &options(kind)) {
            round_trips(kind, &decoded.object);
        }
        if let Ok(value) = json::decode_value(&damaged) {
            let text = json::encode_value(&value);
            assert_same(
                kind,
                &json::encode_value(&json::decode_value(&text).unwrap()),
                &text,
            );
        }
    }
}

#[test]
fn damaged_protobuf_is_refused_or_round_trips() {
    let mut random = Random(0x5eed_0002);
    let vectors = vectors::load("HEAD");
    for (kind, vector) in vectors.iter().cycle().take(MUTATIONS) {
        let damaged = random.damage(&vector["pb"], WIRE_TOKENS);
        if let Ok(decoded) = protobuf::decode(&damaged, &options(kind)) {
            let bytes = enveloped(&decoded.object);
            let again = protobuf::decode(&bytes, &options(kind)).unwrap();
            assert_same(kind, &enveloped(&again.object), &bytes);
            // Raw fields may hold anything; the text is JSON all the same.
            json::decode_value(&json::encode(&decoded.object))
                .unwrap_or_else(|e| panic!("{kind}: {e}"));
        }
    }
}

#[test]
fn damaged_yaml_is_refused_or_round_trips() {
    let mut random = Random(0x5eed_0003);
    let vectors = vectors::load("HEAD");
    for (kind, vector) in vectors.iter().cycle().take(MUTATIONS / 4) {
        let damaged = random.damage(&vector["yaml"], TEXT_TOKENS);
        let _ = yaml::decode(&damaged, &options(kind));
        if let Ok(value) = yaml::decode_value(&damaged) {
            let text = yaml::encode_value(&value);
            let again = yaml::decode_value(&text)
                .unwrap_or_else(|e| panic!("{kind}: own output refused: {e}"));
            assert_eq!(again, value, "{kind}");
        }
    }
}

#[test]
fn deep_nesting_is_refused() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let deep = open.repeat(100_000);
        assert!(json::decode_value(deep.as_bytes()).is_err());
        assert!(yaml::decode_value(deep.as_bytes()).is_err());
        let unknown = format!(
            "{{\"kind\":\"Pod\",\"apiVersion\":\"v1\",\"x\":{deep}1{}}}",
            close.repeat(100_000)
        );
        assert!(json::decode(unknown.as_bytes(), &Options::default()).is_err());
    }
    let schema = "{\"not\":".repeat(5_000);
    let definition = format!(
        "{{\"kind\":\"CustomResourceDefinition\",\"apiVersion\":\"apiextensions.k8s.io/v1\",\"spec\":{{\"versions\":[{{\"schema\":{{\"openAPIV3Schema\":{schema}"
    );
    assert!(json::decode(definition.as_bytes(), &Options::default()).is_err());
}

fn any_value() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        // Fractions only: whole floats read back as integers.
        any::<i32>().prop_map(|n| Value::Float(f64::from(n) + 0.5)),
        any::<String>().prop_map(|s| Value::Str(Str::from(s))),
        "[-a-z0-9:.#&*!|>'\"%@`{}, \n]{0,12}".prop_map(|s| Value::Str(Str::from(s))),
    ];
    scalar.prop_recursive(4, 64, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::List),
            prop::collection::vec(("[a-zA-Z0-9/._~ -]{0,9}", inner), 0..6)
                .prop_map(|members| Value::Map(members.into_iter().collect::<ValueMap>())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn values_survive_json(value in any_value()) {
        prop_assert_eq!(json::decode_value(&json::encode_value(&value)).unwrap(), value);
    }

    #[test]
    fn values_survive_yaml(value in any_value()) {
        // A root that prints as an empty plain scalar would read as null; objects never do.
        let value = Value::Map([("k", value)].into_iter().collect());
        let text = yaml::encode_value(&value);
        let again = yaml::decode_value(&text);
        prop_assert_eq!(again.as_ref(), Ok(&value), "{}", String::from_utf8_lossy(&text));
    }

    #[test]
    fn any_bytes_are_safe(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = json::decode(&bytes, &Options { strict: true, default: None });
        let _ = yaml::decode(&bytes, &Options { strict: true, default: None });
        let mut sealed = protobuf::MAGIC.to_vec();
        sealed.extend_from_slice(&bytes);
        let _ = protobuf::decode(&sealed, &Options::default());
    }
}
