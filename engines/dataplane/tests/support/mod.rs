//! A node and pods as network namespaces, and real connections between them. Nothing here touches the machine's own.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test program uses its own part, and one that cannot go on has failed"
)]

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use corten_dataplane::{Attachment, HostPort, Netns, PodAddress, PodNetwork, PodNetworkConfig};

/// Far longer than anything takes; only a failing test waits for it.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a test waits to see that no answer comes.
const SILENCE: Duration = Duration::from_millis(300);

/// Runs `ip` in a namespace.
pub fn ip(netns: &Netns, arguments: &str) -> String {
    let command = || {
        Command::new("ip")
            .args(arguments.split_whitespace())
            .output()
    };
    let output = netns.run(command).unwrap().unwrap();
    assert!(
        output.status.success(),
        "ip {arguments}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// A node with the address 192.168.7.2, and a machine outside with 192.168.7.1 that knows no pods.
pub struct Node {
    pub netns: Netns,
    pub outside: Netns,
}

pub fn node() -> Node {
    let node = Node {
        netns: Netns::anonymous().unwrap(),
        outside: Netns::anonymous().unwrap(),
    };
    let peer = node.outside.path();
    // `ip` is another process: it opens the namespace through this one's descriptor.
    let peer = peer
        .to_str()
        .unwrap()
        .replace("self", &std::process::id().to_string());
    ip(&node.netns, "link set lo up");
    ip(&node.outside, "link set lo up");
    ip(
        &node.netns,
        &format!("link add uplink type veth peer name eth0 netns {peer}"),
    );
    ip(&node.netns, "addr add 192.168.7.2/24 dev uplink");
    ip(&node.netns, "link set uplink up");
    ip(&node.outside, "addr add 192.168.7.1/24 dev eth0");
    ip(&node.outside, "link set eth0 up");
    ip(&node.netns, "route add default via 192.168.7.1");
    // A refusal would share its rate limit with the redirect that a packet gets which leaves where it came in.
    let redirects = || std::fs::write("/proc/sys/net/ipv4/conf/uplink/send_redirects", "0");
    node.netns.run(redirects).unwrap().unwrap();
    node
}

impl Node {
    pub fn pods(&self, leases: &Path) -> PodNetwork {
        let config = PodNetworkConfig {
            bridge: "corten0".into(),
            pod_cidr: "10.244.0.0/24".parse().unwrap(),
            cluster_cidr: "10.244.0.0/16".parse().unwrap(),
            mtu: None,
            leases: leases.to_owned(),
        };
        self.netns
            .run(|| PodNetwork::open(config))
            .unwrap()
            .unwrap()
    }
}

pub struct Pod {
    pub netns: Netns,
    pub address: PodAddress,
}

pub fn pod(pods: &PodNetwork, sandbox: &str, host_ports: &[HostPort]) -> Pod {
    let netns = Netns::anonymous().unwrap();
    let path = netns.path();
    let address = pods
        .attach(&Attachment {
            sandbox,
            netns: &path,
            host_ports,
        })
        .unwrap();
    Pod { netns, address }
}

impl Pod {
    pub fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.address.ip.into(), port)
    }
}

/// Serves TCP: answers each connection with its name and the client's address. Ends with the process.
pub fn serve(netns: &Netns, name: &str, port: u16) {
    let listener = netns
        .run(|| TcpListener::bind(("0.0.0.0", port)))
        .unwrap()
        .unwrap();
    let name = name.to_owned();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let Ok(peer) = stream.peer_addr() else {
                continue;
            };
            let _ = stream.write_all(format!("{name} {}", peer.ip()).as_bytes());
        }
    });
}

/// Serves UDP: answers each datagram like `serve`. Ends with the process.
pub fn serve_udp(netns: &Netns, name: &str, port: u16) {
    let socket = netns
        .run(|| UdpSocket::bind(("0.0.0.0", port)))
        .unwrap()
        .unwrap();
    let name = name.to_owned();
    std::thread::spawn(move || {
        let mut buffer = [0; 64];
        while let Ok((_, peer)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(format!("{name} {}", peer.ip()).as_bytes(), peer);
        }
    });
}

fn fetch(to: SocketAddr, patience: Duration) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&to, patience)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

/// What a server answers a client in a namespace.
pub fn ask(from: &Netns, to: impl Into<SocketAddr>) -> String {
    let to = to.into();
    from.run(|| fetch(to, PATIENCE))
        .unwrap()
        .unwrap_or_else(|error| format!("{:?}", error.kind()))
}

/// Whether nothing at all answers a client.
pub fn silent(from: &Netns, to: impl Into<SocketAddr>) -> bool {
    let to = to.into();
    let answer = from.run(|| fetch(to, SILENCE)).unwrap();
    answer.is_err_and(|error| error.kind() == io::ErrorKind::TimedOut)
}

/// A UDP client that keeps its port, so that its flow stays the same.
pub fn udp_client(from: &Netns) -> UdpSocket {
    let socket = from.run(|| UdpSocket::bind("0.0.0.0:0")).unwrap().unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

pub fn ask_udp(client: &UdpSocket, to: impl Into<SocketAddr>) -> String {
    let mut buffer = [0; 64];
    let answer = client
        .send_to(b"?", to.into())
        .and_then(|_| client.recv(&mut buffer));
    match answer {
        Ok(length) => String::from_utf8_lossy(&buffer[..length]).into_owned(),
        Err(error) => format!("{:?}", error.kind()),
    }
}
