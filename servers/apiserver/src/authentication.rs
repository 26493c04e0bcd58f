//! Who is asking: client certificates, service account tokens (bound to live objects), bootstrap tokens, static
//! tokens, anonymous; then impersonation. Invariant: a bearer token that is not valid is 401, never anonymous.

use std::sync::Arc;

use http::HeaderMap;
use http::header::AUTHORIZATION;

use corten_access::{Attributes, Decision, UserInfo};
use corten_client::Status;
use corten_store::Key;

use crate::info::RequestInfo;
use crate::jwt::{Claims, Reference, TokenKeys};
use crate::serve::Peer;
use crate::server::Server;

/// The group of everyone who proved who they are.
pub(crate) const AUTHENTICATED: &str = "system:authenticated";
const UNAUTHENTICATED: &str = "system:unauthenticated";

/// The user of a request before impersonation. `Err` = 401.
pub(crate) fn authenticate(
    server: &Server,
    peer: &Peer,
    headers: &HeaderMap,
) -> Result<Arc<UserInfo>, Status> {
    if let Some(user) = &peer.certificate {
        return Ok(Arc::new(with_authenticated((**user).clone())));
    }
    if let Some(token) = bearer(headers) {
        return match token_user(server, &token, &server.config.audiences) {
            Ok((user, _)) => Ok(Arc::new(with_authenticated(user))),
            Err(why) => {
                tracing::debug!(why, "unable to authenticate the request");
                Err(Status::unauthorized())
            }
        };
    }
    if !server.config.anonymous {
        return Err(Status::unauthorized());
    }
    Ok(Arc::new(UserInfo {
        name: "system:anonymous".into(),
        groups: vec![UNAUTHENTICATED.into()],
        ..UserInfo::default()
    }))
}

/// The bearer token of a request: the Authorization header, or the WebSocket subprotocol browsers use.
fn bearer(headers: &HeaderMap) -> Option<String> {
    if let Some(value) = headers.get(AUTHORIZATION).and_then(|v| v.to_str().ok()) {
        let (scheme, token) = value.trim().split_once(' ')?;
        let token = token.trim();
        return (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty())
            .then(|| token.to_owned());
    }
    let protocols = headers.get("sec-websocket-protocol")?.to_str().ok()?;
    let encoded = protocols.split(',').find_map(|p| {
        p.trim()
            .strip_prefix("base64url.bearer.authorization.k8s.io.")
    })?;
    use base64::Engine as _;
    let token = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(encoded.trim_end_matches('='))
        .ok()?;
    String::from_utf8(token).ok()
}

fn with_authenticated(mut user: UserInfo) -> UserInfo {
    if !user
        .groups
        .iter()
        .any(|g| g == AUTHENTICATED || g == UNAUTHENTICATED)
    {
        user.groups.push(AUTHENTICATED.into());
    }
    user
}

/// The user and the matching audiences of a token. `Err` says why it is refused, for the log.
pub(crate) fn token_user(
    server: &Server,
    token: &str,
    audiences: &[String],
) -> Result<(UserInfo, Vec<String>), &'static str> {
    if let Some(user) = server.config.static_tokens.get(token) {
        return Ok((user.clone(), audiences.to_vec()));
    }
    if let Some((id, secret)) = bootstrap_parts(token) {
        return bootstrap_user(server, id, secret).map(|user| (user, audiences.to_vec()));
    }
    if TokenKeys::unverified_issuer(token).is_none() {
        return Err("the token is of no known kind");
    }
    let claims = server
        .token_keys
        .verify(token)
        .ok_or("the token's signature is not valid")?;
    service_account_user(server, &claims, audiences)
}

