//! One etcd as a careful administrator keeps it: certificates on both sides, a prefix of its own, encryption at rest.
//! Corten's server and upstream's use it at once.

use crate::kube::KubeApiserver;
use crate::ours::Corten;
use crate::process::{certificates, etcd_with, free_port, ready};
use anyhow::{Result, ensure};
use corten_etcd::client::{Client, Config, TlsFiles};
use corten_etcd::proto::etcdserverpb as pb;
use corten_tests::eventually;
use tempfile::TempDir;

const ENCRYPTION: &str = "
apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
- resources: [secrets]
  providers: [{aesgcm: {keys: [{name: one, secret: c2VjcmV0IGlzIHNlY3VyZQ==}]}}, {identity: {}}]
- resources: [widgets.example.com]
  providers: [{secretbox: {keys: [{name: box, secret: YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXoxMjM0NTY=}]}}, {identity: {}}]
";

const WIDGETS: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: widgets, singular: widget, kind: Widget}
  versions:
  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}
";

fn widget(name: &str) -> String {
    format!(
        "{{apiVersion: example.com/v1, kind: Widget, metadata: {{name: {name}, namespace: default}}, spec: {{size: 3}}}}"
    )
}

/// What lies under a key.
async fn kept(client: &Client, key: String) -> Result<Vec<u8>> {
    let range = pb::RangeRequest {
        key: key.clone().into(),
        ..Default::default()
    };
    let found = client.range(&range).await?;
    let value = found.kvs.first().map(|kv| kv.value.to_vec());
    value.ok_or_else(|| anyhow::anyhow!("nothing is kept under {key}"))
}

pub fn a_secured_cluster_is_shared_with_upstreams_server() -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let directory = TempDir::new()?;
    certificates(directory.path())?;
    std::fs::write(directory.path().join("encryption.yaml"), ENCRYPTION)?;
    let path = |name: &str| directory.path().join(name);
    let flag = |name: &str, file: &str| format!("--{name}={}", path(file).display());
    let url = format!("https://127.0.0.1:{}", free_port()?);
    let _etcd = etcd_with(
        directory.path(),
        &url,
        free_port()?,
        &[
            flag("cert-file", "server.crt"),
            flag("key-file", "server.key"),
            flag("trusted-ca-file", "ca.crt"),
            "--client-cert-auth".to_owned(),
        ],
    )?;
    let client = Client::new(&Config {
        endpoints: vec![url.clone()],
        tls: TlsFiles {
            ca: Some(path("server.crt")),
            certificate: Some(path("client.crt")),
            key: Some(path("client.key")),
        },
    })?;
    runtime.block_on(ready(&client))?;
    let flags = [
        flag("etcd-cafile", "server.crt"),
        flag("etcd-certfile", "client.crt"),
        flag("etcd-keyfile", "client.key"),
        flag("encryption-provider-config", "encryption.yaml"),
        "--etcd-prefix=/clusters/one".to_owned(),
    ];
    let (ours, theirs) = (
        Corten::start_with(&url, &flags)?,
        KubeApiserver::start_with(&url, &flags)?,
    );
    objects(&ours, &theirs)?;
    runtime.block_on(encodings(&client))?;
    // A server that starts now reads what both have encrypted.
    let again = Corten::start_with(&url, &flags)?;
    let seen = again.kubectl("get secrets,widgets -o name", "")?;
    ensure!(seen.lines().count() == 4, "{seen}");
    // One that does not know the keys says so instead of showing less than there is.
    let ignorant = Corten::spawn(&url, &[&flags[..3], &flags[4..]].concat())?;
    eventually("it refuses to start", || {
        ensure!(ignorant.log().contains("encryption-provider-config"));
        Ok(())
    })
}

/// Secrets and custom resources of both, seen by both.
fn objects(ours: &Corten, theirs: &KubeApiserver) -> Result<()> {
    ours.kubectl("create secret generic ours --from-literal=p=of-corten", "")?;
    let data = "-o jsonpath={.data.p}";
    ensure!(theirs.kubectl(&format!("get secret ours {data}"))? == "b2YtY29ydGVu");
    theirs.kubectl("create secret generic theirs --from-literal=p=of-kube")?;
    ensure!(ours.kubectl(&format!("get secret theirs {data}"), "")? == "b2Yta3ViZQ==");
    theirs.kubectl("label secret ours by=upstream")?;
    ensure!(
        ours.kubectl("get secrets -l by=upstream -o name", "")?
            .trim()
            == "secret/ours"
    );
    ours.kubectl("apply -f -", WIDGETS)?;
    eventually("ours serves widgets", || {
        ours.kubectl("apply -f -", &widget("ours"))
    })?;
    eventually("theirs serves widgets", || {
        theirs.kubectl_with("apply -f -", &widget("theirs"))
    })?;
    let names = "get widgets -o name";
    ensure!(ours.kubectl(names, "")? == theirs.kubectl(names)?);
    ensure!(ours.kubectl(names, "")?.lines().count() == 2);
    Ok(())
}

/// What lies there is encrypted, the rest is protobuf.
async fn encodings(client: &Client) -> Result<()> {
    for name in ["ours", "theirs"] {
        let place = |resource: &str| format!("/clusters/one/{resource}/default/{name}");
        let secret = kept(client, place("secrets")).await?;
        ensure!(secret.starts_with(b"k8s:enc:aesgcm:v1:one:"), "{name}");
        let widget = kept(client, place("example.com/widgets")).await?;
        ensure!(widget.starts_with(b"k8s:enc:secretbox:v1:box:"), "{name}");
    }
    let plain = kept(client, "/clusters/one/namespaces/default".to_owned()).await?;
    ensure!(plain.starts_with(b"k8s\0"), "the namespace is no protobuf");
    Ok(())
}
