//! Subresources and resources that are not stored: which handler each has. Parts of an object (`status`, `resize` ...)
//! take the ordinary ladder under their own name.

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};

use corten_access::UserInfo;
use corten_access::admission::Operation;
use corten_api::autoscaling::v1::Scale;
use corten_api::{Gvk, Object};
use corten_client::Status;
use corten_core::{MsgMut, Time, Value};

use crate::admit::{self, Admission};
use crate::body::Answer;
use crate::catalog::Served;
use crate::custom::conversion;
use crate::encode::{self, Form};
use crate::http::{self, Call};
use crate::negotiate::{self, Transforms};
use crate::options::{Admitting, FieldValidation, WriteOptions};
use crate::patched::Document;
use crate::patching::PatchKind;
use crate::resource::{accepted, aim, answer_written, body_media};
use crate::server::Server;
use crate::write::Change;
use crate::{
    component_status, decode, evict, metadata, patching, pods, read, resource, reviews, tokens,
    tracking, typed, write,
};

pub(crate) async fn serve(
    server: &Arc<Server>,
    served: &Arc<Served>,
    call: Call,
    request: Request<Incoming>,
) -> Result<Response<Answer>, Status> {
    let info = &call.info;
    if !served.is_stored() {
        return unstored(server, served, call, request).await;
    }
    let sub = served
        .subresource(&info.subresource)
        .ok_or_else(Status::no_such_path)?;
    let streaming = matches!(
        sub.name.as_str(),
        "exec" | "attach" | "portforward" | "proxy" | "log"
    );
    if streaming {
        return pods::stream(server, served, call, request).await;
    }
    if !sub.verbs.contains(&info.verb) {
        return Err(Status::method_not_allowed());
    }
    crate::read::settle(server).await?;
    match (served.plural.as_str(), sub.name.as_str()) {
        ("pods", "binding") => pods::bind(server, served, call, request).await,
        ("pods", "eviction") => evict::evict(server, served, call, request).await,
        ("serviceaccounts", "token") => tokens::request(server, served, call, request).await,
        (_, "scale") => scale(server, served, call, request).await,
        _ => part(server, served, call, request).await,
    }
}

async fn unstored(
    server: &Arc<Server>,
    served: &Arc<Served>,
    call: Call,
    request: Request<Incoming>,
) -> Result<Response<Answer>, Status> {
    if !served.verbs.contains(&call.info.verb) {
        return Err(Status::method_not_allowed());
    }
    match served.plural.as_str() {
        "bindings" => pods::bind(server, served, call, request).await,
        "componentstatuses" => component_status::serve(server, served, &call),
        _ => reviews::serve(server, served, call, request).await,
    }
}

/// A part of an object under the object's own kind.
async fn part(
    server: &Arc<Server>,
    served: &Arc<Served>,
    call: Call,
    request: Request<Incoming>,
) -> Result<Response<Answer>, Status> {
    match call.info.verb.as_str() {
        "get" => {
            let accepted = accepted(&call, served)?;
            let target = aim(served, &call);
            let entry = read::get(server, served, target.namespace, target.name, "").await?;
            let form = Form::new(served, accepted, server.now());
            let objects = conversion::objects(served, std::iter::once(&entry))?;
            let _converted = conversion::ready(&server.outbound, served, &objects).await?;
            let body = encode::entry(served, &form, &entry)?;
            Ok(http::respond(
                StatusCode::OK,
                form.media.content_type(),
                body,
            ))
        }
        "patch" => patching::serve(server, served, call, request).await,
        _ => {
            let accepted = accepted(&call, served)?;
            let options = WriteOptions::parse(&call.query, call.agent(), "UpdateOptions")?;
            let media = body_media(request.headers())?;
            let body = http::read_body(request).await?;
            let (object, problems) = decode::object(served, media, &body, options.validation)?;
            call.warnings.extend(problems);
            let target = aim(served, &call);
            let written = resource::replace(server, &call, &target, object, &options).await?;
            answer_written(server, served, accepted, &call, written).await
        }
    }
}

/// What a write's options are called.
fn options_kind(call: &Call) -> &'static str {
    match call.info.verb.as_str() {
        "patch" => "PatchOptions",
        _ => "UpdateOptions",
    }
}

const SCALE: Gvk<'static> = Gvk {
    group: "autoscaling",
    version: "v1",
    kind: "Scale",
};

