//! Flags about access: who may come in, what they may do and what is written down about it. Names, meanings and defaults
//! are those of upstream's API server, for `corten apiserver` and `corten up` alike.

use anyhow::{Context, Result};
use clap::Args;
use corten_apiserver::{
    AccessSettings, AuditBatchSettings, AuditLogSettings, AuditSettings, AuditTruncateSettings,
    AuditWebhookSettings, AuthenticationSettings, AuthorizationSettings, OidcSettings,
    RequestHeaderSettings, ServiceAccountSettings, TlsSettings, TokenWebhookSettings,
};
use std::path::PathBuf;
use std::time::Duration;

/// Flags about access.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Access")]
pub struct AccessFlags {
    #[command(flatten)]
    authentication: AuthenticationFlags,
    #[command(flatten)]
    issuers: IssuerFlags,
    #[command(flatten)]
    authorization: AuthorizationFlags,
    #[command(flatten)]
    audit: AuditFlags,
    /// Show this certificate instead of one of the cluster's own authority.
    #[arg(long, value_name = "FILE", requires = "tls_private_key_file")]
    tls_cert_file: Option<PathBuf>,
    /// The key of that certificate.
    #[arg(long, value_name = "FILE", requires = "tls_cert_file")]
    tls_private_key_file: Option<PathBuf>,
}

#[derive(Clone, Debug, Default, Args)]
struct AuthenticationFlags {
    /// Whether requests without credentials act as system:anonymous [default: true].
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    anonymous_auth: Option<bool>,
    /// Accept client certificates of the authorities in this file too.
    #[arg(long, value_name = "FILE")]
    client_ca_file: Option<PathBuf>,
    /// Accept the tokens of this CSV file (token,user,uid[,"groups"]).
    #[arg(long, value_name = "FILE")]
    token_auth_file: Option<PathBuf>,
    /// What tokens must be for; the issuers by default.
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    api_audiences: Vec<String>,
    /// Accept front proxies with certificates of these authorities instead of the cluster's own.
    #[arg(long, value_name = "FILE")]
    requestheader_client_ca_file: Option<PathBuf>,
    /// Common names of front proxies; any when the file above is given and this is not.
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    requestheader_allowed_names: Vec<String>,
    /// Headers in which front proxies name the user [default: X-Remote-User].
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    requestheader_username_headers: Vec<String>,
    /// Headers in which front proxies name the user's uid [default: X-Remote-Uid].
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    requestheader_uid_headers: Vec<String>,
    /// Headers in which front proxies name groups [default: X-Remote-Group].
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    requestheader_group_headers: Vec<String>,
    /// Prefixes of headers with further facts [default: X-Remote-Extra-].
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    requestheader_extra_headers_prefix: Vec<String>,
    /// Issuer of service account tokens; may be given several times: the first signs, all are accepted.
    #[arg(long, value_name = "URL")]
    service_account_issuer: Vec<String>,
    /// Accept service account tokens signed with these keys too; may be given several times.
    #[arg(long, value_name = "FILE")]
    service_account_key_file: Vec<PathBuf>,
    /// Sign service account tokens with this key instead of the cluster's own.
    #[arg(long, value_name = "FILE")]
    service_account_signing_key_file: Option<PathBuf>,
    /// The longest lifetime of a service account token, such as 24h.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    service_account_max_token_expiration: Option<Duration>,
    /// Whether projected tokens live on for clients that do not read them again [default: true].
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    service_account_extend_token_expiration: Option<bool>,
}

/// Issuers of tokens, and a server that knows tokens.
#[derive(Clone, Debug, Default, Args)]
struct IssuerFlags {
    /// Issuers of tokens and anonymity from a file; read again when it changes.
    #[arg(long, value_name = "FILE")]
    authentication_config: Option<PathBuf>,
    /// Accept tokens of this OpenID Connect issuer.
    #[arg(long, value_name = "URL")]
    oidc_issuer_url: Option<String>,
    /// Whom its tokens must be for.
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    oidc_client_id: String,
    /// Authorities that the issuer's certificate may be of; the system's by default.
    #[arg(long, value_name = "FILE")]
    oidc_ca_file: Option<PathBuf>,
    /// The claim that names the user [default: sub].
    #[arg(
        long,
        value_name = "CLAIM",
        default_value = "",
        hide_default_value = true
    )]
    oidc_username_claim: String,
    /// Put before the user's name; - for nothing.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    oidc_username_prefix: Option<String>,
    /// The claim that names groups.
    #[arg(
        long,
        value_name = "CLAIM",
        default_value = "",
        hide_default_value = true
    )]
    oidc_groups_claim: String,
    /// Put before each group.
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    oidc_groups_prefix: String,
    /// Algorithms that its tokens may be signed with [default: RS256].
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    oidc_signing_algs: Vec<String>,
    /// A claim that must be so; may be given several times.
    #[arg(long, value_name = "CLAIM=VALUE", value_parser = pair)]
    oidc_required_claim: Vec<(String, String)>,
    /// Ask the server of this kubeconfig about tokens.
    #[arg(long, value_name = "FILE")]
    authentication_token_webhook_config_file: Option<PathBuf>,
    /// The version of TokenReview it is asked with [default: v1beta1].
    #[arg(long, value_name = "VERSION")]
    authentication_token_webhook_version: Option<String>,
    /// How long its answers are kept [default: 2m].
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    authentication_token_webhook_cache_ttl: Option<Duration>,
}

