//! Starting and stopping: from a `Config` to a running server and the handle others hold.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use corten_access::UserInfo;
use corten_access::admission::PluginSet;
use corten_meta::GroupVersionResource;
use corten_pki::{Identity, KubeconfigUser, Pki};
use corten_store::Store;
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use crate::access::{Access, Own, Sources};
use crate::admission::Plugins;
use crate::allocate::Ranges;
use crate::connect::{NoNodes, NodeConnector};
use crate::etcd::{self, EtcdConfig, Following, Members};
use crate::keeping::{self, Keeping};
use crate::local::Local;
use crate::metrics::Metrics;
use crate::runtime_config::RuntimeConfig;
use crate::server::{Server, Settings, random_uid};
use crate::settings::{AccessSettings, AuthenticationSettings};
use crate::{Error, admission, aggregation, bootstrap, flow, reload, secret_tokens, serve, spans};

/// Where the cluster's state is kept.
#[derive(Clone, Debug)]
pub enum Disk {
    /// In memory: gone with the process.
    Memory,
    /// In a directory.
    Directory(PathBuf),
    /// In an etcd, beside other API servers.
    Etcd(EtcdConfig),
}

/// What an API server is told.
pub struct Config {
    /// Keys and certificates are kept here.
    pub pki_directory: PathBuf,
    /// The state.
    pub disk: Disk,
    /// How objects are kept there.
    pub keeping: Keeping,
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The address others reach it at; the listening address when none is given.
    pub advertise: Option<IpAddr>,
    /// More names for the serving certificate.
    pub names: Vec<String>,
    /// DNS domain of the cluster.
    pub cluster_domain: String,
    /// Service addresses and node ports.
    pub ranges: Ranges,
    /// Who may come in and what they may do.
    pub access: AccessSettings,
    /// Bearer tokens with a fixed user.
    pub static_tokens: HashMap<String, UserInfo>,
    /// `--tracing-config-file`: where spans of requests go.
    pub tracing_file: Option<PathBuf>,
    /// The flags with which the process runs, name and value, as `/flagz` shows them.
    pub flags: Vec<(String, String)>,
    /// The admission plugins that run.
    pub plugins: PluginSet,
    /// `--admission-control-config-file`: what they are told.
    pub plugins_file: Option<PathBuf>,
    /// Connections to kubelets.
    pub connector: Arc<dyn NodeConnector>,
    /// How long a stopping server goes on serving, unready, so that load balancers look elsewhere.
    pub shutdown_delay: Duration,
    /// Which APIs are served.
    pub runtime: RuntimeConfig,
    /// How long a request waits for its turn in its priority level.
    pub queue_wait_max: Duration,
}

impl Config {
    /// The usual settings: loopback, a free port, 10.96.0.0/16, node ports 30000-32767.
    pub fn new(pki_directory: PathBuf, disk: Disk) -> Config {
        Config {
            pki_directory,
            disk,
            keeping: Keeping::default(),
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            advertise: None,
            names: Vec::new(),
            cluster_domain: "cluster.local".into(),
            ranges: Ranges {
                services: vec![([10, 96, 0, 0].into(), 16)],
                node_ports: 30_000..=32_767,
            },
            access: AccessSettings::default(),
            static_tokens: HashMap::new(),
            tracing_file: None,
            flags: Vec::new(),
            plugins: PluginSet::default(),
            plugins_file: None,
            connector: Arc::new(NoNodes),
            shutdown_delay: Duration::ZERO,
            runtime: RuntimeConfig::default(),
            queue_wait_max: Duration::from_secs(15),
        }
    }
}

/// A running API server. Dropping it does not stop it; call [`ApiServer::stop`].
pub struct ApiServer {
    server: Arc<Server>,
    address: SocketAddr,
    pki: Pki,
    shutdown_delay: Duration,
    /// None once it has been stopped.
    task: Mutex<Option<JoinHandle<()>>>,
    /// Follows the log that others write to as well.
    following: Option<(Arc<Members>, [JoinHandle<()>; 2])>,
}

