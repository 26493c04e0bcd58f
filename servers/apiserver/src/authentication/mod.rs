//! Who is asking. Local proofs first, remote ones last, as upstream orders them: front proxy, client certificate,
//! bearer token (file, service account, bootstrap, OpenID Connect, webhook), and anonymous when nothing was shown.
//! Invariant: a proof that is shown and not valid is 401, never anonymous. Impersonation is a step of its own.

mod bootstrap_token;
pub(crate) mod certificates;
mod front_proxy;
mod impersonation;
pub(crate) mod oidc;
mod service_account;
mod static_tokens;
mod tokens;
pub(crate) mod webhook;

use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use http::HeaderMap;

use corten_access::UserInfo;
use corten_client::Status;

use crate::audit;
use crate::server::Server;

pub(crate) use certificates::{Authorities, Peer};
pub(crate) use front_proxy::RequestHeaders;
pub(crate) use impersonation::impersonate;
pub(crate) use service_account::service_account;
pub(crate) use static_tokens::StaticTokens;
pub(crate) use tokens::token_user;

/// The group of everyone who proved who they are.
pub(crate) const AUTHENTICATED: &str = "system:authenticated";
/// The group of everyone who proved nothing.
pub(crate) const UNAUTHENTICATED: &str = "system:unauthenticated";
/// The user of requests that prove nothing.
pub(crate) const ANONYMOUS: &str = "system:anonymous";

/// Whom to take as anonymous.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Anonymous {
    /// Nobody.
    Off,
    /// Every request without a proof.
    #[default]
    Everywhere,
    /// Those to exactly these paths.
    Paths(Vec<String>),
}

impl Anonymous {
    fn admits(&self, path: &str) -> bool {
        match self {
            Anonymous::Off => false,
            Anonymous::Everywhere => true,
            Anonymous::Paths(paths) => paths.iter().any(|p| p == path),
        }
    }
}

/// Everything that tells who is asking; parts are replaced while the server runs.
pub(crate) struct Authentication {
    /// Who signs client certificates.
    pub client_authorities: ArcSwap<Authorities>,
    /// Who signs certificates of front proxies; empty for none.
    pub proxy_authorities: ArcSwap<Authorities>,
    /// What front proxies say in which headers.
    pub request_headers: RequestHeaders,
    /// Tokens given in a file.
    pub static_tokens: StaticTokens,
    /// Whom to take as anonymous.
    pub anonymous: ArcSwap<Anonymous>,
    /// Issuers of tokens.
    pub issuers: ArcSwap<Vec<Arc<oidc::Issuer>>>,
    /// A server that knows tokens.
    pub webhook: Option<webhook::TokenWebhook>,
    /// Claims of service account tokens whose signature was found good.
    pub verified: service_account::Verified,
}

/// The user of a request, and what to tell the client along with the answer.
#[derive(Debug)]
pub(crate) struct Identified {
    pub user: Arc<UserInfo>,
    pub warnings: Vec<String>,
}

impl Identified {
    fn quiet(user: UserInfo) -> Identified {
        Identified {
            user: Arc::new(with_authenticated(user)),
            warnings: Vec::new(),
        }
    }
}

/// The user of a request before impersonation; headers that proved it are removed. `Err` = 401.
pub(crate) async fn authenticate(
    server: &Arc<Server>,
    peer: &Peer,
    path: &str,
    headers: &mut HeaderMap,
) -> Result<Identified, Status> {
    let started = Instant::now();
    match prove(server, peer, path, headers).await {
        Ok(identified) => {
            headers.remove(http::header::AUTHORIZATION);
            server.access.authentication.request_headers.strip(headers);
            let name = Some(identified.user.name.as_str());
            server.metrics.authenticated(name, started.elapsed());
            Ok(identified)
        }
        Err(why) => {
            tracing::debug!(why, "unable to authenticate the request");
            server.metrics.authenticated(None, started.elapsed());
            audit::refused(&attempted(peer, headers));
            Err(Status::unauthorized())
        }
    }
}

async fn prove(
    server: &Arc<Server>,
    peer: &Peer,
    path: &str,
    headers: &mut HeaderMap,
) -> Result<Identified, String> {
    let authentication = &server.access.authentication;
    let mut errors = Vec::new();
    let now = server.unix_seconds();
    match front_proxy::user(authentication, peer, headers, now) {
        Ok(Some(user)) => return Ok(Identified::quiet(user)),
        Ok(None) => {}
        Err(why) => errors.push(why),
    }
    match peer.user(&authentication.client_authorities.load(), now) {
        Ok(Some(user)) => return Ok(Identified::quiet((*user).clone())),
        Ok(None) => {}
        Err(why) => errors.push(why),
    }
    let mut warnings = Vec::new();
    let bearer = match tokens::bearer(headers, &mut warnings) {
        Some(token) => Ok(Some(token)),
        None => tokens::web_socket_bearer(headers),
    };
    match bearer {
        Ok(Some(token)) => {
            let found = token_user(server, &token, &server.config.audiences).await;
            match found {
                Ok(token) => {
                    warnings.extend(token.warnings);
                    let mut identified = Identified::quiet(token.user);
                    identified.warnings = warnings;
                    return Ok(identified);
                }
                Err(why) => errors.push(why),
            }
        }
        Ok(None) => {}
        Err(why) => errors.push(why.to_owned()),
    }
    if !errors.is_empty() {
        return Err(aggregate(errors));
    }
    if !authentication.anonymous.load().admits(path) {
        return Err("no credentials".to_owned());
    }
    Ok(Identified {
        user: Arc::new(UserInfo {
            name: ANONYMOUS.into(),
            groups: vec![UNAUTHENTICATED.into()],
            ..UserInfo::default()
        }),
        warnings,
    })
}

/// Several errors as upstream prints them.
pub(crate) fn aggregate(mut errors: Vec<String>) -> String {
    let mut seen = Vec::with_capacity(errors.len());
    for error in errors.drain(..) {
        if !seen.contains(&error) {
            seen.push(error);
        }
    }
    match seen.len() {
        1 => seen.remove(0),
        _ => format!("[{}]", seen.join(", ")),
    }
}

/// What was shown in vain, for the audit log.
fn attempted(peer: &Peer, headers: &HeaderMap) -> String {
    let authorization = headers
        .get(http::header::AUTHORIZATION)
        .and_then(|v| v.to_str().ok())
        .unwrap_or_default();
    let scheme = authorization.trim().split_once(' ').map_or("", |(s, _)| s);
    let mut methods = Vec::new();
    for known in ["basic", "bearer"] {
        if scheme.eq_ignore_ascii_case(known) {
            methods.push(known);
        }
    }
    if peer.shows_certificate() {
        methods.push("x509");
    }
    match methods.is_empty() {
        true => "Authentication failed, no credentials provided".to_owned(),
        false => format!("Authentication failed, attempted: {}", methods.join(", ")),
    }
}

/// The user as a member of everyone who proved who they are.
pub(crate) fn with_authenticated(mut user: UserInfo) -> UserInfo {
    let known = |g: &String| g == AUTHENTICATED || g == UNAUTHENTICATED;
    if !user.groups.iter().any(known) {
        user.groups.push(AUTHENTICATED.into());
    }
    user
}
