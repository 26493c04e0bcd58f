//! One certificate authority: making it, loading it, issuing leaf certificates and signing requests.
//! All keys are ECDSA P-256; loaded ones may be anything rcgen reads.

use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, SanType,
};

use crate::Error;

/// Certificates are valid from a little before they are made, for peers whose clock is behind.
const BACKDATE: Duration = Duration::from_secs(300);

/// What a leaf certificate may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// TLS server.
    Server,
    /// TLS client.
    Client,
    /// Both, e.g. a kubelet in a small cluster.
    Both,
}

/// What to put into a leaf certificate.
#[derive(Clone, Debug)]
pub struct Leaf {
    /// Common name: the user name of a client.
    pub common_name: String,
    /// Organization: the group of a client.
    pub organization: Option<String>,
    /// DNS subject alternative names.
    pub dns: Vec<String>,
    /// IP subject alternative names.
    pub ips: Vec<IpAddr>,
    /// Extended key usage.
    pub usage: Usage,
    /// Validity from now.
    pub lifetime: Duration,
}

/// A certificate with its private key, both PEM.
#[derive(Clone)]
pub struct Issued {
    /// The certificate.
    pub certificate: String,
    /// Its private key (PKCS#8).
    pub key: String,
}

/// A certificate authority with its signing key.
pub struct Authority {
    certificate: String,
    key: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// A new self-signed authority, valid for `lifetime` from `now`.
    pub fn create(
        common_name: &str,
        lifetime: Duration,
        now: SystemTime,
    ) -> Result<Authority, Error> {
        let key = generate(common_name)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, common_name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyEncipherment,
            KeyUsagePurpose::KeyCertSign,
        ];
        params.subject_alt_names = vec![SanType::DnsName(
            common_name
                .to_owned()
                .try_into()
                .map_err(|source| Error::Name {
                    name: common_name.to_owned(),
                    source,
                })?,
        )];
        set_validity(&mut params, lifetime, now);
        let certificate = params
            .self_signed(&key)
            .map_err(|source| Error::Sign {
                name: common_name.to_owned(),
                source,
            })?
            .pem();
        Authority::load(&certificate, &key.serialize_pem())
    }

    /// An authority from its PEM certificate and key.
    pub fn load(certificate: &str, key: &str) -> Result<Authority, Error> {
        let pair = KeyPair::from_pem(key).map_err(|source| Error::Parse {
            what: "the authority's key".into(),
            source,
        })?;
        let issuer =
            Issuer::from_ca_cert_pem(certificate, pair).map_err(|source| Error::Parse {
                what: "the authority's certificate".into(),
                source,
            })?;
        Ok(Authority {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            issuer,
        })
    }

    /// The authority's certificate, PEM.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// The authority's private key, PEM.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Makes a key and a certificate for it.
    pub fn issue(&self, leaf: &Leaf, now: SystemTime) -> Result<Issued, Error> {
        let key = generate(&leaf.common_name)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        if let Some(organization) = &leaf.organization {
            params
                .distinguished_name
                .push(DnType::OrganizationName, organization.as_str());
        }
        params
            .distinguished_name
            .push(DnType::CommonName, leaf.common_name.as_str());
        for name in &leaf.dns {
            let value = name.clone().try_into().map_err(|source| Error::Name {
                name: name.clone(),
                source,
            })?;
            params.subject_alt_names.push(SanType::DnsName(value));
        }
        params
            .subject_alt_names
            .extend(leaf.ips.iter().map(|ip| SanType::IpAddress(*ip)));
        set_leaf(&mut params, leaf.usage, leaf.lifetime, now);
        let certificate = params
            .signed_by(&key, &self.issuer)
            .map_err(|source| Error::Sign {
                name: leaf.common_name.clone(),
                source,
            })?;
        Ok(Issued {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        })
    }

    /// Signs a PEM certificate request as it stands (subject and names), for `usage` and `lifetime`.
    pub fn sign_request(
        &self,
        request: &str,
        usage: Usage,
        lifetime: Duration,
        now: SystemTime,
    ) -> Result<String, Error> {
        let mut request = CertificateSigningRequestParams::from_pem(request)
            .map_err(|source| Error::Request { source })?;
        set_leaf(&mut request.params, usage, lifetime, now);
        let certificate = request
            .signed_by(&self.issuer)
            .map_err(|source| Error::Sign {
                name: "the certificate request".into(),
                source,
            })?;
        Ok(certificate.pem())
    }
}

