//! The write ladder: mutate -> default -> admit -> prepare -> validate -> admit -> commit, read top-down in `create`
//! and `update`. Invariant: whatever is committed was prepared and validated against exactly the version it replaces;
//! patches and unconditional updates run the ladder again on the fresh object when they lose a race.

use std::sync::Arc;

use corten_access::UserInfo;
use corten_access::admission::Operation;
use corten_api::Object;
use corten_client::{Status, Target};
use corten_store::{Committed, Conflict, Entry, Key, Op, Precondition, Put, Transaction};

use crate::admit::{self, Admission};
use crate::catalog::Served;
use crate::commit::{self, Committing};
use crate::custom::conversion;
use crate::options::{Admitting, WriteOptions};
use crate::server::Server;
use crate::{allocate, custom, metadata, possession, tracking, typed};

/// How often a write that lost a race is run again.
const RETRIES_MAX: usize = 50;
/// How many names are tried for `generateName`.
const NAMES_MAX: usize = 8;

/// What a write is about.
#[derive(Clone)]
pub(crate) struct Aim<'a> {
    pub served: &'a Arc<Served>,
    pub namespace: &'a str,
    pub name: &'a str,
    pub subresource: &'a str,
}

impl Aim<'_> {
    /// As messages name it.
    pub(crate) fn target(&self) -> Target<'_> {
        Target {
            group: &self.served.group,
            resource: &self.served.plural,
            name: self.name,
        }
    }

    pub(crate) fn key(&self) -> Key {
        Key::new(&self.served.storage, self.namespace, self.name)
    }
}

/// What came of a write.
pub(crate) struct Written {
    /// The object as it is now, or would be (dry run).
    pub object: Arc<Object>,
    /// Its entry, when it was committed.
    pub entry: Option<Arc<Entry>>,
    /// Whether it did not exist before.
    pub created: bool,
    /// For `Warning` headers.
    pub warnings: Vec<String>,
}

/// Creates an object.
pub(crate) async fn create(
    server: &Server,
    user: &UserInfo,
    aim: &Aim<'_>,
    object: Object,
    options: &WriteOptions,
) -> Result<Written, Status> {
    let generated = object.meta().name.is_empty() && !object.meta().generate_name.is_empty();
    let mut names_left = if generated { NAMES_MAX } else { 1 };
    for _ in 0..RETRIES_MAX {
        match create_once(server, user, aim, object.clone(), options).await {
            Ok(Some(written)) => return Ok(written),
            // A quota or an allocation was written at the same time: the ladder runs again on what is there now.
            Ok(None) => {}
            Err(mut status) if generated && status.is_already_exists() => {
                names_left -= 1;
                if names_left == 0 {
                    status.message = format!(
                        "{}, the server was not able to generate a unique name for the object",
                        status.message
                    );
                    return Err(status);
                }
            }
            Err(status) => return Err(status),
        }
    }
    Err(Status::conflict(
        aim.target(),
        "a resource quota or an allocation changed at the same time; please try again",
    ))
}

/// One run of the ladder; `None` when a race about something beside the object was lost.
async fn create_once(
    server: &Server,
    user: &UserInfo,
    aim: &Aim<'_>,
    mut object: Object,
    options: &WriteOptions,
) -> Result<Option<Written>, Status> {
    let served = aim.served;
    served.default(&mut object);
    let mut object = served.to_storage(object)?;
    let given = match aim.name {
        "" => object.meta().name.clone(),
        name => name.into(),
    };
    let revision = object.meta().resource_version.clone();
    metadata::fill(server, &mut object, aim)?;
    // Before admission and allocation: what those add is not the client's.
    tracking::update(served, None, &mut object, options, "", server.now());
    let name = object.meta().name.to_string();
    let aim = Aim {
        name: &name,
        ..aim.clone()
    };
    crate::namespaces::provision(server, aim.namespace, options.dry_run).await?;
    crate::accounts::wait_for_account(server, aim.namespace, &object).await;
    let view = server.typed.fresh(server);
    let admission = Admission::new(
        server,
        &view,
        user,
        &aim,
        Operation::Create,
        None,
        options.dry_run,
    )
    .named(&given)
    .with_options(options.shown("CreateOptions"));
    let mut warnings = admit::mutate(&admission, &mut object).await?;
    served.default_storage(&mut object);
    let allocation = allocate::for_create(server, served, &mut object, options.dry_run).await?;
    let cx = admission.context();
    served.prepare_create(&cx, &mut object);
    custom::establish(server, &mut object);
    let mut found = served.validate_create(&cx, &object);
    if found.is_empty() {
        found.extend(possession::check(&object));
    }
    metadata::check_create(served, &aim, &object, found)?;
    warnings.extend(served.warnings(&cx, &object, None));
    warnings.extend(admit::validate(&admission, Some(&object)).await?);
    if options.dry_run {
        admit::charge(&admission, Some(&object))?;
        if server.store.get(&aim.key()).is_some() {
            return Err(Status::already_exists(aim.target()));
        }
        object.meta_mut().resource_version = revision;
        return Ok(Some(Written {
            object: Arc::new(object),
            entry: None,
            created: true,
            warnings,
        }));
    }
    metadata::check_new(&revision)?;
    match commit_charged(server, &admission, &aim, object, None, allocation.ops).await? {
        Some(Committing::Done(committed)) => written(&committed, warnings, true).map(Some),
        Some(Committing::Lost(conflict)) if conflict.op == 0 => Err(exists(&aim, &conflict)),
        Some(Committing::Lost(_)) | None => Ok(None),
    }
}