fn service_account_user(
    server: &Server,
    claims: &Claims,
    audiences: &[String],
) -> Result<(UserInfo, Vec<String>), &'static str> {
    if claims.iss == "kubernetes/serviceaccount" {
        return legacy_user(server, claims).map(|user| (user, audiences.to_vec()));
    }
    let now = server.unix_seconds();
    if claims.iss != server.config.issuer {
        return Err("the token is of another issuer");
    }
    if claims.exp <= now || claims.nbf > now + 60 {
        return Err("the token is not valid at this time");
    }
    let matching: Vec<String> = audiences
        .iter()
        .filter(|a| claims.aud.0.contains(a))
        .cloned()
        .collect();
    if matching.is_empty() {
        return Err("the token is for another audience");
    }
    let bound = claims
        .kubernetes
        .as_ref()
        .ok_or("the token names no service account")?;
    let namespace = &bound.namespace;
    let account = &bound.serviceaccount;
    if claims.sub != format!("system:serviceaccount:{namespace}:{}", account.name) {
        return Err("the token's subject is not its service account");
    }
    live(server, "serviceaccounts", namespace, account)?;
    let mut user = service_account(namespace, &account.name, &account.uid);
    let mut extra = |key: &str, value: &str| {
        user.extra.insert(
            format!("authentication.kubernetes.io/{key}"),
            vec![value.to_owned()],
        );
    };
    if !claims.jti.is_empty() {
        extra("credential-id", &format!("JTI={}", claims.jti));
    }
    if let Some(secret) = &bound.secret {
        live(server, "secrets", namespace, secret)?;
    }
    if let Some(pod) = &bound.pod {
        live(server, "pods", namespace, pod)?;
        extra("pod-name", &pod.name);
        extra("pod-uid", &pod.uid);
    }
    if let Some(node) = &bound.node {
        if bound.pod.is_none() {
            live(server, "minions", "", node)?;
        }
        extra("node-name", &node.name);
        if !node.uid.is_empty() {
            extra("node-uid", &node.uid);
        }
    }
    Ok((user, matching))
}

/// Tokens kept in secrets (`kubernetes.io/service-account-token`).
fn legacy_user(server: &Server, claims: &Claims) -> Result<UserInfo, &'static str> {
    let account = Reference {
        name: claims.legacy_name.clone(),
        uid: claims.legacy_uid.clone(),
    };
    live(
        server,
        "serviceaccounts",
        &claims.legacy_namespace,
        &account,
    )?;
    let key = Key::new(
        &server.resource("secrets"),
        &claims.legacy_namespace,
        &claims.legacy_secret,
    );
    server.store.get(&key).ok_or("the token's secret is gone")?;
    Ok(service_account(
        &claims.legacy_namespace,
        &account.name,
        &account.uid,
    ))
}

/// Whether the object a token is bound to still lives under the same uid.
fn live(
    server: &Server,
    prefix: &str,
    namespace: &str,
    wanted: &Reference,
) -> Result<(), &'static str> {
    let key = Key::new(&server.resource(prefix), namespace, &wanted.name);
    match server.store.get(&key) {
        Some(entry) if wanted.uid.is_empty() || entry.header().uid() == wanted.uid => Ok(()),
        _ => Err("an object the token is bound to is gone"),
    }
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

/// `[a-z0-9]{6}.[a-z0-9]{16}`.
fn bootstrap_parts(token: &str) -> Option<(&str, &str)> {
    let (id, secret) = token.split_once('.')?;
    let plain = |s: &str| {
        s.bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
    };
    (id.len() == 6 && secret.len() == 16 && plain(id) && plain(secret)).then_some((id, secret))
}

fn bootstrap_user(server: &Server, id: &str, secret: &str) -> Result<UserInfo, &'static str> {
    let snapshot = server.typed.snapshot();
    let object = snapshot
        .get::<corten_api::core::v1::Secret>("kube-system", &format!("bootstrap-token-{id}"))
        .ok_or("no such bootstrap token")?;
    let text = |key: &str| {
        object
            .data
            .get(key)
            .and_then(|v| std::str::from_utf8(v).ok())
            .unwrap_or_default()
            .to_owned()
    };
    let same = aws_lc_rs::constant_time::verify_slices_are_equal(
        text("token-secret").as_bytes(),
        secret.as_bytes(),
    );
    if object.type_ != "bootstrap.kubernetes.io/token"
        || same.is_err()
        || text("token-id") != id
        || text("usage-bootstrap-authentication") != "true"
        || object.metadata.deletion_timestamp.is_some()
    {
        return Err("the bootstrap token is not usable");
    }
    let expiration = text("expiration");
    if !expiration.is_empty() && server.is_past(&expiration) {
        return Err("the bootstrap token has expired");
    }
    let mut groups = vec!["system:bootstrappers".to_owned()];
    groups.extend(
        text("auth-extra-groups")
            .split(',')
            .filter(|g| g.starts_with("system:bootstrappers:"))
            .map(str::to_owned),
    );
    Ok(UserInfo {
        name: format!("system:bootstrap:{id}"),
        groups,
        ..UserInfo::default()
    })
}

