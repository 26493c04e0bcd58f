//! Listening: from a `Config` to a running face.

use crate::calls::{About, Face};
use crate::connection;
use crate::tls::TlsFiles;
use corten_etcd::mvcc::{Called, LogError, Store, StoreOptions};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// What a face is told.
pub struct Config {
    /// The store.
    pub store: StoreOptions,
    /// `http://address:port` or `https://address:port`; port 0 takes a free one.
    pub listen: Vec<String>,
    /// What clients are told to connect to; the listening addresses if none is given.
    pub advertise: Vec<String>,
    /// The member's name.
    pub name: String,
    /// Certificates for `https`.
    pub tls: TlsFiles,
    /// How often watches that ask for it hear of progress.
    pub progress_notify: Duration,
}

/// Why a face could not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The store could not be opened.
    #[error(transparent)]
    Store(#[from] LogError),
    /// A URL makes no sense.
    #[error("{0:?} is not a URL of the form http(s)://address:port")]
    Url(String),
    /// An address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: String,
        /// Why not.
        source: std::io::Error,
    },
    /// A certificate or key cannot be used.
    #[error("{attempt}: {reason}")]
    Tls {
        /// What was tried.
        attempt: String,
        /// Why it failed.
        reason: String,
    },
}

/// A running face. Dropping it does not stop it; call [`Serving::stop`].
pub struct Serving {
    store: Store,
    urls: Vec<String>,
    stopping: watch::Sender<bool>,
    tasks: JoinSet<()>,
    /// Hands the writer's answers to their connections.
    answering: JoinSet<()>,
}

struct Bound {
    listener: TcpListener,
    acceptor: Option<TlsAcceptor>,
    url: String,
}

async fn bind(url: &str, tls: &TlsFiles) -> Result<Bound, ServeError> {
    let wrong = || ServeError::Url(url.to_owned());
    let (scheme, address) = url.split_once("://").ok_or_else(wrong)?;
    let acceptor = match scheme {
        "http" => None,
        "https" => Some(TlsAcceptor::from(tls.load()?)),
        _ => return Err(wrong()),
    };
    let address = address.trim_end_matches('/');
    let refused = |source| ServeError::Listen {
        address: address.to_owned(),
        source,
    };
    let listener = TcpListener::bind(address).await.map_err(refused)?;
    let local: SocketAddr = listener.local_addr().map_err(refused)?;
    Ok(Bound {
        listener,
        acceptor,
        url: format!("{scheme}://{local}"),
    })
}

impl Serving {
    /// Opens the store and serves.
    pub async fn start(mut config: Config) -> Result<Serving, ServeError> {
        let mut bound = Vec::new();
        for url in &config.listen {
            bound.push(bind(url, &config.tls).await?);
        }
        let urls: Vec<String> = bound.iter().map(|one| one.url.clone()).collect();
        let quota_bytes = config.store.quota_bytes;
        let request_bytes_max = config.store.request_bytes_max;
        let (deliver, delivered) = mpsc::unbounded_channel();
        // If nobody takes them any more, nobody waits for them.
        config.store.deliver = Some(Box::new(move |batch| drop(deliver.send(batch))));
        let opening = tokio::task::spawn_blocking(move || Store::open(config.store));
        let store = opening.await.map_err(|error| ServeError::Listen {
            address: "the store".to_owned(),
            source: std::io::Error::other(error),
        })??;
        let client_urls = if config.advertise.is_empty() {
            urls.clone()
        } else {
            config.advertise
        };
        let face = Face {
            store: store.clone(),
            about: Arc::new(About {
                name: config.name,
                client_urls,
                quota_bytes,
                request_bytes_max,
                progress_notify: config.progress_notify.max(Duration::from_millis(100)),
            }),
            rooms: Default::default(),
        };
        let mut answering = JoinSet::new();
        answering.spawn(answer(delivered));
        let stopping = watch::Sender::new(false);
        let mut tasks = JoinSet::new();
        for one in bound {
            tasks.spawn(accept(one, face.clone(), stopping.subscribe()));
        }
        Ok(Serving {
            store,
            urls,
            stopping,
            tasks,
            answering,
        })
    }

    /// Where clients reach it.
    pub fn urls(&self) -> &[String] {
        &self.urls
    }

    /// The store behind it.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Stops accepting, ends connections and closes the store.
    pub async fn stop(mut self) {
        self.stopping.send_replace(true);
        while self.tasks.join_next().await.is_some() {}
        let store = self.store.clone();
        let _ = tokio::task::spawn_blocking(move || store.close()).await;
        self.answering.shutdown().await;
    }
}

/// Calls those whose changes were decided, a batch at a time. Connections are woken from here, one of the runtime's
/// own threads, which costs them less than being woken by the writer.
async fn answer(mut delivered: mpsc::UnboundedReceiver<Vec<Called>>) {
    while let Some(batch) = delivered.recv().await {
        batch.into_iter().for_each(Called::call);
    }
}

async fn accept(bound: Bound, face: Face, mut stopping: watch::Receiver<bool>) {
    let Bound {
        listener, acceptor, ..
    } = bound;
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((tcp, _)) => {
                    let (face, acceptor) = (face.clone(), acceptor.clone());
                    connections.spawn(one(tcp, acceptor, face));
                }
                Err(error) => {
                    // Out of file descriptors, as a rule: give others time to close theirs.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            _ = stopping.changed() => break,
        }
    }
    drop(listener);
    connections.shutdown().await;
}

async fn one(tcp: TcpStream, acceptor: Option<TlsAcceptor>, face: Face) {
    let _ = tcp.set_nodelay(true);
    let served = match acceptor {
        None => connection::serve(tcp, face).await,
        Some(acceptor) => match acceptor.accept(tcp).await {
            Ok(tls) => connection::serve(tls, face).await,
            Err(error) => Err(error),
        },
    };
    if let Err(error) = served {
        tracing::debug!(%error, "a connection ended");
    }
}
