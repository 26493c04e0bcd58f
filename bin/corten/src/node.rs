//! The node beside an API server in the same process: kubelet, proxy and DNS, each under its own identity.

use crate::control_plane::{api_server, client, service_account, user_of};
use crate::layout::Layout;
use anyhow::{Context, Result};
use async_trait::async_trait;
use corten_api::Kind;
use corten_apiserver::{ApiServer, Io, NodeConnector, Place};
use corten_client::Client;
use corten_dataplane::{PodNetwork, PodNetworkConfig};
use corten_dns::{DnsOptions, DnsServer};
use corten_images::ImageStore;
use corten_kubelet::{Engines, Kubelet, KubeletOptions, Serving};
use corten_netplan::{Cidr, dns, proxy};
use corten_pki::Identity;
use corten_proxy::{Proxy, ProxyOptions};
use corten_runtime::{CoreOptions, CoreRuntime};
use corten_volumes::Volumes;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;
use tokio::net::TcpStream;

/// The port that kubelets listen on everywhere.
const KUBELET_PORT: u16 = 10250;
/// The cluster's domain.
pub const DOMAIN: &str = "cluster.local";
/// The size of the buffer between API server and kubelet, bytes.
const PIPE: usize = 64 << 10;

/// What a node is told.
#[derive(Clone, Debug)]
pub struct NodeSettings {
    /// The node's name.
    pub name: String,
    /// The address that others reach it at.
    pub ip: IpAddr,
    /// The addresses of pods.
    pub pod_cidr: Cidr,
    /// The addresses of services.
    pub service_cidr: Cidr,
    /// The address of the cluster's DNS.
    pub dns_ip: IpAddr,
}

/// What a node works with, opened before the API server starts so that adoption is quick.
pub struct Opened {
    runtime: CoreRuntime,
    images: ImageStore,
    volumes: Volumes,
    network: Arc<PodNetwork>,
}

