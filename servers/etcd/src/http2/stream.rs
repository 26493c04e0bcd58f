//! The two ends of a call that streams, for the task that runs it: what arrives, and where answers go. Both wait for
//! the other side: what was received counts as received when it was read, and answers wait for room to send.

use super::mailbox::{Done, Mailbox};
use crate::calls::Answered;
use bytes::Bytes;
use corten_etcd::Refusal;
use std::sync::Arc;
use tokio::sync::{Semaphore, mpsc};

/// What may wait to be sent on one stream.
pub(super) const ROOM: usize = 512 << 10;
/// What is handed to the connection at once.
const PIECE: usize = 128 << 10;

/// The client is gone, or has ended the call.
#[derive(Debug)]
pub(crate) struct Gone;

/// What a call says to its connection.
pub(super) enum Said {
    /// The first header block of an answer.
    Head(Bytes),
    /// Bytes to send.
    Data(Bytes),
    /// The end, with trailers or without.
    End(Option<Bytes>),
    /// So many received bytes were read.
    Read(usize),
    /// An answer that was made elsewhere.
    Answered(Answered),
    /// The call was given up.
    Dropped,
}

pub(super) type Say = mpsc::UnboundedSender<(u32, Said)>;

/// That a change will be answered, even if the writer ends first.
pub(super) struct Promise {
    stream: u32,
    /// None once it is kept.
    mailbox: Option<Arc<Mailbox>>,
}

impl Promise {
    pub(super) fn of(stream: u32, mailbox: Arc<Mailbox>) -> Promise {
        Promise {
            stream,
            mailbox: Some(mailbox),
        }
    }

    pub(super) fn keep(mut self, result: Done) {
        if let Some(mailbox) = self.mailbox.take() {
            mailbox.put(self.stream, result);
        }
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        if let Some(mailbox) = self.mailbox.take() {
            mailbox.put(self.stream, Err(Refusal::STOPPED));
        }
    }
}

/// What arrives on a stream: an empty piece is the end.
pub(crate) struct Body {
    pub(super) stream: u32,
    pub(super) pieces: mpsc::UnboundedReceiver<Bytes>,
    pub(super) say: Say,
}

impl Body {
    /// The next bytes; none at the end. Cancel safe.
    pub(crate) async fn data(&mut self) -> Result<Option<Bytes>, Gone> {
        let piece = self.pieces.recv().await.ok_or(Gone)?;
        if piece.is_empty() {
            return Ok(None);
        }
        let _ = self.say.send((self.stream, Said::Read(piece.len())));
        Ok(Some(piece))
    }
}

/// Where the answer of a stream goes.
pub(crate) struct Reply {
    pub(super) stream: u32,
    pub(super) say: Say,
    pub(super) room: Arc<Semaphore>,
    pub(super) ended: bool,
}

impl Reply {
    /// Begins the answer.
    pub(crate) fn head(&self, block: Bytes) {
        let _ = self.say.send((self.stream, Said::Head(block)));
    }

    /// Sends bytes; waits while the client does not read.
    pub(crate) async fn data(&self, mut bytes: Bytes) -> Result<(), Gone> {
        while !bytes.is_empty() {
            let piece = bytes.split_to(bytes.len().min(PIECE));
            let room = self.room.acquire_many(piece.len() as u32).await;
            // The connection gives it back when the piece is on its way.
            room.map_err(|_| Gone)?.forget();
            let said = self.say.send((self.stream, Said::Data(piece)));
            said.map_err(|_| Gone)?;
        }
        Ok(())
    }

    /// Ends the answer.
    pub(crate) fn end(mut self, trailers: Option<Bytes>) {
        self.ended = true;
        let _ = self.say.send((self.stream, Said::End(trailers)));
    }

    /// Returns when the client is gone.
    pub(crate) async fn gone(&self) {
        // There is never so much room: this ends when the semaphore is closed.
        let _ = self.room.acquire_many(ROOM as u32 + 1).await;
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if !self.ended {
            let _ = self.say.send((self.stream, Said::Dropped));
        }
    }
}
