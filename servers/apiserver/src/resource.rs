//! From an authorized request about a resource to a ladder, and from its outcome to an answer in the form the client
//! accepts. One path for every kind; only subresources with a meaning of their own branch off.

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};

use corten_api::Object;
use corten_client::Status;

use crate::body::Answer;
use crate::catalog::Served;
use crate::custom::conversion;
use crate::encode::{self, Form};
use crate::http::{self, Call};
use crate::negotiate::{self, Accepted, Media, Shape, Transforms};
use crate::options::{DeleteOptions, ListOptions, WriteOptions};
use crate::selection::Selection;
use crate::server::Server;
use crate::write::{Aim, Change, Written};
use crate::{
    decode, delete, patching, read, subresource, watch_socket, watch_stream, watching, write,
};

/// What watches are sent as.
const STREAMS: [&str; 2] = [
    "application/json;stream=watch",
    "application/vnd.kubernetes.protobuf;stream=watch",
];

/// Media types that bodies and answers may have.
pub(crate) const MEDIA: [&str; 3] = [
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
];

pub(crate) async fn serve(
    server: &Arc<Server>,
    call: Call,
    request: Request<Incoming>,
) -> Result<Response<Answer>, Status> {
    let catalog = server.catalog();
    let info = &call.info;
    let Some(served) = catalog
        .find(&info.group, &info.version, &info.resource)
        .cloned()
    else {
        // A group that is not served at all is nobody's path.
        return if info.group.is_empty() || catalog.serves_group(&info.group) {
            Err(Status::no_such_path())
        } else {
            Ok(http::page_not_found())
        };
    };
    let known = info.subresource.is_empty()
        || served
            .subresources
            .iter()
            .any(|s| s.name == info.subresource);
    let collection = matches!(info.verb.as_str(), "list" | "watch");
    let nowhere =
        served.namespaced && info.namespace.is_empty() && !collection && served.is_stored();
    let nameless = info.name.is_empty() && matches!(info.verb.as_str(), "update" | "patch");
    let proxied = info.subresource == "proxy";
    if served.is_custom() && info.subresource.is_empty() && !served.verbs.contains(&info.verb) {
        return Err(not_supported(&served, &info.verb));
    }
    // Custom resources have one handler for all methods, which takes a HEAD for the GET that it is about.
    let head = request.method() == hyper::Method::HEAD && !proxied && !served.is_custom();
    let placed = info.verb == "create" && !info.name.is_empty() && info.subresource.is_empty();
    if nowhere || nameless || head || (placed && !served.is_custom()) {
        return Err(Status::method_not_allowed());
    }
    if info.verb == "patch" && known && !proxied {
        patching::PatchKind::of(content_type(request.headers()), &served)?;
    }
    let deprecated = served
        .deprecation()
        .filter(|_| known && !info.verb.is_empty());
    if deprecated.is_some() {
        server.metrics.deprecated(info);
    }
    call.warnings.extend(deprecated);
    if !info.subresource.is_empty() || !served.is_stored() {
        return subresource::serve(server, &served, call, request).await;
    }
    if !served.verbs.contains(&info.verb) {
        return Err(Status::method_not_allowed());
    }
    if !matches!(info.verb.as_str(), "get" | "list" | "watch") {
        read::settle(server).await?;
    }
    match info.verb.as_str() {
        "get" => get(server, &served, &call).await,
        "list" => list(server, &served, &call).await,
        "watch" => watch(server, &served, &call, request).await,
        "create" => create(server, &served, call, request).await,
        "update" => update(server, &served, call, request).await,
        "patch" => patching::serve(server, &served, call, request).await,
        "delete" | "deletecollection" => remove(server, &served, call, request).await,
        _ => Err(Status::method_not_allowed()),
    }
}

/// The type of a request's body, as it is given.
pub(crate) fn content_type(headers: &hyper::HeaderMap) -> &str {
    let given = headers.get(hyper::header::CONTENT_TYPE);
    given.and_then(|v| v.to_str().ok()).unwrap_or_default()
}

/// 405 as the handler of custom resources words it.
fn not_supported(served: &Served, verb: &str) -> Status {
    let (group, kind) = (&served.group, &served.plural);
    let text = format!("{verb} is not supported on resources of kind \"{kind}.{group}\"");
    let mut status = Status::new(405, "MethodNotAllowed", text);
    status.details = Some(Box::new(corten_client::Details {
        group: group.clone(),
        kind: kind.clone(),
        ..corten_client::Details::default()
    }));
    status
}

/// What the client accepts for objects of a resource.
pub(crate) fn accepted(call: &Call, served: &Served) -> Result<Accepted, Status> {
    let transforms = if served.is_custom() {
        Transforms::JsonOnly
    } else {
        Transforms::All
    };
    let streams = matches!(call.info.verb.as_str(), "list" | "watch");
    route(&call.headers, streams)?;
    negotiate::accept(&call.headers, &call.query, transforms)
        .map_err(|()| Status::not_acceptable(&MEDIA))
}

