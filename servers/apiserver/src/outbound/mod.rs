//! The API server as a client: one pooled HTTPS client for webhooks, conversion, aggregation and remote
//! authentication. Invariant: connections are shared only among requests that trust the same certificates, speak as the
//! same client and go to the same place; what cannot be verified is not talked to.
//!
//! ```text
//! let endpoint = Endpoint { place: Place::Service { namespace, name, port: 443 }, trust: Trust::of(ca_bundle) };
//! let answer = server.outbound.call(&endpoint, request_to("/validate?timeout=10s"), Limits::within(ten_seconds)).await?;
//! ```
//! `call` reads the whole answer under limits; `stream` hands out the answer while it is still being received and lets
//! the caller upgrade it. Left out: what is sent, and what a failure means to the caller.

mod dial;
mod trust;

use std::collections::HashMap;
use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use parking_lot::Mutex;

use crate::typed::Typed;
use dial::Dialer;

pub(crate) use trust::{ClientIdentity, Protocols, Trust, Verification};

/// A request body.
pub(crate) type Body = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// Clients kept at once; beyond that, the one that was used longest ago is dropped with its connections.
const CLIENTS_MAX: usize = 256;
/// Idle connections kept per place.
const IDLE_MAX: usize = 25;
/// How long an idle connection is kept.
const IDLE_TIME: Duration = Duration::from_secs(90);

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    /// `https://host[:port]`; a path in it is ignored.
    Url(String),
    /// A port of a service, reached at one of its ready endpoints or else at its cluster IP; its certificate must be
    /// for `<name>.<namespace>.svc`.
    Service {
        namespace: String,
        name: String,
        port: u16,
    },
}

impl Place {
    /// `https://svc.namespace.svc:443`, as failures name it.
    pub(crate) fn origin(&self) -> String {
        match self {
            Place::Url(url) => {
                let (scheme, rest) = url.split_once("://").unwrap_or(("https", url));
                let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
                format!("{scheme}://{host}")
            }
            Place::Service {
                namespace,
                name,
                port,
            } => format!("https://{name}.{namespace}.svc:{port}"),
        }
    }
}

/// A place and how to trust it.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    pub place: Place,
    pub trust: Trust,
}

impl Endpoint {
    /// The same, spoken to in HTTP/1.1, where connections can be upgraded.
    pub(crate) fn on_http1(&self) -> Endpoint {
        let mut endpoint = self.clone();
        endpoint.trust.protocols = Protocols::Http1;
        endpoint
    }
}

/// What one call may cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// For everything: resolving, connecting, sending and receiving.
    pub time_max: Duration,
    /// Bytes of the answer's body.
    pub answer_max: usize,
}

impl Limits {
    /// So much time, and an answer of at most 10 MiB.
    pub(crate) fn within(time_max: Duration) -> Limits {
        Limits {
            time_max,
            answer_max: 10 << 20,
        }
    }
}

/// Why there is no answer, worded as Go's HTTP client words it.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(crate) enum Failure {
    /// The place does not exist (no such service, no endpoints, no such host).
    #[error("{0}")]
    Unresolved(String),
    /// No connection.
    #[error("dial tcp {address}: {why}")]
    Unreachable { address: String, why: String },
    /// The other side cannot be trusted, or speaks no TLS.
    #[error("{0}")]
    Untrusted(String),
    /// The time is over.
    #[error("context deadline exceeded")]
    Late,
    /// The answer is larger than allowed.
    #[error("http: response body too large")]
    TooLarge,
    /// The connection broke, or what came is no HTTP.
    #[error("{0}")]
    Broken(String),
}

struct Known {
    client: Client<Dialer, Body>,
    used: u64,
}

#[derive(Default)]
struct Clients {
    known: HashMap<(Trust, Option<String>), Known>,
    uses: u64,
}

/// The pooled client. One per server.
pub(crate) struct Outbound {
    typed: Arc<Typed>,
    clients: Mutex<Clients>,
}

impl Outbound {
    /// A client that finds services in this view.
    pub(crate) fn new(typed: Arc<Typed>) -> Outbound {
        Outbound {
            typed,
            clients: Mutex::default(),
        }
    }

