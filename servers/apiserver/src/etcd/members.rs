//! The servers that share an etcd, as upstream's know each other: each keeps a key with its address under a lease of 15
//! seconds, and the endpoints of the service `kubernetes` are the addresses that are there.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use corten_api::Object;
use corten_api::core::v1::{EndpointAddress, EndpointSubset, Endpoints};
use corten_client::Status;
use corten_etcd::Refusal;
use corten_etcd::client::Client;
use corten_etcd::proto::etcdserverpb::{DeleteRangeRequest, PutRequest, RangeRequest};
use tokio::sync::Mutex;

use super::keys::Keys;
use super::reading::again;
use crate::bootstrap;
use crate::encode;
use crate::server::Server;

const FRONT: &str = "/registry/masterleases/";
const LEASE_SECONDS: i64 = 15;
const RENEW_EVERY: Duration = Duration::from_secs(10);

/// This server among the others.
pub(crate) struct Members {
    client: Client,
    keys: Keys,
    /// The lease that the key had last.
    lease: Mutex<i64>,
}

impl Members {
    pub(super) fn new(client: Client, keys: Keys) -> Members {
        Members {
            client,
            keys,
            lease: Mutex::new(0),
        }
    }

    /// Says that this server is there.
    pub(crate) async fn announce(&self, server: &Server) -> Result<(), Status> {
        let ip = server.config.advertise.ip();
        let value = encoded(ip)?;
        let announcing = async {
            let mut lease = self.lease.lock().await;
            let granted = self.client.grant(0, LEASE_SECONDS).await?;
            let put = PutRequest {
                key: self.keys.there(&format!("{FRONT}{ip}")),
                value,
                lease: granted.id,
                ..PutRequest::default()
            };
            self.client.put(&put).await?;
            let before = std::mem::replace(&mut *lease, granted.id);
            if before != 0 {
                // Nothing hangs on it any more; if this fails, it ends by itself.
                let _ = self.client.revoke(before).await;
            }
            Ok::<(), Refusal>(())
        };
        announcing
            .await
            .map_err(|refusal| Status::unavailable(refusal.to_string()))
    }

    /// Whoever is there, in the order of their addresses.
    pub(crate) async fn present(&self) -> Result<Vec<IpAddr>, Status> {
        let front = self.keys.there(FRONT);
        let mut end = front.to_vec();
        if let Some(last) = end.last_mut() {
            *last += 1;
        }
        let request = RangeRequest {
            key: front.clone(),
            range_end: Bytes::from(end),
            keys_only: true,
            ..RangeRequest::default()
        };
        let response = again(&self.client, &request)
            .await
            .map_err(|refusal| Status::unavailable(refusal.to_string()))?;
        let mut all: Vec<IpAddr> = response
            .kvs
            .iter()
            .filter_map(|kv| {
                std::str::from_utf8(kv.key.strip_prefix(&front[..])?)
                    .ok()?
                    .parse()
                    .ok()
            })
            .collect();
        all.sort_unstable();
        Ok(all)
    }

    /// Keeps the key and the endpoints current until it is aborted.
    pub(crate) async fn run(&self, server: Arc<Server>) {
        if server.config.advertise.ip().is_loopback() {
            return;
        }
        loop {
            tokio::time::sleep(RENEW_EVERY).await;
            if let Err(status) = self.settle(&server).await {
                tracing::warn!(%status, "keep the endpoints of the service kubernetes");
            }
        }
    }

    /// Announces this server and brings the endpoints up to date.
    pub(crate) async fn settle(&self, server: &Server) -> Result<(), Status> {
        self.announce(server).await?;
        bootstrap::place(server, &self.present().await?).await
    }

    /// Takes this server's address away.
    pub(crate) async fn leave(&self, server: &Server) {
        let ip = server.config.advertise.ip();
        if ip.is_loopback() {
            return;
        }
        let delete = DeleteRangeRequest {
            key: self.keys.there(&format!("{FRONT}{ip}")),
            ..DeleteRangeRequest::default()
        };
        let left = match self.client.delete(&delete).await {
            Ok(_) => self.present().await,
            Err(refusal) => Err(Status::unavailable(refusal.to_string())),
        };
        let placed = match left {
            // The last one leaves its address, as upstream's does.
            Ok(others) if others.is_empty() => Ok(()),
            Ok(others) => bootstrap::place(server, &others).await,
            Err(status) => Err(status),
        };
        if let Err(status) = placed {
            tracing::warn!(%status, "take this server's address from the endpoints of the service kubernetes");
        }
    }
}

/// What upstream keeps under the key: endpoints with the address alone.
fn encoded(ip: IpAddr) -> Result<Bytes, Status> {
    let mut endpoints = Endpoints::default();
    let mut subset = EndpointSubset::default();
    subset.addresses.push(EndpointAddress {
        ip: ip.to_string().into(),
        ..EndpointAddress::default()
    });
    endpoints.subsets.push(subset);
    encode::kept(&Object::from(endpoints))
}
