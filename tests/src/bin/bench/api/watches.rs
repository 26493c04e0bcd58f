//! Watchers: how much an event costs for each of them, and the memory that a quiet one takes. Watches are streams of
//! HTTP/2 connections, as client-go opens them; all watchers are tasks of one thread on the load's core.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use corten_tests::ApiAccess;
use tokio::sync::Notify;

use super::load::{Outcome, Request};
use super::operations::{Bench, PodBody, annotation};
use super::report::Measured;
use super::servers::Running;
use crate::pinned::{LOAD, pin};

/// Streams on one connection, as many as upstream lets a client open.
const STREAMS: usize = 100;

/// What all watchers have seen together.
#[derive(Default)]
struct Seen {
    events: AtomicU64,
    wanted: AtomicU64,
    reached: Notify,
}

impl Seen {
    fn add(&self, events: u64) {
        let now = self.events.fetch_add(events, Ordering::Relaxed) + events;
        if now >= self.wanted.load(Ordering::Relaxed) {
            self.reached.notify_one();
        }
    }

    async fn wait(&self, wanted: u64) -> Result<()> {
        self.wanted.store(wanted, Ordering::Relaxed);
        while self.events.load(Ordering::Relaxed) < wanted {
            let reached = tokio::time::timeout(Duration::from_secs(120), self.reached.notified());
            if reached.await.is_err() {
                let seen = self.events.load(Ordering::Relaxed);
                bail!("watchers have seen {seen} of {wanted} events");
            }
        }
        Ok(())
    }
}

/// One changing pod, `changes` times, each seen by all watchers before the next change.
pub fn fan_out(
    b: &mut Bench,
    name: &str,
    body: PodBody,
    (watchers, changes): (usize, usize),
) -> Result<Vec<Measured>> {
    let namespace = match name.contains("plain") {
        true => "watched-plain",
        false => "watched",
    };
    let path = watched(b, namespace, body)?;
    let server = b.server;
    let outcome = inside(b, async || {
        let access = server.access();
        let seen = Arc::new(Seen::default());
        let _watchers = open(access, &path, watchers, STREAMS, &seen).await?;
        let mut writer = connect(access).await?;
        let pod = format!("/api/v1/namespaces/{namespace}/pods/watched");
        let mut outcome = Outcome::default();
        // One change warms all of them up.
        change(access, &mut writer, &pod, 0).await?;
        seen.wait(watchers as u64).await?;
        server.forget_peak();
        let before = server.used();
        let started = Instant::now();
        for number in 1..=changes {
            let sent = Instant::now();
            change(access, &mut writer, &pod, number).await?;
            seen.wait((watchers * (number + 1)) as u64).await?;
            outcome
                .latencies
                .push(sent.elapsed().as_secs_f64() * 1000.0);
        }
        outcome.seconds = started.elapsed().as_secs_f64();
        outcome.latencies.sort_by(f64::total_cmp);
        anyhow::Ok((outcome, before, server.used()))
    })?;
    let (outcome, before, after) = outcome;
    let mut measured = Measured::of(server.which, name, &outcome, before, after);
    // For one delivered event; what the write itself took is in it.
    measured.count = watchers * changes;
    measured.cpu_ms /= watchers as f64;
    measured.per_second *= watchers as f64;
    Ok(vec![measured])
}

/// Watches that see nothing, and the memory each takes.
pub fn idle(b: &mut Bench, name: &str, watchers: usize, streams: usize) -> Result<Vec<Measured>> {
    // A server of its own: what others gave back would be taken for these.
    let server = Running::start(b.server.which)?;
    let b = &mut Bench::new(b.flags, &server);
    let path = watched(b, "watched", super::bodies::pod)?;
    let server = b.server;
    let (outcome, before, after) = inside(b, async || {
        server.forget_peak();
        let before = server.used();
        let started = Instant::now();
        let seen = Arc::new(Seen::default());
        let _watchers = open(server.access(), &path, watchers, streams, &seen).await?;
        let seconds = started.elapsed().as_secs_f64();
        // What opening needed for a moment is given back.
        tokio::time::sleep(Duration::from_secs(3)).await;
        let latencies = vec![seconds * 1000.0 / watchers as f64; watchers];
        let outcome = Outcome {
            latencies,
            seconds,
            bytes: 0,
        };
        anyhow::Ok((outcome, before, server.used()))
    })?;
    let mut measured = Measured::of(server.which, name, &outcome, before, after);
    let grown = after.resident_kib.saturating_sub(before.resident_kib);
    measured.each_kib = Some(grown as f64 / watchers as f64);
    Ok(vec![measured])
}

