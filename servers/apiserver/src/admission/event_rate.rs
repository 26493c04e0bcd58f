//! EventRateLimit: token buckets by server, namespace, user, or source and object. Invariant: an event takes a token from
//! every bucket that it belongs to, also when one of them is empty, as upstream counts.

use std::collections::HashMap;
use std::time::Instant;

use corten_access::admission::{EventLimit, EventLimitType};
use corten_api::core::v1::Event;
use parking_lot::Mutex;

/// Buckets kept when the settings do not say how many.
const BUCKETS_MAX: usize = 4096;

/// All limits of one server.
pub(crate) struct EventLimits {
    since: Instant,
    limits: Vec<Mutex<Limit>>,
}

struct Limit {
    settings: EventLimit,
    buckets: HashMap<String, Bucket>,
    uses: u64,
}

#[derive(Clone, Copy)]
struct Bucket {
    tokens: f64,
    /// Seconds since the start.
    at: f64,
    used: u64,
}

impl EventLimits {
    pub(crate) fn new(settings: &[EventLimit]) -> EventLimits {
        let limits = settings.iter().map(|settings| {
            Mutex::new(Limit {
                settings: settings.clone(),
                buckets: HashMap::new(),
                uses: 0,
            })
        });
        EventLimits {
            since: Instant::now(),
            limits: limits.collect(),
        }
    }

    /// Takes an event. `Err` names the limits that were reached.
    pub(crate) fn accept(&self, user: &str, namespace: &str, event: &Event) -> Result<(), String> {
        self.accept_at(self.since.elapsed().as_secs_f64(), user, namespace, event)
    }

    fn accept_at(
        &self,
        now: f64,
        user: &str,
        namespace: &str,
        event: &Event,
    ) -> Result<(), String> {
        let mut errors = Vec::new();
        for limit in &self.limits {
            let mut limit = limit.lock();
            let kind = limit.settings.kind;
            let key = match kind {
                EventLimitType::Server => String::new(),
                EventLimitType::Namespace => namespace.to_owned(),
                EventLimitType::User => user.to_owned(),
                EventLimitType::SourceAndObject => source_and_object(event),
            };
            if !limit.take(&key, now) {
                errors.push(format!("limit reached on type {kind:?} for key {key}"));
            }
        }
        match errors.is_empty() {
            true => Ok(()),
            false => Err(crate::authentication::aggregate(errors)),
        }
    }
}

impl Limit {
    fn take(&mut self, key: &str, now: f64) -> bool {
        self.uses += 1;
        let (qps, burst) = (f64::from(self.settings.qps), f64::from(self.settings.burst));
        if !self.buckets.contains_key(key) {
            self.make_room();
        }
        let bucket = self.buckets.entry(key.to_owned()).or_insert(Bucket {
            tokens: burst,
            at: now,
            used: 0,
        });
        bucket.used = self.uses;
        bucket.tokens = (bucket.tokens + (now - bucket.at) * qps).min(burst);
        bucket.at = now;
        let taken = bucket.tokens >= 1.0;
        if taken {
            bucket.tokens -= 1.0;
        }
        taken
    }

    /// Forgets the bucket that was used longest ago when there are too many.
    fn make_room(&mut self) {
        let most = match usize::try_from(self.settings.cache_size) {
            Ok(0) | Err(_) => BUCKETS_MAX,
            Ok(most) => most,
        };
        if self.buckets.len() < most {
            return;
        }
        let oldest = self.buckets.iter().min_by_key(|(_, bucket)| bucket.used);
        if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
            self.buckets.remove(&oldest);
        }
    }
}

fn source_and_object(event: &Event) -> String {
    let (source, object) = (&event.source, &event.involved_object);
    [
        &source.component,
        &source.host,
        &object.kind,
        &object.namespace,
        &object.name,
        &object.uid,
        &object.api_version,
    ]
    .map(|part| part.as_str())
    .concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(kind: EventLimitType, qps: i32, burst: i32, cache_size: i32) -> EventLimit {
        EventLimit {
            kind,
            qps,
            burst,
            cache_size,
        }
    }

    #[test]
    fn a_bucket_fills_with_time() {
        let limits = EventLimits::new(&[limit(EventLimitType::User, 1, 2, 0)]);
        let event = Event::default();
        let take = |now, user| limits.accept_at(now, user, "ns", &event);
        assert!(take(0.0, "jane").is_ok() && take(0.0, "jane").is_ok());
        assert_eq!(
            take(0.0, "jane").unwrap_err(),
            "limit reached on type User for key jane"
        );
        assert!(take(0.0, "joe").is_ok());
        assert!(take(1.0, "jane").is_ok() && take(1.0, "jane").is_err());
        assert!(take(100.0, "jane").is_ok() && take(100.0, "jane").is_ok());
        assert!(take(100.0, "jane").is_err());
    }

    #[test]
    fn all_limits_count_and_are_named() {
        let limits = EventLimits::new(&[
            limit(EventLimitType::Server, 1, 1, 0),
            limit(EventLimitType::SourceAndObject, 1, 1, 0),
        ]);
        let mut event = Event::default();
        event.involved_object.name = "p".into();
        assert!(limits.accept_at(0.0, "u", "ns", &event).is_ok());
        assert_eq!(
            limits.accept_at(0.0, "u", "ns", &event).unwrap_err(),
            "[limit reached on type Server for key , limit reached on type SourceAndObject for key p]"
        );
    }

    #[test]
    fn what_was_used_longest_ago_is_forgotten() {
        let limits = EventLimits::new(&[limit(EventLimitType::Namespace, 1, 1, 2)]);
        let event = Event::default();
        for namespace in ["a", "b", "c"] {
            assert!(limits.accept_at(0.0, "u", namespace, &event).is_ok());
        }
        assert!(limits.accept_at(0.0, "u", "c", &event).is_err());
        assert!(limits.accept_at(0.0, "u", "a", &event).is_ok());
    }
}
