//! Where events go, and how: at once (the request waits) or in batches behind a bounded buffer. Invariant: a full
//! buffer drops events, counts them and never holds a request up.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use corten_api::audit::v1::Event;

use super::format;
use super::log_file::LogFile;
use crate::Error;
use crate::metrics::Metrics;
use crate::outbound::Outbound;
use crate::remote::Remote;
use crate::settings::{AuditBatchSettings, AuditSettings, AuditTruncateSettings};

/// How a sink takes events.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Batch,
    Blocking,
    BlockingStrict,
}

impl Mode {
    fn parse(plugin: &str, text: &str) -> Result<Mode, Error> {
        match text {
            "batch" => Ok(Mode::Batch),
            "blocking" => Ok(Mode::Blocking),
            "blocking-strict" => Ok(Mode::BlockingStrict),
            other => Err(Error::Flag(format!(
                "invalid audit {plugin} mode {other}, allowed modes are \"batch,blocking,blocking-strict\""
            ))),
        }
    }
}

/// Where events go in the end.
pub(super) enum Output {
    /// Lines of a file.
    Log { file: Mutex<LogFile>, legacy: bool },
    /// Another server.
    Webhook {
        remote: Remote,
        /// Set once the server has a client.
        outbound: OnceLock<Arc<Outbound>>,
    },
}

const WEBHOOK_MAX: Duration = Duration::from_secs(30);

impl Output {
    fn plugin(&self) -> &'static str {
        match self {
            Output::Log { .. } => "log",
            Output::Webhook { .. } => "webhook",
        }
    }

    async fn write(&self, events: &[Arc<Event>]) -> Result<(), String> {
        match self {
            Output::Log { file, legacy } => {
                let mut lines = Vec::new();
                for event in events {
                    match legacy {
                        true => lines.extend(format::legacy(event).into_bytes()),
                        false => lines.extend(format::json(event)),
                    }
                    lines.push(b'\n');
                }
                file.lock().write(&lines).map_err(|e| e.to_string())
            }
            Output::Webhook { remote, outbound } => {
                let outbound = outbound.get().ok_or("the server has not started yet")?;
                let list = Bytes::from(format::list(events));
                remote
                    .post(outbound, list, WEBHOOK_MAX, true)
                    .await
                    .map(|_| ())
            }
        }
    }
}

/// An output with the bounds of what it is given.
pub(super) struct Bounded {
    output: Output,
    truncate: Option<AuditTruncateSettings>,
    metrics: Arc<Metrics>,
}

impl Bounded {
    /// Writes events, large ones without their objects, and no more at once than may be.
    async fn write(&self, events: Vec<Arc<Event>>) -> bool {
        let Some(bounds) = &self.truncate else {
            return self.write_batch(&events).await;
        };
        let mut good = true;
        let (mut batch, mut batch_size) = (Vec::new(), 0);
        for mut event in events {
            let mut size = format::json(&event).len();
            if size > bounds.max_event_size && event.level.starts_with("Request") {
                event = Arc::new(format::truncated(&event));
                size = format::json(&event).len();
            }
            if size > bounds.max_event_size {
                self.fail("event is too large even after truncating", 1);
                continue;
            }
            if !batch.is_empty() && batch_size + size > bounds.max_batch_size {
                good &= self.write_batch(&batch).await;
                batch.clear();
                batch_size = 0;
            }
            batch_size += size;
            batch.push(event);
        }
        if !batch.is_empty() {
            good &= self.write_batch(&batch).await;
        }
        good
    }

    async fn write_batch(&self, events: &[Arc<Event>]) -> bool {
        match self.output.write(events).await {
            Ok(()) => true,
            Err(why) => {
                self.fail(&why, events.len());
                false
            }
        }
    }

    fn fail(&self, why: &str, events: usize) {
        let plugin = self.output.plugin();
        self.metrics.audit_failed(plugin, events);
        tracing::error!(plugin, events, why, "write audit events");
    }
}

