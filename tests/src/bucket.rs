//! A bucket of an S3-compatible object store on loopback, in memory: enough of the protocol for backups (put, multipart
//! uploads, get, list, delete). Every request's signature (AWS Signature Version 4) is computed again from what
//! arrived; what does not match is refused, as the real ones do. Leaves out paging: no test has a thousand objects.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

const KEY: &str = "AKIDTEST";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLE";
const REGION: &str = "test-1";
const NAME: &str = "bucket";

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Vec<u8>>,
    uploads: BTreeMap<String, BTreeMap<u32, Vec<u8>>>,
    next: u64,
    refusals: u32,
    completed: u32,
}

/// A served bucket. It serves until the process ends.
pub struct Bucket {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Bucket {
    /// Serves an empty bucket on a free port.
    pub fn serve() -> Result<Bucket> {
        let listener = TcpListener::bind("127.0.0.1:0").context("listening")?;
        let (address, state) = (listener.local_addr()?, Arc::new(Mutex::default()));
        let shared = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = shared.clone();
                // A client that goes away ends its connection, nothing else.
                std::thread::spawn(move || drop(connection(stream, &state)));
            }
        });
        Ok(Bucket { address, state })
    }

    /// The address of a prefix of it.
    pub fn url(&self, prefix: &str) -> String {
        format!("s3://{NAME}/{prefix}")
    }

    /// The variables that lead a client to it.
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        vec![
            ("AWS_ACCESS_KEY_ID", KEY.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", SECRET.to_owned()),
            ("AWS_REGION", REGION.to_owned()),
            ("AWS_ENDPOINT_URL", format!("http://{}", self.address)),
            ("AWS_ALLOW_HTTP", "true".to_owned()),
        ]
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no request panics")
    }

    /// The keys of its objects, in order.
    pub fn keys(&self) -> Vec<String> {
        self.state().objects.keys().cloned().collect()
    }

    /// Changes an object behind everybody's back.
    pub fn change(&self, key: &str, change: impl FnOnce(&mut Vec<u8>)) -> Result<()> {
        let mut state = self.state();
        let object = state.objects.get_mut(key);
        change(object.with_context(|| format!("there is no {key}"))?);
        Ok(())
    }

    /// Answers the next requests with 503, as a store that is busy does.
    pub fn refuse(&self, requests: u32) {
        self.state().refusals = requests;
    }

    /// How many uploads came in several parts, and how many of those are not over.
    pub fn multipart(&self) -> (u32, usize) {
        let state = self.state();
        (state.completed, state.uploads.len())
    }
}

