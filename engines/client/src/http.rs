//! The transport over HTTPS: one multiplexed HTTP/2 connection that is made again when it breaks. Protobuf for built-in
//! kinds, JSON for the rest. Left out: proxies, HTTP/1.1 servers.

mod wire;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use corten_api::Object;
use corten_core::Value;
use corten_meta::{GroupVersionResource, Revision};
use http::{HeaderValue, Method, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio_rustls::TlsConnector;

use crate::kubeconfig::Kubeconfig;
use crate::transport::{
    Body, Error, ListAnswer, Options, PatchKind, Propagation, Request, Transport, Verb,
    WatchRequest, WatchStream,
};

const CONNECT_MAX: Duration = Duration::from_secs(10);

/// Requests to a remote API server under the identity of a kubeconfig.
pub struct HttpTransport {
    host: String,
    port: u16,
    connector: TlsConnector,
    authorization: Option<HeaderValue>,
    agent: HeaderValue,
    sender: Mutex<Option<SendRequest<Full<Bytes>>>>,
}

fn broken(what: impl std::fmt::Display) -> Error {
    Error::Connection(what.to_string())
}

impl HttpTransport {
    /// Prepares requests as `agent` (the User-Agent); nothing is connected yet.
    pub fn new(config: &Kubeconfig, agent: &str) -> Result<HttpTransport, Error> {
        let rest = config
            .server
            .strip_prefix("https://")
            .ok_or_else(|| broken("the server's URL is not https"))?;
        let authority: http::uri::Authority = rest.parse().map_err(broken)?;
        let mut roots = rustls::RootCertStore::empty();
        for ca in CertificateDer::pem_slice_iter(config.certificate_authority.as_bytes()) {
            roots.add(ca.map_err(broken)?).map_err(broken)?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(broken)?
            .with_root_certificates(roots);
        let mut tls = if config.client_certificate.is_empty() {
            builder.with_no_client_auth()
        } else {
            let chain = CertificateDer::pem_slice_iter(config.client_certificate.as_bytes())
                .collect::<Result<Vec<_>, _>>()
                .map_err(broken)?;
            let key =
                PrivateKeyDer::from_pem_slice(config.client_key.as_bytes()).map_err(broken)?;
            builder.with_client_auth_cert(chain, key).map_err(broken)?
        };
        tls.alpn_protocols = vec![b"h2".to_vec()];
        let authorization = match config.token.is_empty() {
            true => None,
            false => {
                Some(HeaderValue::from_str(&format!("Bearer {}", config.token)).map_err(broken)?)
            }
        };
        Ok(HttpTransport {
            host: authority.host().trim_matches(['[', ']']).to_owned(),
            port: authority.port_u16().unwrap_or(443),
            connector: TlsConnector::from(Arc::new(tls)),
            authorization,
            agent: HeaderValue::from_str(agent).map_err(broken)?,
            sender: Mutex::new(None),
        })
    }

    async fn sender(&self) -> Result<SendRequest<Full<Bytes>>, Error> {
        let mut kept = self.sender.lock().await;
        if let Some(sender) = kept.as_ref().filter(|s| !s.is_closed()) {
            return Ok(sender.clone());
        }
        let sender = tokio::time::timeout(CONNECT_MAX, self.connect())
            .await
            .map_err(broken)??;
        *kept = Some(sender.clone());
        Ok(sender)
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, Error> {
        let stream = TcpStream::connect((self.host.as_str(), self.port))
            .await
            .map_err(broken)?;
        let _ = stream.set_nodelay(true);
        let name = ServerName::try_from(self.host.clone()).map_err(broken)?;
        let stream = self.connector.connect(name, stream).await.map_err(broken)?;
        let (sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(Duration::from_secs(30))
            .initial_stream_window_size(4 * 1024 * 1024)
            .initial_connection_window_size(16 * 1024 * 1024)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(broken)?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection to the API server");
            }
        });
        Ok(sender)
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        content_type: Option<&'static str>,
        body: Bytes,
    ) -> Result<http::Response<Incoming>, Error> {
        let host = if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        };
        let uri = format!("https://{host}:{}{path}", self.port);
        let mut builder = http::Request::builder()
            .method(method)
            .uri(uri)
            .header(
                header::ACCEPT,
                "application/vnd.kubernetes.protobuf,application/json",
            )
            .header(header::USER_AGENT, self.agent.clone());
        if let Some(value) = &self.authorization {
            builder = builder.header(header::AUTHORIZATION, value.clone());
        }
        if let Some(kind) = content_type {
            builder = builder.header(header::CONTENT_TYPE, kind);
        }
        let request = builder.body(Full::new(body)).map_err(broken)?;
        let mut sender = self.sender().await?;
        sender.ready().await.map_err(broken)?;
        let answer = sender.send_request(request).await.map_err(broken)?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let code = answer.status().as_u16();
        let protobuf = is_protobuf(&answer);
        let body = answer
            .into_body()
            .collect()
            .await
            .map_err(broken)?
            .to_bytes();
        Err(wire::refusal(code, protobuf, &body))
    }
}

fn is_protobuf(answer: &http::Response<Incoming>) -> bool {
    let kind = answer
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|v| v.to_str().ok());
    kind.is_some_and(|k| k.starts_with("application/vnd.kubernetes.protobuf"))
}

