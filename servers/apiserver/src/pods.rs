//! What pods have beyond the ladder: binding and streams from their kubelet
//! (logs, exec, attach, port-forward, proxy).

use std::sync::Arc;

use futures_util::StreamExt;
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};

use corten_access::UserInfo;
use corten_access::admission::Operation;
use corten_api::core::v1::{Binding, Node, Pod, PodCondition};
use corten_api::{Gvk, Object};
use corten_client::{Cause, Status, Target};
use corten_core::Value;
use corten_kinds::FieldError;
use corten_kinds::error::NEGATIVE;
use corten_store::{Precondition, Transaction};

use crate::admit::{self, Admission};
use crate::body::Answer;
use crate::catalog::Served;
use crate::commit::{self, Committing};
use crate::connect::{self, Place};
use crate::http::{self, Call};
use crate::options::{FieldValidation, WriteOptions};
use crate::resource::body_media;
use crate::server::Server;
use crate::write::Aim;
use crate::{decode, encode, log_socket, negotiate, proxy, read, typed};

const RETRIES_MAX: usize = 50;

/// Writes an object by compare and swap, past strategies: for changes that the server itself makes.
pub(crate) async fn rewrite(
    server: &Server,
    aim: &Aim<'_>,
    change: impl Fn(&mut Object) -> Result<(), Status>,
) -> Result<Arc<Object>, Status> {
    for _ in 0..RETRIES_MAX {
        let entry = server
            .store
            .get(&aim.key())
            .ok_or_else(|| Status::not_found(aim.target()))?;
        let mut object = (*typed::object(&entry)?).clone();
        change(&mut object)?;
        let put = commit::put(aim.served, aim.key(), object)?
            .when(Precondition::ModRevision(entry.mod_revision()));
        match commit::commit(server, Transaction::put(put)).await? {
            Committing::Done(committed) => {
                let entry = committed
                    .entry()
                    .ok_or_else(|| Status::internal("the commit wrote nothing"))?;
                return typed::object(entry);
            }
            Committing::Lost(_) => {}
        }
    }
    Err(Status::modified(aim.target()))
}

fn pods_of(server: &Server) -> Result<Arc<Served>, Status> {
    server
        .catalog()
        .find("", "v1", "pods")
        .cloned()
        .ok_or_else(|| Status::internal("pods are not served"))
}

/// 201 with a plain success.
pub(crate) fn created(call: &Call) -> Response<Answer> {
    let media = negotiate::accept(&call.headers, &call.query, negotiate::Transforms::None)
        .map_or(negotiate::Media::Json, |a| a.media);
    let status = Status {
        code: 201,
        ..Status::new(201, "", "")
    };
    http::respond(
        StatusCode::CREATED,
        media.content_type(),
        encode::status(&status, media).into(),
    )
}

/// `pods/binding` and `bindings`: assigns a pod to a node.
pub(crate) async fn bind(
    server: &Arc<Server>,
    _served: &Arc<Served>,
    call: Call,
    request: Request<Incoming>,
) -> Result<Response<Answer>, Status> {
    let options = WriteOptions::parse(&call.query, call.agent(), "CreateOptions")?;
    let media = body_media(request.headers())?;
    let body = http::read_body(request).await?;
    let gvk = Gvk {
        group: "",
        version: "v1",
        kind: "Binding",
    };
    let (object, _) = decode::object_of(gvk, false, media, &body, FieldValidation::Ignore)?;
    let binding = object
        .downcast_ref::<Binding>()
        .cloned()
        .unwrap_or_default();
    let name = if call.info.name.is_empty() {
        binding.metadata.name.to_string()
    } else {
        call.info.name.clone()
    };
    assign(
        server,
        &call.user,
        (&call.info.namespace, &name),
        binding,
        &options,
    )
    .await?;
    Ok(created(&call))
}

