//! Leases for what expires. Objects that expire at about the same time share one, as upstream's do: an etcd with a
//! lease for every event would have more leases than events.

use std::time::{Duration, Instant};

use corten_etcd::Refusal;
use corten_etcd::client::Client;
use tokio::sync::Mutex;

/// How long a lease takes on new objects, and how many at most.
const SHARED_FOR: Duration = Duration::from_secs(60);
const SHARED_MAX: usize = 1000;

struct Current {
    id: i64,
    ttl: Duration,
    until: Instant,
    objects: usize,
}

pub(crate) struct Leases {
    client: Client,
    current: Mutex<Option<Current>>,
}

impl Leases {
    pub(crate) fn new(client: Client) -> Leases {
        Leases {
            client,
            current: Mutex::new(None),
        }
    }

    /// A lease that lasts at least so long; it ends at most a minute or a twentieth later.
    pub(crate) async fn lasting(&self, ttl: Duration) -> Result<i64, Refusal> {
        let mut current = self.current.lock().await;
        let now = Instant::now();
        if let Some(lease) = current.as_mut()
            && lease.ttl == ttl
            && now < lease.until
            && lease.objects < SHARED_MAX
        {
            lease.objects += 1;
            return Ok(lease.id);
        }
        let shared = SHARED_FOR.min(ttl / 20);
        let seconds = (ttl + shared).as_secs().max(1) as i64;
        let granted = self.client.grant(0, seconds).await?;
        *current = Some(Current {
            id: granted.id,
            ttl,
            until: now + shared,
            objects: 1,
        });
        Ok(granted.id)
    }

    /// The lease is gone: the next object gets another one.
    pub(crate) async fn forget(&self) {
        *self.current.lock().await = None;
    }
}
