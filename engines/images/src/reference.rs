//! Image references: parsing and Docker's normalisation (`nginx` -> `docker.io/library/nginx:latest`).
//! Invariant: a `Reference` is normalised and valid; its text is the same however it was written.

use std::fmt;
use std::str::FromStr;

use crate::digest::Digest;

/// A normalised image name: domain, path, and a tag or a digest (or both; the digest then decides).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// A text that names no image. The message is the one Kubernetes shows for `InvalidImageName`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("couldn't parse image name {name:?}: {reason}")]
pub struct ReferenceError {
    /// The text as given.
    pub name: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

const FORMAT: &str = "invalid reference format";
const NAME_TOTAL_LENGTH_MAX: usize = 255;

impl Reference {
    /// Parses and normalises `text`; without tag and digest the tag becomes `latest`.
    pub fn parse(text: &str) -> Result<Reference, ReferenceError> {
        let wrong = |reason| ReferenceError {
            name: text.to_owned(),
            reason,
        };
        if text.len() == 64 && Digest::from_hex(text).is_ok() {
            return Err(wrong("cannot specify 64-byte hexadecimal strings"));
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (
                rest,
                Some(digest.parse::<Digest>().map_err(|_| wrong(FORMAT))?),
            ),
            None => (text, None),
        };
        // A colon after the last slash starts the tag; one before it is a port.
        let name_start = rest.rfind('/').map_or(0, |i| i + 1);
        let (name, tag) = match rest[name_start..].find(':') {
            Some(i) => (&rest[..name_start + i], Some(&rest[name_start + i + 1..])),
            None => (rest, None),
        };
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(wrong(FORMAT));
        }
        let (domain, path) = split_domain(name);
        if path.chars().any(|c| c.is_ascii_uppercase()) {
            return Err(wrong("repository name must be lowercase"));
        }
        if !is_domain(&domain) || !is_path(&path) {
            return Err(wrong(FORMAT));
        }
        if path.len() > NAME_TOTAL_LENGTH_MAX {
            return Err(wrong(
                "repository name must not be more than 255 characters",
            ));
        }
        let tag = match (tag, digest) {
            (None, None) => Some("latest".to_owned()),
            (tag, _) => tag.map(str::to_owned),
        };
        Ok(Reference {
            domain,
            path,
            tag,
            digest,
        })
    }

    /// The registry as named in the reference: `docker.io`, `localhost:5000`.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The repository within the registry: `library/nginx`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Domain and path: `docker.io/library/nginx`.
    pub fn repository(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }

    /// The tag, when one was given or supplied.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, when one was given.
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// The same repository at `digest`, without a tag.
    pub fn with_digest(&self, digest: Digest) -> Reference {
        Reference {
            domain: self.domain.clone(),
            path: self.path.clone(),
            tag: None,
            digest: Some(digest),
        }
    }

    /// The same repository at `tag`, without a digest. `tag` must be a valid tag.
    pub fn with_tag(&self, tag: &str) -> Result<Reference, ReferenceError> {
        if !is_tag(tag) {
            return Err(ReferenceError {
                name: format!("{}:{tag}", self.repository()),
                reason: FORMAT,
            });
        }
        Ok(Reference {
            tag: Some(tag.to_owned()),
            digest: None,
            ..self.clone()
        })
    }

    /// What a registry is asked for: the digest when there is one, else the tag.
    pub(crate) fn object(&self) -> String {
        match (self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => "latest".to_owned(),
        }
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;
    fn from_str(text: &str) -> Result<Reference, ReferenceError> {
        Reference::parse(text)
    }
}

impl fmt::Display for Reference {
    /// `domain/path`, then `@digest` when there is one, else `:tag`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.domain, self.path)?;
        match (self.digest, &self.tag) {
            (Some(digest), _) => write!(f, "@{digest}"),
            (None, Some(tag)) => write!(f, ":{tag}"),
            (None, None) => Ok(()),
        }
    }
}

/// The first component is a registry when it looks like a host; anything else lives on Docker Hub.
fn split_domain(name: &str) -> (String, String) {
    let (domain, path) = match name.split_once('/') {
        Some((first, rest))
            if first.contains(['.', ':'])
                || first == "localhost"
                || first.chars().any(|c| c.is_ascii_uppercase()) =>
        {
            (first, rest)
        }
        _ => ("docker.io", name),
    };
    let domain = if domain == "index.docker.io" {
        "docker.io"
    } else {
        domain
    };
    if domain == "docker.io" && !path.contains('/') {
        return (domain.to_owned(), format!("library/{path}"));
    }
    (domain.to_owned(), path.to_owned())
}

