//! `corten store serve`: the etcd v3 API on a store of its own, for kube-apiserver, etcdctl and every etcd client.

use crate::instance;
use anyhow::{Context, Result};
use clap::Args;
use corten_etcd::mvcc::StoreOptions;
use corten_etcd_server::{ClientAuth, Config, Serving, TlsFiles};
use std::path::PathBuf;
use std::time::Duration;

/// Flags of `corten store serve`, named as etcd's where they mean the same.
#[derive(Clone, Debug, Args)]
pub struct Serve {
    /// The directory of the store; made if it does not exist.
    #[arg(long, value_name = "DIR")]
    pub data_dir: PathBuf,
    /// Where to listen; may be given several times or with commas. Port 0 picks a free one.
    #[arg(
        long,
        value_name = "URL",
        default_value = "http://127.0.0.1:2379",
        value_delimiter = ','
    )]
    pub listen_client_urls: Vec<String>,
    /// What clients are told to connect to; where it listens by default.
    #[arg(long, value_name = "URL", value_delimiter = ',')]
    pub advertise_client_urls: Vec<String>,
    /// The member's name.
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub name: String,
    /// The certificate for https.
    #[arg(long, value_name = "FILE")]
    pub cert_file: Option<PathBuf>,
    /// Its key.
    #[arg(long, value_name = "FILE")]
    pub key_file: Option<PathBuf>,
    /// The authorities whose client certificates are trusted; clients then need one.
    #[arg(long, value_name = "FILE")]
    pub trusted_ca_file: Option<PathBuf>,
    /// Refuse clients without a certificate by a trusted authority, as --trusted-ca-file alone does.
    #[arg(long)]
    pub client_cert_auth: bool,
    /// Raise the alarm NOSPACE when retained changes take more bytes; 0 for the usual 2 GiB.
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    pub quota_backend_bytes: u64,
    /// The operations of a transaction, at most.
    #[arg(long, value_name = "N", default_value_t = 128)]
    pub max_txn_ops: usize,
    /// The bytes of a request, at most.
    #[arg(long, value_name = "BYTES", default_value_t = 1_572_864)]
    pub max_request_bytes: usize,
    /// How often idle watches hear of progress, such as 10m or 5s.
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = duration)]
    pub watch_progress_notify_interval: Duration,
}

/// Serves until it is told to stop.
pub async fn run(flags: Serve) -> Result<()> {
    let mut store = StoreOptions::new(flags.data_dir.clone());
    store.txn_ops_max = flags.max_txn_ops;
    store.request_bytes_max = flags.max_request_bytes;
    if flags.quota_backend_bytes != 0 {
        store.quota_bytes = flags.quota_backend_bytes;
    }
    // As etcd does: whoever names authorities asks for certificates.
    let client_auth = if flags.client_cert_auth || flags.trusted_ca_file.is_some() {
        ClientAuth::Required
    } else {
        ClientAuth::None
    };
    let serving = Serving::start(Config {
        store,
        listen: flags.listen_client_urls,
        advertise: flags.advertise_client_urls,
        name: flags.name,
        tls: TlsFiles {
            certificate: flags.cert_file,
            key: flags.key_file,
            trusted_ca: flags.trusted_ca_file,
            client_auth,
        },
        progress_notify: flags.watch_progress_notify_interval,
    })
    .await
    .with_context(|| format!("cannot serve the store {}", flags.data_dir.display()))?;
    for url in serving.urls() {
        println!("serving etcd's API on {url}");
    }
    instance::stop_requested().await?;
    serving.stop().await;
    Ok(())
}

fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a time such as 10m, 5s or 500ms");
    let at = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let number: u64 = text[..at].parse().map_err(|_| wrong())?;
    match &text[at..] {
        "ms" => Ok(Duration::from_millis(number)),
        "s" => Ok(Duration::from_secs(number)),
        "m" => Ok(Duration::from_secs(number * 60)),
        "h" => Ok(Duration::from_secs(number * 3600)),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        assert_eq!(duration("10m"), Ok(Duration::from_secs(600)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert!(duration("10").is_err() && duration("x").is_err());
    }
}