#[derive(Clone, Debug, Default, Args)]
struct AuthorizationFlags {
    /// Who decides, in order: Node, RBAC, ABAC, Webhook, AlwaysAllow, AlwaysDeny [default: Node,RBAC].
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    authorization_mode: Vec<String>,
    /// The authorizers from a file; read again when it changes.
    #[arg(long, value_name = "FILE")]
    authorization_config: Option<PathBuf>,
    /// The policies of this file, one per line, for the mode ABAC.
    #[arg(long, value_name = "FILE")]
    authorization_policy_file: Option<PathBuf>,
    /// Ask the server of this kubeconfig, for the mode Webhook.
    #[arg(long, value_name = "FILE")]
    authorization_webhook_config_file: Option<PathBuf>,
    /// The version of SubjectAccessReview it is asked with [default: v1beta1].
    #[arg(long, value_name = "VERSION")]
    authorization_webhook_version: Option<String>,
    /// How long "allowed" is kept [default: 5m].
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    authorization_webhook_cache_authorized_ttl: Option<Duration>,
    /// How long "not allowed" is kept [default: 30s].
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    authorization_webhook_cache_unauthorized_ttl: Option<Duration>,
}

#[derive(Clone, Debug, Default, Args)]
struct AuditFlags {
    /// Which requests are audited, and how much of them.
    #[arg(long, value_name = "FILE")]
    audit_policy_file: Option<PathBuf>,
    /// Write audit events to this file; - is standard output.
    #[arg(long, value_name = "FILE", allow_hyphen_values = true)]
    audit_log_path: Option<PathBuf>,
    /// json or legacy [default: json].
    #[arg(long, value_name = "FORMAT")]
    audit_log_format: Option<String>,
    /// Days to keep old audit logs, 0 for ever [default: 366].
    #[arg(long, value_name = "N")]
    audit_log_maxage: Option<u64>,
    /// Old audit logs to keep, 0 for all [default: 100].
    #[arg(long, value_name = "N")]
    audit_log_maxbackup: Option<usize>,
    /// Megabytes after which the audit log is put aside, 0 for never [default: 100].
    #[arg(long, value_name = "N")]
    audit_log_maxsize: Option<u64>,
    /// Compress audit logs put aside.
    #[arg(long)]
    audit_log_compress: bool,
    /// batch, blocking or blocking-strict [default: blocking].
    #[arg(long, value_name = "MODE")]
    audit_log_mode: Option<String>,
    /// Events that wait to be written, at most [default: 10000].
    #[arg(long, value_name = "N")]
    audit_log_batch_buffer_size: Option<usize>,
    /// Events written at once, at most [default: 1].
    #[arg(long, value_name = "N")]
    audit_log_batch_max_size: Option<usize>,
    /// How long to wait for a batch to fill.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    audit_log_batch_max_wait: Option<Duration>,
    /// Bound batches per second.
    #[arg(long)]
    audit_log_batch_throttle_enable: bool,
    /// Batches per second.
    #[arg(long, value_name = "N")]
    audit_log_batch_throttle_qps: Option<f32>,
    /// Batches at once after a pause.
    #[arg(long, value_name = "N")]
    audit_log_batch_throttle_burst: Option<usize>,
    /// Cut down events and batches that are too large.
    #[arg(long)]
    audit_log_truncate_enabled: bool,
    /// Bytes of a batch [default: 10485760].
    #[arg(long, value_name = "N")]
    audit_log_truncate_max_batch_size: Option<usize>,
    /// Bytes of an event [default: 102400].
    #[arg(long, value_name = "N")]
    audit_log_truncate_max_event_size: Option<usize>,
    /// Send audit events to the server of this kubeconfig.
    #[arg(long, value_name = "FILE")]
    audit_webhook_config_file: Option<PathBuf>,
    /// batch, blocking or blocking-strict [default: batch].
    #[arg(long, value_name = "MODE")]
    audit_webhook_mode: Option<String>,
    /// Events that wait to be sent, at most [default: 10000].
    #[arg(long, value_name = "N")]
    audit_webhook_batch_buffer_size: Option<usize>,
    /// Events sent at once, at most [default: 400].
    #[arg(long, value_name = "N")]
    audit_webhook_batch_max_size: Option<usize>,
    /// How long to wait for a batch to fill [default: 30s].
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    audit_webhook_batch_max_wait: Option<Duration>,
    /// Bound batches per second [default: true].
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    audit_webhook_batch_throttle_enable: Option<bool>,
    /// Batches per second [default: 10].
    #[arg(long, value_name = "N")]
    audit_webhook_batch_throttle_qps: Option<f32>,
    /// Batches at once after a pause [default: 15].
    #[arg(long, value_name = "N")]
    audit_webhook_batch_throttle_burst: Option<usize>,
    /// Cut down events and batches that are too large.
    #[arg(long)]
    audit_webhook_truncate_enabled: bool,
    /// Bytes of a batch [default: 10485760].
    #[arg(long, value_name = "N")]
    audit_webhook_truncate_max_batch_size: Option<usize>,
    /// Bytes of an event [default: 102400].
    #[arg(long, value_name = "N")]
    audit_webhook_truncate_max_event_size: Option<usize>,
}

