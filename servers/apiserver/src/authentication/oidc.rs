//! Tokens of OpenID Connect issuers: their keys are fetched from where the issuer tells, and again when a token names a
//! key that is not known. Invariant: only tokens whose issuer is configured cause a fetch, one at a time, and not more
//! than one in ten seconds. Left out: distributed claims.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{Method, Request};
use parking_lot::RwLock;
use tokio::sync::Mutex;

use corten_access::configuration::{JwtAuthenticator, Mapping};
use corten_core::Value;

use super::tokens::{Token, own_audiences};
use crate::keys::PublicKey;
use crate::outbound::{Endpoint, Limits, Outbound, Place, Trust};
use crate::server::Server;

/// Every algorithm that tokens may be signed with.
pub(crate) const ALGORITHMS: [&str; 9] = [
    "RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512",
];

const FETCH_MAX: Duration = Duration::from_secs(30);
/// How long a failed or fruitless fetch is not repeated.
const PAUSE: Duration = Duration::from_secs(10);

/// One issuer.
pub(crate) struct Issuer {
    config: JwtAuthenticator,
    mapping: Mapping,
    algorithms: Vec<String>,
    keys: RwLock<Option<Vec<PublicKey>>>,
    /// When keys were asked for last.
    asked: Mutex<Option<Instant>>,
}

impl Issuer {
    /// `Err` says what is wrong with the configuration.
    pub(crate) fn new(config: JwtAuthenticator, algorithms: &[String]) -> Result<Issuer, String> {
        Ok(Issuer {
            mapping: Mapping::new(&config)?,
            config,
            algorithms: algorithms.to_vec(),
            keys: RwLock::default(),
            asked: Mutex::default(),
        })
    }

    /// The user of a token of this issuer; nobody's for others.
    pub(super) async fn user(
        &self,
        server: &Server,
        token: &str,
        audiences: &[String],
    ) -> Result<Option<Token>, String> {
        let Some(parts) = Parts::of(token).filter(|p| p.issuer() == self.config.issuer.url) else {
            return Ok(None);
        };
        if !self.algorithms.contains(&parts.algorithm) {
            return Err(format!(
                "oidc: verify token: oidc: id token signed with unsupported algorithm, expected {:?} got {:?}",
                self.algorithms, parts.algorithm
            ));
        }
        if !self.verifies(&parts) {
            self.fetch(&server.outbound).await?;
            if !self.verifies(&parts) {
                return Err("oidc: verify token: failed to verify signature: failed to verify id token signature".to_owned());
            }
        }
        self.check(&parts.claims, server.unix_seconds())
            .map_err(|why| format!("oidc: verify token: {why}"))?;
        let user = self.mapping.user(&parts.claims)?;
        Ok(own_audiences(server, user, audiences))
    }

    fn verifies(&self, parts: &Parts<'_>) -> bool {
        let keys = self.keys.read();
        let candidates = keys.iter().flatten();
        candidates
            .filter(|k| parts.key.is_empty() || k.id == parts.key)
            .any(|k| k.verifies(&parts.algorithm, parts.signed, &parts.signature))
    }

