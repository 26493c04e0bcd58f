//! Acting as somebody else: `Impersonate-*` headers. The constrained modes (KEP-5284: an associated node, any node, a
//! service account, other users) are tried first, the old all-or-nothing verb last; the first that the requester may
//! use counts. Invariant: every part of the identity asked for was authorized on its own, and nobody becomes a member
//! of `system:masters` by a constrained mode.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::HeaderMap;

use corten_access::{Attributes, Decision, UserInfo};
use corten_client::Status;

use super::front_proxy::unescape;
use super::service_account::{account_of, is_dns_subdomain, service_account};
use super::{ANONYMOUS, AUTHENTICATED, UNAUTHENTICATED};
use crate::info::RequestInfo;
use crate::server::Server;
use crate::{audit, authorization};

const USER: &str = "impersonate-user";
const UID: &str = "impersonate-uid";
const GROUP: &str = "impersonate-group";
const EXTRA: &str = "impersonate-extra-";
const AUTHENTICATION: (&str, &str) = ("authentication.k8s.io", "v1");
const CORE: (&str, &str) = ("", "v1");
/// From this many groups or extra values on, one check for all of them is tried first.
const MANY: usize = 4;

/// A way to act as somebody else.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    AssociatedNode,
    ArbitraryNode,
    ServiceAccount,
    UserInfo,
    Legacy,
}

const MODES: [Mode; 5] = [
    Mode::AssociatedNode,
    Mode::ArbitraryNode,
    Mode::ServiceAccount,
    Mode::UserInfo,
    Mode::Legacy,
];

impl Mode {
    fn name(self) -> &'static str {
        match self {
            Mode::AssociatedNode => "associated-node",
            Mode::ArbitraryNode => "arbitrary-node",
            Mode::ServiceAccount => "serviceaccount",
            Mode::UserInfo => "user-info",
            Mode::Legacy => "legacy",
        }
    }

    fn verb(self) -> String {
        match self {
            Mode::Legacy => "impersonate".to_owned(),
            mode => format!("impersonate:{}", mode.name()),
        }
    }

    /// Whether this mode is for that user at all.
    fn fits(self, wanted: &UserInfo, requester: &UserInfo) -> bool {
        let only_name =
            wanted.uid.is_empty() && wanted.groups.is_empty() && wanted.extra.is_empty();
        let node = node_of(&wanted.name);
        match self {
            Mode::AssociatedNode => {
                let own = requester
                    .extra
                    .get("authentication.kubernetes.io/node-name");
                let own = own.filter(|v| v.len() == 1).map(|v| v[0].as_str());
                only_name && node.is_some() && account_of(&requester.name).is_some() && own == node
            }
            Mode::ArbitraryNode => only_name && node.is_some(),
            Mode::ServiceAccount => only_name && account_of(&wanted.name).is_some(),
            Mode::UserInfo => node.is_none() && account_of(&wanted.name).is_none(),
            Mode::Legacy => true,
        }
    }
}

fn node_of(user: &str) -> Option<&str> {
    let name = user.strip_prefix("system:node:")?;
    is_dns_subdomain(name).then_some(name)
}

/// The user to act as, from `Impersonate-*` headers, which are removed; the user itself when there are none.
pub(crate) async fn impersonate(
    server: &Arc<Server>,
    user: Arc<UserInfo>,
    info: &RequestInfo,
    headers: &mut HeaderMap,
) -> Result<Arc<UserInfo>, Status> {
    if !headers
        .keys()
        .any(|k| k.as_str().starts_with("impersonate-"))
    {
        return Ok(user);
    }
    let Some(wanted) = wanted(headers)? else {
        return Ok(user);
    };
    let mut first_refusal = None;
    for mode in MODES {
        if !mode.fits(&wanted, &user) {
            continue;
        }
        let attempt = Attempt {
            server,
            mode,
            requester: seen(mode, &user),
            wanted: &wanted,
        };
        match attempt.run(info).await {
            Ok(become_) => {
                let constraint = match mode {
                    Mode::Legacy => String::new(),
                    mode => mode.verb(),
                };
                audit::impersonated(&become_, &constraint);
                server.metrics.impersonation(mode.name(), "allowed");
                return Ok(Arc::new(become_));
            }
            Err(refusal) => first_refusal = first_refusal.or(Some(refusal)),
        }
    }
    server.metrics.impersonation("", "denied");
    Err(first_refusal.unwrap_or_else(|| Status::internal("all impersonation modes failed")))
}