/// A duration as Go writes it: `1h30m`, `500ms`.
pub(crate) fn duration(text: &str) -> Result<Duration> {
    let duration = corten_apiserver::duration(text);
    duration.with_context(|| format!("{text:?} is not a duration such as 1h30m or 500ms"))
}

/// `claim=value`.
fn pair(text: &str) -> Result<(String, String)> {
    let pair = text.split_once('=');
    let (claim, value) = pair.with_context(|| format!("{text:?} is not CLAIM=VALUE"))?;
    Ok((claim.to_owned(), value.to_owned()))
}

impl AccessFlags {
    /// What the API server is told.
    pub fn settings(self) -> AccessSettings {
        AccessSettings {
            authentication: self.issuers.add_to(self.authentication.settings()),
            authorization: self.authorization.settings(),
            audit: self.audit.settings(),
            tls: TlsSettings {
                cert_file: self.tls_cert_file,
                private_key_file: self.tls_private_key_file,
            },
        }
    }
}

fn or(given: Vec<String>, otherwise: Vec<String>) -> Vec<String> {
    if given.is_empty() { otherwise } else { given }
}

impl AuthenticationFlags {
    fn settings(self) -> AuthenticationSettings {
        let own = RequestHeaderSettings::default();
        let allowed_names = match self.requestheader_client_ca_file {
            Some(_) => self.requestheader_allowed_names,
            None => or(self.requestheader_allowed_names, own.allowed_names),
        };
        AuthenticationSettings {
            anonymous_auth: self.anonymous_auth,
            client_ca_file: self.client_ca_file,
            token_auth_file: self.token_auth_file,
            api_audiences: self.api_audiences,
            config_file: None,
            oidc: OidcSettings::default(),
            webhook: TokenWebhookSettings::default(),
            request_header: RequestHeaderSettings {
                client_ca_file: self.requestheader_client_ca_file,
                allowed_names,
                username_headers: or(self.requestheader_username_headers, own.username_headers),
                uid_headers: or(self.requestheader_uid_headers, own.uid_headers),
                group_headers: or(self.requestheader_group_headers, own.group_headers),
                extra_headers_prefix: or(
                    self.requestheader_extra_headers_prefix,
                    own.extra_headers_prefix,
                ),
            },
            service_account: ServiceAccountSettings {
                issuers: self.service_account_issuer,
                key_files: self.service_account_key_file,
                signing_key_file: self.service_account_signing_key_file,
                max_token_expiration: self
                    .service_account_max_token_expiration
                    .map_or(0, |d| d.as_secs() as i64),
                extend_token_expiration: self
                    .service_account_extend_token_expiration
                    .unwrap_or(true),
            },
        }
    }
}

