//! What an API server is told about access, field by field under the names of upstream's flags. Plain data: nothing
//! is read or checked here.

use std::path::PathBuf;
use std::time::Duration;

/// Who may come in and what they may do.
#[derive(Clone, Debug, Default)]
pub struct AccessSettings {
    /// How callers prove who they are.
    pub authentication: AuthenticationSettings,
    /// Who decides what they may do.
    pub authorization: AuthorizationSettings,
    /// What is written down about it all.
    pub audit: AuditSettings,
    /// What the server shows of itself.
    pub tls: TlsSettings,
}

/// How callers prove who they are.
#[derive(Clone, Debug, Default)]
pub struct AuthenticationSettings {
    /// `--anonymous-auth`: whether requests without a proof are `system:anonymous`; yes when not said.
    pub anonymous_auth: Option<bool>,
    /// `--client-ca-file`: who signs client certificates, besides the cluster's own authority.
    pub client_ca_file: Option<PathBuf>,
    /// `--token-auth-file`: tokens with fixed users, as CSV.
    pub token_auth_file: Option<PathBuf>,
    /// `--requestheader-*`: front proxies.
    pub request_header: RequestHeaderSettings,
    /// `--service-account-*`: tokens of service accounts.
    pub service_account: ServiceAccountSettings,
    /// `--api-audiences`: what tokens must be for; the issuer when empty.
    pub api_audiences: Vec<String>,
    /// `--authentication-config`: issuers of tokens and anonymity, instead of the flags about them.
    pub config_file: Option<PathBuf>,
    /// `--oidc-*`: one issuer of tokens.
    pub oidc: OidcSettings,
    /// `--authentication-token-webhook-*`: a server that knows tokens.
    pub webhook: TokenWebhookSettings,
}

/// One OpenID Connect issuer.
#[derive(Clone, Debug, Default)]
pub struct OidcSettings {
    /// `--oidc-issuer-url`; no issuer without one.
    pub issuer_url: Option<String>,
    /// `--oidc-client-id`: whom its tokens must be for.
    pub client_id: String,
    /// `--oidc-ca-file`; the system's certificates when none is given.
    pub ca_file: Option<PathBuf>,
    /// `--oidc-username-claim`; `sub` when empty.
    pub username_claim: String,
    /// `--oidc-username-prefix`; `-` for none; the issuer's URL and `#` when not said, but for e-mail addresses.
    pub username_prefix: Option<String>,
    /// `--oidc-groups-claim`; no groups when empty.
    pub groups_claim: String,
    /// `--oidc-groups-prefix`.
    pub groups_prefix: String,
    /// `--oidc-signing-algs`; RS256 when empty.
    pub signing_algs: Vec<String>,
    /// `--oidc-required-claim`: claims and what they must be.
    pub required_claims: Vec<(String, String)>,
}

/// A server that knows tokens.
#[derive(Clone, Debug)]
pub struct TokenWebhookSettings {
    /// `--authentication-token-webhook-config-file`: a kubeconfig; no server without one.
    pub config_file: Option<PathBuf>,
    /// `--authentication-token-webhook-version`: `v1` or `v1beta1`.
    pub version: String,
    /// `--authentication-token-webhook-cache-ttl`.
    pub cache_ttl: Duration,
}

impl Default for TokenWebhookSettings {
    fn default() -> TokenWebhookSettings {
        TokenWebhookSettings {
            config_file: None,
            version: "v1beta1".to_owned(),
            cache_ttl: Duration::from_secs(120),
        }
    }
}

/// Front proxies, which say in headers for whom they speak.
#[derive(Clone, Debug)]
pub struct RequestHeaderSettings {
    /// `--requestheader-client-ca-file`; the cluster's own authority for front proxies when none is given.
    pub client_ca_file: Option<PathBuf>,
    /// `--requestheader-allowed-names`: common names of proxies; any when empty.
    pub allowed_names: Vec<String>,
    /// `--requestheader-username-headers`.
    pub username_headers: Vec<String>,
    /// `--requestheader-uid-headers`.
    pub uid_headers: Vec<String>,
    /// `--requestheader-group-headers`.
    pub group_headers: Vec<String>,
    /// `--requestheader-extra-headers-prefix`.
    pub extra_headers_prefix: Vec<String>,
}

