//! From an HTTP request to an answer: identity, authorization, routing to a path handler or to a ladder, and the
//! wording of refusals. Invariant: nothing is served before it is authorized, health checks included.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::header::{self, HeaderName, HeaderValue};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};

use corten_access::UserInfo;
use corten_client::Status;

use crate::authentication::Peer;
use crate::body::Answer;
use crate::info::{Query, RequestInfo};
use crate::negotiate::{self, Media, Transforms};
use crate::server::Server;
use crate::{audit, authentication, authorization, encode, metrics, paths, resource};

/// The largest body that is read, as upstream.
const BODY_MAX: usize = 3 * 1024 * 1024;

/// One authorized request on its way to a handler.
pub(crate) struct Call {
    /// Whom it acts as.
    pub user: Arc<UserInfo>,
    /// What it asks for.
    pub info: RequestInfo,
    /// Query parameters.
    pub query: Query,
    /// Headers.
    pub headers: http::HeaderMap,
    /// Warnings collected on the way, sent as `Warning` headers.
    pub warnings: Vec<String>,
}

impl Call {
    /// The client's program name, the default field manager.
    pub(crate) fn agent(&self) -> &str {
        let agent = self
            .headers
            .get(header::USER_AGENT)
            .and_then(|v| v.to_str().ok())
            .unwrap_or_default();
        agent.split('/').next().unwrap_or_default()
    }
}

/// Answers one request; never fails, a refusal is an answer.
pub(crate) async fn handle(
    server: Arc<Server>,
    peer: Peer,
    request: Request<Incoming>,
) -> Response<Answer> {
    let started = Instant::now();
    let query = Query::parse(request.uri().query());
    let info = RequestInfo::new(request.method(), request.uri().path(), &query);
    let counted = metrics::Request::new(
        &info,
        request.method(),
        is_apply(request.headers()),
        server
            .catalog()
            .find(&info.group, &info.version, &info.resource)
            .is_some(),
    );
    let running = server.metrics.running(&counted);
    let accept = negotiate::accept(request.headers(), &query, Transforms::None);
    let media = accept.map_or(Media::Json, |a| a.media);
    let identified = info.clone();
    let id = request_id(&server, request.headers());
    let uri = request
        .uri()
        .path_and_query()
        .map_or("", |uri| uri.as_str());
    let beginning = audit::Beginning {
        id: &id,
        uri,
        peer: &peer,
        headers: request.headers(),
        info: &info,
    };
    let trail = audit::begin(server.access.audit.as_ref(), &beginning);
    let answering = AssertUnwindSafe(answer(&server, &peer, info, query, request)).catch_unwind();
    let answer = match audit::follow(trail.clone(), answering).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(status)) => {
            audit::answered(trail.as_ref(), &status);
            refuse(&status, media)
        }
        Err(panic) => failed(trail.clone(), said(panic)).await,
    };
    let mut answer = audit::finish(trail, &identified, answer).await;
    drop(running);
    let size = answer.body().size();
    server
        .metrics
        .finished(&counted, answer.status().as_u16(), started.elapsed(), size);
    if size.is_none() {
        let held = server.metrics.long_running(&counted);
        answer = answer.map(|body| body.holding(held));
    }
    let headers = answer.headers_mut();
    headers.insert("audit-id", header_value(&id));
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-cache, private"));
    answer
}

/// Whether a patch is a server-side apply.
fn is_apply(headers: &http::HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|v| v.as_bytes().starts_with(b"application/apply-patch"))
}

/// The id that the client gave the request, or a new one.
fn request_id(server: &Server, headers: &http::HeaderMap) -> String {
    let given = headers.get("audit-id").and_then(|v| v.to_str().ok());
    given
        .filter(|id| !id.is_empty())
        .map_or_else(|| server.uid(), str::to_owned)
}

/// What a panic said.
fn said(panic: Box<dyn std::any::Any + Send>) -> String {
    match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(other) => other
            .downcast_ref::<&str>()
            .map_or_else(String::new, |text| (*text).to_owned()),
    }
}

/// The answer when the server failed at a request.
async fn failed(trail: Option<Arc<audit::Trail>>, why: String) -> Response<Answer> {
    tracing::error!(why, "a request made the server fail");
    audit::panicked(trail, &why).await;
    let text = "This request caused apiserver to panic. Look in the logs for details.\n";
    let code = StatusCode::INTERNAL_SERVER_ERROR;
    respond(code, "text/plain; charset=utf-8", text.to_owned().into())
}

