//! Which hosts to ask for a registry: mirrors and plain-HTTP registries, given as values or as a directory of
//! `hosts.toml` files in containerd's form (`<dir>/<registry>/hosts.toml`, `_default` for all others).
//! Leaves out client certificates and per-registry `dial_timeout`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// Where to look up a registry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RegistryHosts {
    /// Mirrors by registry (`docker.io`), asked in order before the registry itself.
    pub mirrors: BTreeMap<String, Vec<Mirror>>,
    /// Registries (`host` or `host:port`) asked over plain HTTP when they do not speak TLS; loopback always is.
    pub insecure: BTreeSet<String>,
    /// A directory of `hosts.toml` files; read at every pull, and stronger than `mirrors`.
    pub directory: Option<HostsDirectory>,
}

/// A directory in the form of containerd's `certs.d`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostsDirectory(pub PathBuf);

/// One host that serves (part of) a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// `https://host[:port][/path]` or `http://…`.
    pub url: String,
    /// What it may be asked.
    pub capabilities: Capabilities,
    /// Do not check its certificate.
    pub skip_verify: bool,
    /// Further trusted certificates (PEM files).
    pub trust_files: Vec<PathBuf>,
    /// Sent with every request to it.
    pub headers: Vec<(String, String)>,
    /// The path of `url` is complete: no `/v2` is added.
    pub override_path: bool,
}

/// What a host may be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// Manifests and blobs by digest.
    pub pull: bool,
    /// Tags to digests.
    pub resolve: bool,
    /// Uploads.
    pub push: bool,
}

/// A hosts configuration that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("failed to read {path}: {reason}")]
pub struct HostsError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

impl Mirror {
    /// A mirror at `url` that may be asked anything but uploads.
    pub fn new(url: &str) -> Mirror {
        Mirror {
            url: url.trim_end_matches('/').to_owned(),
            capabilities: Capabilities {
                pull: true,
                resolve: true,
                push: false,
            },
            skip_verify: false,
            trust_files: Vec::new(),
            headers: Vec::new(),
            override_path: false,
        }
    }
}

/// A host to ask, with its scheme settled as far as configuration can.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// `host[:port]`.
    pub(crate) authority: String,
    /// How to speak to it.
    pub(crate) scheme: Scheme,
    /// `/v2` and what comes before it.
    pub(crate) base_path: String,
    pub(crate) mirror: Mirror,
    /// Appended to requests at a mirror, so that it knows which registry is meant.
    pub(crate) namespace: Option<String>,
}

/// How to speak to a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Scheme {
    Https,
    /// TLS without checking, plain HTTP when the host does not speak TLS.
    HttpsOrHttp,
    Http,
}

impl RegistryHosts {
    /// The hosts to ask for `registry`, in order; the registry itself is the last.
    pub(crate) fn endpoints(&self, registry: &str) -> Result<Vec<Endpoint>, HostsError> {
        let from_directory = match &self.directory {
            Some(directory) => directory.load(registry)?,
            None => None,
        };
        let (mirrors, server) = match from_directory {
            Some(found) => found,
            None => (
                self.mirrors.get(registry).cloned().unwrap_or_default(),
                None,
            ),
        };
        let mut endpoints: Vec<Endpoint> = Vec::with_capacity(mirrors.len() + 1);
        for mirror in mirrors {
            endpoints.push(self.endpoint(mirror, registry)?);
        }
        let host = if registry == "docker.io" {
            "registry-1.docker.io"
        } else {
            registry
        };
        let mut own = server.unwrap_or_else(|| Mirror::new(host));
        own.capabilities.push = true;
        let own = self.endpoint(own, registry)?;
        if !endpoints.iter().any(|endpoint| {
            endpoint.authority == own.authority && endpoint.base_path == own.base_path
        }) {
            endpoints.push(own);
        }
        Ok(endpoints)
    }