/// Starts to serve, and what goes on beside that.
fn begin(
    server: &Arc<Server>,
    listener: TcpListener,
    sources: Sources,
    keeping: Keeping,
) -> JoinHandle<()> {
    let task = tokio::spawn(serve::serve(server.clone(), listener, server.watch_end()));
    tokio::spawn(reload::run(server.clone(), sources));
    if let (Some(ciphers), Some(file)) = (keeping.encryption, keeping.encryption_followed) {
        tokio::spawn(reload::encryption(server.clone(), ciphers, file));
    }
    tokio::spawn(flow::follow(server.clone()));
    tokio::spawn(aggregation::follow(server.clone()));
    tokio::spawn(admission::check_types(server.clone()));
    task
}

/// The issuers of service account tokens, the one that signs first, and what tokens must be for.
fn issuers(settings: &AuthenticationSettings, domain: &str) -> (Vec<String>, Vec<String>) {
    let mut issuers = settings.service_account.issuers.clone();
    if issuers.is_empty() {
        issuers = vec![format!("https://kubernetes.default.svc.{domain}")];
    }
    let audiences = match settings.api_audiences.as_slice() {
        [] => issuers.clone(),
        named => named.to_vec(),
    };
    (issuers, audiences)
}

/// The addresses of the serving certificate: the node's, and the first of each range of services.
fn serving_addresses(ip: IpAddr, ranges: &Ranges) -> Vec<IpAddr> {
    let first = ranges.services.iter().filter_map(|(base, _)| match base {
        IpAddr::V4(base) => Some(IpAddr::V4(Ipv4Addr::from(u32::from(*base) + 1))),
        IpAddr::V6(_) => None,
    });
    std::iter::once(ip).chain(first).collect()
}

/// The socket, and the address under which clients find it.
async fn listen(config: &Config) -> Result<(TcpListener, SocketAddr), Error> {
    let listener = TcpListener::bind(config.listen)
        .await
        .map_err(Error::Listen)?;
    let address = listener.local_addr().map_err(Error::Listen)?;
    let ip = config.advertise.unwrap_or(match address.ip() {
        ip if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        ip => ip,
    });
    Ok((listener, SocketAddr::new(ip, address.port())))
}

impl ApiServer {
    /// Opens the store, writes the first objects and serves.
    pub async fn start(config: Config) -> Result<ApiServer, Error> {
        let now = SystemTime::now();
        let pki = Pki::open(&config.pki_directory, now)?;
        let (listener, advertise) = listen(&config).await?;
        let ip = advertise.ip();
        let ips = serving_addresses(ip, &config.ranges);
        let pair = pki.api_server(&config.names, &ips, &config.cluster_domain, now)?;
        let sources = Sources {
            settings: config.access,
            own: Own {
                ca: pki.ca.certificate().to_owned(),
                front_proxy_ca: pki.front_proxy_ca.certificate().to_owned(),
                service_account: pki.service_account.clone(),
                serving: (pair.certificate, pair.key),
            },
        };
        let told = Plugins::read(config.plugins, config.plugins_file.as_deref())?;
        let token_keys = sources.token_keys()?;
        let metrics = Arc::new(Metrics::default());
        let access = Access::new(&sources, config.static_tokens, &metrics)?;
        let (disk, keeping) = (config.disk.clone(), config.keeping.clone());
        let runtime = config.runtime.clone();
        let (store, following) = open(disk, keeping, runtime).await?;
        let authentication = &sources.settings.authentication;
        let accounts = &authentication.service_account;
        let (issuers, audiences) = issuers(authentication, &config.cluster_domain);
        let settings = Settings {
            audiences,
            issuer: issuers[0].clone(),
            issuers,
            token_seconds_max: accounts.max_token_expiration,
            extends_tokens: accounts.extend_token_expiration,
            advertise,
            external_url: format!("https://{advertise}"),
            ranges: config.ranges,
            plugins: config.plugins,
            told,
            flags: config.flags,
            client_ca: pki.ca.certificate().to_owned(),
            front_proxy_ca: pki.front_proxy_ca.certificate().to_owned(),
            front_proxy: pki.client(&Identity::FrontProxyClient, now)?,
            runtime: config.runtime,
            queue_wait_max: config.queue_wait_max,
        };
        let connector = config.connector;
        let tracing = spans::start(config.tracing_file.as_deref(), random_uid())?;
        let server = Arc::new(Server::new(
            store, settings, token_keys, access, metrics, connector, tracing,
        ));
        let members = following.as_ref().map(|following| &following.members);
        bootstrap::run(&server, members)
            .await
            .map_err(Error::Bootstrap)?;
        let task = begin(&server, listener, sources, config.keeping);
        let following = following.map(|following| beside_others(&server, following));
        Ok(ApiServer {
            shutdown_delay: config.shutdown_delay,
            server,
            address: advertise,
            pki,
            task: Mutex::new(Some(task)),
            following,
        })
    }

