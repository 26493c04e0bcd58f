//! From bytes to objects: request bodies with their problems (unknown and duplicate fields), patches, options, and what
//! the store holds. Refusals are worded as upstream's decoders do.

use bytes::Bytes;
use corten_api::{Gvk, Object};
use corten_client::{Cause, Status, Target};
use corten_codec::json::{self, JsonError, Report};
use corten_codec::{protobuf, yaml};
use corten_core::{MsgMut, MsgRef, Value};

use crate::audit;
use crate::catalog::Served;
use crate::custom::{self, Custom};
use crate::negotiate::Media;
use crate::options::{DeleteOptions, FieldValidation, Propagation};

/// The object in a request's body and the warnings it gave rise to.
pub(crate) fn object(
    served: &Served,
    media: Media,
    body: &Bytes,
    validation: FieldValidation,
) -> Result<(Object, Vec<String>), Status> {
    let (object, problems) = read(served, media, body, validation)?;
    audit::sent(served, &object);
    Ok((object, problems))
}

fn read(
    served: &Served,
    media: Media,
    body: &Bytes,
    validation: FieldValidation,
) -> Result<(Object, Vec<String>), Status> {
    let expected = served.group_version_kind_ref();
    let Some(custom) = &served.custom else {
        return read_of(expected, false, media, body, validation);
    };
    // What the schema does not know is pruned, which counts as a problem like an unknown field.
    let (mut object, mut problems) = read_of(expected, true, media, body, FieldValidation::Warn)?;
    let dropped = prune(&mut object, custom);
    let mut dropped = dropped;
    dropped.sort();
    problems.extend(dropped.iter().map(|path| format!("unknown field {path:?}")));
    if validation == FieldValidation::Strict && !problems.is_empty() {
        return Err(unhandled(expected, &strict_text(&problems)));
    }
    if validation == FieldValidation::Ignore {
        problems.clear();
    }
    Ok((object, problems))
}

fn prune(object: &mut Object, custom: &Custom) -> Vec<String> {
    let mut dropped = Vec::new();
    custom::with_body(object, |body| dropped = custom.structural.prune(body));
    dropped
}

/// The same for a kind that is not a resource of its own (scale, eviction, reviews).
pub(crate) fn object_of(
    expected: Gvk<'_>,
    custom: bool,
    media: Media,
    body: &Bytes,
    validation: FieldValidation,
) -> Result<(Object, Vec<String>), Status> {
    let (object, problems) = read_of(expected, custom, media, body, validation)?;
    audit::sent_plain(&object);
    Ok((object, problems))
}

fn read_of(
    expected: Gvk<'_>,
    custom: bool,
    media: Media,
    body: &Bytes,
    validation: FieldValidation,
) -> Result<(Object, Vec<String>), Status> {
    if media == Media::Protobuf {
        return protobuf_object(expected, custom, body).map(|o| (o, Vec::new()));
    }
    let mut problems = Vec::new();
    let text = match media {
        Media::Yaml => {
            let (value, found) = yaml::decode_value_strict(body)
                .map_err(|e| unrecognized(expected, &format!("{e} ({})", summary(body))))?;
            problems = found;
            Bytes::from(json::encode_value(&value))
        }
        _ => body.clone(),
    };
    let named = json::peek_kind(&text).map_err(|e| {
        let why = format!(
            "couldn't get version/kind; json parse error: {e} ({})",
            summary(&text)
        );
        unrecognized(expected, &why)
    })?;
    if custom {
        check_custom_kind(expected, &named.api_version, &named.kind, &text)?;
    } else {
        check_kind(expected, &named.api_version, &named.kind, Some(&text))?;
    }
    let mut report = Report::default();
    let made = if custom {
        json::decode_value_strict(&text, &mut report).and_then(|mut value| {
            value.set(
                &["apiVersion"],
                Value::from(expected.api_version().as_str()),
            );
            value.set(&["kind"], Value::from(expected.kind));
            report.problems.extend(custom_metadata(&value)?);
            Object::from_value(&value).map_err(|e| JsonError::Type(e.to_string()))
        })
    } else {
        let mut object = Object::new_for(expected)
            .ok_or_else(|| Status::internal("a served kind has no type"))?;
        let message = object
            .message_mut()
            .ok_or_else(|| Status::internal("a served kind has no table"))?;
        json::decode_message(&text, message, Some(&mut report)).map(|()| object)
    };
    let object = made.map_err(|e| match e {
        // The whole text is read before its kind is believed.
        JsonError::Syntax(e) => {
            let why = format!(
                "couldn't get version/kind; json parse error: {e} ({})",
                summary(&text)
            );
            unrecognized(expected, &why)
        }
        JsonError::Type(_) => unhandled(expected, &e.to_string()),
    })?;
    problems.extend(report.problems);
    judge(expected, object, problems, validation)
}

