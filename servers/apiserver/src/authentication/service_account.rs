//! Tokens of service accounts, both kinds: those that the API signs (bound to a pod, secret or node, with a lifetime)
//! and those that live in secrets. Invariant: a token is worth nothing once what it is bound to is gone, whatever its
//! signature and lifetime; only the verdict on the signature is kept.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use corten_access::UserInfo;
use corten_api::core::v1::{Node, Pod, Secret, ServiceAccount};
use corten_api::meta::v1::ObjectMeta;
use corten_client::Status;
use corten_core::Time;
use corten_meta::{Found, Snapshot};

use super::AUTHENTICATED;
use super::tokens::{Token, own_audiences};
use crate::jwt::{Bound, Claims, Reference, TokenKeys};
use crate::options::WriteOptions;
use crate::patching::{self, PatchKind};
use crate::server::Server;
use crate::write::Aim;
use crate::{audit, bootstrap};

/// How far clocks may be apart, in seconds.
const LEEWAY: i64 = 60;
const LAST_USED: &str = "kubernetes.io/legacy-token-last-used";
const INVALID_SINCE: &str = "kubernetes.io/legacy-token-invalid-since";

const USE_OTHERS: &str = "Use tokens from the TokenRequest API or manually created secret-based tokens instead of \
                          auto-generated secret-based tokens.";

/// Claims of tokens whose signature was found good, so that a busy client's is not verified with every request.
#[derive(Default)]
pub(crate) struct Verified(Mutex<HashMap<[u8; 32], Arc<Claims>>>);

impl Verified {
    const MAX: usize = 8192;

    fn claims(&self, keys: &TokenKeys, token: &str) -> Result<Arc<Claims>, String> {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes());
        let digest: [u8; 32] = digest.as_ref().try_into().unwrap_or_default();
        if let Some(claims) = self.0.lock().get(&digest) {
            return Ok(claims.clone());
        }
        let claims = Arc::new(keys.verify(token)?);
        let mut known = self.0.lock();
        if known.len() >= Verified::MAX {
            known.clear();
        }
        known.insert(digest, claims.clone());
        Ok(claims)
    }

    /// Forgets everything, when keys change.
    pub(crate) fn clear(&self) {
        self.0.lock().clear();
    }
}

/// The user of a service account's token, for one of the wanted audiences; nothing for other tokens.
pub(super) fn user(
    server: &Arc<Server>,
    token: &str,
    audiences: &[String],
) -> Result<Option<Token>, String> {
    let Some(issuer) = TokenKeys::unverified_issuer(token) else {
        return Ok(None);
    };
    let legacy = issuer == crate::secret_tokens::ISSUER;
    if !legacy && !server.config.issuers.contains(&issuer) {
        return Ok(None);
    }
    let verified = &server.access.authentication.verified;
    let claims = verified.claims(&server.token_keys, token)?;
    if legacy {
        return legacy_user(server, &claims, token, audiences).map(Some);
    }
    let matching: Vec<String> = claims
        .aud
        .0
        .iter()
        .filter(|a| audiences.contains(a))
        .cloned()
        .collect();
    if matching.is_empty() {
        return Err(format!(
            "token audiences {:?} is invalid for the target audiences {:?}",
            Listed(&claims.aud.0),
            Listed(audiences)
        ));
    }
    let user = bound_user(server, &claims)?;
    Ok(Some(Token {
        user,
        audiences: matching,
        warnings: Vec::new(),
    }))
}

/// A list as Go prints it with `%q`.
struct Listed<'a>(&'a [String]);

impl std::fmt::Debug for Listed<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let quoted: Vec<String> = self.0.iter().map(|s| format!("{s:?}")).collect();
        write!(f, "[{}]", quoted.join(" "))
    }
}

/// The user of a token that the API signed.
fn bound_user(server: &Server, claims: &Claims) -> Result<UserInfo, String> {
    let now = server.unix_seconds();
    check_times(claims, now)?;
    let bound = claims
        .kubernetes
        .as_ref()
        .ok_or("the token names no service account")?;
    let snapshot = server.typed.snapshot();
    check_bindings(&snapshot, bound, now)?;
    if let Some(warn_after) = bound.warnafter.filter(|at| *at != 0) {
        let stale = now > warn_after;
        server.metrics.service_account_token(stale);
        if stale {
            let note = format!(
                "subject: {}, seconds after warning threshold: {}",
                claims.sub,
                now - warn_after
            );
            audit::annotate("authentication.k8s.io/stale-token", &note);
        }
    }
    let account = &bound.serviceaccount;
    let mut user = service_account(&bound.namespace, &account.name, &account.uid);
    let mut extra = |key: &str, value: &str| {
        let key = format!("authentication.kubernetes.io/{key}");
        user.extra.insert(key, vec![value.to_owned()]);
    };
    if !claims.jti.is_empty() {
        extra("credential-id", &format!("JTI={}", claims.jti));
    }
    if let Some(pod) = &bound.pod {
        extra("pod-name", &pod.name);
        extra("pod-uid", &pod.uid);
    }
    if let Some(node) = &bound.node {
        extra("node-name", &node.name);
        if !node.uid.is_empty() {
            extra("node-uid", &node.uid);
        }
    }
    Ok(user)
}