/// The requester as authorizers see it: for an associated node only the keys of its extra facts.
fn seen(mode: Mode, user: &Arc<UserInfo>) -> Arc<UserInfo> {
    if mode != Mode::AssociatedNode {
        return user.clone();
    }
    let mut seen = (**user).clone();
    let keys = seen.extra.keys().cloned().collect();
    seen.extra = BTreeMap::from([(
        "authentication.kubernetes.io/associated-node-keys".to_owned(),
        keys,
    )]);
    Arc::new(seen)
}

/// What the headers ask for.
fn wanted(headers: &mut HeaderMap) -> Result<Option<UserInfo>, Status> {
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let one = |name: &str| headers.get(name).map(text).unwrap_or_default();
    let mut wanted = UserInfo {
        name: one(USER),
        uid: one(UID),
        groups: headers.get_all(GROUP).iter().map(text).collect(),
        ..UserInfo::default()
    };
    for (name, value) in headers.iter() {
        if let Some(key) = name.as_str().strip_prefix(EXTRA) {
            wanted
                .extra
                .entry(unescape(key))
                .or_default()
                .push(text(value));
        }
    }
    let anything = !wanted.uid.is_empty() || !wanted.groups.is_empty() || !wanted.extra.is_empty();
    if wanted.name.is_empty() {
        if !anything {
            return Ok(None);
        }
        let message = format!(
            "requested {} without impersonating a user name",
            go_value(&wanted)
        );
        return Err(Status::bad_request(message));
    }
    let names: Vec<_> = headers
        .keys()
        .filter(|k| [USER, UID, GROUP].contains(&k.as_str()) || k.as_str().starts_with(EXTRA))
        .cloned()
        .collect();
    for name in names {
        headers.remove(name);
    }
    Ok(Some(wanted))
}

/// The user as Go's `%#v` prints it.
fn go_value(user: &UserInfo) -> String {
    let list = |items: &[String]| {
        let quoted: Vec<String> = items.iter().map(|i| format!("{i:?}")).collect();
        format!("[]string{{{}}}", quoted.join(", "))
    };
    let groups = match user.groups.is_empty() {
        true => "[]string(nil)".to_owned(),
        false => list(&user.groups),
    };
    let extra = match user.extra.is_empty() {
        true => "map[string][]string(nil)".to_owned(),
        false => {
            let pairs = user.extra.iter().map(|(k, v)| format!("{k:?}:{}", list(v)));
            format!(
                "map[string][]string{{{}}}",
                pairs.collect::<Vec<_>>().join(", ")
            )
        }
    };
    format!(
        "&user.DefaultInfo{{Name:{:?}, UID:{:?}, Groups:{groups}, Extra:{extra}}}",
        user.name, user.uid
    )
}

/// One mode tried.
struct Attempt<'a> {
    server: &'a Arc<Server>,
    mode: Mode,
    requester: Arc<UserInfo>,
    wanted: &'a UserInfo,
}