/// Assigns a pod to a node.
pub(crate) async fn assign(
    server: &Server,
    user: &UserInfo,
    (namespace, name): (&str, &str),
    binding: Binding,
    options: &WriteOptions,
) -> Result<(), Status> {
    let served = pods_of(server)?;
    let dry_run = options.dry_run;
    let aim = Aim {
        served: &served,
        namespace,
        name,
        subresource: "binding",
    };
    let binding_target = Target {
        group: "",
        resource: "pods/binding",
        name,
    };
    check_target(name, &binding)?;
    let kind = Gvk {
        group: "",
        version: "v1",
        kind: "Binding",
    };
    let mut admitted = Object::from(binding);
    admit::admit_created(server, user, &aim, kind, &mut admitted, options).await?;
    let binding: &Binding = admitted
        .downcast_ref()
        .ok_or_else(|| Status::internal("admission made something else of a binding"))?;
    let now = server.now();
    let change = |object: &mut Object| -> Result<(), Status> {
        let pod = object
            .downcast_mut::<Pod>()
            .ok_or_else(|| Status::internal("the stored pod is no pod"))?;
        if let Some(why) = unassignable(pod, binding) {
            return Err(Status::conflict(binding_target, &why));
        }
        pod.spec.node_name = binding.target.name.clone();
        pod.status.nominated_node_name = "".into();
        for (key, value) in binding.metadata.annotations.iter() {
            pod.metadata.annotations.insert(key.clone(), value.clone());
        }
        for (key, value) in binding.metadata.labels.iter() {
            if !pod.metadata.labels.contains_key(key) {
                pod.metadata.labels.insert(key.clone(), value.clone());
            }
        }
        pod.status.conditions.retain(|c| c.type_ != "PodScheduled");
        pod.status.conditions.push(PodCondition {
            type_: "PodScheduled".into(),
            status: "True".into(),
            last_transition_time: now,
            ..PodCondition::default()
        });
        Ok(())
    };
    if dry_run {
        let entry = server
            .store
            .get(&aim.key())
            .ok_or_else(|| Status::not_found(aim.target()))?;
        return change(&mut (*typed::object(&entry)?).clone());
    }
    rewrite(server, &aim, change).await.map(|_| ())
}

/// What a binding must say.
fn check_target(name: &str, binding: &Binding) -> Result<(), Status> {
    if !binding.metadata.name.is_empty() && binding.metadata.name != name {
        return Err(Status::bad_request(
            "name in URL does not match name in Binding object",
        ));
    }
    let kind = binding.target.kind.as_str();
    if !matches!(kind, "" | "Node") {
        let text = format!(
            "target.kind: Unsupported value: {kind:?}: supported values: \"Node\", \"<empty>\""
        );
        return Err(Status::new(500, "", text));
    }
    if binding.target.name.is_empty() {
        return Err(Status::new(500, "", "target.name: Required value"));
    }
    Ok(())
}

/// Why a pod cannot be assigned to a node.
fn unassignable(pod: &Pod, binding: &Binding) -> Option<String> {
    let meta = &pod.metadata;
    if !binding.metadata.uid.is_empty() && binding.metadata.uid != meta.uid {
        return Some(format!(
            "Precondition failed: UID in precondition: {}, UID in object meta: {}",
            binding.metadata.uid, meta.uid
        ));
    }
    if meta.deletion_timestamp.is_some() {
        return Some(format!(
            "pod {} is being deleted, cannot be assigned to a host",
            meta.name
        ));
    }
    if !pod.spec.node_name.is_empty() {
        return Some(format!(
            "pod {} is already assigned to node {:?}",
            meta.name,
            pod.spec.node_name.as_str()
        ));
    }
    let gated = !pod.spec.scheduling_gates.is_empty();
    gated.then(|| format!("pod {} has non-empty .spec.schedulingGates", meta.name))
}

/// `log`, `exec`, `attach`, `portforward` of pods and `proxy` of pods, services and nodes.
pub(crate) async fn stream(
    server: &Arc<Server>,
    served: &Arc<Served>,
    call: Call,
    request: Request<Incoming>,
) -> Result<Response<Answer>, Status> {
    if call.info.subresource != "log" {
        admit_connection(server, served, &call, &call.info.name).await?;
    }
    if call.info.subresource == "proxy" {
        return proxy::serve(server, served, &call, request).await;
    }
    if call.info.subresource == "log" {
        check_log_options(&call)?;
    }
    let info = &call.info;
    let entry = read::get(server, served, &info.namespace, &info.name, "").await?;
    let object = typed::object(&entry)?;
    let pod = object
        .downcast_ref::<Pod>()
        .ok_or_else(|| Status::internal("the stored pod is no pod"))?;
    if pod.spec.node_name.is_empty() {
        if info.subresource == "log" {
            container(pod, call.query.get("container").unwrap_or_default())?;
            let mut nothing = Response::new(Answer::empty());
            *nothing.status_mut() = StatusCode::NO_CONTENT;
            return Ok(nothing);
        }
        return Err(Status::bad_request(format!(
            "pod {} does not have a host assigned",
            pod.metadata.name
        )));
    }
    let path = kubelet_path(pod, &call)?;
    // Upstream words a missing node as a missing pod.
    let place = kubelet(server, &pod.spec.node_name).map_err(|status| match status.code {
        404 => Status::not_found(Target {
            group: "",
            resource: "pods",
            name: &pod.spec.node_name,
        }),
        _ => status,
    })?;
    let is_log = call.info.subresource == "log";
    let mut request = request;
    let socket = match is_log {
        true => log_socket::asked(&mut request)?.transpose(),
        false => Ok(None),
    };
    let socket = match socket {
        Ok(socket) => socket,
        Err(response) => return Ok(response),
    };
    let answer = connect::forward(&server.connector, &place, &path, request).await?;
    let refused = answer.status().as_u16() > 206;
    match socket {
        _ if is_log && refused => Err(refusal(&call.info.name, answer).await),
        Some(socket) => Ok(log_socket::answer(socket, answer.into_body())),
        None => Ok(answer),
    }
}

