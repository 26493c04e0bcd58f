//! Tokens kept in secrets (`kubernetes.io/service-account-token`): they are signed into the secrets that ask for them, and
//! such secrets go with their account. Upstream's tokens controller; here because the keys are. Invariant: a secret gets the
//! token of the account that it names, by uid where it says one, and of no other.

use std::sync::Arc;

use corten_access::UserInfo;
use corten_api::Kind;
use corten_api::core::v1::{Secret, ServiceAccount};
use corten_client::{Client, Options, Preconditions};
use corten_core::Bin;
use corten_store::{Entry, Scope, Watch};

use crate::jwt::Claims;
use crate::local::Local;
use crate::server::{Server, signalled};
use crate::typed;

const TYPE: &str = "kubernetes.io/service-account-token";
const NAME: &str = "kubernetes.io/service-account.name";
const UID: &str = "kubernetes.io/service-account.uid";
/// Who signs tokens that are kept in secrets.
pub(crate) const ISSUER: &str = "kubernetes/serviceaccount";

fn user() -> UserInfo {
    UserInfo {
        name: "system:kube-controller-manager".into(),
        ..UserInfo::default()
    }
}

/// Follows secrets and accounts until the server stops.
pub(crate) async fn follow(server: Arc<Server>) {
    let mut stop = server.stop_signal();
    let local = Local::new(server.clone(), user());
    let client = Client::new(Arc::new(local), "kube-controller-manager");
    while let Some([mut secrets, mut accounts]) = open(&server) {
        let mut due = all(&server);
        loop {
            for entry in due {
                settle(&server, &client, &entry).await;
            }
            let (mut a, mut b) = (Vec::new(), Vec::new());
            let seen = tokio::select! {
                seen = secrets.next_batch(&mut a, usize::MAX) => seen,
                seen = accounts.next_batch(&mut b, usize::MAX) => seen,
                () = signalled(&mut stop) => return,
            };
            if seen.is_err() {
                break;
            }
            due = match b.is_empty() {
                true => a.iter().filter_map(|e| e.entry().cloned()).collect(),
                false => all(&server),
            };
            due.retain(|entry| keeps_token(entry));
        }
        if !server.store_is_open() {
            return;
        }
    }
}

fn open(server: &Server) -> Option<[Watch; 2]> {
    let catalog = server.catalog();
    let watch = |plural: &str| {
        let served = catalog.find("", "v1", plural)?;
        let now = server.store.snapshot(&served.storage).revision();
        server.store.watch(&served.storage, Scope::All, now).ok()
    };
    Some([watch("secrets")?, watch("serviceaccounts")?])
}

fn keeps_token(entry: &Entry) -> bool {
    entry.header().field("type") == Some(TYPE)
}

/// Every such secret.
fn all(server: &Server) -> Vec<Arc<Entry>> {
    let catalog = server.catalog();
    let Some(served) = catalog.find("", "v1", "secrets") else {
        return Vec::new();
    };
    let secrets = server.store.snapshot(&served.storage);
    let kept = secrets.iter().filter(|entry| keeps_token(entry));
    kept.cloned().collect()
}

/// Looks at one such secret.
async fn settle(server: &Arc<Server>, client: &Client, entry: &Entry) {
    let Ok(object) = typed::passing(entry) else {
        return;
    };
    let secret = object.downcast_ref::<Secret>();
    let Some(secret) = secret.filter(|s| s.metadata.deletion_timestamp.is_none()) else {
        return;
    };
    let annotation = |key: &str| secret.metadata.annotations.get(key);
    let Some(name) = annotation(NAME).filter(|name| !name.is_empty()) else {
        return;
    };
    let namespace = &secret.metadata.namespace;
    let view = server.typed.view();
    let account = view.snapshot.find::<ServiceAccount>(namespace, name);
    let uid = annotation(UID).filter(|uid| !uid.is_empty());
    let outcome = match account.filter(|a| uid.is_none_or(|uid| a.metadata.uid == *uid)) {
        None => remove(client, secret).await,
        Some(account) => fill(server, client, secret, &account).await,
    };
    if let Err(error) = outcome {
        // Who changed it meanwhile has woken this up again.
        tracing::debug!(%error, %namespace, secret = %secret.metadata.name, "the token of a secret");
    }
}

/// The account is gone, and so is the token.
async fn remove(client: &Client, secret: &Secret) -> Result<(), corten_client::Error> {
    let meta = &secret.metadata;
    let options = Options {
        preconditions: Preconditions {
            uid: Some(meta.uid.to_string()),
            resource_version: Some(meta.resource_version.to_string()),
        },
        ..Options::default()
    };
    client
        .delete::<Secret>(&meta.namespace, &meta.name, options)
        .await
}

/// Puts in what is missing.
async fn fill(
    server: &Server,
    client: &Client,
    secret: &Secret,
    account: &ServiceAccount,
) -> Result<(), corten_client::Error> {
    let authority = server.config.client_ca.as_bytes();
    let namespace = secret.metadata.namespace.as_str();
    let has = |key: &str| secret.data.get(key).is_some_and(|value| !value.is_empty());
    let has_authority = secret
        .data
        .get("ca.crt")
        .is_some_and(|ca| **ca == *authority);
    if has_authority && has("namespace") && has("token") {
        return Ok(());
    }
    let mut new = secret.clone();
    if !has_authority {
        new.data.insert("ca.crt", Bin::from(authority.to_vec()));
    }
    if !has("namespace") {
        new.data
            .insert("namespace", Bin::from(namespace.as_bytes().to_vec()));
    }
    if !has("token") {
        let name = account.metadata.name.to_string();
        let claims = Claims {
            iss: ISSUER.to_owned(),
            sub: format!("system:serviceaccount:{namespace}:{name}"),
            legacy_namespace: namespace.to_owned(),
            legacy_secret: secret.metadata.name.to_string(),
            legacy_name: name,
            legacy_uid: account.metadata.uid.to_string(),
            ..Claims::default()
        };
        match server.token_keys.sign(&claims) {
            Ok(token) => new.data.insert("token", Bin::from(token.into_bytes())),
            Err(error) => {
                tracing::error!(%error, "sign the token of a secret");
                return Ok(());
            }
        };
    }
    let annotations = &mut new.meta_mut().annotations;
    annotations.insert(NAME, account.metadata.name.clone());
    annotations.insert(UID, account.metadata.uid.clone());
    client.update(new).await.map(drop)
}
