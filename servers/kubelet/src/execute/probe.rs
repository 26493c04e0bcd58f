//! Carrying out probes: commands, HTTP requests, TCP connections, gRPC health checks.

use crate::pod::context::Work;
use bytes::Bytes;
use corten_api::core::v1::{Container, GRPCAction, HTTPGetAction, Probe, TCPSocketAction};
use corten_core::IntOrString;
use corten_podplan::{ProbeKind, ProbeResult};
use corten_runtime::{ContainerId, Error};
use http_body_util::{BodyExt, Empty, Full, Limited};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Bytes of an answer or output that are kept.
const KEPT_MAX: usize = 10 * 1024;

/// Probes the container once.
pub(crate) async fn run(work: &Work, name: &str, id: &str, kind: ProbeKind) -> ProbeResult {
    let pod = work.pod();
    let Some(container) = corten_podplan::container_of(&pod.spec, name) else {
        return ProbeResult::Success;
    };
    let probe = match kind {
        ProbeKind::Startup => container.startup_probe.as_deref(),
        ProbeKind::Liveness => container.liveness_probe.as_deref(),
        ProbeKind::Readiness => container.readiness_probe.as_deref(),
    };
    let Some(probe) = probe else {
        return ProbeResult::Success;
    };
    let ips = work.ips();
    let ip = ips.first().map(String::as_str).unwrap_or_default();
    once(work, probe, &container, id, ip).await
}

async fn once(
    work: &Work,
    probe: &Probe,
    container: &Container,
    id: &str,
    ip: &str,
) -> ProbeResult {
    let limit = Duration::from_secs(probe.timeout_seconds.max(1) as u64);
    let handler = &probe.probe_handler;
    if let Some(action) = &handler.exec {
        let command = action.command.iter().map(ToString::to_string).collect();
        return exec(work, id, command, limit).await;
    }
    if let Some(action) = &handler.http_get {
        return match http_get(action, container, ip, limit, "kube-probe").await {
            Ok(()) => ProbeResult::Success,
            Err(text) => ProbeResult::Failure(text),
        };
    }
    if let Some(action) = &handler.tcp_socket {
        return tcp(action, container, ip, limit).await;
    }
    match &handler.grpc {
        Some(action) => grpc(action, ip, limit).await,
        None => ProbeResult::Error("missing probe handler".to_owned()),
    }
}

async fn exec(work: &Work, id: &str, command: Vec<String>, limit: Duration) -> ProbeResult {
    let id = ContainerId::new(work.context.bare_id(id));
    let text = command.join(" ");
    match work
        .context
        .engines
        .runtime
        .exec_sync(&id, command, limit)
        .await
    {
        Ok(output) if output.exit_code == 0 => ProbeResult::Success,
        Ok(output) => {
            let mut shown = output.stdout;
            shown.extend_from_slice(&output.stderr);
            shown.truncate(KEPT_MAX);
            ProbeResult::Failure(String::from_utf8_lossy(&shown).into_owned())
        }
        Err(Error::ExecTimeout { .. }) => {
            let text = format!(
                "command timed out: {text:?} timed out after {}s",
                limit.as_secs()
            );
            ProbeResult::Failure(text)
        }
        Err(error) => ProbeResult::Error(error.to_string()),
    }
}

/// The number behind a port by number or name.
fn port(port: &IntOrString, container: &Container) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(number) => i64::from(*number),
        IntOrString::String(name) => {
            let named = container.ports.iter().find(|p| p.name == *name);
            match (named, name.parse::<i64>()) {
                (Some(port), _) => i64::from(port.container_port),
                (None, Ok(number)) => number,
                (None, Err(_)) => return Err(format!("couldn't find port: {:?}", name.as_str())),
            }
        }
    };
    u16::try_from(number)
        .ok()
        .filter(|n| *n > 0)
        .ok_or_else(|| format!("invalid port number: {number}"))
}

async fn connect(host: &str, port: u16) -> Result<TcpStream, String> {
    let place = if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    };
    TcpStream::connect((host, port)).await.map_err(|error| {
        let why = match error.kind() {
            std::io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
            _ => error.to_string(),
        };
        format!("dial tcp {place}: {why}")
    })
}

async fn tcp(
    action: &TCPSocketAction,
    container: &Container,
    ip: &str,
    limit: Duration,
) -> ProbeResult {
    let port = match port(&action.port, container) {
        Ok(port) => port,
        Err(error) => return ProbeResult::Error(error),
    };
    let host = if action.host.is_empty() {
        ip
    } else {
        action.host.as_str()
    };
    match timeout(limit, connect(host, port)).await {
        Ok(Ok(_)) => ProbeResult::Success,
        Ok(Err(text)) => ProbeResult::Failure(text),
        Err(_) => ProbeResult::Failure(format!("dial tcp {host}:{port}: i/o timeout")),
    }
}

