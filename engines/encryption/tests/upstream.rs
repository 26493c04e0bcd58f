//! Bytes that kube-apiserver v1.36.3 wrote to its etcd under this configuration, and what it says of wrong ones.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use corten_encryption::{Encryption, EncryptionError};

const CONFIG: &str = r#"
apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
- resources: [secrets]
  providers:
  - aesgcm: {keys: [{name: gcm, secret: MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=}]}
  - identity: {}
- resources: [configmaps]
  providers:
  - aescbc: {keys: [{name: cbc, secret: MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=}]}
  - identity: {}
- resources: [limitranges]
  providers:
  - secretbox: {keys: [{name: box, secret: MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=}]}
- resources: [resourcequotas]
  providers:
  - aesgcm: {keys: [{name: short, secret: MDEyMzQ1Njc4OTAxMjM0NQ==}]}
- resources: ['*.apps']
  providers:
  - aescbc: {keys: [{name: middle, secret: MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz}]}
"#;

/// (path in etcd, group, resource, prefix, bytes, what the object holds)
const KEPT: [(&str, &str, &str, &str, &str, &str); 5] = [
    (
        "/registry/secrets/default/s",
        "",
        "secrets",
        "k8s:enc:aesgcm:v1:gcm:",
        "azhzOmVuYzphZXNnY206djE6Z2NtOkuCo8GDHbSm680BCTwLAz+cK2wzznyAOzZIl1HnvqQASPevUPgzfGPS80k469/JKHegYJy+L5uD/88+zBybnTOEENuw7gLrzPik8YrKeWvUp/w6YUQ8QhLlh54T5hANoZaSc/PDtLWcT9lMm3nmCs88lEt+8WNmxKIJH6BtuM0xiIpPEBIDLCD3pGlTbtCpl+ckQod8PFF1eyfljIl0XDTYv2GYpylXYQAfY0zt4UHjJ4OLAzjfPlC6yVgRSm4rlrtwcSyPRAQ0OTosj6pN+ZxGzYjW6RpUXftHuoLKgqYcfEgyRa5Rdie0JgrSnFCHDg==",
        "Opaque",
    ),
    (
        "/registry/configmaps/default/c",
        "",
        "configmaps",
        "k8s:enc:aescbc:v1:cbc:",
        "azhzOmVuYzphZXNjYmM6djE6Y2JjOvKT7ApQo+xbUwRomEH7Bvj/6gSDGrywIVtokkhswogQwBXL0PPv+MbQuBt04wBECgCCmhJtT/ZMFqWA8Ey+GrQiPO5miLi8lSuFi5uq1jxYRrNMMQmCd4HESdhH499U1R8zolMHKwaUmGqtUGEpJenfa6OZYhLdTwLm4RDmsF5gu/zGhCjjuLJwTerpwQ3YWH9SN2NKH9DJW99yKIbWJCJrU1NV7ch6FnkYGyKDZf/aCA5qu2pqV3gC4UeFOH59We/5Zi52Fwu0nhwz8Mx1GqPB8Fey7aFJfRLIZZsl4qZ1",
        "hush",
    ),
    (
        "/registry/limitranges/default/l",
        "",
        "limitranges",
        "k8s:enc:secretbox:v1:box:",
        "azhzOmVuYzpzZWNyZXRib3g6djE6Ym94OmLiPP0D59l6Q2cqC0IkKWe4Lc3Y2ZMhD3xOy1W37C6LFMSBGQ2CDPBiOf1jO+F5I+YwY5TPlHZInmRBuSzC+2JlCQ4SmWA5gF0Oo4NgWAwVt6G14rNHlc07hs/6VL7HGs8kdPJiSy9lrJL2z3cIXVNLXggRscrxYxjmweMR4QJV9fnC2w38RP+ky9mzoLI1CsizMfEON8b6fg0MQfI72K2aVq/OEbXZyjw3UcSHVLortm+MkdEWz/ajxyjPwQXFhNj5ytZPqYJjqUMowZj1EGWled2ktZZwWIjSEdz6eYELEA==",
        "LimitRange",
    ),
    (
        "/registry/resourcequotas/default/q",
        "",
        "resourcequotas",
        "k8s:enc:aesgcm:v1:short:",
        "azhzOmVuYzphZXNnY206djE6c2hvcnQ6xv+ekaYp9vN8+ladzor9iWep4yfCjW1j/ha65glYfEzkuLSM9s+HFIRxQAknK8BZmxQ3MtRbDw2TjWrum5mVJm7aAhcCLWV54T5D1SI45XCRykJEntUBkBlGoBtpZxa5Ih880sGgi7gf3sebi+xyzLhSYAeTjBEEpyHrMLoTJRaFIiInP6Fc8fIgbzJmCEKlbwqbTRW6zOXF80EKbgKWLU9bu39KXw2iUMwd9QElxIz402Kw4c2/zravP1MFMLLO8xV2obi3PFOU9yzcCg05G77UKD4AggyjrJozx9HN7U/3tO8g5H3vcC8sugu6JliKau46HK4UhA==",
        "ResourceQuota",
    ),
    (
        "/registry/deployments/default/d",
        "apps",
        "deployments",
        "k8s:enc:aescbc:v1:middle:",
        "azhzOmVuYzphZXNjYmM6djE6bWlkZGxlOvCYYXQqtXzktTaUJEOYoW7fNZpzW/oh23pxK94kAejo6tZwNE7LCZyl0kz4AZKtNOdmDFXV/6m2UmTzQRf5JuPUD1I8dg8Gioxx8xdBxrtBEVcgGxfpPi1wHVrkXnpe9sspFHjMICqllQj0qai6mZrISCYehFxbsmimdN0TzG7vSCj8rCSIOaFfIMftMqVkTJimQCil0FA23/wfdS5AC8KReWilyR/qp2ruTR0cAryn5fG/Wrk02rrPhsTkmZ/Ko8+gRuUW0oc2r4GFZ5mBnR/GIxWZVTS4hOQOuMUUE7VYgFyWPo5FE2OnIc9j/dKitNXuqHslt5MlItZFqTrQxw8ssJEsOFl6lmQIQ2CMAF5LeKHqZTQHlZ1PFBM5t2hrd/jgc3zaO6tQ6LUyLdMjeAqmc3xcE2//tBuH/bGHevUas+RB2X7jVomEln0QYMY0O07/XlEzXoseS0AJ8GwCZfiIdYnzIex9Tk7wtb0UNLRwI7i3R/gfE+Wm13v31l7RKk/MgwEBs/8ODaf+Y6Ljz5sEgJoMfrZBIYMXoGFGuQWtPil7WvXi3Jq1NzofO7YbICmzhyBdlLcWekVSkGZkNax7iQg7K705H3AI88dBxiqOtNc7bdKwRGg8jwGX4gF8DeYCdY3wqdFn85OYmqtsCK8UtJoEBHv6r6YQyjXJqRSne2lN8fPiUsHM72CbJpviapymngg7yKodv2/doIQm1jzNiMAVSDNlzL+aZfkwgezF6HcM1PN/hY2fWlv6edGNxwfU5/li0QhEEFdpudsrKK8zNztZIT2ZxNkJmloqXQgq2DwSoGgvmyVTWcag/bBQ42eW5pULXDkna7qEr//FJRGgoZ+mtZA8zvwCLAgVsQLEDvXUhL/8ZUmPxFscRLuQarTMM/xYbVTw7FEKSuPEsOtXm2MWnSoUJTtj73nPMBBP2+S93Iwy3bzpzFoQW5aKbTYX46/3W3/3F43njT4W5e46m00PxL2G8YzxIV6WH/gJaC3yrIhcx7OmlZZJpL4gABF/yKKUolPMKMywj49Zv2S/d58ApgIz5w23Y/kg+ox6P1E8G1viHZd6dLEdVsUDqluFmoENBGOc87+kPi/5IM6poKxBJ41kCkmW8DPQqqN6TzGhzXxEuqBmPzsEIUCKXpn9khVbSfyXQwHpiDTmzEiR48HS3w+PDW5uhMwuJBDOn0T6A4OsV4TS8dlGIbvG3UYw34/GpcGh1tE2cFIhUpywIOyX64s6Y4dq+YEWje2BfWDSNRTEeHx1i6lqEJri58sJycsx3NQuYEzEMNRVda5VqaDtFr6xkWxgLabs6VO1GBWYjIl8aECCyaCJApDCys0Y1j5K6reURuye09Hh4yCuQYNbCZFgYukiyNd12vKT+uROIHmhJeoX6YR7sMVP4w==",
        "hush",
    ),
];

