//! gRPC's framing: five bytes before every message, the status in trailers.

use crate::{Code, Refusal};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue};
use prost::Message;

/// The bytes before a message.
pub const PREFIX: usize = 5;
/// The content type of requests and responses.
pub const CONTENT_TYPE: &str = "application/grpc";

/// Appends a message with its prefix.
pub fn write(out: &mut BytesMut, message: &impl Message) {
    let length = message.encoded_len();
    out.reserve(PREFIX + length);
    out.put_u8(0);
    out.put_u32(length as u32);
    // There is room for all of it.
    let _ = message.encode(out);
}

/// A message with its prefix.
pub fn framed(message: &impl Message) -> Bytes {
    let mut out = BytesMut::new();
    write(&mut out, message);
    out.freeze()
}

/// Takes the next whole message off the front of what was received; none if more has to come.
pub fn take(received: &mut BytesMut, bytes_max: usize) -> Result<Option<Bytes>, Refusal> {
    if received.len() < PREFIX {
        return Ok(None);
    }
    let length = length(received, bytes_max)?;
    if received.len() < PREFIX + length {
        return Ok(None);
    }
    received.advance(PREFIX);
    Ok(Some(received.split_to(length).freeze()))
}

/// The length of the message that these bytes, a prefix at least, begin.
pub fn length(received: &[u8], bytes_max: usize) -> Result<usize, Refusal> {
    let length = u32::from_be_bytes([received[1], received[2], received[3], received[4]]) as usize;
    if received[0] != 0 {
        return Err(Refusal::new(
            Code::Unimplemented,
            "grpc: Decompressor is not installed for grpc-encoding \"gzip\"",
        ));
    }
    if length > bytes_max {
        let text = format!("grpc: received message larger than max ({length} vs. {bytes_max})");
        return Err(Refusal::new(Code::ResourceExhausted, text));
    }
    Ok(length)
}

/// Decodes a message.
pub fn decode<M: Message + Default>(bytes: Bytes) -> Result<M, Refusal> {
    M::decode(bytes).map_err(|error| {
        Refusal::new(
            Code::Internal,
            format!("grpc: error unmarshalling request: {error}"),
        )
    })
}

/// The trailers of an answer.
pub fn trailers(result: Result<(), &Refusal>) -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(2);
    match result {
        Ok(()) => {
            trailers.insert("grpc-status", HeaderValue::from_static("0"));
        }
        Err(refusal) => {
            trailers.insert("grpc-status", HeaderValue::from(refusal.code as u32));
            if let Ok(message) = HeaderValue::try_from(escape(&refusal.message)) {
                trailers.insert("grpc-message", message);
            }
        }
    }
    trailers
}

/// What trailers (or headers, when there is nothing else) say.
pub fn status(trailers: &HeaderMap) -> Option<Result<(), Refusal>> {
    let code: u32 = trailers.get("grpc-status")?.to_str().ok()?.parse().ok()?;
    if code == 0 {
        return Some(Ok(()));
    }
    let message = trailers
        .get("grpc-message")
        .map_or_else(String::new, |m| unescape(m.as_bytes()));
    Some(Err(Refusal::new(Code::of(code), message)))
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

fn unescape(text: &[u8]) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        let code = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match code.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) if *first == b'%' => {
                out.push(byte);
                rest = &after[2..];
            }
            _ => {
                out.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_taken_one_by_one() {
        let mut received = BytesMut::new();
        received.extend_from_slice(&[0, 0, 0, 0, 2, b'a', b'b', 0, 0, 0]);
        assert_eq!(take(&mut received, 9).unwrap().unwrap(), &b"ab"[..]);
        assert_eq!(take(&mut received, 9), Ok(None));
        received.extend_from_slice(&[0, 99]);
        assert_eq!(
            take(&mut received, 9).unwrap_err().code,
            Code::ResourceExhausted
        );
    }

    #[test]
    fn statuses_round_trip() {
        let refusal = Refusal::new(Code::NotFound, "no 100% ü");
        assert_eq!(status(&trailers(Err(&refusal))), Some(Err(refusal)));
        assert_eq!(status(&trailers(Ok(()))), Some(Ok(())));
    }
}
