//! Service account tokens: signing (ES256) and verifying (ES256, RS256) compact JWTs with the cluster's keys.
//! Only the signature and the syntax are judged here; claims are checked by `authentication`.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair,
    RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{PrivateKeyDer, SubjectPublicKeyInfoDer};
use serde::{Deserialize, Serialize};

use crate::Error;

/// The claims of a service account token.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Claims {
    #[serde(default)]
    pub aud: Audience,
    #[serde(default)]
    pub exp: i64,
    #[serde(default)]
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
    #[serde(default)]
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

struct PublicKey {
    id: String,
    der: Vec<u8>,
    pem: String,
}

/// Signs with one key and verifies with it and any older ones.
pub(crate) struct TokenKeys {
    signer: EcdsaKeyPair,
    signer_id: String,
    public: Vec<PublicKey>,
    random: SystemRandom,
}

impl TokenKeys {
    /// From PEM: the private key to sign with and every public key to accept.
    pub(crate) fn new(private: &str, public: &[String]) -> Result<TokenKeys, Error> {
        let fail =
            |what: &str, e: String| Error::Tls(format!("{what} of the service account keys: {e}"));
        let der = PrivateKeyDer::from_pem_slice(private.as_bytes())
            .map_err(|e| fail("parse the private key", e.to_string()))?;
        let signer = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.secret_der())
            .map_err(|e| {
            fail(
                "use the private key (ECDSA P-256 in PKCS#8 is expected)",
                e.to_string(),
            )
        })?;
        let mut keys = Vec::new();
        for pem in public {
            let der = SubjectPublicKeyInfoDer::from_pem_slice(pem.as_bytes())
                .map_err(|e| fail("parse a public key", e.to_string()))?;
            let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &der);
            let id = URL_SAFE_NO_PAD.encode(digest.as_ref());
            keys.push(PublicKey {
                id,
                der: der.to_vec(),
                pem: pem.clone(),
            });
        }
        let signer_id = keys.first().map(|k| k.id.clone()).unwrap_or_default();
        Ok(TokenKeys {
            signer,
            signer_id,
            public: keys,
            random: SystemRandom::new(),
        })
    }

    /// The signed compact form of claims.
    pub(crate) fn sign(&self, claims: &Claims) -> Result<String, Error> {
        let fail = |e: String| Error::Tls(format!("sign a service account token: {e}"));
        let header = Header {
            alg: "ES256".into(),
            kid: self.signer_id.clone(),
        };
        let header = serde_json::to_vec(&header).map_err(|e| fail(e.to_string()))?;
        let body = serde_json::to_vec(claims).map_err(|e| fail(e.to_string()))?;
        let mut token = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header),
            URL_SAFE_NO_PAD.encode(body)
        );
        let signature = self
            .signer
            .sign(&self.random, token.as_bytes())
            .map_err(|e| fail(e.to_string()))?;
        token.push('.');
        token.push_str(&URL_SAFE_NO_PAD.encode(signature));
        Ok(token)
    }

    /// The claims of a token whose signature one of the keys made; `None` for anything else.
    pub(crate) fn verify(&self, token: &str) -> Option<Claims> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, body) = signed.split_once('.')?;
        let header: Header = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).ok()?).ok()?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        let valid = self
            .public
            .iter()
            .filter(|k| header.kid.is_empty() || k.id == header.kid)
            .any(|k| {
                let verified = match header.alg.as_str() {
                    "ES256" => UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &k.der)
                        .verify(signed.as_bytes(), &signature),
                    "RS256" => UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &k.der)
                        .verify(signed.as_bytes(), &signature),
                    _ => return false,
                };
                verified.is_ok()
            });
        if !valid {
            return None;
        }
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(body).ok()?).ok()
    }

    /// The issuer a token names, without verifying it.
    pub(crate) fn unverified_issuer(token: &str) -> Option<String> {
        let body = token.split('.').nth(1)?;
        let claims: Claims = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(body).ok()?).ok()?;
        Some(claims.iss)
    }

    /// The JSON Web Key Set of the public keys (EC keys only), as `/openid/v1/jwks` serves it.
    pub(crate) fn key_set(&self) -> serde_json::Value {
        let keys: Vec<_> = self
            .public
            .iter()
            .filter(|k| k.pem.contains("PUBLIC KEY") && k.der.len() >= 65)
            .map(|k| {
                let point = &k.der[k.der.len() - 64..];
                serde_json::json!({
                    "use": "sig", "kty": "EC", "kid": k.id, "crv": "P-256", "alg": "ES256",
                    "x": URL_SAFE_NO_PAD.encode(&point[..32]), "y": URL_SAFE_NO_PAD.encode(&point[32..]),
                })
            })
            .collect();
        serde_json::json!({ "keys": keys })
    }
}