    /// Where clients reach it.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `https://host:port`.
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// The store below: for backups and figures.
    pub fn store(&self) -> &Store {
        &self.server.store
    }

    /// The cluster's keys and certificates.
    pub fn pki(&self) -> &Pki {
        &self.pki
    }

    /// An in-process transport that acts as `user`.
    pub fn local(&self, user: UserInfo) -> Local {
        Local::new(self.server.clone(), user)
    }

    /// Signs tokens into the secrets that ask for one, until the server stops, as upstream's controller manager does.
    /// Must be called on a tokio runtime.
    pub fn keep_secret_tokens(&self) {
        tokio::spawn(secret_tokens::follow(self.server.clone()));
    }

    /// Every resource that is stored now, each once, in the version in which it is stored.
    pub fn stored_resources(&self) -> Vec<GroupVersionResource> {
        let catalog = self.server.catalog();
        catalog
            .stored()
            .map(|served| served.group_version_resource())
            .collect()
    }

    /// The text of a kubeconfig for an identity.
    pub fn kubeconfig(&self, identity: &Identity) -> Result<String, Error> {
        let pair = self.pki.client(identity, SystemTime::now())?;
        let user = KubeconfigUser::Certificate(pair);
        Ok(corten_pki::kubeconfig(
            "corten",
            &self.url(),
            self.pki.ca.certificate(),
            &identity.user(),
            &user,
        ))
    }

    /// Reports itself unready, after the shutdown delay stops accepting, ends watches, lets running requests finish and
    /// closes the store, after which transports in process are refused. Stopping again does nothing, but returns only
    /// when the first has ended.
    pub async fn stop(&self) {
        self.server.set_stopping();
        let mut task = self.task.lock().await;
        let Some(running) = task.take() else { return };
        tokio::time::sleep(self.shutdown_delay).await;
        self.server.close_doors();
        let _ = running.await;
        if let Some(audit) = &self.server.access.audit {
            audit.flush().await;
        }
        if let Some((members, tasks)) = &self.following {
            tasks[0].abort();
            members.leave(&self.server).await;
            tasks[1].abort();
        }
        if let Some(tracing) = &self.server.tracing {
            tracing.flush().await;
        }
        let store = self.server.store.clone();
        let _ = tokio::task::spawn_blocking(move || store.close()).await;
    }
}

/// Keeps this server among those that share its etcd; the first task does that, the second follows.
fn beside_others(
    server: &Arc<Server>,
    following: Following,
) -> (Arc<Members>, [JoinHandle<()>; 2]) {
    let members = Arc::new(following.members);
    let (present, server) = (members.clone(), server.clone());
    let keeping = tokio::spawn(async move { present.run(server).await });
    (members, [keeping, following.task])
}

/// The store, and what follows the log when others write to it as well.
async fn open(
    disk: Disk,
    keeping: Keeping,
    runtime: RuntimeConfig,
) -> Result<(Store, Option<Following>), Error> {
    if let Disk::Etcd(config) = &disk {
        let (store, following) = etcd::open(config, keeping, &runtime).await?;
        return Ok((store, Some(following)));
    }
    let opening = tokio::task::spawn_blocking(move || keeping::open(disk, keeping, &runtime));
    let store = opening.await.map_err(|e| Error::Engine(e.to_string()))??;
    Ok((store, None))
}
