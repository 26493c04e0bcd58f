//! Client certificates: which authorities sign them and whom one stands for. The TLS layer only checks that the peer
//! holds the key; the chain is judged here, so that authorities can change under open connections and a certificate
//! of nobody's is 401 instead of a broken handshake. Invariant: a verdict is kept for as long as the certificate and
//! the authorities it was made under.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;

use corten_access::UserInfo;

use crate::Error;

/// The certificates of some authorities.
pub(crate) struct Authorities {
    /// Tells verdicts under these from those under older ones.
    generation: u64,
    verifier: Option<Arc<dyn ClientCertVerifier>>,
    /// As they were given.
    pub pem: String,
}

impl Authorities {
    /// From PEM text; without a certificate nobody is trusted.
    pub(crate) fn parse(pem: &str, generation: u64) -> Result<Authorities, Error> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            let certificate =
                certificate.map_err(|e| Error::Tls(format!("parse the client CA: {e}")))?;
            roots
                .add(certificate)
                .map_err(|e| Error::Tls(format!("trust the client CA: {e}")))?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = match roots.is_empty() {
            true => None,
            false => Some(
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                    .build()
                    .map_err(|e| Error::Tls(format!("set up client certificates: {e}")))?,
            ),
        };
        Ok(Authorities {
            generation,
            verifier,
            pem: pem.to_owned(),
        })
    }

    /// The next ones after these.
    pub(crate) fn replaced(&self, pem: &str) -> Result<Authorities, Error> {
        Authorities::parse(pem, self.generation + 1)
    }

    fn verify(&self, chain: &[CertificateDer<'static>], now: i64) -> Result<bool, String> {
        let (Some(verifier), Some((leaf, rest))) = (&self.verifier, chain.split_first()) else {
            return Ok(false);
        };
        let now = UnixTime::since_unix_epoch(Duration::from_secs(now.max(0) as u64));
        match verifier.verify_client_cert(leaf, rest, now) {
            Ok(_) => Ok(true),
            Err(why) => Err(format!("verifying certificate failed: {why}")),
        }
    }
}

/// What a verified certificate says of its holder.
#[derive(Debug)]
pub(crate) struct Holder {
    /// The subject's common name; may be empty.
    pub common_name: String,
    /// Whom it stands for; nobody without a common name.
    user: Option<Arc<UserInfo>>,
}

/// A verdict on the shown chain.
struct Verdict {
    generation: u64,
    /// Seconds since the epoch after which the certificate is over.
    until: i64,
    outcome: Result<Arc<Holder>, String>,
}

struct Shown {
    chain: Vec<CertificateDer<'static>>,
    as_client: Mutex<Option<Verdict>>,
    as_proxy: Mutex<Option<Verdict>>,
}

/// Who is at the other end of a connection.
#[derive(Clone)]
pub(crate) struct Peer {
    /// Where it calls from.
    pub address: SocketAddr,
    shown: Option<Arc<Shown>>,
}

impl Peer {
    /// A peer that showed this chain, or none.
    pub(crate) fn new(address: SocketAddr, chain: Option<&[CertificateDer<'_>]>) -> Peer {
        let chain = chain.filter(|c| !c.is_empty());
        Peer {
            address,
            shown: chain.map(|chain| {
                Arc::new(Shown {
                    chain: chain.iter().map(|c| c.clone().into_owned()).collect(),
                    as_client: Mutex::default(),
                    as_proxy: Mutex::default(),
                })
            }),
        }
    }

    /// Whether it showed a certificate, good or not.
    pub(crate) fn shows_certificate(&self) -> bool {
        self.shown.is_some()
    }

    /// The user its certificate stands for. `Err` when the chain is not good.
    pub(crate) fn user(
        &self,
        authorities: &Authorities,
        now: i64,
    ) -> Result<Option<Arc<UserInfo>>, String> {
        let Some(shown) = &self.shown else {
            return Ok(None);
        };
        let holder = judge(&shown.chain, &shown.as_client, authorities, now)?;
        Ok(holder.and_then(|h| h.user.clone()))
    }

    /// The holder of its certificate as a front proxy. `Err` when the chain is not good.
    pub(crate) fn proxy(
        &self,
        authorities: &Authorities,
        now: i64,
    ) -> Result<Option<Arc<Holder>>, String> {
        match &self.shown {
            None => Ok(None),
            Some(shown) => judge(&shown.chain, &shown.as_proxy, authorities, now),
        }
    }
}

fn judge(
    chain: &[CertificateDer<'static>],
    last: &Mutex<Option<Verdict>>,
    authorities: &Authorities,
    now: i64,
) -> Result<Option<Arc<Holder>>, String> {
    if authorities.verifier.is_none() {
        return Ok(None);
    }
    let mut last = last.lock();
    if let Some(verdict) = &*last
        && verdict.generation == authorities.generation
        && now <= verdict.until
    {
        return verdict.outcome.clone().map(Some);
    }
    let outcome = match authorities.verify(chain, now) {
        Err(why) => Err(why),
        Ok(false) => return Ok(None),
        Ok(true) => holder(&chain[0]).map(Arc::new),
    };
    *last = Some(Verdict {
        generation: authorities.generation,
        until: not_after(&chain[0]),
        outcome: outcome.clone(),
    });
    outcome.map(Some)
}

fn not_after(certificate: &CertificateDer<'_>) -> i64 {
    x509_parser::parse_x509_certificate(certificate)
        .map_or(0, |(_, parsed)| parsed.validity().not_after.timestamp())
}

/// Where a subject may carry the user's uid.
const UID: &str = "1.3.6.1.4.1.57683.2";

/// The user a verified client certificate stands for: common name, organizations and uid.
fn holder(certificate: &CertificateDer<'_>) -> Result<Holder, String> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate)
        .map_err(|e| format!("parse the client certificate: {e}"))?;
    let subject = parsed.subject();
    let name = subject
        .iter_common_name()
        .last()
        .and_then(|n| n.as_str().ok())
        .unwrap_or_default()
        .to_owned();
    if name.is_empty() {
        return Ok(Holder {
            common_name: name,
            user: None,
        });
    }
    let mut uids = subject
        .iter_attributes()
        .filter(|a| a.attr_type().to_id_string() == UID);
    let uid = match (uids.next(), uids.next()) {
        (None, _) => "",
        (Some(one), None) => one
            .as_str()
            .ok()
            .filter(|uid| !uid.is_empty())
            .ok_or("the uid of the client certificate is not a text")?,
        _ => return Err("expected 1 UID, but found multiple".to_owned()),
    };
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, certificate);
    let hex: String = digest.as_ref().iter().map(|b| format!("{b:02x}")).collect();
    let user = UserInfo {
        name: name.clone(),
        uid: uid.to_owned(),
        groups: subject
            .iter_organization()
            .filter_map(|o| o.as_str().ok())
            .map(str::to_owned)
            .collect(),
        extra: [(
            "authentication.kubernetes.io/credential-id".to_owned(),
            vec![format!("X509SHA256={hex}")],
        )]
        .into(),
    };
    Ok(Holder {
        common_name: name,
        user: Some(Arc::new(user)),
    })
}