impl Attempt<'_> {
    async fn run(&self, info: &RequestInfo) -> Result<UserInfo, Status> {
        if self.mode != Mode::Legacy {
            let verb = format!("impersonate-on:{}:{}", self.mode.name(), info.verb);
            let attributes = Attributes {
                verb: &verb,
                ..authorization::attributes(&self.requester, info)
            };
            self.check(&attributes).await?;
        }
        let mut user = self.wanted.clone();
        self.check_name(&mut user).await?;
        if !self.wanted.uid.is_empty() {
            let uid = &self.wanted.uid;
            self.may(AUTHENTICATION, "uids", "", "", uid).await?;
        }
        self.check_groups().await?;
        self.check_extra().await?;
        let group = match user.name == ANONYMOUS {
            true => UNAUTHENTICATED,
            false => AUTHENTICATED,
        };
        if !user
            .groups
            .iter()
            .any(|g| g == group || g == UNAUTHENTICATED)
        {
            user.groups.push(group.to_owned());
        }
        Ok(user)
    }

    fn is_constrained(&self) -> bool {
        self.mode != Mode::Legacy
    }

    /// The group and version of users and groups.
    fn group_version(&self) -> (&'static str, &'static str) {
        match self.is_constrained() {
            true => AUTHENTICATION,
            false => CORE,
        }
    }

    async fn check(&self, attributes: &Attributes<'_>) -> Result<(), Status> {
        let ruling = self
            .server
            .access
            .authorization
            .rule(self.server, attributes)
            .await;
        match ruling.decision {
            Decision::Allow(_) => Ok(()),
            Decision::Deny(reason) | Decision::NoOpinion(reason) => {
                let reason = match (ruling.error, reason.is_empty()) {
                    (Some(error), true) => error,
                    (Some(error), false) => format!("{error}: {reason}"),
                    (None, _) => reason,
                };
                Err(authorization::forbidden(attributes, &reason))
            }
        }
    }

    async fn may(
        &self,
        (group, version): (&str, &str),
        resource: &str,
        subresource: &str,
        namespace: &str,
        name: &str,
    ) -> Result<(), Status> {
        let verb = self.mode.verb();
        let attributes = self.attributes(&verb, (group, version), resource, name);
        self.check(&Attributes {
            subresource,
            namespace,
            ..attributes
        })
        .await
    }

    fn attributes<'a>(
        &'a self,
        verb: &'a str,
        (group, version): (&'a str, &'a str),
        resource: &'a str,
        name: &'a str,
    ) -> Attributes<'a> {
        Attributes {
            user: &self.requester,
            verb,
            group,
            version,
            resource,
            subresource: "",
            namespace: "",
            name,
            path: "",
            resource_request: true,
            field_selector: "",
            label_selector: "",
        }
    }

    async fn check_name(&self, user: &mut UserInfo) -> Result<(), Status> {
        let name = self.wanted.name.as_str();
        let gv = self.group_version();
        if let Some((namespace, account)) = account_of(name) {
            if user.groups.is_empty() {
                user.groups = service_account(namespace, account, "").groups;
                user.groups.retain(|g| g != AUTHENTICATED);
            }
            return self
                .may(gv, "serviceaccounts", "", namespace, account)
                .await;
        }
        if self.is_constrained()
            && let Some(node) = node_of(name)
        {
            user.groups = vec!["system:nodes".to_owned()];
            // Which node it is was compared already; access is to whichever node the requester is on.
            let node = match self.mode {
                Mode::AssociatedNode => "*",
                _ => node,
            };
            return self.may(gv, "nodes", "", "", node).await;
        }
        self.may(gv, "users", "", "", name).await
    }

    async fn check_groups(&self) -> Result<(), Status> {
        let groups = &self.wanted.groups;
        let gv = self.group_version();
        if self.is_constrained() {
            let verb = self.mode.verb();
            if groups.iter().any(String::is_empty) {
                let attributes = self.attributes(&verb, gv, "groups", "");
                let why = "impersonating the empty string group is not allowed";
                return Err(authorization::forbidden(&attributes, why));
            }
            if groups.iter().any(|g| g == corten_access::MASTERS) {
                let attributes = self.attributes(&verb, gv, "groups", corten_access::MASTERS);
                let why = "impersonating the system:masters group is not allowed";
                return Err(authorization::forbidden(&attributes, why));
            }
            if groups.len() >= MANY && self.may(gv, "groups", "", "", "*").await.is_ok() {
                return Ok(());
            }
        }
        for group in groups {
            self.may(gv, "groups", "", "", group).await?;
        }
        Ok(())
    }

    async fn check_extra(&self) -> Result<(), Status> {
        let extra = &self.wanted.extra;
        if self.is_constrained() && !extra.is_empty() {
            if let Err(why) = extra.iter().try_for_each(|(k, v)| check_extra(k, v)) {
                let verb = self.mode.verb();
                let attributes = self.attributes(&verb, AUTHENTICATION, "userextras", "");
                return Err(authorization::forbidden(&attributes, &why));
            }
            let values: usize = extra.values().map(Vec::len).sum();
            let many = extra.len() >= MANY || values >= MANY;
            if many
                && self
                    .may(AUTHENTICATION, "userextras", "*", "", "*")
                    .await
                    .is_ok()
            {
                return Ok(());
            }
        }
        for (key, values) in extra {
            for value in values {
                self.may(AUTHENTICATION, "userextras", key, "", value)
                    .await?;
            }
        }
        Ok(())
    }
}

