//! Spans of requests, sent to a collector over OTLP: `--tracing-config-file`. A request's span is found through its task.
//! Invariant: without a configuration a request pays one look; what a collector does never holds a request up or changes
//! its answer. A parent's choice to be sampled counts only from members of `system:masters` and `system:monitoring`.

mod config;
mod otlp;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderValue, Method};
use hyper::Response;
use tokio::sync::{mpsc, oneshot};

use corten_access::{MASTERS, UserInfo};
use corten_client::Status;

use crate::Error;
use crate::body::Answer;
use crate::info::RequestInfo;

pub(crate) use config::TracingConfiguration;

const MONITORING: &str = "system:monitoring";
/// Spans that wait to be sent; those beyond are dropped.
const QUEUE_MAX: usize = 2048;
/// Spans of one message.
const BATCH_MAX: usize = 512;
/// How long a batch that is not full waits.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// The longest that an export may take.
const EXPORT_MAX: Duration = Duration::from_secs(10);

tokio::task_local! {
    static CURRENT: Context;
}

/// Which trace and span something belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Context {
    trace: [u8; 16],
    span: [u8; 8],
    sampled: bool,
}

impl Context {
    /// W3C's header.
    fn parse(text: &str) -> Option<Context> {
        let parts: Vec<&str> = text.trim().split('-').collect();
        let [version, trace, span, flags, ..] = parts.as_slice() else {
            return None;
        };
        let valid =
            version.len() == 2 && *version != "ff" && (*version != "00" || parts.len() == 4);
        let context = Context {
            trace: bytes(trace)?,
            span: bytes(span)?,
            sampled: bytes::<1>(flags)?[0] & 1 == 1,
        };
        (valid && context.trace != [0; 16] && context.span != [0; 8]).then_some(context)
    }

    fn header(&self) -> String {
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        let flags = u8::from(self.sampled);
        format!("00-{}-{}-{flags:02x}", hex(&self.trace), hex(&self.span))
    }
}

fn bytes<const N: usize>(hex: &str) -> Option<[u8; N]> {
    let lower = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    if hex.len() != N * 2 || !hex.bytes().all(lower) {
        return None;
    }
    let mut out = [0; N];
    for (i, byte) in out.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[i * 2..i * 2 + 2], 16).ok()?;
    }
    Some(out)
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the kernel gives randomness");
    bytes
}

fn nanoseconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_nanos()).unwrap_or(u64::MAX)
}

