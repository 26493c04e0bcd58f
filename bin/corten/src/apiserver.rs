//! `corten apiserver`: the API server alone with its embedded store.

use crate::cli::{self, Apiserver, Serving};
use crate::instance::{self, Instance};
use anyhow::{Context, Result};
use corten_apiserver::{ApiServer, Config, Disk, EtcdConfig, RuntimeConfig};
use corten_pki::Identity;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

/// Serves until it is told to stop.
pub async fn run(flags: Apiserver, given: Vec<(String, String)>) -> Result<()> {
    let data = &flags.data.data_dir;
    let _instance = Instance::take(data)?;
    let embedded = Disk::Directory(data.join("store"));
    let disk = if flags.serving.etcd.etcd_servers.is_empty() {
        embedded
    } else {
        etcd(&flags.serving.etcd)
    };
    let mut config = Config::new(data.join("pki"), disk);
    config.listen = SocketAddr::new(flags.bind_address, flags.api_port);
    config.ranges.services = vec![parse_cidr(&flags.service_cidr)?];
    flags.serving.apply(&mut config, given)?;
    let server = start(config).await?;
    let _beside = flags.serving.store.serve(data, server.store())?;
    write_kubeconfig(&server, data, flags.write_kubeconfig.as_deref())?;
    println!("serving on {}", server.url());
    println!(
        "export KUBECONFIG={}",
        instance::kubeconfig_path(data).display()
    );
    instance::stop_requested().await?;
    server.stop().await;
    Ok(())
}

impl Serving {
    /// Sets everything that the flags say but where the state is kept; `given` are all flags of the command.
    pub fn apply(&self, config: &mut Config, given: Vec<(String, String)>) -> Result<()> {
        self.admission.apply(config)?;
        config.flags = given;
        config.tracing_file = self.tracing_config_file.clone();
        config.access = self.access.clone().settings();
        config.keeping = self.store.keeping()?;
        config.runtime = RuntimeConfig::parse(&self.runtime_config, &self.feature_gates)?;
        for gate in config.runtime.without_effect() {
            tracing::warn!(gate, "this feature gate changes nothing here");
        }
        Ok(())
    }
}

/// An etcd as the flags name it.
pub fn etcd(flags: &cli::Etcd) -> Disk {
    Disk::Etcd(EtcdConfig {
        client: corten_etcd::client::Config {
            endpoints: flags.etcd_servers.clone(),
            tls: corten_etcd::client::TlsFiles {
                ca: flags.etcd_cafile.clone(),
                certificate: flags.etcd_certfile.clone(),
                key: flags.etcd_keyfile.clone(),
            },
        },
        prefix: flags.etcd_prefix.clone(),
        compaction_interval: flags.etcd_compaction_interval,
    })
}

/// Starts an API server; a port that is taken gets a sentence of its own.
pub async fn start(config: Config) -> Result<ApiServer> {
    let listen = config.listen;
    ApiServer::start(config)
        .await
        .with_context(|| format!("cannot start the API server on {listen}"))
}

/// Writes the administrator's kubeconfig into the data directory, and to `also` when given.
pub fn write_kubeconfig(server: &ApiServer, data: &Path, also: Option<&Path>) -> Result<()> {
    let text = server.kubeconfig(&Identity::Admin)?;
    let own = instance::kubeconfig_path(data);
    for path in [Some(own.as_path()), also].into_iter().flatten() {
        write_private(path, &text)
            .with_context(|| format!("cannot write the kubeconfig {}", path.display()))?;
    }
    Ok(())
}

/// A file that only its owner reads, whole or not at all.
fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let temporary = path.with_extension("new");
    let mut file = std::fs::OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&temporary)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)
}

/// `10.96.0.0/16` as address and length.
pub fn parse_cidr(text: &str) -> Result<(IpAddr, u8)> {
    let parse = || {
        let (address, length) = text.split_once('/')?;
        let (address, length): (IpAddr, u8) = (address.parse().ok()?, length.parse().ok()?);
        (length <= if address.is_ipv4() { 32 } else { 128 }).then_some((address, length))
    };
    parse().with_context(|| format!("{text:?} is not a range of addresses such as 10.96.0.0/16"))
}
