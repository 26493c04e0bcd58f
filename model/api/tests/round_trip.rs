//! Every kind, filled at random through its table: clone, equality, and the way to a dynamic value and back.

use corten_api::{Gvk, Object, kinds};
use corten_core::{
    AnyMessage, Bin, Duration, Form, IntOrString, MicroTime, MsgMut, Quantity, RawJson, Slot, Time,
    Value,
};

/// A small deterministic generator (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
    fn text(&mut self) -> String {
        let length = self.below(24) as usize;
        (0..length)
            .map(|_| ['a', 'Z', '0', '-', 'é', '<', '"', '\n'][self.below(8) as usize])
            .collect()
    }
}

fn fill(mut message: MsgMut, random: &mut Random, depth: u32) {
    if message.msg().form != Form::Struct {
        return fill_form(message, random, depth);
    }
    for i in 0..message.msg().fields.len() {
        // Deeper messages get sparser, so that the tree stays finite.
        if random.below(4 + u64::from(depth)) < 3 && depth < 7 {
            fill_slot(message.field(i), random, depth);
        }
    }
}

/// Only one of the two fields survives JSON.
fn fill_form(mut message: MsgMut, random: &mut Random, depth: u32) {
    let form = message.msg().form;
    if form == Form::OrBool && random.below(2) == 0 && depth < 6 {
        fill_slot(message.field(1), random, depth + 1);
        if let Slot::Bool(allows) = message.field(0) {
            *allows = true;
        }
    } else if form == Form::OrBool {
        fill_slot(message.field(0), random, depth + 1);
    } else {
        fill_slot(message.field(random.below(2) as usize), random, depth + 1);
    }
}

fn fill_slot(slot: Slot, random: &mut Random, depth: u32) {
    match slot {
        Slot::Bool(at) => *at = random.below(2) == 0,
        Slot::I32(at) => *at = random.below(1 << 32) as i32,
        Slot::I64(at) => *at = random.below(u64::MAX) as i64,
        Slot::F64(at) => *at = random.below(1 << 20) as f64 / 64.0,
        Slot::Str(at) => *at = random.text().into(),
        Slot::Bin(at) => *at = Bin::from(random.text().as_str()),
        Slot::Time(at) => *at = Time::from_unix(random.below(1 << 33) as i64),
        Slot::MicroTime(at) => *at = MicroTime::from_unix_micros(random.below(1 << 52) as i64),
        Slot::Duration(at) => *at = Duration::from_nanos(random.below(1 << 60) as i64),
        Slot::Quantity(at) => {
            *at = Quantity::parse(["0", "1500m", "3Gi", "2", "1e3"][random.below(5) as usize])
                .expect("a quantity")
        }
        Slot::IntOrString(at) if random.below(2) == 0 => {
            *at = IntOrString::Int(random.below(99) as i32)
        }
        Slot::IntOrString(at) => *at = IntOrString::String(random.text().into()),
        Slot::Raw(at) => {
            *at = RawJson::from(
                [r#"{"a":[1,null]}"#, "\"x\"", "[]", "true"][random.below(4) as usize],
            )
        }
        Slot::Msg(at) => fill(at, random, depth + 1),
        Slot::List(mut list) => {
            list.make();
            for _ in 0..random.below(3) {
                fill_slot(list.push(), random, depth + 1);
            }
        }
        Slot::Map(mut map) => {
            map.make();
            for _ in 0..random.below(3) {
                let key = random.text();
                fill_slot(map.insert(key.into()), random, depth + 1);
            }
        }
    }
}

#[test]
fn every_kind_survives_clone_and_value() {
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    for info in kinds() {
        for _ in 0..8 {
            let mut message = AnyMessage::zero(info.msg());
            fill(message.as_mut(), &mut random, 0);
            assert!(
                message.clone() == message,
                "{} differs from its clone",
                info.gvk()
            );
            let value = message.as_ref().to_value().unwrap();
            let mut back = AnyMessage::zero(info.msg());
            let mut unknown = Vec::new();
            back.as_mut().merge_value(&value, &mut unknown).unwrap();
            assert!(unknown.is_empty(), "{}: {unknown:?}", info.gvk());
            assert!(
                back.as_ref().semantic_eq(message.as_ref()),
                "{}\n{message:?}\n{back:?}",
                info.gvk()
            );
            assert_eq!(back.as_ref().to_value().unwrap(), value, "{}", info.gvk());
            // Every key is found by the perfect hash, and nothing else is.
            for (i, field) in info.msg().json.iter().enumerate() {
                assert_eq!(info.msg().find(field.key.as_bytes()), Some(i));
            }
            assert!(info.msg().find(b"noSuchField").is_none() && info.msg().find(b"").is_none());
        }
    }
}

#[test]
fn objects_survive_values() {
    let mut random = Random(0xDEAD_BEEF_CAFE_F00D);
    for info in kinds().iter().filter(|k| k.has_meta()) {
        let mut object = Object::new_for(info.gvk()).unwrap();
        fill(object.message_mut().unwrap(), &mut random, 3);
        object.meta_mut().name = "x".into();
        let mut value = object.to_value().unwrap();
        // The random fill may have overwritten the two fields.
        value.set(&["apiVersion"], info.api_version);
        value.set(&["kind"], info.kind);
        let back = Object::from_value(&value).unwrap();
        assert_eq!((back.gvk(), back.meta().name.as_str()), (info.gvk(), "x"));
        assert_eq!(back.to_value().unwrap(), value);
        assert!(back.heap_size() > 0);
    }
}

#[test]
fn unknown_kinds_become_dynamic() {
    let mut value = Value::map();
    value.set(&["apiVersion"], "stable.example.com/v1");
    value.set(&["kind"], "CronTab");
    value.set(&["metadata", "name"], "tab");
    value.set(&["metadata", "labels", "a"], "b");
    value.set(&["spec", "cron"], "* * * * *");
    let mut object = Object::from_value(&value).unwrap();
    assert_eq!(
        object.gvk(),
        Gvk {
            group: "stable.example.com",
            version: "v1",
            kind: "CronTab"
        }
    );
    assert_eq!(object.meta().label("a"), "b");
    assert_eq!(object.as_dynamic().unwrap().body.len(), 1);
    assert_eq!(
        object.to_value().unwrap().at(&["spec"]),
        value.at(&["spec"])
    );
    object.meta_mut().name = "other".into();
    assert!(object != Object::from_value(&value).unwrap());
    value.set(&["metadata", "labels"], 3);
    let error = Object::from_value(&value).unwrap_err();
    assert_eq!(
        error.to_string(),
        "metadata.labels: expected an object, got number"
    );
}
