//! Access as one server has it: authentication, authorization and TLS, made from settings and files, and made again
//! when the files change. Invariant: a file that cannot be used is logged and changes nothing.

mod configured;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;

use corten_access::UserInfo;

use crate::Error;
use crate::audit::Audit;
use crate::authentication::webhook::TokenWebhook;
use crate::authentication::{Authentication, Authorities, RequestHeaders, StaticTokens};
use crate::authorization::Authorization;
use crate::jwt::TokenKeys;
use crate::metrics::Metrics;
use crate::remote::{Kept, Remote};
use crate::server::Server;
use crate::settings::AccessSettings;
use crate::tls;

/// What the cluster's own keys directory gives where no file is named.
#[derive(Clone)]
pub(crate) struct Own {
    /// Signs the cluster's client certificates, PEM.
    pub ca: String,
    /// Signs certificates of front proxies, PEM.
    pub front_proxy_ca: String,
    /// Signs service account tokens.
    pub service_account: corten_pki::ServiceAccountKeys,
    /// What the server shows, PEM: certificate and key.
    pub serving: (String, String),
}

/// Settings with the files they name, to be read at the start and again.
pub(crate) struct Sources {
    pub settings: AccessSettings,
    pub own: Own,
}

impl Sources {
    /// Every file that is read again when it changes.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let authentication = &self.settings.authentication;
        let accounts = &authentication.service_account;
        let tls = &self.settings.tls;
        let single = [
            &authentication.client_ca_file,
            &authentication.request_header.client_ca_file,
            &accounts.signing_key_file,
            &tls.cert_file,
            &tls.private_key_file,
            &authentication.config_file,
            &self.settings.authorization.config_file,
        ];
        let single = single.into_iter().flatten();
        single.chain(&accounts.key_files).cloned().collect()
    }

    /// Makes a server use what the files say now; answers what could not be used.
    pub(crate) fn apply(&self, server: &Server) -> Vec<Error> {
        let results = [
            self.apply_authorities(server),
            self.apply_keys(server),
            self.apply_tls(server),
            self.apply_configurations(server),
        ];
        results.into_iter().filter_map(Result::err).collect()
    }

    fn apply_authorities(&self, server: &Server) -> Result<(), Error> {
        let authentication = &server.access.authentication;
        let pairs = [
            (&authentication.client_authorities, self.client_ca()?),
            (&authentication.proxy_authorities, self.proxy_ca()?),
        ];
        for (authorities, pem) in pairs {
            let old = authorities.load();
            if old.pem != pem {
                authorities.store(Arc::new(old.replaced(&pem)?));
            }
        }
        Ok(())
    }

    fn apply_keys(&self, server: &Server) -> Result<(), Error> {
        let (private, public) = self.key_texts()?;
        server.token_keys.replace(&private, &public)?;
        server.access.authentication.verified.clear();
        Ok(())
    }

    fn apply_configurations(&self, server: &Server) -> Result<(), Error> {
        let settings = &self.settings;
        if settings.authentication.config_file.is_some() {
            let disallowed = self.disallowed_issuers();
            let configured = configured::authentication(&settings.authentication, &disallowed)?;
            let authentication = &server.access.authentication;
            authentication
                .anonymous
                .store(Arc::new(configured.anonymous));
            authentication.issuers.store(Arc::new(configured.issuers));
        }
        if settings.authorization.config_file.is_some() {
            let chain = configured::authorizers(&settings.authorization)?;
            server.access.authorization.replace(chain);
        }
        Ok(())
    }

    /// Issuers that are the API's own.
    fn disallowed_issuers(&self) -> Vec<String> {
        self.settings.authentication.service_account.issuers.clone()
    }

    fn apply_tls(&self, server: &Server) -> Result<(), Error> {
        server.access.tls.store(self.tls()?);
        Ok(())
    }

    fn client_ca(&self) -> Result<String, Error> {
        let own = &self.own.ca;
        match &self.settings.authentication.client_ca_file {
            None => Ok(own.clone()),
            // In-cluster clients keep the cluster's certificates.
            Some(path) => Ok(format!("{own}\n{}", read(path)?)),
        }
    }

    fn proxy_ca(&self) -> Result<String, Error> {
        match &self.settings.authentication.request_header.client_ca_file {
            None => Ok(self.own.front_proxy_ca.clone()),
            Some(path) => read(path),
        }
    }

    fn tls(&self) -> Result<Arc<rustls::ServerConfig>, Error> {
        let (mut certificate, mut key) = self.own.serving.clone();
        let tls = &self.settings.tls;
        match (&tls.cert_file, &tls.private_key_file) {
            (Some(cert_file), Some(key_file)) => {
                (certificate, key) = (read(cert_file)?, read(key_file)?);
            }
            (None, None) => {}
            _ => {
                let why = "--tls-cert-file and --tls-private-key-file go together";
                return Err(Error::Flag(why.to_owned()));
            }
        }
        tls::server_config(&certificate, &key, &self.client_ca()?)
    }

    /// The keys that sign and verify service account tokens.
    pub(crate) fn token_keys(&self) -> Result<TokenKeys, Error> {
        let (private, public) = self.key_texts()?;
        TokenKeys::new(&private, &public)
    }

    fn key_texts(&self) -> Result<(String, Vec<String>), Error> {
        let settings = &self.settings.authentication.service_account;
        let private = match &settings.signing_key_file {
            None => self.own.service_account.private.clone(),
            Some(path) => read(path)?,
        };
        let files = settings.key_files.iter();
        let mut public: Vec<String> = files.map(|p| read(p)).collect::<Result<_, _>>()?;
        public.push(self.own.service_account.public.clone());
        Ok((private, public))
    }
}

