//! The read ladder: find the snapshot a request means (now, not older than, exactly at, or where a continue token was
//! cut), then get or list from it. Nothing is decoded here: selectors read headers.

use std::sync::Arc;
use std::time::Duration;

use corten_client::{Cause, Details, Status, Target};
use corten_store::{Entry, Key, Revision, RevisionError, Snapshot};

use crate::catalog::Served;
use crate::continuing;
use crate::custom::conversion::{self, Converted};
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
    /// Memory is bounded: the items are not to be in it all at once.
    pub is_bounded: bool,
    /// Keeps what a webhook has converted at hand.
    pub converted: Converted,
}

/// One object, not older than `resource_version` asks.
pub(crate) async fn get(
    server: &Server,
    served: &Served,
    namespace: &str,
    name: &str,
    resource_version: &str,
) -> Result<Arc<Entry>, Status> {
    if resource_version.is_empty() {
        settle(server).await?;
    }
    if !matches!(resource_version, "" | "0") {
        let options = ListOptions {
            resource_version: resource_version.to_owned(),
            ..ListOptions::default()
        };
        let revision = options.revision().map_err(|status| {
            if served.is_event() {
                return status;
            }
            // Reads of one object word it as a failure of the server.
            let text = status
                .message
                .trim_start_matches("invalid resource version: ");
            Status::new(500, "", text)
        })?;
        wait_fresh(server, Revision(revision)).await?;
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
    served: &Arc<Served>,
    namespace: &str,
    options: &ListOptions,
) -> Result<Listed, Status> {
    let selection = Selection::parse(served, options)?;
    let scope = selection.scope(namespace);
    let (snapshot, start, limit) = place(server, served, namespace, options).await?;
    let mut converted = Converted::default();
    if selection.reads_objects() {
        let all = conversion::objects(served, snapshot.range(&scope, start.as_deref()))?;
        converted = conversion::ready(&server.outbound, served, &all).await?;
    }
    let mut entries = Vec::new();
    let mut more = false;
    for entry in selection.of(&snapshot, &scope, start.as_deref()) {
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
        is_bounded: server.store.is_bounded(),
        converted,
    };
    if !selection.reads_objects() {
        let shown = conversion::objects(served, listed.entries.iter())?;
        listed.converted = conversion::ready(&server.outbound, served, &shown).await?;
    }
    if more && let Some(last) = listed.entries.last() {
        let start = format!("{}\0", last.key().tail());
        listed.continue_token = continuing::encode(snapshot.revision().0 as i64, namespace, &start);
        if selection.is_everything() {
            listed.remaining = Some(snapshot.range(&scope, Some(&start)).count() as i64);
        }
    }
    Ok(listed)
}

/// The snapshot a list reads, where it starts in it, and how many it takes (0 = all).
async fn place(
    server: &Server,
    served: &Served,
    namespace: &str,
    options: &ListOptions,
) -> Result<(Snapshot, Option<String>, usize), Status> {
    if !options.continue_token.is_empty() {
        return resume(server, served, namespace, options).await;
    }
    if options.resource_version.is_empty() {
        settle(server).await?;
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
    if !exact || server.store.is_remote() {
        wait_fresh(server, revision).await?;
    }
    if !exact {
        return Ok((current(), None, options.limit));
    }
    let snapshot = as_it_was(server, served, revision)
        .await?
        .map_err(|error| match error {
            RevisionError::Compacted(_) => Status::expired(
                "The provided resource version is too old to display a consistent list result.",
            ),
            RevisionError::Future { current, .. } => {
                // Nobody waited, and nobody is told to.
                let mut status = too_new(revision, current);
                if let Some(details) = &mut status.details {
                    details.retry_after_seconds = 0;
                }
                status
            }
        })?;
    Ok((snapshot, None, options.limit))
}

/// A resource at an old revision, also one that only etcd still knows.
async fn as_it_was(
    server: &Server,
    served: &Served,
    revision: Revision,
) -> Result<Result<Snapshot, RevisionError>, Status> {
    let recalled = server.store.recall(&served.storage, revision).await;
    recalled.map_err(|error| Status::unavailable(error.to_string()))
}

async fn resume(
    server: &Server,
    served: &Served,
    namespace: &str,
    options: &ListOptions,
) -> Result<(Snapshot, Option<String>, usize), Status> {
    let token = continuing::decode(&options.continue_token, namespace)?;
    if !matches!(options.resource_version.as_str(), "" | "0") {
        return Err(Status::bad_request(
            "specifying resource version is not allowed when using continue",
        ));
    }
    let start = token.start;
    if token.revision < 0 {
        let snapshot = server.store.snapshot(&served.storage);
        return Ok((snapshot, Some(start), options.limit));
    }
    let revision = Revision(token.revision as u64);
    if server.store.is_remote() {
        // Another server may have made the token.
        wait_fresh(server, revision).await?;
    }
    match as_it_was(server, served, revision).await? {
        Ok(snapshot) => Ok((snapshot, Some(start), options.limit)),
        Err(RevisionError::Future { current, .. }) => Err(too_new(revision, current)),
        Err(RevisionError::Compacted(_)) => Err(expired_token(namespace, &start)),
    }
}

/// 410 with a token that goes on at the present state.
fn expired_token(namespace: &str, start: &str) -> Status {
    let mut status = Status::expired(
        "The provided continue parameter is too old to display a consistent list result. You can start a new list \
         without the continue parameter, or use the continue token in this response to retrieve the remainder of the \
         results. Continuing with the provided token results in an inconsistent list - objects that were created, \
         modified, or deleted between the time the first chunk was returned and now may show up in the list.",
    );
    status.continue_token = continuing::encode(-1, namespace, start);
    status
}

/// Waits until the store shows what anybody committed before now; others may write to the same etcd.
pub(crate) async fn settle(server: &Server) -> Result<(), Status> {
    if !server.store.is_remote() {
        return Ok(());
    }
    server.store.fresh().await.map(drop).map_err(|error| {
        let log = error.to_string();
        tracing::warn!(log, "a consistent read was not possible");
        Status::timeout("Timeout: request did not complete within the allotted timeout")
    })
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
