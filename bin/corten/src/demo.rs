//! The demo application: the guestbook's manifests, applied in process, and the address at which it answers.

use crate::control_plane::{client, user_of};
use anyhow::{Context, Result, bail};
use corten_api::apps::v1::Deployment;
use corten_api::core::v1::{Namespace, Service};
use corten_apiserver::ApiServer;
use corten_client::{Body, Client, Options, PatchKind, Request, Verb};
use corten_core::Value;
use corten_meta::GroupVersionResource;
use corten_pki::Identity;
use std::net::IpAddr;
use std::sync::Arc;

const MANIFESTS: &str = include_str!("../../../examples/guestbook/guestbook.yaml");

/// Applies the manifests and tells the URL of the web tier.
pub async fn deploy(server: &Arc<ApiServer>, node_ip: IpAddr) -> Result<String> {
    let client = client(server, user_of(&Identity::Admin), "corten-demo");
    let documents = corten_codec::yaml::decode_documents(MANIFESTS.as_bytes())
        .context("the demo's manifests")?;
    let mut port = None;
    for document in documents.iter().filter(|d| d.as_map().is_some()) {
        port = apply(&client, document).await?.or(port);
    }
    match port {
        Some(port) => Ok(format!("http://{node_ip}:{port}/")),
        None => bail!("the demo's manifests hold no NodePort service"),
    }
}

async fn apply(client: &Client, document: &Value) -> Result<Option<i32>> {
    let (kind, name) = (
        document.str_at(&["kind"]),
        document.str_at(&["metadata", "name"]),
    );
    let namespace = match (kind, document.str_at(&["metadata", "namespace"])) {
        ("Namespace", _) => "",
        (_, "") => "default",
        (_, given) => given,
    };
    let resource = match kind {
        "Deployment" => GroupVersionResource::of::<Deployment>(),
        "Namespace" => GroupVersionResource::of::<Namespace>(),
        "Service" => GroupVersionResource::of::<Service>(),
        other => bail!("the demo's manifests hold a {other}, which the demo does not apply"),
    };
    let request = Request {
        verb: Verb::Patch,
        resource,
        subresource: String::new(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        body: Body::Patch(PatchKind::Apply, document.to_string().into()),
        options: Options {
            field_manager: "corten-demo".to_owned(),
            force: true,
            ..Options::default()
        },
    };
    let object = client
        .transport()
        .call(request)
        .await
        .with_context(|| format!("cannot apply {kind} {name}"))?;
    let service = object
        .downcast_ref::<Service>()
        .filter(|s| s.spec.type_ == "NodePort");
    Ok(service
        .and_then(|s| s.spec.ports.first())
        .map(|p| p.node_port))
}
