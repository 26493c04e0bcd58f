//! Leases: what they grant, until when, and which keys go with them. Grants and revocations are durable, renewals are
//! not: after a restart every lease has its whole time again, as upstream's have after a change of leader.

use crate::Refusal;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::time::{Duration, Instant};

/// The longest time a lease may be granted for, in seconds.
pub const TTL_MAX: i64 = 9_000_000_000;
/// The shortest one; shorter ones are lengthened.
pub const TTL_MIN: i64 = 2;

/// One lease.
#[derive(Clone, Debug)]
pub struct Lease {
    /// The seconds it was granted for.
    pub ttl: i64,
    /// When it expires.
    pub expires: Instant,
    keys: BTreeSet<Box<[u8]>>,
}

impl Lease {
    /// The keys attached to it.
    pub fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.keys.iter().map(|key| &**key)
    }
}

/// All leases.
#[derive(Default)]
pub struct Leases {
    leases: BTreeMap<i64, Lease>,
    /// When to look at which lease; it may have been renewed or revoked since.
    due: BinaryHeap<Reverse<(Instant, i64)>>,
}

impl Leases {
    /// What is wrong with a grant; else the seconds that it gets.
    pub fn check(&self, id: i64, ttl: i64) -> Result<i64, Refusal> {
        if ttl > TTL_MAX {
            return Err(Refusal::LEASE_TTL_TOO_LARGE);
        }
        if self.leases.contains_key(&id) {
            return Err(Refusal::LEASE_EXISTS);
        }
        Ok(ttl.max(TTL_MIN))
    }

    /// Adds a lease.
    pub fn grant(&mut self, id: i64, ttl: i64, now: Instant) {
        let expires = now + Duration::from_secs(ttl.max(0) as u64);
        let lease = Lease {
            ttl,
            expires,
            keys: BTreeSet::new(),
        };
        self.leases.insert(id, lease);
        self.due.push(Reverse((expires, id)));
    }

    /// Takes a lease away.
    pub fn remove(&mut self, id: i64) -> Option<Lease> {
        self.leases.remove(&id)
    }

    /// Puts a lease back that was taken away.
    pub fn restore(&mut self, id: i64, lease: Lease) {
        self.due.push(Reverse((lease.expires, id)));
        self.leases.insert(id, lease);
    }

    /// Gives a lease its whole time again; answers its seconds.
    pub fn renew(&mut self, id: i64, now: Instant) -> Option<i64> {
        let lease = self.leases.get_mut(&id)?;
        if lease.expires <= now {
            return None;
        }
        lease.expires = now + Duration::from_secs(lease.ttl.max(0) as u64);
        Some(lease.ttl)
    }

    /// Gives every lease its whole time again.
    pub fn renew_all(&mut self, now: Instant) {
        self.due.clear();
        for (id, lease) in &mut self.leases {
            lease.expires = now + Duration::from_secs(lease.ttl.max(0) as u64);
            self.due.push(Reverse((lease.expires, *id)));
        }
    }

    /// One lease.
    pub fn get(&self, id: i64) -> Option<&Lease> {
        self.leases.get(&id)
    }

    /// The ids of all leases, those that expire first first.
    pub fn ids(&self) -> Vec<i64> {
        let mut all: Vec<(Instant, i64)> =
            self.leases.iter().map(|(id, l)| (l.expires, *id)).collect();
        all.sort();
        all.into_iter().map(|(_, id)| id).collect()
    }

    /// Every lease.
    pub fn iter(&self) -> impl Iterator<Item = (i64, &Lease)> {
        self.leases.iter().map(|(id, lease)| (*id, lease))
    }

    /// The leases that have expired, at most `limit`.
    pub fn expired(&mut self, now: Instant, limit: usize) -> Vec<i64> {
        let mut expired = Vec::new();
        while expired.len() < limit {
            match self.due.peek() {
                Some(Reverse((at, _))) if *at <= now => {}
                _ => break,
            }
            let Some(Reverse((_, id))) = self.due.pop() else {
                break;
            };
            match self.leases.get(&id) {
                Some(lease) if lease.expires <= now => expired.push(id),
                Some(lease) => self.due.push(Reverse((lease.expires, id))),
                None => {}
            }
        }
        expired
    }

    /// Looks at a lease again soon, after its revocation failed.
    pub fn retry(&mut self, id: i64, at: Instant) {
        self.due.push(Reverse((at, id)));
    }

    /// When to look for expired leases next.
    pub fn next_due(&self) -> Option<Instant> {
        self.due.peek().map(|Reverse((at, _))| *at)
    }

    pub(crate) fn attach(&mut self, id: i64, key: &[u8]) {
        if id != 0
            && let Some(lease) = self.leases.get_mut(&id)
        {
            lease.keys.insert(key.into());
        }
    }

    pub(crate) fn detach(&mut self, id: i64, key: &[u8]) {
        if id != 0
            && let Some(lease) = self.leases.get_mut(&id)
        {
            lease.keys.remove(key);
        }
    }

    pub(crate) fn detach_all(&mut self) {
        for lease in self.leases.values_mut() {
            lease.keys.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leases_expire_unless_renewed() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut leases = Leases::default();
        leases.grant(1, 5, start);
        leases.grant(2, 5, start);
        assert_eq!(leases.renew(2, after(3)), Some(5));
        assert_eq!(leases.expired(after(5), 9), [1]);
        leases.remove(1);
        assert_eq!(leases.expired(after(7), 9), Vec::<i64>::new());
        assert_eq!(leases.expired(after(8), 9), [2]);
        assert_eq!(leases.renew(2, after(9)), None);
        assert_eq!(leases.check(2, 1), Err(Refusal::LEASE_EXISTS));
        assert_eq!(leases.check(3, 1), Ok(2));
        assert_eq!(
            leases.check(3, TTL_MAX + 1),
            Err(Refusal::LEASE_TTL_TOO_LARGE)
        );
    }
}