impl Authority {
    /// Signs a PEM certificate request as it stands for usages as the certificates API names them, which may be fewer or
    /// more than [`Usage`] has. The certificate ends with the authority's own at the latest.
    ///
    /// # Errors
    /// When the request cannot be read, or the key cannot sign.
    pub fn sign_for_usages(
        &self,
        request: &str,
        usages: &[&str],
        lifetime: Duration,
        now: SystemTime,
    ) -> Result<String, Error> {
        let mut request = CertificateSigningRequestParams::from_pem(request)
            .map_err(|source| Error::Request { source })?;
        let end = certificate_expiry(&self.certificate, "the authority")?;
        let left = end.duration_since(now).unwrap_or_default();
        let params = &mut request.params;
        set_leaf(params, Usage::Both, lifetime.min(left), now);
        params.key_usages = usages.iter().filter_map(|u| key_usage(u)).collect();
        params.extended_key_usages = usages.iter().filter_map(|u| extended_usage(u)).collect();
        let signed = request.signed_by(&self.issuer);
        let certificate = signed.map_err(|source| Error::Sign {
            name: "the certificate request".into(),
            source,
        })?;
        Ok(certificate.pem())
    }
}

fn key_usage(name: &str) -> Option<KeyUsagePurpose> {
    Some(match name {
        "signing" | "digital signature" => KeyUsagePurpose::DigitalSignature,
        "content commitment" => KeyUsagePurpose::ContentCommitment,
        "key encipherment" => KeyUsagePurpose::KeyEncipherment,
        "key agreement" => KeyUsagePurpose::KeyAgreement,
        "data encipherment" => KeyUsagePurpose::DataEncipherment,
        "cert sign" => KeyUsagePurpose::KeyCertSign,
        "crl sign" => KeyUsagePurpose::CrlSign,
        "encipher only" => KeyUsagePurpose::EncipherOnly,
        "decipher only" => KeyUsagePurpose::DecipherOnly,
        _ => return None,
    })
}

fn extended_usage(name: &str) -> Option<ExtendedKeyUsagePurpose> {
    Some(match name {
        "any" => ExtendedKeyUsagePurpose::Any,
        "server auth" => ExtendedKeyUsagePurpose::ServerAuth,
        "client auth" => ExtendedKeyUsagePurpose::ClientAuth,
        "code signing" => ExtendedKeyUsagePurpose::CodeSigning,
        "email protection" | "s/mime" => ExtendedKeyUsagePurpose::EmailProtection,
        "timestamping" => ExtendedKeyUsagePurpose::TimeStamping,
        "ocsp signing" => ExtendedKeyUsagePurpose::OcspSigning,
        _ => return None,
    })
}

/// A new ECDSA P-256 key.
pub(crate) fn generate(name: &str) -> Result<KeyPair, Error> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|source| Error::Generate {
        name: name.to_owned(),
        source,
    })
}

fn set_leaf(params: &mut CertificateParams, usage: Usage, lifetime: Duration, now: SystemTime) {
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::KeyEncipherment,
    ];
    params.extended_key_usages = match usage {
        Usage::Server => vec![ExtendedKeyUsagePurpose::ServerAuth],
        Usage::Client => vec![ExtendedKeyUsagePurpose::ClientAuth],
        Usage::Both => vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ],
    };
    params.use_authority_key_identifier_extension = true;
    set_validity(params, lifetime, now);
}

fn set_validity(params: &mut CertificateParams, lifetime: Duration, now: SystemTime) {
    let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let now = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds);
    params.not_before = now - BACKDATE;
    params.not_after = now + lifetime;
}

/// (not before, not after) of a PEM certificate.
fn validity(certificate: &str, what: &str) -> Result<(SystemTime, SystemTime), Error> {
    let fail = |detail: String| Error::Certificate {
        what: what.to_owned(),
        detail,
    };
    let (_, pem) = x509_parser::pem::parse_x509_pem(certificate.as_bytes())
        .map_err(|e| fail(e.to_string()))?;
    let parsed = pem.parse_x509().map_err(|e| fail(e.to_string()))?;
    let at = |t: i64| UNIX_EPOCH + Duration::from_secs(u64::try_from(t).unwrap_or(0));
    let validity = parsed.validity();
    Ok((
        at(validity.not_before.timestamp()),
        at(validity.not_after.timestamp()),
    ))
}

/// When a PEM certificate expires. `what` names it in errors.
pub fn certificate_expiry(certificate: &str, what: &str) -> Result<SystemTime, Error> {
    validity(certificate, what).map(|(_, end)| end)
}

/// Whether a PEM certificate is expired or has less than a fifth of its lifetime left.
pub fn needs_renewal(certificate: &str, what: &str, now: SystemTime) -> Result<bool, Error> {
    let (start, end) = validity(certificate, what)?;
    let whole = end.duration_since(start).unwrap_or_default();
    let left = end.duration_since(now).unwrap_or_default();
    Ok(left < whole / 5)
}
