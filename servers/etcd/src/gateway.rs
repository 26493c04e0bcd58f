//! The JSON gateway and the plain HTTP paths, over HTTP/1.1 and HTTP/2. What it answers is upstream's, to the word.

use crate::calls::{Face, VERSION};
use crate::http2::{Block, Reply};
use crate::metrics;
use crate::streams::{In, Out, is_stream};
use bytes::Bytes;
use corten_etcd::table::{self, Method as Call};
use corten_etcd::{Code, Refusal, grpc, json};
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Frame, Incoming};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

/// The bytes of a JSON request, at most: base64 and names make it larger than what it says.
pub(crate) const BODY_MAX: usize = 16 << 20;
/// Answers of a stream that wait for the client.
const WAITING_MAX: usize = 16;

type Answer = Response<BoxBody<Bytes, Infallible>>;

pub(crate) async fn http1<T>(io: T, face: Face) -> io::Result<()>
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let face = face.clone();
        async move {
            let (head, body) = request.into_parts();
            let body = Limited::new(body, BODY_MAX).collect().await;
            let answer = match body {
                Ok(body) => respond(&face, &head.method, head.uri.path(), body.to_bytes()).await,
                Err(_) => refused(&Refusal::REQUEST_TOO_LARGE),
            };
            Ok::<_, Infallible>(answer)
        }
    });
    hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(io), service)
        .await
        .map_err(io::Error::other)
}

/// The same over HTTP/2, which clients negotiate with TLS.
pub(crate) async fn over_http2(method: &str, path: &str, body: Bytes, reply: Reply, face: Face) {
    let method = Method::from_bytes(method.as_bytes()).unwrap_or(Method::OPTIONS);
    let path = path.split('?').next().unwrap_or_default();
    let (head, mut body) = respond(&face, &method, path, body).await.into_parts();
    let mut block = Block::status(head.status.as_u16());
    for (name, value) in &head.headers {
        block.add(name.as_str(), value.as_bytes());
    }
    reply.head(block.finish());
    loop {
        tokio::select! {
            frame = body.frame() => match frame {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data()
                        && reply.data(data).await.is_err()
                    {
                        return;
                    }
                }
                Some(Err(_)) | None => break,
            },
            () = reply.gone() => return,
        }
    }
    reply.end(None);
}

async fn respond(face: &Face, method: &Method, path: &str, body: Bytes) -> Answer {
    match path {
        "/health" => health(face, method),
        "/version" => {
            let text = format!(
                "{{\"etcdserver\":\"{VERSION}\",\"etcdcluster\":\"3.6.0\",\"storage\":\"3.6.0\"}}"
            );
            answer(StatusCode::OK, "application/json", text)
        }
        "/metrics" => answer(
            StatusCode::OK,
            "text/plain; version=0.0.4; charset=utf-8",
            metrics::text(&face.store),
        ),
        "/livez" | "/readyz" => answer(StatusCode::OK, "text/plain; charset=utf-8", "ok\n".into()),
        path if path.starts_with("/v3/") => call(face, method, path, body).await,
        _ => answer(
            StatusCode::NOT_FOUND,
            "text/plain; charset=utf-8",
            "404 page not found\n".into(),
        ),
    }
}

fn health(face: &Face, method: &Method) -> Answer {
    if method != Method::GET {
        let text = "Method Not Allowed\n".to_owned();
        return answer(
            StatusCode::METHOD_NOT_ALLOWED,
            "text/plain; charset=utf-8",
            text,
        );
    }
    let kind = "text/plain; charset=utf-8";
    match face.store.alarms().first() {
        None => answer(
            StatusCode::OK,
            kind,
            "{\"health\":\"true\",\"reason\":\"\"}".into(),
        ),
        Some(alarm) => {
            let name = if *alarm == 1 { "NOSPACE" } else { "CORRUPT" };
            let text = format!("{{\"health\":\"false\",\"reason\":\"ALARM {name}\"}}");
            answer(StatusCode::SERVICE_UNAVAILABLE, kind, text)
        }
    }
}