/// What a constrained mode refuses in extra facts.
fn check_extra(key: &str, values: &[String]) -> Result<(), String> {
    if key.is_empty() {
        return Err("impersonating the empty string key in extra is not allowed".to_owned());
    }
    let (domain, path) = key.split_once('/').unwrap_or(("", ""));
    if domain.is_empty() || path.is_empty() || !is_dns_subdomain(domain) {
        return Err(format!(
            "impersonating an invalid key in extra is not allowed: extra.key: Invalid value: {key:?}: must be a \
             domain-prefixed path (such as \"acme.io/foo\")"
        ));
    }
    if key != key.to_lowercase() {
        return Err(format!(
            "impersonating a non-lowercase key in extra is not allowed: {key:?}"
        ));
    }
    if values.iter().any(String::is_empty) {
        return Err("impersonating the empty string value in extra is not allowed".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> UserInfo {
        UserInfo {
            name: name.to_owned(),
            ..UserInfo::default()
        }
    }

    fn modes(wanted: &UserInfo, requester: &UserInfo) -> String {
        let fitting = MODES.iter().filter(|m| m.fits(wanted, requester));
        fitting.map(|m| m.name()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn modes_by_who_is_wanted() {
        let mut agent = user("system:serviceaccount:kube-system:agent");
        let node = user("system:node:a");
        assert_eq!(modes(&node, &agent), "arbitrary-node legacy");
        let key = "authentication.kubernetes.io/node-name".to_owned();
        agent.extra.insert(key, vec!["a".into()]);
        assert_eq!(
            modes(&node, &agent),
            "associated-node arbitrary-node legacy"
        );
        assert_eq!(
            modes(&user("system:node:b"), &agent),
            "arbitrary-node legacy"
        );
        assert_eq!(modes(&agent, &agent), "legacy");
        let account = user("system:serviceaccount:a:b");
        assert_eq!(modes(&account, &agent), "serviceaccount legacy");
        assert_eq!(modes(&user("jane"), &agent), "user-info legacy");
        let mut grouped = node.clone();
        grouped.groups.push("x".into());
        assert_eq!(modes(&grouped, &agent), "legacy");
    }

    #[test]
    fn a_name_is_needed() {
        let mut headers = HeaderMap::new();
        headers.insert(GROUP, "a".parse().unwrap());
        headers.insert("impersonate-extra-acme.io%2fx", "y".parse().unwrap());
        let refused = wanted(&mut headers).unwrap_err();
        let expected = "requested &user.DefaultInfo{Name:\"\", UID:\"\", Groups:[]string{\"a\"}, \
                        Extra:map[string][]string{\"acme.io/x\":[]string{\"y\"}}} without impersonating a user name";
        assert_eq!(refused.message, expected);
        headers.insert(USER, "jane".parse().unwrap());
        assert_eq!(wanted(&mut headers).unwrap().unwrap().name, "jane");
        assert!(headers.is_empty());
    }

    #[test]
    fn extra_facts_of_constrained_modes() {
        let ok = |k: &str, v: &str| check_extra(k, &[v.to_owned()]).is_ok();
        assert!(ok("acme.io/a", "x"));
        assert!(!ok("acme", "x") && !ok("acme.io/a", "") && !ok("acme.io/A", "x") && !ok("", "x"));
    }
}
