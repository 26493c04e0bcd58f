//! Reading kubeconfig files: the current context's server, authority and credentials.

use std::path::{Path, PathBuf};

use corten_core::Value;

/// What a client needs of a kubeconfig.
#[derive(Clone, Debug, Default)]
pub struct Kubeconfig {
    /// `https://host:port`.
    pub server: String,
    /// The server's authority, PEM; empty for the usual ones.
    pub certificate_authority: String,
    /// The client's certificate, PEM; empty for none.
    pub client_certificate: String,
    /// Its key, PEM.
    pub client_key: String,
    /// A bearer token; empty for none.
    pub token: String,
}

/// Why a kubeconfig is of no use.
#[derive(Debug, thiserror::Error)]
pub enum KubeconfigError {
    /// The file (or one it names) cannot be read.
    #[error("read {path}: {source}")]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    /// It is not YAML.
    #[error("parse the kubeconfig: {0}")]
    Parse(String),
    /// Something is missing in it.
    #[error("the kubeconfig has no {0}; check its current-context")]
    Missing(String),
}

impl Kubeconfig {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Kubeconfig, KubeconfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| KubeconfigError::Read {
            path: path.to_owned(),
            source,
        })?;
        Kubeconfig::parse(&text, path.parent().unwrap_or(Path::new(".")))
    }

    /// Parses the text; files it names are relative to `base`.
    pub fn parse(text: &str, base: &Path) -> Result<Kubeconfig, KubeconfigError> {
        let root = corten_codec::yaml::decode_value(text.as_bytes())
            .map_err(|e| KubeconfigError::Parse(e.to_string()))?;
        let context = named(
            &root,
            "contexts",
            "context",
            root.str_at(&["current-context"]),
        )?;
        let cluster = named(&root, "clusters", "cluster", context.str_at(&["cluster"]))?;
        let user = named(&root, "users", "user", context.str_at(&["user"]))?;
        let mut token = user.str_at(&["token"]).to_owned();
        if token.is_empty() && !user.str_at(&["tokenFile"]).is_empty() {
            token = read(&base.join(user.str_at(&["tokenFile"])))?
                .trim()
                .to_owned();
        }
        Ok(Kubeconfig {
            server: cluster.str_at(&["server"]).trim_end_matches('/').to_owned(),
            certificate_authority: inline(cluster, "certificate-authority", base)?,
            client_certificate: inline(user, "client-certificate", base)?,
            client_key: inline(user, "client-key", base)?,
            token,
        })
    }
}

fn named<'a>(
    root: &'a Value,
    list: &str,
    member: &str,
    name: &str,
) -> Result<&'a Value, KubeconfigError> {
    let missing = || KubeconfigError::Missing(format!("{member} {name:?}"));
    let all = root
        .get(list)
        .and_then(Value::as_list)
        .ok_or_else(missing)?;
    all.iter()
        .find(|v| v.str_at(&["name"]) == name)
        .and_then(|v| v.get(member))
        .ok_or_else(missing)
}

fn read(path: &Path) -> Result<String, KubeconfigError> {
    std::fs::read_to_string(path).map_err(|source| KubeconfigError::Read {
        path: path.to_owned(),
        source,
    })
}

/// `<key>-data` in base64, or the file that `<key>` names.
fn inline(value: &Value, key: &str, base: &Path) -> Result<String, KubeconfigError> {
    use base64::Engine as _;
    let data = value
        .get(&format!("{key}-data"))
        .and_then(Value::as_str)
        .unwrap_or_default();
    if !data.is_empty() {
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(data)
            .map_err(|e| KubeconfigError::Parse(format!("{key}-data: {e}")))?;
        return String::from_utf8(bytes)
            .map_err(|e| KubeconfigError::Parse(format!("{key}-data: {e}")));
    }
    match value.str_at(&[key]) {
        "" => Ok(String::new()),
        path => read(&base.join(path)),
    }
}
