//! CBOR at the edge, while its gate is open: bodies of requests become JSON before anything reads them, answers become
//! CBOR after everything was decided. Invariant: while the gate is closed nothing here is reached, and CBOR is refused
//! as an unknown format is. Leaves out CBOR in the store.

use bytes::{Bytes, BytesMut};
use corten_client::Status;
use corten_codec::{cbor, json};
use futures_util::{StreamExt as _, future};
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Request, Response};

use crate::body::Answer;
use crate::server::Server;

const ONE: &str = "application/cbor";
const SEQUENCE: &str = "application/cbor-seq";
const APPLY: &str = "application/apply-patch+cbor";

/// Marks a request whose body is CBOR though its header now says otherwise.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WasCbor;

/// Whether CBOR is served and this request wants it.
pub(crate) fn is_asked<B>(server: &Server, request: &Request<B>) -> bool {
    let path = request.uri().path();
    server.config.runtime.serves_cbor() && is_preferred(request.headers(), path)
}

/// The answer in CBOR if that was asked for.
pub(crate) fn answer(answer: Response<Answer>, as_cbor: bool) -> Response<Answer> {
    match as_cbor {
        true => translate_answer(answer),
        false => answer,
    }
}

/// Whether the client likes CBOR best of what it accepts.
fn is_preferred(headers: &HeaderMap, path: &str) -> bool {
    let accept = headers.get(ACCEPT).and_then(|v| v.to_str().ok());
    let mut best: Option<(f32, bool)> = None;
    for clause in accept.unwrap_or_default().split(',') {
        let mut parts = clause.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let quality = parts.find_map(|p| p.strip_prefix("q=")?.parse().ok());
        let quality = quality.unwrap_or(1.0);
        let known = [
            ONE,
            SEQUENCE,
            "application/json",
            "application/yaml",
            "application/vnd.kubernetes.protobuf",
            "*/*",
            "application/*",
        ];
        if known.contains(&name) && best.is_none_or(|(most, _)| quality > most) {
            best = Some((quality, matches!(name, ONE | SEQUENCE)));
        }
    }
    is_api(path) && best.is_some_and(|(_, is_cbor)| is_cbor)
}

fn is_api(path: &str) -> bool {
    ["/api", "/apis"]
        .iter()
        .any(|root| path == *root || path.starts_with(&format!("{root}/")))
}

/// Makes a request say JSON where it says CBOR.
pub(crate) fn translate_request<B>(request: &mut Request<B>) {
    if !is_api(request.uri().path()) {
        return;
    }
    let headers = request.headers_mut();
    if let Some(accept) = headers.get(ACCEPT).and_then(|v| v.to_str().ok()) {
        let accept = accept
            .replace(SEQUENCE, "application/json")
            .replace(ONE, "application/json");
        if let Ok(accept) = HeaderValue::from_str(&accept) {
            headers.insert(ACCEPT, accept);
        }
    }
    let name = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok());
    let name = name.and_then(|v| v.split(';').next()).unwrap_or_default();
    let said = match name.trim() {
        ONE => "application/json",
        APPLY => "application/apply-patch+yaml",
        _ => return,
    };
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(said));
    request.extensions_mut().insert(WasCbor);
}

/// The JSON of a body in CBOR.
///
/// # Errors
/// 400 when it is not CBOR.
pub(crate) fn read(body: &Bytes) -> Result<Bytes, Status> {
    if body.is_empty() {
        return Ok(Bytes::new());
    }
    let value = cbor::decode_value(body).map_err(|e| Status::bad_request(e.to_string()))?;
    Ok(json::encode_value(&value).into())
}

/// Turns an answer in JSON into CBOR: one item, or a sequence of them for a watch.
fn translate_answer(answer: Response<Answer>) -> Response<Answer> {
    let content_type = answer.headers().get(CONTENT_TYPE);
    if content_type.is_none_or(|v| v.as_bytes() != b"application/json") {
        return answer;
    }
    let (mut parts, body) = answer.into_parts();
    let (media, body) = match body {
        Answer::Stream(lines) => {
            let mut left = BytesMut::new();
            let items = lines.map(move |chunk| {
                left.extend_from_slice(&chunk);
                taken(&mut left)
            });
            let items = items.filter(|items| future::ready(!items.is_empty()));
            (SEQUENCE, Answer::Stream(Box::pin(items)))
        }
        whole => {
            let bytes = whole.into_bytes().unwrap_or_default();
            match item(&bytes) {
                Some(item) => (ONE, item.into()),
                None => ("application/json", Answer::Whole(bytes)),
            }
        }
    };
    parts
        .headers
        .insert(CONTENT_TYPE, HeaderValue::from_static(media));
    parts.headers.remove(CONTENT_LENGTH);
    Response::from_parts(parts, body)
}

/// Takes the whole lines off the buffer, each as an item.
fn taken(left: &mut BytesMut) -> Bytes {
    let mut items = Vec::new();
    while let Some(end) = left.iter().position(|b| *b == b'\n') {
        let line = left.split_to(end + 1);
        items.extend(item(&line).unwrap_or_default());
    }
    items.into()
}

fn item(text: &[u8]) -> Option<Vec<u8>> {
    let value = json::decode_value(text.trim_ascii()).ok()?;
    Some(cbor::encode_value(&value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepting(accept: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, accept.parse().unwrap());
        headers
    }

    #[test]
    fn the_best_of_the_accepted_types_counts() {
        let preferred = |accept: &str| is_preferred(&accepting(accept), "/api/v1/pods");
        assert!(preferred("application/cbor"));
        assert!(preferred(
            "application/cbor;as=Table;v=v1;g=meta.k8s.io,application/json;q=0.5"
        ));
        assert!(!preferred("application/json,application/cbor"));
        assert!(!preferred("application/cbor;q=0.1,application/yaml"));
        assert!(!is_preferred(&accepting("application/cbor"), "/openapi/v2"));
    }

    #[test]
    fn requests_say_json_and_keep_what_they_were() {
        let mut request = Request::get("/api/v1/pods")
            .header(ACCEPT, "application/cbor;q=0.9")
            .header(CONTENT_TYPE, "application/apply-patch+cbor")
            .body(())
            .unwrap();
        translate_request(&mut request);
        assert_eq!(request.headers()[ACCEPT], "application/json;q=0.9");
        assert_eq!(
            request.headers()[CONTENT_TYPE],
            "application/apply-patch+yaml"
        );
        assert!(request.extensions().get::<WasCbor>().is_some());
        assert_eq!(
            read(&Bytes::from_static(b"\xa1\x41a\x01")).unwrap(),
            "{\"a\":1}"
        );
        assert!(read(&Bytes::from_static(b"{}")).is_err());
    }

    #[tokio::test]
    async fn lines_become_a_sequence_wherever_they_are_cut() {
        let chunks = [&b"{\"a\":"[..], b"1}\n{\"b\":2}\n{"];
        let lines = futures_util::stream::iter(chunks.map(Bytes::from_static));
        let mut answer = Response::new(Answer::Stream(Box::pin(lines)));
        let json = HeaderValue::from_static("application/json");
        answer.headers_mut().insert(CONTENT_TYPE, json);
        let answer = translate_answer(answer);
        assert_eq!(answer.headers()[CONTENT_TYPE], SEQUENCE);
        let Answer::Stream(items) = answer.into_body() else {
            panic!("a stream stays one");
        };
        let items: Vec<Bytes> = items.collect().await;
        assert_eq!(
            items.concat(),
            b"\xd9\xd9\xf7\xa1\x41a\x01\xd9\xd9\xf7\xa1\x41b\x02"
        );
    }
}
