//! Pods as network namespaces: what they reach, what reaches them, and what remains afterwards.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};

use corten_dataplane::{Attachment, HostPort, Netns, NodeRoute};
use corten_netplan::Protocol;
use support::{ask, ask_udp, ip, node, pod, serve, serve_udp, udp_client};

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn host_port(protocol: Protocol, host_ip: Option<Ipv4Addr>, host_port: u16) -> HostPort {
    HostPort {
        protocol,
        host_ip,
        host_port,
        container_port: 8080,
    }
}

#[test]
fn pods_reach_each_other_the_node_and_the_world() {
    let (node, leases) = (node(), tempfile::tempdir().unwrap());
    let pods = node.pods(leases.path());
    let (a, b) = (pod(&pods, "a", &[]), pod(&pods, "b", &[]));
    assert_eq!(
        (a.address.ip.to_string(), b.address.ip.to_string()),
        ("10.244.0.2".into(), "10.244.0.3".into())
    );
    serve(&a.netns, "a", 8080);
    serve(&node.netns, "node", 9000);
    serve(&node.outside, "outside", 9001);
    assert_eq!(ask(&b.netns, a.at(8080)), "a 10.244.0.3");
    assert_eq!(ask(&a.netns, a.at(8080)), "a 10.244.0.2");
    assert_eq!(ask(&a.netns, at("127.0.0.1:8080")), "a 127.0.0.1");
    assert_eq!(ask(&node.netns, a.at(8080)), "a 10.244.0.1");
    assert_eq!(ask(&a.netns, at("10.244.0.1:9000")), "node 10.244.0.2");
    assert_eq!(ask(&a.netns, at("192.168.7.2:9000")), "node 10.244.0.2");
    // The world does not know pods: it sees the node.
    assert_eq!(ask(&a.netns, at("192.168.7.1:9001")), "outside 192.168.7.2");
    let routes = ip(&a.netns, "route");
    assert_eq!(
        routes.split_whitespace().collect::<Vec<_>>().join(" "),
        "default via 10.244.0.1 dev eth0 proto 199 onlink"
    );
    pods.reset().unwrap();
}

#[test]
fn host_ports_lead_to_their_pods() {
    host_ports("0");
}

#[test]
fn host_ports_lead_to_their_pods_with_bridge_nf() {
    host_ports("1");
}

fn host_ports(bridge_nf: &str) {
    let (node, leases) = (node(), tempfile::tempdir().unwrap());
    let setting = "/proc/sys/net/bridge/bridge-nf-call-iptables";
    if std::path::Path::new(setting).exists() {
        node.netns
            .run(|| std::fs::write(setting, bridge_nf))
            .unwrap()
            .unwrap();
    }
    let pods = node.pods(leases.path());
    // The three pods of the conformance suite's conflict test: one port, told apart by address and protocol.
    let loopback = pod(
        &pods,
        "a",
        &[host_port(Protocol::Tcp, Some(Ipv4Addr::LOCALHOST), 54323)],
    );
    let uplink = Some(Ipv4Addr::new(192, 168, 7, 2));
    let tcp = pod(&pods, "b", &[host_port(Protocol::Tcp, uplink, 54323)]);
    let udp = pod(&pods, "c", &[host_port(Protocol::Udp, uplink, 54323)]);
    let any = pod(&pods, "d", &[host_port(Protocol::Tcp, None, 80)]);
    for (pod, name) in [
        (&loopback, "loopback"),
        (&tcp, "tcp"),
        (&udp, "udp"),
        (&any, "any"),
    ] {
        serve(&pod.netns, name, 8080);
        serve_udp(&pod.netns, name, 8080);
    }
    assert_eq!(
        ask(&node.netns, at("127.0.0.1:54323")),
        "loopback 10.244.0.1"
    );
    // The pods' network names the node's own source address as it chose it.
    assert_eq!(ask(&node.netns, at("192.168.7.2:54323")), "tcp 192.168.7.2");
    assert_eq!(
        ask(&node.outside, at("192.168.7.2:54323")),
        "tcp 192.168.7.1"
    );
    assert_eq!(
        ask_udp(&udp_client(&node.outside), at("192.168.7.2:54323")),
        "udp 192.168.7.1"
    );
    assert_eq!(ask(&node.outside, at("192.168.7.2:80")), "any 192.168.7.1");
    assert_eq!(ask(&node.netns, at("127.0.0.1:80")), "any 10.244.0.1");
    // From a pod, to another and to itself: the latter must not see its own address.
    assert_eq!(ask(&tcp.netns, at("192.168.7.2:80")), "any 10.244.0.3");
    assert_eq!(ask(&tcp.netns, at("192.168.7.2:54323")), "tcp 10.244.0.1");
    pods.detach("d").unwrap();
    assert_eq!(ask(&node.netns, at("127.0.0.1:80")), "ConnectionRefused");
    pods.reset().unwrap();
}

