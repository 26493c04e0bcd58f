//! The way that pods ask: the Service `kube-dns` leads to the server on the node, over UDP and TCP.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../../../engines/dataplane/tests/support/mod.rs"]
mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use corten_dataplane::{Netns, PacketFilter};
use corten_dns::{DnsOptions, DnsServer};
use corten_meta::Snapshot;
use corten_netplan::dns::objects;
use corten_netplan::proxy::{Node, ProxyConfig, ProxyPlanner};
use hickory_proto::op::{Message, Query};
use hickory_proto::rr::{Name, RecordType};
use support::{node, pod, udp_client};
use tokio::sync::watch;

const SERVICE: &str = "10.96.0.10";

fn request() -> Vec<u8> {
    let name = Name::from_ascii("kube-dns.kube-system.svc.cluster.local.").unwrap();
    let mut message = Message::query();
    message.add_query(Query::query(name, RecordType::A));
    message.to_vec().unwrap()
}

fn over_udp(from: &Netns) -> String {
    let client = udp_client(from);
    client.send_to(&request(), (SERVICE, 53)).unwrap();
    let mut buffer = [0; 512];
    let (length, server) = client.recv_from(&mut buffer).unwrap();
    assert_eq!(server.to_string(), format!("{SERVICE}:53"));
    Message::from_vec(&buffer[..length]).unwrap().answers[0]
        .data
        .to_string()
}

fn over_tcp(from: &Netns) -> String {
    let mut stream = from
        .run(|| TcpStream::connect((SERVICE, 53)))
        .unwrap()
        .unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    stream
        .write_all(&[&(request().len() as u16).to_be_bytes()[..], &request()].concat())
        .unwrap();
    let mut length = [0; 2];
    stream.read_exact(&mut length).unwrap();
    let mut bytes = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut bytes).unwrap();
    Message::from_vec(&bytes).unwrap().answers[0]
        .data
        .to_string()
}

#[test]
fn pods_ask_the_node_through_the_service() {
    let (node, leases) = (node(), tempfile::tempdir().unwrap());
    let pods = node.pods(leases.path());
    let client = pod(&pods, "client", &[]);
    let listen = SocketAddr::new(pods.gateway().into(), 53);
    let mut snapshot = Snapshot::new();
    snapshot.put(objects::service(SERVICE.parse().unwrap()));
    snapshot.put(objects::slice("node-a", listen));

    let config = ProxyConfig::new(
        "corten-proxy",
        "10.244.0.0/16".parse().unwrap(),
        "10.96.0.0/12".parse().unwrap(),
    );
    let mut planner = ProxyPlanner::new(
        config,
        Node::new("node-a", vec!["192.168.7.2".parse().unwrap()]),
    );
    planner.observe(&snapshot);
    let mut filter = PacketFilter::open_in(&node.netns).unwrap();
    filter.apply(&planner.plan().rulesets[0]).unwrap();

    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let options = DnsOptions::new("cluster.local", vec![listen]);
    let server = node
        .netns
        .run(|| runtime.block_on(DnsServer::start(options)))
        .unwrap()
        .unwrap();
    let (_state, source) = watch::channel(Some(snapshot));
    runtime.spawn(server.run(source));
    for from in [&client.netns, &node.netns] {
        assert_eq!(over_udp(from), SERVICE);
        assert_eq!(over_tcp(from), SERVICE);
    }
}