fn check_times(claims: &Claims, now: i64) -> Result<(), &'static str> {
    if claims.nbf > now + LEEWAY {
        return Err("service account token is not valid yet");
    }
    if claims.exp < now - LEEWAY {
        return Err("service account token has expired");
    }
    if claims.iat > now + LEEWAY {
        return Err("service account token is issued in the future");
    }
    Ok(())
}

/// Whether everything that the token is bound to is still there.
fn check_bindings(snapshot: &Snapshot, bound: &Bound, now: i64) -> Result<(), String> {
    let namespace = bound.namespace.as_str();
    let account = &bound.serviceaccount;
    let found = snapshot
        .get::<ServiceAccount>(namespace, &account.name)
        .ok_or_else(|| format!("serviceaccounts {:?} not found", account.name))?;
    if found.metadata.uid != account.uid {
        return Err(format!(
            "service account UID ({}) does not match claim ({})",
            found.metadata.uid, account.uid
        ));
    }
    if is_gone(&found.metadata, now) {
        return Err(format!(
            "service account {namespace}/{} has been deleted",
            account.name
        ));
    }
    if let Some(secret) = &bound.secret {
        let found = snapshot.find::<Secret>(namespace, &secret.name);
        check(found.as_ref().map(|s| &s.metadata), secret, "secret", now)?;
    }
    if let Some(pod) = &bound.pod {
        let found = snapshot.find::<Pod>(namespace, &pod.name);
        check(found.as_ref().map(|p| &p.metadata), pod, "pod", now)?;
    } else if let Some(node) = &bound.node {
        // With a pod, the node is only told, not checked.
        let found = snapshot.get::<Node>("", &node.name);
        check(found.map(|n| &n.metadata), node, "node", now)?;
    }
    Ok(())
}

fn check(
    found: Option<&ObjectMeta>,
    wanted: &Reference,
    kind: &str,
    now: i64,
) -> Result<(), String> {
    let found = found.ok_or("service account token has been invalidated")?;
    if found.uid != wanted.uid {
        return Err(format!(
            "{kind} UID ({}) does not match service account {kind} ref claim ({})",
            found.uid, wanted.uid
        ));
    }
    match is_gone(found, now) {
        true => Err("service account token has been invalidated".to_owned()),
        false => Ok(()),
    }
}

/// Whether it should be gone by now, however long it takes.
fn is_gone(found: &ObjectMeta, now: i64) -> bool {
    let deleted = found.deletion_timestamp.map(Time::unix);
    deleted.is_some_and(|at| at < now - LEEWAY)
}

/// The user of a token kept in a secret (`kubernetes.io/service-account-token`).
fn legacy_user(
    server: &Arc<Server>,
    claims: &Claims,
    token: &str,
    audiences: &[String],
) -> Result<Token, String> {
    audit::annotate("authentication.k8s.io/legacy-token", &claims.sub);
    server
        .metrics
        .legacy_token("serviceaccount_legacy_tokens_total");
    let snapshot = server.typed.snapshot();
    let (namespace, name) = (
        claims.legacy_namespace.as_str(),
        claims.legacy_name.as_str(),
    );
    let secret = check_legacy(&snapshot, claims, token)?;
    let account = snapshot
        .get::<ServiceAccount>(namespace, name)
        .ok_or_else(|| format!("serviceaccounts {name:?} not found"))?;
    if account.metadata.deletion_timestamp.is_some() {
        return Err(format!(
            "ServiceAccount {namespace}/{name} has been deleted"
        ));
    }
    if account.metadata.uid != claims.legacy_uid {
        return Err(format!(
            "ServiceAccount UID ({}) does not match claim ({})",
            account.metadata.uid, claims.legacy_uid
        ));
    }
    let secret_name = &secret.metadata.name;
    check_not_invalidated(server, &secret, namespace, name)?;
    let mut found = own_audiences(
        server,
        service_account(namespace, name, &claims.legacy_uid),
        audiences,
    )
    .ok_or_else(|| {
        format!(
            "token audiences {:?} is invalid for the target audiences {:?}",
            Listed(&server.config.audiences),
            Listed(audiences)
        )
    })?;
    let (kind, metric) = match account.secrets.iter().any(|s| s.name == *secret_name) {
        true => (
            "autogenerated",
            "serviceaccount_legacy_auto_token_uses_total",
        ),
        false => ("manual", "serviceaccount_legacy_manual_token_uses_total"),
    };
    if kind == "autogenerated" {
        found.warnings.push(USE_OTHERS.to_owned());
    }
    audit::annotate(
        &format!("authentication.k8s.io/legacy-token-{kind}-secret"),
        secret_name,
    );
    server.metrics.legacy_token(metric);
    note_use(server, &secret);
    Ok(found)
}