/// Part of a request's work, being done.
#[derive(Clone, Debug, PartialEq)]
struct Finished {
    context: Context,
    parent: [u8; 8],
    name: String,
    /// As OTLP numbers kinds: 2 for what a server does, 3 for what a client asks.
    kind: i32,
    begun: u64,
    ended: u64,
    texts: Vec<(&'static str, String)>,
    numbers: Vec<(&'static str, i64)>,
    failed: bool,
}

enum Message {
    Span(Box<Finished>),
    Flush(oneshot::Sender<()>),
}

/// Where spans go, and which requests get one.
pub(crate) struct Tracing {
    per_million: u32,
    queue: mpsc::Sender<Message>,
}

impl Tracing {
    /// Begins to export as a configuration says; `instance` names this server.
    pub(crate) fn start(config: &TracingConfiguration, instance: String) -> Result<Tracing, Error> {
        let (queue, waiting) = mpsc::channel(QUEUE_MAX);
        let collector = config.collector().map_err(Error::Flag)?;
        tokio::spawn(export(waiting, collector, instance));
        Ok(Tracing {
            per_million: config.per_million(),
            queue,
        })
    }

    /// The span of a request whose user is known; none when it is not sampled.
    pub(crate) fn begin(
        &self,
        (method, headers): (&Method, &HeaderMap),
        info: &RequestInfo,
        user: &UserInfo,
        (uri, audit_id): (&str, &str),
    ) -> Option<Span> {
        let parent = headers.get("traceparent").and_then(|v| v.to_str().ok());
        let parent = parent.and_then(Context::parse);
        let trusted = user.in_group(MASTERS) || user.in_group(MONITORING);
        let parent = parent.filter(|_| trusted);
        let trace = parent.map_or_else(random, |p| p.trace);
        let sampled = match parent {
            Some(parent) => parent.sampled,
            None => self.samples(&trace),
        };
        if !sampled {
            return None;
        }
        let agent = headers.get(http::header::USER_AGENT);
        let agent = agent.and_then(|v| v.to_str().ok()).unwrap_or_default();
        let texts = vec![
            ("http.request.method", method.to_string()),
            ("http.target", uri.to_owned()),
            ("url.path", info.path.clone()),
            ("user_agent.original", agent.to_owned()),
            ("audit-id", audit_id.to_owned()),
        ];
        Some(Span {
            queue: self.queue.clone(),
            span: Some(Box::new(Finished {
                context: Context {
                    trace,
                    span: random(),
                    sampled,
                },
                parent: parent.map_or([0; 8], |p| p.span),
                name: name(method, info),
                kind: 2,
                begun: nanoseconds(),
                ended: 0,
                texts,
                numbers: Vec::new(),
                failed: false,
            })),
        })
    }

    /// Whether a trace without a parent is sampled, by its id, as every other component decides.
    fn samples(&self, trace: &[u8; 16]) -> bool {
        let (_, low) = trace.split_at(8);
        let low = low.try_into().map_or(0, u64::from_be_bytes) >> 1;
        let bound = (1u128 << 63) * u128::from(self.per_million) / 1_000_000;
        u128::from(low) < bound
    }

    /// Waits until everything gathered is out, or for as long as an export may take.
    pub(crate) async fn flush(&self) {
        let (done, wait) = oneshot::channel();
        let flushing = async {
            if self.queue.send(Message::Flush(done)).await.is_ok() {
                let _ = wait.await;
            }
        };
        let _ = tokio::time::timeout(EXPORT_MAX, flushing).await;
    }
}

/// As upstream names spans: method and path, without names.
fn name(method: &Method, info: &RequestInfo) -> String {
    if !info.is_resource {
        return method.to_string();
    }
    let mut name = match info.group.as_str() {
        "" => format!("{method} /api/{}", info.version),
        group => format!("{method} /apis/{group}/{}", info.version),
    };
    if !info.namespace.is_empty() {
        name.push_str("/namespaces/{:namespace}");
    }
    name.push('/');
    name.push_str(&info.resource);
    if !info.name.is_empty() {
        name.push_str("/{:name}");
    }
    if !info.subresource.is_empty() {
        name.push('/');
        name.push_str(&info.subresource);
    }
    name
}

/// A span that goes on; it ends when this is dropped.
pub(crate) struct Span {
    queue: mpsc::Sender<Message>,
    span: Option<Box<Finished>>,
}

impl Span {
    fn answered(&mut self, code: u16) {
        if let Some(span) = &mut self.span {
            span.failed = code >= 500;
            span.numbers
                .push(("http.response.status_code", i64::from(code)));
        }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        if let Some(mut span) = self.span.take() {
            span.ended = nanoseconds();
            // A full queue loses spans, not time.
            let _ = self.queue.try_send(Message::Span(span));
        }
    }
}

/// Runs the rest of a request within its span, which ends with the last of the answer.
pub(crate) async fn follow(
    mut span: Span,
    request: impl Future<Output = Result<Response<Answer>, Status>>,
) -> Result<Response<Answer>, Status> {
    let Some(context) = span.span.as_ref().map(|s| s.context) else {
        return request.await;
    };
    let outcome = CURRENT.scope(context, request).await;
    match outcome {
        Ok(answer) => {
            span.answered(answer.status().as_u16());
            Ok(answer.map(|body| body.holding(span)))
        }
        Err(status) => {
            span.answered(status.code);
            Err(status)
        }
    }
}

/// The header by which others join the running request's trace.
pub(crate) fn traceparent() -> Option<HeaderValue> {
    let header = CURRENT.try_with(Context::header).ok()?;
    HeaderValue::from_str(&header).ok()
}

/// Sends spans in batches until nobody can make any more.
async fn export(mut waiting: mpsc::Receiver<Message>, to: otlp::Collector, instance: String) {
    loop {
        let Some(first) = waiting.recv().await else {
            return;
        };
        let mut spans = Vec::new();
        let mut done = Vec::new();
        let deadline = tokio::time::Instant::now() + WAIT_MAX;
        let mut next = Some(first);
        while let Some(message) = next {
            match message {
                Message::Span(span) => spans.push(*span),
                Message::Flush(flush) => {
                    done.push(flush);
                    break;
                }
            }
            if spans.len() >= BATCH_MAX {
                break;
            }
            next = tokio::time::timeout_at(deadline, waiting.recv())
                .await
                .unwrap_or(None);
        }
        if !spans.is_empty() {
            let count = spans.len();
            let message = otlp::request(&spans, &instance);
            let sent = tokio::time::timeout(EXPORT_MAX, to.export(message)).await;
            match sent {
                Ok(Ok(())) => {}
                Ok(Err(why)) => tracing::warn!(why, count, "export spans"),
                Err(_) => tracing::warn!(count, "export spans: the collector takes too long"),
            }
        }
        for flush in done {
            let _ = flush.send(());
        }
    }
}

/// Reads the configuration and begins to export.
pub(crate) fn start(
    path: Option<&std::path::Path>,
    instance: String,
) -> Result<Option<Arc<Tracing>>, Error> {
    let Some(path) = path else {
        return Ok(None);
    };
    let config = TracingConfiguration::parse(&crate::access::json(path)?);
    let config = config.map_err(|why| Error::Settings {
        path: path.to_owned(),
        why,
    })?;
    Tracing::start(&config, instance).map(|tracing| Some(Arc::new(tracing)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::info::Query;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn headers_are_read_and_written() {
        let context = Context::parse(PARENT).unwrap();
        assert_eq!(context.header(), PARENT);
        for wrong in [
            "",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
        ] {
            assert_eq!(Context::parse(wrong), None, "{wrong}");
        }
    }

    #[tokio::test]
    async fn only_administrators_choose_what_is_sampled() {
        let (queue, mut spans) = mpsc::channel(4);
        let tracing = Tracing {
            per_million: 0,
            queue,
        };
        let mut headers = HeaderMap::new();
        headers.insert("traceparent", PARENT.parse().unwrap());
        let path = "/apis/apps/v1/namespaces/web/deployments/a/status";
        let info = RequestInfo::new(&Method::GET, path, &Query::parse(None));
        let begin = |groups: &[&str]| {
            let user = UserInfo {
                groups: groups.iter().map(|g| (*g).to_owned()).collect(),
                ..UserInfo::default()
            };
            tracing.begin((&Method::GET, &headers), &info, &user, (path, "id"))
        };
        assert!(begin(&["system:authenticated"]).is_none());
        let span = begin(&[MASTERS]).unwrap();
        let answer = follow(span, async {
            let sent = traceparent().unwrap();
            assert!(sent.to_str().unwrap().starts_with(&PARENT[..36]));
            Err(Status::internal("x"))
        });
        assert!(answer.await.is_err());
        let Some(Message::Span(span)) = spans.recv().await else {
            panic!("no span");
        };
        assert_eq!(
            span.name,
            "GET /apis/apps/v1/namespaces/{:namespace}/deployments/{:name}/status"
        );
        assert_eq!(span.numbers, [("http.response.status_code", 500)]);
        assert!(span.failed && span.ended >= span.begun);
        assert_eq!(span.parent, Context::parse(PARENT).unwrap().span);
    }

    #[test]
    fn ids_decide_what_is_sampled() {
        let (queue, _spans) = mpsc::channel(1);
        let rate = |per_million| Tracing {
            per_million,
            queue: queue.clone(),
        };
        let mut low = [0; 16];
        low[15] = 1;
        let high = [0xff; 16];
        assert!(rate(1).samples(&low) && !rate(1).samples(&high));
        assert!(rate(1_000_000).samples(&high) && !rate(0).samples(&[0; 16]));
    }
}
