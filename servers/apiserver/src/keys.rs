//! Keys that sign and verify tokens: RSA and elliptic curves, from PEM files and JSON Web Keys, under the names of
//! algorithms that JOSE gives them. Invariant: a key verifies only algorithms of its own kind and curve.

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    self, EcdsaKeyPair, KeyPair as _, RsaKeyPair, RsaParameters, RsaPublicKeyComponents,
    UnparsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::pki_types::pem::{PemObject, SectionKind};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::PublicKey as Parsed;
use x509_parser::x509::SubjectPublicKeyInfo;

/// An elliptic curve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Curve {
    P256,
    P384,
    P521,
}

const CURVES: [Curve; 3] = [Curve::P256, Curve::P384, Curve::P521];

impl Curve {
    fn name(self) -> &'static str {
        match self {
            Curve::P256 => "P-256",
            Curve::P384 => "P-384",
            Curve::P521 => "P-521",
        }
    }

    fn algorithm(self) -> &'static str {
        match self {
            Curve::P256 => "ES256",
            Curve::P384 => "ES384",
            Curve::P521 => "ES512",
        }
    }

    /// Bytes of a coordinate.
    fn size(self) -> usize {
        match self {
            Curve::P256 => 32,
            Curve::P384 => 48,
            Curve::P521 => 66,
        }
    }

    fn verification(self) -> &'static signature::EcdsaVerificationAlgorithm {
        match self {
            Curve::P256 => &signature::ECDSA_P256_SHA256_FIXED,
            Curve::P384 => &signature::ECDSA_P384_SHA384_FIXED,
            Curve::P521 => &signature::ECDSA_P521_SHA512_FIXED,
        }
    }

    fn signing(self) -> &'static signature::EcdsaSigningAlgorithm {
        match self {
            Curve::P256 => &signature::ECDSA_P256_SHA256_FIXED_SIGNING,
            Curve::P384 => &signature::ECDSA_P384_SHA384_FIXED_SIGNING,
            Curve::P521 => &signature::ECDSA_P521_SHA512_FIXED_SIGNING,
        }
    }
}

#[derive(Clone, Debug)]
enum Material {
    /// The uncompressed point.
    Ec(Curve, Vec<u8>),
    /// Modulus and exponent, big-endian.
    Rsa(Vec<u8>, Vec<u8>),
}

/// A key that verifies.
#[derive(Clone, Debug)]
pub(crate) struct PublicKey {
    /// What tokens name it by (`kid`).
    pub id: String,
    material: Material,
}

fn id_of(spki: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, spki);
    URL_SAFE_NO_PAD.encode(digest.as_ref())
}

fn without_zeros(number: &[u8]) -> Vec<u8> {
    let start = number.iter().position(|b| *b != 0);
    number[start.unwrap_or(number.len())..].to_vec()
}

impl PublicKey {
    /// Every public key of a PEM file, also those of private keys and certificates in it.
    pub(crate) fn parse_all(pem: &str) -> Result<Vec<PublicKey>, String> {
        let mut keys = Vec::new();
        for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(pem.as_bytes()) {
            let (kind, der) = section.map_err(|e| e.to_string())?;
            match kind {
                SectionKind::PublicKey => keys.push(PublicKey::from_spki(&der)?),
                SectionKind::Certificate => {
                    let der = CertificateDer::from(der);
                    let (_, parsed) = x509_parser::parse_x509_certificate(&der)
                        .map_err(|e| format!("a certificate: {e}"))?;
                    keys.push(PublicKey::from_spki(parsed.public_key().raw)?);
                }
                SectionKind::RsaPrivateKey
                | SectionKind::PrivateKey
                | SectionKind::EcPrivateKey => {
                    keys.push(Signer::from_der(&der)?.public()?);
                }
                _ => {}
            }
        }
        match keys.is_empty() {
            true => Err("data does not contain any valid RSA or ECDSA public keys".to_owned()),
            false => Ok(keys),
        }
    }

