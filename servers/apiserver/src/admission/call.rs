//! One call of one webhook: what may be called, the exchange itself, and what its failures are called.

use std::time::{Duration, Instant};

use bytes::Bytes;
use corten_api::admission::v1::AdmissionResponse;
use corten_client::Status;
use http::{Request, Response, StatusCode, header};

use super::Notes;
use super::asked::Asked;
use super::configured::Hook;
use super::matching::Matched;
use super::review::{self, Sort, Texts};
use crate::metrics::{Called, Step};
use crate::outbound::Limits;
use crate::spans;

/// Why a webhook did not let a request pass.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Failed {
    /// It could not be asked, or its answer makes no sense: what its failure policy is about.
    Calling(String),
    /// It said no, or it may not be asked at all.
    Refused(Status),
}

impl Failed {
    /// The refusal of a request by a webhook that must be asked.
    pub(super) fn status(self, hook: &Hook) -> Status {
        match self {
            Failed::Calling(why) => Status::internal(format!(
                "failed calling webhook {:?}: {why}",
                hook.name.as_str()
            )),
            Failed::Refused(status) => status,
        }
    }
}

/// Asks a webhook; what it has to say beside its answer is noted.
pub(super) async fn call(
    asked: &Asked<'_>,
    hook: &Hook,
    matched: &Matched,
    texts: &Texts,
    sort: Sort,
) -> Result<(AdmissionResponse, Notes), Failed> {
    let started = Instant::now();
    let outcome = call_unmeasured(asked, hook, matched, texts, sort).await;
    let called = match &outcome {
        Ok((response, _)) if response.allowed => Called::Allowed,
        Ok((response, _)) => {
            let code = response.result.as_deref().map_or(0, |result| result.code);
            Called::Refused(u16::try_from(code).unwrap_or(0))
        }
        Err(Failed::Refused(status)) => Called::Refused(status.code),
        Err(Failed::Calling(_)) if hook.fails_open => Called::FailedOpen,
        Err(Failed::Calling(_)) => Called::Failed,
    };
    let step = match sort {
        Sort::Mutating => Step::Admit,
        Sort::Validating => Step::Validate,
    };
    let metrics = &asked.server.metrics;
    metrics.webhook_called(
        (hook.name.as_str(), step),
        asked.verb(),
        called,
        started.elapsed(),
    );
    outcome
}

async fn call_unmeasured(
    asked: &Asked<'_>,
    hook: &Hook,
    matched: &Matched,
    texts: &Texts,
    sort: Sort,
) -> Result<(AdmissionResponse, Notes), Failed> {
    check_dry_run(asked, hook)?;
    let version = review::version(&hook.versions).ok_or_else(|| {
        Failed::Calling(
            "could not create admission objects: webhook does not accept known AdmissionReview versions (v1, v1beta1)"
                .into(),
        )
    })?;
    let uid = asked.server.uid();
    let body = review::request(asked, matched, texts, (version, &uid));
    let answer = exchange(asked, hook, body).await?;
    let response = review::response(&answer, sort, (version, &uid)).map_err(Failed::Calling)?;
    let mut notes = Notes::default();
    for (key, value) in response.audit_annotations.iter() {
        notes.annotate(format!("{}/{key}", hook.name), value.as_str());
    }
    for warning in response.warnings.iter() {
        notes.warn(warning.as_str());
    }
    Ok((response, notes))
}

/// A dry run reaches only webhooks that change nothing of their own.
fn check_dry_run(asked: &Asked<'_>, hook: &Hook) -> Result<(), Failed> {
    if !asked.dry_run {
        return Ok(());
    }
    match hook.side_effects.as_deref() {
        None => Err(Failed::Calling("Webhook SideEffects is nil".into())),
        Some("None" | "NoneOnDryRun") => Ok(()),
        Some(_) => {
            let name = &hook.name;
            let text = format!("admission webhook {name:?} does not support dry run");
            Err(Failed::Refused(Status::bad_request(text)))
        }
    }
}

/// Sends a body and gives back the one of the answer.
async fn exchange(asked: &Asked<'_>, hook: &Hook, body: Vec<u8>) -> Result<Bytes, Failed> {
    let (endpoint, path) = hook
        .endpoint
        .as_ref()
        .map_err(|why| Failed::Calling(format!("could not get REST client: {why}")))?;
    let target = format!("{path}?timeout={}", seconds(hook.time_max));
    let failed = |why: &dyn std::fmt::Display| {
        Failed::Calling(format!(
            "failed to call webhook: Post \"{}{target}\": {why}",
            endpoint.place.origin()
        ))
    };
    let request = Request::post(target.as_str())
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::ACCEPT, "application/json, */*")
        .header(header::USER_AGENT, "kube-apiserver-admission");
    let request = match spans::traceparent() {
        Some(value) => request.header("traceparent", value),
        None => request,
    };
    let request = match &hook.authorization {
        Some(value) => request.header(header::AUTHORIZATION, value),
        None => request,
    };
    let request = request.body(Bytes::from(body)).map_err(|e| failed(&e))?;
    let limits = Limits::within(hook.time_max);
    let answer = asked.server.outbound.call(endpoint, request, limits);
    let answer = answer.await.map_err(|e| failed(&e))?;
    match answer.status().is_success() {
        true => Ok(answer.into_body()),
        false => Err(Failed::Calling(format!(
            "failed to call webhook: {}",
            unexpected(&answer)
        ))),
    }
}

fn seconds(time: Duration) -> String {
    format!("{}s", time.as_secs())
}

/// What client-go says of an answer that is no success.
fn unexpected(answer: &Response<Bytes>) -> String {
    const SHOWN_MAX: usize = 2048;
    let kind = answer.headers().get(header::CONTENT_TYPE);
    let is_text = kind.is_some_and(|k| k.as_bytes().starts_with(b"text/"));
    let shown = &answer.body()[..answer.body().len().min(SHOWN_MAX)];
    let said = match is_text {
        true => String::from_utf8_lossy(shown).trim().to_owned(),
        false => "unknown".to_owned(),
    };
    match answer.status() {
        StatusCode::BAD_REQUEST => "the server rejected our request for an unknown reason".into(),
        StatusCode::UNAUTHORIZED => {
            "the server has asked for the client to provide credentials".into()
        }
        StatusCode::FORBIDDEN => said,
        StatusCode::NOT_FOUND => "the server could not find the requested resource".into(),
        StatusCode::METHOD_NOT_ALLOWED => {
            "the server does not allow this method on the requested resource".into()
        }
        StatusCode::CONFLICT => "the server reported a conflict".into(),
        StatusCode::UNPROCESSABLE_ENTITY => {
            "the server rejected our request due to an error in our request".into()
        }
        StatusCode::TOO_MANY_REQUESTS => {
            "the server has received too many requests and has asked us to try again later".into()
        }
        StatusCode::SERVICE_UNAVAILABLE => {
            "the server is currently unable to handle the request".into()
        }
        StatusCode::GATEWAY_TIMEOUT => "the server was unable to return a response in the time \
                                        allotted, but may still be processing the request"
            .into(),
        code if code.is_server_error() => {
            format!("an error on the server ({said:?}) has prevented the request from succeeding")
        }
        code => format!(
            "the server responded with the status code {} but did not return more information",
            code.as_u16()
        ),
    }
}
