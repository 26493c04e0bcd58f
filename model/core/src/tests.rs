//! Tests of containers, table operations and conversions on small hand-made messages. Run under AddressSanitizer too.

use crate::*;

pub struct Empty {}
message! { Empty "t" Struct false 1 b"" b"" {} }

pub struct Inner {
    pub name: Str,
    pub count: Option<i32>,
    pub inner: Option<Box<Inner>>,
}
message! { Inner "t" Struct false 1 b"" b"\x00\x01\x02" {
    name: Str, "name" 1 OMIT;
    count: Option<i32>, "count" 2 OMIT;
    inner: Option<Box<Inner>>, "inner" 3 OMIT;
} }

pub struct Outer {
    pub yes: bool,
    pub small: i32,
    pub large: i64,
    pub float: f64,
    pub text: Str,
    pub bytes: Bin,
    pub time: Time,
    pub micro: Option<MicroTime>,
    pub span: Option<Duration>,
    pub amount: Quantity,
    pub port: IntOrString,
    pub raw: RawJson,
    pub embedded: Inner,
    pub boxed: Option<Box<Inner>>,
    pub texts: List<Str>,
    pub numbers: List<i32>,
    pub inners: List<Inner>,
    pub labels: Map<Str>,
    pub flags: Map<bool>,
    pub extra: Map<List<Str>>,
    pub parts: Map<Inner>,
    pub maybe: Option<Str>,
    pub amounts: Map<Quantity>,
    pub nothing: Option<Box<Empty>>,
    pub nothings: List<Empty>,
    pub raws: List<RawJson>,
}
message! { Outer "t" Struct false 1 b"" b"\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19" {
    yes: bool, "yes" 1 OMIT;
    small: i32, "small" 2 OMIT;
    large: i64, "large" 3 0;
    float: f64, "float" 4 OMIT;
    text: Str, "text" 5 OMIT;
    bytes: Bin, "bytes" 6 0;
    time: Time, "time" 7 OMITZERO;
    micro: Option<MicroTime>, "micro" 8 OMIT;
    span: Option<Duration>, "span" 9 OMIT;
    amount: Quantity, "amount" 10 0;
    port: IntOrString, "port" 11 0;
    raw: RawJson, "raw" 12 0;
    embedded: Inner, "embedded" 13 INLINE;
    boxed: Option<Box<Inner>>, "boxed" 14 OMIT;
    texts: List<Str>, "texts" 15 0;
    numbers: List<i32>, "numbers" 16 OMIT;
    inners: List<Inner>, "inners" 17 OMIT;
    labels: Map<Str>, "labels" 18 0;
    flags: Map<bool>, "flags" 19 OMIT;
    extra: Map<List<Str>>, "extra" 20 OMIT;
    parts: Map<Inner>, "parts" 21 OMIT;
    maybe: Option<Str>, "maybe" 22 OMIT;
    amounts: Map<Quantity>, "amounts" 23 OMIT;
    nothing: Option<Box<Empty>>, "nothing" 24 OMIT;
    nothings: List<Empty>, "nothings" 25 OMIT;
    raws: List<RawJson>, "raws" 26 OMIT;
} }

const LONG: &str = "a text that does not fit into the inline bytes";

fn inner(name: &str) -> Inner {
    let deep = Inner {
        name: LONG.into(),
        count: Some(0),
        inner: None,
    };
    Inner {
        name: name.into(),
        count: None,
        inner: Some(Box::new(deep)),
    }
}

