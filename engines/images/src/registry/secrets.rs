//! Pull secrets: docker's two file forms, and which of their entries apply to an image (kubelet's keyring rules).
//! Invariant: the most telling entry comes first; secrets never appear in debug output.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use serde::Deserialize;

use crate::reference::Reference;

/// What is shown to a registry.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// A user and a password.
    Basic {
        /// The user.
        username: String,
        /// The password, or a token in its place.
        password: String,
    },
    /// A refresh token for the registry's token service (docker's `identitytoken`).
    Identity(String),
    /// A token for the registry itself (docker's `registrytoken`).
    Bearer(String),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Credentials::Basic { username, .. } => write!(f, "Basic({username:?}, …)"),
            Credentials::Identity(_) => write!(f, "Identity(…)"),
            Credentials::Bearer(_) => write!(f, "Bearer(…)"),
        }
    }
}

/// A pull secret that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("failed to read pull secret: {0}")]
pub struct SecretError(String);

#[derive(Deserialize)]
struct DockerConfigJson {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Entry {
    username: Option<String>,
    password: Option<String>,
    auth: Option<String>,
    identitytoken: Option<String>,
    registrytoken: Option<String>,
}

/// The credentials of any number of secrets.
#[derive(Debug, Clone, Default)]
pub struct Keyring {
    /// By `host[:port][/path]`; hosts may hold wildcards.
    entries: BTreeMap<String, Vec<Credentials>>,
}

const HUB: &str = "index.docker.io";

impl Keyring {
    /// Adds the content of `.dockerconfigjson` (type `kubernetes.io/dockerconfigjson`).
    pub fn add_dockerconfigjson(&mut self, content: &[u8]) -> Result<(), SecretError> {
        let file: DockerConfigJson =
            serde_json::from_slice(content).map_err(|e| SecretError(e.to_string()))?;
        self.add_all(file.auths)
    }

    /// Adds the content of `.dockercfg` (type `kubernetes.io/dockercfg`).
    pub fn add_dockercfg(&mut self, content: &[u8]) -> Result<(), SecretError> {
        let auths: BTreeMap<String, Entry> =
            serde_json::from_slice(content).map_err(|e| SecretError(e.to_string()))?;
        self.add_all(auths)
    }

    /// Adds credentials for `registry` (`host[:port][/path]`).
    pub fn add(&mut self, registry: &str, credentials: Credentials) {
        let rest = registry
            .strip_prefix("https://")
            .or_else(|| registry.strip_prefix("http://"))
            .unwrap_or(registry);
        let (host, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        // `/v1/` and `/v2/` mean the host itself.
        let path = if path.starts_with("/v1/") || path.starts_with("/v2/") {
            &path[3..]
        } else {
            path
        };
        let key = if path == "/" {
            host.to_owned()
        } else {
            format!("{host}{path}")
        };
        self.entries.entry(key).or_default().push(credentials);
    }

    /// True without any credentials.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The credentials to try for `image`, best first. Empty when none apply (then pull anonymously).
    pub fn lookup(&self, image: &Reference) -> Vec<Credentials> {
        let repository = image.repository();
        let mut found = Vec::new();
        for (key, credentials) in self.entries.iter().rev() {
            if matches(key, &repository) {
                found.extend(credentials.iter().cloned());
            }
        }
        if found.is_empty()
            && image.domain() == "docker.io"
            && let Some(credentials) = self.entries.get(HUB)
        {
            found.extend(credentials.iter().cloned());
        }
        found
    }

    fn add_all(&mut self, auths: BTreeMap<String, Entry>) -> Result<(), SecretError> {
        for (registry, entry) in auths {
            let credentials = entry
                .into_credentials()
                .map_err(|e| SecretError(format!("{registry}: {e}")))?;
            self.add(&registry, credentials);
        }
        Ok(())
    }
}

impl Entry {
    fn into_credentials(self) -> Result<Credentials, String> {
        if let Some(token) = self.identitytoken.filter(|token| !token.is_empty()) {
            return Ok(Credentials::Identity(token));
        }
        if let Some(token) = self.registrytoken.filter(|token| !token.is_empty()) {
            return Ok(Credentials::Bearer(token));
        }
        let mut username = self.username.unwrap_or_default();
        let mut password = self.password.unwrap_or_default();
        if let Some(auth) = self.auth.filter(|auth| !auth.is_empty()) {
            let engine = if auth.trim_end().ends_with('=') {
                &base64::engine::general_purpose::STANDARD
            } else {
                &base64::engine::general_purpose::STANDARD_NO_PAD
            };
            let decoded = engine
                .decode(auth.trim_end())
                .map_err(|_| "auth is not base64".to_owned())?;
            let decoded = String::from_utf8(decoded).map_err(|_| "auth is not text".to_owned())?;
            let (user, pass) = decoded.split_once(':').ok_or(
                "unable to parse auth field, must be formatted as base64(username:password)",
            )?;
            (username, password) = (user.to_owned(), pass.trim_end_matches('\0').to_owned());
        }
        Ok(Credentials::Basic { username, password })
    }
}

/// Whether `key` covers `repository`: same port, same number of host labels that match, path a prefix.
fn matches(key: &str, repository: &str) -> bool {
    let split = |text: &str| -> (String, String, String) {
        let (authority, path) = text.find('/').map_or((text, ""), |at| text.split_at(at));
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port))
                if !host.ends_with(':') && port.bytes().all(|c| c.is_ascii_digit()) =>
            {
                (host, port)
            }
            _ => (authority, ""),
        };
        (host.to_owned(), port.to_owned(), path.to_owned())
    };
    let (key_host, key_port, key_path) = split(key);
    let (host, port, path) = split(repository);
    key_port == port
        && key_host.split('.').count() == host.split('.').count()
        && path.starts_with(&key_path)
        && key_host
            .split('.')
            .zip(host.split('.'))
            .all(|(glob, label)| glob_matches(glob.as_bytes(), label.as_bytes()))
}

