//! Between an API server and etcd: a proxy that refuses requests as a busy etcd does, and cuts connections.

use crate::ours::{Corten, MAPS, map, put, value};
use crate::process::{Upstream, free_port};
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use corten_tests::eventually;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;

/// What the proxy is told.
struct Told {
    /// So many reads and transactions are still to be refused.
    refuse: AtomicUsize,
    /// So many were.
    refused: AtomicUsize,
    cut: watch::Sender<u64>,
}

struct Middle {
    url: String,
    told: Arc<Told>,
}

impl Middle {
    fn start(runtime: &Runtime, upstream: &str) -> Result<Middle> {
        let port = free_port()?;
        let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", port)))?;
        let told = Arc::new(Told {
            refuse: AtomicUsize::new(0),
            refused: AtomicUsize::new(0),
            cut: watch::Sender::new(0),
        });
        let target = upstream.trim_start_matches("http://").to_owned();
        let shared = told.clone();
        runtime.spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (told, target) = (shared.clone(), target.clone());
                let mut cut = told.cut.subscribe();
                tokio::spawn(async move {
                    tokio::select! {
                        // Whatever ends a connection, the other side sees it closed.
                        _ = carry(socket, target, told) => {}
                        _ = cut.changed() => {}
                    }
                });
            }
        });
        Ok(Middle {
            url: format!("http://127.0.0.1:{port}"),
            told,
        })
    }

    fn refuse(&self, count: usize) {
        self.told.refuse.store(count, Ordering::Release);
    }

    fn cut(&self) {
        self.told.cut.send_modify(|count| *count += 1);
    }
}

async fn carry(socket: TcpStream, target: String, told: Arc<Told>) -> Result<()> {
    let mut server = h2::server::Builder::new()
        .initial_window_size(8 << 20)
        .initial_connection_window_size(32 << 20)
        .handshake::<_, Bytes>(socket)
        .await?;
    let (client, connection) = h2::client::Builder::new()
        .initial_window_size(8 << 20)
        .initial_connection_window_size(32 << 20)
        .handshake::<_, Bytes>(TcpStream::connect(target).await?)
        .await?;
    let calls = async {
        let mut under_way = tokio::task::JoinSet::new();
        while let Some(Ok((request, mut respond))) = server.accept().await {
            let path = request.uri().path();
            let may_refuse = path.ends_with("KV/Txn") || path.ends_with("KV/Range");
            let less = |left: usize| left.checked_sub(1);
            let refused = may_refuse
                && told
                    .refuse
                    .fetch_update(Ordering::AcqRel, Ordering::Acquire, less)
                    .is_ok();
            if refused {
                told.refused.fetch_add(1, Ordering::AcqRel);
                let refusal = Response::builder()
                    .header("content-type", "application/grpc")
                    .header("grpc-status", "8")
                    .header("grpc-message", "etcdserver: too many requests")
                    .body(())?;
                respond.send_response(refusal, true)?;
                continue;
            }
            under_way.spawn(forward(request, respond, client.clone()));
        }
        anyhow::Ok(())
    };
    tokio::select! {
        done = calls => done,
        ended = connection => Ok(ended?),
    }
}

async fn forward(
    request: Request<RecvStream>,
    mut respond: h2::server::SendResponse<Bytes>,
    client: h2::client::SendRequest<Bytes>,
) -> Result<()> {
    let (head, body) = request.into_parts();
    let (answer, out) = client
        .ready()
        .await?
        .send_request(Request::from_parts(head, ()), false)?;
    let up = tokio::spawn(pump(body, out));
    let (head, body) = answer.await?.into_parts();
    let ended = body.is_end_stream();
    let back = respond.send_response(Response::from_parts(head, ()), ended)?;
    if !ended {
        pump(body, back).await?;
    }
    up.abort();
    Ok(())
}

async fn pump(mut from: RecvStream, mut to: SendStream<Bytes>) -> Result<()> {
    while let Some(data) = from.data().await {
        let data = data?;
        from.flow_control().release_capacity(data.len())?;
        to.send_data(data, false)?;
    }
    let trailers: Option<HeaderMap> = from.trailers().await?;
    match trailers {
        Some(trailers) => to.send_trailers(trailers)?,
        None => to.send_data(Bytes::new(), true)?,
    }
    Ok(())
}

/// `etcdserver: too many requests` is no reason to fail, unless it goes on; then it is said as upstream says it.
pub fn refused_requests_are_sent_again() -> Result<()> {
    let runtime = Runtime::new()?;
    let upstream = runtime.block_on(Upstream::start())?;
    let middle = Middle::start(&runtime, &upstream.url)?;
    let server = Corten::start(&middle.url)?;
    let mut api = server.api()?;
    for round in 0..5 {
        middle.refuse(3);
        let name = format!("round-{round}");
        put(&mut api, &name, "1")?;
        middle.refuse(3);
        ensure!(value(&mut api, &name)?.as_deref() == Some("1"));
    }
    ensure!(middle.told.refused.load(Ordering::Acquire) >= 20);
    middle.refuse(usize::MAX);
    let cached = api.request("GET", &format!("{MAPS}/round-0?resourceVersion=0"), b"")?;
    ensure!(
        cached.status == 200,
        "a read of what is known answers {}",
        cached.status
    );
    let refused = api.request("POST", MAPS, &map("never", "1"))?;
    ensure!(
        (500..=504).contains(&refused.status),
        "a write that is refused all the time answers {}",
        refused.status
    );
    middle.refuse(0);
    put(&mut api, "after", "1")?;
    ensure!(
        value(&mut api, "never")?.is_none(),
        "what was refused happened"
    );
    Ok(())
}

/// Connections that are cut are made again; a watch through the server misses nothing and repeats nothing.
pub fn connections_are_made_again() -> Result<()> {
    let runtime = Runtime::new()?;
    let upstream = runtime.block_on(Upstream::start())?;
    let middle = Middle::start(&runtime, &upstream.url)?;
    let server = Corten::start(&middle.url)?;
    let beside = Corten::start(&upstream.url)?;
    let mut api = server.api()?;
    let first = put(&mut api, "first", "1")?;
    let revision = first["metadata"]["resourceVersion"]
        .as_str()
        .context("no revision")?;
    let mut watch = server.watch(MAPS, revision)?;
    let mut other = beside.api()?;
    let mut made = BTreeSet::new();
    for round in 0..12 {
        middle.cut();
        let name = format!("beside-{round}");
        put(&mut other, &name, "1")?;
        // Read through the connection that was just cut.
        ensure!(
            value(&mut api, &name)?.as_deref() == Some("1"),
            "{name} is not read"
        );
        made.insert(name);
        middle.cut();
        let name = format!("through-{round}");
        // A write whose connection is cut may have happened or not; it is never half done.
        eventually("a write goes through", || {
            match api.request("POST", MAPS, &map(&name, "1"))?.status {
                201 | 409 => Ok(()),
                status => anyhow::bail!("create answers {status}"),
            }
        })?;
        made.insert(name);
    }
    let mut seen = BTreeSet::new();
    while seen.len() < made.len() {
        let (kind, name) = watch.event()?;
        ensure!(kind == "ADDED" && made.contains(&name), "{kind} {name}");
        ensure!(seen.insert(name.clone()), "{name} is shown twice");
    }
    Ok(())
}
