//! Spans of requests reach a collector.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::sync::Arc;

use bytes::Bytes;
use corten_apiserver::Disk;
use parking_lot::Mutex;
use support::Cluster;
use support::https::Ask;

/// A collector on loopback; what it was sent.
fn collector() -> (u16, Arc<Mutex<Vec<(String, Vec<u8>)>>>) {
    let sent: Arc<Mutex<Vec<(String, Vec<u8>)>>> = Arc::default();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let kept = sent.clone();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                let kept = kept.clone();
                tokio::spawn(async move {
                    let mut connection = h2::server::handshake(stream).await.unwrap();
                    while let Some(Ok((request, mut respond))) = connection.accept().await {
                        let kept = kept.clone();
                        tokio::spawn(async move {
                            let path = request.uri().path().to_owned();
                            let mut body = request.into_body();
                            let mut bytes = Vec::new();
                            while let Some(Ok(chunk)) = body.data().await {
                                bytes.extend_from_slice(&chunk);
                            }
                            kept.lock().push((path, bytes));
                            let head = http::Response::builder()
                                .header("content-type", "application/grpc")
                                .body(())
                                .unwrap();
                            let mut stream = respond.send_response(head, false).unwrap();
                            stream
                                .send_data(Bytes::from_static(&[0; 5]), false)
                                .unwrap();
                            let mut trailers = http::HeaderMap::new();
                            trailers.insert("grpc-status", "0".parse().unwrap());
                            stream.send_trailers(trailers).unwrap();
                        });
                    }
                });
            }
        });
    });
    (port, sent)
}

#[test]
fn requests_leave_spans() {
    let (port, sent) = collector();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_owned();
    let cluster = Cluster::start_with(directory, Disk::Memory, |config| {
        let file = path.join("tracing.yaml");
        let text = format!(
            "apiVersion: apiserver.config.k8s.io/v1\nkind: TracingConfiguration\nendpoint: 127.0.0.1:{port}\nsamplingRatePerMillion: 0\n"
        );
        std::fs::write(&file, text).unwrap();
        config.tracing_file = Some(file);
    });
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let ask = |path: &str| Ask::get(path).admin(&cluster);
    let told = ask("/api/v1/namespaces/default/configmaps/none")
        .header(&format!("traceparent: {parent}"))
        .header("Audit-ID: traced")
        .send(&cluster);
    assert_eq!(told.code, 404);
    // Not sampled: nobody asked for it, and the rate is none.
    assert_eq!(
        ask("/api/v1/namespaces/default/secrets/none")
            .send(&cluster)
            .code,
        404
    );
    // The end waits until what was gathered is out.
    cluster.stop();
    let sent = sent.lock();
    assert_eq!(sent.len(), 1);
    let (path, bytes) = &sent[0];
    assert_eq!(
        path,
        "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
    );
    let has = |part: &[u8]| bytes.windows(part.len()).any(|w| w == part);
    for part in [
        "GET /api/v1/namespaces/{:namespace}/configmaps/{:name}",
        "service.name",
        "apiserver",
        "traced",
        "/api/v1/namespaces/default/configmaps/none",
        "http.response.status_code",
    ] {
        assert!(has(part.as_bytes()), "{part}");
    }
    assert!(
        has(&[0x0a, 0xf7, 0x65, 0x19, 0x16, 0xcd]),
        "the parent's trace"
    );
    assert!(!has(b"secrets"));
}