    fn from_spki(der: &[u8]) -> Result<PublicKey, String> {
        let (_, info) =
            SubjectPublicKeyInfo::from_der(der).map_err(|e| format!("a public key: {e}"))?;
        let material = match info.parsed() {
            Ok(Parsed::RSA(rsa)) => {
                Material::Rsa(without_zeros(rsa.modulus), without_zeros(rsa.exponent))
            }
            Ok(Parsed::EC(point)) => {
                let point = point.data();
                let curve = CURVES.into_iter().find(|c| point.len() == 2 * c.size() + 1);
                Material::Ec(
                    curve.ok_or("a public key on an unknown curve")?,
                    point.to_vec(),
                )
            }
            _ => return Err("a public key that is neither RSA nor ECDSA".to_owned()),
        };
        Ok(PublicKey {
            id: id_of(der),
            material,
        })
    }

    /// From a JSON Web Key; nothing for kinds of keys that sign no tokens.
    pub(crate) fn from_jwk(jwk: &serde_json::Value) -> Option<PublicKey> {
        let text = |name: &str| jwk.get(name).and_then(|v| v.as_str()).unwrap_or_default();
        let bytes = |name: &str| {
            let text = text(name).trim_end_matches('=');
            URL_SAFE_NO_PAD.decode(text).ok().filter(|b| !b.is_empty())
        };
        if !matches!(text("use"), "" | "sig") {
            return None;
        }
        let material = match text("kty") {
            "RSA" => Material::Rsa(without_zeros(&bytes("n")?), without_zeros(&bytes("e")?)),
            "EC" => {
                let curve = CURVES.into_iter().find(|c| c.name() == text("crv"))?;
                let mut point = vec![4];
                for coordinate in [bytes("x")?, bytes("y")?] {
                    let missing = curve.size().checked_sub(coordinate.len())?;
                    point.extend(std::iter::repeat_n(0, missing));
                    point.extend(coordinate);
                }
                Material::Ec(curve, point)
            }
            _ => return None,
        };
        Some(PublicKey {
            id: text("kid").to_owned(),
            material,
        })
    }

    /// As a JSON Web Key.
    pub(crate) fn as_jwk(&self) -> Option<serde_json::Value> {
        Some(match &self.material {
            Material::Ec(curve, point) => {
                let (x, y) = point.get(1..)?.split_at_checked(curve.size())?;
                serde_json::json!({
                    "use": "sig", "kty": "EC", "kid": self.id, "crv": curve.name(), "alg": curve.algorithm(),
                    "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
                })
            }
            Material::Rsa(modulus, exponent) => serde_json::json!({
                "use": "sig", "kty": "RSA", "kid": self.id, "alg": "RS256",
                "n": URL_SAFE_NO_PAD.encode(modulus), "e": URL_SAFE_NO_PAD.encode(exponent),
            }),
        })
    }

    /// Whether it made this signature by this algorithm.
    pub(crate) fn verifies(&self, algorithm: &str, signed: &[u8], signature: &[u8]) -> bool {
        match &self.material {
            Material::Ec(curve, point) => {
                curve.algorithm() == algorithm
                    && UnparsedPublicKey::new(curve.verification(), point)
                        .verify(signed, signature)
                        .is_ok()
            }
            Material::Rsa(n, e) => rsa(algorithm).is_some_and(|parameters| {
                let key = RsaPublicKeyComponents { n, e };
                key.verify(parameters, signed, signature).is_ok()
            }),
        }
    }
}

fn rsa(algorithm: &str) -> Option<&'static RsaParameters> {
    Some(match algorithm {
        "RS256" => &signature::RSA_PKCS1_2048_8192_SHA256,
        "RS384" => &signature::RSA_PKCS1_2048_8192_SHA384,
        "RS512" => &signature::RSA_PKCS1_2048_8192_SHA512,
        "PS256" => &signature::RSA_PSS_2048_8192_SHA256,
        "PS384" => &signature::RSA_PSS_2048_8192_SHA384,
        "PS512" => &signature::RSA_PSS_2048_8192_SHA512,
        _ => return None,
    })
}

