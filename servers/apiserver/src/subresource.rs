//! Subresources and resources that are not stored: which handler each has. Parts of an object (`status`, `resize` ...)
//! take the ordinary ladder under their own name.

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};

use corten_api::autoscaling::v1::Scale;
use corten_api::{Gvk, Object};
use corten_client::Status;
use corten_core::{MsgMut, Value};

use crate::body::Answer;
use crate::catalog::Served;
use crate::encode::{self, Form};
use crate::http::{self, Call};
use crate::negotiate::{self, Transforms};
use crate::options::{FieldValidation, WriteOptions};
use crate::patching::PatchKind;
use crate::resource::{accepted, aim, answer_written, body_media};
use crate::server::Server;
use crate::write::Change;
use crate::{decode, patching, pods, read, resource, reviews, tokens, typed, write};

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
    match (served.plural.as_str(), sub.name.as_str()) {
        ("pods", "binding") => pods::bind(server, served, call, request).await,
        ("pods", "eviction") => pods::evict(server, served, call, request).await,
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
        "componentstatuses" => Err(Status::no_such_path()),
        _ => reviews::serve(server, served, call, request).await,
    }
}

/// A part of an object under the object's own kind.
async fn part(
    server: &Arc<Server>,
    served: &Arc<Served>,
    mut call: Call,
    request: Request<Incoming>,
) -> Result<Response<Answer>, Status> {
    match call.info.verb.as_str() {
        "get" => {
            let accepted = accepted(&call, served)?;
            let target = aim(served, &call);
            let entry = read::get(server, served, target.namespace, target.name, "").await?;
            let form = Form::new(served, accepted, server.now());
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
            let options = WriteOptions::parse(&call.query, call.agent())?;
            let media = body_media(request.headers())?;
            let body = http::read_body(request).await?;
            let (object, problems) = decode::object(served, media, &body, options.validation)?;
            call.warnings.extend(problems);
            let target = aim(served, &call);
            let written = resource::replace(server, &call, &target, object, &options).await?;
            answer_written(server, served, accepted, &call, written)
        }
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
    let accepted = negotiate::accept(&call.headers, &call.query, Transforms::None)
        .map_err(|()| Status::not_acceptable(&["application/json", "application/yaml"]))?;
    let form = Form::new(served, accepted, server.now());
    let target = aim(served, &call);
    if call.info.verb == "get" {
        let entry = read::get(server, served, target.namespace, target.name, "").await?;
        let scale = scale_of(served, &*typed::object(&entry)?)?;
        let body = encode::any_object(&form, &scale.into())?;
        return Ok(http::respond(
            StatusCode::OK,
            form.media.content_type(),
            body,
        ));
    }
    let options = WriteOptions::parse(&call.query, call.agent())?;
    let wish = scale_wish(served, &call, request).await?;
    let compute = |old: &Object| -> Result<Object, Status> {
        let current = scale_of(served, old)?;
        let wanted = match &wish {
            ScaleWish::Given(object) => object.downcast_ref::<Scale>().cloned().unwrap_or_default(),
            ScaleWish::Patched(kind, patch) => patched_scale(current, *kind, patch)?,
        };
        check_scale(served, &wanted, old, call.info.name.as_str())?;
        let mut new = old.clone();
        served.set_scale(&mut new, wanted.spec.replicas);
        new.meta_mut().resource_version = wanted.metadata.resource_version;
        Ok(new)
    };
    let main = write::Aim {
        subresource: "",
        ..target.clone()
    };
    let written = write::update(
        server,
        &call.user,
        &main,
        Change::Compute(&compute),
        &options,
    )
    .await?;
    let body = encode::any_object(&form, &scale_of(served, &written.object)?.into())?;
    Ok(http::respond(
        StatusCode::OK,
        form.media.content_type(),
        body,
    ))
}

/// What a client wants of a Scale.
enum ScaleWish {
    Given(Object),
    Patched(PatchKind, Value),
}

async fn scale_wish(
    served: &Served,
    call: &Call,
    request: Request<Incoming>,
) -> Result<ScaleWish, Status> {
    if call.info.verb == "patch" {
        let content_type = request
            .headers()
            .get(hyper::header::CONTENT_TYPE)
            .and_then(|v| v.to_str().ok())
            .unwrap_or_default();
        let kind = PatchKind::of(content_type, served)?;
        let body = http::read_body(request).await?;
        return Ok(ScaleWish::Patched(kind, decode::patch(kind, &body)?));
    }
    let media = body_media(request.headers())?;
    let body = http::read_body(request).await?;
    let (object, _) = decode::object_of(SCALE, false, media, &body, FieldValidation::Ignore)?;
    Ok(ScaleWish::Given(object))
}

fn patched_scale(current: Scale, kind: PatchKind, patch: &Value) -> Result<Scale, Status> {
    let live = Object::from(current).to_value().map_err(Status::internal)?;
    let new = match kind {
        PatchKind::Json => corten_patch::json(live, patch),
        _ => corten_patch::merge(live, patch),
    };
    let new = new.map_err(|e| match e {
        corten_patch::PatchError::Invalid(_) => crate::patching::does_not_apply(),
        corten_patch::PatchError::Bad(text) => Status::bad_request(text),
        corten_patch::PatchError::Conflict(_) => {
            Status::new(409, "Conflict", "the patch conflicts")
        }
    })?;
    let mut scale = Scale::default();
    MsgMut::new(&mut scale)
        .merge_value(&new, &mut Vec::new())
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
    if wanted.spec.replicas < 0 {
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