#[test]
fn datagrams_follow_a_host_port_to_its_new_pod() {
    let (node, leases) = (node(), tempfile::tempdir().unwrap());
    let pods = node.pods(leases.path());
    let ports = [host_port(Protocol::Udp, None, 53)];
    let client = udp_client(&node.outside);
    let first = pod(&pods, "a", &ports);
    serve_udp(&first.netns, "first", 8080);
    assert_eq!(ask_udp(&client, at("192.168.7.2:53")), "first 192.168.7.1");
    pods.detach("a").unwrap();
    let second = pod(&pods, "b", &ports);
    serve_udp(&second.netns, "second", 8080);
    assert_eq!(ask_udp(&client, at("192.168.7.2:53")), "second 192.168.7.1");
}

#[test]
fn a_restart_adopts_pods_and_removal_leaves_nothing() {
    let (node, leases) = (node(), tempfile::tempdir().unwrap());
    // Names and routes without carriers: the kernel reports those when it finds time.
    let links = || -> Vec<String> {
        let listed = ip(&node.netns, "-br link");
        listed
            .lines()
            .filter_map(|line| line.split_whitespace().next().map(str::to_owned))
            .collect()
    };
    let routes = || ip(&node.netns, "route").replace("linkdown ", "");
    let before = (links(), routes());
    let pods = node.pods(leases.path());
    let kept = pod(&pods, "kept", &[host_port(Protocol::Tcp, None, 80)]);
    let _lost = pod(&pods, "lost", &[]);
    serve(&kept.netns, "kept", 8080);
    drop(pods);
    let pods = node.pods(leases.path());
    assert_eq!(pods.address("kept"), Some(kept.address.clone()));
    assert_eq!(ask(&node.outside, at("192.168.7.2:80")), "kept 192.168.7.1");
    let live = BTreeSet::from(["kept".to_owned()]);
    assert_eq!(pods.retain(&live).unwrap(), ["lost"]);
    assert_eq!(pods.address("lost"), None);
    // Attaching anew, as after a crash half-way: same address, one link.
    let netns = Netns::anonymous().unwrap();
    let again = pods
        .attach(&Attachment {
            sandbox: "kept",
            netns: &netns.path(),
            host_ports: &[],
        })
        .unwrap();
    assert_eq!(again, kept.address);
    assert_eq!(
        ip(&node.netns, "-br link show master corten0")
            .lines()
            .count(),
        1
    );
    // A failed attachment leaves no lease behind.
    let gone = std::path::Path::new("/proc/self/fd/99999");
    assert!(
        pods.attach(&Attachment {
            sandbox: "never",
            netns: gone,
            host_ports: &[]
        })
        .is_err()
    );
    assert_eq!(pods.address("never"), None);
    pods.reset().unwrap();
    assert_eq!((links(), routes()), before);
    assert_eq!(std::fs::read_dir(leases.path()).unwrap().count(), 0);
}

#[test]
fn pods_of_two_nodes_reach_each_other_by_routes() {
    let (node, leases) = (node(), tempfile::tempdir().unwrap());
    let pods = node.pods(leases.path());
    let here = pod(&pods, "here", &[]);
    // The machine outside plays the second node.
    let config = corten_dataplane::PodNetworkConfig {
        bridge: "corten0".into(),
        pod_cidr: "10.244.1.0/24".parse().unwrap(),
        cluster_cidr: "10.244.0.0/16".parse().unwrap(),
        mtu: Some(1400),
        leases: leases.path().join("second"),
    };
    let second = node
        .outside
        .run(|| corten_dataplane::PodNetwork::open(config))
        .unwrap()
        .unwrap();
    let there = pod(&second, "there", &[]);
    serve(&there.netns, "there", 8080);
    let route = |cidr: &str, via: [u8; 4]| NodeRoute {
        pod_cidr: cidr.parse().unwrap(),
        via: via.into(),
    };
    pods.set_routes(&[
        route("10.244.1.0/24", [192, 168, 7, 1]),
        route("10.244.9.0/24", [192, 168, 7, 9]),
    ])
    .unwrap();
    second
        .set_routes(&[route("10.244.0.0/24", [192, 168, 7, 2])])
        .unwrap();
    assert_eq!(ask(&here.netns, there.at(8080)), "there 10.244.0.2");
    pods.set_routes(&[route("10.244.1.0/24", [192, 168, 7, 1])])
        .unwrap();
    assert!(!ip(&node.netns, "route").contains("10.244.9.0"));
    assert_eq!(there.address.mtu, 1400);
}

#[test]
fn many_pods_attach_at_once() {
    let (node, leases) = (node(), tempfile::tempdir().unwrap());
    let pods = node.pods(leases.path());
    let started = std::time::Instant::now();
    let made: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|t| {
                let pods = &pods;
                scope.spawn(move || {
                    (0..15)
                        .map(|n| pod(pods, &format!("pod-{t}-{n}"), &[]))
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect()
    });
    eprintln!("{} pods in {:?}", made.len(), started.elapsed());
    let distinct: BTreeSet<_> = made.iter().map(|pod| pod.address.ip).collect();
    assert_eq!(distinct.len(), 60);
    serve(&made[0].netns, "first", 8080);
    assert_eq!(
        ask(&made[59].netns, made[0].at(8080)),
        format!("first {}", made[59].address.ip)
    );
    let started = std::time::Instant::now();
    assert_eq!(pods.retain(&BTreeSet::new()).unwrap().len(), 60);
    eprintln!("detached in {:?}", started.elapsed());
    pods.reset().unwrap();
}
