//! Answers of other servers, kept for as long as they say, within bounds. Denials are kept for as long as their SOA
//! record says; failures are not kept.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RData, RecordType};
use parking_lot::Mutex;

const ENTRIES_MAX: usize = 10_000;
const SECONDS_MAX: u32 = 30;

/// What distinguishes answers: the question, and whether signatures were asked for or checking was refused.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    name: Name,
    kind: RecordType,
    class: DNSClass,
    dnssec: bool,
    unchecked: bool,
}

impl Key {
    /// The key of a request.
    pub fn of(request: &Message, query: &Query) -> Self {
        Key {
            name: query.name().to_lowercase(),
            kind: query.query_type(),
            class: query.query_class(),
            dnssec: request
                .edns
                .as_ref()
                .is_some_and(|edns| edns.flags().dnssec_ok),
            unchecked: request.metadata.checking_disabled,
        }
    }
}

#[derive(Debug)]
struct Entry {
    message: Message,
    since: Instant,
    until: Instant,
}

/// A bounded store of answers.
#[derive(Debug, Default)]
pub struct Cache {
    entries: Mutex<HashMap<Key, Entry>>,
}

impl Cache {
    /// An answer that still holds, with the seconds that are left of it.
    pub fn get(&self, key: &Key, now: Instant) -> Option<Message> {
        let entries = self.entries.lock();
        let entry = entries.get(key).filter(|entry| entry.until > now)?;
        let mut message = entry.message.clone();
        let age = now.saturating_duration_since(entry.since).as_secs() as u32;
        let sections = [
            &mut message.answers,
            &mut message.authorities,
            &mut message.additionals,
        ];
        for record in sections.into_iter().flatten() {
            record.ttl = record.ttl.saturating_sub(age);
        }
        Some(message)
    }

    /// Keeps an answer, if it may be kept.
    pub fn put(&self, key: Key, message: &Message, now: Instant) {
        let Some(seconds) = lifetime(message) else {
            return;
        };
        let mut entries = self.entries.lock();
        if entries.len() >= ENTRIES_MAX {
            entries.retain(|_, entry| entry.until > now);
        }
        if entries.len() >= ENTRIES_MAX {
            // All still hold: any may go, and half of them makes the next sweep far away.
            let mut keep = false;
            entries.retain(|_, _| {
                keep = !keep;
                keep
            });
        }
        let until = now + Duration::from_secs(u64::from(seconds));
        entries.insert(
            key,
            Entry {
                message: message.clone(),
                since: now,
                until,
            },
        );
    }
}

/// How many seconds an answer may be kept; `None` for not at all.
fn lifetime(message: &Message) -> Option<u32> {
    if message.metadata.truncation {
        return None;
    }
    let denial = match message.metadata.response_code {
        ResponseCode::NoError => message.answers.is_empty(),
        ResponseCode::NXDomain => true,
        _ => return None,
    };
    let seconds = if denial {
        let minimum = message
            .authorities
            .iter()
            .find_map(|record| match &record.data {
                RData::SOA(soa) => Some(soa.minimum.min(record.ttl)),
                _ => None,
            });
        minimum?
    } else {
        message.answers.iter().map(|record| record.ttl).min()?
    };
    Some(seconds.min(SECONDS_MAX)).filter(|seconds| *seconds > 0)
}

#[cfg(test)]
mod tests {
    use hickory_proto::op::{MessageType, OpCode};
    use hickory_proto::rr::Record;
    use hickory_proto::rr::rdata::{A, SOA};

    use super::*;

    fn key(name: &str) -> Key {
        Key::of(
            &Message::query(),
            &Query::query(Name::from_ascii(name).unwrap(), RecordType::A),
        )
    }

    fn answer(ttl: u32) -> Message {
        let mut message = Message::new(1, MessageType::Response, OpCode::Query);
        let name = Name::from_ascii("example.org.").unwrap();
        message.add_answer(Record::from_rdata(
            name,
            ttl,
            RData::A(A::new(192, 0, 2, 1)),
        ));
        message
    }

    #[test]
    fn answers_age_and_go() {
        let (cache, now) = (Cache::default(), Instant::now());
        let later = |seconds| now + Duration::from_secs(seconds);
        cache.put(key("EXAMPLE.org."), &answer(20), now);
        assert_eq!(
            cache.get(&key("example.ORG."), later(5)).unwrap().answers[0].ttl,
            15
        );
        assert!(cache.get(&key("example.org."), later(20)).is_none());
        assert!(cache.get(&key("example.net."), now).is_none());
        // However long it says to hold, it is asked for again after the bound.
        cache.put(key("example.org."), &answer(86_400), now);
        assert!(cache.get(&key("example.org."), later(29)).is_some());
        assert!(cache.get(&key("example.org."), later(30)).is_none());
    }

    #[test]
    fn denials_hold_as_long_as_the_zone_says() {
        let (cache, now) = (Cache::default(), Instant::now());
        let mut denial = Message::new(1, MessageType::Response, OpCode::Query);
        denial.metadata.response_code = ResponseCode::NXDomain;
        cache.put(key("a."), &denial, now);
        assert!(cache.get(&key("a."), now).is_none());
        let soa = SOA::new(Name::root(), Name::root(), 1, 1, 1, 1, 10);
        denial.add_authority(Record::from_rdata(Name::root(), 60, RData::SOA(soa)));
        cache.put(key("a."), &denial, now);
        assert!(
            cache
                .get(&key("a."), now + Duration::from_secs(9))
                .is_some()
        );
        assert!(
            cache
                .get(&key("a."), now + Duration::from_secs(10))
                .is_none()
        );
        denial.metadata.response_code = ResponseCode::ServFail;
        cache.put(key("b."), &denial, now);
        assert!(cache.get(&key("b."), now).is_none());
    }

    #[test]
    fn the_store_is_bounded() {
        let (cache, now) = (Cache::default(), Instant::now());
        for n in 0..ENTRIES_MAX + 10 {
            cache.put(key(&format!("n{n}.")), &answer(20), now);
        }
        assert!(cache.entries.lock().len() <= ENTRIES_MAX);
    }
}