/// Commits an object together with what it adds to quotas and what goes with it; `None` when it is stored already as it
/// is. A quota that changed at the same time is charged again here; it says nothing against the object.
async fn commit_charged(
    server: &Server,
    admission: &Admission<'_>,
    aim: &Aim<'_>,
    mut object: Object,
    current: Option<&Entry>,
    ops: Vec<Op>,
) -> Result<Option<Committing>, Status> {
    let precondition = current.map_or(Precondition::MustNotExist, |entry| {
        Precondition::ModRevision(entry.mod_revision())
    });
    let mut ops = Some(ops);
    object = conversion::kept(&server.outbound, aim.served, object).await?;
    loop {
        let charges = admit::charge(admission, Some(&object))?;
        let others = ops.take().unwrap_or_default();
        let again = others.is_empty() && !charges.is_empty();
        let kept = again.then(|| object.clone());
        let put = commit::put(aim.served, aim.key(), object)?;
        // What another key encrypted is written again even if it says the same, so that keys can be rotated away.
        if let Some(entry) =
            current.filter(|entry| others.is_empty() && !server.store.is_stale(entry))
            && put.stored.len() == entry.stored_len()
            && put.stored == entry.stored().map_err(Status::internal)?
        {
            return Ok(None);
        }
        let put = put.when(precondition.clone());
        let transaction = transaction(server, put, charges, others)?;
        match (commit::commit(server, transaction).await?, kept) {
            // Every round that is lost here is one that another request has won.
            (Committing::Lost(conflict), Some(kept)) if conflict.op != 0 => object = kept,
            (outcome, _) => return Ok(Some(outcome)),
        }
    }
}

/// The object's write together with what goes with it.
fn transaction(
    server: &Server,
    put: Put,
    charges: Vec<Object>,
    ops: Vec<Op>,
) -> Result<Transaction, Status> {
    let mut transaction = Transaction::put(put);
    for charge in charges {
        transaction = transaction.and(commit::charge(server, charge)?);
    }
    for op in ops {
        transaction = transaction.and(op);
    }
    Ok(transaction)
}

fn written(committed: &Committed, warnings: Vec<String>, created: bool) -> Result<Written, Status> {
    let entry = committed
        .entry()
        .cloned()
        .ok_or_else(|| Status::internal("the commit wrote nothing"))?;
    let object = typed::object(&entry)?;
    Ok(Written {
        object,
        entry: Some(entry),
        created,
        warnings,
    })
}

/// 409: there is such an object already, perhaps on its way out.
fn exists(aim: &Aim<'_>, conflict: &Conflict) -> Status {
    let mut status = Status::already_exists(aim.target());
    let deleting = |entry: &Arc<Entry>| {
        typed::object(entry).is_ok_and(|o| o.meta().deletion_timestamp.is_some())
    };
    if conflict.current.as_ref().is_some_and(deleting) {
        status.message = format!("object is being deleted: {}", status.message);
    }
    status
}

/// What an update makes of the stored object.
pub(crate) enum Change<'a> {
    /// Replaces it with the client's object (in storage version, defaulted).
    Replace(Object),
    /// Computes it from the stored object, again after every lost race. `None` = no change is wanted.
    Compute(&'a (dyn Fn(&Object) -> Result<Object, Status> + Sync)),
}

/// Updates an object. `aim.subresource` selects the part.
pub(crate) async fn update(
    server: &Server,
    user: &UserInfo,
    aim: &Aim<'_>,
    change: Change<'_>,
    options: &WriteOptions,
) -> Result<Written, Status> {
    let mut attempt = 0;
    loop {
        attempt += 1;
        match update_once(server, user, aim, &change, options).await? {
            Some(written) => return Ok(written),
            None if attempt >= RETRIES_MAX => return Err(Status::modified(aim.target())),
            None => {}
        }
    }
}

