//! Requests to one repository of a registry: authorization, redirects and what a failure means.
//! Invariant: credentials go to the registry itself and its token service, never to mirrors or redirect targets.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use http::header::{
    ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, LOCATION, USER_AGENT, WWW_AUTHENTICATE,
};
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;

use super::RegistryOptions;
use super::auth::{self, Challenge};
use super::connect::{Connections, Target, describe};
use super::hosts::{Endpoint, Mirror, Scheme};
use super::secrets::Credentials;

const REDIRECTS_MAX: usize = 10;
const ERROR_BODY_MAX: usize = 64 << 10;

/// The registries' client of one store.
pub(crate) struct Client {
    pub(crate) options: RegistryOptions,
    connections: Connections,
}

/// One repository and the credentials for it.
pub(crate) struct Repository<'c> {
    client: &'c Client,
    path: String,
    actions: &'static str,
    credentials: Option<Credentials>,
    pub(crate) endpoints: Vec<Endpoint>,
    /// `Authorization` by host, once a challenge was answered.
    authorizations: Mutex<HashMap<String, String>>,
}

/// A request that brought nothing to use.
#[derive(Debug, Clone)]
pub(crate) enum Failure {
    /// No answer.
    Unavailable {
        method: &'static str,
        url: String,
        reason: String,
    },
    /// Refused.
    Denied { message: String },
    /// Any other status.
    Status {
        method: &'static str,
        url: String,
        status: StatusCode,
        message: String,
    },
}

/// A request before it is sent.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) method: Method,
    /// Below the repository: `manifests/latest`; or a whole URL.
    pub(crate) at: At,
    pub(crate) headers: Vec<(HeaderName, String)>,
    pub(crate) body: Bytes,
}

/// Where a request goes.
#[derive(Debug, Clone)]
pub(crate) enum At {
    Below(String),
    Url(String),
}

impl Ask {
    pub(crate) fn get(below: String) -> Ask {
        Ask {
            method: Method::GET,
            at: At::Below(below),
            headers: Vec::new(),
            body: Bytes::new(),
        }
    }

    pub(crate) fn header(mut self, name: HeaderName, value: impl Into<String>) -> Ask {
        self.headers.push((name, value.into()));
        self
    }
}

impl Client {
    pub(crate) fn new(options: &RegistryOptions) -> Client {
        let connections = Connections::new(options.trust_files.clone(), options.answer_time_max);
        Client {
            options: options.clone(),
            connections,
        }
    }

    /// A repository of `registry`, to be used with `actions` (`pull`, `pull,push`).
    pub(crate) fn repository(
        &self,
        registry: &str,
        path: &str,
        actions: &'static str,
        credentials: Option<Credentials>,
    ) -> Result<Repository<'_>, super::hosts::HostsError> {
        Ok(Repository {
            client: self,
            path: path.to_owned(),
            actions,
            credentials,
            endpoints: self.options.hosts.endpoints(registry)?,
            authorizations: Mutex::default(),
        })
    }
}

