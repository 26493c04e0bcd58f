//! From an HTTP request to an answer: identity, authorization, routing to a path handler or to a ladder, and the
//! wording of refusals. Invariant: nothing is served before it is authorized, health checks included.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

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
use crate::flow::PfHeaders;
use crate::info::{Query, RequestInfo};
use crate::negotiate::{self, Accepted, Media, Transforms};
use crate::server::{Server, Stays};
use crate::{
    aggregation, audit, authentication, authorization, cbor, encode, flow, metrics, paths,
    resource, spans,
};

/// The largest body that is read, as upstream.
const BODY_MAX: usize = 3 * 1024 * 1024;

const PLAIN: &str = "text/plain; charset=utf-8";

/// One authorized request on its way to a handler.
pub(crate) struct Call {
    /// Whom it acts as.
    pub user: Arc<UserInfo>,
    /// What it asks for.
    pub info: Arc<RequestInfo>,
    /// Query parameters.
    pub query: Query,
    /// Headers.
    pub headers: http::HeaderMap,
    /// Warnings collected on the way, sent as `Warning` headers with the answer, also with a refusal.
    pub warnings: Warnings,
}

/// Texts for `Warning` headers, shared between a request's handlers and what words its refusal.
#[derive(Clone, Debug, Default)]
pub(crate) struct Warnings(Arc<parking_lot::Mutex<Vec<String>>>);

impl Warnings {
    /// Adds those that are not there yet.
    pub(crate) fn extend(&self, more: impl IntoIterator<Item = String>) {
        let mut all = self.0.lock();
        for text in more {
            if !all.contains(&text) {
                all.push(text);
            }
        }
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock())
    }
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

/// The time a request that does not stay open may take, as upstream's --request-timeout.
const REQUEST_MAX: Duration = Duration::from_secs(60);

/// Answers one request; never fails, a refusal is an answer.
pub(crate) async fn handle(
    server: Arc<Server>,
    peer: Peer,
    request: Request<Incoming>,
) -> Response<Answer> {
    let started = Instant::now();
    if !is_well_escaped(request.uri().path()) {
        let text = "400 Bad Request".to_owned();
        return respond(StatusCode::BAD_REQUEST, PLAIN, text.into());
    }
    let query = Query::parse(request.uri().query());
    let info = Arc::new(RequestInfo::new(
        request.method(),
        request.uri().path(),
        &query,
    ));
    let counted = count(&server, &info, &request);
    let running = server.metrics.running(&counted);
    let stays = match flow::is_long_running(&info) {
        true => Stays::Open,
        false => Stays::Briefly,
    };
    let _inside = server.enter(stays);
    let accepted = negotiate::accept(request.headers(), &query, Transforms::None).ok();
    let id = request_id(&server, request.headers());
    let uri = request.uri().path_and_query();
    let beginning = audit::Beginning {
        id: &id,
        uri: uri.map_or("", |uri| uri.as_str()),
        source: peer.address.ip(),
        headers: request.headers(),
        info: &info,
    };
    let trail = audit::begin(server.access.audit.as_ref(), &beginning);
    let mut flowed = None;
    let as_cbor = cbor::is_asked(&server, &request);
    let warnings = Warnings::default();
    let asked = (&info, query, id.as_str());
    let answering = answer(
        &server,
        &peer,
        asked,
        request,
        (&mut flowed, warnings.clone()),
    );
    let answering = AssertUnwindSafe(limited(&info, started, answering)).catch_unwind();
    let mut answer = match audit::follow(trail.clone(), answering).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(status)) => {
            audit::answered(trail.as_ref(), &status);
            refuse_in(&status, accepted)
        }
        Err(panic) => failed(trail.clone(), said(panic)).await,
    };
    warn(&mut answer, &warnings.take());
    let answer = cbor::answer(answer, as_cbor);
    let mut answer = audit::finish(trail, &info, answer).await;
    drop(running);
    let size = answer.body().size();
    server
        .metrics
        .finished(&counted, answer.status().as_u16(), started.elapsed(), size);
    if size.is_none() {
        let held = server.metrics.long_running(&counted);
        answer = answer.map(|body| body.holding(held));
    }
    mark(answer.headers_mut(), flowed, &id);
    answer
}

