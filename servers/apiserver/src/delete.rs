//! Deletion: preconditions, grace, finalizers by propagation, and collections. An object either goes at once, is
//! marked and kept (grace or finalizers), or stays as it is because it is already on its way.

use std::sync::Arc;

use corten_access::UserInfo;
use corten_access::admission::Operation;
use corten_api::Object;
use corten_client::{Status, Target};
use corten_store::{Entry, Precondition, Transaction};

use crate::admit::{self, Admission};
use crate::commit::{self, Committing};
use crate::custom::conversion;
use crate::options::{DeleteOptions, ListOptions, Propagation};
use crate::server::Server;
use crate::write::Aim;
use crate::{allocate, custom, metadata, namespaces, read, typed};

const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";
const RETRIES_MAX: usize = 50;

/// What came of a deletion.
pub(crate) struct Deleted {
    /// The object as it last was, or as it is now marked.
    pub object: Arc<Object>,
    /// Whether it is gone.
    pub gone: bool,
    pub warnings: Vec<String>,
}

/// What is to be done with one version of an object.
enum Verdict {
    /// Take it away.
    Remove,
    /// Write this marked object.
    Mark(Object),
    /// Nothing: it is on its way already.
    Leave,
}

/// Deletes one object.
pub(crate) async fn delete(
    server: &Server,
    user: &UserInfo,
    aim: &Aim<'_>,
    options: &DeleteOptions,
) -> Result<Deleted, Status> {
    for _ in 0..RETRIES_MAX {
        if let Some(deleted) = delete_once(server, user, aim, options).await? {
            if !deleted.gone && !options.dry_run && aim.served.kind == "CustomResourceDefinition" {
                custom::clean(server, aim.served, aim.name).await?;
            }
            return Ok(deleted);
        }
    }
    Err(Status::modified(aim.target()))
}

async fn delete_once(
    server: &Server,
    user: &UserInfo,
    aim: &Aim<'_>,
    options: &DeleteOptions,
) -> Result<Option<Deleted>, Status> {
    let entry = server
        .store
        .get(&aim.key())
        .ok_or_else(|| Status::not_found(aim.target()))?;
    let object = typed::object(&entry)?;
    // Admission may want to see it in the version of the request.
    let ready = conversion::ready(&server.outbound, aim.served, std::slice::from_ref(&object));
    let _converted = ready.await?;
    check_preconditions(aim, &entry, options)?;
    let view = server.typed.fresh(server);
    let admission = Admission::new(
        server,
        &view,
        user,
        aim,
        Operation::Delete,
        Some(&object),
        options.dry_run,
    )
    .with_options(options.shown());
    let mut warnings = admit::validate(&admission, None).await?;
    namespaces::refuse_deletion(aim)?;
    let verdict = decide(server, aim, &object, options);
    warnings.sort();
    let precondition = Precondition::ModRevision(entry.mod_revision());
    let deleted = |object: Arc<Object>, gone: bool| {
        Some(Deleted {
            object,
            gone,
            warnings,
        })
    };
    match verdict {
        Verdict::Leave => Ok(deleted(object, false)),
        Verdict::Remove if options.dry_run => {
            Ok(deleted(shown_gone(server, aim, object, options), true))
        }
        Verdict::Mark(marked) if options.dry_run => Ok(deleted(Arc::new(marked), false)),
        Verdict::Remove => {
            let removed = remove(server, aim, &object, precondition).await?;
            Ok(removed
                .then(|| shown_gone(server, aim, object, options))
                .and_then(|o| deleted(o, true)))
        }
        Verdict::Mark(marked) => {
            let object = mark(server, aim, marked, precondition).await?;
            Ok(object.and_then(|o| deleted(o, false)))
        }
    }
}

/// Takes an object away with what goes with it; false when the race was lost.
async fn remove(
    server: &Server,
    aim: &Aim<'_>,
    object: &Object,
    precondition: Precondition,
) -> Result<bool, Status> {
    let mut transaction = Transaction::delete(aim.key(), precondition);
    for op in allocate::for_delete(server, aim.served, object) {
        transaction = transaction.and(op);
    }
    Ok(matches!(
        commit::commit(server, transaction).await?,
        Committing::Done(_)
    ))
}

