//! Every vector of upstream's API testdata: all formats agree with upstream's bytes.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod vectors;

use corten_codec::{json, protobuf, yaml};
use vectors::{assert_same, enveloped, options};

#[test]
fn json_becomes_protobuf_byte_for_byte() {
    for (kind, vector) in vectors::load("HEAD") {
        let decoded = json::decode(&vector["json"], &options(&kind))
            .unwrap_or_else(|e| panic!("{kind}: {e}"));
        assert!(
            decoded.problems.is_empty(),
            "{kind}: {:?}",
            decoded.problems
        );
        let bytes = enveloped(&decoded.object);
        assert_same(&format!("{kind}.pb"), &bytes, &vector["pb"]);
    }
}

#[test]
fn protobuf_becomes_json_in_order() {
    for (kind, vector) in vectors::load("HEAD") {
        let decoded = protobuf::decode(&vector["pb"], &options(&kind))
            .unwrap_or_else(|e| panic!("{kind}: {e}"));
        let text = json::encode(&decoded.object);
        assert_same(&format!("{kind}.json"), &text, &vector["json"]);
    }
}

#[test]
fn yaml_reads_and_prints() {
    for (kind, vector) in vectors::load("HEAD") {
        let decoded = yaml::decode(&vector["yaml"], &options(&kind))
            .unwrap_or_else(|e| panic!("{kind}: {e}"));
        assert!(
            decoded.problems.is_empty(),
            "{kind}: {:?}",
            decoded.problems
        );
        assert_same(
            &format!("{kind}.json"),
            &json::encode(&decoded.object),
            &vector["json"],
        );
        assert_same(
            &format!("{kind}.yaml"),
            &yaml::encode(&decoded.object),
            &vector["yaml"],
        );
    }
}

#[test]
fn dynamic_values_keep_everything() {
    for (kind, vector) in vectors::load("HEAD") {
        let value = json::decode_value(&vector["json"]).unwrap();
        let text = json::encode_value(&value);
        let typed = json::decode(&text, &options(&kind)).unwrap_or_else(|e| panic!("{kind}: {e}"));
        assert_same(&kind, &json::encode(&typed.object), &vector["json"]);
        // The tree made from the struct is the tree read from the text.
        assert_eq!(typed.object.to_value().unwrap(), value, "{kind}");
    }
}

#[test]
fn older_releases_decode() {
    let mut count = 0;
    for release in vectors::older_releases() {
        for (kind, vector) in vectors::load(&release) {
            let name = format!("{release}/{kind}");
            // Kinds that v1.36 no longer has stay behind.
            if options(&kind)
                .default
                .and_then(corten_api::kind_info)
                .is_none()
            {
                continue;
            }
            count += 1;
            let expected = |extension: &str| {
                vector
                    .get(&format!("after_roundtrip.{extension}"))
                    .unwrap_or_else(|| &vector[extension])
            };
            let from_json = json::decode(&vector["json"], &options(&kind))
                .unwrap_or_else(|e| panic!("{name}: {e}"));
            let from_pb = protobuf::decode(&vector["pb"], &options(&kind))
                .unwrap_or_else(|e| panic!("{name}: {e}"));
            let from_yaml = yaml::decode(&vector["yaml"], &options(&kind))
                .unwrap_or_else(|e| panic!("{name}: {e}"));
            for object in [&from_json.object, &from_pb.object, &from_yaml.object] {
                assert_same(&name, &json::encode(object), expected("json"));
                assert_same(&name, &enveloped(object), expected("pb"));
            }
        }
    }
    assert!(count > 400, "{count} vectors of older releases");
}

#[test]
fn gaps_fill_to_the_whole() {
    for (kind, vector) in vectors::load("HEAD") {
        let mut object = json::decode(&vector["json"], &options(&kind))
            .unwrap()
            .object;
        let (bytes, gap) = json::encode_with_gap(&object);
        let (raw, raw_gap) = protobuf::encode_message_with_gap(object.message().unwrap());
        if object.try_meta_mut().is_none() {
            assert!(gap.is_none(), "{kind}");
            continue;
        }
        for revision in [0, 7, 18_446_744_073_709_551_615] {
            object.meta_mut().resource_version = revision.to_string().into();
            let mut filled = Vec::new();
            let gap = gap.unwrap();
            gap.fill(&bytes, revision, &mut filled);
            assert_same(&kind, &filled, &json::encode(&object));
            assert_eq!(filled.len(), bytes.len() + gap.filled_len(revision));
            let mut filled = Vec::new();
            let raw_gap = raw_gap.unwrap_or_else(|| panic!("{kind} has no gap"));
            raw_gap.fill(&raw, revision, &mut filled);
            assert_same(
                &kind,
                &filled,
                &protobuf::encode_message(object.message().unwrap()),
            );
            assert_eq!(filled.len(), raw_gap.filled_len(revision));
        }
    }
}