/// One run of the ladder; `None` when a race was lost that may be run again.
async fn update_once(
    server: &Server,
    user: &UserInfo,
    aim: &Aim<'_>,
    change: &Change<'_>,
    options: &WriteOptions,
) -> Result<Option<Written>, Status> {
    let served = aim.served;
    let current = server
        .store
        .get(&aim.key())
        .ok_or_else(|| Status::not_found(aim.target()))?;
    let mut old = match served.is_custom() {
        true => typed::passing(&current)?,
        false => typed::object(&current)?,
    };
    if served.conversion().is_some() {
        old = conversion::shown(&server.outbound, served, old).await?;
    }
    let (mut object, again) = changed(server, aim, change, (&current, &old), options)?;
    let view = server.typed.fresh(server);
    let admission = Admission::new(
        server,
        &view,
        user,
        aim,
        Operation::Update,
        Some(&old),
        options.dry_run,
    )
    .with_options(options.shown("UpdateOptions"));
    let asking = options.admitting == Admitting::Here;
    let mut warnings = Vec::new();
    if asking {
        warnings = admit::mutate(&admission, &mut object).await?;
    }
    served.default_storage(&mut object);
    let mut allocation =
        allocate::for_update(server, served, aim, &mut object, &old, options.dry_run).await?;
    let cx = admission.context();
    served.prepare_update(&cx, aim.subresource, &mut object, &old);
    custom::establish(server, &mut object);
    let (found, excused) = served.validate_update(&cx, aim.subresource, &object, &old);
    metadata::check_update(served, aim, &object, &old, found)?;
    warnings.extend(excused);
    warnings.extend(served.warnings(&cx, &object, Some(&old)));
    if asking {
        warnings.extend(admit::validate(&admission, Some(&object)).await?);
    }
    if options.dry_run {
        admit::charge(&admission, Some(&object))?;
        object.meta_mut().resource_version = current.mod_revision().to_string().into();
        return Ok(Some(Written {
            object: Arc::new(object),
            entry: None,
            created: false,
            warnings,
        }));
    }
    let ops = std::mem::take(&mut allocation.ops);
    let before = (current.clone(), old.clone());
    match store_update(server, &admission, aim, before, object, ops, warnings).await? {
        Stored::Written(written) => Ok(Some(written)),
        Stored::Changed if !again => Err(Status::modified(aim.target())),
        Stored::Changed | Stored::Beside => Ok(None),
    }
}

/// What came of committing an update.
enum Stored {
    Written(Written),
    /// The object is no longer the one that the update was made from.
    Changed,
    /// Something that goes with it was written at the same time.
    Beside,
}

/// What the client makes of the stored object, with its fields tracked, and whether a lost race may be run again.
fn changed(
    server: &Server,
    aim: &Aim<'_>,
    change: &Change<'_>,
    (current, old): (&Entry, &Object),
    options: &WriteOptions,
) -> Result<(Object, bool), Status> {
    let (mut object, again) = match change {
        Change::Replace(object) => (object.clone(), object.meta().resource_version.is_empty()),
        Change::Compute(compute) => (compute(old)?, true),
    };
    let origin = match change {
        Change::Replace(_) => metadata::Origin::Given,
        Change::Compute(_) => metadata::Origin::Computed,
    };
    metadata::check_versions(aim.served, aim, &object, current, origin)?;
    metadata::carry_over(&mut object, old, aim)?;
    // Before admission and allocation: what those add is not the client's.
    let part = aim.subresource;
    tracking::update(
        aim.served,
        Some(old),
        &mut object,
        options,
        part,
        server.now(),
    );
    Ok((object, again))
}

/// Commits an update over the version it was made from.
async fn store_update(
    server: &Server,
    admission: &Admission<'_>,
    aim: &Aim<'_>,
    (current, old): (Arc<Entry>, Arc<Object>),
    object: Object,
    ops: Vec<Op>,
    warnings: Vec<String>,
) -> Result<Stored, Status> {
    if metadata::is_finished(&object, &old) {
        let object = conversion::kept(&server.outbound, aim.served, object).await?;
        let put = commit::put(aim.served, aim.key(), object)?;
        let put = put.when(Precondition::ModRevision(current.mod_revision()));
        let finished = finish(server, aim, put, warnings).await?;
        return Ok(finished.map_or(Stored::Changed, Stored::Written));
    }
    match commit_charged(server, admission, aim, object, Some(&current), ops).await? {
        None => Ok(Stored::Written(Written {
            object: old,
            entry: Some(current),
            created: false,
            warnings,
        })),
        Some(Committing::Done(committed)) => {
            written(&committed, warnings, false).map(Stored::Written)
        }
        Some(Committing::Lost(conflict)) if conflict.op == 0 => Ok(Stored::Changed),
        Some(Committing::Lost(_)) => Ok(Stored::Beside),
    }
}

/// The update that took away the last finalizer of an object being deleted: it is deleted instead of written.
/// `None` when the race was lost.
async fn finish(
    server: &Server,
    aim: &Aim<'_>,
    put: Put,
    warnings: Vec<String>,
) -> Result<Option<Written>, Status> {
    let mut object = commit::object_of(aim.served, &put)?;
    let mut transaction = Transaction::delete(aim.key(), put.precondition);
    for op in allocate::for_delete(server, aim.served, &object) {
        transaction = transaction.and(op);
    }
    match commit::commit(server, transaction).await? {
        Committing::Done(committed) => {
            object.meta_mut().resource_version = committed.revision.to_string().into();
            custom::clean_after(server, aim.served).await;
            Ok(Some(Written {
                object: Arc::new(object),
                entry: None,
                created: false,
                warnings,
            }))
        }
        Committing::Lost(_) => Ok(None),
    }
}