fn outer() -> Outer {
    Outer {
        yes: true,
        small: -3,
        large: i64::MAX,
        float: 0.25,
        text: LONG.into(),
        bytes: Bin::from("\0\u{1}xyz"),
        time: Time::from_unix(1_700_000_000),
        micro: Some(MicroTime::from_unix(1_700_000_000, 5)),
        span: Some(Duration::from_secs(90)),
        amount: Quantity::parse("1500m").unwrap(),
        port: IntOrString::String(LONG.into()),
        raw: RawJson::from(r#"{"a":[1,2.5,null]}"#),
        embedded: inner("in"),
        boxed: Some(Box::new(inner(LONG))),
        texts: List::from(["a", LONG]),
        numbers: List::from([1, 2, 3]),
        inners: List::from([inner("x"), Inner::default()]),
        labels: Map::from([("b", LONG), ("a", "1")]),
        flags: Map::from([("on", true)]),
        extra: Map::from([
            ("scopes", List::<Str>::from(["r", LONG])),
            ("none", List::NIL),
        ]),
        parts: Map::from([("p", inner("part"))]),
        maybe: Some(Str::EMPTY),
        amounts: Map::from([("cpu", Quantity::parse("2").unwrap())]),
        nothing: Some(Box::new(Empty {})),
        nothings: List::from([Empty {}, Empty {}]),
        raws: List::from([RawJson::from("1"), RawJson::from(format!("\"{LONG}\""))]),
    }
}

#[test]
fn texts_inline_heap_static() {
    for text in [
        "",
        "a",
        "exactly15 bytes",
        "sixteen bytes ok",
        LONG,
        "ünïcödé",
    ] {
        let str = Str::from(text);
        assert_eq!(str, text);
        assert_eq!(str.clone(), str);
        assert_eq!(str.heap_size() > 0, text.len() > 15);
        assert_eq!(Str::from(text.to_string()), str);
        assert_eq!(Str::from(text.to_string().into_boxed_str()), str);
        assert_eq!(Some(str.clone()).map(|s| s.len()), Some(text.len()));
    }
    const STATIC: Str = Str::from_static("a constant text of more than 15 bytes");
    assert_eq!(STATIC.clone().heap_size(), 0);
    let (a, b) = (Str::from("a"), Str::from("b"));
    assert!(a < b);
}

#[test]
fn lists_tell_nil_from_empty() {
    let mut list: List<Str> = List::NIL;
    assert!(list.is_nil() && list.is_empty() && list != List::empty());
    list.push(LONG);
    list.push("b");
    list.insert(1, "c");
    assert_eq!(list, [LONG, "c", "b"]);
    assert_eq!(list.remove(0), LONG);
    list.extend(["d"]);
    list.retain(|s| s != "c");
    assert_eq!(list.pop().as_deref(), Some("d"));
    list.clear();
    assert!(!list.is_nil() && list.is_empty());
    assert!(
        Vec::<Str>::new()
            .into_iter()
            .collect::<List<Str>>()
            .is_nil()
    );
    assert!(!List::<Str>::from(Vec::new()).is_nil());
    let vec: Vec<Str> = List::from(["a", LONG]).into_vec();
    assert_eq!(vec.len(), 2);
    let mut units: List<Empty> = List::NIL;
    units.push(Empty {});
    units.push(Empty {});
    assert_eq!(units.clone().into_vec().len(), 2);
}

#[test]
fn maps_stay_sorted() {
    let mut map: Map<Str> = Map::NIL;
    assert!(map.is_nil() && map.get("a").is_none());
    for key in ["m", "a", "z", LONG] {
        map.insert(key, key);
    }
    assert_eq!(map.insert("a", LONG).as_deref(), Some("a"));
    assert!(map.keys().map(Str::as_str).eq(["a", LONG, "m", "z"]));
    assert_eq!(map["a"], LONG);
    assert_eq!(map.remove("m").as_deref(), Some("m"));
    *map.get_or_insert_with("q", || "1".into()) = "2".into();
    map.retain(|k, _| k != "z");
    assert_eq!(
        map.into_iter()
            .map(|(k, _)| k.to_string())
            .collect::<Vec<_>>(),
        ["a", LONG, "q"]
    );
}

#[test]
fn clone_and_eq_follow_the_table() {
    let value = outer();
    let mut copy = value.clone();
    assert!(copy == value);
    copy.inners[0].inner.as_mut().unwrap().name = "other".into();
    assert!(copy != value);
    assert_eq!(value.inners[0].inner.as_ref().unwrap().name, LONG);
    drop(value);
    assert_eq!(copy.parts["p"].inner.as_ref().unwrap().name, LONG);
    assert!(Outer::default() == Outer::default() && Outer::default() != copy);
    assert!(copy.extra["none"].is_nil());
}

#[test]
fn semantic_equality_ignores_nil() {
    let (mut a, mut b) = (Outer::default(), Outer::default());
    (a.texts, b.bytes) = (List::empty(), Bin::from(""));
    assert!(a != b && semantic_eq(&a, &b));
    b.port = IntOrString::Int(1);
    assert!(!semantic_eq(&a, &b));
}

#[test]
fn boxed_messages_keep_their_type() {
    let any = AnyMessage::new(outer());
    let mut copy = any.clone();
    assert!(any == copy && any.downcast_ref::<Inner>().is_none());
    copy.downcast_mut::<Outer>().unwrap().text = "x".into();
    assert!(any != copy);
    let copy = copy.downcast::<Inner>().unwrap_err();
    assert_eq!(copy.downcast::<Outer>().unwrap().text, "x");
    assert!(AnyMessage::zero(Outer::msg()).as_ref().is_zero());
    drop(AnyMessage::zero(Empty::msg()).clone());
}

#[test]
fn places_are_made_and_cleared() {
    let mut value = outer();
    let mut view = MsgMut::new(&mut value);
    for i in 0..view.msg().fields.len() {
        view.clear_field(i);
    }
    assert!(value == Outer::default());
    for round in 0..2 {
        let mut view = MsgMut::new(&mut value);
        for i in 0..view.msg().fields.len() {
            fill(view.field(i), round);
        }
    }
    assert_eq!(value.inners.len(), 10);
    assert_eq!(value.inners[9].name, LONG);
    assert_eq!(value.parts.len(), 2);
    assert_eq!(value.extra["k1"], ["", "", "", "", ""]);
    MsgMut::new(&mut value).clear();
    assert!(value == Outer::default());
}

fn fill(slot: Slot, round: usize) {
    match slot {
        Slot::Str(s) => *s = LONG.into(),
        Slot::List(mut list) => {
            for _ in 0..5 {
                if let Slot::Msg(mut m) = list.push()
                    && !m.msg().fields.is_empty()
                    && let Slot::Str(s) = m.field(0)
                {
                    *s = LONG.into();
                }
            }
        }
        Slot::Map(mut map) => {
            for key in ["k1", "k0", "k1"] {
                if let Slot::List(mut list) = map.insert(key.into()) {
                    for _ in 0..5 {
                        list.push();
                    }
                }
            }
        }
        Slot::I32(n) => *n += round as i32,
        _ => {}
    }
}

#[test]
fn values_round_trip() {
    let value = outer();
    // The keys of the test types have no hash, so the way back is tested on the generated types.
    let tree = to_value(&value).unwrap();
    assert_eq!(tree["raw"]["a"][1], Value::Float(2.5));
    assert_eq!(tree["bytes"], "AAF4eXo=");
    assert_eq!(tree["span"], "1m30s");
    assert_eq!(tree["micro"], "2023-11-14T22:13:20.000005Z");
    assert_eq!(
        to_value(&Outer::default()).unwrap().to_string(),
        r#"{"amount":"0","bytes":null,"embedded":{},"labels":null,"large":0,"port":0,"raw":null,"texts":null}"#
    );
}

#[test]
fn debug_shows_what_is_set() {
    assert_eq!(
        format!(
            "{:?}",
            Outer {
                small: 4,
                texts: List::empty(),
                ..Outer::default()
            }
        ),
        r#"Outer { small: 4, texts: [] }"#
    );
    assert_eq!(
        format!("{:?}", inner("x")),
        format!(r#"Inner {{ name: "x", inner: Inner {{ name: "{LONG}", count: 0 }} }}"#)
    );
}

#[test]
fn base64_is_gos() {
    for (bytes, text) in [
        ("", ""),
        ("f", "Zg=="),
        ("fo", "Zm8="),
        ("foo", "Zm9v"),
        ("foob", "Zm9vYg=="),
    ] {
        assert_eq!(convert::base64_encode(bytes.as_bytes()), text);
        assert_eq!(convert::base64_decode(text).unwrap(), bytes.as_bytes());
    }
    assert_eq!(convert::base64_decode("Zm9v\r\nYg==").unwrap(), b"foob");
    for bad in ["Zg", "Zg=", "Z===", "Zg==Zg==", "Zg!=", "===="] {
        assert!(convert::base64_decode(bad).is_none(), "{bad}");
    }
}

#[test]
fn json_text_reads_and_prints_as_go() {
    let text = r#"{"a":[1,-2,3.5,1e3,true,null],"b":{"\u00e9\ud83d\ude00":"<\"\\\n"}}"#;
    let value = json_text::parse(text.as_bytes()).unwrap();
    assert_eq!(
        json_text::print(&value),
        r#"{"a":[1,-2,3.5,1000,true,null],"b":{"é😀":"\u003c\"\\\n"}}"#
    );
    for bad in [
        "",
        "{",
        "[1,]",
        "01",
        "1.",
        "\"",
        "\"\u{1}\"",
        "{\"a\" 1}",
        "nul",
        "1 2",
        "\"\\x\"",
        "1e999",
    ] {
        assert!(json_text::parse(bad.as_bytes()).is_err(), "{bad}");
    }
    assert!(json_text::parse("[".repeat(100_000).as_bytes()).is_err());
    for (float, text) in [
        (1e21, "1e+21"),
        (1e20, "100000000000000000000"),
        (1.5e-7, "1.5e-7"),
        (0.1, "0.1"),
        (1e-6, "0.000001"),
    ] {
        assert_eq!(json_text::float_text(float), text);
    }
}

#[test]
fn values_are_sorted_trees() {
    let mut value = Value::Null;
    value.set(&["spec", "replicas"], 3);
    value.set(&["metadata", "name"], "x");
    assert_eq!(
        value.to_string(),
        r#"{"metadata":{"name":"x"},"spec":{"replicas":3}}"#
    );
    assert_eq!(value["spec"]["replicas"].as_i64(), Some(3));
    assert_eq!(value.str_at(&["metadata", "name"]), "x");
    assert!(value["none"][3].is_null());
    assert_eq!(Value::from(2.0), Value::Int(2));
    assert_eq!(
        value
            .as_map_mut()
            .unwrap()
            .remove("spec")
            .unwrap()
            .type_name(),
        "object"
    );
}

#[test]
fn paths_print_as_upstream() {
    let root = Path::Root;
    assert_eq!(
        root.f("spec")
            .f("ports")
            .i(3)
            .f("containerPort")
            .to_string(),
        "spec.ports[3].containerPort"
    );
    assert_eq!(root.f("labels").k("a/b").to_string(), "labels[a/b]");
}

#[test]
fn what_differs_is_left_of_both() {
    let mut a = Outer {
        text: "same".into(),
        small: 1,
        embedded: inner("a"),
        boxed: Some(Box::new(inner("boxed"))),
        texts: ["x", "y"].into_iter().map(Str::from).collect::<List<Str>>(),
        amount: Quantity::parse("1").unwrap(),
        ..Outer::ZERO
    };
    a.labels.insert("kept", "1");
    a.labels.insert("changed", "1");
    let mut b = ops::clone(&a);
    let (left, right) = MsgRef::new(&a)
        .differing(MsgRef::new(&b), "beside")
        .unwrap();
    assert_eq!((left, right), (Value::map(), Value::map()));
    b.small = 0;
    b.embedded.count = Some(7);
    b.boxed.as_mut().unwrap().name = "other".into();
    b.labels.insert("changed", "2");
    b.labels.insert("new", "3");
    b.amount = Quantity::parse("2").unwrap();
    b.texts.push("z");
    b.yes = true;
    let (left, right) = MsgRef::new(&a)
        .differing(MsgRef::new(&b), "beside")
        .unwrap();
    let (whole_left, whole_right) = (to_value(&a).unwrap(), to_value(&b).unwrap());
    assert!(left.get("text").is_none() && right.get("text").is_none());
    assert_eq!(left["labels"].to_string(), r#"{"changed":"1"}"#);
    assert_eq!(right["labels"].to_string(), r#"{"changed":"2","new":"3"}"#);
    assert!(left["boxed"].get("inner").is_none());
    assert_eq!(right["boxed"].to_string(), r#"{"name":"other"}"#);
    assert!(left.get("yes").is_none());
    let (_, without) = MsgRef::new(&a)
        .differing(MsgRef::new(&b), "labels")
        .unwrap();
    assert!(without.get("labels").is_none());
    for (part, whole) in [(&left, &whole_left), (&right, &whole_right)] {
        for (key, value) in part.as_map().unwrap().iter() {
            let whole = &whole[key.as_str()];
            match key.as_str() {
                "labels" | "boxed" | "embedded" => {}
                _ => assert_eq!(value, whole, "{key}"),
            }
        }
    }
}
