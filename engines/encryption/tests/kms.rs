//! A key management plugin on a unix socket: what is stored, how keys rotate, what happens when it is away.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use corten_encryption::{Encryption, EncryptionError, Providers};
use std::path::Path;
use std::sync::{Arc, Mutex};
use tokio::net::UnixListener;

/// A plugin whose encryption is to turn every byte around; its key has a name.
struct Plugin {
    key: Arc<Mutex<String>>,
    calls: Arc<Mutex<Vec<String>>>,
    _runtime: tokio::runtime::Runtime,
}

fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    assert!(bytes.len() < 128);
    out.push(bytes.len() as u8);
    out.extend_from_slice(bytes);
    out
}

/// The field of a message whose fields are all short.
fn find(mut message: &[u8], number: u8) -> Vec<u8> {
    while let [tag, len, rest @ ..] = message {
        let (value, rest) = rest.split_at(*len as usize);
        if tag >> 3 == number {
            return value.to_vec();
        }
        message = rest;
    }
    Vec::new()
}

fn turned(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().map(|byte| !byte).collect()
}

fn answer(method: &str, message: &[u8], key: &str) -> Vec<u8> {
    match method {
        "Status" => [field(1, b"v2"), field(2, b"ok"), field(3, key.as_bytes())].concat(),
        "Encrypt" => {
            let annotation = [field(1, b"version.example"), field(2, b"1")].concat();
            [
                field(1, &turned(&find(message, 1))),
                field(2, key.as_bytes()),
                field(3, &annotation),
            ]
            .concat()
        }
        _ => {
            let annotation = find(message, 4);
            assert_eq!(find(&annotation, 1), b"version.example");
            field(1, &turned(&find(message, 1)))
        }
    }
}

impl Plugin {
    fn start(socket: &Path, key: &str) -> Plugin {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime.block_on(async { UnixListener::bind(socket).unwrap() });
        let key = Arc::new(Mutex::new(key.to_owned()));
        let calls = Arc::new(Mutex::new(Vec::new()));
        let (own, told) = (key.clone(), calls.clone());
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (key, calls) = (own.clone(), told.clone());
                tokio::spawn(async move {
                    let mut connection = h2::server::handshake(stream).await.unwrap();
                    while let Some(Ok((request, respond))) = connection.accept().await {
                        tokio::spawn(serve(request, respond, key.clone(), calls.clone()));
                    }
                });
            }
        });
        Plugin {
            key,
            calls,
            _runtime: runtime,
        }
    }

    fn calls(&self, method: &str) -> usize {
        let calls = self.calls.lock().unwrap();
        calls.iter().filter(|call| *call == method).count()
    }
}

async fn serve(
    request: http::Request<h2::RecvStream>,
    mut respond: h2::server::SendResponse<bytes::Bytes>,
    key: Arc<Mutex<String>>,
    calls: Arc<Mutex<Vec<String>>>,
) {
    let method = request.uri().path().rsplit('/').next().unwrap().to_owned();
    let mut body = request.into_body();
    let mut bytes = Vec::new();
    while let Some(chunk) = body.data().await {
        bytes.extend_from_slice(&chunk.unwrap());
    }
    calls.lock().unwrap().push(method.clone());
    let key = key.lock().unwrap().clone();
    let message = answer(&method, &bytes[5..], &key);
    let head = http::Response::builder()
        .header("content-type", "application/grpc")
        .body(())
        .unwrap();
    let mut stream = respond.send_response(head, false).unwrap();
    let mut framed = vec![0];
    framed.extend_from_slice(&(message.len() as u32).to_be_bytes());
    framed.extend_from_slice(&message);
    stream.send_data(framed.into(), false).unwrap();
    let mut trailers = http::HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().unwrap());
    stream.send_trailers(trailers).unwrap();
}

fn providers(socket: &Path) -> Providers {
    let text = format!(
        "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: [secrets]\n  \
         providers: [{{kms: {{apiVersion: v2, name: vault, endpoint: 'unix://{}', timeout: 5s}}}}, {{identity: {{}}}}]",
        socket.display()
    );
    Encryption::parse(text.as_bytes())
        .unwrap()
        .of("", "secrets")
}

#[test]
fn objects_are_sealed_with_seeds_that_the_plugin_keeps() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("kms.sock");
    let plugin = Plugin::start(&socket, "key-1");
    let first = providers(&socket);
    let stored: Vec<Vec<u8>> = (0..20)
        .map(|number| {
            first
                .to_storage(b"k8s\0hush", format!("/{number}").as_bytes())
                .unwrap()
        })
        .collect();
    for (number, stored) in stored.iter().enumerate() {
        assert!(stored.starts_with(b"k8s:enc:kms:v2:vault:"));
        assert!(!stored.windows(4).any(|part| part == b"hush"));
        let read = first
            .from_storage(stored, format!("/{number}").as_bytes())
            .unwrap();
        assert_eq!(
            (read.bytes.as_slice(), read.is_stale),
            (&b"k8s\0hush"[..], false)
        );
    }
    assert_eq!(
        (plugin.calls("Encrypt"), plugin.calls("Decrypt")),
        (1, 0),
        "one seed for all"
    );
    let moved = first.from_storage(&stored[0], b"/other");
    assert!(matches!(moved, Err(EncryptionError::Cipher(_))));

    // After a restart there is a new seed; the old one is asked for once.
    let second = providers(&socket);
    for (number, stored) in stored.iter().enumerate() {
        let read = second
            .from_storage(stored, format!("/{number}").as_bytes())
            .unwrap();
        assert!(!read.is_stale, "the same key keeps both");
    }
    assert_eq!((plugin.calls("Encrypt"), plugin.calls("Decrypt")), (2, 1));

    *plugin.key.lock().unwrap() = "key-2".to_owned();
    let third = providers(&socket);
    assert!(
        third.from_storage(&stored[0], b"/0").unwrap().is_stale,
        "the key is another"
    );
    let again = third.to_storage(b"k8s\0hush", b"/0").unwrap();
    assert!(!third.from_storage(&again, b"/0").unwrap().is_stale);
}

#[test]
fn a_plugin_that_is_away_refuses_and_names_itself() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("kms.sock");
    let away = providers(&socket);
    let error = away.to_storage(b"k8s", b"/a").unwrap_err().to_string();
    assert!(
        error.starts_with("kmsv2 Provider vault is not healthy, error: connecting to "),
        "{error}"
    );
    assert_eq!(
        away.from_storage(b"k8s", b"/a").unwrap().bytes,
        b"k8s",
        "plain ones are read"
    );
    let plugin = Plugin::start(&socket, "key-1");
    away.to_storage(b"k8s", b"/a").unwrap();
    assert_eq!(plugin.calls("Encrypt"), 1);
}
