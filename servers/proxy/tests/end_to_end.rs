//! Real connections through Services: a node and its pods as network namespaces, the proxy between them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../../../engines/dataplane/tests/support/mod.rs"]
mod support;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use corten_api::Object;
use corten_api::core::v1::Service;
use corten_api::discovery::v1::EndpointSlice;
use corten_dataplane::{Netns, PodNetwork};
use corten_meta::Snapshot;
use corten_netplan::proxy::{Node, ProxyConfig};
use corten_proxy::{Proxy, ProxyHealth, ProxyOptions};
use support::{Pod, ask, ask_udp, ip, node, pod, serve, serve_udp, silent, udp_client};
use tokio::runtime::Runtime;
use tokio::sync::watch;

/// A node with pods, a proxy that follows `state`, and what is needed to look at them.
struct Cluster {
    node: support::Node,
    pods: PodNetwork,
    state: watch::Sender<Option<Snapshot>>,
    health: ProxyHealth,
    options: ProxyOptions,
    _runtime: Runtime,
    _leases: tempfile::TempDir,
}

fn cluster() -> Cluster {
    let (node, leases) = (node(), tempfile::tempdir().unwrap());
    let pods = node.pods(leases.path());
    let config = ProxyConfig::new(
        "corten-proxy",
        "10.244.0.0/16".parse().unwrap(),
        "10.96.0.0/12".parse().unwrap(),
    );
    let options = ProxyOptions {
        config,
        node: Node::new("node-a", vec!["192.168.7.2".parse().unwrap()]),
        netns: Some(node.netns.clone()),
        healthz: Some("127.0.0.1:10256".parse().unwrap()),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let (state, source) = watch::channel(None);
    let proxy = runtime.block_on(Proxy::start(options.clone())).unwrap();
    let health = proxy.health();
    runtime.spawn(proxy.run(source));
    // The machine outside reaches Services and pods through the node.
    ip(&node.outside, "route add 10.96.0.0/12 via 192.168.7.2");
    ip(&node.outside, "route add 192.0.2.0/24 via 192.168.7.2");
    Cluster {
        node,
        pods,
        state,
        health,
        options,
        _runtime: runtime,
        _leases: leases,
    }
}

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn object(yaml: &str) -> Object {
    Object::from_value(&corten_codec::yaml::decode_value(yaml.as_bytes()).unwrap()).unwrap()
}

fn service(spec: &str) -> Service {
    let yaml = format!(
        "{{apiVersion: v1, kind: Service, metadata: {{namespace: ns, name: web}}, spec: {{{spec}}}}}"
    );
    *object(&yaml).downcast::<Service>().unwrap()
}

fn slice(protocol: &str, endpoints: &[(&Pod, &str)]) -> EndpointSlice {
    let endpoint = |(pod, node): &(&Pod, &str)| {
        format!("{{addresses: [{}], nodeName: {node}}},", pod.address.ip)
    };
    let endpoints: String = endpoints.iter().map(endpoint).collect();
    let yaml = format!(
        "{{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv4, endpoints: [{endpoints}], \
         metadata: {{namespace: ns, name: web-1, labels: {{kubernetes.io/service-name: web}}}}, \
         ports: [{{name: '', port: 8080, protocol: {protocol}}}]}}"
    );
    *object(&yaml).downcast::<EndpointSlice>().unwrap()
}

impl Cluster {
    /// Publishes a state and waits until the kernel has it: until a probe through a Service of its own answers.
    fn publish(&self, objects: impl FnOnce(&mut Snapshot)) {
        let mut snapshot = Snapshot::new();
        objects(&mut snapshot);
        let marker = MARKER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let name = format!("marker-{marker}");
        let yaml = format!(
            "{{apiVersion: v1, kind: Service, metadata: {{namespace: test, name: {name}}}, \
             spec: {{clusterIP: 10.97.0.1, ports: [{{port: {marker}, protocol: TCP}}]}}}}"
        );
        snapshot.put(*object(&yaml).downcast::<Service>().unwrap());
        self.state.send(Some(snapshot)).unwrap();
        // The marker has no endpoints: it is refused once its rules are there, and dropped before.
        let deadline = Instant::now() + Duration::from_secs(10);
        while !self
            .listed("no-endpoint-services")
            .contains(&format!("tcp . {marker} "))
        {
            assert!(Instant::now() < deadline, "the state was not applied");
            std::thread::yield_now();
        }
        assert!(self.health.is_healthy() || Instant::now() < deadline);
    }

    fn listed(&self, map: &str) -> String {
        let list = || {
            std::process::Command::new("nft")
                .args(["list", "map", "ip", "corten-proxy", map])
                .output()
        };
        String::from_utf8(self.node.netns.run(list).unwrap().unwrap().stdout).unwrap()
    }

    fn pod(&self, name: &str) -> Pod {
        let pod = pod(&self.pods, name, &[]);
        serve(&pod.netns, name, 8080);
        serve_udp(&pod.netns, name, 8080);
        pod
    }

    /// The servers that answer in many attempts.
    fn answering(&self, from: &Netns, to: SocketAddr) -> BTreeSet<String> {
        let name = |answer: String| answer.split(' ').next().unwrap_or_default().to_owned();
        (0..40).map(|_| name(ask(from, to))).collect()
    }
}

/// Distinguishes the states that tests publish; ports 20000 and up.
static MARKER: std::sync::atomic::AtomicU16 = std::sync::atomic::AtomicU16::new(20_000);

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn cluster_ip() {
    let cluster = cluster();
    let (a, b, client) = (cluster.pod("a"), cluster.pod("b"), cluster.pod("client"));
    let vip = at("10.96.0.5:80");
    let web = service("clusterIP: 10.96.0.5, ports: [{port: 80, protocol: TCP}]");
    cluster.publish(|s| {
        s.put(web.clone());
        s.put(slice("TCP", &[(&a, "node-a"), (&b, "node-a")]));
    });
    assert_eq!(cluster.answering(&client.netns, vip), names(&["a", "b"]));
    assert_eq!(
        cluster.answering(&cluster.node.netns, vip),
        names(&["a", "b"])
    );
    assert_eq!(
        cluster.answering(&cluster.node.outside, vip),
        names(&["a", "b"])
    );
    // A port of the address that the Service does not have, and an address that no Service has.
    assert_eq!(ask(&client.netns, at("10.96.0.5:81")), "ConnectionRefused");
    assert!(silent(&client.netns, at("10.96.0.99:80")));

    // One endpoint: pods keep their address, the node and the world get the bridge's, so does the endpoint itself.
    cluster.publish(|s| {
        s.put(web.clone());
        s.put(slice("TCP", &[(&a, "node-a")]));
    });
    assert_eq!(ask(&client.netns, vip), format!("a {}", client.address.ip));
    assert_eq!(ask(&cluster.node.netns, vip), "a 10.244.0.1");
    assert_eq!(ask(&cluster.node.outside, vip), "a 10.244.0.1");
    assert_eq!(ask(&a.netns, vip), "a 10.244.0.1");

    // None: refused, for everyone.
    cluster.publish(|s| {
        s.put(web.clone());
    });
    for (from, name) in [
        (&client.netns, "pod"),
        (&cluster.node.netns, "node"),
        (&cluster.node.outside, "outside"),
    ] {
        assert_eq!(ask(from, vip), "ConnectionRefused", "{name}");
    }
    Proxy::reset(&cluster.options).unwrap();
    assert_eq!(cluster.listed("no-endpoint-services"), "");
}

#[test]
fn node_ports_and_external_ips() {
    let cluster = cluster();
    let (a, b) = (cluster.pod("a"), cluster.pod("b"));
    let spec = "type: NodePort, clusterIP: 10.96.0.5, externalIPs: [192.0.2.9], \
        ports: [{port: 80, nodePort: 30080, protocol: TCP}]";
    cluster.publish(|s| {
        s.put(service(spec));
        s.put(slice("TCP", &[(&a, "node-a"), (&b, "node-a")]));
    });
    let node_port = at("192.168.7.2:30080");
    for from in [&cluster.node.outside, &cluster.node.netns, &a.netns] {
        assert_eq!(cluster.answering(from, node_port), names(&["a", "b"]));
        assert_eq!(
            cluster.answering(from, at("192.0.2.9:80")),
            names(&["a", "b"])
        );
    }
    // Only the node's own address answers on node ports, not the pods' gateway.
    assert_eq!(ask(&a.netns, at("10.244.0.1:30080")), "ConnectionRefused");

    // Local: the client's address is kept, and endpoints elsewhere are not used for the world.
    let local = format!("{spec}, externalTrafficPolicy: Local");
    cluster.publish(|s| {
        s.put(service(&local));
        s.put(slice("TCP", &[(&a, "node-a"), (&b, "node-b")]));
    });
    assert_eq!(
        cluster.answering(&cluster.node.outside, node_port),
        names(&["a"])
    );
    assert_eq!(ask(&cluster.node.outside, node_port), "a 192.168.7.1");
    assert_eq!(
        cluster.answering(&cluster.node.netns, node_port),
        names(&["a", "b"])
    );
    assert_eq!(cluster.answering(&b.netns, node_port), names(&["a", "b"]));
    cluster.publish(|s| {
        s.put(service(&local));
        s.put(slice("TCP", &[(&b, "node-b")]));
    });
    assert!(silent(&cluster.node.outside, node_port));
    assert_eq!(
        cluster.answering(&cluster.node.netns, node_port),
        names(&["b"])
    );
}

#[test]
fn load_balancers_with_source_ranges_and_health() {
    let cluster = cluster();
    let a = cluster.pod("a");
    let balancer = |ranges: &str| {
        let mut service = service(&format!(
            "type: LoadBalancer, clusterIP: 10.96.0.5, externalTrafficPolicy: Local, healthCheckNodePort: 32000, \
             loadBalancerSourceRanges: [{ranges}], ports: [{{port: 80, nodePort: 30080, protocol: TCP}}]"
        ));
        let ingress = corten_api::core::v1::LoadBalancerIngress {
            ip: "192.0.2.7".into(),
            ..Default::default()
        };
        service.status.load_balancer.ingress.push(ingress);
        service
    };
    let vip = at("192.0.2.7:80");
    cluster.publish(|s| {
        s.put(balancer("192.168.7.0/24"));
        s.put(slice("TCP", &[(&a, "node-a")]));
    });
    assert_eq!(ask(&cluster.node.outside, vip), "a 192.168.7.1");
    let health = || http(&cluster.node.outside, at("192.168.7.2:32000"), "/");
    assert!(
        health().starts_with("HTTP/1.1 200") && health().contains("\"localEndpoints\": 1"),
        "{}",
        health()
    );
    cluster.publish(|s| {
        s.put(balancer("198.51.100.0/24"));
        s.put(slice("TCP", &[(&a, "node-b")]));
    });
    assert!(silent(&cluster.node.outside, vip));
    assert!(health().starts_with("HTTP/1.1 503"), "{}", health());
    let own = http(&cluster.node.netns, at("127.0.0.1:10256"), "/healthz");
    assert!(own.starts_with("HTTP/1.1 200"), "{own}");
    cluster.publish(|_| {});
    assert_eq!(
        ask(&cluster.node.outside, at("192.168.7.2:32000")),
        "ConnectionRefused"
    );
}

fn http(from: &Netns, to: SocketAddr, path: &str) -> String {
    use std::io::{Read, Write};
    let fetch = || -> std::io::Result<String> {
        let mut stream = std::net::TcpStream::connect(to)?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    };
    from.run(fetch)
        .unwrap()
        .unwrap_or_else(|error| error.to_string())
}

#[test]
fn session_affinity_keeps_clients_where_they_were() {
    let cluster = cluster();
    let pods: Vec<Pod> = ["a", "b", "c"]
        .into_iter()
        .map(|name| cluster.pod(name))
        .collect();
    let sticky =
        "clusterIP: 10.96.0.5, sessionAffinity: ClientIP, ports: [{port: 80, protocol: TCP}]";
    let all: Vec<(&Pod, &str)> = pods.iter().map(|pod| (pod, "node-a")).collect();
    cluster.publish(|s| {
        s.put(service(sticky));
        s.put(slice("TCP", &all));
    });
    let vip = at("10.96.0.5:80");
    let client = cluster.pod("client");
    let first = cluster.answering(&client.netns, vip);
    assert_eq!(first.len(), 1);
    // Endpoints come and go: the client stays as long as its own is there.
    let kept = pods
        .iter()
        .zip(["a", "b", "c"])
        .find(|(_, name)| first.contains(*name))
        .unwrap()
        .0;
    let others: Vec<(&Pod, &str)> = all
        .iter()
        .copied()
        .filter(|(pod, _)| !std::ptr::eq(*pod, kept))
        .collect();
    cluster.publish(|s| {
        s.put(service(sticky));
        s.put(slice("TCP", &[(kept, "node-a"), others[0]]));
    });
    assert_eq!(cluster.answering(&client.netns, vip), first);
    cluster.publish(|s| {
        s.put(service(sticky));
        s.put(slice("TCP", &others));
    });
    let second = cluster.answering(&client.netns, vip);
    assert!(second.len() == 1 && second != first, "{second:?}");
}

#[test]
fn datagrams_move_to_new_endpoints() {
    let cluster = cluster();
    let (a, b, client) = (cluster.pod("a"), cluster.pod("b"), cluster.pod("client"));
    let spec =
        "type: NodePort, clusterIP: 10.96.0.5, ports: [{port: 80, nodePort: 30080, protocol: UDP}]";
    let (inside, outside) = (udp_client(&client.netns), udp_client(&cluster.node.outside));
    let (vip, node_port) = (at("10.96.0.5:80"), at("192.168.7.2:30080"));
    cluster.publish(|s| {
        s.put(service(spec));
    });
    // Sent before there is an endpoint: a flow that leads nowhere.
    inside.send_to(b"?", vip).unwrap();
    for (pod, name) in [(&a, "a"), (&b, "b")] {
        cluster.publish(|s| {
            s.put(service(spec));
            s.put(slice("UDP", &[(pod, "node-a")]));
        });
        // The rules are there; the stale flows go right after.
        for (client, to) in [(&inside, vip), (&outside, node_port)] {
            client
                .set_read_timeout(Some(Duration::from_millis(100)))
                .unwrap();
            let deadline = Instant::now() + Duration::from_secs(10);
            while !ask_udp(client, to).starts_with(name) {
                assert!(Instant::now() < deadline, "{to} does not lead to {name}");
            }
        }
    }
}

#[test]
fn back_to_back_changes_are_reachable_at_once() {
    let cluster = cluster();
    let (a, b, client) = (cluster.pod("a"), cluster.pod("b"), cluster.pod("client"));
    let vip = at("10.96.0.5:80");
    let mut slowest = Duration::ZERO;
    cluster.publish(|s| {
        s.put(service(
            "clusterIP: 10.96.0.5, ports: [{port: 80, protocol: TCP}]",
        ));
        s.put(slice("TCP", &[(&b, "node-a")]));
    });
    for round in 0..20 {
        let (pod, name) = if round % 2 == 0 { (&a, "a") } else { (&b, "b") };
        let mut snapshot = Snapshot::new();
        snapshot.put(service(
            "clusterIP: 10.96.0.5, ports: [{port: 80, protocol: TCP}]",
        ));
        snapshot.put(slice("TCP", &[(pod, "node-a")]));
        let started = Instant::now();
        cluster.state.send(Some(snapshot)).unwrap();
        while !ask(&client.netns, vip).starts_with(name) {
            assert!(started.elapsed() < Duration::from_secs(10));
        }
        slowest = slowest.max(started.elapsed());
    }
    eprintln!("slowest endpoint change to reachable: {slowest:?}");
}