pub(crate) fn is_tag(tag: &str) -> bool {
    let mut chars = tag.bytes();
    let word = |c: u8| c.is_ascii_alphanumeric() || c == b'_';
    tag.len() <= 128
        && chars.next().is_some_and(word)
        && chars.all(|c| word(c) || c == b'.' || c == b'-')
}

fn is_domain(domain: &str) -> bool {
    let host_port = match domain
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'))
    {
        Some((address, rest)) => {
            if address.is_empty() || !address.bytes().all(|c| c.is_ascii_hexdigit() || c == b':') {
                return false;
            }
            ("", rest)
        }
        None => match domain.split_once(':') {
            Some((host, _)) => (host, &domain[host.len()..]),
            None => (domain, ""),
        },
    };
    let (host, port) = host_port;
    let label = |label: &str| {
        let edge = |c: u8| c.is_ascii_alphanumeric();
        let bytes = label.as_bytes();
        bytes.first().copied().is_some_and(edge)
            && bytes.last().copied().is_some_and(edge)
            && bytes
                .iter()
                .all(|c| c.is_ascii_alphanumeric() || *c == b'-')
    };
    let port_ok = match port.strip_prefix(':') {
        Some(digits) => !digits.is_empty() && digits.bytes().all(|c| c.is_ascii_digit()),
        None => port.is_empty(),
    };
    port_ok && (host.is_empty() && domain.starts_with('[') || host.split('.').all(label))
}

fn is_path(path: &str) -> bool {
    path.split('/').all(is_path_component)
}

/// Lower-case words joined by one period, one or two underscores, or any number of dashes.
fn is_path_component(component: &str) -> bool {
    let word = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let bytes = component.as_bytes();
    let mut at = 0;
    loop {
        let start = at;
        while at < bytes.len() && word(bytes[at]) {
            at += 1;
        }
        if at == start {
            return false;
        }
        if at == bytes.len() {
            return true;
        }
        let separator_start = at;
        while at < bytes.len() && !word(bytes[at]) {
            at += 1;
        }
        let separator = &component[separator_start..at];
        let dashes = separator.bytes().all(|c| c == b'-');
        if !(dashes || matches!(separator, "." | "_" | "__")) {
            return false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn normalises_as_docker_does() {
        for (text, normal) in [
            ("nginx", "docker.io/library/nginx:latest"),
            ("nginx:1", "docker.io/library/nginx:1"),
            ("library/nginx", "docker.io/library/nginx:latest"),
            ("index.docker.io/nginx", "docker.io/library/nginx:latest"),
            ("bitnami/redis:7.0-x_y", "docker.io/bitnami/redis:7.0-x_y"),
            ("localhost/a:1", "localhost/a:1"),
            (
                "localhost:5000/a/b__c-d.e",
                "localhost:5000/a/b__c-d.e:latest",
            ),
            ("registry.k8s.io/pause:3.10", "registry.k8s.io/pause:3.10"),
            ("[::1]:5000/x", "[::1]:5000/x:latest"),
            ("[fd00::1]/x", "[fd00::1]/x:latest"),
            ("FOO/x", "FOO/x:latest"),
        ] {
            assert_eq!(
                Reference::parse(text).unwrap().to_string(),
                normal,
                "{text}"
            );
        }
        let both = Reference::parse(&format!("nginx:1@sha256:{HEX}")).unwrap();
        assert_eq!(
            both.to_string(),
            format!("docker.io/library/nginx@sha256:{HEX}")
        );
        assert_eq!(both.tag(), Some("1"));
        assert_eq!(both.object(), format!("sha256:{HEX}"));
    }

    #[test]
    fn refuses_what_docker_refuses() {
        for text in [
            "",
            ":1",
            "a:",
            "a:b:c",
            "a//b",
            "-a",
            "a/-b",
            "a___b",
            "a..b",
            "x@sha256:12",
            "a b",
            "h:x/y",
            HEX,
        ] {
            assert!(Reference::parse(text).is_err(), "{text}");
        }
        let error = Reference::parse("repo/Upper").unwrap_err().to_string();
        assert_eq!(
            error,
            "couldn't parse image name \"repo/Upper\": repository name must be lowercase"
        );
        assert_eq!(
            Reference::parse("a b").unwrap_err().to_string(),
            "couldn't parse image name \"a b\": invalid reference format"
        );
    }
}
