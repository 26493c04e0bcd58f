//! PATCH: JSON patch, merge patch, strategic merge patch and server-side apply, each computed on the stored object in
//! the served version and run through the write ladder, again after every lost race.

use std::sync::Arc;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::{Request, Response, header};

use corten_api::Object;
use corten_client::{Cause, Details, Status};
use corten_core::Value;
use corten_patch::{Apply, PatchError, Schema};

use crate::body::Answer;
use crate::catalog::Served;
use crate::http::{self, Call};
use crate::options::WriteOptions;
use crate::resource::{accepted, aim, answer_written};
use crate::server::Server;
use crate::write::{Aim, Change, Written};
use crate::{decode, write};

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
            STRATEGIC => Err(Status::unsupported_media(&[JSON, MERGE, APPLY], STRATEGIC)),
            _ => {
                let mut status = Status::new(415, "UnsupportedMediaType", "415: Unsupported Media Type");
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
    let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let kind = PatchKind::of(content_type, served)?;
    let options = WriteOptions::parse(&call.query, call.agent())?;
    if kind == PatchKind::Apply && call.query.get("fieldManager").is_none_or(str::is_empty) {
        return Err(crate::options::invalid_options(
            "PatchOptions",
            "fieldManager",
            "FieldValueRequired",
            "fieldManager: Required value: is required for apply patch",
        ));
    }
    let body = http::read_body(request).await?;
    let aim = aim(served, &call);
    let written = patch(server, &call.user, &aim, kind, &body, &options).await?;
    answer_written(server, served, accepted, &call, written)
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
    let served = aim.served;
    let patch = decode::patch(kind, body)?;
    let now = server.now();
    let schema = || served.msg.map_or(Schema::Free, Schema::Table);
    let problems = parking_lot::Mutex::new(Vec::new());
    let rebuild = |value: &Value| -> Result<Object, Status> {
        let (mut object, found) = decode::from_value(served, value, options.validation)?;
        *problems.lock() = found;
        served.default(&mut object);
        served.to_storage(object)
    };
    if kind == PatchKind::Apply && aim.subresource.is_empty() && server.store.get(&aim.key()).is_none() {
        let applied = corten_patch::apply(&Apply {
            live: None,
            patch: &patch,
            schema: schema(),
            manager: &options.manager,
            subresource: aim.subresource,
            force: options.force,
            now: &now,
        })
        .map_err(|e| refuse(aim, e))?;
        let mut object = rebuild(&applied)?;
        object.meta_mut().uid = "".into();
        let mut options = options.clone();
        options.manager.clear();
        let mut written = write::create(server, user, aim, object, &options).await?;
        written.warnings.extend(problems.into_inner());
        return Ok(written);
    }
    let compute = |old: &Object| -> Result<Object, Status> {
        let shown = served.from_storage(old)?;
        let old = shown.as_ref().unwrap_or(old);
        let live = old.to_value().map_err(Status::internal)?;
        let new = match kind {
            PatchKind::Json => corten_patch::json(live, &patch),
            PatchKind::Merge => corten_patch::merge(live, &patch),
            PatchKind::Strategic => match served.msg {
                Some(msg) => corten_patch::strategic(live, &patch, msg, &served.group_version_kind()),
                None => corten_patch::merge(live, &patch),
            },
            PatchKind::Apply => corten_patch::apply(&Apply {
                live: Some(&live),
                patch: &patch,
                schema: schema(),
                manager: &options.manager,
                subresource: aim.subresource,
                force: options.force,
                now: &now,
            }),
        };
        rebuild(&new.map_err(|e| refuse(aim, e))?)
    };
    let mut ladder_options = options.clone();
    if kind == PatchKind::Apply {
        // The apply itself has kept managedFields.
        ladder_options.manager.clear();
    }
    let mut written = write::update(server, user, aim, Change::Compute(&compute), &ladder_options).await?;
    written.warnings.extend(problems.into_inner());
    Ok(written)
}

fn refuse(aim: &Aim<'_>, error: PatchError) -> Status {
    match error {
        PatchError::Bad(text) => Status::bad_request(text),
        PatchError::Invalid(text) => Status::new(422, "Invalid", text),
        PatchError::Conflict(conflicts) => {
            let many = conflicts.len();
            let texts: Vec<String> = conflicts.iter().map(|c| format!("{}: {}", c.message, c.field)).collect();
            let noun = if many == 1 { "conflict" } else { "conflicts" };
            let message = match texts.as_slice() {
                [one] => format!("Apply failed with 1 {noun}: {one}"),
                more => {
                    let lines: Vec<String> = more.iter().map(|t| format!("\n- {t}")).collect();
                    format!("Apply failed with {many} {noun}: {}", lines.join("").trim_start_matches('\n'))
                }
            };
            let causes = conflicts
                .into_iter()
                .map(|c| Cause { reason: "FieldManagerConflict".into(), message: c.message, field: c.field })
                .collect();
            let mut status = Status::new(409, "Conflict", message);
            let _ = aim;
            status.details = Some(Box::new(Details { causes, ..Details::default() }));
            status
        }
    }
}
