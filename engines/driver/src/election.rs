//! Which of several processes leads, decided by a Lease as upstream's components decide it: the holder renews it, and
//! who sees it unchanged for as long as it lasts takes it over.
//!
//! Invariant: who leads stops before its lease may be taken over, as long as clocks run equally fast; what clocks show
//! is not compared.

use corten_api::Kind;
use corten_api::coordination::v1::{Lease, LeaseSpec};
use corten_client::{Client, Error};
use corten_core::MicroTime;
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::{Instant, sleep, timeout};

/// How long what takes.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// How long a lease lasts that is not renewed; whole seconds.
    pub lease: Duration,
    /// How long a leader tries to renew before it stops leading; less than `lease`.
    pub renewal: Duration,
    /// How long anybody waits between two attempts.
    pub retry: Duration,
}

impl Default for Terms {
    /// Upstream's: 15, 10 and 2 seconds.
    fn default() -> Terms {
        Terms {
            lease: Duration::from_secs(15),
            renewal: Duration::from_secs(10),
            retry: Duration::from_secs(2),
        }
    }
}

/// One candidate for one Lease.
pub struct Election {
    client: Client,
    namespace: String,
    name: String,
    identity: String,
    terms: Terms,
    /// What the lease said when it was last seen to change, and when that was here.
    seen: Option<(LeaseSpec, Instant)>,
}

impl Election {
    /// A candidate for the lease `namespace`/`name`; `identity` must be no other candidate's.
    pub fn new(
        client: Client,
        namespace: &str,
        name: &str,
        identity: &str,
        terms: Terms,
    ) -> Election {
        Election {
            client,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            identity: identity.to_owned(),
            terms,
            seen: None,
        }
    }

    /// Waits until this candidate leads.
    pub async fn won(&mut self) {
        loop {
            match self.attempt().await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => {
                    tracing::debug!(%error, lease = %self.name, "the lease could not be taken");
                }
            }
            // Up to 2.2 times as long as the others, as upstream waits, so that candidates do not meet each time.
            let share = (RandomState::new().hash_one(&self.identity) % 1200) as u32;
            sleep(self.terms.retry + self.terms.retry * share / 1000).await;
        }
    }

    /// Renews the lease of who leads; returns when it may be taken over before long, or was.
    pub async fn lost(&mut self) {
        let mut renewed = Instant::now();
        loop {
            sleep(self.terms.retry).await;
            let asked = Instant::now();
            let left = self.terms.renewal.saturating_sub(renewed.elapsed());
            match timeout(left, self.attempt()).await {
                Ok(Ok(true)) => renewed = asked,
                Ok(Ok(false)) | Err(_) => return,
                Ok(Err(error)) => {
                    tracing::debug!(%error, lease = %self.name, "the lease could not be renewed");
                }
            }
        }
    }

    /// Gives the lease up, so that the next leader need not wait for its end.
    pub async fn resign(&mut self) {
        let resigning = async {
            let mut lease: Lease = self.client.get(&self.namespace, &self.name).await?;
            if holder(&lease.spec) == self.identity {
                let now = Some(now());
                let spec = &mut lease.spec;
                spec.holder_identity = Some("".into());
                spec.lease_duration_seconds = Some(1);
                (spec.acquire_time, spec.renew_time) = (now, now);
                self.client.update(lease).await?;
            }
            Ok::<(), Error>(())
        };
        match timeout(self.terms.renewal, resigning).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::debug!(%error, lease = %self.name, "the lease was not given up");
            }
            Err(_) => tracing::debug!(lease = %self.name, "the lease was not given up in time"),
        }
    }

    /// Takes or renews the lease; false while it is another one's.
    async fn attempt(&mut self) -> Result<bool, Error> {
        let asked = Instant::now();
        let got = self.client.get::<Lease>(&self.namespace, &self.name).await;
        let (lease, is_new) = match got {
            Ok(lease) => (lease, false),
            Err(error) if error.is_not_found() => {
                (Lease::namespaced(&self.namespace, &self.name), true)
            }
            Err(error) => return Err(error),
        };
        if !is_new && !self.is_free(&lease.spec) {
            return Ok(false);
        }
        let mut next = lease;
        let spec = &mut next.spec;
        if holder(spec) != self.identity {
            spec.acquire_time = Some(now());
            let terms_before = spec.lease_transitions.unwrap_or(0);
            spec.lease_transitions = Some(if is_new { 0 } else { terms_before + 1 });
        }
        spec.holder_identity = Some(self.identity.as_str().into());
        spec.lease_duration_seconds = Some(self.terms.lease.as_secs() as i32);
        spec.renew_time = Some(now());
        let written = match is_new {
            true => self.client.create(next).await?,
            false => self.client.update(next).await?,
        };
        self.seen = Some((written.spec, asked));
        Ok(true)
    }

    /// Whether the lease is this candidate's or nobody's, or has not changed for as long as it lasts.
    fn is_free(&mut self, spec: &LeaseSpec) -> bool {
        let now = Instant::now();
        let since = match &self.seen {
            Some((seen, since)) if seen == spec => *since,
            _ => {
                self.seen = Some((spec.clone(), now));
                now
            }
        };
        let lasts = u64::try_from(spec.lease_duration_seconds.unwrap_or(0)).unwrap_or(0);
        let holder = holder(spec);
        holder.is_empty() || holder == self.identity || since + Duration::from_secs(lasts) < now
    }
}

fn holder(spec: &LeaseSpec) -> &str {
    spec.holder_identity.as_deref().unwrap_or_default()
}

fn now() -> MicroTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    MicroTime::from_unix_micros(since.map_or(0, |since| since.as_micros() as i64))
}
