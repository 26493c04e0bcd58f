//! Prints what reading and writing one Pod of about 4 kB costs in every format: the best of several rounds.
//! Run it with `cargo run --release -p corten-codec --example pod_cost`.

use corten_api::Object;
use corten_api::core::v1::Pod;
use corten_codec::{Options, json, protobuf, yaml};
use corten_core::{MsgMut, MsgRef, Value};
use std::hint::black_box;
use std::time::Instant;

const ROUNDS: u32 = 15;
const TIMES: u32 = 2_000;

fn measure(what: &str, mut work: impl FnMut()) {
    let mut best = f64::MAX;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for _ in 0..TIMES {
            work();
        }
        best = best.min(start.elapsed().as_secs_f64() * 1e6 / f64::from(TIMES));
    }
    println!("{what:<36} {best:8.2} us");
}

fn main() {
    let text = include_bytes!("pod.json").trim_ascii_end();
    let options = Options::default();
    let object = json::decode(text, &options)
        .expect("the sample is a Pod")
        .object;
    let pod = object
        .downcast_ref::<Pod>()
        .expect("the sample is a Pod")
        .clone();
    let stored = protobuf::encode(&object).expect("Pod is built in");
    let value = json::decode_value(text).expect("the sample is JSON");
    assert!(
        json::encode(&object) == text,
        "the sample is in canonical form"
    );
    println!(
        "{} bytes of JSON, {} bytes of protobuf",
        text.len(),
        stored.len()
    );
    formats(text, &object, &pod, &stored);
    memory(&pod);
    values(text, &object, &value);
}

/// Structs from and to bytes.
fn formats(text: &[u8], object: &Object, pod: &Pod, stored: &[u8]) {
    let options = Options::default();
    let strict = Options {
        strict: true,
        default: None,
    };
    measure("JSON -> struct", || {
        let mut pod = Pod::default();
        json::decode_message(black_box(text), MsgMut::new(&mut pod), None).expect("decodes");
        black_box(&pod);
    });
    measure("JSON -> object", || {
        drop(black_box(json::decode(black_box(text), &options)))
    });
    measure("JSON -> object, strict", || {
        drop(black_box(json::decode(black_box(text), &strict)))
    });
    measure("struct -> JSON", || {
        drop(black_box(json::encode_message(MsgRef::new(black_box(pod)))))
    });
    let mut reused = Vec::with_capacity(8192);
    measure("struct -> JSON, buffer reused", || {
        reused.clear();
        json::write_message(MsgRef::new(black_box(pod)), &mut reused);
        black_box(&reused);
    });
    measure("struct -> protobuf", || {
        drop(black_box(protobuf::encode(black_box(object))))
    });
    measure("protobuf -> struct", || {
        drop(black_box(protobuf::decode(black_box(stored), &options)))
    });
    measure("protobuf -> JSON", || {
        let decoded = protobuf::decode(black_box(stored), &options).expect("decodes");
        drop(black_box(json::encode(&decoded.object)));
    });
}

/// Structs in memory.
fn memory(pod: &Pod) {
    measure("clone and drop", || drop(black_box(black_box(pod).clone())));
    let other = pod.clone();
    measure("eq", || assert!(black_box(pod) == black_box(&other)));
}

/// The dynamic tree.
fn values(text: &[u8], object: &Object, value: &Value) {
    measure("JSON -> value", || {
        drop(black_box(json::decode_value(black_box(text))))
    });
    measure("value -> JSON", || {
        drop(black_box(json::encode_value(black_box(value))))
    });
    measure("struct -> value", || {
        drop(black_box(black_box(object).to_value()))
    });
    measure("kind peek", || {
        drop(black_box(json::peek_kind(black_box(text))))
    });
    measure("value -> YAML", || {
        drop(black_box(yaml::encode_value(black_box(value))))
    });
    let document = yaml::encode(object);
    measure("YAML -> value", || {
        drop(black_box(yaml::decode_value(black_box(&document))))
    });
}