/// 422 unless the query asks for something that can be had of a log.
fn check_log_options(call: &Call) -> Result<(), Status> {
    let number = |key: &str| call.query.get(key).and_then(|v| v.parse::<i64>().ok());
    let mut errors = Vec::new();
    if let Some(lines) = number("tailLines").filter(|n| *n < 0) {
        errors.push(FieldError::invalid("tailLines", lines, NEGATIVE));
    }
    if let Some(bytes) = number("limitBytes").filter(|n| *n < 1) {
        let text = "must be greater than 0";
        errors.push(FieldError::invalid("limitBytes", bytes, text));
    }
    let seconds = number("sinceSeconds");
    if seconds.is_some() && call.query.get("sinceTime").is_some() {
        let text = "at most one of `sinceTime` or `sinceSeconds` may be specified";
        errors.push(FieldError::forbidden("", text));
    } else if let Some(seconds) = seconds.filter(|n| *n < 1) {
        let text = "must be greater than 0";
        errors.push(FieldError::invalid("sinceSeconds", seconds, text));
    }
    if errors.is_empty() {
        return Ok(());
    }
    let causes = errors.iter().map(|e| Cause {
        reason: e.reason().to_owned(),
        message: e.body(),
        field: e.field.clone(),
    });
    let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    let text = match &texts[..] {
        [one] => one.clone(),
        _ => format!("[{}]", texts.join(", ")),
    };
    let target = Target {
        group: "",
        resource: "PodLogOptions",
        name: &call.info.name,
    };
    Err(Status::invalid(target, causes.collect(), &text))
}

/// A kubelet's plain-text refusal of logs as a Status.
async fn refusal(pod: &str, answer: Response<Answer>) -> Status {
    const TEXT_MAX: usize = 10_000;
    let code = answer.status().as_u16();
    let mut text = Vec::new();
    match answer.into_body() {
        Answer::Stream(mut chunks) => {
            while text.len() < TEXT_MAX
                && let Some(chunk) = chunks.next().await
            {
                text.extend_from_slice(&chunk);
            }
        }
        body => text.extend_from_slice(&body.into_bytes().unwrap_or_default()),
    }
    text.truncate(TEXT_MAX);
    let text = String::from_utf8_lossy(&text).into_owned();
    match code {
        400 => Status::bad_request(text),
        500 => Status::internal(text),
        404 => {
            let what = "the server could not find the requested resource";
            let mut status = Status::new(404, "NotFound", format!("{what} ( pods/log {pod})"));
            let target = Target {
                group: "",
                resource: "pods/log",
                name: pod,
            };
            status.details = Status::not_found(target).details;
            status
        }
        _ => Status::new(
            code,
            "",
            format!(
                "the server responded with the status code {code} but did not return more information ( pods/log {pod})"
            ),
        ),
    }
}

/// Admission of a stream or a proxied request: the options are the object.
async fn admit_connection(
    server: &Server,
    served: &Arc<Served>,
    call: &Call,
    name: &str,
) -> Result<(), Status> {
    let info = &call.info;
    let Some(sub) = served.subresource(&info.subresource) else {
        return Ok(());
    };
    let query = &call.query;
    let mut options = Value::map();
    options.set(&["apiVersion"], "v1");
    options.set(&["kind"], sub.kind.as_str());
    if sub.name == "proxy" {
        options.set(&["path"], info.rest.as_str());
    }
    for flag in ["stdin", "stdout", "stderr", "tty"] {
        if query.truthy(flag) {
            options.set(&[flag], true);
        }
    }
    if let Some(container) = query.get("container") {
        options.set(&["container"], container);
    }
    let commands: Vec<Value> = query.all("command").map(Value::from).collect();
    if !commands.is_empty() {
        options.set(&["command"], Value::List(commands));
    }
    let ports = query.all("ports").filter_map(|p| p.parse().ok());
    let ports: Vec<Value> = ports.map(Value::Int).collect();
    if !ports.is_empty() {
        options.set(&["ports"], Value::List(ports));
    }
    let mut options = Object::from_value(&options).map_err(Status::internal)?;
    let aim = Aim {
        served,
        namespace: if served.namespaced {
            &info.namespace
        } else {
            ""
        },
        name,
        subresource: &info.subresource,
    };
    let view = server.typed.fresh(server);
    let user = &call.user;
    let admission = Admission::new(server, &view, user, &aim, Operation::Connect, None, false);
    let kind = Gvk {
        group: &sub.group,
        version: &sub.version,
        kind: &sub.kind,
    };
    admit::admit_own(admission, kind, &mut options).await?;
    Ok(())
}

