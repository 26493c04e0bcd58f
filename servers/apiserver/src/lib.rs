//! The API server: one read ladder, one write ladder, one generic registry.
//!
//! [`ApiServer::start`] serves Kubernetes' API over HTTPS from a store in memory or on disk. Invariant: every caller, in
//! process or not, acts under its own identity and passes the same authorization and admission.
//! Left out: controllers, scheduling, and anything that decides; that is in the rules.

mod access;
mod accounts;
mod admission;
mod admit;
mod aggregation;
mod allocate;
mod audit;
mod authentication;
mod authorization;
mod body;
mod bootstrap;
mod catalog;
mod cbor;
mod commit;
mod component_status;
mod connect;
mod continuing;
mod custom;
mod decode;
mod delete;
mod discovery;
mod encode;
mod error;
mod etcd;
mod evict;
mod families;
mod flow;
mod gathered;
mod http;
mod info;
mod jwt;
mod keeping;
mod keys;
mod local;
mod log_socket;
mod merging;
mod metadata;
mod metrics;
mod namespaces;
mod negotiate;
mod node_ports;
mod openapi;
mod options;
mod outbound;
mod patched;
mod patching;
mod paths;
mod pods;
mod possession;
mod proxy;
mod read;
mod reload;
mod remote;
mod resource;
mod reviews;
mod runtime_config;
mod secret_tokens;
mod selection;
mod serve;
mod server;
mod settings;
mod spans;
mod start;
mod subresource;
mod tls;
mod tokens;
mod tracking;
mod typed;
mod watch_socket;
mod watch_stream;
mod watching;
mod write;

pub use allocate::Ranges;
pub use connect::{Encryption, Io, NoNodes, NodeConnector, Place};
pub use corten_access::UserInfo;
pub use corten_access::admission::PluginSet;
pub use corten_access::configuration::duration;
pub use error::Error;
pub use etcd::{EtcdConfig, describe_by_object};
pub use keeping::{Ciphers, Keeping};
pub use local::Local;
pub use paths::VERSION;
pub use runtime_config::{FlagError, RuntimeConfig};
pub use settings::{
    AccessSettings, AuditBatchSettings, AuditLogSettings, AuditSettings, AuditTruncateSettings,
    AuditWebhookSettings, AuthenticationSettings, AuthorizationSettings, OidcSettings,
    RequestHeaderSettings, ServiceAccountSettings, TlsSettings, TokenWebhookSettings,
};
pub use start::{ApiServer, Config, Disk};