/// Sends a GET request; the error is upstream's text of a failed HTTP probe.
pub(crate) async fn http_get(
    action: &HTTPGetAction,
    container: &Container,
    ip: &str,
    limit: Duration,
    agent: &str,
) -> Result<(), String> {
    let port = port(&action.port, container)?;
    let host = if action.host.is_empty() {
        ip
    } else {
        action.host.as_str()
    };
    let scheme = if action.scheme.is_empty() {
        "http".to_owned()
    } else {
        action.scheme.to_lowercase()
    };
    let path = match action.path.starts_with('/') {
        true => action.path.to_string(),
        false => format!("/{}", action.path),
    };
    let url = format!("{scheme}://{host}:{port}{path}");
    let sent = send(action, host, port, &path, agent);
    let (status, body) = match timeout(limit, sent).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => return Err(format!("Get {url:?}: {error}")),
        Err(_) => {
            return Err(format!(
                "Get {url:?}: context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
            ));
        }
    };
    match (200..400).contains(&status) {
        true => Ok(()),
        false => {
            let _ = body;
            Err(format!("HTTP probe failed with statuscode: {status}"))
        }
    }
}

async fn send(
    action: &HTTPGetAction,
    host: &str,
    port: u16,
    path: &str,
    agent: &str,
) -> Result<(u16, Bytes), String> {
    let stream = connect(host, port).await?;
    let authority = if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    };
    let mut request = http::Request::builder().method("GET").uri(path);
    let set = |name: &str| {
        action
            .http_headers
            .iter()
            .any(|h| h.name.eq_ignore_ascii_case(name))
    };
    for (name, value) in [
        ("host", authority.as_str()),
        ("user-agent", agent),
        ("accept", "*/*"),
        ("connection", "close"),
    ] {
        if !set(name) {
            request = request.header(name, value);
        }
    }
    for header in &action.http_headers {
        request = request.header(header.name.as_str(), header.value.as_str());
    }
    let request = request
        .body(Empty::<Bytes>::new())
        .map_err(|e| e.to_string())?;
    let answer = if action.scheme.eq_ignore_ascii_case("https") {
        let name =
            rustls::pki_types::ServerName::try_from(host.to_owned()).map_err(|e| e.to_string())?;
        let connector =
            tokio_rustls::TlsConnector::from(Arc::new(crate::server::tls::trusting_anyone()));
        let stream = connector
            .connect(name, stream)
            .await
            .map_err(|e| e.to_string())?;
        exchange(TokioIo::new(stream), request).await?
    } else {
        exchange(TokioIo::new(stream), request).await?
    };
    let status = answer.status().as_u16();
    let body = Limited::new(answer.into_body(), KEPT_MAX).collect().await;
    Ok((status, body.map(|b| b.to_bytes()).unwrap_or_default()))
}

async fn exchange<I>(
    io: I,
    request: http::Request<Empty<Bytes>>,
) -> Result<http::Response<hyper::body::Incoming>, String>
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io)
        .await
        .map_err(|e| e.to_string())?;
    tokio::spawn(connection);
    sender
        .send_request(request)
        .await
        .map_err(|e| match e.is_incomplete_message() {
            true => "EOF".to_owned(),
            false => e.to_string(),
        })
}

/// `grpc.health.v1.Health/Check` with its two one-field messages written by hand.
async fn grpc(action: &GRPCAction, ip: &str, limit: Duration) -> ProbeResult {
    let Ok(port) = u16::try_from(action.port) else {
        return ProbeResult::Error(format!("invalid port number: {}", action.port));
    };
    let service = action.service.as_deref().unwrap_or_default();
    match timeout(limit, check(ip, port, service)).await {
        Err(_) => ProbeResult::Failure(format!(
            "timeout: failed to connect service \"{ip}:{port}\" within {}s: context deadline exceeded",
            limit.as_secs()
        )),
        Ok(Err(text)) => ProbeResult::Failure(text),
        Ok(Ok(1)) => ProbeResult::Success,
        Ok(Ok(status)) => {
            let name = match status {
                2 => "NOT_SERVING",
                3 => "SERVICE_UNKNOWN",
                _ => "UNKNOWN",
            };
            ProbeResult::Failure(format!("service unhealthy (responded with {name:?})"))
        }
    }
}

async fn check(ip: &str, port: u16, service: &str) -> Result<u64, String> {
    let stream = connect(ip, port).await?;
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .map_err(|e| e.to_string())?;
    tokio::spawn(connection);
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(0x0a);
        message.push(
            u8::try_from(service.len()).map_err(|_| "the service's name is too long".to_owned())?,
        );
        message.extend_from_slice(service.as_bytes());
    }
    let mut framed = vec![0];
    framed.extend_from_slice(&(message.len() as u32).to_be_bytes());
    framed.extend_from_slice(&message);
    let request = http::Request::post(format!("http://{ip}:{port}/grpc.health.v1.Health/Check"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Full::new(Bytes::from(framed)))
        .map_err(|e| e.to_string())?;
    let answer = sender
        .send_request(request)
        .await
        .map_err(|e| e.to_string())?;
    let head = answer.headers().clone();
    let body = answer
        .into_body()
        .collect()
        .await
        .map_err(|e| e.to_string())?;
    let trailers = body.trailers().cloned().unwrap_or_default();
    let code = trailers
        .get("grpc-status")
        .or_else(|| head.get("grpc-status"));
    match code.and_then(|v| v.to_str().ok()) {
        Some("0") => {}
        Some("12") => {
            return Err("error: this server does not implement the grpc health protocol (grpc.health.v1.Health)".into());
        }
        other => return Err(format!("rpc error: code = {}", other.unwrap_or("unknown"))),
    }
    let bytes = body.to_bytes();
    // Prefix of 5 bytes, then field 1 as a varint; nothing means 0.
    Ok(match bytes.get(5..) {
        Some([0x08, status, ..]) => u64::from(*status),
        _ => 0,
    })
}
