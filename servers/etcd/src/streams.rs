//! Calls that stream, over gRPC or the JSON gateway: where requests come from and where answers go.

use crate::calls::{Face, unknown};
use crate::http2::{Body, Reply};
use bytes::{Buf, Bytes, BytesMut};
use corten_etcd::proto::etcdserverpb as pb;
use corten_etcd::{Refusal, grpc, json};
use prost::Message;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

/// The bytes of one piece of a snapshot.
const SNAPSHOT_CHUNK: usize = 32 << 10;

/// Where requests come from.
pub(crate) enum In {
    Grpc {
        body: Body,
        received: BytesMut,
        bytes_max: usize,
    },
    /// The requests of one JSON body.
    Json(std::vec::IntoIter<Bytes>),
}

impl In {
    /// The next request; none at the end. Cancel safe.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Refusal> {
        match self {
            In::Json(requests) => Ok(requests.next()),
            In::Grpc {
                body,
                received,
                bytes_max,
            } => loop {
                if let Some(message) = grpc::take(received, *bytes_max)? {
                    return Ok(Some(message));
                }
                match body.data().await {
                    Ok(Some(data)) => received.extend_from_slice(&data),
                    Ok(None) => return Ok(None),
                    Err(_) => return Err(Refusal::WATCH_CANCELED),
                }
            },
        }
    }

    /// Whether the client may go on listening after its last request.
    pub(crate) fn outlives_requests(&self) -> bool {
        matches!(self, In::Json(_))
    }
}

/// Where answers go.
pub(crate) enum Out {
    Grpc(Reply),
    /// The channel, and which message the answers are.
    Json(mpsc::Sender<Bytes>, usize),
}

impl Out {
    /// Sends framed messages; waits while the client does not read. An error means that the client is gone.
    pub(crate) async fn send(&mut self, framed: Bytes) -> Result<(), Refusal> {
        match self {
            Out::Grpc(reply) => {
                let sent = reply.data(framed).await;
                sent.map_err(|_| Refusal::WATCH_CANCELED)
            }
            Out::Json(channel, message) => {
                let mut received = BytesMut::from(framed);
                while let Some(one) = grpc::take(&mut received, usize::MAX)? {
                    let value = json::from_wire(*message, &one)
                        .map_err(|text| Refusal::new(corten_etcd::Code::Internal, text))?;
                    let line = format!("{{\"result\":{value}}}\n");
                    channel
                        .send(line.into())
                        .await
                        .map_err(|_| Refusal::WATCH_CANCELED)?;
                }
                Ok(())
            }
        }
    }

    /// Returns when the client is gone.
    pub(crate) async fn gone(&mut self) {
        match self {
            Out::Grpc(reply) => reply.gone().await,
            Out::Json(channel, _) => channel.closed().await,
        }
    }
}

/// Whether a path is a call that streams.
pub(crate) fn is_stream(path: &str) -> bool {
    matches!(
        path,
        "/etcdserverpb.Watch/Watch"
            | "/etcdserverpb.Lease/LeaseKeepAlive"
            | "/etcdserverpb.Maintenance/Snapshot"
    )
}

impl Face {
    /// Runs a call that streams until one side ends it.
    pub(crate) async fn stream(&self, path: &str, input: In, out: &mut Out) -> Result<(), Refusal> {
        match path {
            "/etcdserverpb.Watch/Watch" => self.watch(input, out).await,
            "/etcdserverpb.Lease/LeaseKeepAlive" => self.keep_alive(input, out).await,
            "/etcdserverpb.Maintenance/Snapshot" => self.snapshot(out).await,
            _ => Err(unknown(path)),
        }
    }

    async fn keep_alive(&self, mut input: In, out: &mut Out) -> Result<(), Refusal> {
        while let Some(bytes) = input.next().await? {
            let request: pb::LeaseKeepAliveRequest = grpc::decode(bytes)?;
            // Made before, so that it never claims more than what was true when the lease was renewed.
            let header = self.header_now();
            let response = pb::LeaseKeepAliveResponse {
                header,
                id: request.id,
                ttl: self.store.renew(request.id).unwrap_or(0),
            };
            out.send(grpc::framed(&response)).await?;
        }
        Ok(())
    }

    /// The retained history as one file of the store's own format, and its SHA-256.
    async fn snapshot(&self, out: &mut Out) -> Result<(), Refusal> {
        let store = self.store.clone();
        let copy = tokio::task::spawn_blocking(move || store.copy())
            .await
            .map_err(|error| Refusal::new(corten_etcd::Code::Internal, error.to_string()))?;
        let mut rest = Bytes::from(copy);
        let sum = Sha256::digest(&rest);
        while rest.has_remaining() {
            let blob = rest.split_to(rest.len().min(SNAPSHOT_CHUNK));
            let piece = pb::SnapshotResponse {
                header: None,
                remaining_bytes: rest.len() as u64,
                blob,
                version: "3.6.0".to_owned(),
            };
            out.send(grpc::framed(&piece)).await?;
        }
        let last = pb::SnapshotResponse {
            header: None,
            remaining_bytes: 0,
            blob: Bytes::copy_from_slice(&sum),
            version: "3.6.0".to_owned(),
        };
        debug_assert!(last.encoded_len() > 0);
        out.send(grpc::framed(&last)).await
    }
}