/// A namespace with one pod, and where its pods are watched from now on.
fn watched(b: &mut Bench, namespace: &str, body: PodBody) -> Result<String> {
    b.namespace(namespace)?;
    let pods = format!("/api/v1/namespaces/{namespace}/pods");
    let pod = body(namespace, "watched", 1);
    if b.ask(&format!("{pods}/watched")).is_err() {
        b.once(Request::write("POST", pods.as_str(), pod.to_string()))?;
    }
    let listed = b.ask(&pods)?;
    let revision = listed["metadata"]["resourceVersion"]
        .as_str()
        .context("the list has a resourceVersion")?;
    let query = "watch=true&allowWatchBookmarks=true&timeoutSeconds=3000";
    Ok(format!("{pods}?{query}&resourceVersion={revision}"))
}

/// Runs a future on a thread of its own on the load's core, inside the server's network namespace.
fn inside<T: Send>(b: &Bench, work: impl AsyncFnOnce() -> Result<T> + Send) -> Result<T> {
    b.server.network.enter(|| {
        pin(LOAD)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(work())
    })?
}

type Sender = h2::client::SendRequest<Bytes>;

async fn open(
    access: &ApiAccess,
    path: &str,
    watchers: usize,
    streams: usize,
    seen: &Arc<Seen>,
) -> Result<Vec<Sender>> {
    let mut connections = Vec::new();
    let mut left = watchers;
    while left > 0 {
        let mut sender = connect(access).await?;
        for _ in 0..left.min(streams) {
            sender = sender.ready().await?;
            let request = request(access, "GET", path, "application/json")?;
            let (response, _) = sender.send_request(request, true)?;
            let response = response.await?;
            if response.status() != 200 {
                bail!("the watch was answered {}", response.status());
            }
            tokio::spawn(follow(response.into_body(), seen.clone()));
        }
        left -= left.min(streams);
        connections.push(sender);
    }
    Ok(connections)
}

/// Counts events: one line each.
async fn follow(mut body: h2::RecvStream, seen: Arc<Seen>) {
    while let Some(Ok(chunk)) = body.data().await {
        let lines = chunk.iter().filter(|byte| **byte == b'\n').count();
        // The stream ends with its connection.
        let _ = body.flow_control().release_capacity(chunk.len());
        seen.add(lines as u64);
    }
}

async fn connect(access: &ApiAccess) -> Result<Sender> {
    let mut tls = access.tls();
    tls.alpn_protocols = vec![b"h2".to_vec()];
    let tcp = tokio::net::TcpStream::connect(access.address()).await?;
    tcp.set_nodelay(true)?;
    let stream = tokio_rustls::TlsConnector::from(Arc::new(tls))
        .connect(access.server_name()?, tcp)
        .await?;
    let (sender, connection) = h2::client::Builder::new()
        .initial_window_size(1 << 20)
        .initial_connection_window_size(16 << 20)
        .handshake(stream)
        .await?;
    tokio::spawn(async move {
        // It ends when its sender is dropped.
        let _ = connection.await;
    });
    Ok(sender)
}

fn request(
    access: &ApiAccess,
    method: &str,
    path: &str,
    content_type: &str,
) -> Result<http::Request<()>> {
    let mut request = http::Request::builder()
        .method(method)
        .uri(format!("https://{}{path}", access.address()))
        .header("accept", "application/json")
        .header("content-type", content_type);
    if let Some(token) = access.token() {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    Ok(request.body(())?)
}

async fn change(access: &ApiAccess, sender: &mut Sender, pod: &str, number: usize) -> Result<()> {
    // Runs after one another change the same pod: the moment tells their changes apart.
    let moment = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)?
        .as_micros() as usize;
    let patch = Bytes::from(annotation(moment + number).to_string());
    *sender = sender.clone().ready().await?;
    let request = request(access, "PATCH", pod, "application/merge-patch+json")?;
    let (response, mut body) = sender.send_request(request, false)?;
    body.send_data(patch, true)?;
    let response = response.await?;
    let status = response.status();
    let mut answer = response.into_body();
    while let Some(chunk) = answer.data().await {
        let chunk = chunk?;
        let _ = answer.flow_control().release_capacity(chunk.len());
    }
    if status != 200 {
        bail!("the change was answered {status}");
    }
    Ok(())
}
