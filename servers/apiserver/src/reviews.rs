//! Reviews: questions to the server that are answered and not stored (tokens, access, oneself).

use std::collections::BTreeMap;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};

use corten_access::{Attributes, Decision, UserInfo};
use corten_api::Object;
use corten_api::authentication::v1::{SelfSubjectReview, TokenReview, UserInfo as WireUser};
use corten_api::authorization::v1::{
    LocalSubjectAccessReview, NonResourceAttributes, ResourceAttributes, SelfSubjectAccessReview,
    SelfSubjectRulesReview, SubjectAccessReview, SubjectAccessReviewStatus,
};
use corten_client::{Cause, Status, Target};
use corten_core::{List, Map, Str};

use crate::body::Answer;
use crate::catalog::Served;
use crate::encode::{self, Form};
use crate::http::{self, Call};
use crate::negotiate::{self, Transforms};
use crate::options::{FieldValidation, WriteOptions};
use crate::resource::body_media;
use crate::server::Server;
use crate::{admit, authentication, decode};

pub(crate) async fn serve(
    server: &Arc<Server>,
    served: &Arc<Served>,
    call: Call,
    request: Request<Incoming>,
) -> Result<Response<Answer>, Status> {
    let accepted = negotiate::accept(&call.headers, &call.query, Transforms::None)
        .map_err(|()| Status::not_acceptable(&["application/json"]))?;
    let media = body_media(request.headers())?;
    let body = http::read_body(request).await?;
    let (mut object, _) = decode::object(served, media, &body, FieldValidation::Ignore)?;
    let aim = crate::resource::aim(served, &call);
    let sent = WriteOptions::parse(&call.query, call.agent())?;
    let kind = served.group_version_kind_ref();
    admit::admit_created(server, &call.user, &aim, kind, &mut object, &sent).await?;
    let answer = review(server, &call.user, &call.info.namespace, object)?;
    let form = Form::new(served, accepted, server.now());
    let body = encode::any_object(&form, &answer)?;
    Ok(http::respond(
        StatusCode::CREATED,
        form.media.content_type(),
        body,
    ))
}

/// The review with its status filled in.
pub(crate) fn review(
    server: &Server,
    user: &UserInfo,
    namespace: &str,
    mut object: Object,
) -> Result<Object, Status> {
    if let Some(review) = object.downcast_mut::<TokenReview>() {
        token(server, review)?;
    } else if let Some(review) = object.downcast_mut::<SelfSubjectReview>() {
        review.metadata.creation_timestamp = server.now();
        review.status.user_info = wire_user(user);
    } else if let Some(review) = object.downcast_mut::<SubjectAccessReview>() {
        let subject = subject(
            &review.spec.user,
            &review.spec.uid,
            &review.spec.groups,
            &review.spec.extra,
        );
        check_subject(&subject)?;
        let resource = review.spec.resource_attributes.as_deref();
        review.status = access(
            server,
            &subject,
            resource,
            review.spec.non_resource_attributes.as_deref(),
        )?;
    } else if let Some(review) = object.downcast_mut::<LocalSubjectAccessReview>() {
        let subject = subject(
            &review.spec.user,
            &review.spec.uid,
            &review.spec.groups,
            &review.spec.extra,
        );
        check_subject(&subject)?;
        let resource = review.spec.resource_attributes.as_deref();
        if resource.is_some_and(|r| r.namespace != namespace) {
            return Err(Status::bad_request(
                "spec.resourceAttributes.namespace must match metadata.namespace",
            ));
        }
        review.metadata.namespace = namespace.into();
        review.status = access(server, &subject, resource, None)?;
    } else if let Some(review) = object.downcast_mut::<SelfSubjectAccessReview>() {
        let resource = review.spec.resource_attributes.as_deref();
        let other = review.spec.non_resource_attributes.as_deref();
        review.status = access(server, user, resource, other)?;
    } else if let Some(review) = object.downcast_mut::<SelfSubjectRulesReview>() {
        rules(server, user, review)?;
    } else {
        return Err(Status::no_such_path());
    }
    Ok(object)
}

fn token(server: &Server, review: &mut TokenReview) -> Result<(), Status> {
    if review.spec.token.is_empty() {
        return Err(Status::bad_request(
            "token is required for TokenReview in authentication",
        ));
    }
    let audiences: Vec<String> = match review.spec.audiences.is_empty() {
        true => server.config.audiences.clone(),
        false => review
            .spec
            .audiences
            .iter()
            .map(|a| a.to_string())
            .collect(),
    };
    match authentication::token_user(server, &review.spec.token, &audiences) {
        Ok((mut user, matching)) => {
            if !user.in_group(authentication::AUTHENTICATED) {
                user.groups.push(authentication::AUTHENTICATED.into());
            }
            review.status.authenticated = true;
            review.status.user = wire_user(&user);
            review.status.audiences = matching.iter().map(String::as_str).collect();
        }
        Err(why) => {
            tracing::debug!(why, "a token review");
            review.status.error = "invalid bearer token".into();
        }
    }
    Ok(())
}

