//! `serviceaccounts/token`: signs tokens for service accounts, bound to a pod, secret or node when asked.

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};

use corten_api::authentication::v1::{BoundObjectReference, TokenRequest};
use corten_api::core::v1::{Node, Pod, Secret, ServiceAccount};
use corten_api::meta::v1::ObjectMeta;
use corten_api::{Gvk, Object};
use corten_client::{Cause, Status, Target};
use corten_meta::Snapshot;

use crate::body::Answer;
use crate::catalog::Served;
use crate::encode::{self, Form};
use crate::http::{self, Call};
use crate::jwt::{Audience, Bound, Claims, Reference};
use crate::negotiate::{self, Transforms};
use crate::options::{FieldValidation, WriteOptions};
use crate::resource::body_media;
use crate::server::Server;
use crate::{admit, audit, decode, read, typed};

const EXPIRATION_MIN: i64 = 600;
const EXPIRATION_MAX: i64 = 1 << 32;
const EXPIRATION_DEFAULT: i64 = 3600;
/// What kubelets ask for: such tokens are extended, for clients that do not read them again.
const EXTENDABLE: i64 = 3607;
const EXTENDED: i64 = 365 * 86_400;

pub(crate) async fn request(
    server: &Arc<Server>,
    served: &Arc<Served>,
    call: Call,
    request: Request<Incoming>,
) -> Result<Response<Answer>, Status> {
    let accepted = negotiate::accept(&call.headers, &call.query, Transforms::None)
        .map_err(|()| Status::not_acceptable(&["application/json"]))?;
    let media = body_media(request.headers())?;
    let body = http::read_body(request).await?;
    let gvk = Gvk {
        group: "authentication.k8s.io",
        version: "v1",
        kind: "TokenRequest",
    };
    let (mut object, _) = decode::object_of(gvk, false, media, &body, FieldValidation::Ignore)?;
    // Before the audiences are defaulted: admission tells a token for the API from one for others.
    let aim = crate::resource::aim(served, &call);
    let sent = WriteOptions::parse(&call.query, call.agent(), "CreateOptions")?;
    admit::admit_created(server, &call.user, &aim, gvk, &mut object, &sent).await?;
    let wanted = object
        .downcast_ref::<TokenRequest>()
        .cloned()
        .unwrap_or_default();
    let info = &call.info;
    let (answer, warnings) = sign(server, served, &info.namespace, &info.name, wanted).await?;
    let form = Form::new(served, accepted, server.now());
    let body = encode::any_object(&form, &answer)?;
    let media = form.media.content_type();
    call.warnings.extend(warnings);
    Ok(http::respond(StatusCode::CREATED, media, body))
}

/// The token request with its status filled in, and warnings.
pub(crate) async fn sign(
    server: &Server,
    served: &Served,
    namespace: &str,
    name: &str,
    mut request: TokenRequest,
) -> Result<(Object, Vec<String>), Status> {
    check_place(&request, namespace, name)?;
    let entry = read::get(server, served, namespace, name, "").await?;
    let object = typed::object(&entry)?;
    let account = object
        .downcast_ref::<ServiceAccount>()
        .ok_or_else(|| Status::internal("the stored account is none"))?;
    check_uid(&request, account)?;
    if request.spec.audiences.is_empty() {
        request.spec.audiences = server.config.audiences.iter().map(String::as_str).collect();
    }
    let seconds = request
        .spec
        .expiration_seconds
        .unwrap_or(EXPIRATION_DEFAULT);
    check_expiration(seconds)?;
    let reference = bound_object(server, namespace, account, &request)?;
    let now = server.unix_seconds();
    let (seconds, warnings) = shortened(server, seconds);
    let extended = match reference.pod.is_some() {
        true => extended(server, &request, seconds),
        false => None,
    };
    let warn_after = extended.map(|_| now + seconds);
    let lifetime = extended.unwrap_or(seconds);
    let audiences = request.spec.audiences.iter().map(|a| a.to_string());
    let claims = Claims {
        aud: Audience(audiences.collect()),
        exp: now + lifetime,
        iat: now,
        nbf: now,
        iss: server.config.issuer.clone(),
        jti: server.uid(),
        sub: format!("system:serviceaccount:{namespace}:{name}"),
        kubernetes: Some(Bound {
            namespace: namespace.to_owned(),
            serviceaccount: Reference {
                name: name.to_owned(),
                uid: account.metadata.uid.to_string(),
            },
            warnafter: warn_after,
            ..reference
        }),
        ..Claims::default()
    };
    let token = server.token_keys.sign(&claims).map_err(Status::internal)?;
    request.metadata.name = account.metadata.name.clone();
    request.metadata.namespace = account.metadata.namespace.clone();
    request.metadata.uid = account.metadata.uid.clone();
    request.metadata.creation_timestamp = server.now();
    let credential = format!("JTI={}", claims.jti);
    audit::annotate(
        "authentication.kubernetes.io/issued-credential-id",
        &credential,
    );
    request.spec.expiration_seconds = Some(seconds);
    request.status.token = token.into();
    request.status.expiration_timestamp = corten_core::Time::from_unix(now + seconds);
    Ok((request.into(), warnings))
}

/// The longer lifetime of a pod's usual token, for clients that do not read it again in time.
fn extended(server: &Server, request: &TokenRequest, seconds: i64) -> Option<i64> {
    let own = &server.config.audiences;
    let audiences = &request.spec.audiences;
    let for_the_api = audiences.iter().all(|a| own.iter().any(|o| a == o));
    if !server.config.extends_tokens || !for_the_api || seconds != EXTENDABLE {
        return None;
    }
    Some(match server.config.token_seconds_max {
        0 => EXTENDED,
        max => max.min(EXTENDED),
    })
}

