//! OTLP over gRPC, without TLS, as upstream speaks it: the few messages of an export, and the call. A connection is kept while
//! it works.

use std::path::PathBuf;

use corten_encryption::grpc::{self, Connection};
use prost::Message;
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Mutex;

use super::Finished;

const METHOD: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// Where a collector listens.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// `host:port`
    Tcp(String),
    /// A socket's file.
    Unix(PathBuf),
}

/// A collector, with the connection to it.
pub(super) struct Collector {
    place: Place,
    connection: Mutex<Option<Connection>>,
}

impl Collector {
    pub(super) fn at(place: Place) -> Collector {
        Collector {
            place,
            connection: Mutex::new(None),
        }
    }

    /// Sends a message; a connection that broke is made again once.
    pub(super) async fn export(&self, message: Vec<u8>) -> Result<(), String> {
        let mut connection = self.connection.lock().await;
        if let Some(kept) = connection.take()
            && let Ok((_, used)) = grpc::call(kept, METHOD, &message).await
        {
            *connection = Some(used);
            return Ok(());
        }
        let fresh = self.connect().await?;
        let (_, used) = grpc::call(fresh, METHOD, &message).await?;
        *connection = Some(used);
        Ok(())
    }

    async fn connect(&self) -> Result<Connection, String> {
        match &self.place {
            Place::Tcp(address) => {
                let stream = TcpStream::connect(address.as_str()).await;
                grpc::open(stream.map_err(|e| format!("dial tcp {address}: {e}"))?).await
            }
            Place::Unix(path) => {
                let stream = UnixStream::connect(path).await;
                grpc::open(stream.map_err(|e| format!("dial unix {}: {e}", path.display()))?).await
            }
        }
    }
}

#[derive(Clone, PartialEq, Message)]
struct ExportRequest {
    #[prost(message, repeated, tag = "1")]
    resource_spans: Vec<ResourceSpans>,
}

#[derive(Clone, PartialEq, Message)]
struct ResourceSpans {
    #[prost(message, optional, tag = "1")]
    resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    scope_spans: Vec<ScopeSpans>,
}

#[derive(Clone, PartialEq, Message)]
struct Resource {
    #[prost(message, repeated, tag = "1")]
    attributes: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct ScopeSpans {
    #[prost(message, optional, tag = "1")]
    scope: Option<Scope>,
    #[prost(message, repeated, tag = "2")]
    spans: Vec<WireSpan>,
}

#[derive(Clone, PartialEq, Message)]
struct Scope {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, Message)]
struct WireSpan {
    #[prost(bytes = "vec", tag = "1")]
    trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    span_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    parent_span_id: Vec<u8>,
    #[prost(string, tag = "5")]
    name: String,
    #[prost(int32, tag = "6")]
    kind: i32,
    #[prost(fixed64, tag = "7")]
    begun: u64,
    #[prost(fixed64, tag = "8")]
    ended: u64,
    #[prost(message, repeated, tag = "9")]
    attributes: Vec<KeyValue>,
    #[prost(message, optional, tag = "15")]
    status: Option<WireStatus>,
}

#[derive(Clone, PartialEq, Message)]
struct WireStatus {
    #[prost(int32, tag = "3")]
    code: i32,
}

#[derive(Clone, PartialEq, Message)]
struct KeyValue {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<AnyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct AnyValue {
    #[prost(oneof = "AnyKind", tags = "1, 3")]
    value: Option<AnyKind>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum AnyKind {
    #[prost(string, tag = "1")]
    Text(String),
    #[prost(int64, tag = "3")]
    Number(i64),
}

fn pair(key: &str, value: AnyKind) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
    }
}

fn wire(span: &Finished) -> WireSpan {
    let texts = span
        .texts
        .iter()
        .map(|(key, value)| pair(key, AnyKind::Text(value.clone())));
    let numbers = span
        .numbers
        .iter()
        .map(|(key, value)| pair(key, AnyKind::Number(*value)));
    let parent = match span.parent == [0; 8] {
        true => Vec::new(),
        false => span.parent.to_vec(),
    };
    WireSpan {
        trace_id: span.context.trace.to_vec(),
        span_id: span.context.span.to_vec(),
        parent_span_id: parent,
        name: span.name.clone(),
        kind: span.kind,
        begun: span.begun,
        ended: span.ended,
        attributes: texts.chain(numbers).collect(),
        status: span.failed.then_some(WireStatus { code: 2 }),
    }
}

/// The message that exports spans.
pub(super) fn request(spans: &[Finished], instance: &str) -> Vec<u8> {
    let request = ExportRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(Resource {
                attributes: vec![
                    pair("service.name", AnyKind::Text("apiserver".to_owned())),
                    pair("service.instance.id", AnyKind::Text(instance.to_owned())),
                ],
            }),
            scope_spans: vec![ScopeSpans {
                scope: Some(Scope {
                    name: "corten".to_owned(),
                }),
                spans: spans.iter().map(wire).collect(),
            }],
        }],
    };
    request.encode_to_vec()
}
