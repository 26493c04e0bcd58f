//! Decompression of layers and archives, chosen by their first bytes: gzip, zstd, plain.
//! Concatenated gzip members and zstd frames (skippable ones included) read as one stream.

use std::io::{self, BufRead, BufReader, Read};

use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// A decompressing reader over `inner`.
pub(crate) fn decompress<R: Read + Send + 'static>(inner: R) -> io::Result<Box<dyn Read + Send>> {
    let mut inner = Peeked::new(inner)?;
    let magic = inner.magic();
    if magic.starts_with(&[0x1f, 0x8b]) {
        return Ok(Box::new(BufReader::with_capacity(
            64 << 10,
            flate2::bufread::MultiGzDecoder::new(inner),
        )));
    }
    if is_zstd(magic) {
        return Ok(Box::new(ZstdReader::new(inner)));
    }
    if magic.starts_with(b"BZh") || magic.starts_with(&[0xfd, b'7', b'z', b'X', b'Z']) {
        return Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "bzip2 and xz are not supported, use gzip or zstd",
        ));
    }
    inner.consume(0);
    Ok(Box::new(inner))
}

/// True for a file that [`decompress`] would change.
pub(crate) fn is_compressed(magic: &[u8]) -> bool {
    magic.starts_with(&[0x1f, 0x8b]) || is_zstd(magic)
}

fn is_zstd(magic: &[u8]) -> bool {
    magic.starts_with(&[0x28, 0xb5, 0x2f, 0xfd])
        || (magic.len() >= 4
            && (0x50..=0x5f).contains(&magic[0])
            && magic[1..4] == [0x2a, 0x4d, 0x18])
}

/// A buffered reader whose first bytes are known.
struct Peeked<R> {
    inner: BufReader<io::Chain<io::Cursor<Vec<u8>>, R>>,
    magic: Vec<u8>,
}

impl<R: Read> Peeked<R> {
    fn new(mut inner: R) -> io::Result<Peeked<R>> {
        let mut magic = Vec::with_capacity(8);
        inner.by_ref().take(8).read_to_end(&mut magic)?;
        let inner = BufReader::with_capacity(64 << 10, io::Cursor::new(magic.clone()).chain(inner));
        Ok(Peeked { inner, magic })
    }

    fn magic(&self) -> &[u8] {
        &self.magic
    }
}

impl<R: Read> Read for Peeked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.read(buffer)
    }
}

impl<R: Read> BufRead for Peeked<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }
    fn consume(&mut self, amount: usize) {
        self.inner.consume(amount);
    }
}

/// All frames of a zstd stream, one after another.
struct ZstdReader<R> {
    inner: R,
    decoder: FrameDecoder,
    in_frame: bool,
}

impl<R: BufRead> ZstdReader<R> {
    fn new(inner: R) -> ZstdReader<R> {
        ZstdReader {
            inner,
            decoder: FrameDecoder::new(),
            in_frame: false,
        }
    }

    /// Enters the next frame; false at the end of the stream.
    fn next_frame(&mut self) -> io::Result<bool> {
        loop {
            if self.inner.fill_buf()?.is_empty() {
                return Ok(false);
            }
            match self.decoder.reset(&mut self.inner) {
                Ok(()) => return Ok(true),
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    let length = u64::from(length);
                    if io::copy(&mut self.inner.by_ref().take(length), &mut io::sink())? < length {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                Err(error) => {
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        error.to_string(),
                    ));
                }
            }
        }
    }
}

impl<R: BufRead> Read for ZstdReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.in_frame {
                while self.decoder.can_collect() < buffer.len() && !self.decoder.is_finished() {
                    let wanted = buffer.len() - self.decoder.can_collect();
                    self.decoder
                        .decode_blocks(&mut self.inner, BlockDecodingStrategy::UptoBytes(wanted))
                        .map_err(|error| {
                            io::Error::new(io::ErrorKind::InvalidData, error.to_string())
                        })?;
                }
                let n = self.decoder.read(buffer)?;
                if n > 0 || buffer.is_empty() {
                    return Ok(n);
                }
                self.in_frame = false;
            }
            if !self.next_frame()? {
                return Ok(0);
            }
            self.in_frame = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn read_all(bytes: Vec<u8>) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        decompress(io::Cursor::new(bytes))?.read_to_end(&mut out)?;
        Ok(out)
    }

    #[test]
    fn every_form_reads_the_same() {
        let content: Vec<u8> = (0..300_000u32)
            .flat_map(|n| (n / 7).to_le_bytes())
            .collect();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&content[..1000]).unwrap();
        let mut gzip = gzip.finish().unwrap();
        let mut second = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        second.write_all(&content[1000..]).unwrap();
        gzip.extend(second.finish().unwrap());

        let level = ruzstd::encoding::CompressionLevel::Fastest;
        let mut zstd = ruzstd::encoding::compress_to_vec(&content[..1000], level);
        zstd.extend([0x52, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3]);
        let level = ruzstd::encoding::CompressionLevel::Fastest;
        zstd.extend(ruzstd::encoding::compress_to_vec(&content[1000..], level));

        assert!(read_all(content.clone()).unwrap() == content);
        assert!(read_all(gzip.clone()).unwrap() == content);
        assert!(read_all(zstd.clone()).unwrap() == content);
        assert!(read_all(gzip[..gzip.len() / 2].to_vec()).is_err());
        assert!(read_all(zstd[..zstd.len() - 5].to_vec()).is_err());
        assert_eq!(read_all(Vec::new()).unwrap(), b"");
    }
}
