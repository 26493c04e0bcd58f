//! Metadata on its way into the store: what the server fills in, what an update carries over, and when an object being
//! deleted is gone. Validation of the values themselves is `corten_kinds`'.

use corten_api::Object;
use corten_client::{Cause, Status, Target};
use corten_core::{Time, Value};
use corten_kinds::{FieldError, validate_metadata, validate_metadata_update};
use corten_store::Entry;

use crate::catalog::Served;
use crate::server::Server;
use crate::write::Aim;

/// 500 about a new object that came with a revision.
pub(crate) fn check_new(revision: &str) -> Result<(), Status> {
    match revision {
        "" | "0" => Ok(()),
        _ => Err(Status::new(
            500,
            "",
            "resourceVersion should not be set on objects to be created",
        )),
    }
}

/// Namespace, name, uid and times of a new object.
pub(crate) fn fill(server: &Server, object: &mut Object, aim: &Aim<'_>) -> Result<(), Status> {
    check_namespace(object, aim)?;
    let meta = object.meta_mut();
    meta.resource_version = "".into();
    meta.deletion_timestamp = None;
    meta.deletion_grace_period_seconds = None;
    meta.self_link = "".into();
    meta.uid = server.uid().into();
    meta.creation_timestamp = server.now();
    if meta.name.is_empty() && !meta.generate_name.is_empty() {
        meta.name = server.generated_name(&meta.generate_name).into();
    }
    // The one kind that may be without a name.
    if meta.name.is_empty() && aim.served.plural == "limitranges" {
        meta.name = server.uid().into();
    }
    if !aim.name.is_empty() && meta.name != aim.name {
        if !meta.name.is_empty() {
            return Err(name_mismatch(&meta.name, aim.name));
        }
        meta.name = aim.name.into();
    }
    Ok(())
}

fn name_mismatch(body: &str, url: &str) -> Status {
    Status::bad_request(format!(
        "the name of the object ({body}) does not match the name on the URL ({url})"
    ))
}

