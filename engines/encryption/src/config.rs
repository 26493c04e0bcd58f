//! `EncryptionConfiguration` as upstream reads and checks it, with upstream's messages.

use crate::EncryptionError;
use crate::cipher::{Key, Kind};
use crate::kms::Kms;
use crate::provider::{Provider, Providers};
use base64::Engine;
use corten_core::Value;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

const GROUP: &str = "apiserver.config.k8s.io/v1";
/// How long a key management plugin may take to answer, unless told.
const KMS_TIMEOUT: Duration = Duration::from_secs(3);
const KIND: &str = "EncryptionConfiguration";

/// Which providers each resource has.
#[derive(Clone, Default)]
pub struct Encryption {
    /// (group, resource), either of which may be `*`.
    resources: HashMap<(String, String), Providers>,
}

impl Encryption {
    /// Reads a configuration, YAML or JSON.
    pub fn parse(text: &[u8]) -> Result<Encryption, EncryptionError> {
        let (value, mut duplicates) = corten_codec::yaml::decode_value_strict(text)
            .map_err(|error| EncryptionError::Config(error.to_string()))?;
        if let Some(duplicate) = duplicates.pop() {
            return Err(EncryptionError::Config(duplicate));
        }
        let found = (value.str_at(&["apiVersion"]), value.str_at(&["kind"]));
        if found != (GROUP, KIND) {
            let (version, kind) = found;
            return Err(EncryptionError::Config(format!(
                "no kind {kind:?} is registered for version {version:?}; it must be {KIND:?} of {GROUP:?}"
            )));
        }
        let mut problems = Vec::new();
        let mut encryption = Encryption::default();
        let entries = list(&value, "resources");
        if entries.is_empty() {
            problems
                .push("resources: Required value: at least one resources is required".to_owned());
        }
        unknown(
            &value,
            &["apiVersion", "kind", "resources"],
            "",
            &mut problems,
        );
        for (index, entry) in entries.iter().enumerate() {
            let path = format!("resources[{index}]");
            unknown(entry, &["resources", "providers"], &path, &mut problems);
            let names = names(entry, &path, &mut problems);
            let providers = providers(entry, &path, &mut problems);
            let providers = Providers(Arc::new(providers));
            for name in names {
                // The first entry that names a resource has it.
                encryption
                    .resources
                    .entry(name)
                    .or_insert_with(|| providers.clone());
            }
        }
        match problems.is_empty() {
            true => Ok(encryption),
            false if problems.len() == 1 => Err(EncryptionError::Config(problems.remove(0))),
            false => Err(EncryptionError::Config(format!(
                "[{}]",
                problems.join(", ")
            ))),
        }
    }

    /// The providers of a resource: by name, by `*` of its group, by `*.*`, else `identity` alone.
    pub fn of(&self, group: &str, resource: &str) -> Providers {
        let named = [(group, resource), (group, "*"), ("*", "*")];
        let mut found = named
            .iter()
            .filter_map(|(group, resource)| {
                self.resources
                    .get(&((*group).to_owned(), (*resource).to_owned()))
            })
            .cloned();
        found.next().unwrap_or_else(Providers::identity)
    }
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value.get(name).and_then(Value::as_list).unwrap_or_default()
}

fn unknown(value: &Value, known: &[&str], path: &str, problems: &mut Vec<String>) {
    let Some(map) = value.as_map() else {
        problems.push(format!("{path}: Invalid value: it must be an object"));
        return;
    };
    for key in map.keys().filter(|key| !known.contains(&&***key)) {
        let path = if path.is_empty() {
            String::new()
        } else {
            format!("{path}.")
        };
        problems.push(format!(
            "strict decoding error: unknown field \"{path}{key}\""
        ));
    }
}

/// `pods`, `deployments.apps`, `*.`, `*.apps`, `*.*` as (group, resource).
fn group_resource(name: &str) -> (String, String) {
    match name.split_once('.') {
        Some((resource, group)) => (group.to_owned(), resource.to_owned()),
        None => (String::new(), name.to_owned()),
    }
}

