//! Access as one server has it: authentication, authorization and TLS, made from settings and files, and made again
//! when the files change. Invariant: a file that cannot be used is logged and changes nothing.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;

use corten_access::UserInfo;

use crate::Error;
use crate::audit::Audit;
use crate::authentication::{Anonymous, Authentication, Authorities, RequestHeaders, StaticTokens};
use crate::authorization::{Authorization, Authorizer};
use crate::jwt::TokenKeys;
use crate::metrics::Metrics;
use crate::settings::{AccessSettings, AuthenticationSettings, AuthorizationSettings};

/// What the cluster's own keys directory gives where no file is named.
pub(crate) struct Own<'a> {
    /// Signs the cluster's client certificates, PEM.
    pub ca: &'a str,
    /// Signs certificates of front proxies, PEM.
    pub front_proxy_ca: &'a str,
    /// Tokens with fixed users.
    pub static_tokens: HashMap<String, UserInfo>,
}

/// Who may come in and what they may do.
pub(crate) struct Access {
    pub authentication: Authentication,
    pub authorization: Authorization,
    /// None when nothing is audited.
    pub audit: Option<Arc<Audit>>,
}

impl Access {
    /// From settings and the files they name.
    pub(crate) fn new(
        settings: &AccessSettings,
        own: Own<'_>,
        metrics: &Arc<Metrics>,
    ) -> Result<Access, Error> {
        Ok(Access {
            authentication: authentication(&settings.authentication, own)?,
            authorization: Authorization::new(chain(&settings.authorization)?),
            audit: Audit::new(&settings.audit, metrics)?,
        })
    }
}

/// A settings file's text.
pub(crate) fn read(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|source| Error::Settings {
        path: path.to_owned(),
        why: source.to_string(),
    })
}

fn client_ca(settings: &AuthenticationSettings, own: &str) -> Result<String, Error> {
    match &settings.client_ca_file {
        None => Ok(own.to_owned()),
        // In-cluster clients keep the cluster's certificates.
        Some(path) => Ok(format!("{own}\n{}", read(path)?)),
    }
}

fn authentication(
    settings: &AuthenticationSettings,
    own: Own<'_>,
) -> Result<Authentication, Error> {
    let proxy = &settings.request_header;
    let proxy_ca = match &proxy.client_ca_file {
        None => own.front_proxy_ca.to_owned(),
        Some(path) => read(path)?,
    };
    let mut static_tokens = StaticTokens::new(own.static_tokens);
    if let Some(path) = &settings.token_auth_file {
        let fail = |why| Error::Settings {
            path: path.clone(),
            why,
        };
        let name = path.display().to_string();
        static_tokens.add_file(&name, &read(path)?).map_err(fail)?;
    }
    let anonymous = match settings.anonymous_auth {
        Some(false) => Anonymous::Off,
        _ => Anonymous::Everywhere,
    };
    Ok(Authentication {
        client_authorities: ArcSwap::from_pointee(Authorities::parse(
            &client_ca(settings, own.ca)?,
            0,
        )?),
        proxy_authorities: ArcSwap::from_pointee(Authorities::parse(&proxy_ca, 0)?),
        request_headers: RequestHeaders {
            allowed_names: proxy.allowed_names.clone(),
            user: proxy.username_headers.clone(),
            uid: proxy.uid_headers.clone(),
            groups: proxy.group_headers.clone(),
            extra_prefixes: proxy.extra_headers_prefix.clone(),
        },
        static_tokens,
        anonymous: ArcSwap::from_pointee(anonymous),
        verified: Default::default(),
    })
}

fn chain(settings: &AuthorizationSettings) -> Result<Vec<Authorizer>, Error> {
    let mut chain = Vec::new();
    for (index, mode) in settings.modes.iter().enumerate() {
        if settings.modes[..index].contains(mode) {
            return Err(Error::Flag(format!(
                "authorization-mode {mode:?} has mode specified more than once"
            )));
        }
        chain.push(match mode.as_str() {
            "AlwaysAllow" => Authorizer::AlwaysAllow,
            "AlwaysDeny" => Authorizer::AlwaysDeny,
            "Node" => Authorizer::Node,
            "RBAC" => Authorizer::Rbac,
            other => {
                return Err(Error::Flag(format!(
                    "authorization-mode {other:?} is not a valid mode"
                )));
            }
        });
    }
    if chain.is_empty() {
        let why = "at least one authorization-mode must be passed";
        return Err(Error::Flag(why.to_owned()));
    }
    Ok(chain)
}

/// The keys that sign and verify service account tokens.
pub(crate) fn token_keys(
    settings: &AuthenticationSettings,
    own: &corten_pki::ServiceAccountKeys,
) -> Result<TokenKeys, Error> {
    let (private, public) = key_texts(settings, own)?;
    TokenKeys::new(&private, &public)
}

fn key_texts(
    settings: &AuthenticationSettings,
    own: &corten_pki::ServiceAccountKeys,
) -> Result<(String, Vec<String>), Error> {
    let settings = &settings.service_account;
    let private = match &settings.signing_key_file {
        None => own.private.clone(),
        Some(path) => read(path)?,
    };
    let files: &[PathBuf] = &settings.key_files;
    let mut public: Vec<String> = files.iter().map(|p| read(p)).collect::<Result<_, _>>()?;
    public.push(own.public.clone());
    Ok((private, public))
}
