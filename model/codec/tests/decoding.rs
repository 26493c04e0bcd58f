//! Strict problems, type errors, defaults and dynamic objects, in upstream's words (taken from its own decoder).

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use corten_api::Gvk;
use corten_codec::{ListHead, ListLayout, Options, json, protobuf, yaml};
use corten_core::Value;

const STRICT: Options<'static> = Options {
    strict: true,
    default: None,
};

fn pod(rest: &str) -> String {
    format!(r#"{{"kind":"Pod","apiVersion":"v1",{rest}}}"#)
}

fn problems(rest: &str) -> Vec<String> {
    json::decode(pod(rest).as_bytes(), &STRICT)
        .unwrap()
        .problems
}

fn error(text: &str) -> String {
    json::decode(text.as_bytes(), &STRICT)
        .unwrap_err()
        .to_string()
}

#[test]
fn strict_problems_carry_paths() {
    assert_eq!(
        problems(
            r#""spec":{"foo":1,"containers":[{"name":"a","bar":{}},{"name":"b","name":"c"}]},"metadata":{"labels":{"x":"1","x":"2"}},"zip":null"#
        ),
        [
            r#"unknown field "spec.foo""#,
            r#"unknown field "spec.containers[0].bar""#,
            r#"duplicate field "spec.containers[1].name""#,
            r#"duplicate field "metadata.labels.x""#,
            r#"unknown field "zip""#,
        ]
    );
    let decoded = json::decode(pod(r#""Spec":{},"q\"t":1"#).as_bytes(), &STRICT).unwrap();
    assert_eq!(
        decoded.strict_error().unwrap(),
        r#"strict decoding error: unknown field "Spec", unknown field "q\"t""#
    );
    assert!(
        json::decode(pod(r#""zip":1"#).as_bytes(), &Options::default())
            .unwrap()
            .problems
            .is_empty()
    );
}

#[test]
fn type_errors_name_the_go_field() {
    for (rest, message) in [
        (
            r#""spec":{"hostNetwork":"yes"}"#,
            "json: cannot unmarshal string into Go struct field PodSpec.spec.hostNetwork of type bool",
        ),
        (
            r#""spec":{"containers":[{"ports":[{"containerPort":"80"}]}]}"#,
            "json: cannot unmarshal string into Go struct field ContainerPort.spec.containers.ports.containerPort of type int32",
        ),
        (
            r#""spec":{"restartPolicy":1}"#,
            "json: cannot unmarshal number into Go struct field PodSpec.spec.restartPolicy of type v1.RestartPolicy",
        ),
        (
            r#""spec":{"containers":[{"resources":{"limits":[]}}]}"#,
            "json: cannot unmarshal array into Go struct field ResourceRequirements.spec.containers.resources.limits of type v1.ResourceList",
        ),
        (
            r#""spec":{"containers":{}}"#,
            "json: cannot unmarshal object into Go struct field PodSpec.spec.containers of type []v1.Container",
        ),
        (
            r#""metadata":{"labels":{"a":1}}"#,
            "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type string",
        ),
        (
            r#""spec":{"priority":1.5}"#,
            "json: cannot unmarshal number 1.5 into Go struct field PodSpec.spec.priority of type int32",
        ),
        (
            r#""spec":[]"#,
            "json: cannot unmarshal array into Go struct field Pod.spec of type v1.PodSpec",
        ),
        (
            r#""spec":{"initContainers":[{"envFrom":[{"secretRef":{"name":1}}]}]}"#,
            "json: cannot unmarshal number into Go struct field SecretEnvSource.spec.initContainers.envFrom.secretRef.LocalObjectReference.name of type string",
        ),
        (
            r#""metadata":{"creationTimestamp":5}"#,
            "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.creationTimestamp of type string",
        ),
        (
            r#""metadata":{"creationTimestamp":"x"},"spec":1"#,
            r#"parsing time "x" as "2006-01-02T15:04:05Z07:00": cannot parse "x" as "2006""#,
        ),
        (
            r#""spec":{"containers":[{"resources":{"limits":{"cpu":"x"}}}]}"#,
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
    ] {
        assert_eq!(error(&pod(rest)), message);
    }
}

#[test]
fn kinds_are_asked_for_first() {
    assert_eq!(
        error("{"),
        "couldn't get version/kind; json parse error: unexpected end of JSON input"
    );
    assert_eq!(error("{}"), "Object 'Kind' is missing in '{}'");
    assert_eq!(
        error(r#"{"kind":"Pod"}"#),
        r#"Object 'apiVersion' is missing in '{"kind":"Pod"}'"#
    );
    assert_eq!(
        error(r#"{"kind":"Pod","apiVersion":"a/b/c"}"#),
        "unexpected GroupVersion string: a/b/c"
    );
    // The kind is read before the broken rest, and the error is the same as upstream's.
    assert_eq!(
        error(r#"{"kind":"Pod","apiVersion":"v1","#),
        "couldn't get version/kind; json parse error: unexpected end of JSON input"
    );
    let default = Options {
        strict: false,
        default: Some(Gvk {
            group: "apps",
            version: "v1",
            kind: "Deployment",
        }),
    };
    assert_eq!(
        json::decode(b"{}", &default)
            .unwrap()
            .object
            .gvk()
            .to_string(),
        "apps/v1, Kind=Deployment"
    );
}

#[test]
fn custom_resources_are_dynamic() {
    let text = r#"{"spec":{"b":1,"a":[1.50,null]},"metadata":{"uid":"u","name":"x","labels":{"k":"v"}},"kind":"CronTab","apiVersion":"stable.example.com/v1"}"#;
    let decoded = json::decode(text.as_bytes(), &STRICT).unwrap();
    let dynamic = decoded.object.as_dynamic().unwrap();
    assert_eq!(dynamic.metadata.name, "x");
    assert_eq!(dynamic.body.get("spec").unwrap()["b"], Value::Int(1));
    assert_eq!(
        String::from_utf8(json::encode(&decoded.object)).unwrap(),
        r#"{"apiVersion":"stable.example.com/v1","kind":"CronTab","metadata":{"labels":{"k":"v"},"name":"x","uid":"u"},"spec":{"a":[1.5,null],"b":1}}"#
    );
    let (bytes, gap) = json::encode_with_gap(&decoded.object);
    let mut filled = Vec::new();
    gap.unwrap().fill(&bytes, 42, &mut filled);
    assert!(
        String::from_utf8(filled)
            .unwrap()
            .contains(r#""name":"x","resourceVersion":"42","uid":"u""#)
    );
    assert!(protobuf::encode(&decoded.object).is_none());

    let twice = r#"{"kind":"A","apiVersion":"b/v1","metadata":{"foo":1,"name":"x","name":"y"},"spec":{"a":1,"a":2},"spec":{}}"#;
    assert_eq!(
        json::decode(twice.as_bytes(), &STRICT).unwrap().problems,
        [
            r#"unknown field "metadata.foo""#,
            r#"duplicate field "metadata.name""#,
            r#"duplicate field "spec.a""#,
            r#"duplicate field "spec""#,
        ]
    );
}

#[test]
fn yaml_problems_come_first() {
    let text = "kind: Pod\napiVersion: v1\nspec:\n  foo: 1\n  nodeName: a\n  nodeName: b\n";
    let decoded = yaml::decode(text.as_bytes(), &STRICT).unwrap();
    assert_eq!(
        decoded.problems,
        [
            "yaml: unmarshal errors:\n  line 6: key \"nodeName\" already set in map",
            r#"unknown field "spec.foo""#
        ]
    );
}

fn sample() -> corten_api::Object {
    let text = pod(r#""metadata":{"name":"a"}"#);
    json::decode(text.as_bytes(), &STRICT).unwrap().object
}

fn head() -> ListHead<'static> {
    let mut head = ListHead {
        api_version: "v1",
        kind: "PodList",
        ..ListHead::default()
    };
    head.metadata.resource_version = "12".into();
    head
}

#[test]
fn lists_are_framed() {
    let (object, head) = (sample(), head());
    let mut out = Vec::new();
    json::write_list_head(&head, ListLayout::Struct, &mut out);
    json::write_object(&object, &mut out);
    json::write_list_tail(&head, ListLayout::Struct, &mut out);
    let whole = json::decode(&out, &STRICT).unwrap();
    assert!(whole.problems.is_empty());
    assert_eq!([json::encode(&whole.object), b"\n".to_vec()].concat(), out);

    let (raw, gap) = protobuf::encode_message_with_gap(object.message().unwrap());
    let gap = gap.unwrap();
    let mut bytes = Vec::new();
    protobuf::write_list_head(
        &head,
        protobuf::list_item_len(gap.filled_len(7)),
        &mut bytes,
    );
    gap.fill_item(&raw, 7, &mut bytes);
    protobuf::write_envelope_tail(&mut bytes);
    let whole = protobuf::decode(&bytes, &STRICT).unwrap();
    assert_eq!(protobuf::encode(&whole.object).unwrap(), bytes);
    let text = String::from_utf8(json::encode(&whole.object)).unwrap();
    assert!(text.contains(r#""resourceVersion":"7""#));

    let mut sorted = Vec::new();
    json::write_list_head(&head, ListLayout::Sorted, &mut sorted);
    json::write_list_tail(&head, ListLayout::Sorted, &mut sorted);
    assert_eq!(
        String::from_utf8(sorted).unwrap(),
        "{\"apiVersion\":\"v1\",\"items\":[],\"kind\":\"PodList\",\"metadata\":{\"resourceVersion\":\"12\"}}\n"
    );
}

#[test]
fn watch_events_are_framed() {
    let object = sample();
    let mut event = Vec::new();
    json::write_watch_event_head("ADDED", &mut event);
    json::write_object(&object, &mut event);
    json::write_watch_event_tail(&mut event);
    let kind = Gvk {
        group: "",
        version: "v1",
        kind: "WatchEvent",
    };
    let as_event = Options {
        strict: true,
        default: Some(kind),
    };
    let read = json::decode(&event, &as_event).unwrap();
    assert_eq!([json::encode(&read.object), b"\n".to_vec()].concat(), event);

    let sealed = protobuf::encode(&object).unwrap();
    let mut frame = Vec::new();
    protobuf::write_watch_event_head("ADDED", sealed.len(), &mut frame);
    frame.extend_from_slice(&sealed);
    let length = u32::from_be_bytes(frame[..4].try_into().unwrap()) as usize;
    assert_eq!(length, frame.len() - 4);
    let event = json::TypeMeta {
        api_version: "v1".into(),
        kind: "WatchEvent".into(),
    };
    let read = protobuf::decode_raw(&frame[4..], &event).unwrap();
    assert_eq!(
        protobuf::encode_message(read.message().unwrap()),
        &frame[4..]
    );
}