impl Default for RequestHeaderSettings {
    /// The headers that aggregated servers are sent, from the cluster's own front proxy.
    fn default() -> RequestHeaderSettings {
        let one = |text: &str| vec![text.to_owned()];
        RequestHeaderSettings {
            client_ca_file: None,
            allowed_names: one("front-proxy-client"),
            username_headers: one("X-Remote-User"),
            uid_headers: one("X-Remote-Uid"),
            group_headers: one("X-Remote-Group"),
            extra_headers_prefix: one("X-Remote-Extra-"),
        }
    }
}

/// Tokens of service accounts.
#[derive(Clone, Debug)]
pub struct ServiceAccountSettings {
    /// `--service-account-issuer`: the first signs, all are accepted; the cluster's own when empty.
    pub issuers: Vec<String>,
    /// `--service-account-key-file`: keys to accept besides the one that signs.
    pub key_files: Vec<PathBuf>,
    /// `--service-account-signing-key-file`; the cluster's own key when none is given.
    pub signing_key_file: Option<PathBuf>,
    /// `--service-account-max-token-expiration` in seconds; 0 for no bound.
    pub max_token_expiration: i64,
    /// `--service-account-extend-token-expiration`.
    pub extend_token_expiration: bool,
}

impl Default for ServiceAccountSettings {
    fn default() -> ServiceAccountSettings {
        ServiceAccountSettings {
            issuers: Vec::new(),
            key_files: Vec::new(),
            signing_key_file: None,
            max_token_expiration: 0,
            extend_token_expiration: true,
        }
    }
}

/// Who decides what callers may do.
#[derive(Clone, Debug)]
pub struct AuthorizationSettings {
    /// `--authorization-mode`, in the order in which they are asked; `Node,RBAC` when empty.
    pub modes: Vec<String>,
    /// `--authorization-config`: the authorizers, instead of the flags about them.
    pub config_file: Option<PathBuf>,
    /// `--authorization-policy-file`: a policy per line, for the mode `ABAC`.
    pub policy_file: Option<PathBuf>,
    /// `--authorization-webhook-config-file`: a kubeconfig, for the mode `Webhook`.
    pub webhook_config_file: Option<PathBuf>,
    /// `--authorization-webhook-version`: `v1` or `v1beta1`.
    pub webhook_version: String,
    /// `--authorization-webhook-cache-authorized-ttl`.
    pub webhook_authorized_ttl: Duration,
    /// `--authorization-webhook-cache-unauthorized-ttl`.
    pub webhook_unauthorized_ttl: Duration,
}

impl Default for AuthorizationSettings {
    fn default() -> AuthorizationSettings {
        AuthorizationSettings {
            modes: Vec::new(),
            config_file: None,
            policy_file: None,
            webhook_config_file: None,
            webhook_version: "v1beta1".to_owned(),
            webhook_authorized_ttl: Duration::from_secs(300),
            webhook_unauthorized_ttl: Duration::from_secs(30),
        }
    }
}

/// What the server shows of itself.
#[derive(Clone, Debug, Default)]
pub struct TlsSettings {
    /// `--tls-cert-file`; a certificate of the cluster's own authority when none is given.
    pub cert_file: Option<PathBuf>,
    /// `--tls-private-key-file`, its key.
    pub private_key_file: Option<PathBuf>,
}

/// What is written down about requests, and where.
#[derive(Clone, Debug, Default)]
pub struct AuditSettings {
    /// `--audit-policy-file`; without one nothing is written down.
    pub policy_file: Option<PathBuf>,
    /// `--audit-log-*`.
    pub log: AuditLogSettings,
    /// `--audit-webhook-*`.
    pub webhook: AuditWebhookSettings,
}

