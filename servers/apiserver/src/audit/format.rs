//! Events as text: JSON, the old one-line form, and cut down to size; policies and answers read from theirs.

use bytes::Bytes;

use corten_access::audit::Policy;
use corten_api::audit::v1::{Event, Policy as WirePolicy};
use corten_api::meta::v1::{Status as WireStatus, StatusCause, StatusDetails};
use corten_client::Status;
use corten_codec::{json, yaml};
use corten_core::{List, MsgMut, MsgRef, Str, Value};

/// A policy file.
pub(super) fn policy(text: &str) -> Result<Policy, String> {
    let fail = |why: String| format!("loading audit policy file: failed decoding: {why}");
    let value = yaml::decode_value(text.as_bytes()).map_err(|e| fail(e.to_string()))?;
    let (version, kind) = (value.str_at(&["apiVersion"]), value.str_at(&["kind"]));
    if (version, kind) != ("audit.k8s.io/v1", "Policy") {
        return Err(fail(format!(
            "no kind {kind:?} is registered for version {version:?}, audit.k8s.io/v1 Policy is expected"
        )));
    }
    let mut wire = WirePolicy::default();
    let mut unknown = Vec::new();
    MsgMut::new(&mut wire)
        .merge_value(&value, &mut unknown)
        .map_err(|e| fail(e.to_string()))?;
    if !unknown.is_empty() {
        tracing::warn!(?unknown, "the audit policy has fields that mean nothing");
    }
    Policy::new(&wire).map_err(|why| format!("loading audit policy file: {why}"))
}

/// A status that only says something.
pub(super) fn message(text: &str) -> WireStatus {
    WireStatus {
        message: text.into(),
        ..WireStatus::default()
    }
}

/// A refusal as events bear it.
pub(super) fn wire_status(status: &Status) -> WireStatus {
    let details = status.details.as_deref().map(|d| {
        let causes = d.causes.iter().map(|c| StatusCause {
            type_: c.reason.as_str().into(),
            message: c.message.as_str().into(),
            field: c.field.as_str().into(),
        });
        Box::new(StatusDetails {
            name: d.name.as_str().into(),
            group: d.group.as_str().into(),
            kind: d.kind.as_str().into(),
            uid: d.uid.as_str().into(),
            causes: causes.collect(),
            retry_after_seconds: d.retry_after_seconds,
        })
    });
    WireStatus {
        status: "Failure".into(),
        message: status.message.as_str().into(),
        reason: status.reason.as_str().into(),
        details,
        code: i32::from(status.code),
        ..WireStatus::default()
    }
}

/// The body of an answer as JSON; nothing for texts and streams.
fn as_json(media: &str, body: &Bytes) -> Option<Vec<u8>> {
    if media.starts_with("application/json") {
        return Some(body.to_vec());
    }
    if media.starts_with("application/vnd.kubernetes.protobuf") {
        let object = crate::decode::stored(None, body).ok()?;
        return Some(json::encode(&object));
    }
    if media.starts_with("application/yaml") {
        return yaml::decode_value(body)
            .ok()
            .map(|v| json::encode_value(&v));
    }
    None
}

/// The answer as events bear it.
pub(super) fn response(media: &str, body: &Bytes, omit_managed_fields: bool) -> Option<Vec<u8>> {
    let text = as_json(media, body)?;
    if !omit_managed_fields {
        return Some(text.trim_ascii_end().to_vec());
    }
    let mut value = json::decode_value(&text).ok()?;
    without_managed_fields(&mut value);
    Some(json::encode_value(&value))
}

fn without_managed_fields(value: &mut Value) {
    let Some(map) = value.as_map_mut() else {
        return;
    };
    if let Some(meta) = map.get_mut("metadata").and_then(Value::as_map_mut) {
        meta.remove("managedFields");
    }
    for list in ["items", "rows"] {
        for item in map
            .get_mut(list)
            .and_then(Value::as_list_mut)
            .into_iter()
            .flatten()
        {
            match list {
                "items" => without_managed_fields(item),
                _ => {
                    let object = item.as_map_mut().and_then(|row| row.get_mut("object"));
                    object.into_iter().for_each(without_managed_fields);
                }
            }
        }
    }
}

/// The Status that an answer is, if it is one.
pub(super) fn status_in(media: &str, body: &Bytes) -> Option<WireStatus> {
    if body.len() > 64 * 1024 {
        return None;
    }
    let is_status = body.windows(8).take(256).any(|w| w == b"\"Status\"")
        || (media.starts_with("application/vnd")
            && body.windows(6).take(64).any(|w| w == b"Status"));
    if !is_status {
        return None;
    }
    let value = json::decode_value(&as_json(media, body)?).ok()?;
    if (value.str_at(&["kind"]), value.str_at(&["apiVersion"])) != ("Status", "v1") {
        return None;
    }
    let mut status = WireStatus::default();
    MsgMut::new(&mut status)
        .merge_value(&value, &mut Vec::new())
        .ok()?;
    status.kind = Str::default();
    status.api_version = Str::default();
    Some(status)
}

