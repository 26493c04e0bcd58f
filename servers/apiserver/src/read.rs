//! The read ladder: find the snapshot a request means (now, not older than, exactly at, or where a continue token was
//! cut), then get or list from it. Nothing is decoded here: selectors read headers.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use corten_client::{Cause, Details, Status, Target};
use corten_store::{Entry, Key, Revision, RevisionError, Scope, Snapshot};
use serde::{Deserialize, Serialize};

use crate::catalog::Served;
use crate::options::{ListOptions, Match};
use crate::selection::Selection;
use crate::server::Server;

/// How long a read waits for a revision that has not happened yet.
const FRESH_MAX: Duration = Duration::from_secs(3);

/// One page of a list.
pub(crate) struct Listed {
    pub entries: Vec<Arc<Entry>>,
    pub revision: Revision,
    pub continue_token: String,
    pub remaining: Option<i64>,
}

#[derive(Serialize, Deserialize)]
struct ContinueToken {
    v: String,
    rv: i64,
    start: String,
}

const TOKEN_VERSION: &str = "meta.k8s.io/v1";

/// One object, not older than `resource_version` asks.
pub(crate) async fn get(
    server: &Server,
    served: &Served,
    namespace: &str,
    name: &str,
    resource_version: &str,
) -> Result<Arc<Entry>, Status> {
    if !matches!(resource_version, "" | "0") {
        let options = ListOptions {
            resource_version: resource_version.to_owned(),
            ..ListOptions::default()
        };
        wait_fresh(server, Revision(options.revision()?)).await?;
    }
    let key = Key::new(&served.storage, namespace, name);
    server.store.get(&key).ok_or_else(|| {
        Status::not_found(Target {
            group: &served.group,
            resource: &served.plural,
            name,
        })
    })
}

/// One page of the objects of a resource.
pub(crate) async fn list(
    server: &Server,
    served: &Served,
    namespace: &str,
    options: &ListOptions,
) -> Result<Listed, Status> {
    let selection = Selection::parse(served, options)?;
    let scope = selection.scope(namespace);
    let (snapshot, start, limit) = place(server, served, &scope, options).await?;
    let mut entries = Vec::new();
    let mut more = false;
    for entry in snapshot.range(&scope, start.as_deref()) {
        if !selection.selects(entry) {
            continue;
        }
        if limit > 0 && entries.len() == limit {
            more = true;
            break;
        }
        entries.push(entry.clone());
    }
    let mut listed = Listed {
        entries,
        revision: snapshot.revision(),
        continue_token: String::new(),
        remaining: None,
    };
    if more && let Some(last) = listed.entries.last() {
        let start = format!("{}\0", last.key().tail());
        listed.continue_token = token(snapshot.revision().0 as i64, &start);
        if selection.is_everything() {
            listed.remaining = Some(snapshot.range(&scope, Some(&start)).count() as i64);
        }
    }
    Ok(listed)
}

fn token(revision: i64, start: &str) -> String {
    let token = ContinueToken {
        v: TOKEN_VERSION.into(),
        rv: revision,
        start: start.to_owned(),
    };
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(&token).expect("a token is plain data"))
}

/// The snapshot a list reads, where it starts in it, and how many it takes (0 = all).
async fn place(
    server: &Server,
    served: &Served,
    _scope: &Scope,
    options: &ListOptions,
) -> Result<(Snapshot, Option<String>, usize), Status> {
    if !options.continue_token.is_empty() {
        return resume(server, served, options);
    }
    let revision = Revision(options.revision()?);
    let current = || server.store.snapshot(&served.storage);
    if revision == Revision::NONE {
        // Any version will do: upstream answers the whole list from its cache then.
        let limit = if options.resource_version == "0" {
            0
        } else {
            options.limit
        };
        return Ok((current(), None, limit));
    }
    let exact = options.version_match == Match::Exact
        || (options.version_match == Match::Unset && options.limit > 0);
    wait_fresh(server, revision).await?;
    if !exact {
        return Ok((current(), None, options.limit));
    }
    let snapshot = server
        .store
        .snapshot_at(&served.storage, revision)
        .map_err(|error| match error {
            RevisionError::Compacted(_) => Status::expired(
                "The provided resource version is too old to display a consistent list result.",
            ),
            RevisionError::Future { current, .. } => too_new(revision, current),
        })?;
    Ok((snapshot, None, options.limit))
}

fn resume(
    server: &Server,
    served: &Served,
    options: &ListOptions,
) -> Result<(Snapshot, Option<String>, usize), Status> {
    let bad = |why: &str| {
        Status::bad_request(format!(
            "invalid continue token: continue key is not valid: {why}"
        ))
    };
    let bytes = URL_SAFE_NO_PAD
        .decode(options.continue_token.trim_end_matches('='))
        .map_err(|e| bad(&e.to_string()))?;
    let token: ContinueToken =
        serde_json::from_slice(&bytes).map_err(|e| bad(&go_syntax(&bytes, &e)))?;
    if token.v != TOKEN_VERSION {
        return Err(bad(&format!(
            "server does not recognize this encoded version {:?}",
            token.v
        )));
    }
    if token.start.is_empty() || token.rv == 0 {
        return Err(bad("incorrect encoded start resourceVersion"));
    }
    if !matches!(options.resource_version.as_str(), "" | "0") {
        return Err(Status::bad_request(
            "specifying resource version is not allowed when using continue",
        ));
    }
    if token.rv < 0 {
        return Ok((
            server.store.snapshot(&served.storage),
            Some(token.start),
            options.limit,
        ));
    }
    match server
        .store
        .snapshot_at(&served.storage, Revision(token.rv as u64))
    {
        Ok(snapshot) => Ok((snapshot, Some(token.start), options.limit)),
        Err(_) => Err(expired_token(&token.start)),
    }
}

/// A syntax error of a token in Go's words, where that is easy.
fn go_syntax(bytes: &[u8], error: &serde_json::Error) -> String {
    match bytes.first() {
        Some(first) if *first != b'{' => {
            format!(
                "invalid character {:?} looking for beginning of value",
                char::from(*first)
            )
        }
        _ => error.to_string(),
    }
}

/// 410 with a token that goes on at the present state.
fn expired_token(start: &str) -> Status {
    let mut status = Status::expired(
        "The provided continue parameter is too old to display a consistent list result. You can start a new list \
         without the continue parameter, or use the continue token in this response to retrieve the remainder of the \
         results. Continuing with the provided token results in an inconsistent list - objects that were created, \
         modified, or deleted between the time the first chunk was returned and now may show up in the list.",
    );
    status.continue_token = self::token(-1, start);
    status
}

/// Waits until the store has reached a revision, for a while.
pub(crate) async fn wait_fresh(server: &Server, revision: Revision) -> Result<(), Status> {
    if server.store.revision() >= revision {
        return Ok(());
    }
    match tokio::time::timeout(FRESH_MAX, server.store.wait_for(revision)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(Status::unavailable(error.to_string())),
        Err(_) => Err(too_new(revision, server.store.revision())),
    }
}

/// 504: the revision has not happened yet.
fn too_new(asked: Revision, current: Revision) -> Status {
    let mut status = Status::timeout(format!(
        "Timeout: Too large resource version: {asked}, current: {current}"
    ));
    status.details = Some(Box::new(Details {
        causes: vec![Cause {
            reason: "ResourceVersionTooLarge".into(),
            message: "Too large resource version".into(),
            field: String::new(),
        }],
        retry_after_seconds: 1,
        ..Details::default()
    }));
    status
}