    fn endpoint(&self, mirror: Mirror, registry: &str) -> Result<Endpoint, HostsError> {
        let (scheme, rest) = match mirror.url.split_once("://") {
            Some(("http", rest)) => (Some(Scheme::Http), rest),
            Some(("https", rest)) => (Some(Scheme::Https), rest),
            Some((other, _)) => {
                let reason = format!(
                    "{}: unsupported scheme {other:?}, use http or https",
                    mirror.url
                );
                return Err(HostsError {
                    path: PathBuf::from("hosts configuration"),
                    reason,
                });
            }
            None => (None, mirror.url.as_str()),
        };
        let (authority, path) = rest
            .split_once('/')
            .map_or((rest, ""), |(authority, path)| (authority, path));
        let host = host_of(authority);
        let lenient =
            is_loopback(host) || self.insecure.contains(authority) || self.insecure.contains(host);
        let scheme = match scheme {
            Some(scheme) => scheme,
            None if lenient => Scheme::HttpsOrHttp,
            None => Scheme::Https,
        };
        let path = path.trim_matches('/');
        let base_path = match (path, mirror.override_path) {
            ("", true) => String::new(),
            ("", false) => "/v2".to_owned(),
            (path, true) => format!("/{path}"),
            (path, false) if path == "v2" || path.ends_with("/v2") => format!("/{path}"),
            (path, false) => format!("/{path}/v2"),
        };
        let own = authority == registry
            || (registry == "docker.io" && authority == "registry-1.docker.io");
        let namespace = (!own).then(|| registry.to_owned());
        Ok(Endpoint {
            authority: authority.to_owned(),
            scheme,
            base_path,
            namespace,
            mirror,
        })
    }
}

/// The host without its port and without brackets.
pub(crate) fn host_of(authority: &str) -> &str {
    if let Some((address, _)) = authority
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'))
    {
        return address;
    }
    authority
        .split_once(':')
        .map_or(authority, |(host, _)| host)
}

