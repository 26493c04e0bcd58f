//! Who may do what, over HTTPS and in process alike.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::sync::Arc;

use corten_api::Kind;
use corten_api::core::v1::{ConfigMap, Pod, ServiceAccount};
use corten_apiserver::UserInfo;
use corten_client::{Client, HttpTransport, Kubeconfig, Mirror, Options};
use corten_meta::{GroupVersionResource, Revision};
use corten_pki::Identity;
use support::Cluster;

fn user(name: &str, groups: &[&str]) -> UserInfo {
    UserInfo {
        name: name.into(),
        groups: groups.iter().map(|g| (*g).to_owned()).collect(),
        ..UserInfo::default()
    }
}

#[test]
fn rbac_holds_for_everyone() {
    let cluster = Cluster::start();
    let said = cluster.run(&["get", "pods", "--as=jane"], "");
    let expected = "Error from server (Forbidden): pods is forbidden: User \"jane\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\"\n";
    assert_eq!(said.err, expected);
    cluster.kubectl("create role reader --verb=get,list --resource=pods");
    cluster.kubectl("create rolebinding jane --role=reader --user=jane");
    assert_eq!(cluster.kubectl("auth can-i list pods --as=jane"), "yes\n");
    assert!(cluster.run(&["get", "pods", "--as=jane"], "").ok);
    let jane = Client::new(Arc::new(cluster.server.local(user("jane", &[]))), "test");
    cluster.block_on(async {
        assert_eq!(jane.list::<Pod>("default").await.unwrap().items.len(), 0);
        let refused = jane
            .create(ConfigMap::namespaced("default", "x"))
            .await
            .unwrap_err();
        assert_eq!(refused.status().unwrap().code, 403);
    });
}

#[test]
fn a_token_speaks_for_its_account() {
    let cluster = Cluster::start();
    cluster.kubectl("create serviceaccount robot");
    let token = cluster.kubectl("create token robot").trim().to_owned();
    let who = cluster.run(
        &[
            "auth",
            "whoami",
            "-o",
            "jsonpath={.status.userInfo.username}",
            "--token",
            &token,
        ],
        "",
    );
    // The client certificate of the kubeconfig comes first, as with upstream.
    assert!(who.ok, "{who:?}");
    let config = Kubeconfig {
        server: cluster.server.url(),
        certificate_authority: cluster.server.pki().ca.certificate().to_owned(),
        token,
        ..Kubeconfig::default()
    };
    let client = Client::new(
        Arc::new(HttpTransport::new(&config, "test/1").unwrap()),
        "test",
    );
    cluster.block_on(async {
        let refused = client
            .get::<ServiceAccount>("default", "robot")
            .await
            .unwrap_err();
        let message = refused.status().unwrap().message.clone();
        assert!(
            message.contains("system:serviceaccount:default:robot"),
            "{message}"
        );
    });
    cluster.kubectl("delete serviceaccount robot");
    cluster.block_on(async {
        let refused = client
            .get::<ServiceAccount>("default", "robot")
            .await
            .unwrap_err();
        assert_eq!(refused.status().unwrap().code, 401);
    });
}

#[test]
fn tokens_are_kept_in_secrets_that_ask_for_one() {
    let cluster = Cluster::start();
    cluster.block_on(async { cluster.server.keep_secret_tokens() });
    cluster.kubectl("create serviceaccount robot");
    let secret = |name: &str, account: &str| {
        format!(
            "apiVersion: v1\nkind: Secret\ntype: kubernetes.io/service-account-token\nmetadata: {{name: {name}, annotations: {{kubernetes.io/service-account.name: {account}}}}}\n"
        )
    };
    cluster.kubectl_with("apply -f -", &secret("kept", "robot"));
    cluster.kubectl("wait secret/kept --for=jsonpath={.data.token} --timeout=60s");
    let text = |key: &str| {
        use base64::Engine as _;
        let data = cluster.kubectl(&format!("get secret kept -o jsonpath={{.data.{key}}}"));
        let bytes = base64::engine::general_purpose::STANDARD.decode(data);
        String::from_utf8(bytes.unwrap()).unwrap()
    };
    assert_eq!(text("namespace"), "default");
    let ca = text("ca\\.crt");
    assert_eq!(ca, cluster.server.pki().ca.certificate());
    let token = text("token");
    let config = Kubeconfig {
        server: cluster.server.url(),
        certificate_authority: ca,
        token,
        ..Kubeconfig::default()
    };
    let client = Client::new(
        Arc::new(HttpTransport::new(&config, "test/1").unwrap()),
        "test",
    );
    let code = async || {
        let read = client.get::<ServiceAccount>("default", "robot").await;
        read.unwrap_err().status().unwrap().code
    };
    cluster.block_on(async { assert_eq!(code().await, 403) });
    // Its use is noted on the secret, and a mark makes it invalid.
    cluster.kubectl("wait secret/kept --for=jsonpath={.metadata.labels.kubernetes\\.io/legacy-token-last-used} --timeout=60s");
    cluster.kubectl("label secret kept kubernetes.io/legacy-token-invalid-since=2024-01-01");
    cluster.block_on(async { assert_eq!(code().await, 401) });
    cluster.kubectl("label secret kept kubernetes.io/legacy-token-invalid-since-");
    cluster.block_on(async { assert_eq!(code().await, 403) });
    // The secret goes with its account, and one for nobody goes too.
    cluster.kubectl_with("apply -f -", &secret("stray", "nobody"));
    cluster.kubectl("delete serviceaccount robot");
    cluster.kubectl("wait secret/kept secret/stray --for=delete --timeout=60s");
    cluster.block_on(async { assert_eq!(code().await, 401) });
}

/// Both transports: a mirror that sees what is written through the client.
fn follow(cluster: &Cluster, client: Client) {
    cluster.block_on(async {
        let mirror = Mirror::builder()
            .resource::<ConfigMap>()
            .start(client.transport().clone());
        mirror.wait_synced().await;
        let mut made = client
            .create(ConfigMap::namespaced("default", "m"))
            .await
            .unwrap();
        made.data.insert("a", "b");
        let updated = client.update(made.clone()).await.unwrap();
        let lost = client.update(made).await.unwrap_err();
        assert!(lost.is_conflict(), "{lost}");
        let revision = Revision::parse(&updated.metadata.resource_version).unwrap();
        let resource = GroupVersionResource::of::<ConfigMap>();
        mirror.wait_until(&resource, revision).await;
        let snapshot = mirror.snapshot();
        let seen = snapshot.get::<ConfigMap>("default", "m").unwrap();
        assert_eq!(seen.data.get("a").map(|v| v.as_str()), Some("b"));
        let mut marker = mirror.marker();
        client
            .delete::<ConfigMap>("default", "m", Options::default())
            .await
            .unwrap();
        let mut now = mirror.snapshot();
        while now.get::<ConfigMap>("default", "m").is_some() {
            now = mirror.changed(&mut marker).await;
        }
    });
}

#[test]
fn a_mirror_follows_in_process() {
    let cluster = Cluster::start();
    let local = cluster.server.local(user("root", &["system:masters"]));
    follow(&cluster, Client::new(Arc::new(local), "test"));
}

#[test]
fn a_mirror_follows_over_https() {
    let cluster = Cluster::start();
    let text = cluster.server.kubeconfig(&Identity::SuperAdmin).unwrap();
    let config = Kubeconfig::parse(&text, std::path::Path::new("/")).unwrap();
    let transport = HttpTransport::new(&config, "test/1").unwrap();
    follow(&cluster, Client::new(Arc::new(transport), "test"));
}