/// 406 as the router words it: none of the accepted types is made there.
pub(crate) fn route(headers: &hyper::HeaderMap, streams: bool) -> Result<(), Status> {
    let mut made = MEDIA.to_vec();
    if streams {
        made.extend(STREAMS);
    }
    http::routed(headers, &made)
}

/// The encoding of a request's body.
pub(crate) fn body_media(headers: &hyper::HeaderMap) -> Result<Media, Status> {
    negotiate::body_media(headers).map_err(|given| Status::unsupported_media(&MEDIA, &given))
}

/// What a write request is about.
pub(crate) fn aim<'a>(served: &'a Arc<Served>, call: &'a Call) -> Aim<'a> {
    let info = &call.info;
    // A namespace is its own namespace in a path, not in the store.
    let namespace = if served.namespaced {
        info.namespace.as_str()
    } else {
        ""
    };
    Aim {
        served,
        namespace,
        name: &info.name,
        subresource: &info.subresource,
    }
}

async fn get(
    server: &Arc<Server>,
    served: &Arc<Served>,
    call: &Call,
) -> Result<Response<Answer>, Status> {
    let accepted = accepted(call, served)?;
    let aim = aim(served, call);
    let version = call.query.get("resourceVersion").unwrap_or_default();
    let entry = read::get(server, served, aim.namespace, aim.name, version).await?;
    let form =
        Form::new(served, accepted, server.now()).including(call.query.get("includeObject"))?;
    let objects = conversion::objects(served, std::iter::once(&entry))?;
    let _converted = conversion::ready(&server.outbound, served, &objects).await?;
    let body = encode::entry(served, &form, &entry)?;
    Ok(finish(StatusCode::OK, &form, body, accepted.gzip))
}

fn finish(code: StatusCode, form: &Form, body: Answer, gzip: bool) -> Response<Answer> {
    let mut response = http::respond(code, form.media.content_type(), body);
    http::compress(&mut response, gzip);
    response
}

async fn list(
    server: &Arc<Server>,
    served: &Arc<Served>,
    call: &Call,
) -> Result<Response<Answer>, Status> {
    let accepted = accepted(call, served)?;
    let mut options = ListOptions::parse(&call.query, false)?;
    narrow(call, &mut options)?;
    let namespace = if served.namespaced {
        call.info.namespace.as_str()
    } else {
        ""
    };
    let listed = read::list(server, served, namespace, &options).await?;
    let form =
        Form::new(served, accepted, server.now()).including(call.query.get("includeObject"))?;
    let body = encode::list(served, &form, listed).await?;
    Ok(finish(StatusCode::OK, &form, body, accepted.gzip))
}

async fn watch(
    server: &Arc<Server>,
    served: &Arc<Served>,
    call: &Call,
    request: Request<Incoming>,
) -> Result<Response<Answer>, Status> {
    let accepted = accepted(call, served)?;
    if accepted.media == Media::Yaml {
        return Err(Status::not_acceptable(match served.is_custom() {
            true => &STREAMS[..1],
            false => &STREAMS,
        }));
    }
    let mut options = ListOptions::parse(&call.query, true)?;
    narrow(call, &mut options)?;
    let namespace = if served.namespaced {
        call.info.namespace.as_str()
    } else {
        ""
    };
    let mut form =
        Form::new(served, accepted, server.now()).including(call.query.get("includeObject"))?;
    form.pretty = false;
    let watching = watching::open(server, served, namespace, &options).await?;
    if watch_socket::is_asked(&call.headers) {
        return watch_socket::answer(server, watching, form, &call.headers, request);
    }
    let content_type = form.media.stream_type();
    if form.shape == Shape::PartialList {
        // No single object is a list: such a watch is opened and shows nothing.
        let nothing = Answer::empty();
        return Ok(http::respond(StatusCode::OK, content_type, nothing));
    }
    let stop = server.watch_end();
    let counted = server.flow.watch(served.storage.as_str());
    let stream = watch_stream::frames(watching, form, stop, counted);
    Ok(http::respond(
        StatusCode::OK,
        content_type,
        Answer::Stream(Box::pin(stream)),
    ))
}

/// A name in the path (of the old /watch/ paths) or in the field selector selects that one object.
fn narrow(call: &Call, options: &mut ListOptions) -> Result<(), Status> {
    let name = call.info.name.as_str();
    if name.is_empty() {
        return Ok(());
    }
    if options.field_selector.is_empty() {
        options.field_selector = format!("metadata.name={name}");
        return Ok(());
    }
    let selector = corten_meta::FieldSelector::parse(&options.field_selector);
    match selector
        .ok()
        .as_ref()
        .and_then(|s| s.required("metadata.name"))
    {
        Some(selected) if selected == name => Ok(()),
        _ => Err(Status::bad_request(
            "fieldSelector metadata.name doesn't match requested name",
        )),
    }
}

