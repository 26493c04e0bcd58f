//! What is written down about requests: which, how much and when is the policy's to say. The trail of the request that
//! runs is found through its task, so whatever takes part in it may add a note without being handed one.
//! Invariant: where nothing is audited a note costs one look; what happens to a request never depends on its trail,
//! except where a backend is told to be strict.

mod format;
mod inside;
mod log_file;
mod sink;
mod trail;

use std::net::IpAddr;
use std::sync::Arc;

use http::HeaderMap;
use hyper::Response;

use corten_access::UserInfo;
use corten_access::audit::{Policy, Stage};
use corten_api::Object;
use corten_client::Status;

use crate::Error;
use crate::body::Answer;
use crate::catalog::Served;
use crate::info::RequestInfo;
use crate::metrics::Metrics;
use crate::outbound::Outbound;
use crate::settings::AuditSettings;

pub(crate) use inside::{inside, inside_list, inside_watch, uri};
use sink::Sink;
pub(crate) use trail::Trail;

tokio::task_local! {
    static TRAIL: Option<Arc<Trail>>;
}

/// The policy and where events go.
pub(crate) struct Audit {
    policy: Policy,
    sinks: Vec<Sink>,
    metrics: Arc<Metrics>,
}

impl Audit {
    /// From settings; nothing when no policy or no backend is given, as upstream.
    pub(crate) fn new(
        settings: &AuditSettings,
        metrics: &Arc<Metrics>,
    ) -> Result<Option<Arc<Audit>>, Error> {
        let sinks = sink::open(settings, metrics)?;
        let Some(path) = &settings.policy_file else {
            return Ok(None);
        };
        let fail = |why: String| Error::Settings {
            path: path.clone(),
            why,
        };
        let policy = format::policy(&crate::access::read(path)?).map_err(fail)?;
        let audit = Audit {
            policy,
            sinks,
            metrics: metrics.clone(),
        };
        Ok((!audit.sinks.is_empty()).then(|| Arc::new(audit)))
    }

    /// Lets backends reach other servers.
    pub(crate) fn connect(&self, client: &Arc<Outbound>) {
        for sink in &self.sinks {
            sink.connect(client);
        }
    }

    /// Waits until everything that was buffered is out.
    pub(crate) async fn flush(&self) {
        for sink in &self.sinks {
            sink.flush().await;
        }
    }
}

/// What a trail begins with.
pub(crate) struct Beginning<'a> {
    /// The request's id, the client's own if it gave one.
    pub id: &'a str,
    /// Path and query as sent.
    pub uri: &'a str,
    /// Where the connection comes from.
    pub source: IpAddr,
    pub headers: &'a HeaderMap,
    pub info: &'a RequestInfo,
}

/// The trail of a request; none when nothing is audited.
pub(crate) fn begin(audit: Option<&Arc<Audit>>, beginning: &Beginning<'_>) -> Option<Arc<Trail>> {
    audit.map(|audit| Arc::new(Trail::new(audit.clone(), beginning)))
}

/// Runs a request with its trail at hand.
pub(crate) async fn follow<T>(trail: Option<Arc<Trail>>, request: impl Future<Output = T>) -> T {
    match trail {
        None => request.await,
        Some(trail) => TRAIL.scope(Some(trail), request).await,
    }
}

fn current<T>(use_it: impl FnOnce(&Arc<Trail>) -> T) -> Option<T> {
    TRAIL
        .try_with(|trail| trail.as_ref().map(use_it))
        .ok()
        .flatten()
}

/// The trail of the running request, for what goes on in another task.
pub(crate) fn trail() -> Option<Arc<Trail>> {
    current(Arc::clone)
}

/// Adds a note (`key: value`) to the running request's trail; the first under a key stays.
pub(crate) fn annotate(key: &str, value: &str) {
    current(|trail| trail.annotate(key, value));
}

/// The user of the running request is known: from here on the policy applies. `Err` when a strict backend failed.
pub(crate) async fn received(user: &UserInfo, info: &RequestInfo) -> Result<(), Status> {
    let Some(trail) = trail() else {
        return Ok(());
    };
    trail.identify(user, info);
    match trail.reach(Stage::RequestReceived).await {
        true => Ok(()),
        false => {
            trail.reject();
            Err(Status::internal("failed to store audit event"))
        }
    }
}

/// The running request was refused for its proofs, which are described.
pub(crate) fn refused(attempted: &str) {
    current(|trail| trail.refuse(attempted));
}

/// The running request acts as somebody else; `constraint` is the verb of a constrained mode.
pub(crate) fn impersonated(user: &UserInfo, constraint: &str) {
    current(|trail| trail.impersonate(user, constraint));
}

/// What the running request sent, as it was understood.
pub(crate) fn sent(served: &Served, object: &Object) {
    current(|trail| trail.sent(served, object));
}

/// The same for an object that is not of the request's resource (scale, eviction, binding).
pub(crate) fn sent_plain(object: &Object) {
    current(|trail| trail.sent_plain(object));
}

/// The same for what is no object: a patch, options.
pub(crate) fn sent_text(json: &[u8]) {
    current(|trail| trail.sent_text(json));
}

/// What a request is refused with.
pub(crate) fn answered(trail: Option<&Arc<Trail>>, status: &Status) {
    if let Some(trail) = trail {
        trail.answered(status);
    }
}

/// The answer on its way to the client: the rest of the trail is written when all of it has gone.
pub(crate) async fn finish(
    trail: Option<Arc<Trail>>,
    info: &RequestInfo,
    answer: Response<Answer>,
) -> Response<Answer> {
    match trail {
        None => answer,
        Some(trail) => trail.finish(info, answer).await,
    }
}

/// The server failed at a request.
pub(crate) async fn panicked(trail: Option<Arc<Trail>>, why: &str) {
    if let Some(trail) = trail {
        trail.panicked(why).await;
    }
}
