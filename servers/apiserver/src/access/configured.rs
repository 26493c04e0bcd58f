//! Issuers, anonymity and authorizers as flags or configuration files have them. Invariant: a file and the flags about
//! the same thing exclude each other.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use corten_access::configuration::{
    AuthenticationConfiguration, AuthorizationConfiguration, ClaimValidationRule, FailurePolicy,
    JwtAuthenticator, WebhookAuthorizer,
};

use super::read;
use crate::Error;
use crate::authentication::Anonymous;
use crate::authentication::oidc::{ALGORITHMS, Issuer};
use crate::authorization::{Authorizer, Webhook};
use crate::remote::Remote;
use crate::settings::{AuthenticationSettings, AuthorizationSettings, OidcSettings};

/// Who is known besides the cluster's own.
pub(super) struct Configured {
    pub anonymous: Anonymous,
    pub issuers: Vec<Arc<Issuer>>,
}

/// A YAML file as JSON.
pub(super) fn json(path: &Path) -> Result<String, Error> {
    let fail = |why: String| Error::Settings {
        path: path.to_owned(),
        why,
    };
    let value = corten_codec::yaml::decode_value(read(path)?.as_bytes());
    let value = value.map_err(|e| fail(e.to_string()))?;
    let json = corten_codec::json::encode_value(&value);
    String::from_utf8(json).map_err(|e| fail(e.to_string()))
}

pub(super) fn authentication(
    settings: &AuthenticationSettings,
    disallowed: &[String],
) -> Result<Configured, Error> {
    let by_flag = match settings.anonymous_auth {
        Some(false) => Anonymous::Off,
        _ => Anonymous::Everywhere,
    };
    let Some(path) = &settings.config_file else {
        return Ok(Configured {
            anonymous: by_flag,
            issuers: by_flags(&settings.oidc)?.into_iter().collect(),
        });
    };
    if settings.oidc.issuer_url.is_some() {
        let why = "authentication-config file and oidc-* flags are mutually exclusive";
        return Err(Error::Flag(why.to_owned()));
    }
    let fail = |why: String| Error::Settings {
        path: path.clone(),
        why,
    };
    let config = AuthenticationConfiguration::parse(&json(path)?, disallowed).map_err(fail)?;
    let anonymous = match &config.anonymous {
        None => by_flag,
        Some(_) if settings.anonymous_auth.is_some() => {
            let why = "--anonymous-auth flag cannot be set when anonymous field is configured in authentication configuration file";
            return Err(Error::Flag(why.to_owned()));
        }
        Some(anonymous) if !anonymous.enabled => Anonymous::Off,
        Some(anonymous) if anonymous.conditions.is_empty() => Anonymous::Everywhere,
        Some(anonymous) => {
            let paths = anonymous.conditions.iter();
            Anonymous::Paths(paths.map(|c| c.path.clone()).collect())
        }
    };
    let algorithms = ALGORITHMS.map(str::to_owned);
    let issuers = config.jwt.into_iter();
    let issuers = issuers.map(|jwt| Issuer::new(jwt, &algorithms).map(Arc::new));
    Ok(Configured {
        anonymous,
        issuers: issuers.collect::<Result<_, _>>().map_err(fail)?,
    })
}

/// The issuer that the flags name.
fn by_flags(settings: &OidcSettings) -> Result<Option<Arc<Issuer>>, Error> {
    let Some(url) = &settings.issuer_url else {
        return match settings.client_id.is_empty() {
            true => Ok(None),
            false => Err(Error::Flag(
                "oidc-issuer-url and oidc-client-id must be specified together when any oidc-* flags are set".to_owned(),
            )),
        };
    };
    if settings.client_id.is_empty() {
        let why = "oidc-issuer-url and oidc-client-id must be specified together when any oidc-* flags are set";
        return Err(Error::Flag(why.to_owned()));
    }
    let username = match settings.username_claim.as_str() {
        "" => "sub",
        claim => claim,
    };
    let prefix = match settings.username_prefix.as_deref() {
        Some("-") => String::new(),
        Some(prefix) if !prefix.is_empty() => prefix.to_owned(),
        _ if username == "email" => String::new(),
        _ => format!("{url}#"),
    };
    let mut config = JwtAuthenticator::default();
    config.issuer.url = url.clone();
    config.issuer.audiences = vec![settings.client_id.clone()];
    if let Some(path) = &settings.ca_file {
        config.issuer.certificate_authority = read(path)?;
    }
    config.claim_mappings.username.claim = username.to_owned();
    config.claim_mappings.username.prefix = Some(prefix);
    if !settings.groups_claim.is_empty() {
        config.claim_mappings.groups.claim = settings.groups_claim.clone();
        config.claim_mappings.groups.prefix = Some(settings.groups_prefix.clone());
    }
    for (claim, value) in &settings.required_claims {
        config.claim_validation_rules.push(ClaimValidationRule {
            claim: claim.clone(),
            required_value: value.clone(),
            ..ClaimValidationRule::default()
        });
    }
    let mut errors = Vec::new();
    config.check("oidc", &[], &mut errors);
    if !errors.is_empty() {
        return Err(Error::Flag(errors.join(", ")));
    }
    let mut algorithms = settings.signing_algs.clone();
    if algorithms.is_empty() {
        algorithms = vec!["RS256".to_owned()];
    }
    if let Some(unknown) = algorithms
        .iter()
        .find(|a| !ALGORITHMS.contains(&a.as_str()))
    {
        return Err(Error::Flag(format!(
            "oidc: unsupported signing alg: {unknown:?}"
        )));
    }
    let issuer = Issuer::new(config, &algorithms).map_err(Error::Flag)?;
    Ok(Some(Arc::new(issuer)))
}