/// The user to act as: `Impersonate-*` headers, each part authorized for the requester.
pub(crate) fn impersonate(
    server: &Server,
    user: Arc<UserInfo>,
    info: &RequestInfo,
    headers: &HeaderMap,
) -> Result<Arc<UserInfo>, Status> {
    let text = |name: &str| {
        headers
            .get(name)
            .and_then(|v| v.to_str().ok())
            .unwrap_or_default()
            .to_owned()
    };
    let name = text("impersonate-user");
    let uid = text("impersonate-uid");
    let groups: Vec<String> = headers
        .get_all("impersonate-group")
        .iter()
        .filter_map(|v| v.to_str().ok())
        .map(str::to_owned)
        .collect();
    let extra: Vec<(String, String)> = headers
        .iter()
        .filter_map(|(k, v)| {
            Some((
                k.as_str().strip_prefix("impersonate-extra-")?,
                v.to_str().ok()?,
            ))
        })
        .map(|(k, v)| (k.replace("%2f", "/").replace("%2F", "/"), v.to_owned()))
        .collect();
    if name.is_empty() {
        if !groups.is_empty() || !extra.is_empty() || !uid.is_empty() {
            let quoted: Vec<String> = groups.iter().map(|g| format!("{g:?}")).collect();
            return Err(Status::bad_request(format!(
                "requested &user.DefaultInfo{{Name:\"\", UID:{uid:?}, Groups:[]string{{{}}}, \
                 Extra:map[string][]string(nil)}} without impersonating a user name",
                quoted.join(", ")
            )));
        }
        return Ok(user);
    }
    let mut target = UserInfo {
        name: name.clone(),
        uid: uid.clone(),
        groups,
        ..UserInfo::default()
    };
    if authorize_impersonation(server, &user, &target, &extra).is_err() {
        return Err(refuse_impersonation(&user, info, &name));
    }
    for (key, value) in extra {
        target.extra.entry(key).or_default().push(value);
    }
    if let Some((namespace, account)) = service_account_parts(&name)
        && target.groups.is_empty()
    {
        target.groups = service_account(namespace, account, "").groups;
    }
    if name == "system:anonymous" {
        target.groups.push(UNAUTHENTICATED.into());
    }
    Ok(Arc::new(with_authenticated(target)))
}

/// Upstream speaks of the constrained form (KEP-5284), which it tries first.
fn refuse_impersonation(user: &UserInfo, info: &RequestInfo, name: &str) -> Status {
    let mode = match (
        service_account_parts(name),
        name.starts_with("system:node:"),
    ) {
        (Some(_), _) => "serviceaccount",
        (None, true) => "arbitrary-node",
        (None, false) => "user-info",
    };
    let verb = format!("impersonate-on:{mode}:{}", info.verb);
    let attributes = Attributes {
        user,
        verb: &verb,
        group: &info.group,
        version: &info.version,
        resource: &info.resource,
        subresource: &info.subresource,
        namespace: &info.namespace,
        name: &info.name,
        path: &info.path,
        resource_request: info.is_resource,
        field_selector: "",
        label_selector: "",
    };
    crate::authorization::forbidden(&attributes, "")
}

fn service_account_parts(name: &str) -> Option<(&str, &str)> {
    name.strip_prefix("system:serviceaccount:")?.split_once(':')
}

fn authorize_impersonation(
    server: &Server,
    user: &UserInfo,
    target: &UserInfo,
    extra: &[(String, String)],
) -> Result<(), Status> {
    let check = |group: &str, resource: &str, subresource: &str, namespace: &str, name: &str| {
        let attributes = Attributes {
            user,
            verb: "impersonate",
            group,
            version: "v1",
            resource,
            subresource,
            namespace,
            name,
            path: "",
            resource_request: true,
            field_selector: "",
            label_selector: "",
        };
        match server.authorize(&attributes) {
            Decision::Allow(_) => Ok(()),
            Decision::Deny(reason) | Decision::NoOpinion(reason) => {
                Err(crate::authorization::forbidden(&attributes, &reason))
            }
        }
    };
    match service_account_parts(&target.name) {
        Some((namespace, account)) => check("", "serviceaccounts", "", namespace, account)?,
        None => check("", "users", "", "", &target.name)?,
    }
    for group in &target.groups {
        check("", "groups", "", "", group)?;
    }
    for (key, value) in extra {
        check("authentication.k8s.io", "userextras", key, "", value)?;
    }
    if !target.uid.is_empty() {
        check("authentication.k8s.io", "uids", "", "", &target.uid)?;
    }
    Ok(())
}
