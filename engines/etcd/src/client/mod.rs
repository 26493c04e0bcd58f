//! A client of an etcd cluster: unary calls that go on to the next endpoint when one cannot be reached, and
//! streams of watches and lease renewals. One HTTP/2 connection at a time carries everything.

mod channel;
mod tls;
mod watch;

pub use tls::TlsFiles;
pub use watch::{WatchConnection, WatchOptions};

use crate::proto::etcdserverpb as pb;
use crate::{Code, Refusal, grpc};
use bytes::{Bytes, BytesMut};
use channel::Connection;
use prost::Message;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;

/// How long a connection may take to be made.
const CONNECT_MAX: Duration = Duration::from_secs(2);
/// How long a call may take. An etcd that lost its majority says so sooner; only a connection that was cut without a
/// word is silent for longer.
const CALL_MAX: Duration = Duration::from_secs(10);
/// The bytes of an answer, at most.
pub(crate) const ANSWER_MAX: usize = 1 << 30;

/// Where an etcd cluster is.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// `http://host:port` or `https://host:port`, at least one.
    pub endpoints: Vec<String>,
    /// For `https`.
    pub tls: TlsFiles,
}

/// Why a client could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// An endpoint makes no sense.
    #[error("the etcd endpoint {0:?} is not of the form http(s)://host:port")]
    Endpoint(String),
    /// No endpoint was given.
    #[error("no etcd endpoint is given")]
    NoEndpoint,
    /// A certificate or key cannot be used.
    #[error("{attempt}: {reason}")]
    Tls {
        /// What was tried.
        attempt: String,
        /// Why it failed.
        reason: String,
    },
}

#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    pub(crate) https: bool,
    pub(crate) authority: String,
}

impl Endpoint {
    fn parse(text: &str) -> Result<Endpoint, ClientError> {
        let wrong = || ClientError::Endpoint(text.to_owned());
        let (https, rest) = match text.split_once("://") {
            Some(("http", rest)) => (false, rest),
            Some(("https", rest)) => (true, rest),
            None => (false, text),
            Some(_) => return Err(wrong()),
        };
        let authority = rest.trim_end_matches('/');
        let port = authority
            .rsplit_once(':')
            .map(|(_, port)| port.parse::<u16>());
        match port {
            Some(Ok(_)) if !authority.contains('/') => Ok(Endpoint {
                https,
                authority: authority.to_owned(),
            }),
            _ => Err(wrong()),
        }
    }
}

struct Current {
    connection: Option<Connection>,
    /// Which endpoint to try next.
    next: usize,
}

struct Inside {
    endpoints: Vec<Endpoint>,
    tls: Option<Arc<rustls::ClientConfig>>,
    current: Mutex<Current>,
}

/// A client. Clones share the connection.
#[derive(Clone)]
pub struct Client {
    inside: Arc<Inside>,
}

impl Client {
    /// A client that connects when it is first used.
    pub fn new(config: &Config) -> Result<Client, ClientError> {
        let endpoints: Vec<Endpoint> = config
            .endpoints
            .iter()
            .map(|text| Endpoint::parse(text))
            .collect::<Result<_, _>>()?;
        if endpoints.is_empty() {
            return Err(ClientError::NoEndpoint);
        }
        let tls = match endpoints.iter().any(|endpoint| endpoint.https) {
            true => Some(config.tls.load()?),
            false => None,
        };
        Ok(Client {
            inside: Arc::new(Inside {
                endpoints,
                tls,
                current: Mutex::new(Current {
                    connection: None,
                    next: 0,
                }),
            }),
        })
    }

    /// A connection of its own to an endpoint that can be reached.
    async fn connect(&self, next: &mut usize) -> Result<Connection, Refusal> {
        let mut last = Refusal::UNHEALTHY;
        for _ in 0..self.inside.endpoints.len() {
            let endpoint = &self.inside.endpoints[*next % self.inside.endpoints.len()];
            let connecting = Connection::open(endpoint, self.inside.tls.clone());
            match tokio::time::timeout(CONNECT_MAX, connecting).await {
                Ok(Ok(connection)) => return Ok(connection),
                Ok(Err(error)) => {
                    let text = format!("connecting to etcd at {}: {error}", endpoint.authority);
                    last = Refusal::new(Code::Unavailable, text);
                }
                Err(_) => {
                    let text = format!("connecting to etcd at {}: timed out", endpoint.authority);
                    last = Refusal::new(Code::Unavailable, text);
                }
            }
            *next += 1;
        }
        Err(last)
    }

    async fn connection(&self) -> Result<Connection, Refusal> {
        let mut current = self.inside.current.lock().await;
        if let Some(connection) = current.connection.as_ref().filter(|one| !one.is_closed()) {
            return Ok(connection.clone());
        }
        let mut next = current.next;
        let result = self.connect(&mut next).await;
        current.next = next;
        let connection = result?;
        current.connection = Some(connection.clone());
        Ok(connection)
    }

    /// Leaves the connection, so that the next call goes to the next endpoint.
    pub async fn move_on(&self) {
        let mut current = self.inside.current.lock().await;
        current.connection = None;
        current.next += 1;
    }

    /// One call with one answer. A refusal with [`Code::Unavailable`] may or may not have been carried out.
    pub async fn call<Q: Message, A: Message + Default>(
        &self,
        path: &'static str,
        request: &Q,
    ) -> Result<A, Refusal> {
        self.call_within(CALL_MAX, path, request).await
    }

