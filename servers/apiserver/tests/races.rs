//! Writes at the same time: quotas, service addresses and ports, and disruption budgets never give out too much.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;

use corten_api::Kind;
use corten_api::core::v1::{ConfigMap, Pod, PodCondition, ResourceQuota, Service, ServicePort};
use corten_api::policy::v1::{Eviction, PodDisruptionBudget};
use corten_apiserver::UserInfo;
use corten_client::Client;
use corten_core::Quantity;
use futures_util::future::join_all;
use support::Cluster;

fn root(cluster: &Cluster) -> Client {
    let user = UserInfo {
        name: "root".into(),
        groups: vec!["system:masters".into()],
        ..UserInfo::default()
    };
    Client::new(Arc::new(cluster.server.local(user)), "test")
}

#[test]
fn the_last_place_of_a_quota_is_given_once() {
    let cluster = Cluster::start();
    let client = root(&cluster);
    cluster.kubectl("create quota few --hard=count/configmaps=3");
    cluster.block_on(async {
        let mut quota = client.get::<ResourceQuota>("default", "few").await.unwrap();
        quota.status.hard = quota.spec.hard.clone();
        quota
            .status
            .used
            .insert("count/configmaps", Quantity::parse("0").unwrap());
        client.update_status(quota).await.unwrap();
        for name in ["a", "b"] {
            let made = ConfigMap::namespaced("default", name);
            client.create(made).await.unwrap();
        }
        let racing = (0..8).map(|i| {
            let client = client.clone();
            tokio::spawn(async move {
                let made = ConfigMap::namespaced("default", &format!("racer-{i}"));
                client.create(made).await
            })
        });
        let results: Vec<_> = join_all(racing)
            .await
            .into_iter()
            .map(Result::unwrap)
            .collect();
        assert_eq!(results.iter().filter(|r| r.is_ok()).count(), 1);
        for refused in results.into_iter().filter_map(Result::err) {
            let status = refused.status().unwrap();
            assert_eq!(status.code, 403, "{status:?}");
            assert!(status.message.contains("exceeded quota: few"), "{status:?}");
        }
        let quota = client.get::<ResourceQuota>("default", "few").await.unwrap();
        let used = quota.status.used.get("count/configmaps").unwrap();
        assert_eq!(used.to_string(), "3");
    });
}

#[test]
fn services_at_the_same_time_never_share() {
    let cluster = Cluster::start();
    let client = root(&cluster);
    cluster.block_on(async {
        let racing = (0..40).map(|i| {
            let client = client.clone();
            tokio::spawn(async move {
                let mut service = Service::namespaced("default", &format!("s{i}"));
                service.spec.type_ = "NodePort".into();
                service.spec.ports.push(ServicePort {
                    port: 80,
                    // Half of them ask for the same port.
                    node_port: if i % 2 == 0 { 30_080 } else { 0 },
                    ..ServicePort::default()
                });
                client.create(service).await
            })
        });
        let made: Vec<Service> = join_all(racing)
            .await
            .into_iter()
            .filter_map(|joined| joined.unwrap().ok())
            .collect();
        let addresses: BTreeSet<_> = made.iter().map(|s| s.spec.cluster_ip.to_string()).collect();
        let ports: BTreeSet<_> = made.iter().map(|s| s.spec.ports[0].node_port).collect();
        assert_eq!((addresses.len(), ports.len()), (made.len(), made.len()));
        let asking = made.iter().filter(|s| s.spec.ports[0].node_port == 30_080);
        assert!(asking.count() == 1 && made.len() >= 20, "{}", made.len());
    });
}

/// A ready, running pod.
async fn ready_pod(client: &Client, name: &str) {
    let mut pod = Pod::namespaced("default", name);
    pod.metadata.labels.insert("app", "web");
    pod.spec.node_name = "n1".into();
    pod.spec.containers.push(corten_api::core::v1::Container {
        name: "c".into(),
        image: "web".into(),
        ..corten_api::core::v1::Container::default()
    });
    let mut pod = client.create(pod).await.unwrap();
    pod.status.phase = "Running".into();
    pod.status.conditions.push(PodCondition {
        type_: "Ready".into(),
        status: "True".into(),
        ..PodCondition::default()
    });
    client.update_status(pod).await.unwrap();
}

#[test]
fn a_disruption_budget_limits_evictions() {
    let cluster = Cluster::start();
    let client = root(&cluster);
    cluster.kubectl("create serviceaccount default");
    cluster.kubectl("create poddisruptionbudget web --selector=app=web --min-available=2");
    cluster.block_on(async {
        let names = ["a", "b", "c"];
        for name in names {
            ready_pod(&client, name).await;
        }
        let mut budget = client
            .get::<PodDisruptionBudget>("default", "web")
            .await
            .unwrap();
        let evict = |name: &'static str| {
            let client = client.clone();
            tokio::spawn(async move {
                let eviction = Eviction::namespaced("default", name);
                client
                    .post::<Pod>("default", name, "eviction", eviction)
                    .await
            })
        };
        let early = evict("a").await.unwrap().unwrap_err();
        let details = early.status().unwrap().details.clone().unwrap();
        assert_eq!(details.retry_after_seconds, 10);
        budget.status.observed_generation = budget.metadata.generation;
        budget.status.disruptions_allowed = 1;
        budget.status.current_healthy = 2;
        budget.status.desired_healthy = 2;
        client.update_status(budget).await.unwrap();
        let results = join_all(names.map(evict)).await;
        let refused: Vec<_> = results
            .into_iter()
            .filter_map(|r| r.unwrap().err())
            .collect();
        assert_eq!(refused.len(), 2);
        for error in &refused {
            let status = error.status().unwrap();
            assert_eq!(
                (status.code, status.reason.as_str()),
                (429, "TooManyRequests")
            );
            let text = "Cannot evict pod as it would violate the pod's disruption budget.";
            assert_eq!(status.message, text);
            let cause = &status.details.as_ref().unwrap().causes[0];
            assert_eq!(cause.reason, "DisruptionBudget");
            let text = "The disruption budget web needs 2 healthy pods and has 2 currently";
            assert_eq!(cause.message, text);
        }
        let pods = client.list::<Pod>("default").await.unwrap().items;
        let pods: Vec<&Pod> = pods.iter().filter_map(|p| p.downcast_ref()).collect();
        let going = pods
            .iter()
            .filter(|p| p.metadata.deletion_timestamp.is_some());
        assert_eq!(going.count(), 1);
        let marked = |p: &&&Pod| {
            p.status
                .conditions
                .iter()
                .any(|c| c.type_ == "DisruptionTarget")
        };
        assert_eq!(pods.iter().filter(marked).count(), 1);
    });
}
