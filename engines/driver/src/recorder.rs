//! Records Event objects, with repeats counted on one object instead of many.
//!
//! Invariant: never blocks and never fails its caller; when the queue is full the event is dropped and a warning
//! logged, as upstream does. An object's events are limited to a burst of 25 and then one every 5 minutes.

use corten_api::core::v1::{Event, EventSource, ObjectReference};
use corten_api::{Kind, Object};
use corten_client::{Client, PatchKind};
use corten_core::{Str, Time, Value};
use std::collections::HashMap;
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc;

/// Events waiting to be written, at most.
const QUEUE: usize = 1000;
/// Events and objects remembered for counting, at most.
const REMEMBERED: usize = 4096;
/// Events about one object that may come at once.
const BURST: f64 = 25.0;
/// Further events about one object, per second.
const RATE: f64 = 1.0 / 300.0;

/// Something that happened to an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Occurrence {
    /// What it happened to.
    pub about: ObjectReference,
    /// `Normal` or `Warning`.
    pub event_type: &'static str,
    /// A CamelCase reason.
    pub reason: Str,
    /// The text that people read.
    pub message: String,
}

/// The reference by which an event names its object.
pub fn reference_to<T: Kind>(object: &T) -> ObjectReference {
    let meta = object.meta();
    ObjectReference {
        kind: T::KIND.into(),
        api_version: T::API_VERSION.into(),
        namespace: meta.namespace.clone(),
        name: meta.name.clone(),
        uid: meta.uid.clone(),
        resource_version: meta.resource_version.clone(),
        ..Default::default()
    }
}

/// As [`reference_to`], for an object of any kind.
pub fn reference_to_object(object: &Object) -> ObjectReference {
    let meta = object.meta();
    ObjectReference {
        kind: object.kind().into(),
        api_version: object.api_version().into(),
        namespace: meta.namespace.clone(),
        name: meta.name.clone(),
        uid: meta.uid.clone(),
        resource_version: meta.resource_version.clone(),
        ..Default::default()
    }
}

/// Records events on behalf of one component. Cheap to clone; the last clone that goes ends the writer.
#[derive(Clone, Debug)]
pub struct Recorder {
    queue: mpsc::Sender<Occurrence>,
}

impl Recorder {
    /// Starts a recorder that writes through `client` as `component` (on `host`, when it belongs to a node). Must be
    /// called on a tokio runtime.
    pub fn start(client: Client, component: &str, host: &str) -> Recorder {
        let (queue, occurrences) = mpsc::channel(QUEUE);
        let source = EventSource {
            component: component.into(),
            host: host.into(),
        };
        let writer = Writer {
            client,
            source,
            counted: HashMap::new(),
            buckets: HashMap::new(),
        };
        tokio::spawn(writer.run(occurrences));
        Recorder { queue }
    }

    /// Records `occurrence`.
    pub fn record(&self, occurrence: Occurrence) {
        if let Err(error) = self.queue.try_send(occurrence) {
            tracing::warn!(%error, "an event was dropped: too many are waiting to be written");
        }
    }
}

/// An event as it was last written.
#[derive(Clone)]
struct Counted {
    name: Str,
    count: i32,
}

struct Bucket {
    tokens: f64,
    refilled: Instant,
}

type EventKey = (Str, Str, Str, String);

struct Writer {
    client: Client,
    source: EventSource,
    counted: HashMap<EventKey, Counted>,
    buckets: HashMap<Str, Bucket>,
}

impl Writer {
    async fn run(mut self, mut occurrences: mpsc::Receiver<Occurrence>) {
        while let Some(occurrence) = occurrences.recv().await {
            if self.allows(&occurrence.about.uid) {
                self.write(occurrence).await;
            }
        }
    }

    fn allows(&mut self, uid: &Str) -> bool {
        if self.buckets.len() > REMEMBERED {
            self.buckets.clear();
        }
        let now = Instant::now();
        let bucket = self.buckets.entry(uid.clone()).or_insert(Bucket {
            tokens: BURST,
            refilled: now,
        });
        let refill = now.duration_since(bucket.refilled).as_secs_f64() * RATE;
        bucket.tokens = (bucket.tokens + refill).min(BURST);
        bucket.refilled = now;
        let allowed = bucket.tokens >= 1.0;
        if allowed {
            bucket.tokens -= 1.0;
        }
        allowed
    }

    async fn write(&mut self, occurrence: Occurrence) {
        let about = &occurrence.about;
        let key = (
            about.uid.clone(),
            about.field_path.clone(),
            occurrence.reason.clone(),
            format!("{}\n{}", occurrence.event_type, occurrence.message),
        );
        let since_epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let now = Time::from_unix(since_epoch.as_secs() as i64);
        if let Some(known) = self.counted.get(&key).cloned() {
            let count = known.count + 1;
            if self.count_again(about, &known.name, count, now).await {
                self.counted.insert(key, Counted { count, ..known });
                return;
            }
        }
        let name = format!("{}.{:x}", about.name, since_epoch.as_nanos());
        let event = self.event(&occurrence, &name, now);
        if self.counted.len() > REMEMBERED {
            self.counted.clear();
        }
        match self.client.create(event).await {
            Ok(event) => {
                self.counted.insert(
                    key,
                    Counted {
                        name: event.metadata.name,
                        count: 1,
                    },
                );
            }
            Err(status) => {
                tracing::debug!(%status, reason = %occurrence.reason, "an event could not be written");
            }
        }
    }

    async fn count_again(
        &self,
        about: &ObjectReference,
        name: &str,
        count: i32,
        now: Time,
    ) -> bool {
        let mut patch = Value::Map(Default::default());
        patch.set(&["count"], i64::from(count));
        patch.set(&["lastTimestamp"], now.to_string());
        let namespace = namespace_of(about);
        let patched =
            self.client
                .patch::<Event>(namespace, name, "", PatchKind::Merge, patch.to_string());
        patched.await.is_ok()
    }

    fn event(&self, occurrence: &Occurrence, name: &str, now: Time) -> Event {
        let mut event = Event::namespaced(namespace_of(&occurrence.about), name);
        event.involved_object = occurrence.about.clone();
        event.reason = occurrence.reason.clone();
        event.message = occurrence.message.as_str().into();
        event.source = self.source.clone();
        event.first_timestamp = now;
        event.last_timestamp = now;
        event.count = 1;
        event.type_ = occurrence.event_type.into();
        event.reporting_controller = self.source.component.clone();
        event.reporting_instance = self.source.host.clone();
        event
    }
}

/// Events about cluster-scoped objects live in `default`.
fn namespace_of(about: &ObjectReference) -> &str {
    match about.namespace.is_empty() {
        true => "default",
        false => &about.namespace,
    }
}
