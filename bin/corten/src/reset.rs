//! `corten reset`: stops a cluster and removes everything that it made on this host.

use crate::cli::Reset;
use crate::instance;
use crate::layout::Layout;
use crate::node::{self, NodeSettings};
use anyhow::{Context, Result, bail};
use corten_dataplane::PodNetwork;
use corten_proxy::Proxy;
use corten_runtime::{CoreRuntime, Runtime};
use corten_volumes::Volumes;
use std::io::{BufRead, Write};
use std::net::{IpAddr, Ipv4Addr};

/// Removes the cluster on the data directory; repeating it is fine.
pub async fn run(flags: Reset) -> Result<()> {
    let layout = Layout::new(&flags.data.data_dir);
    if !flags.yes && !confirmed(&layout)? {
        bail!("nothing was removed; say yes or give --yes");
    }
    if !node::is_root() {
        bail!("'corten reset' removes mounts, links and cgroups and needs root: run it with sudo");
    }
    if instance::running(&layout.data).is_some() {
        instance::stop(&layout.data).await?;
    }
    if !layout.data.exists() {
        println!(
            "nothing to remove: {} does not exist",
            layout.data.display()
        );
        return Ok(());
    }
    remove_pods(&layout).await?;
    let own = layout.clone();
    tokio::task::spawn_blocking(move || remove_from_host(&own)).await??;
    println!(
        "removed everything of the cluster on {}",
        layout.data.display()
    );
    Ok(())
}

fn confirmed(layout: &Layout) -> Result<bool> {
    print!(
        "Remove the cluster on {} with all its containers and data? [yes/no] ",
        layout.data.display()
    );
    std::io::stdout().flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(answer.trim() == "yes")
}

async fn remove_pods(layout: &Layout) -> Result<()> {
    let runtime = CoreRuntime::open(node::runtime_options(layout)?)
        .await
        .context("cannot open the container runtime")?;
    for sandbox in runtime.list_pod_sandboxes().await? {
        runtime
            .remove_pod_sandbox(&sandbox.id)
            .await
            .with_context(|| format!("cannot remove the pod sandbox {}", sandbox.id))?;
    }
    runtime
        .release()
        .await
        .context("cannot remove the runtime's cgroups and mounts")
}

fn remove_from_host(layout: &Layout) -> Result<()> {
    // The ranges do not matter for what is removed by name.
    let settings = NodeSettings {
        name: String::new(),
        ip: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        pod_cidr: node::cidr("10.244.0.0/24")?,
        service_cidr: node::cidr("10.96.0.0/16")?,
        dns_ip: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    };
    Proxy::reset(&node::proxy_options(layout, &settings))
        .context("cannot remove the services' packet filter")?;
    let network = PodNetwork::open(node::network_config(layout, settings.pod_cidr));
    network
        .and_then(PodNetwork::reset)
        .context("cannot remove the pod network")?;
    let volumes = Volumes::open(layout.kubelet()).context("cannot open the volume directory")?;
    for uid in volumes.pods_on_disk()? {
        volumes
            .tear_down(&uid)
            .with_context(|| format!("cannot remove the volumes of pod {uid}"))?;
    }
    node::remove_directory(&layout.run())?;
    node::remove_directory(&layout.data)
}