    /// As [`Client::call`], given up after `limit`; the connection is left then, because it may be dead.
    pub async fn call_within<Q: Message, A: Message + Default>(
        &self,
        limit: Duration,
        path: &'static str,
        request: &Q,
    ) -> Result<A, Refusal> {
        let connection = self.connection().await?;
        match tokio::time::timeout(limit, unary(&connection, path, grpc::framed(request))).await {
            Ok(answer) => grpc::decode(answer?),
            Err(_) => {
                connection.give_up();
                Err(Refusal::new(
                    Code::Unavailable,
                    format!("etcd did not answer within {} s", limit.as_secs_f32()),
                ))
            }
        }
    }

    /// Reads a range, given up after `limit`.
    pub async fn range_within(
        &self,
        limit: Duration,
        request: &pb::RangeRequest,
    ) -> Result<pb::RangeResponse, Refusal> {
        self.call_within(limit, "/etcdserverpb.KV/Range", request)
            .await
    }

    /// Reads a range.
    pub async fn range(&self, request: &pb::RangeRequest) -> Result<pb::RangeResponse, Refusal> {
        self.call("/etcdserverpb.KV/Range", request).await
    }

    /// Writes a key.
    pub async fn put(&self, request: &pb::PutRequest) -> Result<pb::PutResponse, Refusal> {
        self.call("/etcdserverpb.KV/Put", request).await
    }

    /// Deletes keys.
    pub async fn delete(
        &self,
        request: &pb::DeleteRangeRequest,
    ) -> Result<pb::DeleteRangeResponse, Refusal> {
        self.call("/etcdserverpb.KV/DeleteRange", request).await
    }

    /// A transaction.
    pub async fn txn(&self, request: &pb::TxnRequest) -> Result<pb::TxnResponse, Refusal> {
        self.call("/etcdserverpb.KV/Txn", request).await
    }

    /// Forgets history before a revision.
    pub async fn compact(
        &self,
        request: &pb::CompactionRequest,
    ) -> Result<pb::CompactionResponse, Refusal> {
        self.call("/etcdserverpb.KV/Compact", request).await
    }

    /// Grants a lease.
    pub async fn grant(&self, id: i64, ttl: i64) -> Result<pb::LeaseGrantResponse, Refusal> {
        let request = pb::LeaseGrantRequest { id, ttl };
        self.call("/etcdserverpb.Lease/LeaseGrant", &request).await
    }

    /// Gives a lease back; what is attached to it is deleted.
    pub async fn revoke(&self, id: i64) -> Result<pb::LeaseRevokeResponse, Refusal> {
        let request = pb::LeaseRevokeRequest { id };
        self.call("/etcdserverpb.Lease/LeaseRevoke", &request).await
    }

    /// How long a lease has still to live.
    pub async fn time_to_live(&self, id: i64) -> Result<pb::LeaseTimeToLiveResponse, Refusal> {
        let request = pb::LeaseTimeToLiveRequest { id, keys: false };
        self.call("/etcdserverpb.Lease/LeaseTimeToLive", &request)
            .await
    }

    /// How the member that answers stands.
    pub async fn status(&self) -> Result<pb::StatusResponse, Refusal> {
        self.call("/etcdserverpb.Maintenance/Status", &pb::StatusRequest {})
            .await
    }

    /// A stream of watches on a connection of its own.
    pub async fn watch(&self) -> Result<WatchConnection, Refusal> {
        let mut next = self.inside.current.lock().await.next;
        let connection = self.connect(&mut next).await?;
        let stream = connection
            .request("/etcdserverpb.Watch/Watch", Bytes::new(), false)
            .await?;
        Ok(WatchConnection::new(stream))
    }

    /// Any call that streams both ways: what was sent first, as raw messages.
    pub async fn stream(&self, path: &'static str) -> Result<RawStream, Refusal> {
        let connection = self.connection().await?;
        Ok(RawStream {
            inside: connection.request(path, Bytes::new(), false).await?,
        })
    }
}

async fn unary(connection: &Connection, path: &'static str, body: Bytes) -> Result<Bytes, Refusal> {
    let mut stream = connection.request(path, body, true).await?;
    let answer = stream.message().await?;
    stream.finish().await?;
    answer.ok_or_else(|| Refusal::new(Code::Internal, "etcd answered nothing"))
}

/// A call that streams both ways.
pub struct RawStream {
    inside: channel::Stream,
}

impl RawStream {
    /// Sends a message.
    pub async fn send(&mut self, message: &impl Message) -> Result<(), Refusal> {
        self.inside.send(grpc::framed(message)).await
    }

    /// Says that no further message comes.
    pub fn close(&mut self) {
        self.inside.end();
    }

    /// The next message; none at the end.
    pub async fn next<M: Message + Default>(&mut self) -> Result<Option<M>, Refusal> {
        match self.inside.message().await? {
            Some(bytes) => grpc::decode(bytes).map(Some),
            None => Ok(None),
        }
    }
}

/// Several messages in one buffer.
pub fn framed_all<'a, M: Message + 'a>(messages: impl IntoIterator<Item = &'a M>) -> Bytes {
    let mut out = BytesMut::new();
    for message in messages {
        grpc::write(&mut out, message);
    }
    out.freeze()
}