/// Writes a marked object; none when the race was lost.
async fn mark(
    server: &Server,
    aim: &Aim<'_>,
    marked: Object,
    precondition: Precondition,
) -> Result<Option<Arc<Object>>, Status> {
    let put = commit::put(aim.served, aim.key(), marked)?.when(precondition);
    match commit::commit(server, Transaction::put(put)).await? {
        Committing::Done(committed) => {
            let entry = committed
                .entry()
                .ok_or_else(|| Status::internal("the commit wrote nothing"))?;
            typed::object(entry).map(Some)
        }
        Committing::Lost(_) => Ok(None),
    }
}

/// A gracefully deleted kind shows that its grace is over.
fn shown_gone(
    server: &Server,
    aim: &Aim<'_>,
    object: Arc<Object>,
    options: &DeleteOptions,
) -> Arc<Object> {
    if aim.served.grace(&object, options.grace_seconds).is_none() {
        return object;
    }
    let mut last = (*object).clone();
    match object.meta().deletion_timestamp {
        Some(_) => last.meta_mut().deletion_grace_period_seconds = Some(0),
        None => metadata::mark_deleted(&mut last, server.now(), 0),
    }
    Arc::new(last)
}

fn check_preconditions(
    aim: &Aim<'_>,
    entry: &Entry,
    options: &DeleteOptions,
) -> Result<(), Status> {
    let stored = entry.header().uid();
    // Upstream names the kind here, not the resource, and the kind that is stored.
    let events = aim.served.group == "events.k8s.io";
    let by_kind = Target {
        group: if events { "" } else { &aim.served.group },
        resource: &aim.served.kind,
        name: aim.name,
    };
    // These two have a deletion of their own.
    let own = ["namespaces", "customresourcedefinitions"];
    let namespace = own.contains(&aim.served.plural.as_str()) && !aim.served.is_custom();
    if let Some(uid) = options.uid.as_ref().filter(|_| namespace)
        && uid != stored
    {
        let why = format!(
            "Precondition failed: UID in precondition: {uid}, UID in object meta: {stored}"
        );
        return Err(Status::conflict(aim.target(), &why));
    }
    let found = entry.mod_revision().to_string();
    if let Some(version) = &options.resource_version
        && namespace
        && *version != found
    {
        let why = format!(
            "Precondition failed: ResourceVersion in precondition: {version}, ResourceVersion in object meta: {found}"
        );
        return Err(Status::conflict(aim.target(), &why));
    }
    if let Some(uid) = &options.uid
        && uid != stored
    {
        let why = format!(
            "the UID in the precondition ({uid}) does not match the UID in record ({stored}). The object might have \
             been deleted and then recreated"
        );
        return Err(Status::conflict(by_kind, &why));
    }
    if let Some(version) = &options.resource_version
        && *version != found
    {
        let why = format!(
            "the ResourceVersion in the precondition ({version}) does not match the ResourceVersion in record ({}). \
             The object might have been modified",
            found
        );
        return Err(Status::conflict(by_kind, &why));
    }
    Ok(())
}

fn decide(server: &Server, aim: &Aim<'_>, object: &Object, options: &DeleteOptions) -> Verdict {
    if let Some(marked) = custom::mark(server, object) {
        return Verdict::Mark(marked);
    }
    let meta = object.meta();
    let propagation = options.propagation;
    let mut finalizers: Vec<String> = meta.finalizers.iter().map(|f| f.to_string()).collect();
    let before = finalizers.clone();
    set_propagation(&mut finalizers, propagation, aim);
    if let Some(verdict) = namespaces::decide(server, &finalizers, object) {
        return verdict.map_or(Verdict::Remove, |o| o.map_or(Verdict::Leave, Verdict::Mark));
    }
    let grace = aim.served.grace(object, options.grace_seconds);
    let kept_by_grace = grace.filter(|g| *g > 0);
    if let Some(_deleting) = &meta.deletion_timestamp {
        return decide_again(
            server,
            object,
            finalizers != before,
            finalizers,
            grace,
            options,
        );
    }
    if finalizers.is_empty() && kept_by_grace.is_none() {
        return Verdict::Remove;
    }
    let mut marked = object.clone();
    metadata::mark_deleted(&mut marked, server.now(), grace.unwrap_or(0));
    marked.meta_mut().finalizers = finalizers.iter().map(String::as_str).collect();
    Verdict::Mark(marked)
}

