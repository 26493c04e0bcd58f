//! Service account tokens: signing and verifying compact JWTs with the cluster's keys, which may be replaced while the
//! server runs. Only the signature and the syntax are judged here; claims are checked by `authentication`.

use std::sync::Arc;

use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::keys::{PublicKey, Signer};

/// The claims of a service account token.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Claims {
    #[serde(default, skip_serializing_if = "Audience::is_nobody")]
    pub aud: Audience,
    #[serde(default, skip_serializing_if = "is_unsaid")]
    pub exp: i64,
    #[serde(default, skip_serializing_if = "is_unsaid")]
    pub iat: i64,
    #[serde(default)]
    pub iss: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub jti: String,
    #[serde(
        rename = "kubernetes.io",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub kubernetes: Option<Bound>,
    #[serde(default, skip_serializing_if = "is_unsaid")]
    pub nbf: i64,
    #[serde(default)]
    pub sub: String,
    #[serde(
        rename = "kubernetes.io/serviceaccount/namespace",
        default,
        skip_serializing_if = "String::is_empty"
    )]
    pub legacy_namespace: String,
    #[serde(
        rename = "kubernetes.io/serviceaccount/secret.name",
        default,
        skip_serializing_if = "String::is_empty"
    )]
    pub legacy_secret: String,
    #[serde(
        rename = "kubernetes.io/serviceaccount/service-account.name",
        default,
        skip_serializing_if = "String::is_empty"
    )]
    pub legacy_name: String,
    #[serde(
        rename = "kubernetes.io/serviceaccount/service-account.uid",
        default,
        skip_serializing_if = "String::is_empty"
    )]
    pub legacy_uid: String,
}

/// One audience or several.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(transparent)]
pub(crate) struct Audience(pub Vec<String>);

impl Audience {
    fn is_nobody(&self) -> bool {
        self.0.is_empty()
    }
}

/// Tokens kept in secrets have no times.
fn is_unsaid(time: &i64) -> bool {
    *time == 0
}

impl<'de> Deserialize<'de> for Audience {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Audience, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either {
            One(String),
            Many(Vec<String>),
        }
        Ok(Audience(match Either::deserialize(d)? {
            Either::One(one) => vec![one],
            Either::Many(many) => many,
        }))
    }
}

/// What a token is bound to.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Bound {
    #[serde(default)]
    pub namespace: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Reference>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<Reference>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Reference>,
    #[serde(default)]
    pub serviceaccount: Reference,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warnafter: Option<i64>,
}

/// A name and a uid.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Reference {
    #[serde(default)]
    pub name: String,
    #[serde(default)]
    pub uid: String,
}

#[derive(Serialize, Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    kid: String,
}

struct Keys {
    signer: Signer,
    signer_id: String,
    public: Vec<PublicKey>,
}

/// Signs with one key and verifies with it and any others.
pub(crate) struct TokenKeys(ArcSwap<Keys>);

impl Keys {
    fn parse(private: &str, public: &[String]) -> Result<Keys, Error> {
        let fail = |e: String| Error::Tls(format!("read the service account keys: {e}"));
        let signer = Signer::parse(private).map_err(fail)?;
        let own = signer.public().map_err(fail)?;
        let signer_id = own.id.clone();
        let mut all = vec![own];
        for pem in public {
            for key in PublicKey::parse_all(pem).map_err(fail)? {
                if all.iter().all(|k| k.id != key.id) {
                    all.push(key);
                }
            }
        }
        Ok(Keys {
            signer,
            signer_id,
            public: all,
        })
    }
}

impl TokenKeys {
    /// From PEM: the private key to sign with, and files of public keys to accept besides its own.
    pub(crate) fn new(private: &str, public: &[String]) -> Result<TokenKeys, Error> {
        Ok(TokenKeys(ArcSwap::from_pointee(Keys::parse(
            private, public,
        )?)))
    }

    /// Other keys from now on.
    pub(crate) fn replace(&self, private: &str, public: &[String]) -> Result<(), Error> {
        self.0.store(Arc::new(Keys::parse(private, public)?));
        Ok(())
    }

    /// The signed compact form of claims.
    pub(crate) fn sign(&self, claims: &Claims) -> Result<String, Error> {
        let fail = |e: String| Error::Tls(format!("sign a service account token: {e}"));
        let keys = self.0.load();
        let header = Header {
            alg: keys.signer.algorithm().into(),
            kid: keys.signer_id.clone(),
        };
        let header = serde_json::to_vec(&header).map_err(|e| fail(e.to_string()))?;
        let body = serde_json::to_vec(claims).map_err(|e| fail(e.to_string()))?;
        let mut token = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header),
            URL_SAFE_NO_PAD.encode(body)
        );
        let signature = keys.signer.sign(token.as_bytes()).map_err(fail)?;
        token.push('.');
        token.push_str(&URL_SAFE_NO_PAD.encode(signature));
        Ok(token)
    }

    /// The claims of a token whose signature one of the keys made.
    pub(crate) fn verify(&self, token: &str) -> Result<Claims, String> {
        let parts = Parts::of(token).ok_or("the token is no compact JWT")?;
        let keys = self.0.load();
        let candidates = keys.public.iter();
        let mut candidates =
            candidates.filter(|k| parts.header.kid.is_empty() || k.id == parts.header.kid);
        if !candidates.any(|k| k.verifies(&parts.header.alg, parts.signed, &parts.signature)) {
            return Err("invalid signature".to_owned());
        }
        serde_json::from_slice(&parts.body).map_err(|e| format!("the token's claims: {e}"))
    }

    /// The issuer a token names, without verifying it.
    pub(crate) fn unverified_issuer(token: &str) -> Option<String> {
        #[derive(Deserialize)]
        struct Issuer {
            #[serde(default)]
            iss: String,
        }
        let parts = Parts::of(token)?;
        let claims: Issuer = serde_json::from_slice(&parts.body).ok()?;
        Some(claims.iss)
    }

    /// The JSON Web Key Set of the public keys, as `/openid/v1/jwks` serves it.
    pub(crate) fn key_set(&self) -> serde_json::Value {
        let keys = self.0.load();
        let keys: Vec<_> = keys.public.iter().filter_map(PublicKey::as_jwk).collect();
        serde_json::json!({ "keys": keys })
    }
}

/// A compact JWT taken apart.
struct Parts<'a> {
    header: Header,
    body: Vec<u8>,
    /// What the signature is over.
    signed: &'a [u8],
    signature: Vec<u8>,
}

impl Parts<'_> {
    fn of(token: &str) -> Option<Parts<'_>> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, body) = signed.split_once('.')?;
        Some(Parts {
            header: serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).ok()?).ok()?,
            body: URL_SAFE_NO_PAD.decode(body).ok()?,
            signed: signed.as_bytes(),
            signature: URL_SAFE_NO_PAD.decode(signature).ok()?,
        })
    }
}