pub(super) fn authorizers(settings: &AuthorizationSettings) -> Result<Vec<Authorizer>, Error> {
    let Some(path) = &settings.config_file else {
        return by_modes(settings);
    };
    let by_flags = !settings.modes.is_empty()
        || settings.webhook_config_file.is_some()
        || settings.policy_file.is_some();
    if by_flags {
        let why = "--authorization-config can not be specified when --authorization-mode or --authorization-webhook-* flags are defined";
        return Err(Error::Flag(why.to_owned()));
    }
    let fail = |why: String| Error::Settings {
        path: path.clone(),
        why,
    };
    let config = AuthorizationConfiguration::parse(&json(path)?).map_err(fail)?;
    let mut chain = Vec::new();
    for authorizer in config.authorizers {
        chain.push(match authorizer.webhook {
            None => simple(&authorizer.kind)?,
            Some(webhook) => {
                let file = webhook
                    .connection_info
                    .kube_config_file
                    .clone()
                    .unwrap_or_default();
                let remote = Remote::read(&PathBuf::from(file))?;
                Authorizer::Webhook(Webhook::new(authorizer.name, webhook, remote).map_err(fail)?)
            }
        });
    }
    Ok(chain)
}

fn simple(mode: &str) -> Result<Authorizer, Error> {
    Ok(match mode {
        "AlwaysAllow" => Authorizer::AlwaysAllow,
        "AlwaysDeny" => Authorizer::AlwaysDeny,
        "Node" => Authorizer::Node,
        "RBAC" => Authorizer::Rbac,
        other => {
            return Err(Error::Flag(format!(
                "authorization-mode {other:?} is not a valid mode"
            )));
        }
    })
}

fn by_modes(settings: &AuthorizationSettings) -> Result<Vec<Authorizer>, Error> {
    let default = ["Node".to_owned(), "RBAC".to_owned()];
    let modes = match settings.modes.is_empty() {
        true => &default[..],
        false => &settings.modes[..],
    };
    if settings.webhook_config_file.is_some() && !modes.iter().any(|m| m == "Webhook") {
        let why = "cannot specify --authorization-webhook-config-file without mode Webhook";
        return Err(Error::Flag(why.to_owned()));
    }
    if settings.policy_file.is_some() && !modes.iter().any(|m| m == "ABAC") {
        let why = "cannot specify --authorization-policy-file without mode ABAC";
        return Err(Error::Flag(why.to_owned()));
    }
    let mut chain = Vec::new();
    for (index, mode) in modes.iter().enumerate() {
        if modes[..index].contains(mode) {
            return Err(Error::Flag(format!(
                "authorization-mode {mode:?} has mode specified more than once"
            )));
        }
        if mode == "ABAC" {
            chain.push(abac(settings.policy_file.as_deref())?);
            continue;
        }
        if mode != "Webhook" {
            chain.push(simple(mode)?);
            continue;
        }
        let why = "authorization-mode Webhook's authorization config file not passed";
        let path = settings.webhook_config_file.as_ref();
        let path = path.ok_or_else(|| Error::Flag(why.to_owned()))?;
        let config = WebhookAuthorizer {
            authorized_ttl: settings.webhook_authorized_ttl,
            unauthorized_ttl: settings.webhook_unauthorized_ttl,
            timeout: Duration::from_secs(30),
            subject_access_review_version: settings.webhook_version.clone(),
            failure_policy: Some(FailurePolicy::NoOpinion),
            ..WebhookAuthorizer::default()
        };
        let webhook = Webhook::new("webhook".to_owned(), config, Remote::read(path)?);
        let webhook = webhook.map_err(Error::Flag)?;
        chain.push(Authorizer::Webhook(webhook));
    }
    Ok(chain)
}

/// The authorizer of a policy file.
fn abac(path: Option<&Path>) -> Result<Authorizer, Error> {
    let why = "authorization-mode ABAC's authorization policy file not passed";
    let path = path.ok_or_else(|| Error::Flag(why.to_owned()))?;
    let policy = corten_access::abac::Policy::parse(&read(path)?);
    let policy = policy.map_err(|why| Error::Settings {
        path: path.to_owned(),
        why,
    })?;
    Ok(Authorizer::Abac(policy))
}