/// Shell wildcards `*` and `?` within one label.
fn glob_matches(glob: &[u8], text: &[u8]) -> bool {
    match (glob.first(), text.first()) {
        (None, None) => true,
        (Some(b'*'), _) => (0..=text.len()).any(|at| glob_matches(&glob[1..], &text[at..])),
        (Some(b'?'), Some(_)) => glob_matches(&glob[1..], &text[1..]),
        (Some(want), Some(have)) if want == have => glob_matches(&glob[1..], &text[1..]),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users(keyring: &Keyring, image: &str) -> Vec<String> {
        let image = Reference::parse(image).unwrap();
        keyring
            .lookup(&image)
            .into_iter()
            .map(|c| match c {
                Credentials::Basic { username, .. } => username,
                other => format!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn the_most_telling_entry_comes_first() {
        let mut keyring = Keyring::default();
        let text = r#"{"auths":{
            "https://index.docker.io/v1/": {"auth": "aHViOnB3"},
            "quay.example": {"username": "short", "password": "x"},
            "quay.example/coreos": {"username": "long", "password": "x"},
            "*.gcr.example": {"username": "glob", "password": "x"},
            "lab:5000": {"auth": "bGFiOnA6dw=="}}}"#;
        keyring.add_dockerconfigjson(text.as_bytes()).unwrap();
        assert_eq!(
            users(&keyring, "quay.example/coreos/etcd"),
            ["long", "short"]
        );
        assert_eq!(users(&keyring, "quay.example/x"), ["short"]);
        assert_eq!(users(&keyring, "eu.gcr.example/x"), ["glob"]);
        assert_eq!(users(&keyring, "gcr.example/x"), Vec::<String>::new());
        assert_eq!(users(&keyring, "nginx"), ["hub"]);
        assert_eq!(users(&keyring, "lab:5000/x"), ["lab"]);
        assert_eq!(users(&keyring, "lab:5001/x"), Vec::<String>::new());
        let lab = keyring.lookup(&Reference::parse("lab:5000/x").unwrap());
        assert_eq!(
            lab,
            [Credentials::Basic {
                username: "lab".into(),
                password: "p:w".into()
            }]
        );
    }

    #[test]
    fn reads_the_old_form_and_refuses_garbage() {
        let mut keyring = Keyring::default();
        keyring
            .add_dockercfg(br#"{"r.example":{"identitytoken":"t"}}"#)
            .unwrap();
        assert_eq!(users(&keyring, "r.example/x"), ["Identity(…)"]);
        assert!(keyring.add_dockercfg(b"{").is_err());
        assert!(keyring.add_dockercfg(br#"{"r":{"auth":"bm8="}}"#).is_err());
    }
}
