//! One HTTP/2 connection and the streams on it.

use super::{ANSWER_MAX, Endpoint};
use crate::{Code, Refusal, grpc};
use bytes::{Bytes, BytesMut};
use h2::client::SendRequest;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Method, Request, Uri, Version};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// What may be on its way on one stream and on one connection.
const STREAM_WINDOW: u32 = 8 << 20;
const CONNECTION_WINDOW: u32 = 32 << 20;

#[derive(Clone)]
pub(crate) struct Connection {
    send: SendRequest<Bytes>,
    closed: Arc<AtomicBool>,
    scheme: &'static str,
    authority: String,
}

impl Connection {
    pub(crate) async fn open(
        endpoint: &Endpoint,
        tls: Option<Arc<rustls::ClientConfig>>,
    ) -> io::Result<Connection> {
        let tcp = TcpStream::connect(&endpoint.authority).await?;
        tcp.set_nodelay(true)?;
        let (send, closed) = match tls.filter(|_| endpoint.https) {
            Some(tls) => {
                let host = endpoint
                    .authority
                    .rsplit_once(':')
                    .map_or("", |(host, _)| host);
                let host = host.trim_matches(['[', ']']).to_owned();
                let name =
                    rustls::pki_types::ServerName::try_from(host).map_err(io::Error::other)?;
                handshake(TlsConnector::from(tls).connect(name, tcp).await?).await?
            }
            None => handshake(tcp).await?,
        };
        Ok(Connection {
            send,
            closed,
            scheme: if endpoint.https { "https" } else { "http" },
            authority: endpoint.authority.clone(),
        })
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Nothing new goes over this connection.
    pub(crate) fn give_up(&self) {
        self.closed.store(true, Ordering::Release);
    }

    /// Starts a call; `body` is sent at once, and nothing after it when it is `whole`.
    pub(crate) async fn request(
        &self,
        path: &'static str,
        body: Bytes,
        whole: bool,
    ) -> Result<Stream, Refusal> {
        let uri = Uri::builder()
            .scheme(self.scheme)
            .authority(self.authority.as_str())
            .path_and_query(path)
            .build()
            .map_err(|error| Refusal::new(Code::Internal, error.to_string()))?;
        let request = Request::builder()
            .method(Method::POST)
            .version(Version::HTTP_2)
            .uri(uri)
            .header("content-type", grpc::CONTENT_TYPE)
            .header("te", "trailers")
            // A member that knows no leader says so at once instead of keeping the call until it knows one.
            .header("hasleader", "true")
            .body(())
            .map_err(|error| Refusal::new(Code::Internal, error.to_string()))?;
        let mut send = self.send.clone().ready().await.map_err(lost)?;
        let (response, mut out) = send.send_request(request, false).map_err(lost)?;
        if whole || !body.is_empty() {
            out.send_data(body, whole).map_err(lost)?;
        }
        Ok(Stream {
            out,
            waiting: Some(response),
            body: None,
            received: BytesMut::new(),
            early: None,
            closed: self.closed.clone(),
        })
    }
}

async fn handshake<T>(io: T) -> io::Result<(SendRequest<Bytes>, Arc<AtomicBool>)>
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (send, connection) = h2::client::Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(1 << 20)
        .handshake(io)
        .await
        .map_err(io::Error::other)?;
    let closed = Arc::new(AtomicBool::new(false));
    let flag = closed.clone();
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "the connection to etcd ended");
        }
        flag.store(true, Ordering::Release);
    });
    Ok((send, closed))
}

fn lost(error: h2::Error) -> Refusal {
    Refusal::new(
        Code::Unavailable,
        format!("the connection to etcd was lost: {error}"),
    )
}

/// A call under way.
pub(crate) struct Stream {
    out: SendStream<Bytes>,
    waiting: Option<h2::client::ResponseFuture>,
    body: Option<RecvStream>,
    received: BytesMut,
    /// The status, when it came with the headers.
    early: Option<Result<(), Refusal>>,
    closed: Arc<AtomicBool>,
}

impl Stream {
    pub(crate) async fn send(&mut self, message: Bytes) -> Result<(), Refusal> {
        self.out.send_data(message, false).map_err(lost)
    }

    pub(crate) fn end(&mut self) {
        let _ = self.out.send_data(Bytes::new(), true);
    }

    async fn body(&mut self) -> Result<Option<&mut RecvStream>, Refusal> {
        if let Some(waiting) = self.waiting.as_mut() {
            let answered = waiting.await;
            self.waiting = None;
            let response = answered.map_err(|error| {
                if error.is_go_away() || error.is_io() {
                    self.closed.store(true, Ordering::Release);
                }
                lost(error)
            })?;
            let (head, body) = response.into_parts();
            if !head.status.is_success() {
                let text = format!("etcd answered with HTTP status {}", head.status);
                return Err(Refusal::new(Code::Unavailable, text));
            }
            self.early = grpc::status(&head.headers);
            self.body = Some(body);
        }
        Ok(self.body.as_mut())
    }

    /// The next message; none at the end. Cancel safe.
    pub(crate) async fn message(&mut self) -> Result<Option<Bytes>, Refusal> {
        loop {
            if let Some(message) = grpc::take(&mut self.received, ANSWER_MAX)? {
                return Ok(Some(message));
            }
            let Some(body) = self.body().await? else {
                return Ok(None);
            };
            match body.data().await {
                Some(Ok(data)) => {
                    let _ = body.flow_control().release_capacity(data.len());
                    self.received.extend_from_slice(&data);
                }
                Some(Err(error)) => return Err(lost(error)),
                None => {
                    self.finish().await?;
                    return Ok(None);
                }
            }
        }
    }

    /// Waits for the status.
    pub(crate) async fn finish(&mut self) -> Result<(), Refusal> {
        if let Some(early) = self.early.take() {
            return early;
        }
        let Some(mut body) = self.body.take() else {
            return Ok(());
        };
        while let Some(data) = body.data().await {
            let data = data.map_err(lost)?;
            let _ = body.flow_control().release_capacity(data.len());
        }
        let trailers: Option<HeaderMap> = body.trailers().await.map_err(lost)?;
        match trailers.as_ref().and_then(grpc::status) {
            Some(status) => status,
            None => Err(Refusal::new(
                Code::Unavailable,
                "etcd ended a call without a status",
            )),
        }
    }
}