fn judge(
    expected: Gvk<'_>,
    object: Object,
    problems: Vec<String>,
    validation: FieldValidation,
) -> Result<(Object, Vec<String>), Status> {
    match validation {
        FieldValidation::Strict if !problems.is_empty() => {
            Err(unhandled(expected, &strict_text(&problems)))
        }
        FieldValidation::Warn => Ok((object, problems)),
        _ => Ok((object, Vec::new())),
    }
}

fn protobuf_object(expected: Gvk<'_>, custom: bool, body: &Bytes) -> Result<Object, Status> {
    if custom {
        return Err(Status::unsupported_media(
            &["application/json", "application/yaml"],
            "application/vnd.kubernetes.protobuf",
        ));
    }
    let envelope = protobuf::open_envelope(body)
        .map_err(|e| unrecognized(expected, &format!("{e} ({})", summary(body))))?;
    check_kind(
        expected,
        &envelope.type_meta.api_version,
        &envelope.type_meta.kind,
        None,
    )?;
    let mut object =
        Object::new_for(expected).ok_or_else(|| Status::internal("a served kind has no type"))?;
    if let Some(message) = object.message_mut() {
        protobuf::decode_message(envelope.raw, message)
            .map_err(|e| unhandled(expected, &e.to_string()))?;
    }
    Ok(object)
}

fn check_kind(
    expected: Gvk<'_>,
    api_version: &str,
    kind: &str,
    text: Option<&Bytes>,
) -> Result<(), Status> {
    let wanted = expected.api_version();
    if !kind.is_empty() && kind != expected.kind {
        let given = if api_version.is_empty() {
            &wanted
        } else {
            api_version
        };
        return Err(Status::bad_request(format!(
            "{kind} in version {:?} cannot be handled as a {}: {}",
            given.rsplit('/').next().unwrap_or(given),
            expected.kind,
            text.and_then(|text| kind_problem(expected, given, kind, || text.clone()))
                .unwrap_or_else(|| mismatch(expected, given, kind))
        )));
    }
    if !api_version.is_empty() && api_version != wanted {
        let given = Gvk::parse(api_version, expected.kind);
        if corten_api::kind_info(given).is_none() {
            return Err(Status::bad_request(format!(
                "{} in version {:?} cannot be handled as a {}: {}",
                expected.kind,
                given.version,
                expected.kind,
                unregistered(api_version, expected.kind)
            )));
        }
        return Err(Status::bad_request(format!(
            "the API version in the data ({api_version}) does not match the expected API version ({wanted})"
        )));
    }
    Ok(())
}

/// Custom resources are of no Go type, so nothing fails to convert: a wrong kind is a wrong value.
fn check_custom_kind(
    expected: Gvk<'_>,
    api_version: &str,
    kind: &str,
    text: &[u8],
) -> Result<(), Status> {
    let wanted = expected.api_version();
    if kind.is_empty() {
        let shown = String::from_utf8_lossy(text);
        let why = format!("Object 'Kind' is missing in '{shown}' ({})", summary(text));
        return Err(unrecognized(expected, &why));
    }
    if api_version != wanted {
        return Err(Status::bad_request(format!(
            "the API version in the data ({api_version}) does not match the expected API version ({wanted})"
        )));
    }
    if kind == expected.kind {
        return Ok(());
    }
    let value = json::decode_value(text).unwrap_or_default();
    Err(other_kind(
        expected,
        kind,
        value.str_at(&["metadata", "name"]),
    ))
}

/// 422 about a custom resource that says it is of another kind.
pub(crate) fn other_kind(expected: Gvk<'_>, kind: &str, name: &str) -> Status {
    let target = Target {
        group: expected.group,
        resource: kind,
        name,
    };
    let message = format!("Invalid value: {kind:?}: must be {}", expected.kind);
    let cause = Cause {
        reason: "FieldValueInvalid".to_owned(),
        message: message.clone(),
        field: "kind".to_owned(),
    };
    Status::invalid(target, vec![cause], &format!("kind: {message}"))
}

/// What is wrong or unknown in the metadata of a custom resource, which is typed like everybody's.
fn custom_metadata(value: &Value) -> Result<Vec<String>, JsonError> {
    let Some(metadata) = value.get("metadata").filter(|m| !m.is_null()) else {
        return Ok(Vec::new());
    };
    let mut report = Report::default();
    let mut typed = corten_api::meta::v1::ObjectMeta::default();
    let text = json::encode_value(metadata);
    json::decode_message(&text, MsgMut::new(&mut typed), Some(&mut report))?;
    let problems = report.problems.into_iter();
    let placed = problems.map(|problem| problem.replacen("field \"", "field \"metadata.", 1));
    Ok(placed.collect())
}

