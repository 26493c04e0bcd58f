//! What is said to a webhook and what its answer must look like: AdmissionReview, v1 or v1beta1.

use corten_api::Object;
use corten_api::admission::v1::{AdmissionRequest, AdmissionResponse, AdmissionReview};
use corten_api::authentication::v1::UserInfo as WireUser;
use corten_api::meta::v1::{
    GroupVersionKind as WireKind, GroupVersionResource as WireResource, Status as WireStatus,
};
use corten_client::{Cause, Details, Status};
use corten_codec::json;
use corten_core::{List, Map, MsgMut, MsgRef, RawJson, Str, Value};
use corten_meta::{GroupVersionKind, GroupVersionResource};

use super::asked::Asked;
use super::matching::Matched;

/// Versions that can be spoken.
const VERSIONS: [&str; 2] = ["v1", "v1beta1"];
const V1: &str = "admission.k8s.io/v1";

/// Whether answers may change the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    Mutating,
    Validating,
}

/// A request's objects as texts, in the version of a webhook.
#[derive(Clone, Debug)]
pub(super) struct Texts {
    pub object: RawJson,
    pub old: RawJson,
}

impl Texts {
    /// The objects of a request for a match.
    pub(super) fn of(
        asked: &Asked<'_>,
        matched: &Matched,
        object: Option<&Object>,
    ) -> Result<Texts, Status> {
        let text = |object: Option<&Object>| -> Result<RawJson, Status> {
            let Some(object) = object else {
                return Ok(RawJson::NIL);
            };
            let shown = asked.shown(object, &matched.resource)?;
            let mut text = json::encode(shown.as_ref().unwrap_or(object));
            while text.last() == Some(&b'\n') {
                text.pop();
            }
            Ok(RawJson(text.into()))
        };
        Ok(Texts {
            object: text(object)?,
            old: text(asked.old)?,
        })
    }
}

/// The version to speak with a webhook that understands these.
pub(super) fn version(understood: &[Str]) -> Option<&'static str> {
    let known = |version: &Str| VERSIONS.into_iter().find(|known| *version == **known);
    understood.iter().find_map(known)
}

/// The body of a call.
pub(super) fn request(
    asked: &Asked<'_>,
    matched: &Matched,
    texts: &Texts,
    (version, uid): (&str, &str),
) -> Vec<u8> {
    let review = AdmissionReview {
        kind: "AdmissionReview".into(),
        api_version: format!("admission.k8s.io/{version}").into(),
        request: Some(Box::new(AdmissionRequest {
            uid: uid.into(),
            kind: wire_kind(&matched.kind),
            resource: wire_resource(&matched.resource),
            sub_resource: asked.subresource.into(),
            request_kind: Some(Box::new(wire_kind(&asked.kind))),
            request_resource: Some(Box::new(wire_resource(&asked.resource))),
            request_sub_resource: asked.subresource.into(),
            name: asked.name.as_str().into(),
            namespace: asked.namespace.as_str().into(),
            operation: asked.verb().into(),
            user_info: wire_user(asked),
            object: texts.object.clone(),
            old_object: texts.old.clone(),
            dry_run: Some(asked.dry_run),
            options: match &asked.options {
                Value::Null => RawJson::NIL,
                options => RawJson::from_value(options),
            },
        })),
        response: None,
    };
    json::encode_message(MsgRef::new(&review))
}

fn wire_kind(kind: &GroupVersionKind) -> WireKind {
    WireKind {
        group: kind.group.as_str().into(),
        version: kind.version.as_str().into(),
        kind: kind.kind.as_str().into(),
    }
}

fn wire_resource(resource: &GroupVersionResource) -> WireResource {
    WireResource {
        group: resource.group.as_str().into(),
        version: resource.version.as_str().into(),
        resource: resource.resource.as_str().into(),
    }
}