/// Makes the namespace the URL's.
pub(crate) fn check_namespace(object: &mut Object, aim: &Aim<'_>) -> Result<(), Status> {
    let namespaced = aim.served.namespaced;
    let meta = object.meta_mut();
    if !namespaced {
        // Upstream drops a namespace on cluster-scoped objects without a word.
        meta.namespace = "".into();
    } else if meta.namespace.is_empty() {
        meta.namespace = aim.namespace.into();
    } else if meta.namespace != aim.namespace {
        return Err(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    Ok(())
}

/// The name of an update must be the URL's.
pub(crate) fn check_name(object: &Object, name: &str) -> Result<(), Status> {
    let given = &object.meta().name;
    if given.is_empty() {
        return Err(Status::bad_request(format!(
            "the name of the object ({name} based on URL) was undeterminable: name must be provided"
        )));
    }
    match given == name {
        true => Ok(()),
        false => Err(name_mismatch(given, name)),
    }
}

/// Where the new form of an object is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The client gave all of it; its uid is a precondition.
    Given,
    /// A patch made it of what is stored; its uid is a field like others.
    Computed,
}

/// Name, uid and resourceVersion of an update against what is stored.
pub(crate) fn check_versions(
    served: &Served,
    aim: &Aim<'_>,
    object: &Object,
    current: &Entry,
    origin: Origin,
) -> Result<(), Status> {
    check_name(object, aim.name)?;
    let meta = object.meta();
    let stored_uid = current.header().uid();
    if !meta.uid.is_empty() && meta.uid != stored_uid && origin == Origin::Given {
        let why = format!(
            "StorageError: invalid object, Code: 4, Key: {}, ResourceVersion: 0, AdditionalErrorMsg: Precondition \
             failed: UID in precondition: {}, UID in object meta: {stored_uid}",
            current.key().to_string().trim_start_matches("/registry"),
            meta.uid
        );
        return Err(Status::conflict(aim.target(), &why));
    }
    let version = meta.resource_version.as_str();
    if matches!(version, "" | "0") {
        if matches!(aim.subresource, "" | "status")
            && (served.is_custom() || !served.unconditional_update())
        {
            let error = FieldError::invalid(
                "metadata.resourceVersion",
                Value::Int(0),
                "must be specified for an update",
            );
            return Err(invalid_as(served, &served.plural, aim.name, &[error]));
        }
        return Ok(());
    }
    let parsed: u64 = version.parse().map_err(|_| {
        Status::new(
            500,
            "",
            format!("strconv.ParseUint: parsing {version:?}: invalid syntax"),
        )
    })?;
    if parsed != current.mod_revision().0 {
        return Err(Status::modified(aim.target()));
    }
    Ok(())
}

/// What a client cannot change through an update.
pub(crate) fn carry_over(object: &mut Object, old: &Object, aim: &Aim<'_>) -> Result<(), Status> {
    check_namespace(object, aim)?;
    let before = old.meta();
    let meta = object.meta_mut();
    meta.generation = before.generation;
    meta.self_link = "".into();
    if !before.creation_timestamp.is_zero() {
        meta.creation_timestamp = before.creation_timestamp;
    }
    if meta.uid.is_empty() {
        meta.uid = before.uid.clone();
    }
    if before.deletion_timestamp.is_some() {
        meta.deletion_timestamp = before.deletion_timestamp;
    }
    if meta.deletion_grace_period_seconds.is_none() {
        meta.deletion_grace_period_seconds = before.deletion_grace_period_seconds;
    }
    Ok(())
}

/// Whether an update leaves nothing that keeps an object being deleted.
pub(crate) fn is_finished(object: &Object, old: &Object) -> bool {
    let meta = object.meta();
    meta.deletion_timestamp.is_some()
        && meta.finalizers.is_empty()
        && (!old.meta().finalizers.is_empty() || crate::namespaces::has_content_finalizers(old))
        && meta.deletion_grace_period_seconds.unwrap_or(0) == 0
        && !crate::namespaces::has_content_finalizers(object)
}

/// 422 unless metadata and the kind's own rules are satisfied.
pub(crate) fn check_create(
    served: &Served,
    aim: &Aim<'_>,
    object: &Object,
    found: Vec<FieldError>,
) -> Result<(), Status> {
    let mut errors = new_metadata_errors(served, object);
    errors.extend(found);
    let errors = settle(served, errors);
    if errors.is_empty() {
        Ok(())
    } else {
        Err(invalid(served, aim.name, &errors))
    }
}

/// The same for an update.
pub(crate) fn check_update(
    served: &Served,
    aim: &Aim<'_>,
    object: &Object,
    old: &Object,
    found: Vec<FieldError>,
) -> Result<(), Status> {
    let mut errors = metadata_errors(served, object, old);
    errors.extend(found);
    let errors = settle(served, errors);
    if errors.is_empty() {
        Ok(())
    } else {
        Err(invalid(served, aim.name, &errors))
    }
}

/// What is wrong with the metadata of a new object.
pub(crate) fn new_metadata_errors(served: &Served, object: &Object) -> Vec<FieldError> {
    let strategy = served.strategy();
    let fixed = strategy.fixed_name(object);
    validate_metadata(object.meta(), served.namespaced, strategy, fixed)
}

/// What is wrong with the metadata of an update, as often as upstream says it of the kind.
pub(crate) fn metadata_errors(served: &Served, object: &Object, old: &Object) -> Vec<FieldError> {
    let rounds = match served.is_custom() {
        true => corten_kinds::CUSTOM_ROUNDS,
        false => corten_kinds::metadata_rounds(&served.group, &served.kind),
    };
    validate_metadata_update(object.meta(), old.meta(), rounds)
}

/// Definitions and custom resources may have finalizers without a slash, as upstream lets them.
fn settle(served: &Served, errors: Vec<FieldError>) -> Vec<FieldError> {
    let lenient = served.is_custom() || served.group == "apiextensions.k8s.io";
    let mut kept: Vec<FieldError> = Vec::with_capacity(errors.len());
    for error in errors {
        let bare = error
            .detail
            .starts_with("name is neither a standard finalizer name");
        if !(lenient && bare) {
            kept.push(error);
        }
    }
    kept
}

/// Upstream's 422.
pub(crate) fn invalid(served: &Served, name: &str, errors: &[FieldError]) -> Status {
    invalid_as(served, &served.kind, name, errors)
}

fn invalid_as(served: &Served, kind: &str, name: &str, errors: &[FieldError]) -> Status {
    let causes = errors
        .iter()
        .map(|e| Cause {
            reason: e.reason().to_owned(),
            message: e.body(),
            field: e.field.clone(),
        })
        .collect();
    // The message names each error once, the causes as often as it was found.
    let mut texts: Vec<String> = Vec::with_capacity(errors.len());
    for text in errors.iter().map(ToString::to_string) {
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    let joined = match texts.as_slice() {
        [one] => one.clone(),
        many => format!("[{}]", many.join(", ")),
    };
    Status::invalid(
        Target {
            // Events are named by their old group whichever they came through.
            group: if served.is_event() { "" } else { &served.group },
            resource: kind,
            name,
        },
        causes,
        &joined,
    )
}

/// Marks an object as being deleted after `grace` seconds.
pub(crate) fn mark_deleted(object: &mut Object, now: Time, grace: i64) {
    let meta = object.meta_mut();
    meta.deletion_timestamp = Some(now.plus_seconds(grace));
    meta.deletion_grace_period_seconds = Some(grace);
    if meta.generation > 0 {
        meta.generation += 1;
    }
}