fn unregistered(api_version: &str, kind: &str) -> String {
    format!(
        "no kind {kind:?} is registered for version {api_version:?} in scheme \"pkg/runtime/scheme.go:111\""
    )
}

/// Why an object of another kind is not taken, as Go's conversion words it.
fn mismatch(expected: Gvk<'_>, api_version: &str, kind: &str) -> String {
    let given = Gvk::parse(api_version, kind);
    if corten_api::kind_info(given).is_none() {
        return unregistered(api_version, kind);
    }
    let package = match expected.group.split('.').next().unwrap_or_default() {
        "" => "core",
        first => first,
    };
    format!(
        "converting ({}.{kind}) to ({package}.{}): unknown conversion",
        given.version, expected.kind
    )
}

fn unhandled(expected: Gvk<'_>, why: &str) -> Status {
    Status::bad_request(format!(
        "{} in version {:?} cannot be handled as a {}: {why}",
        expected.kind, expected.version, expected.kind
    ))
}

/// The start of a body, for messages about bodies that are no objects.
fn summary(body: &[u8]) -> String {
    const SHOWN_MAX: usize = 30;
    let shown = &body[..body.len().min(SHOWN_MAX)];
    let text = match body.first() {
        None => return "<empty>".to_owned(),
        Some(b'{') => String::from_utf8_lossy(shown).into_owned(),
        Some(_) => shown.iter().map(|b| format!("{b:02x}")).collect(),
    };
    if body.len() > SHOWN_MAX {
        format!("{text} ...")
    } else {
        text
    }
}

fn unrecognized(expected: Gvk<'_>, why: &str) -> Status {
    Status::bad_request(format!(
        "the object provided is unrecognized (must be of type {}): {why}",
        expected.kind
    ))
}

/// The object of a served kind that a value is, and what the kind does not know of it.
///
/// # Errors
/// What is of the wrong type, in Go's words.
pub(crate) fn value_object(
    served: &Served,
    value: &Value,
) -> Result<(Object, Vec<String>), String> {
    let gvk = served.group_version_kind_ref();
    if let Some(object) = plain_object(served, value) {
        return Ok((object, Vec::new()));
    }
    let mut value = value.clone();
    value.set(&["apiVersion"], Value::from(gvk.api_version().as_str()));
    value.set(&["kind"], Value::from(gvk.kind));
    if served.is_custom() {
        let mut problems = custom_metadata(&value).map_err(|e| e.to_string())?;
        let mut object = Object::from_value(&value).map_err(|e| e.to_string())?;
        let custom = served.custom.as_ref();
        let dropped = custom.map(|c| prune(&mut object, c)).unwrap_or_default();
        problems.extend(dropped.iter().map(|path| format!("unknown field {path:?}")));
        return Ok((object, problems));
    }
    let text = json::encode_value(&value);
    let mut report = Report::default();
    let mut object = Object::new_for(gvk).ok_or("a served kind has no type")?;
    if let Some(message) = object.message_mut() {
        json::decode_message(&text, message, Some(&mut report)).map_err(|e| e.to_string())?;
    }
    Ok((object, report.problems))
}

/// The object of a built-in kind that a value is, when nothing is to be said about it.
fn plain_object(served: &Served, value: &Value) -> Option<Object> {
    let gvk = served.group_version_kind_ref();
    let is_kind = value["kind"].as_str() == Some(gvk.kind)
        && value["apiVersion"].as_str() == Some(gvk.api_version().as_str());
    if served.is_custom() || !is_kind || !is_plain(value) {
        return None;
    }
    let mut unknown = Vec::new();
    let object = Object::from_value_strict(value, &mut unknown).ok()?;
    unknown.is_empty().then_some(object)
}

/// Whether its text surely reads as the value itself does: no fractions, and no nulls in lists.
pub(crate) fn is_plain(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(_) | Value::Int(_) | Value::Str(_) => true,
        Value::Float(_) => false,
        Value::List(list) => list.iter().all(|item| !item.is_null() && is_plain(item)),
        Value::Map(map) => map.values().all(is_plain),
    }
}

/// Why a text that says it is of this kind cannot be taken for the expected one; upstream reads it as what it says first.
pub(crate) fn kind_problem(
    expected: Gvk<'_>,
    api_version: &str,
    kind: &str,
    text: impl FnOnce() -> Bytes,
) -> Option<String> {
    let same = kind.is_empty() || kind == expected.kind;
    if same && (api_version.is_empty() || api_version == expected.api_version()) {
        return None;
    }
    let given = Gvk::parse(api_version, kind);
    let Some(mut object) = Object::new_for(given) else {
        return Some(unregistered(api_version, kind));
    };
    let message = object.message_mut()?;
    match json::decode_message(&text(), message, None) {
        Err(e) => Some(e.to_string()),
        Ok(()) => Some(mismatch(expected, api_version, kind)),
    }
}

