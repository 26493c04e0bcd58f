//! Port-forward: for each connection of the client a pair of SPDY streams, joined to a TCP connection in the pod.

use crate::pod::context::Context;
use crate::server::route::find;
use crate::server::spdy::{self, Connection, Stream};
use crate::server::{Request, Response, text, websocket};
use bytes::Bytes;
use corten_runtime::SandboxId;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// A port-forward session that was asked for.
pub(crate) struct Forward {
    context: Arc<Context>,
    sandbox: SandboxId,
    pod: String,
}

/// Answers a request to forward ports of a pod.
pub(crate) fn answer(
    context: Arc<Context>,
    mut request: Request,
    namespace: &str,
    pod: &str,
) -> Response {
    let Some(handle) = find(&context, namespace, pod) else {
        return text(404, format!("pod \"{pod}\" not found"));
    };
    let Some(sandbox) = handle.work.sandbox() else {
        return text(500, format!("pod not found (\"{pod}_{namespace}\")"));
    };
    let forward = Forward {
        context,
        sandbox,
        pod: pod.to_owned(),
    };
    if websocket::wanted(&request) {
        return websocket::tunnel(request, forward);
    }
    spdy::upgrade(&mut request, &["portforward.k8s.io"], |io| {
        tokio::spawn(serve(io, Arc::new(forward)));
    })
}

/// Serves a connection until the client ends it.
pub(crate) async fn serve<I>(io: I, forward: Arc<Forward>)
where
    I: AsyncRead + AsyncWrite + Send + 'static,
{
    let mut connection = Connection::start(io);
    // The halves of pairs that are not complete yet, by request.
    let mut halves: HashMap<String, Stream> = HashMap::new();
    while let Some(stream) = connection.streams.recv().await {
        let header =
            |stream: &Stream, name: &str| stream.headers.get(name).cloned().unwrap_or_default();
        let request = header(&stream, "requestid");
        let Some(other) = halves.remove(&request) else {
            halves.insert(request, stream);
            continue;
        };
        let (error, data) = match header(&stream, "streamtype").as_str() {
            "error" => (stream, other),
            _ => (other, stream),
        };
        let port = header(&data, "port");
        let forward = forward.clone();
        tokio::spawn(async move {
            if let Err(why) = join(&forward, data, &port).await {
                let text = format!(
                    "error forwarding port {port} to pod {}, uid : {why}",
                    forward.pod
                );
                error.to.send(Bytes::from(text)).await;
            }
            error.to.end().await;
        });
    }
    connection.end().await;
}

async fn join(forward: &Forward, data: Stream, port: &str) -> Result<(), String> {
    let Stream { mut from, to, .. } = data;
    let number: u16 = port
        .parse()
        .map_err(|_| format!("unable to parse {port:?} as a port"))?;
    let runtime = &forward.context.engines.runtime;
    let connected = runtime.port_forward(&forward.sandbox, number).await;
    let stream = match connected {
        Ok(stream) => stream,
        Err(error) => {
            to.end().await;
            return Err(error.to_string());
        }
    };
    let (mut reader, mut writer) = tokio::io::split(stream);
    let inward = async {
        while let Some(bytes) = from.recv().await {
            if writer.write_all(&bytes).await.is_err() {
                return;
            }
        }
        let _ = writer.shutdown().await;
    };
    let outward = async {
        let mut buffer = vec![0; 32 * 1024];
        while let Ok(size) = reader.read(&mut buffer).await {
            if size == 0 || !to.send(Bytes::copy_from_slice(&buffer[..size])).await {
                break;
            }
        }
        to.end().await;
    };
    tokio::pin!(inward);
    // The pod's end closes the connection; the client's end only closes its half.
    tokio::select! {
        () = outward => {}
        () = async { (&mut inward).await; std::future::pending::<()>().await } => {}
    }
    Ok(())
}