/// An error, told to those who watch, when the secret was marked as no longer valid.
fn check_not_invalidated(
    server: &Arc<Server>,
    secret: &Secret,
    namespace: &str,
    name: &str,
) -> Result<(), String> {
    let since = secret.metadata.labels.get(INVALID_SINCE);
    if since.is_none_or(|since| since.is_empty()) {
        return Ok(());
    }
    let secret_name = &secret.metadata.name;
    let note = format!("{secret_name}/{namespace}");
    audit::annotate("authentication.k8s.io/legacy-token-invalidated", &note);
    let metric = "serviceaccount_invalid_legacy_auto_token_uses_total";
    server.metrics.legacy_token(metric);
    note_use(server, secret);
    Err(format!(
        "the token in secret {namespace}/{secret_name} for service account {namespace}/{name} has been marked \
         invalid. Use tokens from the TokenRequest API or manually created secret-based tokens, or remove the \
         '{INVALID_SINCE}' label from the secret to temporarily allow use of this token"
    ))
}

/// The secret that keeps the token.
fn check_legacy(
    snapshot: &Snapshot,
    claims: &Claims,
    token: &str,
) -> Result<Found<Secret>, String> {
    let present = [
        (&claims.sub, "sub claim is missing"),
        (&claims.legacy_namespace, "namespace claim is missing"),
        (&claims.legacy_secret, "secretName claim is missing"),
        (&claims.legacy_name, "serviceAccountName claim is missing"),
        (&claims.legacy_uid, "serviceAccountUID claim is missing"),
    ];
    if let Some((_, why)) = present.into_iter().find(|(value, _)| value.is_empty()) {
        return Err(why.to_owned());
    }
    let expected = format!(
        "system:serviceaccount:{}:{}",
        claims.legacy_namespace, claims.legacy_name
    );
    if claims.sub != expected {
        return Err("sub claim is invalid".to_owned());
    }
    let secret = snapshot
        .find::<Secret>(&claims.legacy_namespace, &claims.legacy_secret)
        .filter(|s| s.metadata.deletion_timestamp.is_none())
        .ok_or("Token has been invalidated")?;
    let kept: &[u8] = secret.data.get("token").map_or(&[], |v| v);
    match aws_lc_rs::constant_time::verify_slices_are_equal(kept, token.as_bytes()) {
        Ok(()) => Ok(secret),
        Err(_) => Err("Token does not match server's copy".to_owned()),
    }
}

/// Labels the secret with the day of its use, in the background.
fn note_use(server: &Arc<Server>, secret: &Secret) {
    let today = server.now().to_string();
    let tomorrow = Time::from_unix(server.unix_seconds() + 86_400).to_string();
    let (today, tomorrow) = (today[..10].to_owned(), &tomorrow[..10]);
    let last = secret
        .metadata
        .labels
        .get(LAST_USED)
        .map_or("", |v| v.as_str());
    if last == today || last == tomorrow {
        return;
    }
    let (server, secret) = (server.clone(), secret.metadata.clone());
    tokio::spawn(async move {
        if let Err(error) = label_use(&server, &secret, &today).await {
            tracing::warn!(%error, secret = %secret.name, "label a token's secret with the day of its use");
        }
    });
}

async fn label_use(server: &Arc<Server>, secret: &ObjectMeta, day: &str) -> Result<(), Status> {
    let catalog = server.catalog();
    let served = catalog
        .find("", "v1", "secrets")
        .ok_or_else(Status::no_such_path)?;
    let aim = Aim {
        served,
        namespace: &secret.namespace,
        name: &secret.name,
        subresource: "",
    };
    let patch = serde_json::json!({
        "metadata": { "uid": secret.uid.as_str(), "labels": { LAST_USED: day } },
    });
    let patch = Bytes::from(patch.to_string());
    let options = WriteOptions {
        manager: "kube-apiserver".into(),
        ..WriteOptions::default()
    };
    let user = bootstrap::loopback();
    patching::patch(server, &user, &aim, PatchKind::Merge, &patch, &options).await?;
    Ok(())
}

/// The user a service account is.
pub(crate) fn service_account(namespace: &str, name: &str, uid: &str) -> UserInfo {
    UserInfo {
        name: format!("system:serviceaccount:{namespace}:{name}"),
        uid: uid.to_owned(),
        groups: vec![
            "system:serviceaccounts".into(),
            format!("system:serviceaccounts:{namespace}"),
            AUTHENTICATED.into(),
        ],
        ..UserInfo::default()
    }
}

/// The namespace and name of a service account's user name.
pub(crate) fn account_of(user: &str) -> Option<(&str, &str)> {
    let rest = user.strip_prefix("system:serviceaccount:")?;
    let (namespace, name) = rest.split_once(':')?;
    let label = |text: &str| {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        text.bytes().all(|b| plain(b) || b == b'-')
            && text.len() <= 63
            && text.bytes().next().is_some_and(plain)
            && text.bytes().last().is_some_and(plain)
    };
    (label(namespace) && is_dns_subdomain(name)).then_some((namespace, name))
}

/// Whether a text is a DNS-1123 subdomain.
pub(crate) fn is_dns_subdomain(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let label = |l: &str| {
        l.bytes().all(|b| plain(b) || b == b'-')
            && l.bytes().next().is_some_and(plain)
            && l.bytes().last().is_some_and(plain)
    };
    text.len() <= 253 && text.split('.').all(label)
}