/// Repeated keys as Go's YAML decoder lists them.
pub(crate) fn yaml_problems(lines: &[String]) -> String {
    format!("yaml: unmarshal errors:\n  {}", lines.join("\n  "))
}

/// All problems in one text: repeated keys of YAML are one of them.
fn strict_text(problems: &[String]) -> String {
    let is_line = |p: &&String| p.starts_with("line ") && p.ends_with("already set in map");
    let (lines, rest): (Vec<_>, Vec<_>) = problems.iter().partition(is_line);
    let lines: Vec<String> = lines.into_iter().cloned().collect();
    let mut all: Vec<String> = Vec::new();
    if !lines.is_empty() {
        all.push(yaml_problems(&lines));
    }
    all.extend(rest.into_iter().cloned());
    format!("strict decoding error: {}", all.join(", "))
}

/// A body of DeleteOptions.
pub(crate) fn delete_options(media: Media, body: &Bytes) -> Result<DeleteOptions, Status> {
    use corten_api::meta::v1::DeleteOptions as Wire;
    let gvk = Gvk {
        group: "",
        version: "v1",
        kind: "DeleteOptions",
    };
    let parsed = match media {
        Media::Protobuf => {
            let envelope =
                protobuf::open_envelope(body).map_err(|e| unrecognized(gvk, &e.to_string()))?;
            let mut wire = Wire::default();
            protobuf::decode_message(envelope.raw, corten_core::MsgMut::new(&mut wire))
                .map_err(|e| unhandled(gvk, &e.to_string()))?;
            wire
        }
        _ => {
            let value = match media {
                Media::Yaml => {
                    yaml::decode_value(body).map_err(|e| unrecognized(gvk, &e.to_string()))?
                }
                _ => json::decode_value(body).map_err(|e| {
                    Status::bad_request(format!("couldn't get version/kind; json parse error: {e}"))
                })?,
            };
            let (version, kind) = (value.str_at(&["apiVersion"]), value.str_at(&["kind"]));
            let known = matches!(kind, "" | "DeleteOptions")
                || corten_api::kind_info(Gvk::parse(version, kind)).is_some();
            if !known {
                return Err(Status::bad_request(unregistered(version, kind)));
            }
            corten_core::from_value(&value).map_err(|e| unhandled(gvk, &e.to_string()))?
        }
    };
    audit::sent_text(&json::encode_message(MsgRef::new(&parsed)));
    let propagation = match (&parsed.propagation_policy, parsed.orphan_dependents) {
        (Some(_), Some(_)) => {
            let policy = parsed.propagation_policy.as_deref().unwrap_or_default();
            let text = format!(
                "propagationPolicy: Invalid value: {policy:?}: orphanDependents and deletionPropagation cannot be both set"
            );
            return Err(crate::options::invalid_options(
                "DeleteOptions",
                "propagationPolicy",
                "FieldValueInvalid",
                &text,
            ));
        }
        (Some(policy), None) => Some(Propagation::parse(policy)?),
        (None, Some(true)) => Some(Propagation::Orphan),
        (None, Some(false)) => Some(Propagation::Background),
        (None, None) => None,
    };
    let dry_run = parsed.dry_run.iter().map(|d| d.as_str());
    Ok(DeleteOptions {
        dry_run: crate::options::dry_run(dry_run, "DeleteOptions")?,
        grace_seconds: parsed.grace_period_seconds,
        propagation,
        uid: parsed
            .preconditions
            .as_ref()
            .and_then(|p| p.uid.as_ref())
            .map(|u| u.to_string()),
        resource_version: parsed
            .preconditions
            .as_ref()
            .and_then(|p| p.resource_version.as_ref())
            .map(|v| v.to_string()),
    })
}

/// What the store holds: a protobuf envelope or JSON.
pub(crate) fn stored(_served: Option<&Served>, bytes: &Bytes) -> Result<Object, String> {
    if !bytes.starts_with(protobuf::MAGIC) {
        let value = json::decode_value(bytes).map_err(|e| e.to_string())?;
        return Object::from_value(&value).map_err(|e| e.to_string());
    }
    let envelope = protobuf::open_envelope(bytes).map_err(|e| e.to_string())?;
    let gvk = Gvk::parse(&envelope.type_meta.api_version, &envelope.type_meta.kind);
    let mut object = Object::new_for(gvk).ok_or_else(|| format!("no kind {gvk} is known"))?;
    if let Some(message) = object.message_mut() {
        protobuf::decode_message(envelope.raw, message).map_err(|e| e.to_string())?;
    }
    Ok(object)
}