enum Pair {
    Ec(Curve, EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

/// A key that signs.
pub(crate) struct Signer {
    pair: Pair,
    random: SystemRandom,
}

impl Signer {
    /// The private key of a PEM file: RSA, or ECDSA on P-256, P-384 or P-521.
    pub(crate) fn parse(pem: &str) -> Result<Signer, String> {
        let der = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|e| e.to_string())?;
        Signer::from_der(der.secret_der())
    }

    fn from_der(der: &[u8]) -> Result<Signer, String> {
        let signer = |pair| Signer {
            pair,
            random: SystemRandom::new(),
        };
        for curve in CURVES {
            if let Ok(pair) = EcdsaKeyPair::from_private_key_der(curve.signing(), der) {
                return Ok(signer(Pair::Ec(curve, pair)));
            }
        }
        RsaKeyPair::from_pkcs8(der)
            .or_else(|_| RsaKeyPair::from_der(der))
            .map(|pair| signer(Pair::Rsa(pair)))
            .map_err(|_| "the private key is neither RSA nor ECDSA".to_owned())
    }

    /// Its public half.
    pub(crate) fn public(&self) -> Result<PublicKey, String> {
        let fail = |_| "derive the public key".to_owned();
        match &self.pair {
            Pair::Ec(_, pair) => {
                PublicKey::from_spki(pair.public_key().as_der().map_err(fail)?.as_ref())
            }
            Pair::Rsa(pair) => {
                PublicKey::from_spki(pair.public_key().as_der().map_err(fail)?.as_ref())
            }
        }
    }

    /// As tokens name it (`alg`).
    pub(crate) fn algorithm(&self) -> &'static str {
        match &self.pair {
            Pair::Ec(curve, _) => curve.algorithm(),
            Pair::Rsa(_) => "RS256",
        }
    }

    /// The signature of `bytes`.
    pub(crate) fn sign(&self, bytes: &[u8]) -> Result<Vec<u8>, String> {
        match &self.pair {
            Pair::Ec(_, pair) => {
                let made = pair.sign(&self.random, bytes).map_err(|e| e.to_string())?;
                Ok(made.as_ref().to_vec())
            }
            Pair::Rsa(pair) => {
                let mut made = vec![0; pair.public_modulus_len()];
                pair.sign(&signature::RSA_PKCS1_SHA256, &self.random, bytes, &mut made)
                    .map_err(|e| e.to_string())?;
                Ok(made)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(signer: &Signer) {
        let public = signer.public().unwrap();
        let made = signer.sign(b"text").unwrap();
        assert!(public.verifies(signer.algorithm(), b"text", &made));
        assert!(!public.verifies(signer.algorithm(), b"other", &made));
        assert!(
            !public.verifies("none", b"text", &made) && !public.verifies("HS256", b"text", &made)
        );
        let mut jwk = PublicKey::from_jwk(&public.as_jwk().unwrap()).unwrap();
        assert_eq!(jwk.id, public.id);
        assert!(jwk.verifies(signer.algorithm(), b"text", &made));
        jwk.id.clear();
    }

    #[test]
    fn curves() {
        for curve in CURVES {
            let der = EcdsaKeyPair::generate_pkcs8(curve.signing(), &SystemRandom::new()).unwrap();
            let signer = Signer::from_der(der.as_ref()).unwrap();
            assert_eq!(signer.algorithm(), curve.algorithm());
            check(&signer);
        }
    }

    #[test]
    fn rsa_keys() {
        let pair = RsaKeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
        let der = aws_lc_rs::encoding::AsDer::<aws_lc_rs::encoding::Pkcs8V1Der<'_>>::as_der(&pair);
        check(&Signer::from_der(der.unwrap().as_ref()).unwrap());
    }

    #[test]
    fn what_is_no_key_is_refused() {
        assert!(PublicKey::parse_all("").is_err());
        assert!(Signer::parse("nonsense").is_err());
        assert!(PublicKey::from_jwk(&serde_json::json!({"kty": "oct", "k": "AA"})).is_none());
        assert!(
            PublicKey::from_jwk(
                &serde_json::json!({"kty": "RSA", "use": "enc", "n": "AQ", "e": "AQ"})
            )
            .is_none()
        );
    }
}
