//! Servers that a kubeconfig file names and that decide or keep something for this one: they are sent JSON and answer
//! with JSON. Tries again while the other side is only just not there.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use corten_client::Kubeconfig;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{Method, Request};
use serde_json::Value;

use crate::Error;
use crate::outbound::{ClientIdentity, Endpoint, Failure, Limits, Outbound, Place, Trust};

/// A server that a kubeconfig file names.
#[derive(Clone, Debug)]
pub(crate) struct Remote {
    endpoint: Endpoint,
    path: String,
    token: String,
    url: String,
}

/// How often something that failed in passing is tried.
const TRIES: u32 = 5;
const BACKOFF: Duration = Duration::from_millis(500);

impl Remote {
    /// The current context of a kubeconfig file.
    pub(crate) fn read(path: &Path) -> Result<Remote, Error> {
        let config = Kubeconfig::read(path).map_err(|e| Error::Settings {
            path: path.to_owned(),
            why: e.to_string(),
        })?;
        let (_, rest) = config
            .server
            .split_once("://")
            .unwrap_or(("", &config.server));
        let path = rest.find('/').map_or("/", |at| &rest[at..]);
        let identity = (!config.client_certificate.is_empty()).then(|| ClientIdentity {
            certificate: Bytes::from(config.client_certificate.clone()),
            key: Bytes::from(config.client_key.clone()),
        });
        Ok(Remote {
            path: path.to_owned(),
            endpoint: Endpoint {
                trust: Trust {
                    identity,
                    ..Trust::of(config.certificate_authority.clone())
                },
                place: Place::Url(config.server.clone()),
            },
            token: config.token,
            url: config.server,
        })
    }

    /// Sends JSON until it is answered, within a time for each try; `retry_all` tries again whatever went wrong.
    pub(crate) async fn post(
        &self,
        outbound: &Outbound,
        body: Bytes,
        time_max: Duration,
        retry_all: bool,
    ) -> Result<Value, String> {
        let mut wait = BACKOFF;
        let mut tried = 1;
        loop {
            let (why, passing) = match self.post_once(outbound, body.clone(), time_max).await {
                Ok(value) => return Ok(value),
                Err(failed) => failed,
            };
            if tried >= TRIES || !(passing || retry_all) {
                return Err(format!("Post {:?}: {why}", self.url));
            }
            tokio::time::sleep(wait).await;
            wait = wait * 3 / 2;
            tried += 1;
        }
    }

    async fn post_once(
        &self,
        outbound: &Outbound,
        body: Bytes,
        time_max: Duration,
    ) -> Result<Value, (String, bool)> {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(&self.path)
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json, */*");
        if !self.token.is_empty() {
            request = request.header(AUTHORIZATION, format!("Bearer {}", self.token));
        }
        let request = request.body(body).map_err(|e| (e.to_string(), false))?;
        let answer = outbound
            .call(&self.endpoint, request, Limits::within(time_max))
            .await;
        let answer = answer.map_err(|failure| {
            let passing = matches!(failure, Failure::Broken(_) | Failure::Unreachable { .. });
            (failure.to_string(), passing)
        })?;
        let code = answer.status();
        if !code.is_success() {
            let passing = code.is_server_error() || code.as_u16() == 429;
            return Err((format!("the server answered {code}"), passing));
        }
        if answer.body().is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(answer.body()).map_err(|e| (e.to_string(), false))
    }
}

/// Answers that are kept for a while, by question.
#[derive(Debug)]
pub(crate) struct Kept<T>(
    parking_lot::Mutex<std::collections::HashMap<String, (std::time::Instant, T)>>,
);

impl<T: Clone> Kept<T> {
    const MAX: usize = 8192;
    /// Longer questions are not kept.
    const KEY_MAX: usize = 10_000;

    pub(crate) fn new() -> Kept<T> {
        Kept(Default::default())
    }

    pub(crate) fn get(&self, key: &str) -> Option<T> {
        let kept = self.0.lock();
        let (until, answer) = kept.get(key)?;
        (*until > std::time::Instant::now()).then(|| answer.clone())
    }

    pub(crate) fn keep(&self, key: String, answer: T, time: Duration) {
        if time.is_zero() || key.len() > Kept::<T>::KEY_MAX {
            return;
        }
        let now = std::time::Instant::now();
        let mut kept = self.0.lock();
        if kept.len() >= Kept::<T>::MAX {
            kept.retain(|_, (until, _)| *until > now);
            if kept.len() >= Kept::<T>::MAX {
                kept.clear();
            }
        }
        kept.insert(key, (now + time, answer));
    }
}
