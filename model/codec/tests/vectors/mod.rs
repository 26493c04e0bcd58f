//! Upstream's serialization vectors, read from the Go module cache (and downloaded into it when missing).

use corten_api::{Gvk, Object};
use corten_codec::{Options, protobuf};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The files of one kind: extension (`json`, `pb`, `yaml`, `after_roundtrip.json` ...) to content.
pub type Vector = BTreeMap<String, Vec<u8>>;

/// All vectors of one release directory (`HEAD`, `v1.34.0`), by kind (`apps.v1.Deployment`).
pub fn load(release: &str) -> BTreeMap<String, Vector> {
    let mut vectors: BTreeMap<String, Vector> = BTreeMap::new();
    for entry in std::fs::read_dir(testdata().join(release)).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let (kind, extension) = split(name);
        let mut content = std::fs::read(&path).unwrap();
        if extension.ends_with("json") {
            // Indented for reading only: raw JSON inside is compact in the other formats.
            content = compact(&content);
        }
        vectors
            .entry(kind.into())
            .or_default()
            .insert(extension.into(), content);
    }
    assert!(
        vectors.len() > 100,
        "{} vectors of {release}",
        vectors.len()
    );
    vectors
}

/// Release directories older than HEAD.
#[allow(
    dead_code,
    reason = "not every test that loads vectors looks at older ones"
)]
pub fn older_releases() -> Vec<String> {
    let entries = std::fs::read_dir(testdata()).unwrap();
    let mut names: Vec<String> = entries
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .filter(|n| n.starts_with('v'))
        .collect();
    names.sort();
    assert!(!names.is_empty());
    names
}

fn split(name: &str) -> (&str, &str) {
    for extension in ["json", "yaml", "pb"] {
        if let Some(stem) = name
            .strip_suffix(extension)
            .and_then(|s| s.strip_suffix('.'))
        {
            let kind = stem.strip_suffix(".after_roundtrip").unwrap_or(stem);
            return (kind, &name[kind.len() + 1..]);
        }
    }
    panic!("{name} has none of the expected extensions");
}

fn testdata() -> PathBuf {
    let module = Path::new(&go(&["env", "GOMODCACHE"])).join("k8s.io/api@v0.36.3");
    if !module.is_dir() {
        go(&["mod", "download", "k8s.io/api@v0.36.3"]);
    }
    module.join("testdata")
}

fn go(args: &[&str]) -> String {
    let output = Command::new("go")
        .args(args)
        .current_dir(std::env::temp_dir())
        .output()
        .expect("the vectors need Go");
    assert!(
        output.status.success(),
        "go {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// The options to decode a vector with: its file name says the kind, which WatchEvent itself does not.
pub fn options(kind: &str) -> Options<'_> {
    let (group_version, kind) = kind.rsplit_once('.').unwrap();
    let (group, version) = group_version.rsplit_once('.').unwrap();
    let group = if group == "core" { "" } else { group };
    Options {
        strict: true,
        default: Some(Gvk {
            group,
            version,
            kind,
        }),
    }
}

/// The enveloped protobuf; the envelope of a kind without type fields says nothing.
pub fn enveloped(object: &Object) -> Vec<u8> {
    if object.kind() != "WatchEvent" {
        return protobuf::encode(object).expect("every kind with vectors is built in");
    }
    protobuf::seal_envelope("", "", &protobuf::encode_message(object.message().unwrap()))
}

/// Removes white space between tokens, keeping the order of members.
fn compact(json: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    corten_codec::json::write_raw(json, &mut out);
    out
}

/// Panics with the place where two texts part.
pub fn assert_same(what: &str, left: &[u8], right: &[u8]) {
    if left == right {
        return;
    }
    let at = left.iter().zip(right).take_while(|(a, b)| a == b).count();
    let shown = |bytes: &[u8]| {
        bytes[at.saturating_sub(80)..bytes.len().min(at + 80)]
            .escape_ascii()
            .to_string()
    };
    panic!(
        "{what} differs at byte {at}:\n  left  {}\n  right {}",
        shown(left),
        shown(right)
    );
}
