//! Reaching an aggregated server: which address its service has, TLS with the front proxy's certificate, and small
//! requests of our own. Invariant: a server that does not answer costs a bounded time, an answer a bounded size.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use corten_api::core::v1::Service;
use corten_api::discovery::v1::EndpointSlice;
use corten_meta::Snapshot;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::Request;
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio::net::TcpStream;

use super::remote::{Remote, Target};
use crate::connect::{Io, bracketed, go_error};
use crate::server::Server;

const DIAL_MAX: Duration = Duration::from_secs(5);
const ANSWER_MAX: usize = 16 * 1024 * 1024;

/// The TLS settings for a server: whom to trust, and the certificate that vouches for the user headers.
pub(super) fn tls(
    server: &Server,
    bundle: &[u8],
    skip_verification: bool,
) -> Result<Arc<rustls::ClientConfig>, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?;
    let builder = match skip_verification {
        true => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anyone(provider))),
        false => {
            let mut roots = rustls::RootCertStore::empty();
            for ca in CertificateDer::pem_slice_iter(bundle) {
                let ca = ca.map_err(|e| format!("unable to load root certificates: {e}"))?;
                roots
                    .add(ca)
                    .map_err(|e| format!("unable to load root certificates: {e}"))?;
            }
            builder.with_root_certificates(roots)
        }
    };
    let pair = &server.config.front_proxy;
    let chain = CertificateDer::pem_slice_iter(pair.certificate.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| e.to_string())?;
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).map_err(|e| e.to_string())?;
    let mut config = builder
        .with_client_auth_cert(chain, key)
        .map_err(|e| e.to_string())?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Takes any certificate: insecureSkipTLSVerify.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// An address of a service: one of its ready endpoints, else its own. None when there is neither.
pub(super) fn resolve(snapshot: &Snapshot, target: &Target, random: u64) -> Option<(String, u16)> {
    let service = snapshot.get::<Service>(&target.namespace, &target.name)?;
    if service.spec.type_ == "ExternalName" {
        return Some((service.spec.external_name.to_string(), target.port));
    }
    let port = service
        .spec
        .ports
        .iter()
        .find(|p| p.port == i32::from(target.port))?;
    let mut places = Vec::new();
    for slice in snapshot.list_in::<EndpointSlice>(&target.namespace) {
        if slice.metadata.label("kubernetes.io/service-name") != target.name {
            continue;
        }
        let number = slice
            .ports
            .iter()
            .find(|p| p.name.as_deref().unwrap_or_default() == port.name.as_str())
            .and_then(|p| u16::try_from(p.port?).ok());
        let Some(number) = number else { continue };
        let ready = slice
            .endpoints
            .iter()
            .filter(|e| e.conditions.ready != Some(false));
        places.extend(ready.filter_map(|e| Some((e.addresses.first()?.to_string(), number))));
    }
    if places.is_empty() {
        let own = service.spec.cluster_ip.as_str();
        return (!matches!(own, "" | "None")).then(|| (own.to_owned(), target.port));
    }
    let index = (random % places.len() as u64) as usize;
    Some(places.swap_remove(index))
}

/// A TLS connection to a server.
pub(super) async fn connect(remote: &Remote, host: &str, port: u16) -> Result<Box<dyn Io>, String> {
    let config = remote.tls.clone()?;
    let name = format!("{}.{}.svc", remote.target.name, remote.target.namespace);
    let name = ServerName::try_from(name).map_err(|e| e.to_string())?;
    let place = format!("{}:{port}", bracketed(host));
    let dialing = async {
        let tcp = TcpStream::connect((host, port))
            .await
            .map_err(|e| format!("dial tcp {place}: {}", go_error(&e)))?;
        let _ = tcp.set_nodelay(true);
        tokio_rustls::TlsConnector::from(config)
            .connect(name, tcp)
            .await
            .map_err(|e| format!("tls: {e}"))
    };
    match tokio::time::timeout(DIAL_MAX, dialing).await {
        Ok(stream) => Ok(Box::new(stream?)),
        Err(_) => Err(format!("dial tcp {place}: i/o timeout")),
    }
}

/// The headers that say who asks, for the front proxy's certificate to vouch for.
pub(super) fn user_headers(user: &corten_access::UserInfo) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let mut add = |name: &str, value: &str| {
        let name = HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value.as_bytes())) {
            headers.append(name, value);
        }
    };
    add("X-Remote-User", &user.name);
    if !user.uid.is_empty() {
        add("X-Remote-Uid", &user.uid);
    }
    for group in &user.groups {
        add("X-Remote-Group", group);
    }
    for (key, values) in &user.extra {
        let name = format!("X-Remote-Extra-{}", escaped(key));
        for value in values {
            add(&name, value);
        }
    }
    headers
}

/// A key of extra information as part of a header's name.
fn escaped(key: &str) -> String {
    let mut out = String::with_capacity(key.len());
    for byte in key.bytes() {
        let token = byte.is_ascii_alphanumeric() || b"!#$&'*+-.^_`|~".contains(&byte);
        match token {
            true => out.push(char::from(byte)),
            false => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// Whether a header says who somebody is, and so is never passed on from a client.
pub(super) fn is_identity(name: &HeaderName) -> bool {
    let name = name.as_str();
    matches!(name, "x-remote-user" | "x-remote-uid" | "x-remote-group")
        || name.starts_with("x-remote-extra-")
}

/// A GET of our own, as the aggregator.
pub(super) async fn get(
    remote: &Remote,
    target: (&str, u16),
    path: &str,
    accept: &str,
) -> Result<(u16, Bytes), String> {
    let aggregator = corten_access::UserInfo {
        name: "system:kube-aggregator".into(),
        groups: vec!["system:masters".into()],
        ..corten_access::UserInfo::default()
    };
    get_as(remote, target, path, accept, &aggregator).await
}

/// A GET on behalf of a user.
pub(super) async fn get_as(
    remote: &Remote,
    (host, port): (&str, u16),
    path: &str,
    accept: &str,
    user: &corten_access::UserInfo,
) -> Result<(u16, Bytes), String> {
    let io = connect(remote, host, port).await?;
    let asking = async {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(io))
            .await
            .map_err(|e| e.to_string())?;
        let driver = tokio::spawn(connection);
        let mut request = Request::get(path)
            .header("host", format!("{}:{port}", bracketed(host)))
            .header("accept", accept)
            .body(Empty::<Bytes>::new())
            .map_err(|e| e.to_string())?;
        request.headers_mut().extend(user_headers(user));
        let answer = sender
            .send_request(request)
            .await
            .map_err(|e| e.to_string())?;
        let code = answer.status().as_u16();
        let body = Limited::new(answer.into_body(), ANSWER_MAX).collect().await;
        driver.abort();
        Ok((code, body.map_err(|e| e.to_string())?.to_bytes()))
    };
    match tokio::time::timeout(DIAL_MAX, asking).await {
        Ok(answer) => answer,
        Err(_) => {
            Err("context deadline exceeded (Client.Timeout exceeded while awaiting headers)".into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extra_keys_become_header_names() {
        let mut user = corten_access::UserInfo {
            name: "jane".into(),
            groups: vec!["a".into(), "b".into()],
            ..corten_access::UserInfo::default()
        };
        user.extra
            .insert("example.com/scope".into(), vec!["x".into()]);
        let headers = user_headers(&user);
        assert_eq!(headers["x-remote-user"], "jane");
        assert_eq!(headers.get_all("x-remote-group").iter().count(), 2);
        assert_eq!(headers["x-remote-extra-example.com%2fscope"], "x");
        assert!(headers.keys().all(is_identity));
    }
}
