//! PATCH: JSON patch, merge patch, strategic merge patch and server-side apply, each computed on the stored object in
//! the served version and run through the write ladder, again after every lost race.

use std::sync::Arc;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::{Request, Response};

use corten_api::Object;
use corten_api::meta::v1::ManagedFieldsEntry;
use corten_client::{Cause, Details, Status};
use corten_core::{List, Time, Value};
use corten_patch::{Apply, PatchError};
use parking_lot::Mutex;

use crate::body::Answer;
use crate::catalog::Served;
use crate::http::{self, Call};
use crate::options::WriteOptions;
use crate::patched::{Document, Patched};
use crate::resource::{self, accepted, aim, answer_written};
use crate::server::Server;
use crate::write::{Aim, Change, Written};
use crate::{merging, tracking, write};

/// The kinds of patches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PatchKind {
    Json,
    Merge,
    Strategic,
    Apply,
}

const JSON: &str = "application/json-patch+json";
const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";
const APPLY: &str = "application/apply-patch+yaml";

impl PatchKind {
    /// By content type. `Err` = 415.
    pub(crate) fn of(content_type: &str, served: &Served) -> Result<PatchKind, Status> {
        match content_type.split(';').next().unwrap_or_default().trim() {
            JSON => Ok(PatchKind::Json),
            MERGE => Ok(PatchKind::Merge),
            STRATEGIC if !served.is_custom() => Ok(PatchKind::Strategic),
            APPLY => Ok(PatchKind::Apply),
            given if served.is_custom() => {
                Err(Status::unsupported_media(&[JSON, MERGE, APPLY], given))
            }
            _ => {
                let mut status =
                    Status::new(415, "UnsupportedMediaType", "415: Unsupported Media Type");
                status.details = Some(Box::default());
                Err(status)
            }
        }
    }
}

pub(crate) async fn serve(
    server: &Arc<Server>,
    served: &Arc<Served>,
    call: Call,
    request: Request<Incoming>,
) -> Result<Response<Answer>, Status> {
    let accepted = accepted(&call, served)?;
    let kind = PatchKind::of(resource::content_type(request.headers()), served)?;
    let options = WriteOptions::parse(&call.query, call.agent(), "PatchOptions")?;
    if kind == PatchKind::Apply && call.query.get("fieldManager").is_none_or(str::is_empty) {
        return Err(crate::options::invalid_options(
            "PatchOptions",
            "fieldManager",
            "FieldValueRequired",
            "fieldManager: Required value: is required for apply patch",
        ));
    }
    if kind != PatchKind::Apply && call.query.truthy("force") {
        return Err(crate::options::invalid_options(
            "PatchOptions",
            "force",
            "FieldValueForbidden",
            "force: Forbidden: may not be specified for non-apply patch",
        ));
    }
    let body = http::read_body(request).await?;
    let aim = aim(served, &call);
    let written = patch(server, &call.user, &aim, kind, &body, &options).await?;
    answer_written(server, served, accepted, &call, written).await
}

/// One patch, ready to be computed on whatever is stored.
struct Patching<'a> {
    served: &'a Served,
    kind: PatchKind,
    document: Document,
    options: &'a WriteOptions,
    subresource: &'a str,
    /// Whether it reads or writes metadata.managedFields, or may.
    names_managers: bool,
    now: Time,
    /// Warnings of the last computation.
    problems: Mutex<Vec<String>>,
}