/// The lifetime that is granted of the one asked for.
fn shortened(server: &Server, seconds: i64) -> (i64, Vec<String>) {
    match server.config.token_seconds_max {
        max if max > 0 && seconds > max => {
            let warning =
                format!("requested expiration of {seconds} seconds shortened to {max} seconds");
            (max, vec![warning])
        }
        _ => (seconds, Vec::new()),
    }
}

/// Name and namespace of the body, where given, are those of the path.
fn check_place(request: &TokenRequest, namespace: &str, name: &str) -> Result<(), Status> {
    let given = [
        ("name", &request.metadata.name, name),
        ("namespace", &request.metadata.namespace, namespace),
    ];
    for (field, value, wanted) in given {
        if value.is_empty() || value == wanted {
            continue;
        }
        let message = format!(
            "Invalid value: {value:?}: must match the service account {field} if specified"
        );
        return Err(invalid(&format!("metadata.{field}"), message, name));
    }
    Ok(())
}

fn check_uid(request: &TokenRequest, account: &ServiceAccount) -> Result<(), Status> {
    let (given, actual) = (&request.metadata.uid, &account.metadata.uid);
    if given.is_empty() || given == actual {
        return Ok(());
    }
    let why = format!(
        "the UID in the token request ({given}) does not match the UID of the service account ({actual})"
    );
    let target = Target {
        group: "authentication.k8s.io",
        resource: "TokenRequest",
        name: &account.metadata.name,
    };
    Err(Status::conflict(target, &why))
}

fn invalid(field: &str, message: String, name: &str) -> Status {
    let text = format!("{field}: {message}");
    let cause = Cause {
        reason: "FieldValueInvalid".into(),
        message,
        field: field.into(),
    };
    let target = Target {
        group: "authentication.k8s.io",
        resource: "TokenRequest",
        name,
    };
    Status::invalid(target, vec![cause], &text)
}

fn check_expiration(seconds: i64) -> Result<(), Status> {
    let why = match seconds {
        s if s < EXPIRATION_MIN => "may not specify a duration less than 10 minutes",
        s if s > EXPIRATION_MAX => "may not specify a duration larger than 2^32 seconds",
        _ => return Ok(()),
    };
    let message = format!("Invalid value: {seconds}: {why}");
    Err(invalid("spec.expirationSeconds", message, ""))
}

/// The object a token is bound to, checked to be the one meant.
fn bound_object(
    server: &Server,
    namespace: &str,
    account: &ServiceAccount,
    request: &TokenRequest,
) -> Result<Bound, Status> {
    let Some(wanted) = request.spec.bound_object_ref.as_deref() else {
        return Ok(Bound::default());
    };
    let view = server.typed.view();
    let snapshot = &view.snapshot;
    let name = wanted.name.as_str();
    let mut bound = Bound::default();
    match (wanted.api_version.as_str(), wanted.kind.as_str()) {
        ("v1", "Pod") => {
            let pod = snapshot.find::<Pod>(namespace, name);
            let meta = pod.as_ref().map(|p| &p.metadata);
            bound.pod = Some(reference(wanted, "pods", meta)?);
            if let Some(pod) = &pod {
                check_account(pod, account)?;
                bound.node = node_of(snapshot, pod);
            }
        }
        ("v1", "Secret") => {
            let secret = snapshot.find::<Secret>(namespace, name);
            let meta = secret.as_ref().map(|s| &s.metadata);
            bound.secret = Some(reference(wanted, "secrets", meta)?);
        }
        ("v1", "Node") => {
            let node = snapshot.get::<Node>("", name);
            bound.node = Some(reference(wanted, "nodes", node.map(|n| &n.metadata))?);
        }
        (version, kind) => {
            let slash = if version.contains('/') { "" } else { "/" };
            return Err(Status::bad_request(format!(
                "cannot bind token to object of type {slash}{version}, Kind={kind}"
            )));
        }
    }
    Ok(bound)
}

/// The reference to an object that must exist and be the one meant.
fn reference(
    wanted: &BoundObjectReference,
    resource: &str,
    found: Option<&ObjectMeta>,
) -> Result<Reference, Status> {
    let target = Target {
        group: "",
        resource,
        name: &wanted.name,
    };
    let found = found.ok_or_else(|| Status::not_found(target))?;
    if !wanted.uid.is_empty() && wanted.uid != found.uid {
        let why = format!(
            "the UID in the bound object reference ({}) does not match the UID in record. The object might have been \
             deleted and then recreated",
            wanted.uid
        );
        return Err(Status::conflict(target, &why));
    }
    Ok(Reference {
        name: found.name.to_string(),
        uid: found.uid.to_string(),
    })
}

fn check_account(pod: &Pod, account: &ServiceAccount) -> Result<(), Status> {
    if pod.spec.service_account_name == account.metadata.name {
        return Ok(());
    }
    Err(Status::bad_request(format!(
        "cannot bind token for serviceaccount {:?} to pod running with different serviceaccount name.",
        account.metadata.name.as_str()
    )))
}

/// The node a pod runs on.
fn node_of(snapshot: &Snapshot, pod: &Pod) -> Option<Reference> {
    if pod.spec.node_name.is_empty() {
        return None;
    }
    let node = snapshot.get::<Node>("", &pod.spec.node_name);
    Some(Reference {
        name: pod.spec.node_name.to_string(),
        uid: node.map(|n| n.metadata.uid.to_string()).unwrap_or_default(),
    })
}