fn names(entry: &Value, path: &str, problems: &mut Vec<String>) -> Vec<(String, String)> {
    let path = format!("{path}.resources");
    let names: Vec<&str> = list(entry, "resources")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    if names.is_empty() {
        problems.push(format!(
            "{path}: Required value: at least one {path} is required"
        ));
    }
    let (mut about_all, mut about_one) = (Vec::new(), Vec::new());
    for (index, name) in names.iter().enumerate() {
        if let Some(problem) = name_problem(name) {
            about_one.push(format!(
                "{path}[{index}]: Invalid value: {name:?}: {problem}"
            ));
        }
    }
    let pairs: Vec<(String, String)> = names.iter().map(|name| group_resource(name)).collect();
    let shown: Vec<String> = names.iter().map(|name| format!("{name:?}")).collect();
    let shown = shown.join(",");
    let (is_repeated, is_masked) = overlaps(&pairs);
    if is_repeated {
        about_all.push(format!(
            "{path}: Invalid value: [{shown}]: the same resource cannot be specified multiple times"
        ));
    }
    if is_masked {
        about_all.push(format!(
            "{path}: Invalid value: [{shown}]: using overlapping resources such as 'secrets' and '*.' in the same \
             resource list is not allowed as they will be masked"
        ));
    }
    problems.append(&mut about_all);
    problems.append(&mut about_one);
    pairs
}

/// Whether a list names a resource twice, and whether one of its names hides another; as upstream looks at pairs,
/// the second look at a repeated wildcard counts as hiding.
fn overlaps(pairs: &[(String, String)]) -> (bool, bool) {
    let (mut is_repeated, mut is_masked) = (false, false);
    for (i, one) in pairs.iter().enumerate() {
        for (_, other) in pairs.iter().enumerate().filter(|(j, _)| *j != i) {
            if one == other && !is_repeated {
                is_repeated = true;
            } else if (one.0 == "*" && one.1 == "*")
                || (one.0 == other.0 && (one.1 == "*" || other.1 == "*"))
            {
                is_masked = true;
            }
        }
    }
    (is_repeated, is_masked)
}

fn name_problem(name: &str) -> Option<&'static str> {
    let (group, resource) = group_resource(name);
    if name.chars().any(char::is_uppercase) {
        return Some("resource name should not contain capital letters");
    }
    match (name, group.as_str()) {
        ("*", _) => Some(
            "use '*.' to encrypt all the resources from core API group or *.* to encrypt all resources",
        ),
        ("apiserveripinfo" | "serviceipallocations" | "servicenodeportallocations", _) => {
            Some("resources which do not have REST API/s cannot be encrypted")
        }
        (_, "events.k8s.io") => Some(
            "'*.events.k8s.io' objects are stored using the 'events' API group in etcd. Use 'events' instead in the \
             config file",
        ),
        (_, "extensions") => {
            Some("'extensions' group has been removed and cannot be used for encryption")
        }
        (_, "*") if resource != "*" => {
            Some("encrypting the same resource across groups is not supported")
        }
        _ => None,
    }
}

fn providers(entry: &Value, path: &str, problems: &mut Vec<String>) -> Vec<Provider> {
    let path = format!("{path}.providers");
    let providers = list(entry, "providers");
    if providers.is_empty() {
        problems.push(format!(
            "{path}: Required value: at least one {path} is required"
        ));
    }
    let numbered = providers.iter().enumerate();
    numbered
        .filter_map(|(index, one)| provider(one, &format!("{path}[{index}]"), problems))
        .collect()
}

fn provider(value: &Value, path: &str, problems: &mut Vec<String>) -> Option<Provider> {
    const KNOWN: [&str; 5] = ["kms", "aesgcm", "aescbc", "secretbox", "identity"];
    unknown(value, &KNOWN, path, problems);
    let found: Vec<(&str, &Value)> = KNOWN
        .iter()
        .filter_map(|name| Some((*name, value.get(name)?)))
        .collect();
    let (name, settings) = match found[..] {
        [one] => one,
        [] => {
            problems.push(format!(
                "{path}: Invalid value: {{\"AESGCM\":null,\"AESCBC\":null,\"Secretbox\":null,\"Identity\":null,\
                 \"KMS\":null}}: provider does not contain any of the expected providers: KMS, AESGCM, \
                 AESCBC, Secretbox, Identity"
            ));
            return None;
        }
        _ => {
            problems.push(format!(
                "{path}: Invalid value: more than one provider specified in a single element, should split into \
                 different list elements"
            ));
            return None;
        }
    };
    let kind = match name {
        "identity" => return Some(Provider::Identity),
        "aesgcm" => Kind::AesGcm,
        "aescbc" => Kind::AesCbc,
        "secretbox" => Kind::Secretbox,
        _ => return kms(settings, &format!("{path}.kms"), problems).map(Provider::Kms),
    };
    let path = format!("{path}.{name}.keys");
    let keys = list(settings, "keys");
    if keys.is_empty() {
        problems.push(format!(
            "{path}: Required value: at least one keys is required"
        ));
    }
    let numbered = keys.iter().enumerate();
    let keys =
        numbered.filter_map(|(index, one)| key(kind, one, &format!("{path}[{index}]"), problems));
    Some(Provider::Keys(kind, keys.collect()))
}