/// A server that keeps audit events.
#[derive(Clone, Debug)]
pub struct AuditWebhookSettings {
    /// `--audit-webhook-config-file`: a kubeconfig; no server without one.
    pub config_file: Option<PathBuf>,
    /// `--audit-webhook-mode` and `--audit-webhook-batch-*`.
    pub batch: AuditBatchSettings,
    /// `--audit-webhook-truncate-*`.
    pub truncate: AuditTruncateSettings,
}

impl Default for AuditWebhookSettings {
    fn default() -> AuditWebhookSettings {
        AuditWebhookSettings {
            config_file: None,
            batch: AuditBatchSettings::webhook(),
            truncate: AuditTruncateSettings::default(),
        }
    }
}

/// The audit log.
#[derive(Clone, Debug)]
pub struct AuditLogSettings {
    /// `--audit-log-path`; `-` is standard output.
    pub path: Option<PathBuf>,
    /// `--audit-log-format`: `json` or `legacy`.
    pub format: String,
    /// `--audit-log-maxage` in days; 0 for any age.
    pub max_age: u64,
    /// `--audit-log-maxbackup`; 0 for any number.
    pub max_backups: usize,
    /// `--audit-log-maxsize` in megabytes; 0 for any size.
    pub max_size: u64,
    /// `--audit-log-compress`.
    pub compress: bool,
    /// `--audit-log-mode` and `--audit-log-batch-*`.
    pub batch: AuditBatchSettings,
    /// `--audit-log-truncate-*`.
    pub truncate: AuditTruncateSettings,
}

impl Default for AuditLogSettings {
    fn default() -> AuditLogSettings {
        AuditLogSettings {
            path: None,
            format: "json".to_owned(),
            max_age: 366,
            max_backups: 100,
            max_size: 100,
            compress: false,
            batch: AuditBatchSettings::log(),
            truncate: AuditTruncateSettings::default(),
        }
    }
}

/// How a backend takes events.
#[derive(Clone, Debug)]
pub struct AuditBatchSettings {
    /// `batch`, `blocking` or `blocking-strict`.
    pub mode: String,
    /// Events that wait at most.
    pub buffer_size: usize,
    /// Events of a batch at most.
    pub max_size: usize,
    /// How long a batch that is not full waits.
    pub max_wait: Duration,
    /// Whether batches per second are bounded.
    pub throttle_enable: bool,
    /// By how many.
    pub throttle_qps: f32,
    /// How many may go at once after a pause.
    pub throttle_burst: usize,
}

impl AuditBatchSettings {
    /// Those of the log, which has no use for batches.
    pub fn log() -> AuditBatchSettings {
        AuditBatchSettings {
            mode: "blocking".to_owned(),
            max_size: 1,
            max_wait: Duration::ZERO,
            throttle_enable: false,
            throttle_qps: 0.0,
            throttle_burst: 0,
            ..AuditBatchSettings::webhook()
        }
    }

    /// Those of the webhook.
    pub fn webhook() -> AuditBatchSettings {
        AuditBatchSettings {
            mode: "batch".to_owned(),
            buffer_size: 10_000,
            max_size: 400,
            max_wait: Duration::from_secs(30),
            throttle_enable: true,
            throttle_qps: 10.0,
            throttle_burst: 15,
        }
    }
}

/// How large events and batches may be.
#[derive(Clone, Debug)]
pub struct AuditTruncateSettings {
    /// Whether they are bounded at all.
    pub enabled: bool,
    /// Bytes of a batch.
    pub max_batch_size: usize,
    /// Bytes of an event.
    pub max_event_size: usize,
}

impl Default for AuditTruncateSettings {
    fn default() -> AuditTruncateSettings {
        AuditTruncateSettings {
            enabled: false,
            max_batch_size: 10 * 1024 * 1024,
            max_event_size: 100 * 1024,
        }
    }
}