impl Repository<'_> {
    /// Sends `ask` to `endpoint`, answering a challenge and following redirects. Only success comes back as `Ok`.
    pub(crate) async fn send(
        &self,
        endpoint: &Endpoint,
        ask: &Ask,
    ) -> Result<Response<Incoming>, Failure> {
        let mut challenged = false;
        loop {
            let response = self.follow(endpoint, ask).await?;
            let (status, url) = (response.1.status(), response.0);
            let response = response.1;
            if status.is_success() {
                return Ok(response);
            }
            let method = method_name(&ask.method);
            if status == StatusCode::UNAUTHORIZED && !challenged {
                challenged = true;
                let challenge = challenge(&response);
                drop(response.into_body());
                match self.answer(endpoint, challenge).await? {
                    Some(authorization) => {
                        self.authorizations()
                            .insert(endpoint.authority.clone(), authorization);
                        continue;
                    }
                    None => {
                        return Err(Failure::Denied {
                            message: "authorization failed: no basic auth credentials".into(),
                        });
                    }
                }
            }
            let refused = matches!(
                challenge(&response),
                Some(Challenge::Bearer { error: Some(_), .. })
            );
            let message = error_message(response).await;
            return Err(match status {
                StatusCode::UNAUTHORIZED if refused => Failure::Denied {
                    message: "server message: insufficient_scope: authorization failed".into(),
                },
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Failure::Denied {
                    message: format!("server message: {}", or(&message, "authorization failed")),
                },
                status => Failure::Status {
                    method,
                    url,
                    status,
                    message,
                },
            });
        }
    }

    /// One request and the redirects it leads to. Returns the last URL asked.
    async fn follow(
        &self,
        endpoint: &Endpoint,
        ask: &Ask,
    ) -> Result<(String, Response<Incoming>), Failure> {
        let method = method_name(&ask.method);
        let mut url = self.url(endpoint, &ask.at);
        for _ in 0..REDIRECTS_MAX {
            let unavailable = |reason: String| Failure::Unavailable {
                method,
                url: url.clone(),
                reason,
            };
            let (target, own) = self.target(endpoint, &url).map_err(unavailable)?;
            let request = self
                .request(endpoint, ask, &url, own)
                .map_err(unavailable)?;
            let response = self
                .client
                .connections
                .send(&target, request)
                .await
                .map_err(unavailable)?;
            let location = response
                .headers()
                .get(LOCATION)
                .and_then(|value| value.to_str().ok());
            match location {
                Some(location)
                    if response.status().is_redirection() && ask.method != Method::POST =>
                {
                    url = join(&url, location);
                }
                _ => return Ok((url, response)),
            }
        }
        Err(Failure::Unavailable {
            method,
            url,
            reason: format!("stopped after {REDIRECTS_MAX} redirects"),
        })
    }

    /// The absolute URL of a path that an endpoint gave back.
    pub(crate) fn absolute(&self, endpoint: &Endpoint, location: &str) -> String {
        join(&self.url(endpoint, &At::Below(String::new())), location)
    }

    fn url(&self, endpoint: &Endpoint, at: &At) -> String {
        match at {
            At::Url(url) => url.clone(),
            At::Below(below) => {
                let scheme = if endpoint.scheme == Scheme::Http {
                    "http"
                } else {
                    "https"
                };
                let namespace = endpoint
                    .namespace
                    .as_ref()
                    .map(|ns| format!("?ns={ns}"))
                    .unwrap_or_default();
                format!(
                    "{scheme}://{}{}/{}/{below}{namespace}",
                    endpoint.authority, endpoint.base_path, self.path
                )
            }
        }
    }

    /// How to connect for `url`, and whether that is the endpoint itself.
    fn target(&self, endpoint: &Endpoint, url: &str) -> Result<(Target, bool), String> {
        let (scheme, rest) = url.split_once("://").ok_or("not a URL")?;
        let authority = rest.split(['/', '?']).next().unwrap_or(rest);
        let own = authority == endpoint.authority;
        let scheme = match scheme {
            _ if own && endpoint.scheme == Scheme::HttpsOrHttp => Scheme::HttpsOrHttp,
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            other => return Err(format!("unsupported protocol scheme {other:?}")),
        };
        let Mirror {
            skip_verify,
            trust_files,
            ..
        } = &endpoint.mirror;
        let target = Target {
            authority: authority.to_owned(),
            scheme,
            skip_verify: own && *skip_verify,
            trust_files: trust_files.clone(),
        };
        Ok((target, own))
    }

    fn request(
        &self,
        endpoint: &Endpoint,
        ask: &Ask,
        url: &str,
        own: bool,
    ) -> Result<Request<Full<Bytes>>, String> {
        let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
        let (authority, path) = rest
            .find(['/', '?'])
            .map_or((rest, "/"), |at| rest.split_at(at));
        let mut request = Request::builder()
            .method(ask.method.clone())
            .uri(path)
            .header(HOST, authority)
            .header(USER_AGENT, &self.client.options.user_agent);
        for (name, value) in &ask.headers {
            request = request.header(name, value);
        }
        if own {
            if let Some(authorization) = self.authorizations().get(&endpoint.authority) {
                let mut value =
                    HeaderValue::from_str(authorization).map_err(|error| error.to_string())?;
                value.set_sensitive(true);
                request = request.header(AUTHORIZATION, value);
            }
            for (name, value) in &endpoint.mirror.headers {
                request = request.header(name, value);
            }
        }
        request
            .body(Full::new(ask.body.clone()))
            .map_err(|error| error.to_string())
    }

    /// The `Authorization` that answers `challenge`; `None` when there are no credentials for it.
    async fn answer(
        &self,
        endpoint: &Endpoint,
        challenge: Option<Challenge>,
    ) -> Result<Option<String>, Failure> {
        let own = endpoint.namespace.is_none();
        let credentials = self.credentials.as_ref().filter(|_| own);
        match (challenge, credentials) {
            (_, Some(Credentials::Bearer(token))) => Ok(Some(format!("Bearer {token}"))),
            (Some(Challenge::Basic), Some(Credentials::Basic { username, password })) => {
                Ok(Some(auth::basic(username, password)))
            }
            (Some(Challenge::Bearer { realm, service, .. }), credentials) => {
                let scope = format!("repository:{}:{}", self.path, self.actions);
                let token = auth::token_request(&realm, service.as_deref(), &scope, credentials);
                Ok(Some(format!(
                    "Bearer {}",
                    self.fetch_token(endpoint, token).await?
                )))
            }
            _ => Ok(None),
        }
    }

    async fn fetch_token(
        &self,
        endpoint: &Endpoint,
        token: auth::TokenRequest,
    ) -> Result<String, Failure> {
        let method = if token.form.is_some() {
            Method::POST
        } else {
            Method::GET
        };
        let name = method_name(&method);
        let unavailable = |reason: String| Failure::Unavailable {
            method: name,
            url: token.url.clone(),
            reason,
        };
        let (target, _) = self.target(endpoint, &token.url).map_err(unavailable)?;
        let rest = token
            .url
            .split_once("://")
            .map_or(token.url.as_str(), |(_, rest)| rest);
        let (authority, path) = rest
            .find(['/', '?'])
            .map_or((rest, "/"), |at| rest.split_at(at));
        let path = if path.starts_with('?') {
            format!("/{path}")
        } else {
            path.to_owned()
        };
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, authority)
            .header(USER_AGENT, &self.client.options.user_agent)
            .header(ACCEPT, "application/json");
        if let Some(authorization) = &token.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        if token.form.is_some() {
            request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        }
        let body = Full::new(Bytes::from(token.form.clone().unwrap_or_default()));
        let request = request
            .body(body)
            .map_err(|error| unavailable(error.to_string()))?;
        let response = self
            .client
            .connections
            .send(&target, request)
            .await
            .map_err(unavailable)?;
        let status = response.status();
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            let message = format!(
                "failed to authorize: failed to fetch oauth token: unexpected status: {status}"
            );
            return Err(Failure::Denied { message });
        }
        if !status.is_success() {
            let message = error_message(response).await;
            return Err(Failure::Status {
                method: name,
                url: token.url.clone(),
                status,
                message,
            });
        }
        let body = collect(response, 1 << 20).await.map_err(unavailable)?;
        auth::token(&body).ok_or_else(|| unavailable("the token service sent no token".to_owned()))
    }

    fn authorizations(&self) -> std::sync::MutexGuard<'_, HashMap<String, String>> {
        self.authorizations
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// The whole body of an answer, at most `max` bytes.
pub(crate) async fn collect(response: Response<Incoming>, max: u64) -> Result<Bytes, String> {
    let body = Limited::new(
        response.into_body(),
        usize::try_from(max).unwrap_or(usize::MAX),
    );
    body.collect()
        .await
        .map(|body| body.to_bytes())
        .map_err(|error| describe(&*error))
}

