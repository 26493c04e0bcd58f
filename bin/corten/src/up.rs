//! `corten up`: a whole cluster in one process.
//!
//! Stopping it stops the control plane and the node agent; containers are children of their shims and go on.

use crate::cli::{StoreKind, Up};
use crate::control_plane::{self, ControlPlane};
use crate::instance::{self, Instance};
use crate::layout::Layout;
use crate::node::{self, InProcess, NodeSettings};
use crate::{apiserver, demo};
use anyhow::{Context, Result, bail};
use corten_api::core::v1::Node;
use corten_apiserver::{ApiServer, Config, Disk};
use corten_client::{Mirror, MirrorBuilder};
use corten_driver::Terms;
use corten_images::{ImageStore, ImportOptions, ImportSource};
use corten_pki::Identity;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long the node may take to become Ready before that is an error.
const READY_MAX: Duration = Duration::from_secs(60);

/// Runs a cluster until it is told to stop.
pub async fn run(flags: Up, given: Vec<(String, String)>) -> Result<()> {
    if !node::is_root() {
        bail!(
            "'corten up' makes namespaces, mounts and nftables rules and needs root: run it with sudo"
        );
    }
    let started = Instant::now();
    let layout = Layout::new(&flags.data.data_dir);
    let _instance = Instance::take(&layout.data)?;
    let pod_cidr = node::cidr(&flags.pod_cidr)?;
    let opened = node::open(&layout, pod_cidr).await?;
    import(opened.images(), &flags.image).await?;
    let settings = NodeSettings {
        name: flags.node_name.clone().unwrap_or_else(node::host_name),
        ip: flags
            .node_ip
            .or_else(node::default_ip)
            .unwrap_or_else(|| opened.gateway()),
        pod_cidr,
        service_cidr: node::cidr(&flags.service_cidr)?,
        dns_ip: dns_ip(&flags.service_cidr)?,
    };
    let connector = Arc::new(InProcess::default());
    let config = config(&flags, given, &layout, &settings, connector.clone())?;
    let server = Arc::new(apiserver::start(config).await?);
    let _beside = flags.serving.store.serve(&layout.data, server.store())?;
    apiserver::write_kubeconfig(&server, &layout.data, flags.write_kubeconfig.as_deref())?;
    println!(
        "API server ready after {:.2} s: {}",
        started.elapsed().as_secs_f64(),
        server.url()
    );
    let control_plane = match flags.state {
        StoreKind::Embedded => ControlPlane::start(&server, &flags.service_cidr),
        StoreKind::Etcd => {
            let terms = Terms::default();
            ControlPlane::elect(&server, &flags.service_cidr, &settings.name, terms)
        }
    };
    let running = node::start(&server, &connector, opened, &layout, &settings).await?;
    wait_ready(&server, &settings.name).await?;
    println!(
        "node {} Ready after {:.2} s",
        settings.name,
        started.elapsed().as_secs_f64()
    );
    if flags.demo {
        let url = demo::deploy(&server, settings.ip).await?;
        println!("demo: {url}");
    }
    println!(
        "export KUBECONFIG={}",
        instance::kubeconfig_path(&layout.data).display()
    );
    instance::stop_requested().await?;
    drop(running);
    control_plane.stop().await;
    server.stop().await;
    Ok(())
}

fn config(
    flags: &Up,
    given: Vec<(String, String)>,
    layout: &Layout,
    settings: &NodeSettings,
    connector: Arc<InProcess>,
) -> Result<Config> {
    let disk = match (flags.state, flags.serving.etcd.etcd_servers.is_empty()) {
        (StoreKind::Embedded, true) => Disk::Directory(layout.store()),
        (StoreKind::Etcd, false) => apiserver::etcd(&flags.serving.etcd),
        (StoreKind::Etcd, true) => bail!("--store=etcd needs --etcd-servers"),
        (StoreKind::Embedded, false) => bail!("--etcd-servers needs --store=etcd"),
    };
    let mut config = Config::new(layout.pki(), disk);
    config.listen = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), flags.api_port);
    config.advertise = Some(settings.ip);
    config.names = vec![settings.name.clone(), "localhost".to_owned()];
    config.cluster_domain = node::DOMAIN.to_owned();
    config.ranges.services = vec![apiserver::parse_cidr(&flags.service_cidr)?];
    config.connector = connector;
    flags.serving.apply(&mut config, given)?;
    Ok(config)
}

/// The tenth address of the services' range, as installers of upstream choose it.
fn dns_ip(service_cidr: &str) -> Result<IpAddr> {
    match apiserver::parse_cidr(service_cidr)? {
        (IpAddr::V4(base), _) => Ok(IpAddr::V4(Ipv4Addr::from(u32::from(base) + 10))),
        (IpAddr::V6(_), _) => bail!("--service-cidr must be IPv4"),
    }
}

async fn import(images: &ImageStore, files: &[PathBuf]) -> Result<()> {
    for file in files {
        images
            .import(ImportSource::File(file.clone()), ImportOptions::default())
            .await
            .with_context(|| format!("cannot import {}", file.display()))?;
    }
    Ok(())
}

/// Waits, woken by the watch, until the node's Ready condition is True.
async fn wait_ready(server: &Arc<ApiServer>, name: &str) -> Result<()> {
    let user = control_plane::user_of(&Identity::ControllerManager);
    let client = control_plane::client(server, user, "corten");
    let builder: MirrorBuilder = Mirror::builder().resource::<Node>();
    let mirror = builder.start(client.transport().clone());
    let ready = async {
        mirror.wait_synced().await;
        let mut changes = mirror.changes();
        loop {
            let snapshot = mirror.snapshot();
            let node = snapshot.get::<Node>("", name);
            let is_ready = |n: &Node| {
                n.status
                    .conditions
                    .iter()
                    .any(|c| c.type_ == "Ready" && c.status == "True")
            };
            if node.is_some_and(is_ready) {
                return;
            }
            // A lagging receiver looks again too.
            let _ = changes.recv().await;
        }
    };
    let waited = tokio::time::timeout(READY_MAX, ready).await;
    waited.with_context(|| {
        format!(
            "node {name} did not become Ready within {} s",
            READY_MAX.as_secs()
        )
    })
}
