//! Unpacks one layer from a stream: decompression and the blob's digest on one thread, the archive and the diff id on
//! the other. Invariant: the digests returned are those of exactly the bytes that were unpacked.

use std::io::{self, Read};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use super::Limits;
use super::decompress::decompress;
use super::place::Placer;
use super::root::Root;
use super::tarball::Tarball;
use crate::digest::{Digest, DigestingReader};

const CHUNK: usize = 256 << 10;
const CHUNKS_AHEAD: usize = 8;

/// What was unpacked.
#[derive(Debug)]
pub(crate) struct Unpacked {
    /// The digest of the stream as it came.
    pub(crate) blob: Digest,
    /// The digest of the archive within.
    pub(crate) diff_id: Digest,
    /// Bytes of the files.
    pub(crate) bytes: u64,
    /// Directories the archive only implied, parents first.
    pub(crate) implied: Vec<Vec<u8>>,
}

/// Unpacks `source` into the empty directory `into`. `blob_bytes_max` bounds the stream as it comes.
pub(crate) fn unpack(
    source: impl Read + Send + 'static,
    blob_bytes_max: u64,
    into: &Path,
    limits: &Limits,
) -> io::Result<Unpacked> {
    let (sender, receiver) = sync_channel(CHUNKS_AHEAD);
    let reader = std::thread::Builder::new()
        .name("layer-reader".to_owned())
        .spawn(move || read_ahead(source, blob_bytes_max, &sender))?;
    let stream = Chunks {
        receiver,
        current: Vec::new(),
        at: 0,
    };
    let mut tarball = Tarball::new(DigestingReader::new(stream, limits.layer_bytes_max));
    let mut placer = Placer::new(Root::open(into)?);
    let mut entries = 0u64;
    while let Some(entry) = tarball.next_entry()? {
        entries += 1;
        if entries > limits.layer_entries_max {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                "the layer has too many entries",
            ));
        }
        placer.place(&entry, &mut tarball).map_err(|error| {
            io::Error::new(
                error.kind(),
                format!("{:?}: {error}", String::from_utf8_lossy(&entry.path)),
            )
        })?;
    }
    let (diff_id, _) = tarball.into_inner().drain()?;
    let (bytes, implied) = placer.finish()?;
    // The stream has ended without an error, so its thread ends by itself.
    let blob = reader
        .join()
        .map_err(|_| io::Error::other("the layer reader panicked"))??;
    Ok(Unpacked {
        blob,
        diff_id,
        bytes,
        implied,
    })
}

type Chunk = io::Result<Vec<u8>>;

/// Sends the decompressed stream chunk by chunk; ends early when nobody listens any more.
fn read_ahead(
    source: impl Read + Send + 'static,
    max: u64,
    sender: &SyncSender<Chunk>,
) -> io::Result<Digest> {
    let shared = Arc::new(Mutex::new(DigestingReader::new(source, max)));
    match send_all(Shared(shared.clone()), sender) {
        Ok(()) => {
            let reader = Arc::into_inner(shared)
                .expect("the decompressor is gone, so this is the only handle");
            Ok(reader
                .into_inner()
                .unwrap_or_else(PoisonError::into_inner)
                .drain()?
                .0)
        }
        Err(error) => {
            let copy = io::Error::new(error.kind(), error.to_string());
            // Nobody listening means that the other side failed first and reports its own error.
            drop(sender.send(Err(error)));
            Err(copy)
        }
    }
}

fn send_all(source: impl Read + Send + 'static, sender: &SyncSender<Chunk>) -> io::Result<()> {
    let mut stream = decompress(source)?;
    loop {
        let mut chunk = Vec::with_capacity(CHUNK);
        let n = stream.by_ref().take(CHUNK as u64).read_to_end(&mut chunk)?;
        if n == 0 {
            return Ok(());
        }
        if sender.send(Ok(chunk)).is_err() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
    }
}

struct Shared<R>(Arc<Mutex<DigestingReader<R>>>);

impl<R: Read> Read for Shared<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .read(buffer)
    }
}

struct Chunks {
    receiver: Receiver<Chunk>,
    current: Vec<u8>,
    at: usize,
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.current.len() {
            match self.receiver.recv() {
                Ok(chunk) => (self.current, self.at) = (chunk?, 0),
                Err(_) => return Ok(0),
            }
        }
        let n = buffer.len().min(self.current.len() - self.at);
        buffer[..n].copy_from_slice(&self.current[self.at..self.at + n]);
        self.at += n;
        Ok(n)
    }
}