/// Who may come in and what they may do.
pub(crate) struct Access {
    pub authentication: Authentication,
    pub authorization: Authorization,
    /// None when nothing is audited.
    pub audit: Option<Arc<Audit>>,
    /// For new connections.
    pub tls: ArcSwap<rustls::ServerConfig>,
}

impl Access {
    /// From settings and the files they name; `tokens` are given otherwise.
    pub(crate) fn new(
        sources: &Sources,
        tokens: HashMap<String, UserInfo>,
        metrics: &Arc<Metrics>,
    ) -> Result<Access, Error> {
        let settings = &sources.settings;
        Ok(Access {
            authentication: authentication(sources, tokens)?,
            authorization: Authorization::new(configured::authorizers(&settings.authorization)?),
            audit: Audit::new(&settings.audit, metrics)?,
            tls: ArcSwap::new(sources.tls()?),
        })
    }
}

/// A settings file's content as JSON; it is written in that or in YAML.
pub(crate) fn json(path: &Path) -> Result<String, Error> {
    configured::json(path)
}

/// A settings file's text.
pub(crate) fn read(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|source| Error::Settings {
        path: path.to_owned(),
        why: source.to_string(),
    })
}

fn authentication(
    sources: &Sources,
    tokens: HashMap<String, UserInfo>,
) -> Result<Authentication, Error> {
    let settings = &sources.settings.authentication;
    let proxy = &settings.request_header;
    let mut static_tokens = StaticTokens::new(tokens);
    if let Some(path) = &settings.token_auth_file {
        let fail = |why| Error::Settings {
            path: path.clone(),
            why,
        };
        let name = path.display().to_string();
        static_tokens.add_file(&name, &read(path)?).map_err(fail)?;
    }
    let webhook = match &settings.webhook.config_file {
        None => None,
        Some(path) => Some(TokenWebhook {
            remote: Remote::read(path)?,
            version: settings.webhook.version.clone(),
            time: settings.webhook.cache_ttl,
            kept: Kept::new(),
        }),
    };
    let configured = configured::authentication(settings, &sources.disallowed_issuers())?;
    Ok(Authentication {
        client_authorities: ArcSwap::from_pointee(Authorities::parse(&sources.client_ca()?, 0)?),
        proxy_authorities: ArcSwap::from_pointee(Authorities::parse(&sources.proxy_ca()?, 0)?),
        request_headers: RequestHeaders {
            allowed_names: proxy.allowed_names.clone(),
            user: proxy.username_headers.clone(),
            uid: proxy.uid_headers.clone(),
            groups: proxy.group_headers.clone(),
            extra_prefixes: proxy.extra_headers_prefix.clone(),
        },
        static_tokens,
        anonymous: ArcSwap::from_pointee(configured.anonymous),
        issuers: ArcSwap::from_pointee(configured.issuers),
        webhook,
        verified: Default::default(),
    })
}