impl Patching<'_> {
    /// The patched object in storage version.
    fn compute(&self, old: &Object) -> Result<Object, Status> {
        let mut shown = self.served.served_version(old)?;
        if let Some(merged) = self.merged(shown.as_ref().unwrap_or(old)) {
            self.problems.lock().clear();
            return self.finished(merged);
        }
        let mut kept = None;
        if self.is_beside_managers() {
            // They come through as they are: most of the object's tree would be theirs.
            let shown = shown.get_or_insert_with(|| old.clone());
            kept = Some(std::mem::take(&mut shown.meta_mut().managed_fields));
        }
        let live = shown
            .as_ref()
            .unwrap_or(old)
            .to_value()
            .map_err(Status::internal)?;
        let patch = &self.document.value;
        let new = match (self.kind, self.served.msg) {
            (PatchKind::Apply, _) => return self.apply(Some(&live)),
            (PatchKind::Json, _) => corten_patch::json(live, patch),
            (PatchKind::Strategic, Some(msg)) => {
                corten_patch::strategic(live, patch, msg, &self.served.group_version_kind())
            }
            _ => corten_patch::merge(live, patch),
        };
        let live = shown.as_ref().unwrap_or(old);
        self.rebuild(&new.map_err(refuse)?, Some(live), kept)
    }

    /// A merge into the object itself, where that will do.
    fn merged(&self, live: &Object) -> Option<Object> {
        let will_do =
            self.kind == PatchKind::Merge && self.is_beside_managers() && self.document.is_sound();
        will_do
            .then(|| merging::merged(live, &self.document.value))
            .flatten()
    }

    fn finished(&self, mut object: Object) -> Result<Object, Status> {
        self.served.default(&mut object);
        self.served.to_storage(object)
    }

    /// Whether the patch neither reads nor writes managedFields.
    fn is_beside_managers(&self) -> bool {
        self.kind != PatchKind::Apply && !self.names_managers
    }

    /// The applied object in storage version; `live` is none when there is no object yet.
    fn apply(&self, live: Option<&Value>) -> Result<Object, Status> {
        let applied = corten_patch::apply(&Apply {
            live,
            patch: &self.document.value,
            schema: self.served.patch_schema(),
            manager: &self.options.manager,
            subresource: self.subresource,
            force: self.options.force,
            now: &self.now,
        });
        let applied = applied.map_err(refuse)?;
        let found = self.document.settle_apply(self.options.validation)?;
        let object = self.rebuild(&applied, None, None)?;
        self.problems.lock().extend(found);
        Ok(object)
    }

    fn rebuild(
        &self,
        value: &Value,
        live: Option<&Object>,
        kept: Option<List<ManagedFieldsEntry>>,
    ) -> Result<Object, Status> {
        let patched = Patched {
            served: self.served,
            kind: self.kind,
            document: &self.document,
            live,
            managers: kept.as_ref(),
            validation: self.options.validation,
        };
        let (mut object, found) = patched.object(value)?;
        *self.problems.lock() = found;
        match kept {
            Some(kept) => object.meta_mut().managed_fields = kept,
            None => tracking::set(&mut object, value["metadata"]["managedFields"].clone()),
        }
        self.finished(object)
    }
}

/// Patches an object; an apply makes it when it is missing.
pub(crate) async fn patch(
    server: &Server,
    user: &corten_access::UserInfo,
    aim: &Aim<'_>,
    kind: PatchKind,
    body: &Bytes,
    options: &WriteOptions,
) -> Result<Written, Status> {
    let document = Document::read(kind, body)?;
    let patching = Patching {
        served: aim.served,
        kind,
        names_managers: names_managers(kind, &document.value, body),
        document,
        options,
        subresource: aim.subresource,
        now: server.now(),
        problems: Mutex::default(),
    };
    let mut ladder_options = options.clone();
    if kind == PatchKind::Apply {
        // The apply itself keeps managedFields.
        ladder_options.manager.clear();
    }
    let missing = aim.subresource.is_empty() && server.store.get(&aim.key()).is_none();
    let mut written = if kind == PatchKind::Apply && missing {
        let mut object = patching.apply(None)?;
        object.meta_mut().uid = "".into();
        write::create(server, user, aim, object, &ladder_options).await?
    } else {
        let compute = |old: &Object| patching.compute(old);
        write::update(
            server,
            user,
            aim,
            Change::Compute(&compute),
            &ladder_options,
        )
        .await?
    };
    written.warnings.extend(patching.problems.into_inner());
    Ok(written)
}

/// Whether a patch reads or writes metadata.managedFields, or what holds it as a whole.
fn names_managers(kind: PatchKind, patch: &Value, body: &Bytes) -> bool {
    let whole = |operation: &Value| {
        ["path", "from"]
            .iter()
            .any(|end| matches!(operation[*end].as_str(), Some("" | "/metadata")))
    };
    // Escapes may hide the name.
    let may_name = |text: &str| text.contains("managedFields") || text.contains('\\');
    std::str::from_utf8(body).map_or(true, may_name)
        || kind == PatchKind::Json && patch.as_list().is_none_or(|all| all.iter().any(whole))
}

/// The whole answer to a patch whose operations fail on this object: upstream keeps the reason to itself.
fn does_not_apply() -> Status {
    let text = "the server rejected our request due to an error in our request";
    let mut status = Status::new(422, "Invalid", text);
    status.details = Some(Box::default());
    status
}

/// The answer to a patch that cannot be applied.
pub(crate) fn refuse(error: PatchError) -> Status {
    let message = error.to_string();
    match error {
        PatchError::Bad(text) => Status::bad_request(text),
        PatchError::Misfit(text) => Status::new(500, "", text),
        PatchError::Invalid(_) => does_not_apply(),
        PatchError::Conflict(conflicts) => {
            let causes = conflicts
                .into_iter()
                .map(|c| Cause {
                    reason: "FieldManagerConflict".into(),
                    message: c.message,
                    field: c.field,
                })
                .collect();
            let mut status = Status::new(409, "Conflict", message);
            status.details = Some(Box::new(Details {
                causes,
                ..Details::default()
            }));
            status
        }
    }
}