fn kms(value: &Value, path: &str, problems: &mut Vec<String>) -> Option<Kms> {
    let before = problems.len();
    unknown(
        value,
        &["apiVersion", "name", "cachesize", "endpoint", "timeout"],
        path,
        problems,
    );
    let (name, endpoint) = (value.str_at(&["name"]), value.str_at(&["endpoint"]));
    if name.is_empty() {
        problems.push(format!(
            "{path}.name: Required value: name is a mandatory field for a kms"
        ));
    }
    if name.contains(':') {
        problems.push(format!(
            "{path}.name: Invalid value: {name:?}: invalid KMS provider name {name}, must not contain ':'"
        ));
    }
    let timeout = match value.get("timeout").and_then(Value::as_str) {
        None => Some(KMS_TIMEOUT),
        Some(text) => duration(text),
    };
    if timeout.is_none_or(|timeout| timeout.is_zero()) {
        problems.push(format!(
            "{path}.timeout: Invalid value: timeout should be a positive value"
        ));
    }
    let socket = endpoint.strip_prefix("unix://");
    if endpoint.is_empty() {
        problems.push(format!(
            "{path}.endpoint: Invalid value: \"\": endpoint is a mandatory field for a kms"
        ));
    } else if socket.is_none() {
        let scheme = endpoint.split_once(':').map_or("", |(scheme, _)| scheme);
        problems.push(format!(
            "{path}.endpoint: Invalid value: {endpoint:?}: unsupported scheme {scheme:?} for KMS provider, only unix is \
             supported"
        ));
    }
    if let Some(size) = value.get("cachesize").and_then(Value::as_i64) {
        problems.push(format!(
            "{path}.cachesize: Invalid value: {size}: cachesize is not supported in v2"
        ));
    }
    let version = value.str_at(&["apiVersion"]);
    if version != "v2" {
        // Upstream's default is v1, which its feature gate has off.
        let version = if version.is_empty() { "v1" } else { version };
        problems.push(format!(
            "{path}.apiVersion: Invalid value: {version:?}: unsupported apiVersion {version} for KMS provider, only v2 \
             is supported"
        ));
    }
    if problems.len() > before {
        return None;
    }
    let socket = PathBuf::from(socket?.trim_start_matches('@'));
    match Kms::start(name, socket, timeout?) {
        Ok(kms) => Some(kms),
        Err(error) => {
            problems.push(format!("{path}: {error}"));
            None
        }
    }
}

/// `3s`, `500ms` or `1m`, as Go writes times.
fn duration(text: &str) -> Option<Duration> {
    let units = [("ms", 1), ("s", 1_000), ("m", 60_000)];
    let (number, unit) = units
        .iter()
        .find_map(|(name, millis)| Some((text.strip_suffix(name)?, *millis)))?;
    let number: u64 = number.parse().ok()?;
    Some(Duration::from_millis(number.checked_mul(unit)?))
}

fn key(kind: Kind, value: &Value, path: &str, problems: &mut Vec<String>) -> Option<(String, Key)> {
    let (name, secret) = (value.str_at(&["name"]), value.str_at(&["secret"]));
    for (field, text) in [("name", name), ("secret", secret)] {
        if text.is_empty() {
            problems.push(format!(
                "{path}.{field}: Required value: {field} is a mandatory field for a key"
            ));
        }
    }
    if name.is_empty() || secret.is_empty() {
        return None;
    }
    let Ok(secret) = base64::engine::general_purpose::STANDARD.decode(secret) else {
        problems.push(format!(
            "{path}.secret: Invalid value: \"REDACTED\": secrets must be base64 encoded"
        ));
        return None;
    };
    let key = Key::new(kind, &secret);
    if key.is_none() {
        let lengths: Vec<String> = kind.key_lengths().iter().map(usize::to_string).collect();
        problems.push(format!(
            "{path}.secret: Invalid value: \"REDACTED\": secret is not of the expected length, got {}, expected one \
             of [{}]",
            secret.len(),
            lengths.join(" ")
        ));
    }
    Some((name.to_owned(), key?))
}
