//! The cluster's DNS server: answers about Services and pods from the records that `corten-netplan` makes of a
//! snapshot, and asks other servers about everything else.
//! It listens on addresses of the node; pods reach it through the ordinary Service `kube-dns`, whose EndpointSlice names
//! those addresses (`corten_netplan::dns::objects`). Invariant: an answer about the cluster never waits for anything.

mod answer;
mod cache;
mod convert;
mod forward;
mod resolv;
mod source;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use corten_netplan::dns::Records;
use parking_lot::RwLock;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use answer::{Responder, Step};
use forward::{Forwarder, Transport};

pub use resolv::name_servers;
pub use source::{Source, follow, watched};

/// How long an unused connection is kept.
const IDLE_MAX: Duration = Duration::from_secs(10);
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
const CONNECTIONS_MAX: usize = 512;
const REQUEST_MAX: usize = 4_096;
const PORTS_TRIED_MAX: usize = 32;

/// What a server is to do, and where.
#[derive(Debug, Clone)]
pub struct DnsOptions {
    /// Addresses to listen on, UDP and TCP. Port 0 takes a free one.
    pub listen: Vec<SocketAddr>,
    /// The cluster's domain (`cluster.local`).
    pub zone: String,
    /// The addresses of the Service through which pods ask; the zone's name server has them.
    pub service: Vec<IpAddr>,
    /// Servers for other names; see [`name_servers`].
    pub upstreams: Vec<SocketAddr>,
    /// Seconds that clients may keep records of the cluster.
    pub ttl: u32,
}

impl DnsOptions {
    /// A server for a domain, with upstream's five seconds.
    pub fn new(zone: &str, listen: Vec<SocketAddr>) -> Self {
        DnsOptions {
            listen,
            zone: zone.to_owned(),
            service: Vec::new(),
            upstreams: Vec::new(),
            ttl: 5,
        }
    }
}

/// A failure to start.
#[derive(Debug, thiserror::Error)]
pub enum DnsError {
    #[error("cannot listen on {address} for DNS: {source}; is another DNS server running there?")]
    Listen {
        address: SocketAddr,
        source: io::Error,
    },
    #[error("no randomness for DNS: {0}")]
    Random(#[from] getrandom::Error),
}

/// A server that listens and is ready to run.
#[derive(Debug)]
pub struct DnsServer {
    responder: Arc<Responder>,
    sockets: Vec<(UdpSocket, TcpListener)>,
}

impl DnsServer {
    /// Listens. Questions wait until `run`.
    pub async fn start(options: DnsOptions) -> Result<Self, DnsError> {
        let mut sockets = Vec::new();
        for address in &options.listen {
            sockets.push(bind(*address).await.map_err(|source| DnsError::Listen {
                address: *address,
                source,
            })?);
        }
        let own: Vec<SocketAddr> = sockets
            .iter()
            .filter_map(|(udp, _)| udp.local_addr().ok())
            .collect();
        let responder = Responder {
            records: RwLock::new(Records::new(&options.zone, options.service)),
            forwarder: Forwarder::new(&options.upstreams, &own)?,
            ttl: options.ttl,
        };
        Ok(DnsServer {
            responder: Arc::new(responder),
            sockets,
        })
    }

    /// The addresses that it listens on.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.sockets
            .iter()
            .filter_map(|(udp, _)| udp.local_addr().ok())
            .collect()
    }

    /// Answers from the source's states until it ends. Until its first state nothing is answered: clients ask again,
    /// while a wrong denial would be believed.
    pub async fn run(self, mut source: impl Source) {
        while source.snapshot().is_none() {
            if !source.changed().await {
                return;
            }
        }
        let mut tasks = JoinSet::new();
        let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        self.observe(&source);
        for (udp, tcp) in self.sockets {
            tasks.spawn(serve_datagrams(Arc::new(udp), self.responder.clone()));
            tasks.spawn(serve_streams(
                tcp,
                self.responder.clone(),
                connections.clone(),
            ));
        }
        let probing = self.responder.clone();
        tasks.spawn(async move { probing.forwarder.probe().await });
        while source.changed().await {
            if let Some(snapshot) = source.snapshot() {
                self.responder.records.write().observe(&snapshot);
            }
        }
    }

    fn observe(&self, source: &impl Source) {
        if let Some(snapshot) = source.snapshot() {
            self.responder.records.write().observe(&snapshot);
        }
    }
}

/// Both sockets of an address, at the same port.
async fn bind(address: SocketAddr) -> io::Result<(UdpSocket, TcpListener)> {
    let mut tried = 0;
    loop {
        let udp = UdpSocket::bind(address).await?;
        match TcpListener::bind(udp.local_addr()?).await {
            Ok(tcp) => return Ok((udp, tcp)),
            // A free port was asked for, and is free for UDP only.
            Err(error)
                if address.port() == 0
                    && error.kind() == io::ErrorKind::AddrInUse
                    && tried < PORTS_TRIED_MAX =>
            {
                tried += 1;
            }
            Err(error) => return Err(error),
        }
    }
}

async fn serve_datagrams(socket: Arc<UdpSocket>, responder: Arc<Responder>) {
    let mut buffer = vec![0; REQUEST_MAX];
    loop {
        // Errors here are of single datagrams: a client that refused its answer.
        let Ok((length, client)) = socket.recv_from(&mut buffer).await else {
            continue;
        };
        match responder.begin(&buffer[..length], Transport::Udp) {
            Step::Nothing => {}
            Step::Done(answer) => {
                let _ = socket.send_to(&answer, client).await;
            }
            Step::Ask(pending) => {
                let (socket, responder) = (socket.clone(), responder.clone());
                tokio::spawn(async move {
                    if let Some(answer) = responder.finish(*pending, Transport::Udp).await {
                        let _ = socket.send_to(&answer, client).await;
                    }
                });
            }
        }
    }
}

async fn serve_streams(
    listener: TcpListener,
    responder: Arc<Responder>,
    connections: Arc<Semaphore>,
) {
    let mut tasks = JoinSet::new();
    loop {
        let Ok(slot) = connections.clone().acquire_owned().await else {
            return;
        };
        let accepted = listener.accept().await;
        while tasks.try_join_next().is_some() {}
        let Ok((stream, _)) = accepted else {
            // Out of descriptors, most likely: some are freed as clients go.
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let responder = responder.clone();
        tasks.spawn(async move {
            serve_stream(stream, responder).await;
            drop(slot);
        });
    }
}

async fn serve_stream(mut stream: TcpStream, responder: Arc<Responder>) {
    while let Ok(Ok(request)) = timeout(IDLE_MAX, forward::read_framed(&mut stream)).await {
        let answer = match responder.begin(&request, Transport::Tcp) {
            Step::Nothing => return,
            Step::Done(answer) => Some(answer),
            Step::Ask(pending) => responder.clone().finish(*pending, Transport::Tcp).await,
        };
        let Some(answer) = answer else { return };
        if !matches!(
            timeout(IDLE_MAX, forward::write_framed(&mut stream, &answer)).await,
            Ok(Ok(()))
        ) {
            return;
        }
    }
}