/// `scale`: the replica count of a workload as an autoscaling/v1 Scale.
async fn scale(
    server: &Arc<Server>,
    served: &Arc<Served>,
    call: Call,
    request: Request<Incoming>,
) -> Result<Response<Answer>, Status> {
    let target = aim(served, &call);
    let mut read = None;
    if call.info.verb == "get" {
        resource::route(&call.headers, false)?;
        read = Some(read_scale(server, &target).await?);
    }
    let accepted = negotiate::accept(&call.headers, &call.query, Transforms::None)
        .map_err(|()| Status::not_acceptable(&["application/json", "application/yaml"]))?;
    let form = Form::new(served, accepted, server.now());
    if let Some(scale) = read {
        let body = encode::any_object(&form, &scale.into())?;
        return Ok(http::respond(
            StatusCode::OK,
            form.media.content_type(),
            body,
        ));
    }
    let options = WriteOptions::parse(&call.query, call.agent(), options_kind(&call))?;
    let wish = scale_wish(served, &call, request).await?;
    if let ScaleWish::Given(object) = &wish {
        metadata::check_name(object, target.name)?;
    }
    let scale = write_scale(server, &call.user, &target, wish, options).await?;
    let body = encode::any_object(&form, &scale.into())?;
    Ok(http::respond(
        StatusCode::OK,
        form.media.content_type(),
        body,
    ))
}

/// The Scale of an object.
pub(crate) async fn read_scale(
    server: &Arc<Server>,
    target: &write::Aim<'_>,
) -> Result<Scale, Status> {
    let served = target.served;
    let entry = read::get(server, served, target.namespace, target.name, "").await?;
    let stored = typed::object(&entry)?;
    let shown = conversion::shown_custom(&server.outbound, served, stored).await?;
    scale_of(served, &shown)
}

/// Scales an object as wished for; its Scale afterwards.
pub(crate) async fn write_scale(
    server: &Arc<Server>,
    user: &UserInfo,
    target: &write::Aim<'_>,
    mut wish: ScaleWish,
    mut options: WriteOptions,
) -> Result<Scale, Status> {
    let served = target.served;
    let scaling = Scaling {
        served,
        options: options.clone(),
        now: server.now(),
    };
    if let Some(replicas) = admit_scale(server, user, target, &scaling, &wish).await? {
        wish = ScaleWish::Given(replicas);
    }
    options.admitting = Admitting::Before;
    let compute = |old: &Object| scaling.scaled(old, &wish);
    // Who scales owns the replicas through the Scale, not what else the write touches.
    options.manager.clear();
    let main = write::Aim {
        subresource: "",
        ..target.clone()
    };
    let change = Change::Compute(&compute);
    let written = write::update(server, user, &main, change, &options).await?;
    let object = conversion::shown_custom(&server.outbound, served, written.object).await?;
    scale_of(served, &object)
}

/// Admission of a scaling: it sees the Scale. Answers the Scale that it made of the wish, when that is another.
async fn admit_scale(
    server: &Arc<Server>,
    user: &UserInfo,
    target: &write::Aim<'_>,
    scaling: &Scaling<'_>,
    wish: &ScaleWish,
) -> Result<Option<Object>, Status> {
    let served = target.served;
    let entry = read::get(server, served, target.namespace, target.name, "").await?;
    let stored = typed::object(&entry)?;
    let stored = conversion::shown_custom(&server.outbound, served, stored).await?;
    let old = Object::from(scale_of(served, &stored)?);
    let live = old.to_value().map_err(Status::internal)?;
    let (wanted, _) = scaling.wanted(&live, wish)?;
    check_scale(served, &wanted, &stored, target.name)?;
    let (wanted, mut object) = (wanted.spec.replicas, Object::from(wanted));
    let view = server.typed.fresh(server);
    let options = &scaling.options;
    let admission = Admission::new(
        server,
        &view,
        user,
        target,
        Operation::Update,
        Some(&old),
        options.dry_run,
    )
    .with_options(options.shown("UpdateOptions"));
    admit::admit_own(admission, SCALE, &mut object).await?;
    let changed = object
        .downcast_ref::<Scale>()
        .is_some_and(|scale| scale.spec.replicas != wanted);
    Ok(changed.then_some(object))
}

/// What a client wants of a Scale.
pub(crate) enum ScaleWish {
    Given(Object),
    Patched(PatchKind, Value),
}

async fn scale_wish(
    served: &Served,
    call: &Call,
    request: Request<Incoming>,
) -> Result<ScaleWish, Status> {
    if call.info.verb == "patch" {
        let kind = PatchKind::of(resource::content_type(request.headers()), served)?;
        let body = http::read_body(request).await?;
        return Ok(ScaleWish::Patched(kind, Document::read(kind, &body)?.value));
    }
    let media = body_media(request.headers())?;
    let body = http::read_body(request).await?;
    let (object, _) = decode::object_of(SCALE, false, media, &body, FieldValidation::Ignore)?;
    Ok(ScaleWish::Given(object))
}

/// One write of a Scale, ready to be computed on whatever is stored.
struct Scaling<'a> {
    served: &'a Served,
    options: WriteOptions,
    now: Time,
}