enum Message {
    Event(Arc<Event>),
    /// Answered when everything before it is out.
    Flush(oneshot::Sender<()>),
}

/// A place for events.
pub(super) struct Sink {
    mode: Mode,
    bounded: Arc<Bounded>,
    buffer: Option<mpsc::Sender<Message>>,
}

impl Sink {
    fn new(
        bounded: Bounded,
        settings: &AuditBatchSettings,
        asynchronous: bool,
    ) -> Result<Sink, Error> {
        let plugin = bounded.output.plugin();
        let mode = Mode::parse(plugin, &settings.mode)?;
        let bounded = Arc::new(bounded);
        let buffer = match mode {
            Mode::Batch => {
                check_batch(plugin, settings)?;
                let (sender, receiver) = mpsc::channel(settings.buffer_size);
                let batches = Batches {
                    settings: settings.clone(),
                    bounded: bounded.clone(),
                    asynchronous,
                    tokens: settings.throttle_burst as f64,
                    refilled: Instant::now(),
                };
                tokio::spawn(batches.run(receiver));
                Some(sender)
            }
            _ => None,
        };
        Ok(Sink {
            mode,
            bounded,
            buffer,
        })
    }

    /// Takes an event; false when it must not be lost and was.
    pub(super) async fn take(&self, event: Arc<Event>) -> bool {
        self.bounded.metrics.audited();
        match &self.buffer {
            Some(buffer) => {
                if buffer.try_send(Message::Event(event)).is_err() {
                    self.bounded.fail("audit buffer queue blocked", 1);
                }
                true
            }
            None => {
                let good = self.bounded.write(vec![event]).await;
                good || self.mode != Mode::BlockingStrict
            }
        }
    }

    /// Lets the sink reach other servers.
    pub(super) fn connect(&self, client: &Arc<Outbound>) {
        if let Output::Webhook { outbound, .. } = &self.bounded.output {
            // Only the first counts.
            let _ = outbound.set(client.clone());
        }
    }

    /// Waits until everything taken is out.
    pub(super) async fn flush(&self) {
        if let Some(buffer) = &self.buffer {
            let (done, wait) = oneshot::channel();
            if buffer.send(Message::Flush(done)).await.is_ok() {
                let _ = wait.await;
            }
        }
    }
}

fn check_batch(plugin: &str, settings: &AuditBatchSettings) -> Result<(), Error> {
    let refuse = |what: &str, value: String| {
        Err(Error::Flag(format!(
            "invalid audit batch {plugin} {what} {value}, must be a positive number"
        )))
    };
    if settings.buffer_size == 0 {
        return refuse("buffer size", "0".to_owned());
    }
    if settings.max_size == 0 {
        return refuse("max batch size", "0".to_owned());
    }
    if settings.throttle_enable && settings.throttle_qps <= 0.0 {
        return refuse("throttle QPS", settings.throttle_qps.to_string());
    }
    if settings.throttle_enable && settings.throttle_burst == 0 {
        return refuse("throttle burst", "0".to_owned());
    }
    Ok(())
}

/// Gathers events and hands them on.
struct Batches {
    settings: AuditBatchSettings,
    bounded: Arc<Bounded>,
    /// Whether the next batch may go before the last one is through.
    asynchronous: bool,
    tokens: f64,
    refilled: Instant,
}

impl Batches {
    async fn run(mut self, mut receiver: mpsc::Receiver<Message>) {
        let mut running = tokio::task::JoinSet::new();
        let mut open = true;
        while open {
            let (events, flush) = self.gather(&mut receiver, &mut open).await;
            if !events.is_empty() {
                self.throttle().await;
                let bounded = self.bounded.clone();
                match self.asynchronous {
                    true => {
                        running.spawn(async move { bounded.write(events).await });
                    }
                    false => {
                        bounded.write(events).await;
                    }
                }
            }
            while running.try_join_next().is_some() {}
            if let Some(done) = flush {
                while running.join_next().await.is_some() {}
                let _ = done.send(());
            }
        }
        while running.join_next().await.is_some() {}
    }