#[test]
fn what_upstream_encrypted_is_read() {
    let encryption = Encryption::parse(CONFIG.as_bytes()).unwrap();
    for (path, group, resource, prefix, bytes, holds) in KEPT {
        let stored = STANDARD.decode(bytes).unwrap();
        assert!(stored.starts_with(prefix.as_bytes()), "{path}");
        let providers = encryption.of(group, resource);
        let read = providers.from_storage(&stored, path.as_bytes()).unwrap();
        assert!(read.bytes.starts_with(b"k8s\0") && !read.is_stale, "{path}");
        let found = read
            .bytes
            .windows(holds.len())
            .any(|part| part == holds.as_bytes());
        assert!(found, "{path} holds {holds}");
        // And what is written here has the same form.
        let again = providers.to_storage(&read.bytes, path.as_bytes()).unwrap();
        assert!(again.starts_with(prefix.as_bytes()));
        assert_eq!(again.len(), stored.len());
        assert_eq!(
            providers.from_storage(&again, path.as_bytes()).unwrap(),
            read
        );
    }
}

#[test]
fn a_secret_cannot_be_moved() {
    let encryption = Encryption::parse(CONFIG.as_bytes()).unwrap();
    let (_, group, resource, _, bytes, _) = KEPT[0];
    let stored = STANDARD.decode(bytes).unwrap();
    let moved = encryption
        .of(group, resource)
        .from_storage(&stored, b"/registry/secrets/other/s");
    assert!(matches!(moved, Err(EncryptionError::Cipher(_))));
}