struct Request {
    method: String,
    path: String,
    query: Vec<(String, String)>,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl Request {
    fn read(from: &mut BufReader<TcpStream>) -> Result<Option<Request>> {
        let mut line = String::new();
        if from.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let mut words = line.split_whitespace();
        let (method, target) = (
            words.next().context("method")?,
            words.next().context("target")?,
        );
        let mut headers = BTreeMap::new();
        loop {
            let mut line = String::new();
            from.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(':') else {
                break;
            };
            headers.insert(name.to_lowercase(), value.trim().to_owned());
        }
        let length = headers.get("content-length").map_or("0", String::as_str);
        let mut body = vec![0; length.parse()?];
        from.read_exact(&mut body)?;
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        Ok(Some(Request {
            method: method.to_owned(),
            path: path.to_owned(),
            query: pairs
                .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
                .map(|(name, value)| (decode(name), decode(value)))
                .collect(),
            headers,
            body,
        }))
    }

    fn asks(&self, name: &str) -> Option<&str> {
        let found = self.query.iter().find(|(of, _)| of == name);
        found.map(|(_, value)| value.as_str())
    }

    /// What the client must have signed with the secret, from what arrived.
    fn check_signature(&self) -> Result<()> {
        let header = |name: &str| {
            let found = self.headers.get(name).map(String::as_str);
            found.with_context(|| format!("there is no {name}"))
        };
        let authorization = header("authorization")?;
        let part = |name: &str| {
            let (_, rest) = authorization.split_once(name).context("authorization")?;
            Ok::<_, anyhow::Error>(rest.split(',').next().unwrap_or_default())
        };
        let (scope, signed) = (part("Credential=")?, part("SignedHeaders=")?);
        let scope = scope
            .strip_prefix(&format!("{KEY}/"))
            .context("another key id")?;
        let mut query: Vec<String> = self
            .query
            .iter()
            .map(|(name, value)| format!("{}={}", encode(name), encode(value)))
            .collect();
        query.sort();
        let mut lines = String::new();
        for name in signed.split(';') {
            lines += &format!("{name}:{}\n", header(name)?);
        }
        let content = header("x-amz-content-sha256")?;
        if content != "UNSIGNED-PAYLOAD" && content != hex(&Sha256::digest(&self.body)) {
            bail!("the body is not what was signed");
        }
        let canonical = format!(
            "{}\n{}\n{}\n{lines}\n{signed}\n{content}",
            self.method,
            self.path,
            query.join("&")
        );
        let text = format!(
            "AWS4-HMAC-SHA256\n{}\n{scope}\n{}",
            header("x-amz-date")?,
            hex(&Sha256::digest(&canonical))
        );
        let mut key = format!("AWS4{SECRET}").into_bytes();
        for word in scope.split('/') {
            key = hmac(&key, word.as_bytes());
        }
        match hex(&hmac(&key, text.as_bytes())) == part("Signature=")? {
            true => Ok(()),
            false => bail!("the signature does not match that of\n{canonical}"),
        }
    }
}

fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
    const BLOCK: usize = 64;
    let mut block = [0; BLOCK];
    match key.len() > BLOCK {
        true => block[..32].copy_from_slice(&Sha256::digest(key)),
        false => block[..key.len()].copy_from_slice(key),
    }
    let padded = |with: u8| block.map(|byte| byte ^ with);
    let inner = Sha256::new_with_prefix(padded(0x36)).chain_update(text);
    let outer = Sha256::new_with_prefix(padded(0x5c)).chain_update(inner.finalize());
    outer.finalize().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn encode(text: &str) -> String {
    let one = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            char::from(byte).to_string()
        }
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(one).collect()
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let escaped = (byte == b'%').then(|| [rest.next(), rest.next()]);
        bytes.push(match escaped {
            Some([Some(high), Some(low)]) => {
                let digits = [high, low];
                let digits = std::str::from_utf8(&digits).unwrap_or("3f");
                u8::from_str_radix(digits, 16).unwrap_or(b'?')
            }
            _ => byte,
        });
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

struct Answer(u16, Vec<u8>);

fn connection(stream: TcpStream, state: &Mutex<State>) -> Result<()> {
    let mut out = stream.try_clone()?;
    let mut from = BufReader::new(stream);
    while let Some(request) = Request::read(&mut from)? {
        let mut state = state.lock().expect("no request panics");
        let Answer(status, body) = match request.check_signature() {
            Err(error) => refusal(403, "SignatureDoesNotMatch", &format!("{error:#}")),
            Ok(()) if state.refusals > 0 => {
                state.refusals -= 1;
                refusal(503, "SlowDown", "busy")
            }
            Ok(()) => answer(&request, &mut state),
        };
        drop(state);
        write!(
            out,
            "HTTP/1.1 {status} X\r\nContent-Length: {}\r\nETag: \"{}\"\r\n\
             Last-Modified: Sat, 21 Nov 2026 12:00:00 GMT\r\n\r\n",
            body.len(),
            hex(&Sha256::digest(&body)[..8])
        )?;
        out.write_all(&body)?;
    }
    Ok(())
}

fn refusal(status: u16, code: &str, message: &str) -> Answer {
    let text = format!("<Error><Code>{code}</Code><Message>{message}</Message></Error>");
    Answer(status, text.into_bytes())
}

fn answer(request: &Request, state: &mut State) -> Answer {
    let path = decode(&request.path);
    let rest = path.trim_start_matches('/').strip_prefix(NAME);
    let Some(key) = rest.map(|key| key.trim_start_matches('/')) else {
        return refusal(404, "NoSuchBucket", &path);
    };
    let upload = request.asks("uploadId").map(str::to_owned);
    match (request.method.as_str(), upload) {
        ("GET", _) if key.is_empty() => list(request, state),
        ("GET", _) => match state.objects.get(key) {
            Some(object) => Answer(200, object.clone()),
            None => refusal(404, "NoSuchKey", key),
        },
        ("POST", None) if request.asks("uploads").is_some() => {
            state.next += 1;
            let id = format!("upload-{}", state.next);
            let text = format!(
                "<InitiateMultipartUploadResult><Bucket>{NAME}</Bucket><Key>{key}</Key><UploadId>{id}</UploadId>\
                 </InitiateMultipartUploadResult>"
            );
            state.uploads.insert(id, BTreeMap::new());
            Answer(200, text.into_bytes())
        }
        ("PUT", Some(id)) => {
            let number = request.asks("partNumber").and_then(|n| n.parse().ok());
            match (state.uploads.get_mut(&id), number) {
                (Some(parts), Some(number)) => {
                    parts.insert(number, request.body.clone());
                    Answer(200, Vec::new())
                }
                _ => refusal(404, "NoSuchUpload", &id),
            }
        }
        ("POST", Some(id)) => match state.uploads.remove(&id) {
            Some(parts) => {
                let whole = parts.into_values().flatten().collect();
                state.objects.insert(key.to_owned(), whole);
                state.completed += 1;
                let text = "<CompleteMultipartUploadResult><ETag>\"x\"</ETag></CompleteMultipartUploadResult>";
                Answer(200, text.into())
            }
            None => refusal(404, "NoSuchUpload", &id),
        },
        ("DELETE", Some(id)) => {
            state.uploads.remove(&id);
            Answer(204, Vec::new())
        }
        ("PUT", None) => {
            state.objects.insert(key.to_owned(), request.body.clone());
            Answer(200, Vec::new())
        }
        ("DELETE", None) => {
            state.objects.remove(key);
            Answer(204, Vec::new())
        }
        (method, _) => refusal(405, "MethodNotAllowed", method),
    }
}

fn list(request: &Request, state: &State) -> Answer {
    let prefix = request.asks("prefix").unwrap_or_default();
    let mut text = "<ListBucketResult><IsTruncated>false</IsTruncated>".to_owned();
    for (key, object) in &state.objects {
        if key.starts_with(prefix) {
            text += &format!(
                "<Contents><Key>{key}</Key><LastModified>2026-11-21T12:00:00.000Z</LastModified><Size>{}</Size>\
                 <ETag>\"x\"</ETag></Contents>",
                object.len()
            );
        }
    }
    Answer(200, (text + "</ListBucketResult>").into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_those_of_the_standard() {
        // RFC 4231, test case 2.
        assert_eq!(
            hex(&hmac(b"Jefe", b"what do ya want for nothing?")),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        assert_eq!(decode("a%2Fb%20c"), "a/b c");
        assert_eq!(encode("a/b c"), "a%2Fb%20c");
    }
}