fn wire_user(user: &UserInfo) -> WireUser {
    let mut extra: Map<List<Str>> = Map::default();
    for (key, values) in &user.extra {
        extra.insert(
            key.as_str(),
            values.iter().map(String::as_str).collect::<List<Str>>(),
        );
    }
    WireUser {
        username: user.name.as_str().into(),
        uid: user.uid.as_str().into(),
        groups: user.groups.iter().map(String::as_str).collect(),
        extra,
    }
}

fn subject(name: &str, uid: &str, groups: &List<Str>, extra: &Map<List<Str>>) -> UserInfo {
    let mut map: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (key, values) in extra.iter() {
        map.insert(
            key.to_string(),
            values.iter().map(|v| v.to_string()).collect(),
        );
    }
    UserInfo {
        name: name.to_owned(),
        uid: uid.to_owned(),
        groups: groups.iter().map(|g| g.to_string()).collect(),
        extra: map,
    }
}

fn check_subject(subject: &UserInfo) -> Result<(), Status> {
    if !subject.name.is_empty() || !subject.groups.is_empty() {
        return Ok(());
    }
    Err(invalid(
        "spec.user",
        "\"\"",
        "at least one of user or group must be specified",
    ))
}

/// Upstream names no kind here.
fn invalid(field: &str, value: &str, why: &str) -> Status {
    let message = format!("Invalid value: {value}: {why}");
    let text = format!("{field}: {message}");
    let cause = Cause {
        reason: "FieldValueInvalid".into(),
        message,
        field: field.into(),
    };
    Status::invalid(
        Target {
            group: "authorization.k8s.io",
            resource: "",
            name: "",
        },
        vec![cause],
        &text,
    )
}

fn access(
    server: &Server,
    user: &UserInfo,
    resource: Option<&ResourceAttributes>,
    other: Option<&NonResourceAttributes>,
) -> Result<SubjectAccessReviewStatus, Status> {
    let base = Attributes {
        user,
        verb: "",
        group: "",
        version: "",
        resource: "",
        subresource: "",
        namespace: "",
        name: "",
        path: "",
        resource_request: true,
        field_selector: "",
        label_selector: "",
    };
    let attributes = match (resource, other) {
        (Some(r), None) => Attributes {
            verb: &r.verb,
            group: &r.group,
            version: &r.version,
            resource: &r.resource,
            subresource: &r.subresource,
            namespace: &r.namespace,
            name: &r.name,
            ..base
        },
        (None, Some(n)) => Attributes {
            verb: &n.verb,
            path: &n.path,
            resource_request: false,
            ..base
        },
        (Some(_), Some(n)) => {
            let value = format!(
                "{{\"Path\":{:?},\"Verb\":{:?}}}",
                n.path.as_str(),
                n.verb.as_str()
            );
            let why = "cannot be specified in combination with resourceAttributes";
            return Err(invalid("spec.nonResourceAttributes", &value, why));
        }
        (None, None) => {
            return Err(invalid(
                "spec.resourceAttributes",
                "null",
                "exactly one of nonResourceAttributes or resourceAttributes must be specified",
            ));
        }
    };
    let mut status = SubjectAccessReviewStatus::default();
    match server.authorize(&attributes) {
        Decision::Allow(reason) => {
            status.allowed = true;
            status.reason = reason.into();
        }
        Decision::Deny(reason) => {
            status.denied = true;
            status.reason = reason.into();
        }
        Decision::NoOpinion(reason) => status.reason = reason.into(),
    }
    Ok(status)
}

fn rules(
    server: &Server,
    user: &UserInfo,
    review: &mut SelfSubjectRulesReview,
) -> Result<(), Status> {
    if review.spec.namespace.is_empty() {
        return Err(Status::bad_request("no namespace on request"));
    }
    let view = server.typed.view();
    let found = corten_access::rules_for(&view.rules, user, &review.spec.namespace);
    // Upstream answers without the question.
    review.spec.namespace = "".into();
    review.status.resource_rules = found.resource.into();
    review.status.non_resource_rules = found.non_resource.into();
    review.status.incomplete = found.incomplete;
    review.status.evaluation_error = found.error.into();
    Ok(())
}