/// The request as metrics count it; what is not served is counted without its name.
fn count(server: &Server, info: &RequestInfo, request: &Request<Incoming>) -> metrics::Request {
    let catalog = server.catalog();
    let found = catalog.find(&info.group, &info.version, &info.resource);
    let is_apply = is_apply(request.headers());
    metrics::Request::new(info, request.method(), is_apply, found.is_some())
}

/// Adds the headers that every answer has.
fn mark(headers: &mut http::HeaderMap, flowed: Option<PfHeaders>, id: &str) {
    if let Some(flowed) = flowed {
        headers.insert("x-kubernetes-pf-flowschema-uid", flowed.schema);
        headers.insert("x-kubernetes-pf-prioritylevel-uid", flowed.level);
    }
    headers.insert("audit-id", header_value(id));
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-cache, private"));
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

/// Ends a request that takes too long, unless it is one that stays open.
async fn limited(
    info: &RequestInfo,
    started: Instant,
    answered: impl Future<Output = Result<Response<Answer>, Status>>,
) -> Result<Response<Answer>, Status> {
    if flow::is_long_running(info) {
        return answered.await;
    }
    let deadline = tokio::time::Instant::from_std(started + REQUEST_MAX);
    match tokio::time::timeout_at(deadline, answered).await {
        Ok(answer) => answer,
        Err(_) => Err(Status::timeout(
            "Timeout: request did not complete within the allotted timeout",
        )),
    }
}

/// Whether every `%` starts an escape, as Go's servers insist.
fn is_well_escaped(path: &str) -> bool {
    let bytes = path.as_bytes();
    let mut at = 0;
    while let Some(found) = bytes[at..].iter().position(|b| *b == b'%') {
        at += found;
        let digits = bytes.get(at + 1..at + 3);
        if !digits.is_some_and(|d| d.iter().all(u8::is_ascii_hexdigit)) {
            return false;
        }
        at += 3;
    }
    true
}

async fn answer(
    server: &Arc<Server>,
    peer: &Peer,
    (info, query, id): (&Arc<RequestInfo>, Query, &str),
    mut request: Request<Incoming>,
    noted: (&mut Option<PfHeaders>, Warnings),
) -> Result<Response<Answer>, Status> {
    let headers = request.headers_mut();
    let identified = authentication::authenticate(server, peer, &info.path, headers).await?;
    let Some(tracing) = &server.tracing else {
        return answer_to(server, identified, (info, query), request, noted).await;
    };
    let uri = request.uri().path_and_query().map_or("", |p| p.as_str());
    let head = (request.method(), request.headers());
    let span = tracing.begin(head, info, &identified.user, (uri, id));
    let answering = answer_to(server, identified, (info, query), request, noted);
    match span {
        Some(span) => spans::follow(span, answering).await,
        None => answering.await,
    }
}

/// The answer to somebody who is known.
async fn answer_to(
    server: &Arc<Server>,
    identified: authentication::Identified,
    (info, query): (&Arc<RequestInfo>, Query),
    mut request: Request<Incoming>,
    (flowed, warnings): (&mut Option<PfHeaders>, Warnings),
) -> Result<Response<Answer>, Status> {
    let headers = request.headers_mut();
    audit::received(&identified.user, info).await?;
    warnings.extend(identified.warnings);
    let user = authentication::impersonate(server, identified.user, info, headers).await?;
    let admitted = match server.flow.admit(server, &user, info, &query).await {
        Ok(admitted) => admitted,
        Err(refused) => {
            *flowed = Some(refused.headers);
            return Ok(too_many_requests(refused.retry_after));
        }
    };
    flowed.clone_from(&admitted.headers);
    let field_selector = query.get("fieldSelector").unwrap_or_default();
    let label_selector = query.get("labelSelector").unwrap_or_default();
    authorization::authorize(server, &user, info, field_selector, label_selector).await?;
    if let Some(remote) = aggregation::remote_for(server, info) {
        return Ok(aggregation::proxy(server, &remote, &user, request).await);
    }
    if server.config.runtime.serves_cbor() {
        cbor::translate_request(&mut request);
    }
    let headers = request.headers().clone();
    let call = Call {
        user,
        info: info.clone(),
        query,
        headers,
        warnings,
    };
    // The seats are held until here: a watch that has begun takes none.
    if call.info.is_resource {
        resource::serve(server, call, request).await
    } else {
        paths::serve(server, call, request).await
    }
}

/// The whole body, at most 3 MiB.
pub(crate) async fn read_body(request: Request<Incoming>) -> Result<Bytes, Status> {
    let announced = request
        .headers()
        .get(header::CONTENT_LENGTH)
        .and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > BODY_MAX as u64) {
        return Err(Status::too_large(format!(
            "Request entity too large: limit is {BODY_MAX}"
        )));
    }
    let was_cbor = request.extensions().get::<cbor::WasCbor>().is_some();
    match Limited::new(request.into_body(), BODY_MAX).collect().await {
        Ok(body) if was_cbor => cbor::read(&body.to_bytes()),
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Status::too_large(format!(
            "Request entity too large: limit is {BODY_MAX}"
        ))),
        Err(error) => Err(Status::bad_request(format!(
            "unable to read the request's body: {error}"
        ))),
    }
}

