//! What a kubelet is told when it is started.

use corten_api::core::v1::Taint;
use corten_dataplane::PodNetwork;
use corten_images::ImageStore;
use corten_runtime::Runtime;
use corten_volumes::Volumes;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

/// The kubelet's HTTPS server.
#[derive(Clone, Debug)]
pub struct Serving {
    /// The address to listen on.
    pub address: IpAddr,
    /// The serving certificate, PEM.
    pub certificate: String,
    /// Its key, PEM.
    pub key: String,
    /// The authority of client certificates, PEM.
    pub client_ca: String,
    /// The common names of clients that may do everything, such as the API server's.
    pub clients: Vec<String>,
}

/// What a kubelet is told when it is started.
#[derive(Clone, Debug)]
pub struct KubeletOptions {
    /// The node's name.
    pub node_name: String,
    /// The node's host name, for the `kubernetes.io/hostname` label.
    pub hostname: String,
    /// The node's addresses, the primary one first.
    pub node_ips: Vec<IpAddr>,
    /// The kubelet's own directory, such as `/var/lib/corten/kubelet`.
    pub root: PathBuf,
    /// Where container logs are kept, such as `/var/log/pods`.
    pub logs: PathBuf,
    /// The port in the node's status, and that of the server; 0 picks a free one.
    pub port: u16,
    /// The HTTPS server; without it the kubelet is reached in process only.
    pub serving: Option<Serving>,
    /// Addresses of the cluster's DNS.
    pub cluster_dns: Vec<IpAddr>,
    /// The cluster's domain.
    pub cluster_domain: String,
    /// The resolver configuration of the node that pods inherit.
    pub resolv_conf: PathBuf,
    /// Pods that the node runs at most.
    pub max_pods: u32,
    /// Where manifests of static pods are.
    pub static_pods: Option<PathBuf>,
    /// Labels that the node gets beside the usual ones.
    pub labels: BTreeMap<String, String>,
    /// Taints that the node gets when it is registered.
    pub taints: Vec<Taint>,
    /// The Kubernetes version that the node reports, such as `v1.36.3`.
    pub version: String,
}

/// What a kubelet works with.
#[derive(Clone)]
pub struct Engines {
    /// Runs containers.
    pub runtime: Arc<dyn Runtime>,
    /// Keeps images.
    pub images: ImageStore,
    /// Makes volumes.
    pub volumes: Volumes,
    /// Connects pods; without it pods have their loopback only.
    pub network: Option<Arc<PodNetwork>>,
}
