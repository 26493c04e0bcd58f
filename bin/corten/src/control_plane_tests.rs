//! Two control planes on one etcd: one leads, and the other one follows when it stops or falls silent.

use super::*;
use corten_api::Kind;
use corten_api::coordination::v1::Lease;
use corten_api::core::v1::{ConfigMap, Namespace};
use corten_apiserver::{Config, Disk, EtcdConfig};
use corten_client::Mirror;
use corten_etcd::mvcc::StoreOptions;
use corten_etcd_server::{ClientAuth, Serving, TlsFiles};
use std::path::Path;

/// Short, so that nobody waits long, and long enough for a busy machine.
const TERMS: Terms = Terms {
    lease: Duration::from_secs(8),
    renewal: Duration::from_secs(6),
    retry: Duration::from_millis(200),
};

async fn face(directory: &Path) -> Serving {
    let config = corten_etcd_server::Config {
        store: StoreOptions::new(directory.join("etcd")),
        listen: vec!["http://127.0.0.1:0".to_owned()],
        advertise: Vec::new(),
        name: "default".to_owned(),
        tls: TlsFiles {
            certificate: None,
            key: None,
            trusted_ca: None,
            client_auth: ClientAuth::None,
        },
        progress_notify: Duration::from_secs(600),
    };
    Serving::start(config).await.unwrap()
}

async fn server(directory: &Path, etcd: &str) -> Arc<ApiServer> {
    let etcd = EtcdConfig {
        client: corten_etcd::client::Config {
            endpoints: vec![etcd.to_owned()],
            ..Default::default()
        },
        prefix: "/registry".to_owned(),
        compaction_interval: Duration::ZERO,
    };
    let config = Config::new(directory.join("pki"), Disk::Etcd(etcd));
    Arc::new(ApiServer::start(config).await.unwrap())
}

/// Who holds a lease, once that is somebody who fits, and the number of terms before theirs.
async fn holder(client: &Client, name: &str, fits: impl Fn(&str) -> bool) -> (String, i32) {
    let mirror = Mirror::builder().resource::<Lease>();
    let mirror = mirror.start(client.transport().clone());
    let mut changes = mirror.changes();
    let found = async {
        mirror.wait_synced().await;
        loop {
            let snapshot = mirror.snapshot();
            if let Some(lease) = snapshot.get::<Lease>(NAMESPACE, name) {
                let holder = lease.spec.holder_identity.as_deref().unwrap_or_default();
                if fits(holder) {
                    return (holder.to_owned(), lease.spec.lease_transitions.unwrap_or(0));
                }
            }
            let _ = changes.recv().await;
        }
    };
    let found = tokio::time::timeout(Duration::from_secs(60), found).await;
    found.expect("somebody leads within a minute")
}

/// That controllers run: a new namespace gets the certificate of the cluster's authority.
async fn controllers_work(client: &Client, name: &str) {
    let mirror = Mirror::builder().resource::<ConfigMap>();
    let mirror = mirror.start(client.transport().clone());
    let mut changes = mirror.changes();
    let mut namespace = Namespace::default();
    namespace.meta_mut().name = name.into();
    client.create(namespace).await.unwrap();
    let works = async {
        mirror.wait_synced().await;
        while mirror
            .snapshot()
            .get::<ConfigMap>(name, "kube-root-ca.crt")
            .is_none()
        {
            let _ = changes.recv().await;
        }
    };
    let works = tokio::time::timeout(Duration::from_secs(60), works).await;
    works.expect("controllers work within a minute");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_two_on_one_etcd_leads() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let directory = tempfile::tempdir().unwrap();
    let face = face(directory.path()).await;
    let url = face.urls()[0].clone();
    let (first, second) = (
        server(&directory.path().join("a"), &url).await,
        server(&directory.path().join("b"), &url).await,
    );
    let client = client(&first, api_server(), "test");
    let a = ControlPlane::elect(&first, "10.96.0.0/16", "a", TERMS);
    for name in [CONTROLLERS, SCHEDULER] {
        let (leader, terms) = holder(&client, name, |holder| !holder.is_empty()).await;
        assert!(leader.starts_with("a_") && terms == 0, "{leader} {terms}");
    }
    controllers_work(&client, "first").await;

    // The second one waits, and leads as soon as the first one gives up.
    let b = ControlPlane::elect(&second, "10.96.0.0/16", "b", TERMS);
    controllers_work(&client, "second").await;
    let (leader, _) = holder(&client, CONTROLLERS, |holder| !holder.is_empty()).await;
    assert!(leader.starts_with("a_"), "{leader}");
    a.stop().await;
    for name in [CONTROLLERS, SCHEDULER] {
        let (leader, terms) = holder(&client, name, |holder| !holder.is_empty()).await;
        assert!(leader.starts_with("b_") && terms == 1, "{leader} {terms}");
    }
    controllers_work(&client, "third").await;

    // One that falls silent is followed when its lease is over.
    drop(b);
    let c = ControlPlane::elect(&first, "10.96.0.0/16", "c", TERMS);
    let (_, terms) = holder(&client, CONTROLLERS, |holder| holder.starts_with("c_")).await;
    assert_eq!(terms, 2);
    controllers_work(&client, "fourth").await;
    c.stop().await;
}