#[test]
fn what_was_not_written_by_the_first_key_is_stale() {
    let two = |first: &str, second: &str| {
        let text = format!(
            "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: \
             [secrets]\n  providers: [{first}, {second}]"
        );
        Encryption::parse(text.as_bytes())
            .unwrap()
            .of("", "secrets")
    };
    const GCM: &str = "{aesgcm: {keys: [{name: a, secret: MDEyMzQ1Njc4OTAxMjM0NQ==}]}}";
    const KEYS: &str = "{aesgcm: {keys: [{name: b, secret: eHh4eHh4eHh4eHh4eHh4eA==}, {name: a, secret: \
                        MDEyMzQ1Njc4OTAxMjM0NQ==}]}}";
    const NONE: &str = "{identity: {}}";
    let stored = two(GCM, NONE).to_storage(b"k8s", b"/a").unwrap();
    for (providers, is_stale) in [
        (two(GCM, NONE), false),
        (two(KEYS, NONE), true),
        (two(NONE, GCM), true),
    ] {
        assert_eq!(
            providers.from_storage(&stored, b"/a").unwrap().is_stale,
            is_stale
        );
    }
    assert!(
        two(GCM, NONE).from_storage(b"k8s", b"/a").unwrap().is_stale,
        "it is plain"
    );
    let alone = two(NONE, NONE);
    assert_eq!(alone.to_storage(b"k8s", b"/a").unwrap(), b"k8s");
    let refused = alone.from_storage(&stored, b"/a").unwrap_err().to_string();
    assert_eq!(refused, "identity transformer tried to read encrypted data");
    let other = Encryption::parse(CONFIG.as_bytes())
        .unwrap()
        .of("", "limitranges");
    assert_eq!(
        other.from_storage(b"k8s\0", b"/a").unwrap_err().to_string(),
        "the provided value does not match any of the supported transformers"
    );
}

