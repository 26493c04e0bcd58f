//! What was written is there after a restart, and revisions go on; what a server says of itself is always true.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::net::IpAddr;
use std::sync::Arc;

use corten_api::core::v1::{Endpoints, Service};
use corten_api::discovery::v1::EndpointSlice;
use corten_apiserver::{Disk, UserInfo};
use corten_client::{Client, HttpTransport, Kubeconfig, Transport, WatchRequest};
use corten_meta::GroupVersionResource;
use corten_pki::Identity;
use futures_util::StreamExt;
use support::Cluster;

#[test]
fn a_restart_keeps_everything() {
    let cluster = Cluster::start_on(|directory| Disk::Directory(directory.join("data")));
    cluster.kubectl("create configmap one --from-literal=a=b");
    cluster.kubectl("create namespace two");
    let version = cluster
        .kubectl("get configmap one -o jsonpath={.metadata.resourceVersion}:{.metadata.uid}");
    let directory = cluster.stop();
    let disk = Disk::Directory(directory.path().join("data"));
    let cluster = Cluster::start_in(directory, disk);
    let again = cluster
        .kubectl("get configmap one -o jsonpath={.metadata.resourceVersion}:{.metadata.uid}");
    assert_eq!(version, again);
    assert_eq!(
        cluster.kubectl("get namespace two -o jsonpath={.status.phase}"),
        "Active"
    );
    assert_eq!(
        cluster.kubectl("label configmap one x=y"),
        "configmap/one labeled\n"
    );
}

/// What `default/kubernetes` says of the server, as Endpoints and as a slice.
fn advertised(cluster: &Cluster) -> (Vec<String>, i32) {
    let user = UserInfo {
        name: "root".into(),
        groups: vec!["system:masters".into()],
        ..UserInfo::default()
    };
    let client = Client::new(Arc::new(cluster.server.local(user)), "test");
    cluster.block_on(async {
        let endpoints = client
            .get::<Endpoints>("default", "kubernetes")
            .await
            .unwrap();
        let slice = client
            .get::<EndpointSlice>("default", "kubernetes")
            .await
            .unwrap();
        let service = client
            .get::<Service>("default", "kubernetes")
            .await
            .unwrap();
        let subset = &endpoints.subsets[0];
        let port = subset.ports[0].port;
        assert_eq!(slice.ports[0].port, Some(port));
        assert_eq!(service.spec.ports[0].target_port, port.into());
        let addresses: Vec<String> = subset.addresses.iter().map(|a| a.ip.to_string()).collect();
        let in_slice = slice.endpoints.iter().flat_map(|e| e.addresses.iter());
        assert_eq!(
            in_slice.map(|a| a.to_string()).collect::<Vec<_>>(),
            addresses
        );
        (addresses, port)
    })
}

#[test]
fn a_restart_advertises_the_present_address() {
    let mut directory = tempfile::tempdir().unwrap();
    for last in [1, 2, 2] {
        let ip = IpAddr::from([192, 0, 2, last]);
        let disk = Disk::Directory(directory.path().join("data"));
        let cluster = Cluster::start_with(directory, disk, |c| c.advertise = Some(ip));
        let port = i32::from(cluster.server.address().port());
        assert_eq!(advertised(&cluster), (vec![ip.to_string()], port));
        directory = cluster.stop();
    }
}

#[test]
fn a_shared_server_stops_once_and_ends_watches() {
    let cluster = Cluster::start();
    let user = UserInfo {
        name: "root".into(),
        groups: vec!["system:masters".into()],
        ..UserInfo::default()
    };
    let local = cluster.server.local(user);
    let text = cluster.server.kubeconfig(&Identity::SuperAdmin).unwrap();
    let config = Kubeconfig::parse(&text, std::path::Path::new("/")).unwrap();
    let remote = HttpTransport::new(&config, "test/1").unwrap();
    cluster.block_on(async {
        let request = || WatchRequest {
            resource: GroupVersionResource::of::<Service>(),
            ..WatchRequest::default()
        };
        let mut in_process = local.watch(request()).await.unwrap();
        let mut over_https = remote.watch(request()).await.unwrap();
        tokio::join!(cluster.server.stop(), cluster.server.stop());
        cluster.server.stop().await;
        while let Some(event) = in_process.next().await {
            event.unwrap();
        }
        while let Some(event) = over_https.next().await {
            event.unwrap();
        }
    });
}