    /// A full batch, or what came until the wait was over.
    async fn gather(
        &self,
        receiver: &mut mpsc::Receiver<Message>,
        open: &mut bool,
    ) -> (Vec<Arc<Event>>, Option<oneshot::Sender<()>>) {
        let mut events = Vec::new();
        let deadline = Instant::now() + self.settings.max_wait;
        while events.len() < self.settings.max_size {
            let waits = self.settings.max_size > 1 && !events.is_empty();
            let next = match waits {
                true => tokio::time::timeout_at(deadline, receiver.recv()).await,
                false => Ok(receiver.recv().await),
            };
            match next {
                Ok(Some(Message::Event(event))) => events.push(event),
                Ok(Some(Message::Flush(done))) => return (events, Some(done)),
                Ok(None) => {
                    *open = false;
                    break;
                }
                Err(_) => break,
            }
        }
        (events, None)
    }

    /// Waits for a token of the bucket that bounds batches per second.
    async fn throttle(&mut self) {
        if !self.settings.throttle_enable {
            return;
        }
        let qps = f64::from(self.settings.throttle_qps);
        let now = Instant::now();
        let refill = now.duration_since(self.refilled).as_secs_f64() * qps;
        self.tokens = (self.tokens + refill).min(self.settings.throttle_burst as f64);
        self.refilled = now;
        if self.tokens < 1.0 {
            let wait = Duration::from_secs_f64((1.0 - self.tokens) / qps);
            tokio::time::sleep(wait).await;
            self.refilled = Instant::now();
            self.tokens = 1.0;
        }
        self.tokens -= 1.0;
    }
}

fn check_truncate(plugin: &str, settings: &AuditTruncateSettings) -> Result<(), Error> {
    let (event, batch) = (settings.max_event_size, settings.max_batch_size);
    if event == 0 {
        return Err(Error::Flag(format!(
            "invalid audit truncate {plugin} max event size {event}, must be a positive number"
        )));
    }
    if batch < event {
        return Err(Error::Flag(format!(
            "invalid audit truncate {plugin} max batch size {batch}, must be greater than max event size ({event})"
        )));
    }
    Ok(())
}

fn bounds(
    plugin: &str,
    settings: &AuditTruncateSettings,
) -> Result<Option<AuditTruncateSettings>, Error> {
    check_truncate(plugin, settings)?;
    Ok(settings.enabled.then(|| settings.clone()))
}

/// The sinks that settings ask for.
pub(super) fn open(settings: &AuditSettings, metrics: &Arc<Metrics>) -> Result<Vec<Sink>, Error> {
    let mut sinks = Vec::new();
    let log = &settings.log;
    if let Some(path) = &log.path {
        let legacy = match log.format.as_str() {
            "json" => false,
            "legacy" => true,
            other => {
                return Err(Error::Flag(format!(
                    "invalid audit log format {other}, allowed formats are \"legacy,json\""
                )));
            }
        };
        let file = LogFile::open(path, log).map_err(|e| Error::Settings {
            path: path.clone(),
            why: e.to_string(),
        })?;
        let bounded = Bounded {
            output: Output::Log {
                file: Mutex::new(file),
                legacy,
            },
            truncate: bounds("log", &log.truncate)?,
            metrics: metrics.clone(),
        };
        sinks.push(Sink::new(bounded, &log.batch, false)?);
    }
    let webhook = &settings.webhook;
    if let Some(path) = &webhook.config_file {
        let bounded = Bounded {
            output: Output::Webhook {
                remote: Remote::read(path)?,
                outbound: OnceLock::new(),
            },
            truncate: bounds("webhook", &webhook.truncate)?,
            metrics: metrics.clone(),
        };
        sinks.push(Sink::new(bounded, &webhook.batch, true)?);
    }
    Ok(sinks)
}