fn path(resource: &GroupVersionResource, namespace: &str, name: &str, subresource: &str) -> String {
    let mut path = match resource.group.is_empty() {
        true => format!("/api/{}", resource.version),
        false => format!("/apis/{}/{}", resource.group, resource.version),
    };
    if !namespace.is_empty() && &*resource.resource != "namespaces" {
        path.push_str(&format!("/namespaces/{namespace}"));
    }
    path.push_str(&format!("/{}", resource.resource));
    for part in [name, subresource].into_iter().filter(|p| !p.is_empty()) {
        path.push('/');
        path.push_str(&escape(part));
    }
    path
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(byte))
            }
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

fn query(options: &Options, body: &Body) -> String {
    let mut parts = Vec::new();
    if options.dry_run {
        parts.push("dryRun=All".to_owned());
    }
    if !options.field_manager.is_empty() {
        parts.push(format!("fieldManager={}", escape(&options.field_manager)));
    }
    if options.force && matches!(body, Body::Patch(PatchKind::Apply, _)) {
        parts.push("force=true".to_owned());
    }
    if parts.is_empty() {
        String::new()
    } else {
        format!("?{}", parts.join("&"))
    }
}

/// The DeleteOptions that a deletion sends as its body.
fn delete_body(options: &Options) -> Bytes {
    let mut body = Value::Map(corten_core::ValueMap::default());
    body.set(&["apiVersion"], "v1");
    body.set(&["kind"], "DeleteOptions");
    if let Some(seconds) = options.grace_period_seconds {
        body.set(&["gracePeriodSeconds"], Value::Int(seconds));
    }
    let policy = options.propagation.map(|p| match p {
        Propagation::Orphan => "Orphan",
        Propagation::Background => "Background",
        Propagation::Foreground => "Foreground",
    });
    if let Some(policy) = policy {
        body.set(&["propagationPolicy"], policy);
    }
    if let Some(uid) = &options.preconditions.uid {
        body.set(&["preconditions", "uid"], uid.as_str());
    }
    if let Some(version) = &options.preconditions.resource_version {
        body.set(&["preconditions", "resourceVersion"], version.as_str());
    }
    if options.dry_run {
        body.set(&["dryRun"], Value::List(vec![Value::from("All")]));
    }
    corten_codec::json::encode_value(&body).into()
}

fn list_query(request: &WatchRequest) -> Vec<String> {
    let mut parts = Vec::new();
    if !request.label_selector.is_empty() {
        parts.push(format!("labelSelector={}", escape(&request.label_selector)));
    }
    if !request.field_selector.is_empty() {
        parts.push(format!("fieldSelector={}", escape(&request.field_selector)));
    }
    if let Some(Revision(revision)) = request.revision {
        parts.push(format!("resourceVersion={revision}"));
    }
    parts
}

#[async_trait]
impl Transport for HttpTransport {
    async fn call(&self, request: Request) -> Result<Arc<Object>, Error> {
        let mut path = path(
            &request.resource,
            &request.namespace,
            &request.name,
            &request.subresource,
        );
        let (method, content_type, body) = match (&request.verb, &request.body) {
            (Verb::Get, _) => (Method::GET, None, Bytes::new()),
            (Verb::Delete, _) => (
                Method::DELETE,
                Some("application/json"),
                delete_body(&request.options),
            ),
            (Verb::Patch, Body::Patch(kind, patch)) => {
                (Method::PATCH, Some(kind.content_type()), patch.clone())
            }
            (verb, Body::Object(object)) => {
                let method = if *verb == Verb::Update {
                    Method::PUT
                } else {
                    Method::POST
                };
                let (content_type, bytes) = wire::encode(object)?;
                (method, Some(content_type), bytes)
            }
            (verb, _) => return Err(broken(format!("a {verb:?} request needs a body"))),
        };
        if !matches!(request.verb, Verb::Get | Verb::Delete) {
            path.push_str(&query(&request.options, &request.body));
        }
        let answer = self.send(method, &path, content_type, body).await?;
        let protobuf = is_protobuf(&answer);
        let body = answer
            .into_body()
            .collect()
            .await
            .map_err(broken)?
            .to_bytes();
        wire::object(protobuf, &body).map(Arc::new)
    }

    async fn list(&self, request: WatchRequest) -> Result<ListAnswer, Error> {
        let mut path = path(&request.resource, &request.namespace, "", "");
        let parts = list_query(&request);
        if !parts.is_empty() {
            path.push('?');
            path.push_str(&parts.join("&"));
        }
        let answer = self.send(Method::GET, &path, None, Bytes::new()).await?;
        let protobuf = is_protobuf(&answer);
        let body = answer
            .into_body()
            .collect()
            .await
            .map_err(broken)?
            .to_bytes();
        wire::list(protobuf, &body)
    }

    async fn watch(&self, request: WatchRequest) -> Result<WatchStream, Error> {
        let mut parts = list_query(&request);
        parts.push("watch=1".to_owned());
        parts.push("allowWatchBookmarks=true".to_owned());
        let path = format!(
            "{}?{}",
            path(&request.resource, &request.namespace, "", ""),
            parts.join("&")
        );
        let answer = self.send(Method::GET, &path, None, Bytes::new()).await?;
        let protobuf = is_protobuf(&answer);
        let frames = wire::Frames::new(protobuf);
        let stream = futures_util::stream::unfold(
            (answer.into_body(), frames),
            |(mut body, mut frames)| async move {
                loop {
                    if let Some(event) = frames.next() {
                        return Some((event, (body, frames)));
                    }
                    match body.frame().await? {
                        Ok(frame) => {
                            frames.push(frame.data_ref().map(|b| &b[..]).unwrap_or_default())
                        }
                        Err(error) => {
                            return Some((Err(broken(error)), (body, wire::Frames::ended())));
                        }
                    }
                }
            },
        );
        Ok(Box::pin(stream))
    }
}