impl Scaling<'_> {
    /// The object as its new Scale has it, with managedFields.
    fn scaled(&self, old: &Object, wish: &ScaleWish) -> Result<Object, Status> {
        let path = self.served.replicas_path();
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        let parent = old.to_value().map_err(Status::internal)?;
        let parent = &parent["metadata"]["managedFields"];
        let current = Object::from(scale_of(self.served, old)?);
        let mut live = current.to_value().map_err(Status::internal)?;
        live.set(
            &["metadata", "managedFields"],
            corten_patch::managers_of_scale(parent, &path),
        );
        let (wanted, fields) = self.wanted(&live, wish)?;
        check_scale(self.served, &wanted, old, &old.meta().name)?;
        let mut new = old.clone();
        self.served.set_scale(&mut new, wanted.spec.replicas);
        new.meta_mut().resource_version = wanted.metadata.resource_version;
        let version = self.served.api_version();
        let fields = corten_patch::managers_from_scale(parent, &fields, &version, &path);
        tracking::set(&mut new, fields);
        Ok(new)
    }

    /// The Scale that is wished for, and its managedFields.
    fn wanted(&self, live: &Value, wish: &ScaleWish) -> Result<(Scale, Value), Status> {
        let schema = corten_patch::Schema::Table(MsgMut::new(&mut Scale::default()).msg());
        let new = match wish {
            ScaleWish::Given(object) => object.to_value().map_err(Status::internal)?,
            ScaleWish::Patched(PatchKind::Apply, patch) => {
                let applied = corten_patch::apply(&corten_patch::Apply {
                    live: Some(live),
                    patch,
                    schema,
                    manager: &self.options.manager,
                    subresource: "scale",
                    force: self.options.force,
                    now: &self.now,
                });
                let applied = applied.map_err(patching::refuse)?;
                let fields = applied["metadata"]["managedFields"].clone();
                return Ok((as_scale(&applied)?, fields));
            }
            ScaleWish::Patched(PatchKind::Json, patch) => {
                corten_patch::json(live.clone(), patch).map_err(patching::refuse)?
            }
            ScaleWish::Patched(_, patch) => {
                corten_patch::merge(live.clone(), patch).map_err(patching::refuse)?
            }
        };
        let fields = corten_patch::track(&corten_patch::Track {
            live: Some(live),
            new: &new,
            schema,
            manager: &self.options.manager,
            subresource: "scale",
            now: &self.now,
        });
        Ok((as_scale(&new)?, fields))
    }
}

fn as_scale(value: &Value) -> Result<Scale, Status> {
    let mut scale = Scale::default();
    MsgMut::new(&mut scale)
        .merge_value(value, &mut Vec::new())
        .map_err(|e| Status::bad_request(e.to_string()))?;
    Ok(scale)
}

fn check_scale(served: &Served, wanted: &Scale, old: &Object, name: &str) -> Result<(), Status> {
    let target = corten_client::Target {
        group: &served.group,
        resource: &served.plural,
        name,
    };
    if !wanted.metadata.uid.is_empty() && wanted.metadata.uid != old.meta().uid {
        let why = format!(
            "Precondition failed: UID in precondition: {}, UID in object meta: {}",
            wanted.metadata.uid,
            old.meta().uid
        );
        return Err(Status::conflict(target, &why));
    }
    // Custom resources are checked as a whole afterwards.
    if wanted.spec.replicas < 0 && !served.is_custom() {
        let text = "must be greater than or equal to 0";
        let error = corten_kinds::FieldError::invalid(
            "spec.replicas",
            Value::Int(i64::from(wanted.spec.replicas)),
            text,
        );
        let cause = corten_client::Cause {
            reason: error.reason().into(),
            message: error.body(),
            field: error.field.clone(),
        };
        let kind = corten_client::Target {
            group: "autoscaling",
            resource: "Scale",
            name,
        };
        return Err(Status::invalid(kind, vec![cause], &error.to_string()));
    }
    Ok(())
}

fn scale_of(served: &Served, object: &Object) -> Result<Scale, Status> {
    let found = served.scale(object).ok_or_else(Status::no_such_path)?;
    let meta = object.meta();
    let mut scale = Scale {
        kind: "Scale".into(),
        api_version: "autoscaling/v1".into(),
        ..Scale::default()
    };
    scale.metadata.name = meta.name.clone();
    scale.metadata.namespace = meta.namespace.clone();
    scale.metadata.uid = meta.uid.clone();
    scale.metadata.resource_version = meta.resource_version.clone();
    scale.metadata.creation_timestamp = meta.creation_timestamp;
    scale.spec.replicas = found.replicas;
    scale.status.replicas = found.status_replicas;
    scale.status.selector = found.selector.into();
    Ok(scale)
}
