//! The command line: every subcommand and flag, with the texts that `--help` prints. Flags stay once released.

use crate::access::AccessFlags;
use crate::admission::AdmissionFlags;
use crate::store::{StoreCommand, StoreFlags};
use clap::{ArgMatches, Args, Parser, Subcommand};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// A whole Kubernetes in one binary.
#[derive(Debug, Parser)]
#[command(name = "corten", version, about, arg_required_else_help = true)]
pub struct Cli {
    /// What to log, such as `info`, `debug` or `corten_kubelet=debug`.
    #[arg(long, global = true, env = "CORTEN_LOG", default_value = "warn")]
    pub log: String,
    /// How log lines look: text, or json with one object per line.
    #[arg(long, global = true, value_enum, default_value_t = LoggingFormat::Text)]
    pub logging_format: LoggingFormat,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LoggingFormat {
    /// For people.
    Text,
    /// For programs: upstream's members `ts`, `logger`, `caller`, `msg` and the line's own.
    Json,
}

/// Every flag of the subcommand and its value, in the order of their names.
pub fn flags(matches: &ArgMatches) -> Vec<(String, String)> {
    let Some((_, matches)) = matches.subcommand() else {
        return Vec::new();
    };
    let mut flags: Vec<(String, String)> = matches
        .ids()
        // Groups are named after types.
        .filter(|id| id.as_str().starts_with(char::is_lowercase))
        .filter_map(|id| {
            let values = matches.try_get_raw(id.as_str()).ok()??;
            let values: Vec<_> = values.map(|v| v.to_string_lossy().into_owned()).collect();
            Some((id.as_str().replace('_', "-"), values.join(",")))
        })
        .collect();
    flags.sort();
    flags
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start a cluster on this machine and stay in the foreground; Ctrl-C stops it and leaves workloads running.
    Up(Up),
    /// Stop the control plane of a running cluster; workloads keep running.
    Down(DataDir),
    /// Stop the cluster and remove every trace of it: containers, mounts, networks, cgroups and data.
    Reset(Reset),
    /// Show whether the cluster runs, and how its node and pods are.
    Status(DataDir),
    /// Run the API server alone, with its embedded store.
    Apiserver(Apiserver),
    /// Look at, back up and restore a cluster's store.
    #[command(subcommand)]
    Store(StoreCommand),
    /// Manage the node's images.
    #[command(subcommand)]
    Image(Image),
    /// Supervise the containers of one pod; started by the node agent only.
    #[command(hide = true, disable_help_flag = true)]
    Shim {
        /// Passed on as they are.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
}

/// Where a cluster keeps its data.
#[derive(Clone, Debug, Args)]
pub struct DataDir {
    /// The cluster's data: store, certificates, images and pods.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/corten")]
    pub data_dir: PathBuf,
}

/// Flags of `corten up`.
#[derive(Clone, Debug, Args)]
pub struct Up {
    #[command(flatten)]
    pub data: DataDir,
    /// Deploy the two-tier demo application once the node is ready.
    #[arg(long)]
    pub demo: bool,
    /// The API server's port.
    #[arg(long, value_name = "N", default_value_t = 6443)]
    pub api_port: u16,
    /// The address that the API server listens on and that the node gives as its own; the default route's by default.
    #[arg(long, value_name = "IP")]
    pub node_ip: Option<IpAddr>,
    /// The node's name; the host name by default.
    #[arg(long, value_name = "NAME")]
    pub node_name: Option<String>,
    /// Write an administrator's kubeconfig to this file too.
    #[arg(long, value_name = "FILE")]
    pub write_kubeconfig: Option<PathBuf>,
    /// The addresses that pods get.
    #[arg(long, value_name = "CIDR", default_value = "10.244.0.0/24")]
    pub pod_cidr: String,
    /// The addresses that services get.
    #[arg(long, value_name = "CIDR", default_value = "10.96.0.0/16")]
    pub service_cidr: String,
    /// Import this image archive before the node is registered; may be given several times.
    #[arg(long, value_name = "FILE")]
    pub image: Vec<PathBuf>,
    #[command(flatten)]
    pub serving: Serving,
    /// Where the state is kept: in the data directory, or in an etcd (see --etcd-servers).
    #[arg(long = "store", value_name = "KIND", default_value = "embedded")]
    pub state: StoreKind,
}

/// Flags of `corten reset`.
#[derive(Clone, Debug, Args)]
pub struct Reset {
    #[command(flatten)]
    pub data: DataDir,
    /// Do not ask: remove everything.
    #[arg(long)]
    pub yes: bool,
}

/// Flags of `corten apiserver`.
#[derive(Clone, Debug, Args)]
pub struct Apiserver {
    #[command(flatten)]
    pub data: DataDir,
    /// The port to listen on; 0 picks a free one.
    #[arg(long, value_name = "N", default_value_t = 6443)]
    pub api_port: u16,
    /// The address to listen on.
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    pub bind_address: IpAddr,
    /// Write an administrator's kubeconfig to this file too.
    #[arg(long, value_name = "FILE")]
    pub write_kubeconfig: Option<PathBuf>,
    /// The addresses that services get.
    #[arg(long, value_name = "CIDR", default_value = "10.96.0.0/16")]
    pub service_cidr: String,
    #[command(flatten)]
    pub serving: Serving,
}

/// Flags of an API server, alone or in a cluster.
#[derive(Clone, Debug, Args)]
pub struct Serving {
    #[command(flatten)]
    pub admission: AdmissionFlags,
    #[command(flatten)]
    pub access: AccessFlags,
    #[command(flatten)]
    pub store: StoreFlags,
    /// Where spans of requests go: a TracingConfiguration.
    #[arg(long, value_name = "FILE")]
    pub tracing_config_file: Option<PathBuf>,
    /// APIs to serve or not, such as `api/beta=true,batch/v1=false`.
    #[arg(long, value_name = "LIST")]
    pub runtime_config: Vec<String>,
    /// Features to switch on or off by upstream's names, such as `AllBeta=true`.
    #[arg(long, value_name = "LIST")]
    pub feature_gates: Vec<String>,
    #[command(flatten)]
    pub etcd: Etcd,
}

/// Keeping the state in an etcd instead of the embedded store.
#[derive(Clone, Debug, Args)]
pub struct Etcd {
    /// Keep the state in this etcd cluster; may be given several times or with commas.
    #[arg(long, value_name = "URL", value_delimiter = ',')]
    pub etcd_servers: Vec<String>,
    /// The authority that etcd's certificates are from.
    #[arg(long, value_name = "FILE", requires = "etcd_servers")]
    pub etcd_cafile: Option<PathBuf>,
    /// The certificate to show to etcd.
    #[arg(long, value_name = "FILE", requires = "etcd_keyfile")]
    pub etcd_certfile: Option<PathBuf>,
    /// Its key.
    #[arg(long, value_name = "FILE", requires = "etcd_certfile")]
    pub etcd_keyfile: Option<PathBuf>,
    /// What every key in etcd begins with.
    #[arg(long, value_name = "PATH", default_value = "/registry")]
    pub etcd_prefix: String,
    /// How often old revisions are compacted in etcd, in agreement with the other servers; 0 for never.
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = crate::access::duration)]
    pub etcd_compaction_interval: Duration,
}

/// Where the state is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum StoreKind {
    /// In the data directory.
    Embedded,
    /// In an etcd.
    Etcd,
}

/// `corten image …`.
#[derive(Clone, Debug, Subcommand)]
pub enum Image {
    /// Import the images of an OCI or Docker archive; `-` reads standard input.
    Import {
        /// The archive.
        file: PathBuf,
        /// Name the image so instead of by what the archive says.
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        data: DataDir,
    },
    /// List images.
    List {
        #[command(flatten)]
        data: DataDir,
    },
    /// Remove an image.
    Rm {
        /// Name or digest.
        image: String,
        #[command(flatten)]
        data: DataDir,
    },
    /// Pull an image from its registry.
    Pull {
        /// Name, with tag or digest.
        image: String,
        /// Talk plain HTTP to the registry.
        #[arg(long)]
        plain_http: bool,
        #[command(flatten)]
        data: DataDir,
    },
}
