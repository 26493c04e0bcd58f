//! How a server ends: unready first, then closed to new clients, with everything that was begun brought to its end.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::time::Duration;

use corten_apiserver::Disk;
use support::Cluster;
use support::raw::{self, get};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[test]
fn unready_first_and_watches_to_their_end() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = Cluster::start_with(directory, Disk::Memory, |config| {
        config.static_tokens = raw::tokens(&["admin"]);
        config.shutdown_delay = Duration::from_secs(1);
    });
    let server = &cluster.server;
    cluster.block_on(async {
        assert_eq!(get(server, "/readyz").await.text(), "ok");
        let mut watch = raw::connect(server).await;
        let ask = "GET /api/v1/namespaces?watch=1&resourceVersion=0&fieldSelector=metadata.name%3Ddefault HTTP/1.1\r\n\
                   Host: x\r\nAuthorization: Bearer admin\r\n\r\n";
        watch.write_all(ask.as_bytes()).await.unwrap();
        let mut seen = Vec::new();
        while !seen.ends_with(b"\n\r\n") {
            assert_ne!(watch.read_buf(&mut seen).await.unwrap(), 0);
        }
        let unready = async {
            loop {
                let got = get(server, "/readyz?verbose").await;
                if got.code == 500 {
                    break got.text();
                }
            }
        };
        let ((), told) = tokio::join!(server.stop(), async {
            let told = unready.await;
            // Still serving, so that nobody is turned away before the load balancer has noticed.
            assert_eq!(get(server, "/version").await.code, 200);
            assert_eq!(get(server, "/livez").await.code, 200);
            told
        });
        assert!(told.contains("[-]shutdown failed: reason withheld"), "{told}");
        watch.read_to_end(&mut seen).await.unwrap();
        assert!(seen.ends_with(b"0\r\n\r\n"), "the watch ends as a whole answer does");
        assert!(tokio::net::TcpStream::connect(server.address()).await.is_err());
    });
}

#[test]
fn http2_clients_are_told_to_go_away() {
    let cluster = Cluster::with_tokens(&["admin"]);
    let server = &cluster.server;
    cluster.block_on(async {
        let mut stream = raw::connect_with(server, b"h2").await;
        stream
            .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
            .await
            .unwrap();
        let mut seen = Vec::new();
        assert_ne!(stream.read_buf(&mut seen).await.unwrap(), 0);
        // Frames: 9 bytes of head, the type in the fourth; 7 is GOAWAY.
        let says_goodbye = |seen: &[u8]| {
            let mut at = 0;
            while let Some(head) = seen.get(at..at + 9) {
                if head[3] == 7 {
                    return true;
                }
                let [high, middle, low] = [head[0], head[1], head[2]].map(usize::from);
                at += 9 + high * 65536 + middle * 256 + low;
            }
            false
        };
        let told = async {
            while !says_goodbye(&seen) {
                assert_ne!(stream.read_buf(&mut seen).await.unwrap(), 0, "{seen:?}");
            }
            drop(stream);
        };
        tokio::join!(server.stop(), told);
    });
}