/// A refusal in the form the client accepts; indented JSON where none of its forms will do.
fn refuse_in(status: &Status, accepted: Option<Accepted>) -> Response<Answer> {
    let indented = accepted.is_none_or(|a| a.media == Media::Json && a.pretty);
    let media = accepted.map_or(Media::Json, |a| a.media);
    let body = encode::status(status, media);
    if !indented {
        return refusal(status, media, body);
    }
    let whole = serde_json::from_slice::<serde_json::Value>(&body);
    let body = whole
        .ok()
        .and_then(|value| serde_json::to_vec_pretty(&value).ok())
        .unwrap_or(body);
    refusal(status, media, body)
}

fn refusal(status: &Status, media: Media, body: Vec<u8>) -> Response<Answer> {
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

/// 200 with indented JSON.
pub(crate) fn json(value: &serde_json::Value) -> Response<Answer> {
    let text = serde_json::to_string_pretty(value).unwrap_or_default();
    respond(StatusCode::OK, "application/json", text.into())
}

/// A text as Go's servers send it: browsers are not to guess what it is.
pub(crate) fn plain(code: StatusCode, text: impl Into<String>) -> Response<Answer> {
    let mut response = respond(code, PLAIN, text.into().into());
    response.headers_mut().insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}

/// 429: the client's flow has had its share.
fn too_many_requests(retry_after: u64) -> Response<Answer> {
    let text = "Too many requests, please try again later.\n";
    let mut response = plain(StatusCode::TOO_MANY_REQUESTS, text);
    response
        .headers_mut()
        .insert(header::RETRY_AFTER, HeaderValue::from(retry_after));
    response
}

/// 406 as the router words it when none of the accepted types is made at a path.
pub(crate) fn routed(headers: &http::HeaderMap, made: &[&str]) -> Result<(), Status> {
    if negotiate::routed(headers, made) {
        return Ok(());
    }
    let text = format!(
        "406: Not Acceptable\n\nAvailable representations: {}",
        made.join(", ")
    );
    let mut status = Status::new(406, "NotAcceptable", text);
    status.details = Some(Box::default());
    Err(status)
}

/// What no handler serves, as Go's mux answers it.
pub(crate) fn page_not_found() -> Response<Answer> {
    plain(StatusCode::NOT_FOUND, "404 page not found\n")
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
    let size = response.body().size().unwrap_or(0);
    if !gzip || size < COMPRESS_MIN {
        return;
    }
    if let Answer::Listing(listing) = response.body_mut() {
        listing.pack();
        packed(response.headers_mut());
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
        Ok(bytes) => {
            *response.body_mut() = bytes.into();
            packed(response.headers_mut());
        }
        Err(_) => *response.body_mut() = Answer::Whole(bytes),
    }
}

/// Says that the body is compressed.
fn packed(headers: &mut http::HeaderMap) {
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    headers.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
}

fn header_value(text: &str) -> HeaderValue {
    HeaderValue::from_bytes(text.as_bytes()).unwrap_or(HeaderValue::from_static(""))
}
