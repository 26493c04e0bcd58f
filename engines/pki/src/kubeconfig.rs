//! Writing kubeconfig files (0600, atomic). Everything is inline, so the file can be copied elsewhere.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::authority::Issued;
use crate::{Error, files};

/// How the user of a kubeconfig proves itself.
#[derive(Clone)]
pub enum KubeconfigUser {
    /// A client certificate.
    Certificate(Issued),
    /// A bearer token.
    Token(String),
}

/// The text of a kubeconfig with one cluster, one user and one context.
pub fn kubeconfig(
    cluster: &str,
    server: &str,
    ca: &str,
    name: &str,
    user: &KubeconfigUser,
) -> String {
    let ca = STANDARD.encode(ca);
    let credentials = match user {
        KubeconfigUser::Certificate(pair) => format!(
            "    client-certificate-data: {}\n    client-key-data: {}\n",
            STANDARD.encode(&pair.certificate),
            STANDARD.encode(&pair.key)
        ),
        KubeconfigUser::Token(token) => format!("    token: {token}\n"),
    };
    format!(
        "apiVersion: v1\nkind: Config\nclusters:\n- name: {cluster}\n  cluster:\n    server: {server}\n    \
         certificate-authority-data: {ca}\nusers:\n- name: {name}\n  user:\n{credentials}contexts:\n\
         - name: {name}@{cluster}\n  context:\n    cluster: {cluster}\n    user: {name}\n\
         current-context: {name}@{cluster}\npreferences: {{}}\n"
    )
}

/// Writes such a kubeconfig with mode 0600, atomically.
pub fn write_kubeconfig(
    path: &Path,
    cluster: &str,
    server: &str,
    ca: &str,
    name: &str,
    user: &KubeconfigUser,
) -> Result<(), Error> {
    files::write_private(path, &kubeconfig(cluster, server, ca, name, user))
}