/// Where a node's kubelet listens.
pub(crate) fn kubelet(server: &Server, node: &str) -> Result<Place, Status> {
    let view = server.typed.view();
    let object = view.snapshot.get::<Node>("", node).ok_or_else(|| {
        Status::not_found(Target {
            group: "",
            resource: "nodes",
            name: node,
        })
    })?;
    let preferred = ["InternalIP", "ExternalIP", "Hostname"];
    let address = preferred
        .iter()
        .find_map(|kind| object.status.addresses.iter().find(|a| a.type_ == *kind))
        .map(|a| a.address.to_string())
        .unwrap_or_else(|| node.to_owned());
    let port = object.status.daemon_endpoints.kubelet_endpoint.port;
    let port = if port == 0 { 10250 } else { port as u16 };
    Ok(Place::Kubelet {
        node: node.to_owned(),
        host: address,
        port,
    })
}

fn kubelet_path(pod: &Pod, call: &Call) -> Result<String, Status> {
    let (namespace, name) = (&pod.metadata.namespace, &pod.metadata.name);
    let query = &call.query;
    let mut parameters: Vec<(String, String)> = Vec::new();
    let verb = call.info.subresource.as_str();
    if verb == "portforward" {
        for port in query.all("ports").chain(query.all("port")) {
            parameters.push(("port".into(), port.into()));
        }
        return Ok(with_query(
            format!("/portForward/{namespace}/{name}"),
            &parameters,
        ));
    }
    let container = container(pod, query.get("container").unwrap_or_default())?;
    if verb == "log" {
        for key in [
            "follow",
            "previous",
            "sinceSeconds",
            "sinceTime",
            "timestamps",
            "tailLines",
            "limitBytes",
            "stream",
        ] {
            if let Some(value) = query.get(key) {
                parameters.push((key.into(), value.into()));
            }
        }
        return Ok(with_query(
            format!("/containerLogs/{namespace}/{name}/{container}"),
            &parameters,
        ));
    }
    for (key, sent) in [
        ("stdin", "input"),
        ("stdout", "output"),
        ("stderr", "error"),
        ("tty", "tty"),
    ] {
        if query.truthy(key) {
            parameters.push((sent.into(), "1".into()));
        }
    }
    if verb == "exec" {
        parameters.extend(
            query
                .all("command")
                .map(|c| ("command".to_owned(), c.to_owned())),
        );
    }
    Ok(with_query(
        format!("/{verb}/{namespace}/{name}/{container}"),
        &parameters,
    ))
}

/// The container asked for, or the only one.
fn container(pod: &Pod, asked: &str) -> Result<String, Status> {
    let name = &pod.metadata.name;
    let spec = &pod.spec;
    let mut all: Vec<&str> = spec.containers.iter().map(|c| c.name.as_str()).collect();
    if asked.is_empty() {
        if let [only] = all.as_slice() {
            return Ok((*only).to_owned());
        }
        let mut text = format!(
            "a container name must be specified for pod {name}, choose one of: [{}]",
            all.join(" ")
        );
        let inits: Vec<&str> = spec
            .init_containers
            .iter()
            .map(|c| c.name.as_str())
            .collect();
        if !inits.is_empty() {
            text.push_str(&format!(
                " or one of the init containers: [{}]",
                inits.join(" ")
            ));
        }
        return Err(Status::bad_request(text));
    }
    all.extend(spec.init_containers.iter().map(|c| c.name.as_str()));
    all.extend(
        spec.ephemeral_containers
            .iter()
            .map(|c| c.ephemeral_container_common.name.as_str()),
    );
    if all.contains(&asked) {
        return Ok(asked.to_owned());
    }
    Err(Status::bad_request(format!(
        "container {asked} is not valid for pod {name}"
    )))
}

fn with_query(path: String, parameters: &[(String, String)]) -> String {
    let mut out = path;
    for (index, (key, value)) in parameters.iter().enumerate() {
        out.push(if index == 0 { '?' } else { '&' });
        out.push_str(key);
        out.push('=');
        for byte in value.bytes() {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                    out.push(char::from(byte))
                }
                other => out.push_str(&format!("%{other:02X}")),
            }
        }
    }
    out
}