fn is_loopback(host: &str) -> bool {
    host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// `hosts.toml` as containerd reads it.
#[derive(Deserialize, Default)]
#[serde(default)]
struct HostsFile {
    server: Option<String>,
    /// In the order of the file, which is the order of asking.
    host: toml::Table,
    #[serde(flatten)]
    own: HostEntry,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct HostEntry {
    capabilities: Option<Vec<String>>,
    ca: Option<OneOrMany>,
    skip_verify: Option<bool>,
    override_path: bool,
    header: BTreeMap<String, OneOrMany>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    fn into_vec(self) -> Vec<String> {
        match self {
            OneOrMany::One(one) => vec![one],
            OneOrMany::Many(many) => many,
        }
    }
}

impl HostsDirectory {
    /// The mirrors and the server for `registry`; `None` when no file speaks of it.
    fn load(&self, registry: &str) -> Result<Option<(Vec<Mirror>, Option<Mirror>)>, HostsError> {
        for name in directory_names(registry) {
            let directory = self.0.join(name);
            let path = directory.join("hosts.toml");
            match std::fs::read_to_string(&path) {
                Ok(text) => {
                    return parse(&text, &directory)
                        .map(Some)
                        .map_err(|reason| HostsError { path, reason });
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => {
                    return Err(HostsError {
                        path,
                        reason: error.to_string(),
                    });
                }
            }
        }
        Ok(None)
    }
}

/// The directory names under which a registry may be described, most telling first.
fn directory_names(registry: &str) -> Vec<String> {
    let mut names = Vec::new();
    if let Some((host, port)) = registry.rsplit_once(':') {
        names.push(format!("{host}_{port}_"));
    }
    names.push(registry.to_owned());
    names.push("_default".to_owned());
    names
}

fn parse(text: &str, directory: &Path) -> Result<(Vec<Mirror>, Option<Mirror>), String> {
    let file: HostsFile = toml::from_str(text).map_err(|error| error.to_string())?;
    let mut mirrors = Vec::new();
    for (url, entry) in file.host {
        let entry: HostEntry = entry
            .try_into()
            .map_err(|error: toml::de::Error| format!("host {url:?}: {error}"))?;
        mirrors.push(entry.into_mirror(&url, directory)?);
    }
    let server = match file.server {
        Some(url) => Some(file.own.into_mirror(&url, directory)?),
        None => None,
    };
    Ok((mirrors, server))
}

impl HostEntry {
    fn into_mirror(self, url: &str, directory: &Path) -> Result<Mirror, String> {
        let mut mirror = Mirror::new(url);
        if let Some(names) = self.capabilities {
            mirror.capabilities = Capabilities {
                pull: false,
                resolve: false,
                push: false,
            };
            for name in names {
                match name.as_str() {
                    "pull" => mirror.capabilities.pull = true,
                    "resolve" => mirror.capabilities.resolve = true,
                    "push" => mirror.capabilities.push = true,
                    other => return Err(format!("host {url:?}: unknown capability {other:?}")),
                }
            }
        }
        mirror.skip_verify = self.skip_verify.unwrap_or(false);
        mirror.override_path = self.override_path;
        mirror.trust_files = self
            .ca
            .map(OneOrMany::into_vec)
            .unwrap_or_default()
            .into_iter()
            .map(|file| directory.join(file))
            .collect();
        for (name, values) in self.header {
            mirror.headers.extend(
                values
                    .into_vec()
                    .into_iter()
                    .map(|value| (name.clone(), value)),
            );
        }
        Ok(mirror)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_registry_itself_comes_last() {
        let mut hosts = RegistryHosts::default();
        hosts.mirrors.insert(
            "docker.io".to_owned(),
            vec![Mirror::new("http://127.0.0.1:5000/hub/")],
        );
        let endpoints = hosts.endpoints("docker.io").unwrap();
        let seen: Vec<_> = endpoints
            .iter()
            .map(|e| {
                (
                    e.authority.as_str(),
                    e.scheme,
                    e.base_path.as_str(),
                    e.namespace.as_deref(),
                )
            })
            .collect();
        assert_eq!(
            seen,
            [
                ("127.0.0.1:5000", Scheme::Http, "/hub/v2", Some("docker.io")),
                ("registry-1.docker.io", Scheme::Https, "/v2", None),
            ]
        );
        assert!(endpoints[1].mirror.capabilities.push && !endpoints[0].mirror.capabilities.push);
    }

    #[test]
    fn loopback_and_insecure_may_be_plain() {
        let mut hosts = RegistryHosts::default();
        hosts.insecure.insert("lab:5000".to_owned());
        let scheme = |registry: &str| hosts.endpoints(registry).unwrap()[0].scheme;
        assert_eq!(scheme("localhost:5000"), Scheme::HttpsOrHttp);
        assert_eq!(scheme("[::1]:5000"), Scheme::HttpsOrHttp);
        assert_eq!(scheme("127.0.0.2:80"), Scheme::HttpsOrHttp);
        assert_eq!(scheme("lab:5000"), Scheme::HttpsOrHttp);
        assert_eq!(scheme("lab:5001"), Scheme::Https);
    }

    #[test]
    fn reads_hosts_toml() {
        let text = r#"
server = "https://registry.example"
[host."http://b.example:81/x"]
  capabilities = ["pull"]
  override_path = true
  [host."http://b.example:81/x".header]
    x-team = ["one", "two"]
[host."https://a.example"]
  capabilities = ["pull", "resolve"]
  ca = "ca.pem"
  skip_verify = true
"#;
        let (mirrors, server) = parse(text, Path::new("/certs.d/x")).unwrap();
        assert_eq!(server.unwrap().url, "https://registry.example");
        assert_eq!(mirrors[0].url, "http://b.example:81/x");
        assert!(mirrors[0].override_path && !mirrors[0].capabilities.resolve);
        assert_eq!(mirrors[0].headers.len(), 2);
        assert_eq!(mirrors[1].trust_files, [PathBuf::from("/certs.d/x/ca.pem")]);
        assert!(mirrors[1].skip_verify);
        assert!(
            parse(
                "[host.\"http://x\"]\ncapabilities = [\"fly\"]",
                Path::new("/")
            )
            .is_err()
        );
    }
}
