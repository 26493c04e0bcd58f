//! The PKI directory of a cluster, laid out as kubeadm does (`ca.crt`, `ca.key`, `front-proxy-ca.crt`, `sa.key`,
//! `apiserver.crt`, ...). Invariant: what exists is loaded, what is missing is made, leaves near expiry are renewed.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{KeyPair, PublicKeyData};

use crate::authority::{self, Authority, Issued, Leaf, Usage};
use crate::{Error, Identity, files};

const CA_LIFETIME: Duration = Duration::from_secs(10 * 365 * 86_400);
const LEAF_LIFETIME: Duration = Duration::from_secs(365 * 86_400);

/// The key pair that signs service account tokens (ES256).
#[derive(Clone)]
pub struct ServiceAccountKeys {
    /// Private key, PEM (PKCS#8).
    pub private: String,
    /// Public key, PEM (SubjectPublicKeyInfo).
    pub public: String,
    /// Public key, DER (SubjectPublicKeyInfo): what upstream hashes into a token's `kid`.
    pub public_der: Vec<u8>,
}

/// The authorities and keys of one cluster, kept under one directory.
pub struct Pki {
    directory: PathBuf,
    /// Signs server and client certificates of the cluster.
    pub ca: Authority,
    /// Signs the client certificate shown to aggregated API servers.
    pub front_proxy_ca: Authority,
    /// Signs service account tokens.
    pub service_account: ServiceAccountKeys,
}

impl Pki {
    /// Loads the directory, making what is missing.
    pub fn open(directory: &Path, now: SystemTime) -> Result<Pki, Error> {
        Ok(Pki {
            directory: directory.to_owned(),
            ca: authority(directory, "ca", "kubernetes", now)?,
            front_proxy_ca: authority(directory, "front-proxy-ca", "front-proxy-ca", now)?,
            service_account: service_account_keys(directory)?,
        })
    }

    /// Where the files are.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The API server's serving pair. Made again when near expiry; `dns` and `ips` are its names besides the
    /// in-cluster ones (`kubernetes.default.svc...` under `cluster_domain`) and localhost.
    pub fn api_server(
        &self,
        dns: &[String],
        ips: &[IpAddr],
        cluster_domain: &str,
        now: SystemTime,
    ) -> Result<Issued, Error> {
        let mut names: Vec<String> = [
            "localhost",
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
        ]
        .map(str::to_owned)
        .into();
        names.push(format!("kubernetes.default.svc.{cluster_domain}"));
        names.extend(dns.iter().cloned());
        let mut addresses: Vec<IpAddr> = vec![
            [127, 0, 0, 1].into(),
            IpAddr::V6(std::net::Ipv6Addr::LOCALHOST),
        ];
        addresses.extend(ips.iter().filter(|ip| !ip.is_unspecified()));
        addresses.sort();
        addresses.dedup();
        let leaf = Leaf {
            common_name: "kube-apiserver".into(),
            organization: None,
            dns: names,
            ips: addresses,
            usage: Usage::Server,
            lifetime: LEAF_LIFETIME,
        };
        self.pair("apiserver", &self.ca, &leaf, now)
    }

    /// The client pair of an identity, loaded or made, renewed when near expiry.
    pub fn client(&self, identity: &Identity, now: SystemTime) -> Result<Issued, Error> {
        let ca = match identity {
            Identity::FrontProxyClient => &self.front_proxy_ca,
            _ => &self.ca,
        };
        let leaf = Leaf {
            common_name: identity.user(),
            organization: identity.group().map(str::to_owned),
            dns: Vec::new(),
            ips: Vec::new(),
            usage: Usage::Client,
            lifetime: LEAF_LIFETIME,
        };
        self.pair(&identity.file_stem(), ca, &leaf, now)
    }

    /// A kubelet's serving pair for a node reachable under `dns` and `ips`.
    pub fn kubelet_server(
        &self,
        node: &str,
        dns: &[String],
        ips: &[IpAddr],
        now: SystemTime,
    ) -> Result<Issued, Error> {
        let mut names = vec![node.to_owned()];
        names.extend(dns.iter().filter(|n| *n != node).cloned());
        let leaf = Leaf {
            common_name: format!("system:node:{node}"),
            organization: Some("system:nodes".into()),
            dns: names,
            ips: ips.to_vec(),
            usage: Usage::Server,
            lifetime: LEAF_LIFETIME,
        };
        self.pair(&format!("kubelet-{node}"), &self.ca, &leaf, now)
    }

    /// Loads `<stem>.crt` and `<stem>.key`, or issues them when missing, near expiry, of another authority or for other names.
    fn pair(
        &self,
        stem: &str,
        ca: &Authority,
        leaf: &Leaf,
        now: SystemTime,
    ) -> Result<Issued, Error> {
        let certificate = self.directory.join(format!("{stem}.crt"));
        let key = self.directory.join(format!("{stem}.key"));
        let stamp = self.directory.join(format!("{stem}.names"));
        let wanted = format!(
            "{:?} {:?} {:?} {}",
            leaf.common_name,
            leaf.dns,
            leaf.ips,
            fingerprint(ca)
        );
        if certificate.exists()
            && key.exists()
            && files::read_text(&stamp).is_ok_and(|s| s == wanted)
        {
            let text = files::read_text(&certificate)?;
            if !authority::needs_renewal(&text, stem, now)? {
                return Ok(Issued {
                    certificate: text,
                    key: files::read_text(&key)?,
                });
            }
        }
        let issued = ca.issue(leaf, now)?;
        files::write_private(&key, &issued.key)?;
        files::write_public(&certificate, &issued.certificate)?;
        files::write_public(&stamp, &wanted)?;
        Ok(issued)
    }
}

/// A short mark of an authority's certificate.
fn fingerprint(ca: &Authority) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, ca.certificate().as_bytes());
    digest.as_ref()[..8]
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect()
}

fn authority(
    directory: &Path,
    stem: &str,
    name: &str,
    now: SystemTime,
) -> Result<Authority, Error> {
    let certificate = directory.join(format!("{stem}.crt"));
    let key = directory.join(format!("{stem}.key"));
    match (certificate.exists(), key.exists()) {
        (true, true) => Authority::load(&files::read_text(&certificate)?, &files::read_text(&key)?),
        (true, false) => Err(Error::HalfPair {
            missing: key,
            present: certificate,
        }),
        (false, true) => Err(Error::HalfPair {
            missing: certificate,
            present: key,
        }),
        (false, false) => {
            let made = Authority::create(name, CA_LIFETIME, now)?;
            files::write_private(&key, made.key())?;
            files::write_public(&certificate, made.certificate())?;
            Ok(made)
        }
    }
}

fn service_account_keys(directory: &Path) -> Result<ServiceAccountKeys, Error> {
    let private = directory.join("sa.key");
    let key = if private.exists() {
        KeyPair::from_pem(&files::read_text(&private)?).map_err(|source| Error::Parse {
            what: private.display().to_string(),
            source,
        })?
    } else {
        let key = authority::generate("service accounts")?;
        files::write_private(&private, &key.serialize_pem())?;
        files::write_public(&directory.join("sa.pub"), &key.public_key_pem())?;
        key
    };
    Ok(ServiceAccountKeys {
        private: key.serialize_pem(),
        public: key.public_key_pem(),
        public_der: key.subject_public_key_info(),
    })
}