#[test]
fn resources_are_matched_as_upstream_does() {
    let text = "
apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
- resources: [pods, '*.batch']
  providers: [{identity: {}}]
- resources: ['*.*']
  providers: [{aesgcm: {keys: [{name: a, secret: MDEyMzQ1Njc4OTAxMjM0NQ==}]}}]
- resources: [secrets]
  providers: [{identity: {}}]
";
    let encryption = Encryption::parse(text.as_bytes()).unwrap();
    let plain = |group: &str, resource: &str| encryption.of(group, resource).writes_plain();
    assert!(plain("", "pods") && plain("batch", "jobs") && plain("", "secrets"));
    assert!(!plain("", "configmaps") && !plain("apps", "pods"));
}

fn refusal(rest: &str) -> String {
    let text =
        format!("apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\n{rest}");
    let error = Encryption::parse(text.as_bytes()).err().unwrap();
    let text = error.to_string();
    text.strip_prefix("EncryptionConfiguration: ")
        .unwrap()
        .to_owned()
}

#[test]
fn wrong_configurations_get_upstreams_words() {
    assert_eq!(
        refusal(""),
        "resources: Required value: at least one resources is required"
    );
    assert_eq!(
        refusal("resources: [{resources: [], providers: []}]"),
        "[resources[0].resources: Required value: at least one resources[0].resources is required, \
         resources[0].providers: Required value: at least one resources[0].providers is required]"
    );
    let names = refusal(
        "resources: [{resources: [secrets, '*.', Pods, '*', pods.*], providers: [{identity: {}}]}]",
    );
    assert_eq!(
        names,
        "[resources[0].resources: Invalid value: [\"secrets\",\"*.\",\"Pods\",\"*\",\"pods.*\"]: the same resource \
         cannot be specified multiple times, resources[0].resources: Invalid value: \
         [\"secrets\",\"*.\",\"Pods\",\"*\",\"pods.*\"]: using overlapping resources such as 'secrets' and '*.' in the \
         same resource list is not allowed as they will be masked, resources[0].resources[2]: Invalid value: \"Pods\": \
         resource name should not contain capital letters, resources[0].resources[3]: Invalid value: \"*\": use '*.' to \
         encrypt all the resources from core API group or *.* to encrypt all resources, resources[0].resources[4]: \
         Invalid value: \"pods.*\": encrypting the same resource across groups is not supported]"
    );
    let keys = refusal(
        "resources: [{resources: [secrets], providers: [{aesgcm: {keys: []}}, {}, {aescbc: {keys: [{name: a, secret: \
         eA==}, {name: '', secret: ''}, {name: c, secret: '%'}]}}]}]",
    );
    assert_eq!(
        keys,
        "[resources[0].providers[0].aesgcm.keys: Required value: at least one keys is required, \
         resources[0].providers[1]: Invalid value: \
         {\"AESGCM\":null,\"AESCBC\":null,\"Secretbox\":null,\"Identity\":null,\"KMS\":null}: provider does not contain any \
         of the expected providers: KMS, AESGCM, AESCBC, Secretbox, Identity, \
         resources[0].providers[2].aescbc.keys[0].secret: Invalid value: \"REDACTED\": secret is not of the expected \
         length, got 1, expected one of [16 24 32], resources[0].providers[2].aescbc.keys[1].name: Required value: name \
         is a mandatory field for a key, resources[0].providers[2].aescbc.keys[1].secret: Required value: secret is a \
         mandatory field for a key, resources[0].providers[2].aescbc.keys[2].secret: Invalid value: \"REDACTED\": \
         secrets must be base64 encoded]"
    );
    assert_eq!(
        refusal("resources: [{resources: [a], providers: [{identity: {}}], provider: []}]"),
        "strict decoding error: unknown field \"resources[0].provider\""
    );
    let kms = refusal(
        "resources: [{resources: [a], providers: [{kms: {name: 'a:b', endpoint: tcp://x, cachesize: 5}}]}]",
    );
    assert!(kms.contains("must not contain ':'") && kms.contains("unsupported scheme \"tcp\""));
    assert!(
        kms.contains("cachesize is not supported in v2") && kms.contains("only v2 is supported")
    );
}
