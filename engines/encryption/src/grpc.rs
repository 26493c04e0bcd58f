//! One gRPC call at a time over an HTTP/2 connection without TLS: all that a key management plugin needs, and an exporter
//! of spans. No streams, no compression.

use bytes::Bytes;
use http::{HeaderMap, Request};
use tokio::io::{AsyncRead, AsyncWrite};

/// A connection that calls can be sent over, one after another.
pub type Connection = h2::client::SendRequest<Bytes>;

/// Begins to speak over a stream; must be called on a tokio runtime, which keeps the connection going.
///
/// # Errors
/// When whoever listens speaks no HTTP/2.
pub async fn open(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
) -> Result<Connection, String> {
    let (client, connection) = h2::client::handshake(stream)
        .await
        .map_err(|error| error.to_string())?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a gRPC connection");
        }
    });
    Ok(client)
}

/// Calls a method (`/service/Method`) with a message, and answers with the message that comes back and the connection.
///
/// # Errors
/// What went wrong: the connection, or the status that the call ended with.
pub async fn call(
    client: Connection,
    method: &str,
    message: &[u8],
) -> Result<(Vec<u8>, Connection), String> {
    let text = |error: h2::Error| error.to_string();
    let request = Request::post(format!("http://localhost{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .map_err(|error| error.to_string())?;
    let mut client = client.ready().await.map_err(text)?;
    let (response, mut body) = client.send_request(request, false).map_err(text)?;
    let mut framed = vec![0];
    framed.extend_from_slice(&(message.len() as u32).to_be_bytes());
    framed.extend_from_slice(message);
    body.send_data(framed.into(), true).map_err(text)?;
    let response = response.await.map_err(text)?;
    let head = response.headers().clone();
    let mut stream = response.into_body();
    let mut bytes = Vec::new();
    while let Some(chunk) = stream.data().await {
        let chunk = chunk.map_err(text)?;
        // What was read may be sent again; that cannot fail while the stream is open.
        let _ = stream.flow_control().release_capacity(chunk.len());
        bytes.extend_from_slice(&chunk);
    }
    let trailers = stream.trailers().await.map_err(text)?.unwrap_or_default();
    status(&trailers).or_else(|missing| match head.contains_key("grpc-status") {
        true => status(&head),
        false => Err(missing),
    })?;
    let (prefix, message) = bytes
        .split_first_chunk::<5>()
        .ok_or("the answer has no message")?;
    let len = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
    match prefix[0] == 0 && len == message.len() {
        true => Ok((message.to_vec(), client)),
        false => Err("the answer is compressed or cut".to_owned()),
    }
}

fn status(headers: &HeaderMap) -> Result<(), String> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    match header("grpc-status") {
        Some("0") => Ok(()),
        Some(code) => Err(format!(
            "status {code}: {}",
            header("grpc-message").unwrap_or_default()
        )),
        None => Err("the answer has no status".to_owned()),
    }
}