impl IssuerFlags {
    fn add_to(self, settings: AuthenticationSettings) -> AuthenticationSettings {
        let own = TokenWebhookSettings::default();
        AuthenticationSettings {
            config_file: self.authentication_config,
            oidc: OidcSettings {
                issuer_url: self.oidc_issuer_url,
                client_id: self.oidc_client_id,
                ca_file: self.oidc_ca_file,
                username_claim: self.oidc_username_claim,
                username_prefix: self.oidc_username_prefix,
                groups_claim: self.oidc_groups_claim,
                groups_prefix: self.oidc_groups_prefix,
                signing_algs: self.oidc_signing_algs,
                required_claims: self.oidc_required_claim,
            },
            webhook: TokenWebhookSettings {
                config_file: self.authentication_token_webhook_config_file,
                version: self
                    .authentication_token_webhook_version
                    .unwrap_or(own.version),
                cache_ttl: self
                    .authentication_token_webhook_cache_ttl
                    .unwrap_or(own.cache_ttl),
            },
            ..settings
        }
    }
}

impl AuthorizationFlags {
    fn settings(self) -> AuthorizationSettings {
        let own = AuthorizationSettings::default();
        AuthorizationSettings {
            modes: self.authorization_mode,
            config_file: self.authorization_config,
            policy_file: self.authorization_policy_file,
            webhook_config_file: self.authorization_webhook_config_file,
            webhook_version: self
                .authorization_webhook_version
                .unwrap_or(own.webhook_version),
            webhook_authorized_ttl: self
                .authorization_webhook_cache_authorized_ttl
                .unwrap_or(own.webhook_authorized_ttl),
            webhook_unauthorized_ttl: self
                .authorization_webhook_cache_unauthorized_ttl
                .unwrap_or(own.webhook_unauthorized_ttl),
        }
    }
}

impl AuditFlags {
    fn webhook(&self) -> AuditWebhookSettings {
        let own = AuditWebhookSettings::default();
        let (batch, truncate) = (own.batch, own.truncate);
        let mode = self.audit_webhook_mode.clone();
        AuditWebhookSettings {
            config_file: self.audit_webhook_config_file.clone(),
            batch: AuditBatchSettings {
                mode: mode.unwrap_or(batch.mode),
                buffer_size: self
                    .audit_webhook_batch_buffer_size
                    .unwrap_or(batch.buffer_size),
                max_size: self.audit_webhook_batch_max_size.unwrap_or(batch.max_size),
                max_wait: self.audit_webhook_batch_max_wait.unwrap_or(batch.max_wait),
                throttle_enable: self
                    .audit_webhook_batch_throttle_enable
                    .unwrap_or(batch.throttle_enable),
                throttle_qps: self
                    .audit_webhook_batch_throttle_qps
                    .unwrap_or(batch.throttle_qps),
                throttle_burst: self
                    .audit_webhook_batch_throttle_burst
                    .unwrap_or(batch.throttle_burst),
            },
            truncate: AuditTruncateSettings {
                enabled: self.audit_webhook_truncate_enabled,
                max_batch_size: self
                    .audit_webhook_truncate_max_batch_size
                    .unwrap_or(truncate.max_batch_size),
                max_event_size: self
                    .audit_webhook_truncate_max_event_size
                    .unwrap_or(truncate.max_event_size),
            },
        }
    }

    fn settings(self) -> AuditSettings {
        let own = AuditLogSettings::default();
        AuditSettings {
            webhook: self.webhook(),
            policy_file: self.audit_policy_file,
            log: AuditLogSettings {
                path: self.audit_log_path,
                format: self.audit_log_format.unwrap_or(own.format),
                max_age: self.audit_log_maxage.unwrap_or(own.max_age),
                max_backups: self.audit_log_maxbackup.unwrap_or(own.max_backups),
                max_size: self.audit_log_maxsize.unwrap_or(own.max_size),
                compress: self.audit_log_compress,
                batch: AuditBatchSettings {
                    mode: self.audit_log_mode.unwrap_or(own.batch.mode),
                    buffer_size: self
                        .audit_log_batch_buffer_size
                        .unwrap_or(own.batch.buffer_size),
                    max_size: self.audit_log_batch_max_size.unwrap_or(own.batch.max_size),
                    max_wait: self.audit_log_batch_max_wait.unwrap_or(own.batch.max_wait),
                    throttle_enable: self.audit_log_batch_throttle_enable,
                    throttle_qps: self.audit_log_batch_throttle_qps.unwrap_or_default(),
                    throttle_burst: self.audit_log_batch_throttle_burst.unwrap_or_default(),
                },
                truncate: AuditTruncateSettings {
                    enabled: self.audit_log_truncate_enabled,
                    max_batch_size: self
                        .audit_log_truncate_max_batch_size
                        .unwrap_or(own.truncate.max_batch_size),
                    max_event_size: self
                        .audit_log_truncate_max_event_size
                        .unwrap_or(own.truncate.max_event_size),
                },
            },
        }
    }
}