async fn create(
    server: &Arc<Server>,
    served: &Arc<Served>,
    call: Call,
    request: Request<Incoming>,
) -> Result<Response<Answer>, Status> {
    let accepted = accepted(&call, served)?;
    let options = WriteOptions::parse(&call.query, call.agent(), "CreateOptions")?;
    let media = body_media(request.headers())?;
    let body = http::read_body(request).await?;
    let (object, problems) = decode::object(served, media, &body, options.validation)?;
    call.warnings.extend(problems);
    let aim = Aim {
        name: "",
        ..aim(served, &call)
    };
    let written = write::create(server, &call.user, &aim, object, &options).await?;
    answer_written(server, served, accepted, &call, written).await
}

async fn update(
    server: &Arc<Server>,
    served: &Arc<Served>,
    call: Call,
    request: Request<Incoming>,
) -> Result<Response<Answer>, Status> {
    let accepted = accepted(&call, served)?;
    let options = WriteOptions::parse(&call.query, call.agent(), "UpdateOptions")?;
    let media = body_media(request.headers())?;
    let body = http::read_body(request).await?;
    let (object, problems) = decode::object(served, media, &body, options.validation)?;
    call.warnings.extend(problems);
    let aim = aim(served, &call);
    let written = replace(server, &call, &aim, object, &options).await?;
    answer_written(server, served, accepted, &call, written).await
}

/// An update, or a create where the kind allows a PUT to make the object.
pub(crate) async fn replace(
    server: &Server,
    call: &Call,
    aim: &Aim<'_>,
    mut object: Object,
    options: &WriteOptions,
) -> Result<Written, Status> {
    let served = aim.served;
    served.default(&mut object);
    let object = served.to_storage(object)?;
    let missing = aim.subresource.is_empty()
        && served.create_on_update()
        && server.store.get(&aim.key()).is_none();
    if missing {
        if object.meta().name != aim.name {
            return Err(Status::bad_request(format!(
                "the name of the object ({}) does not match the name on the URL ({})",
                object.meta().name,
                aim.name
            )));
        }
        let mut as_create = (*call.info).clone();
        as_create.verb = "create".into();
        crate::authorization::authorize(server, &call.user, &as_create, "", "").await?;
        return write::create(server, &call.user, aim, object, options).await;
    }
    write::update(server, &call.user, aim, Change::Replace(object), options).await
}

/// Jobs are the one kind whose dependents stay unless one says otherwise.
const ORPHANED: &str = "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to \
                        remove them or set propagationPolicy=Orphan to suppress this warning";

async fn remove(
    server: &Arc<Server>,
    served: &Arc<Served>,
    call: Call,
    request: Request<Incoming>,
) -> Result<Response<Answer>, Status> {
    let accepted = accepted(&call, served)?;
    let media = body_media(request.headers())?;
    let body = http::read_body(request).await?;
    let options = match body.is_empty() {
        true => DeleteOptions::parse(&call.query)?,
        false => decode::delete_options(media, &body)?,
    };
    let aim = aim(served, &call);
    let form = Form::new(served, accepted, server.now());
    let mut selection = ListOptions::default();
    if call.info.verb == "deletecollection" {
        selection = ListOptions::parse(&call.query, false)?;
        Selection::parse(served, &selection)?;
    }
    if served.plural == "jobs" && served.group == "batch" && options.propagation.is_none() {
        call.warnings.extend([ORPHANED.to_owned()]);
    }
    if call.info.verb == "deletecollection" {
        let objects = delete::collection(server, &call.user, &aim, &selection, &options).await?;
        let _converted = conversion::ready(&server.outbound, served, &objects).await?;
        let body = encode::objects(served, &form, &objects, Some(server.store.revision()))?;
        return Ok(finish(StatusCode::OK, &form, body, accepted.gzip));
    }
    let deleted = delete::delete(server, &call.user, &aim, &options).await?;
    let shows_object =
        !deleted.gone || served.strategy().delete_answer() == corten_kinds::DeleteAnswer::Object;
    let response = if shows_object {
        let object = conversion::shown(&server.outbound, served, deleted.object).await?;
        let body = encode::object(served, &form, &object)?;
        finish(StatusCode::OK, &form, body, accepted.gzip)
    } else {
        let status = delete::success(&aim, &deleted.object.meta().uid);
        http::respond(
            StatusCode::OK,
            accepted.media.content_type(),
            encode::status(&status, accepted.media).into(),
        )
    };
    call.warnings.extend(deleted.warnings);
    Ok(response)
}

/// The answer to a create, update or patch.
pub(crate) async fn answer_written(
    server: &Server,
    served: &Arc<Served>,
    accepted: Accepted,
    call: &Call,
    written: Written,
) -> Result<Response<Answer>, Status> {
    let form = Form::new(served, accepted, server.now());
    let objects = conversion::objects(served, written.entry.iter())?;
    let _converted = conversion::ready(&server.outbound, served, &objects).await?;
    let body = match &written.entry {
        Some(entry) => encode::entry(served, &form, entry)?,
        None => encode::object(served, &form, &written.object)?,
    };
    if let Some(entry) = written.entry.filter(|_| served.is_custom()) {
        // Nothing in here reads custom resources as objects again and again, and their trees are larger than their text.
        entry.forget_object();
    }
    let code = if written.created {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    let response = finish(code, &form, body, accepted.gzip);
    call.warnings.extend(written.warnings);
    Ok(response)
}
