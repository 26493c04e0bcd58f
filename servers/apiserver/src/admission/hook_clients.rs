//! As whom the server speaks to webhooks: a kubeconfig whose users are named after the webhooks' places.

use std::collections::HashMap;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use corten_client::Kubeconfig;
use serde_json::{Value, json};

use crate::Error;
use crate::access;
use crate::outbound::{ClientIdentity, Endpoint, Place};

/// A client's proofs.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Credentials {
    pub identity: Option<ClientIdentity>,
    /// The header's value.
    pub authorization: Option<String>,
}

/// Clients by the places of webhooks: `host:port`, `*.suffix`, without a port for 443, or `*` for all others.
#[derive(Clone, Debug, Default)]
pub(crate) struct HookClients {
    users: HashMap<String, Credentials>,
}

impl HookClients {
    /// Reads a kubeconfig.
    pub(crate) fn read(path: &Path) -> Result<HookClients, Error> {
        let fail = |why: String| Error::Settings {
            path: path.to_owned(),
            why,
        };
        let root: Value =
            serde_json::from_str(&access::json(path)?).map_err(|e| fail(e.to_string()))?;
        let base = path.parent().unwrap_or(Path::new("."));
        let mut users = HashMap::new();
        for user in root["users"].as_array().into_iter().flatten() {
            let name = user["name"].as_str().unwrap_or_default();
            let read = credentials(&user["user"], base).map_err(fail)?;
            users.insert(name.to_owned(), read);
        }
        let current = root["current-context"].as_str().unwrap_or_default();
        let mut contexts = root["contexts"].as_array().into_iter().flatten();
        let context = contexts.find(|c| c["name"] == current && !current.is_empty());
        let usual = context.and_then(|c| c["context"]["user"].as_str());
        if let Some(usual) = usual.and_then(|name| users.get(name).cloned()) {
            users.entry("*".to_owned()).or_insert(usual);
        }
        Ok(HookClients { users })
    }

    /// The client to be at a place.
    pub(crate) fn at(&self, place: &Place) -> Option<&Credentials> {
        let target = match place {
            Place::Service {
                namespace,
                name,
                port,
            } => format!("{name}.{namespace}.svc:{port}"),
            Place::Url(_) => {
                let origin = place.origin();
                let host = origin.split_once("://").map_or("", |(_, host)| host);
                let has_port = host.rsplit_once(':').is_some_and(|(_, port)| {
                    !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit())
                });
                match has_port {
                    true => host.to_owned(),
                    false => format!("{host}:443"),
                }
            }
        };
        let without_port = target.strip_suffix(":443");
        self.named(&target)
            .or_else(|| self.named(without_port?))
            .or_else(|| self.users.get("*"))
    }

    fn named(&self, target: &str) -> Option<&Credentials> {
        let mut found = self.users.get(target);
        let mut rest = target;
        while let (None, Some((_, suffix))) = (found, rest.split_once('.')) {
            found = self.users.get(&format!("*.{suffix}"));
            rest = suffix;
        }
        found
    }

    /// Puts the client of its place into an endpoint; the authorization header to send there.
    pub(crate) fn introduce(&self, endpoint: &mut Endpoint) -> Option<String> {
        let credentials = self.at(&endpoint.place)?;
        endpoint.trust.identity = credentials.identity.clone();
        credentials.authorization.clone()
    }
}

/// A user of a kubeconfig; files it names are relative to `base`.
fn credentials(user: &Value, base: &Path) -> Result<Credentials, String> {
    // The same reading as for any other kubeconfig.
    let file = json!({
        "current-context": "c", "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {}}], "users": [{"name": "u", "user": user}],
    });
    let read = Kubeconfig::parse(&file.to_string(), base).map_err(|e| e.to_string())?;
    let name = user["username"].as_str().unwrap_or_default();
    let password = user["password"].as_str().unwrap_or_default();
    let authorization = match read.token.as_str() {
        "" if name.is_empty() && password.is_empty() => None,
        "" => Some(format!(
            "Basic {}",
            STANDARD.encode(format!("{name}:{password}"))
        )),
        token => Some(format!("Bearer {token}")),
    };
    let identity = (!read.client_certificate.is_empty()).then(|| ClientIdentity {
        certificate: Bytes::from(read.client_certificate),
        key: Bytes::from(read.client_key),
    });
    Ok(Credentials {
        identity,
        authorization,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clients(names: &[&str]) -> HookClients {
        let users = names.iter().map(|name| {
            let known = Credentials {
                authorization: Some((*name).to_owned()),
                ..Credentials::default()
            };
            ((*name).to_owned(), known)
        });
        HookClients {
            users: users.collect(),
        }
    }

    fn at(clients: &HookClients, place: Place) -> Option<String> {
        clients.at(&place).and_then(|c| c.authorization.clone())
    }

    #[test]
    fn users_are_named_after_places() {
        let service = |port| Place::Service {
            namespace: "ns".into(),
            name: "hook".into(),
            port,
        };
        let all = clients(&["hook.ns.svc:8443", "*.ns.svc", "hooks.example.com", "*"]);
        assert_eq!(at(&all, service(8443)).as_deref(), Some("hook.ns.svc:8443"));
        assert_eq!(at(&all, service(443)).as_deref(), Some("*.ns.svc"));
        assert_eq!(at(&all, service(444)).as_deref(), Some("*"));
        let url = |text: &str| at(&all, Place::Url(text.to_owned()));
        assert_eq!(
            url("https://hooks.example.com/a").as_deref(),
            Some("hooks.example.com")
        );
        assert_eq!(url("https://hooks.example.com:444").as_deref(), Some("*"));
        assert_eq!(at(&clients(&[]), service(443)), None);
    }
}