    fn check(&self, claims: &Value, now: i64) -> Result<(), String> {
        let given: Vec<&str> = match claims.get("aud") {
            Some(Value::Str(one)) => vec![one.as_str()],
            Some(Value::List(many)) => many.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        let wanted = &self.config.issuer.audiences;
        if !wanted.iter().any(|a| given.contains(&a.as_str())) {
            return Err(format!(
                "oidc: expected audience in {wanted:?} got {given:?}"
            ));
        }
        let number = |name: &str| match claims.get(name) {
            Some(Value::Int(n)) => Some(*n),
            Some(Value::Float(n)) => Some(*n as i64),
            _ => None,
        };
        match number("exp") {
            Some(exp) if exp >= now => {}
            exp => {
                let exp = corten_core::Time::from_unix(exp.unwrap_or_default());
                return Err(format!("oidc: token is expired (Token Expiry: {exp})"));
            }
        }
        // Clocks may be five minutes apart.
        match number("nbf") {
            Some(nbf) if nbf > now + 300 => {
                Err("oidc: current time is before the nbf (not before) time".to_owned())
            }
            _ => Ok(()),
        }
    }

    /// Asks for the keys, unless that was done a moment ago.
    pub(super) async fn fetch(&self, outbound: &Outbound) -> Result<(), String> {
        let mut asked = self.asked.lock().await;
        if asked.is_some_and(|at| at.elapsed() < PAUSE) {
            return match self.keys.read().is_some() {
                true => Ok(()),
                false => Err("oidc: authenticator not initialized".to_owned()),
            };
        }
        *asked = Some(Instant::now());
        match self.fetch_now(outbound).await {
            Ok(keys) => {
                *self.keys.write() = Some(keys);
                Ok(())
            }
            Err(why) => {
                tracing::error!(
                    why,
                    issuer = self.config.issuer.url,
                    "fetch the keys of an issuer"
                );
                match self.keys.read().is_some() {
                    true => Ok(()),
                    false => Err("oidc: authenticator not initialized".to_owned()),
                }
            }
        }
    }

    async fn fetch_now(&self, outbound: &Outbound) -> Result<Vec<PublicKey>, String> {
        let issuer = &self.config.issuer;
        let url = match issuer.discovery_url.as_deref().filter(|u| !u.is_empty()) {
            Some(url) => url.to_owned(),
            None => format!(
                "{}/.well-known/openid-configuration",
                issuer.url.trim_end_matches('/')
            ),
        };
        let document = self.get(outbound, &url).await?;
        let told = document["issuer"].as_str().unwrap_or_default();
        if told != issuer.url {
            return Err(format!(
                "oidc: issuer did not match the issuer returned by provider, expected {:?} got {told:?}",
                issuer.url
            ));
        }
        let keys = document["jwks_uri"].as_str().filter(|u| !u.is_empty());
        let keys = self
            .get(outbound, keys.ok_or("provider did not return JWKS URL")?)
            .await?;
        let keys = keys["keys"].as_array().ok_or("the key set has no keys")?;
        Ok(keys.iter().filter_map(PublicKey::from_jwk).collect())
    }

    async fn get(&self, outbound: &Outbound, url: &str) -> Result<serde_json::Value, String> {
        let (_, rest) = url.split_once("://").unwrap_or(("", url));
        let path = rest.find('/').map_or("/", |at| &rest[at..]);
        let request = Request::builder().method(Method::GET).uri(path);
        let request = request.body(Bytes::new()).map_err(|e| e.to_string())?;
        let endpoint = Endpoint {
            place: Place::Url(url.to_owned()),
            trust: Trust::of(self.config.issuer.certificate_authority.clone()),
        };
        let answer = outbound
            .call(&endpoint, request, Limits::within(FETCH_MAX))
            .await;
        let answer = answer.map_err(|e| format!("Get {url:?}: {e}"))?;
        if !answer.status().is_success() {
            return Err(format!(
                "Get {url:?}: the server answered {}",
                answer.status()
            ));
        }
        serde_json::from_slice(answer.body()).map_err(|e| format!("Get {url:?}: {e}"))
    }
}

/// A compact JWT taken apart.
struct Parts<'a> {
    algorithm: String,
    key: String,
    claims: Value,
    signed: &'a [u8],
    signature: Vec<u8>,
}

impl Parts<'_> {
    fn of(token: &str) -> Option<Parts<'_>> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, body) = signed.split_once('.')?;
        let read = |text: &str| {
            let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
            corten_codec::json::decode_value(&bytes).ok()
        };
        let header = read(header)?;
        Some(Parts {
            algorithm: header.str_at(&["alg"]).to_owned(),
            key: header.str_at(&["kid"]).to_owned(),
            claims: read(body)?,
            signed: signed.as_bytes(),
            signature: URL_SAFE_NO_PAD.decode(signature).ok()?,
        })
    }

    /// The issuer, in the newer of the two ways that one writes itself.
    fn issuer(&self) -> &str {
        match self.claims.str_at(&["iss"]) {
            "accounts.google.com" => "https://accounts.google.com",
            issuer => issuer,
        }
    }
}