fn wire_user(asked: &Asked<'_>) -> WireUser {
    let mut extra: Map<List<Str>> = Map::default();
    for (key, values) in &asked.user.extra {
        let values = values.iter().map(String::as_str);
        extra.insert(key.as_str(), values.collect::<List<Str>>());
    }
    WireUser {
        username: asked.user.name.as_str().into(),
        uid: asked.user.uid.as_str().into(),
        groups: asked.user.groups.iter().map(String::as_str).collect(),
        extra,
    }
}

/// The answer in a body, or why it is none.
pub(super) fn response(
    body: &[u8],
    sort: Sort,
    (version, uid): (&str, &str),
) -> Result<AdmissionResponse, String> {
    let mut review = AdmissionReview::default();
    let wrong = |e: &dyn std::fmt::Display| format!("failed to call webhook: {e}");
    if body.is_empty() {
        return Err(wrong(
            &"0-length response with status code: 200 and content type: ",
        ));
    }
    json::decode_message(body, MsgMut::new(&mut review), None)
        .map_err(|e| wrong(&format!("couldn't get version/kind; json parse error: {e}")))?;
    let invalid = |why: String| format!("received invalid webhook response: {why}");
    let mut response = match review.response.take() {
        Some(response) => *response,
        None => return Err(invalid("webhook response was absent".into())),
    };
    if version != "v1" {
        // Version 1beta1 never checked more than this, and knew one type of patch.
        let patched = sort == Sort::Mutating && !response.patch.is_empty();
        response.patch_type = patched.then(|| "JSONPatch".into());
        if !patched {
            response.patch = Default::default();
        }
        return Ok(response);
    }
    if response.uid != uid {
        let got = response.uid.as_str();
        return Err(invalid(format!(
            "expected response.uid={uid:?}, got {got:?}"
        )));
    }
    if review.api_version != V1 || review.kind != "AdmissionReview" {
        let (version, kind) = (&review.api_version, &review.kind);
        let slash = if version.contains('/') { "" } else { "/" };
        return Err(invalid(format!(
            "expected webhook response of {V1}, Kind=AdmissionReview, got {slash}{version}, Kind={kind}"
        )));
    }
    check_patch(&response, sort).map_err(|why| invalid(why.into()))?;
    Ok(response)
}

fn check_patch(response: &AdmissionResponse, sort: Sort) -> Result<(), &'static str> {
    let (patch, patch_type) = (!response.patch.is_empty(), response.patch_type.as_deref());
    match (sort, patch, patch_type) {
        (Sort::Validating, true, _) => Err("validating webhook may not return response.patch"),
        (Sort::Validating, false, Some(_)) => {
            Err("validating webhook may not return response.patchType")
        }
        (Sort::Mutating, true, None) => {
            Err("webhook returned response.patch but not response.patchType")
        }
        (Sort::Mutating, false, Some(_)) => {
            Err("webhook returned response.patchType but not response.patch")
        }
        (Sort::Mutating, true, Some("")) => {
            Err("webhook returned invalid response.patchType of \"\"")
        }
        _ => Ok(()),
    }
}

/// A webhook's no, in its own words under its name.
pub(super) fn rejection(name: &str, result: Option<&WireStatus>) -> Status {
    let empty = WireStatus::default();
    let result = result.unwrap_or(&empty);
    let denied = format!("admission webhook {name:?} denied the request");
    let message = match (result.message.as_str(), result.reason.as_str()) {
        ("", "") => format!("{denied} without explanation"),
        ("", reason) => format!("{denied}: {reason}"),
        (message, _) => format!("{denied}: {message}"),
    };
    // A webhook cannot refuse with a code that means success.
    let code = result.code.clamp(0, 599) as u16;
    let mut status = Status::new(code.max(400), &result.reason, message);
    status.details = result.details.as_ref().map(|details| {
        let causes = details.causes.iter().map(|cause| Cause {
            reason: cause.type_.to_string(),
            message: cause.message.to_string(),
            field: cause.field.to_string(),
        });
        Box::new(Details {
            name: details.name.to_string(),
            group: details.group.to_string(),
            kind: details.kind.to_string(),
            uid: details.uid.to_string(),
            causes: causes.collect(),
            retry_after_seconds: details.retry_after_seconds,
        })
    });
    status
}
