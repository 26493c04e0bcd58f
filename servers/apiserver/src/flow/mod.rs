//! API priority and fairness at the door: every request over HTTPS gets its flow, and its seats in its priority level,
//! before it is authorized. Invariant: seats taken are given back, however a request ends. Left out: requests in
//! process, which share the server's own fate, and everything that decides; that is in corten-flow.

mod dump;
mod follow;
mod level;

pub(crate) use dump::{dump, metrics};
pub(crate) use follow::follow;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use corten_access::UserInfo;
use corten_flow::{ListWork, Schemas, Work, flow_hash, list_seats, write_work};
use http::HeaderValue;
use parking_lot::RwLock;

use crate::info::{Query, RequestInfo};
use crate::server::Server;
use level::{Level, Note, Permit};

/// Seats of the whole server, as upstream's --max-requests-inflight and --max-mutating-requests-inflight together.
const SEATS: u32 = 600;

/// The configuration in force.
struct Rules {
    schemas: Schemas,
    /// What each schema, by its index, leads to.
    targets: Vec<Target>,
    levels: Vec<Arc<Level>>,
}

struct Target {
    level: Arc<Level>,
    headers: PfHeaders,
}

/// The answer's headers that say by what it was let in.
#[derive(Clone, Debug)]
pub(crate) struct PfHeaders {
    pub schema: HeaderValue,
    pub level: HeaderValue,
}

/// Flow control of one server.
pub(crate) struct Flow {
    rules: ArcSwap<Rules>,
    start: Instant,
    seed: u64,
    /// How long a request waits for its turn.
    wait_max: Duration,
    /// Watches open per resource: what a write to it will cause.
    watches: RwLock<HashMap<String, Arc<AtomicU64>>>,
}

/// A request that was let in; it holds its seats until it is dropped.
pub(crate) struct Admitted {
    pub headers: Option<PfHeaders>,
    _permit: Option<Permit>,
}

/// A request that was not let in.
pub(crate) struct Refused {
    pub headers: PfHeaders,
    /// Seconds.
    pub retry_after: u64,
}

/// Counts a watch while it lives.
pub(crate) struct WatchCount(Arc<AtomicU64>);

impl Drop for WatchCount {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Flow {
    /// With the mandatory levels and schemas only, until the configuration has been read.
    pub(crate) fn new(seed: u64, wait_max: Duration) -> Arc<Flow> {
        let start = Instant::now();
        Arc::new(Flow {
            rules: ArcSwap::from_pointee(follow::rules(&[], &[], &[], Duration::ZERO)),
            start,
            seed,
            wait_max,
            watches: RwLock::default(),
        })
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// Counts a watch of a resource from now on.
    pub(crate) fn watch(&self, resource: &str) -> WatchCount {
        let known = self.watches.read().get(resource).cloned();
        let count = known.unwrap_or_else(|| {
            let mut all = self.watches.write();
            all.entry(resource.to_owned()).or_default().clone()
        });
        count.fetch_add(1, Ordering::Relaxed);
        WatchCount(count)
    }

    fn watchers(&self, resource: &str) -> u64 {
        let all = self.watches.read();
        all.get(resource).map_or(0, |n| n.load(Ordering::Relaxed))
    }

    /// Lets a request in, after waiting for its turn if need be.
    pub(crate) async fn admit(
        self: &Arc<Flow>,
        server: &Server,
        user: &Arc<UserInfo>,
        info: &Arc<RequestInfo>,
        query: &Query,
    ) -> Result<Admitted, Refused> {
        if is_long_running(info) && info.verb != "watch" {
            return Ok(Admitted {
                headers: None,
                _permit: None,
            });
        }
        let (level, headers, arrived) = {
            let rules = self.rules.load();
            let Some(class) = rules.schemas.classify(&described(user, info)) else {
                return Ok(Admitted {
                    headers: None,
                    _permit: None,
                });
            };
            let target = &rules.targets[class.index];
            let work = match target.level.is_exempt() {
                true => Work::ONE,
                false => self.estimate(server, info, query, target.level.seats_max()),
            };
            let hash = flow_hash(self.seed, &class.schema.name, class.flow);
            let note = Arc::new(Note {
                schema: class.schema.name.clone(),
                flow: class.flow.into(),
                user: user.clone(),
                info: info.clone(),
                work,
                arrived: self.now(),
            });
            let arrived = target.level.arrive(self, hash, note);
            (target.level.clone(), target.headers.clone(), arrived)
        };
        let permit = match arrived {
            level::Arrived::Runs(permit) => Some(permit),
            level::Arrived::Waits(turn) => turn.wait(self.wait_max).await,
            level::Arrived::Refused => None,
        };
        match permit {
            Some(permit) => Ok(Admitted {
                headers: Some(headers),
                _permit: Some(permit),
            }),
            None => Err(Refused {
                headers,
                retry_after: level.note_drop(self.now().as_secs() + 1),
            }),
        }
    }

    /// How much work a request will be.
    fn estimate(&self, server: &Server, info: &RequestInfo, query: &Query, most: u32) -> Work {
        let verb = info.verb.as_str();
        if !info.is_resource || verb == "get" {
            return Work::ONE;
        }
        let catalog = server.catalog();
        let Some(served) = catalog.find(&info.group, &info.version, &info.resource) else {
            return Work::ONE;
        };
        match verb {
            "list" | "watch" => {
                let version = query.get("resourceVersion").unwrap_or_default();
                let from_start = matches!(version, "" | "0") || query.truthy("sendInitialEvents");
                if !served.is_stored() || (verb == "watch" && !from_start) {
                    return Work::ONE;
                }
                let stored = server.store.snapshot(&served.storage);
                let sample = stored.iter().take(4);
                let (count, bytes) = sample.fold((0u64, 0u64), |(count, bytes), entry| {
                    (count + 1, bytes + entry.stored_len() as u64)
                });
                let list = ListWork {
                    objects: stored.len() as u64,
                    size: bytes.checked_div(count).unwrap_or(0),
                    limit: query.get("limit").and_then(|l| l.parse().ok()).unwrap_or(0),
                    single: !info.name.is_empty(),
                };
                Work {
                    seats: list_seats(list, most),
                    ..Work::ONE
                }
            }
            "create" | "update" | "patch" | "delete" if info.subresource != "token" => {
                write_work(self.watchers(served.storage.as_str()), most)
            }
            _ => Work::ONE,
        }
    }
}

/// Requests that stay open as long as their client likes.
pub(crate) fn is_long_running(info: &RequestInfo) -> bool {
    matches!(info.verb.as_str(), "watch" | "proxy")
        || matches!(
            info.subresource.as_str(),
            "attach" | "exec" | "proxy" | "log" | "portforward"
        )
}

fn described<'a>(user: &'a UserInfo, info: &'a RequestInfo) -> corten_flow::Request<'a> {
    corten_flow::Request {
        user: &user.name,
        groups: &user.groups,
        verb: &info.verb,
        path: &info.path,
        resource_request: info.is_resource,
        group: &info.group,
        resource: &info.resource,
        subresource: &info.subresource,
        namespace: &info.namespace,
    }
}