/// A running node; it stops when this is dropped, and its workloads go on.
pub struct RunningNode {
    _kubelet: Arc<Kubelet>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Drop for RunningNode {
    fn drop(&mut self) {
        self.tasks.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

/// The options under which the pods' runtime of a cluster is opened.
pub fn runtime_options(layout: &Layout) -> Result<CoreOptions> {
    let shim = std::env::current_exe().context("cannot find the path of this program")?;
    Ok(CoreOptions {
        root: layout.runtime(),
        run: layout.run(),
        cgroup_parent: layout.cgroup_parent(),
        shim: (shim, vec!["shim".to_owned()]),
    })
}

/// The pods' network of a cluster.
pub fn network_config(layout: &Layout, pod_cidr: Cidr) -> PodNetworkConfig {
    PodNetworkConfig {
        bridge: layout.bridge(),
        pod_cidr,
        cluster_cidr: pod_cidr,
        mtu: None,
        leases: layout.leases(),
    }
}

/// Opens runtime, images, volumes and network; living pods are adopted.
pub async fn open(layout: &Layout, pod_cidr: Cidr) -> Result<Opened> {
    let runtime = CoreRuntime::open(runtime_options(layout)?)
        .await
        .context("cannot open the container runtime")?;
    let images = ImageStore::open(crate::image::root(&layout.data))
        .context("cannot open the image store")?;
    let volumes = Volumes::open(layout.kubelet()).context("cannot open the volume directory")?;
    let config = network_config(layout, pod_cidr);
    let network = tokio::task::spawn_blocking(move || PodNetwork::open(config))
        .await?
        .context("cannot set up the pod network")?;
    Ok(Opened {
        runtime,
        images,
        volumes,
        network: Arc::new(network),
    })
}

impl Opened {
    /// The node's address on the pods' bridge.
    pub fn gateway(&self) -> IpAddr {
        IpAddr::from(self.network.gateway())
    }

    /// The images of the node.
    pub fn images(&self) -> &ImageStore {
        &self.images
    }
}

/// Reaches the kubelet of this process directly, and everything else over the network.
#[derive(Default)]
pub struct InProcess {
    kubelet: OnceLock<Arc<Kubelet>>,
}

#[async_trait]
impl NodeConnector for InProcess {
    async fn connect(&self, place: &Place) -> std::io::Result<Box<dyn Io>> {
        match place {
            Place::Kubelet { node, .. } => {
                let Some(kubelet) = self.kubelet.get() else {
                    return Err(std::io::Error::other(format!(
                        "the kubelet of node {node} is not running yet"
                    )));
                };
                let (here, there) = tokio::io::duplex(PIPE);
                tokio::spawn(kubelet.serve(there));
                Ok(Box::new(here))
            }
            Place::Address { host, port, .. } => {
                Ok(Box::new(TcpStream::connect((host.as_str(), *port)).await?))
            }
        }
    }
}

/// Starts kubelet, proxy and DNS.
pub async fn start(
    server: &Arc<ApiServer>,
    connector: &InProcess,
    opened: Opened,
    layout: &Layout,
    settings: &NodeSettings,
) -> Result<RunningNode> {
    let mut tasks = vec![start_proxy(server, layout, settings).await?];
    let gateway = opened.gateway();
    tasks.push(start_dns(server, gateway, settings).await?);
    let identity = Identity::Node(settings.name.clone());
    let node_client = client(server, user_of(&identity), "kubelet");
    let options = kubelet_options(server, layout, settings)?;
    let engines = Engines {
        runtime: Arc::new(opened.runtime),
        images: opened.images,
        volumes: opened.volumes,
        network: Some(opened.network),
    };
    let kubelet = Kubelet::start(options, engines, node_client)
        .await
        .context("cannot start the kubelet")?;
    let kubelet = Arc::new(kubelet);
    let _ = connector.kubelet.set(kubelet.clone());
    Ok(RunningNode {
        _kubelet: kubelet,
        tasks,
    })
}

fn kubelet_options(
    server: &ApiServer,
    layout: &Layout,
    settings: &NodeSettings,
) -> Result<KubeletOptions> {
    let pki = server.pki();
    let names = [settings.name.clone()];
    let pair = pki.kubelet_server(&settings.name, &names, &[settings.ip], SystemTime::now())?;
    let serving = Serving {
        address: settings.ip,
        certificate: pair.certificate,
        key: pair.key,
        client_ca: pki.ca.certificate().to_owned(),
        clients: vec![Identity::KubeletClient.user()],
    };
    std::fs::create_dir_all(layout.static_pods())?;
    Ok(KubeletOptions {
        node_name: settings.name.clone(),
        hostname: settings.name.clone(),
        node_ips: vec![settings.ip],
        root: layout.kubelet(),
        logs: layout.logs(),
        port: KUBELET_PORT,
        serving: Some(serving),
        cluster_dns: vec![settings.dns_ip],
        cluster_domain: DOMAIN.to_owned(),
        resolv_conf: PathBuf::from("/etc/resolv.conf"),
        max_pods: 110,
        static_pods: Some(layout.static_pods()),
        labels: BTreeMap::new(),
        taints: Vec::new(),
        version: corten_apiserver::VERSION.to_owned(),
    })
}

/// What the proxy of a cluster is told; also what `corten reset` undoes.
pub fn proxy_options(layout: &Layout, settings: &NodeSettings) -> ProxyOptions {
    ProxyOptions {
        config: proxy::ProxyConfig::new(
            &layout.proxy_table(),
            settings.pod_cidr,
            settings.service_cidr,
        ),
        node: proxy::Node::new(&settings.name, vec![settings.ip]),
        netns: None,
        healthz: None,
    }
}

async fn start_proxy(
    server: &Arc<ApiServer>,
    layout: &Layout,
    settings: &NodeSettings,
) -> Result<tokio::task::JoinHandle<()>> {
    let client = client(server, user_of(&Identity::Proxy), "kube-proxy");
    let proxy = Proxy::start(proxy_options(layout, settings))
        .await
        .context("cannot start the proxy")?;
    let mirror = corten_proxy::watched(&settings.name).start(client.transport().clone());
    Ok(tokio::spawn(proxy.run(corten_proxy::follow(mirror))))
}

async fn start_dns(
    server: &Arc<ApiServer>,
    gateway: IpAddr,
    settings: &NodeSettings,
) -> Result<tokio::task::JoinHandle<()>> {
    let listen = SocketAddr::new(gateway, 53);
    let mut options = DnsOptions::new(DOMAIN, vec![listen]);
    options.service = vec![settings.dns_ip];
    let resolv_conf = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    options.upstreams = corten_dns::name_servers(&resolv_conf);
    let dns_server = DnsServer::start(options)
        .await
        .context("cannot start the DNS server")?;
    let installer = client(server, api_server(), "corten");
    ensure(&installer, dns::objects::service(settings.dns_ip)).await?;
    ensure(&installer, dns::objects::slice(&settings.name, listen)).await?;
    let reader = client(server, service_account("coredns"), "coredns");
    let mirror = corten_dns::watched().start(reader.transport().clone());
    Ok(tokio::spawn(dns_server.run(corten_dns::follow(mirror))))
}

/// Creates an object of the cluster's own, or leaves the one that is there.
async fn ensure<T: Kind>(client: &Client, object: T) -> Result<()> {
    let (namespace, name) = (object.meta().namespace.clone(), object.meta().name.clone());
    match client.get::<T>(&namespace, &name).await {
        Err(error) if error.is_not_found() => {
            let created = client.create(object).await;
            created
                .map(|_| ())
                .with_context(|| format!("cannot create {} {name}", T::KIND))
        }
        found => found
            .map(|_| ())
            .with_context(|| format!("cannot read {} {name}", T::KIND)),
    }
}

/// The address of the interface with the default route; nothing without one. No packet is sent.
pub fn default_ip() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    // Connecting a datagram socket only chooses a route.
    socket.connect("192.0.2.1:9").ok()?;
    socket
        .local_addr()
        .ok()
        .map(|address| address.ip())
        .filter(|ip| !ip.is_unspecified() && !ip.is_loopback())
}

/// The host's name in the form that node names have.
pub fn host_name() -> String {
    let uname = rustix::system::uname();
    uname.nodename().to_string_lossy().trim().to_lowercase()
}

/// `address/length` of pods or services.
pub fn cidr(text: &str) -> Result<Cidr> {
    text.parse()
        .map_err(|_| anyhow::anyhow!("{text:?} is not a range of addresses such as 10.244.0.0/24"))
}

/// Whether this process may make namespaces and mounts.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Removes what is left of a directory; a missing one is fine.
pub fn remove_directory(path: &Path) -> Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}
