//! A stream of watches.

use super::channel::Stream;
use crate::proto::etcdserverpb::{
    WatchCreateRequest, WatchProgressRequest, WatchRequest, WatchResponse,
    watch_request::RequestUnion,
};
use crate::{Refusal, grpc};
use bytes::Bytes;

/// What to watch.
#[derive(Clone, Debug)]
pub struct WatchOptions {
    /// The first key.
    pub key: Bytes,
    /// Where the range ends; empty for one key.
    pub range_end: Bytes,
    /// The first revision wanted; 0 for what happens from now on.
    pub start_revision: i64,
}

/// A stream of watches. Dropping it ends them.
pub struct WatchConnection {
    stream: Stream,
}

impl WatchConnection {
    pub(crate) fn new(stream: Stream) -> WatchConnection {
        WatchConnection { stream }
    }

    async fn send(&mut self, union: RequestUnion) -> Result<(), Refusal> {
        let request = WatchRequest {
            request_union: Some(union),
        };
        self.stream.send(grpc::framed(&request)).await
    }

    /// Starts a watch with previous values, fragments and progress notifications.
    pub async fn create(&mut self, options: &WatchOptions) -> Result<(), Refusal> {
        let request = WatchCreateRequest {
            key: options.key.clone(),
            range_end: options.range_end.clone(),
            start_revision: options.start_revision,
            progress_notify: true,
            prev_kv: false,
            fragment: true,
            ..WatchCreateRequest::default()
        };
        self.send(RequestUnion::CreateRequest(request)).await
    }

    /// Sends any create request.
    pub async fn create_as(&mut self, request: WatchCreateRequest) -> Result<(), Refusal> {
        self.send(RequestUnion::CreateRequest(request)).await
    }

    /// Ends a watch.
    pub async fn cancel(&mut self, watch_id: i64) -> Result<(), Refusal> {
        let request = crate::proto::etcdserverpb::WatchCancelRequest { watch_id };
        self.send(RequestUnion::CancelRequest(request)).await
    }

    /// Asks for a response that says how far the watches are.
    pub async fn request_progress(&mut self) -> Result<(), Refusal> {
        self.send(RequestUnion::ProgressRequest(WatchProgressRequest {}))
            .await
    }

    /// The next response; none when the server ended the stream. Cancel safe.
    pub async fn next(&mut self) -> Result<Option<WatchResponse>, Refusal> {
        match self.stream.message().await? {
            Some(bytes) => grpc::decode(bytes).map(Some),
            None => Ok(None),
        }
    }
}