fn challenge(response: &Response<Incoming>) -> Option<Challenge> {
    auth::parse(
        response
            .headers()
            .get_all(WWW_AUTHENTICATE)
            .iter()
            .filter_map(|value| value.to_str().ok()),
    )
}

/// What the registry says about an error, from its JSON form.
async fn error_message(response: Response<Incoming>) -> String {
    let Ok(body) = collect(response, ERROR_BODY_MAX as u64).await else {
        return String::new();
    };
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(&body) else {
        return String::new();
    };
    let texts: Vec<String> = value["errors"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|error| {
            let code = error["code"].as_str()?.to_lowercase().replace('_', " ");
            Some(format!(
                "{code}: {}",
                error["message"].as_str().unwrap_or("unknown error")
            ))
        })
        .collect();
    texts.join(", ")
}

fn or<'t>(text: &'t str, other: &'t str) -> &'t str {
    if text.is_empty() { other } else { text }
}

fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::HEAD => "Head",
        Method::GET => "Get",
        Method::POST => "Post",
        Method::PUT => "Put",
        Method::PATCH => "Patch",
        _ => "Request",
    }
}

/// A `Location`, absolute or relative to the host of `base` or to its path.
fn join(base: &str, location: &str) -> String {
    if location.contains("://") {
        return location.to_owned();
    }
    let (scheme, rest) = base.split_once("://").unwrap_or(("https", base));
    let authority = rest.split(['/', '?']).next().unwrap_or(rest);
    if let Some(rest) = location.strip_prefix("//") {
        return format!("{scheme}://{rest}");
    }
    if location.starts_with('/') {
        return format!("{scheme}://{authority}{location}");
    }
    let path = rest[authority.len()..].split('?').next().unwrap_or("");
    let directory = path.rfind('/').map_or("/", |at| &path[..=at]);
    format!("{scheme}://{authority}{directory}{location}")
}

#[cfg(test)]
mod tests {
    use super::join;

    #[test]
    fn locations() {
        assert_eq!(join("https://a/v2/x?y", "/z?q"), "https://a/z?q");
        assert_eq!(join("https://a/v2/x?y", "z"), "https://a/v2/z");
        assert_eq!(join("https://a/v2/x", "http://b/z"), "http://b/z");
        assert_eq!(join("http://a:1/v2/x", "//b/z"), "http://b/z");
    }
}