/// An event as JSON.
pub(super) fn json(event: &Event) -> Vec<u8> {
    json::encode_message(MsgRef::new(event))
}

/// Events as one list.
pub(super) fn list(events: &[std::sync::Arc<Event>]) -> Vec<u8> {
    let head = br#"{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":["#;
    let mut out = head.to_vec();
    for (index, event) in events.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        let mut event = Event::clone(event);
        event.kind = Str::default();
        event.api_version = Str::default();
        out.extend(json(&event));
    }
    out.extend_from_slice(b"]}\n");
    out
}

const TRUNCATED: &str = "audit.k8s.io/truncated";

/// The event without what was sent and answered.
pub(super) fn truncated(event: &Event) -> Event {
    let mut event = event.clone();
    event.request_object = None;
    event.response_object = None;
    event.annotations.insert(TRUNCATED, "true");
    event
}

/// An event in the old one-line form.
pub(super) fn legacy(event: &Event) -> String {
    let list = |groups: &List<Str>| {
        let quoted: Vec<String> = groups.iter().map(|g| format!("{:?}", g.as_str())).collect();
        quoted.join(",")
    };
    let or = |text: &str, otherwise: &str| {
        let text = if text.is_empty() { otherwise } else { text };
        format!("{text:?}")
    };
    let user = &event.user;
    let groups = match user.groups.is_empty() || user.username.is_empty() {
        true => String::new(),
        false => list(&user.groups),
    };
    let (as_user, as_groups) = match &event.impersonated_user {
        None => ("<self>".to_owned(), String::new()),
        Some(user) => (user.username.to_string(), list(&user.groups)),
    };
    let namespace = event
        .object_ref
        .as_ref()
        .map_or("", |o| o.namespace.as_str());
    let response = event.response_status.as_ref();
    let response = response.map_or("<deferred>".to_owned(), |s| s.code.to_string());
    let mut received = Vec::new();
    event.request_received_timestamp.write_to(&mut received);
    format!(
        "{} AUDIT: id={:?} stage={:?} ip={} method={:?} user={} groups={} as={as_user:?} asgroups={} user-agent={:?} \
         namespace={} uri={:?} response=\"{response}\"",
        nano(&String::from_utf8_lossy(&received)),
        event.audit_id.as_str(),
        event.stage.as_str(),
        or(
            event.source_ips.first().map_or("", |ip| ip.as_str()),
            "<unknown>"
        ),
        event.verb.as_str(),
        or(&user.username, "<none>"),
        or(&groups, "<none>"),
        or(&as_groups, "<lookup>"),
        event.user_agent.as_str(),
        or(namespace, "<none>"),
        event.request_uri.as_str(),
    )
}

/// A time as Go's RFC 3339 with nanoseconds prints it: without zeros at the end.
fn nano(text: &str) -> String {
    let text = text.trim_end_matches('Z').trim_end_matches('0');
    format!("{}Z", text.trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line() {
        let mut event = Event {
            audit_id: "7".into(),
            stage: "ResponseComplete".into(),
            verb: "get".into(),
            request_uri: "/api?x=\"y\"".into(),
            request_received_timestamp: corten_core::MicroTime::from_unix(0, 120_000),
            ..Event::default()
        };
        event.user.username = "jane".into();
        event.user.groups = List::from_iter(["a", "b"]);
        let expected = "1970-01-01T00:00:00.12Z AUDIT: id=\"7\" stage=\"ResponseComplete\" ip=\"<unknown>\" method=\"get\" \
                        user=\"jane\" groups=\"\\\"a\\\",\\\"b\\\"\" as=\"<self>\" asgroups=\"<lookup>\" user-agent=\"\" \
                        namespace=\"<none>\" uri=\"/api?x=\\\"y\\\"\" response=\"<deferred>\"";
        assert_eq!(legacy(&event), expected);
    }

    #[test]
    fn managed_fields_are_left_out_everywhere() {
        let body = br#"{"kind":"Table","metadata":{"managedFields":[1]},"rows":[{"cells":[],"object":{"metadata":{"managedFields":[2],"name":"a"}}}],"items":[{"metadata":{"managedFields":[3]}}]}"#;
        let text = response("application/json", &Bytes::from_static(body), true).unwrap();
        let text = String::from_utf8(text).unwrap();
        assert!(
            !text.contains("managedFields") && text.contains("\"name\":\"a\""),
            "{text}"
        );
    }

    #[test]
    fn a_status_is_found() {
        let body = br#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Success","details":{"name":"a","kind":"pods"}}"#;
        let status = status_in("application/json", &Bytes::from_static(body)).unwrap();
        assert_eq!(
            (status.status.as_str(), status.kind.as_str()),
            ("Success", "")
        );
        let other = Bytes::from_static(br#"{"kind":"Pod","a":"Status"}"#);
        assert!(status_in("application/json", &other).is_none());
    }

    #[test]
    fn policies_must_say_what_they_are() {
        assert!(
            policy("rules: [{level: None}]")
                .unwrap_err()
                .contains("failed decoding")
        );
        let good = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata}]";
        assert!(policy(good).is_ok());
    }
}
