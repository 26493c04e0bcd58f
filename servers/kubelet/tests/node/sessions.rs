//! Exec, attach and port-forward as clients see them.

use crate::bed::{Bed, pod, ready};
use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

/// Everything that a session sends: standard output, standard error, the status.
async fn session(bed: &Bed, path: &str, input: &[u8]) -> [String; 3] {
    let mut request = format!("ws://node{path}").into_client_request().unwrap();
    request.headers_mut().insert(
        "Sec-WebSocket-Protocol",
        "v5.channel.k8s.io".parse().unwrap(),
    );
    let (mut socket, answer) = tokio_tungstenite::client_async(request, bed.connect())
        .await
        .unwrap();
    assert_eq!(
        answer.headers()["sec-websocket-protocol"],
        "v5.channel.k8s.io"
    );
    if !input.is_empty() {
        let mut message = vec![0];
        message.extend_from_slice(input);
        socket.send(Message::Binary(message.into())).await.unwrap();
        socket
            .send(Message::Binary(vec![255, 0].into()))
            .await
            .unwrap();
    }
    let mut streams = [Vec::new(), Vec::new(), Vec::new()];
    while let Some(Ok(message)) = socket.next().await {
        if let Message::Binary(bytes) = message
            && let Some(stream) = streams.get_mut(usize::from(bytes[0]).wrapping_sub(1))
        {
            stream.extend_from_slice(&bytes[1..]);
        }
    }
    streams.map(|bytes| String::from_utf8(bytes).unwrap())
}

pub async fn exec() {
    let bed = Bed::new("exec").await;
    bed.api.put(pod(
        "web",
        &[("main", "trap 'exit 0' TERM; sleep 1000 & wait")],
    ));
    bed.until("web", ready).await;
    let [out, err, status] =
        session(&bed, "/exec/default/web/main?output=1&error=1&command=sh&command=-c&command=echo+a;echo+b+%3E%262;exit+3", b"").await;
    assert_eq!((out.as_str(), err.as_str()), ("a\n", "b\n"));
    assert!(
        status.contains("NonZeroExitCode") && status.contains("\"message\":\"3\""),
        "{status}"
    );
    let [out, _, status] = session(
        &bed,
        "/exec/default/web/main?input=1&output=1&command=cat",
        b"hello",
    )
    .await;
    assert_eq!(out, "hello");
    assert!(status.contains("Success"), "{status}");
    let [_, _, status] = session(&bed, "/exec/default/web/main?output=1&command=/none", b"").await;
    assert!(status.contains("InternalError"), "{status}");
    let (code, text) = bed
        .get("/exec/default/web/other?output=1&command=cat")
        .await;
    assert_eq!(
        (code, text.as_str()),
        (404, "container \"other\" not found in pod \"web\"")
    );
    bed.end().await;
}
