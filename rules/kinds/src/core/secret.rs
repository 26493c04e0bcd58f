//! Secrets: what clients write as text is kept as data.

use super::columns;
use super::configmap::{FROZEN, SIZE_MAX};
use crate::checks::{Errors, immutable, invalid_each};
use crate::rules::Rules;
use crate::{Column, Context, FieldError, cells, names};
use corten_api::core::v1::Secret;
use corten_core::{Bin, Map, Path, Str, Time, Value, json_text};

/// The strategy of Secrets.
pub struct Secrets;

impl Rules for Secrets {
    type Of = Secret;

    fn default(&self, secret: &mut Secret) {
        if secret.type_.is_empty() {
            secret.type_ = "Opaque".into();
        }
        for (key, text) in &std::mem::replace(&mut secret.string_data, Map::NIL) {
            secret.data.insert(key.clone(), Bin::from(text.as_str()));
        }
    }
    fn prepare_update(&self, _cx: &Context, _part: &str, new: &mut Secret, old: &Secret) {
        if new.type_.is_empty() {
            new.type_ = old.type_.clone();
        }
    }
    fn validate_create(&self, _cx: &Context, new: &Secret) -> Vec<FieldError> {
        validate(new)
    }
    fn validate_update(
        &self,
        _cx: &Context,
        _part: &str,
        new: &Secret,
        old: &Secret,
    ) -> Vec<FieldError> {
        let mut errors = Vec::new();
        immutable(
            &mut errors,
            &Path::Root.f("type"),
            new.type_ == old.type_,
            &new.type_,
        );
        if old.immutable == Some(true) {
            if new.immutable != Some(true) {
                errors.push(FieldError::forbidden("immutable", FROZEN));
            }
            if !new.data.iter().eq(old.data.iter()) {
                errors.push(FieldError::forbidden("data", FROZEN));
            }
        }
        errors.extend(validate(new));
        errors
    }
    fn warnings(&self, _cx: &Context, new: &Secret, _old: Option<&Secret>) -> Vec<String> {
        let lacks = |key: &str| {
            let text = new.data.get(key);
            text.is_none_or(|t| !String::from_utf8_lossy(t).contains("-----BEGIN "))
        };
        let missing = [("tls.crt", "certificate"), ("tls.key", "key")];
        let missing = missing.iter().find(|(key, _)| lacks(key));
        missing
            .filter(|_| new.type_ == "kubernetes.io/tls")
            .map(|(_, what)| format!("tls: failed to find any PEM data in {what} input"))
            .into_iter()
            .collect()
    }
    fn columns(&self) -> &'static [Column] {
        &columns::SECRET
    }
    fn cells(&self, secret: &Secret, now: &Time) -> Vec<Value> {
        vec![
            Value::from(&secret.metadata.name),
            Value::from(&secret.type_),
            Value::from(secret.data.len() as i64),
            cells::age(&secret.metadata.creation_timestamp, now),
        ]
    }
    fn field_labels(&self) -> &'static [&'static str] {
        &["type"]
    }
    fn field_values(&self, secret: &Secret) -> Vec<Str> {
        vec![secret.type_.clone()]
    }
}

fn validate(secret: &Secret) -> Errors {
    let mut errors = Vec::new();
    let path = Path::Root.f("data");
    let mut size = 0;
    for (key, value) in &secret.data {
        invalid_each(&mut errors, &path.k(key), key, names::config_key(key));
        size += value.len();
    }
    if size > SIZE_MAX {
        errors.push(FieldError::too_long(&path, SIZE_MAX));
    }
    let missing = |key: &str| !secret.data.contains_key(key);
    let mut need = |keys: &[&str]| {
        errors.extend(keys.iter().map(|key| FieldError::required(path.k(key), "")));
    };
    match secret.type_.as_str() {
        "kubernetes.io/service-account-token" => {
            const NAME: &str = "kubernetes.io/service-account.name";
            if secret.metadata.annotation(NAME).is_empty() {
                let at = Path::Root.f("metadata");
                errors.push(FieldError::required(at.f("annotations").k(NAME), ""));
            }
        }
        "kubernetes.io/dockercfg" => json_object(&mut errors, secret, ".dockercfg"),
        "kubernetes.io/dockerconfigjson" => json_object(&mut errors, secret, ".dockerconfigjson"),
        "kubernetes.io/basic-auth" if missing("username") && missing("password") => {
            need(&["username", "password"])
        }
        "kubernetes.io/ssh-auth"
            if secret
                .data
                .get("ssh-privatekey")
                .is_none_or(|k| k.is_empty()) =>
        {
            need(&["ssh-privatekey"]);
        }
        "kubernetes.io/tls" => {
            let keys = ["tls.crt", "tls.key"].into_iter().filter(|k| missing(k));
            need(&keys.collect::<Vec<_>>());
        }
        _ => {}
    }
    errors
}

/// Go's words for a text that does not begin as JSON does.
pub(super) fn not_json(text: &[u8]) -> Option<String> {
    let first = text.iter().find(|b| !b.is_ascii_whitespace())?;
    let begins = matches!(
        first,
        b'{' | b'[' | b'"' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n'
    );
    (!begins).then(|| {
        format!(
            "invalid character '{}' looking for beginning of value",
            char::from(*first)
        )
    })
}

fn json_object(errors: &mut Errors, secret: &Secret, key: &str) {
    let path = Path::Root.f("data");
    let Some(text) = secret.data.get(key) else {
        errors.push(FieldError::required(path.k(key), ""));
        return;
    };
    let wrong = match json_text::parse(text) {
        Ok(Value::Map(_) | Value::Null) => return,
        Ok(other) => format!(
            "json: cannot unmarshal {} into Go value of type map[string]interface {{}}",
            other.type_name()
        ),
        Err(_) if text.is_empty() => "unexpected end of JSON input".to_owned(),
        Err(error) => not_json(text).unwrap_or_else(|| error.to_string()),
    };
    errors.push(FieldError::invalid(
        path.k(key),
        "<secret contents redacted>",
        wrong,
    ));
}
