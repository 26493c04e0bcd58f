//! Which path is answered by what.

use crate::pod::context::Context;
use crate::server::streams::{self, Purpose};
use crate::server::{Request, Response, json, logs, portforward, stats, text};
use corten_api::core::v1::{Pod, PodList};
use std::sync::Arc;

/// The parameters of a query, percent-decoded.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub(crate) fn parse(query: &str) -> Query {
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        let decoded = pairs.map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(key), decode(value))
        });
        Query(decoded.collect())
    }

    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(k, _)| k == key)
            .map(|(_, v)| v.as_str())
    }

    pub(crate) fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |(k, _)| k == key)
            .map(|(_, v)| v.as_str())
    }

    /// Whether a parameter says yes.
    pub(crate) fn says(&self, key: &str) -> bool {
        matches!(self.get(key), Some("1" | "true" | "True" | "t" | "T"))
    }
}

fn decode(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let hex = |i: usize| bytes.get(i).and_then(|b| char::from(*b).to_digit(16));
        match (bytes[at], hex(at + 1), hex(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 3;
            }
            (b'+', ..) => {
                out.push(b' ');
                at += 1;
            }
            (byte, ..) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The pod `namespace`/`name` on this node.
pub(crate) fn find(context: &Context, namespace: &str, name: &str) -> Option<crate::pod::Handle> {
    let pods = context.pods.lock();
    let named = |pod: &Pod| pod.metadata.name == name && pod.metadata.namespace == namespace;
    pods.values().find(|handle| named(&handle.pod)).cloned()
}

/// Answers one request.
pub(crate) async fn answer(context: Arc<Context>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let query = Query::parse(request.uri().query().unwrap_or_default());
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    match parts.as_slice() {
        ["healthz"] | ["healthz", "ping" | "log" | "syncloop"] => text(200, "ok"),
        ["pods"] => pods(&context),
        ["runningpods"] => pods(&context),
        ["containerLogs", namespace, pod, container] => {
            logs::answer(context, namespace, pod, container, &query).await
        }
        ["exec", namespace, pod, container] => {
            streams::answer(
                context,
                request,
                Purpose::Exec,
                (namespace, pod, container),
                &query,
            )
            .await
        }
        ["attach", namespace, pod, container] => {
            streams::answer(
                context,
                request,
                Purpose::Attach,
                (namespace, pod, container),
                &query,
            )
            .await
        }
        ["portForward", namespace, pod] => portforward::answer(context, request, namespace, pod),
        ["stats", "summary"] => stats::summary(&context).await,
        ["metrics", "resource"] => stats::metrics(&context).await,
        _ => text(404, "404 page not found\n"),
    }
}

fn pods(context: &Context) -> Response {
    let pods = context.pods.lock();
    let items = pods.values().map(|handle| (*handle.work.pod()).clone());
    let list = PodList {
        kind: "PodList".into(),
        api_version: "v1".into(),
        items: items.collect::<Vec<_>>().into(),
        ..PodList::default()
    };
    json(corten_codec::json::encode_message(
        corten_core::MsgRef::new(&list),
    ))
}