/// A deletion of what is already being deleted: grace may only become shorter.
fn decide_again(
    server: &Server,
    object: &Object,
    changed: bool,
    finalizers: Vec<String>,
    grace: Option<i64>,
    options: &DeleteOptions,
) -> Verdict {
    let meta = object.meta();
    let running = meta.deletion_grace_period_seconds.unwrap_or(0);
    let wanted = match (grace, options.grace_seconds) {
        (Some(wanted), Some(_)) => wanted,
        _ => running,
    };
    if finalizers.is_empty() && wanted == 0 {
        return Verdict::Remove;
    }
    if wanted >= running && !changed {
        return Verdict::Leave;
    }
    let mut marked = object.clone();
    if wanted < running {
        let meta = marked.meta_mut();
        let started = meta
            .deletion_timestamp
            .map_or(server.now(), |t| t.plus_seconds(-running));
        meta.deletion_timestamp = Some(started.plus_seconds(wanted));
        meta.deletion_grace_period_seconds = Some(wanted);
    }
    marked.meta_mut().finalizers = finalizers.iter().map(String::as_str).collect();
    Verdict::Mark(marked)
}

/// The finalizers by which the garbage collector learns of the propagation asked for.
fn set_propagation(finalizers: &mut Vec<String>, asked: Option<Propagation>, aim: &Aim<'_>) {
    let had = |finalizers: &[String], name: &str| finalizers.iter().any(|f| f == name);
    let propagation = match asked {
        Some(asked) => asked,
        None if had(finalizers, ORPHAN) => Propagation::Orphan,
        None if had(finalizers, FOREGROUND) => Propagation::Foreground,
        None => match aim.served.default_propagation() {
            corten_kinds::Propagation::Orphan => Propagation::Orphan,
            corten_kinds::Propagation::Background => Propagation::Background,
        },
    };
    finalizers.retain(|f| f != ORPHAN && f != FOREGROUND);
    match propagation {
        // Nothing depends on events.
        _ if aim.served.is_event() => {}
        Propagation::Orphan => finalizers.push(ORPHAN.into()),
        Propagation::Foreground => finalizers.push(FOREGROUND.into()),
        Propagation::Background => {}
    }
}

/// Deletes what a list would show; answers the deleted objects.
pub(crate) async fn collection(
    server: &Server,
    user: &UserInfo,
    aim: &Aim<'_>,
    selection: &ListOptions,
    options: &DeleteOptions,
) -> Result<Vec<Arc<Object>>, Status> {
    let listed = read::list(server, aim.served, aim.namespace, selection).await?;
    let mut objects = Vec::with_capacity(listed.entries.len());
    for entry in listed.entries {
        let (namespace, name) = (entry.namespace().to_owned(), entry.name().to_owned());
        let one = Aim {
            namespace: &namespace,
            name: &name,
            ..aim.clone()
        };
        let object = typed::object(&entry)?;
        match delete(server, user, &one, options).await {
            // Shown as it was listed.
            Ok(_) => objects.push(object),
            Err(status) if status.is_not_found() => {}
            Err(status) => return Err(status),
        }
    }
    Ok(objects)
}

/// The answer to a deletion that leaves nothing to show.
pub(crate) fn success(aim: &Aim<'_>, uid: &str) -> Status {
    let target = Target {
        group: &aim.served.group,
        resource: &aim.served.plural,
        name: aim.name,
    };
    Status::success(target, uid)
}