async fn call(face: &Face, method: &Method, path: &str, body: Bytes) -> Answer {
    let Some(call) = table::by_http(path) else {
        return refused(&Refusal::new(Code::NotFound, "Not Found"));
    };
    if method != Method::POST {
        return refused(&Refusal::new(Code::Unimplemented, "Method Not Allowed"));
    }
    let requests = match requests(call, &body) {
        Ok(requests) => requests,
        Err(text) => return refused(&Refusal::new(Code::InvalidArgument, text)),
    };
    if is_stream(call.path) {
        return stream(face, call, requests);
    }
    let request = requests.into_iter().next().unwrap_or_default();
    match face.call(call.path, request).await {
        Err(refusal) => refused(&refusal),
        Ok(framed) => match json::from_wire(call.output, &framed[grpc::PREFIX..]) {
            Ok(value) => {
                let mut answer = answer(StatusCode::OK, "application/json", value.to_string());
                let kind = HeaderValue::from_static(grpc::CONTENT_TYPE);
                answer
                    .headers_mut()
                    .insert("grpc-metadata-content-type", kind);
                answer
            }
            Err(text) => refused(&Refusal::new(Code::Internal, text)),
        },
    }
}

/// The requests in a body: one, or several when the client streams.
fn requests(call: &Call, body: &[u8]) -> Result<Vec<Bytes>, String> {
    let mut all = Vec::new();
    for value in serde_json::Deserializer::from_slice(body).into_iter() {
        let value = value.map_err(|error| syntax(body, &error))?;
        all.push(json::to_wire(call.input, &value)?.into());
        if !call.client_streams {
            break;
        }
    }
    Ok(all)
}

fn syntax(body: &[u8], error: &serde_json::Error) -> String {
    match body.first() {
        Some(first) if !matches!(first, b'{' | b'[' | b'"') => format!(
            "invalid character '{}' looking for beginning of value",
            char::from(*first)
        ),
        _ => error.to_string(),
    }
}

fn stream(face: &Face, call: &'static Call, requests: Vec<Bytes>) -> Answer {
    let (send, receive) = mpsc::channel(WAITING_MAX);
    let face = face.clone();
    tokio::spawn(async move {
        let input = In::Json(requests.into_iter());
        let mut out = Out::Json(send.clone(), call.output);
        if let Err(refusal) = face.stream(call.path, input, &mut out).await {
            let text = format!(
                "{{\"error\":{{\"code\":{}, \"message\":{}}}}}\n",
                refusal.code as u8,
                serde_json::Value::from(refusal.message.as_ref())
            );
            let _ = send.send(text.into()).await;
        }
    });
    let mut response = Response::new(Pieces(receive).boxed());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(
        "grpc-metadata-content-type",
        HeaderValue::from_static(grpc::CONTENT_TYPE),
    );
    response
}

fn refused(refusal: &Refusal) -> Answer {
    let text = format!(
        "{{\"code\":{}, \"message\":{}}}",
        refusal.code as u8,
        serde_json::Value::from(refusal.message.as_ref())
    );
    let status = StatusCode::from_u16(refusal.code.http_status())
        .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    answer(status, "application/json", text)
}

fn answer(status: StatusCode, kind: &'static str, text: String) -> Answer {
    let mut response = Response::new(Full::new(Bytes::from(text)).boxed());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert("access-control-allow-origin", HeaderValue::from_static("*"));
    headers.insert(
        "access-control-allow-headers",
        HeaderValue::from_static("accept, content-type, authorization"),
    );
    headers.insert(
        "access-control-allow-methods",
        HeaderValue::from_static("POST, GET, OPTIONS, PUT, DELETE"),
    );
    response
}

/// A body that arrives piece by piece.
struct Pieces(mpsc::Receiver<Bytes>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0
            .poll_recv(cx)
            .map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}