    /// Sends a request and reads the whole answer. Of the request's URI only path and query count.
    pub(crate) async fn call(
        &self,
        endpoint: &Endpoint,
        request: Request<Bytes>,
        limits: Limits,
    ) -> Result<Response<Bytes>, Failure> {
        let request = request.map(|body| Full::new(body).map_err(|e| match e {}).boxed_unsync());
        let work = async {
            let answer = self.stream(endpoint, request).await?;
            let (parts, body) = answer.into_parts();
            let body = Limited::new(body, limits.answer_max).collect().await;
            let body = body.map_err(|e| match e.is::<LengthLimitError>() {
                true => Failure::TooLarge,
                false => Failure::Broken(said(&*e)),
            })?;
            Ok(Response::from_parts(parts, body.to_bytes()))
        };
        tokio::time::timeout(limits.time_max, work)
            .await
            .unwrap_or(Err(Failure::Late))
    }

    /// Sends a request and answers as soon as the head of the answer is there. No time limit: the caller has its own.
    /// For upgrades, use trust with `Protocols::Http1` and `hyper::upgrade::on` on the answer.
    pub(crate) async fn stream(
        &self,
        endpoint: &Endpoint,
        mut request: Request<Body>,
    ) -> Result<Response<Incoming>, Failure> {
        let origin = endpoint.place.origin();
        let path = request
            .uri()
            .path_and_query()
            .map_or("/", |path| path.as_str());
        let uri: Uri = format!("{origin}{path}")
            .parse()
            .map_err(|e| Failure::Unresolved(format!("parse {origin:?}: {e}")))?;
        *request.uri_mut() = uri;
        let client = self.client(endpoint)?;
        client.request(request).await.map_err(failure)
    }

    /// The address that a connection to a service would go to now.
    ///
    /// # Errors
    /// When there is no such service, port or endpoint.
    pub(crate) fn address(&self, endpoint: &Endpoint) -> Result<(String, u16), Failure> {
        match &endpoint.place {
            Place::Url(url) => Ok((url.clone(), 443)),
            Place::Service {
                namespace,
                name,
                port,
            } => dial::resolve(&self.typed.view().snapshot, namespace, name, *port, 0),
        }
    }

    /// The client for a trust; service places have their own, because a name like `a.b.svc` means nothing to DNS here.
    fn client(&self, endpoint: &Endpoint) -> Result<Client<Dialer, Body>, Failure> {
        let service = match &endpoint.place {
            Place::Url(_) => None,
            Place::Service { .. } => Some(endpoint.place.origin()),
        };
        let key = (endpoint.trust.clone(), service);
        let mut clients = self.clients.lock();
        clients.uses += 1;
        let now = clients.uses;
        if let Some(known) = clients.known.get_mut(&key) {
            known.used = now;
            return Ok(known.client.clone());
        }
        let tls = endpoint.trust.configuration()?;
        let dialer = Dialer::new(self.typed.clone(), tls, endpoint);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .pool_max_idle_per_host(IDLE_MAX)
            .pool_idle_timeout(IDLE_TIME)
            .build(dialer);
        if clients.known.len() >= CLIENTS_MAX {
            let oldest = clients.known.iter().min_by_key(|(_, k)| k.used);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                clients.known.remove(&oldest);
            }
        }
        let known = Known {
            client: client.clone(),
            used: now,
        };
        clients.known.insert(key, known);
        Ok(client)
    }
}

/// The dialer's own failure when there is one, else what hyper says.
fn failure(error: hyper_util::client::legacy::Error) -> Failure {
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(failure) = cause.downcast_ref::<Failure>() {
            return failure.clone();
        }
        if let Some(error) = cause.downcast_ref::<hyper::Error>()
            && (error.is_incomplete_message() || error.is_closed())
        {
            return Failure::Broken("EOF".into());
        }
        source = cause.source();
    }
    Failure::Broken(said(&error))
}

/// An error with its causes.
fn said(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let more = cause.to_string();
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests;