async fn answer(
    server: &Arc<Server>,
    peer: &Peer,
    info: RequestInfo,
    query: Query,
    mut request: Request<Incoming>,
) -> Result<Response<Answer>, Status> {
    let headers = request.headers_mut();
    let identified = authentication::authenticate(server, peer, &info.path, headers).await?;
    audit::received(&identified.user, &info).await?;
    let user = authentication::impersonate(server, identified.user, &info, headers).await?;
    let field_selector = query.get("fieldSelector").unwrap_or_default();
    let label_selector = query.get("labelSelector").unwrap_or_default();
    authorization::authorize(server, &user, &info, field_selector, label_selector).await?;
    let headers = request.headers().clone();
    let call = Call {
        user,
        info,
        query,
        headers,
        warnings: identified.warnings,
    };
    if call.info.is_resource {
        resource::serve(server, call, request).await
    } else {
        paths::serve(server, call, request).await
    }
}

/// The whole body, at most 3 MiB.
pub(crate) async fn read_body(request: Request<Incoming>) -> Result<Bytes, Status> {
    match Limited::new(request.into_body(), BODY_MAX).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Status::too_large(format!(
            "Request entity too large: limit is {BODY_MAX}"
        ))),
        Err(error) => Err(Status::bad_request(format!(
            "unable to read the request's body: {error}"
        ))),
    }
}

/// A refusal as an answer.
pub(crate) fn refuse(status: &Status, media: Media) -> Response<Answer> {
    let body = encode::status(status, media);
    let code = StatusCode::from_u16(status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut answer = respond(code, media.content_type(), body.into());
    if let Some(details) = &status.details
        && details.retry_after_seconds > 0
    {
        answer.headers_mut().insert(
            header::RETRY_AFTER,
            HeaderValue::from(details.retry_after_seconds),
        );
    }
    if status.code == 401 {
        answer.headers_mut().insert(
            header::WWW_AUTHENTICATE,
            HeaderValue::from_static("Bearer realm=\"kubernetes-master\""),
        );
    }
    answer
}

/// An answer with a content type.
pub(crate) fn respond(code: StatusCode, content_type: &str, body: Answer) -> Response<Answer> {
    let mut response = Response::new(body);
    *response.status_mut() = code;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, header_value(content_type));
    response
}

/// 200 with JSON.
pub(crate) fn json(value: &serde_json::Value) -> Response<Answer> {
    let mut text = value.to_string();
    text.push('\n');
    respond(StatusCode::OK, "application/json", text.into())
}

/// What no handler serves, as Go's mux answers it.
pub(crate) fn page_not_found() -> Response<Answer> {
    respond(
        StatusCode::NOT_FOUND,
        "text/plain; charset=utf-8",
        "404 page not found\n".to_owned().into(),
    )
}

/// Adds `Warning: 299` headers.
pub(crate) fn warn(response: &mut Response<Answer>, warnings: &[String]) {
    for warning in warnings {
        let text: String = warning
            .chars()
            .filter(|c| !c.is_control())
            .flat_map(|c| {
                if matches!(c, '"' | '\\') {
                    vec!['\\', c]
                } else {
                    vec![c]
                }
            })
            .collect();
        response.headers_mut().append(
            HeaderName::from_static("warning"),
            header_value(&format!("299 - \"{text}\"")),
        );
    }
}

/// Compresses large answers for clients that take gzip, as upstream does from 128 KiB.
pub(crate) fn compress(response: &mut Response<Answer>, gzip: bool) {
    use std::io::Write as _;
    const COMPRESS_MIN: u64 = 128 * 1024;
    let size = match response.body() {
        Answer::Whole(bytes) => bytes.len() as u64,
        Answer::Pieces { left, .. } => *left,
        Answer::Stream(_) => 0,
    };
    if !gzip || size < COMPRESS_MIN {
        return;
    }
    let body = std::mem::replace(response.body_mut(), Answer::empty());
    let Some(bytes) = body.into_bytes() else {
        return;
    };
    let mut encoder = flate2::write::GzEncoder::new(
        Vec::with_capacity(bytes.len() / 6),
        flate2::Compression::fast(),
    );
    let written = encoder.write_all(&bytes).and_then(|()| encoder.finish());
    match written {
        Ok(packed) => {
            *response.body_mut() = packed.into();
            response
                .headers_mut()
                .insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            response
                .headers_mut()
                .insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
        }
        Err(_) => *response.body_mut() = Answer::Whole(bytes),
    }
}

fn header_value(text: &str) -> HeaderValue {
    HeaderValue::from_bytes(text.as_bytes()).unwrap_or(HeaderValue::from_static(""))
}
