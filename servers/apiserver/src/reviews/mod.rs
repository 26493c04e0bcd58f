//! Reviews: questions to the server that are answered and not stored (tokens, access, oneself).

mod selectors;

use std::collections::BTreeMap;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};

use corten_access::{Attributes, Decision, UserInfo};
use corten_api::Object;
use corten_api::authentication::v1::{SelfSubjectReview, TokenReview, UserInfo as WireUser};
use corten_api::authorization::v1::{
    LocalSubjectAccessReview, NonResourceAttributes, ResourceAttributes, SelfSubjectAccessReview,
    SelfSubjectRulesReview, SubjectAccessReview, SubjectAccessReviewSpec,
    SubjectAccessReviewStatus,
};
use corten_api::meta::v1::ObjectMeta;
use corten_client::{Cause, Status, Target};
use corten_core::{List, Map, MsgRef, Str, Value};
use corten_kinds::FieldError;

use crate::body::Answer;
use crate::catalog::Served;
use crate::encode::{self, Form};
use crate::http::{self, Call};
use crate::negotiate::{self, Transforms};
use crate::options::{FieldValidation, WriteOptions};
use crate::resource::body_media;
use crate::server::Server;
use crate::{admit, authentication, decode, tracking};

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
    let sent = WriteOptions::parse(&call.query, call.agent(), "CreateOptions")?;
    let kind = served.group_version_kind_ref();
    tracking::update(served, None, &mut object, &sent, "", server.now());
    admit::admit_created(server, &call.user, &aim, kind, &mut object, &sent).await?;
    let answer = review(server, &call.user, &call.info.namespace, object).await?;
    let form = Form::new(served, accepted, server.now());
    let body = encode::any_object(&form, &answer)?;
    Ok(http::respond(
        StatusCode::CREATED,
        form.media.content_type(),
        body,
    ))
}

/// The review with its status filled in.
pub(crate) async fn review(
    server: &Arc<Server>,
    user: &UserInfo,
    namespace: &str,
    mut object: Object,
) -> Result<Object, Status> {
    let given = object.meta().namespace.as_str();
    if !given.is_empty() && given != namespace {
        return Err(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    if let Some(review) = object.downcast_mut::<TokenReview>() {
        token(server, review).await?;
    } else if let Some(review) = object.downcast_mut::<SelfSubjectReview>() {
        review.metadata = ObjectMeta::default();
        review.metadata.creation_timestamp = server.now();
        review.status.user_info = wire_user(user);
    } else if let Some(review) = object.downcast_mut::<SubjectAccessReview>() {
        let asked = Asked::new(&review.spec);
        asked.check(
            &review.metadata,
            Some(&review.spec.user),
            &review.spec.groups,
        )?;
        let subject = subject(&review.spec);
        review.status = access(server, &subject, &asked).await;
    } else if let Some(review) = object.downcast_mut::<LocalSubjectAccessReview>() {
        review.metadata.namespace = namespace.into();
        let asked = Asked::new(&review.spec);
        check_local(&asked, review)?;
        let subject = subject(&review.spec);
        review.status = access(server, &subject, &asked).await;
    } else if let Some(review) = object.downcast_mut::<SelfSubjectAccessReview>() {
        let asked = Asked {
            resource: review.spec.resource_attributes.as_deref(),
            other: review.spec.non_resource_attributes.as_deref(),
        };
        asked.check(&review.metadata, None, &List::default())?;
        review.status = access(server, user, &asked).await;
    } else if let Some(review) = object.downcast_mut::<SelfSubjectRulesReview>() {
        rules(server, user, review)?;
    } else {
        return Err(Status::no_such_path());
    }
    Ok(object)
}

async fn token(server: &Arc<Server>, review: &mut TokenReview) -> Result<(), Status> {
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
    // As in a header, what follows a space does not count.
    let token = review.spec.token.split(' ').next().unwrap_or_default();
    match authentication::token_user(server, token, &audiences).await {
        Ok(token) => {
            let user = authentication::with_authenticated(token.user);
            review.status.authenticated = true;
            review.status.user = wire_user(&user);
            review.status.audiences = token.audiences.iter().map(String::as_str).collect();
        }
        Err(why) => review.status.error = why.into(),
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

fn subject(spec: &SubjectAccessReviewSpec) -> UserInfo {
    let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (key, values) in spec.extra.iter() {
        extra.insert(
            key.to_string(),
            values.iter().map(|v| v.to_string()).collect(),
        );
    }
    UserInfo {
        name: spec.user.to_string(),
        uid: spec.uid.to_string(),
        groups: spec.groups.iter().map(|g| g.to_string()).collect(),
        extra,
    }
}

/// What a review asks about.
struct Asked<'a> {
    resource: Option<&'a ResourceAttributes>,
    other: Option<&'a NonResourceAttributes>,
}

impl<'a> Asked<'a> {
    fn new(spec: &'a SubjectAccessReviewSpec) -> Asked<'a> {
        Asked {
            resource: spec.resource_attributes.as_deref(),
            other: spec.non_resource_attributes.as_deref(),
        }
    }

    /// Everything that is wrong with the question; `user` is none where one asks about oneself.
    fn errors(&self, user: Option<&Str>, groups: &List<Str>) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let non_resource = "spec.nonResourceAttributes";
        match (self.resource, self.other) {
            (Some(_), Some(other)) => {
                let why = "cannot be specified in combination with resourceAttributes";
                errors.push(FieldError::invalid(non_resource, path_value(other), why));
            }
            (None, None) => {
                let why =
                    "exactly one of nonResourceAttributes or resourceAttributes must be specified";
                errors.push(FieldError::invalid(
                    "spec.resourceAttributes",
                    corten_kinds::error::verbatim("null"),
                    why,
                ));
            }
            _ => {}
        }
        if user.is_some_and(|u| u.is_empty()) && groups.is_empty() {
            let why = "at least one of user or group must be specified";
            errors.push(FieldError::invalid("spec.user", Value::Str("".into()), why));
        }
        if let Some(resource) = self.resource {
            errors.extend(selectors::check(resource));
        }
        errors
    }

    fn check(
        &self,
        metadata: &ObjectMeta,
        user: Option<&Str>,
        groups: &List<Str>,
    ) -> Result<(), Status> {
        let mut errors = self.errors(user, groups);
        errors.extend(check_metadata(metadata, "must be empty"));
        refuse(errors)
    }
}

/// As upstream's internal type prints.
fn path_value(other: &NonResourceAttributes) -> Value {
    let mut value = Value::Map(Default::default());
    value.set(&["Path"], Value::Str(other.path.clone()));
    value.set(&["Verb"], Value::Str(other.verb.clone()));
    value
}

fn check_metadata(metadata: &ObjectMeta, why: &str) -> Option<FieldError> {
    let mut shown = metadata.clone();
    shown.managed_fields = List::default();
    if shown == ObjectMeta::default() {
        return None;
    }
    let value = MsgRef::new(metadata).to_value().unwrap_or(Value::Null);
    Some(FieldError::invalid("metadata", value, why))
}

fn check_local(asked: &Asked<'_>, review: &LocalSubjectAccessReview) -> Result<(), Status> {
    let mut errors = asked.errors(Some(&review.spec.user), &review.spec.groups);
    let mut rest = review.metadata.clone();
    rest.namespace = Str::default();
    errors.extend(check_metadata(&rest, "must be empty except for namespace"));
    if let Some(resource) = asked.resource
        && resource.namespace != review.metadata.namespace
    {
        errors.push(FieldError::invalid(
            "spec.resourceAttributes.namespace",
            Value::Str(resource.namespace.clone()),
            "must match metadata.namespace",
        ));
    }
    if let Some(other) = asked.other {
        errors.push(FieldError::invalid(
            "spec.nonResourceAttributes",
            path_value(other),
            "disallowed on this kind of request",
        ));
    }
    refuse(errors)
}

/// Upstream names no kind here.
fn refuse(errors: Vec<FieldError>) -> Result<(), Status> {
    if errors.is_empty() {
        return Ok(());
    }
    let causes = errors.iter().map(|e| Cause {
        reason: e.reason().into(),
        message: e.body(),
        field: e.field.clone(),
    });
    let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    let joined = match texts.len() {
        1 => texts[0].clone(),
        _ => format!("[{}]", texts.join(", ")),
    };
    let target = Target {
        group: "authorization.k8s.io",
        resource: "",
        name: "",
    };
    Err(Status::invalid(target, causes.collect(), &joined))
}

async fn access(
    server: &Arc<Server>,
    user: &UserInfo,
    asked: &Asked<'_>,
) -> SubjectAccessReviewStatus {
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
        resource_request: asked.resource.is_some(),
        field_selector: "",
        label_selector: "",
    };
    let selected = asked.resource.map(selectors::read).unwrap_or_default();
    let attributes = match (asked.resource, asked.other) {
        (Some(r), _) => Attributes {
            verb: &r.verb,
            group: &r.group,
            version: if r.version.is_empty() {
                "*"
            } else {
                &r.version
            },
            resource: &r.resource,
            subresource: &r.subresource,
            namespace: &r.namespace,
            name: &r.name,
            field_selector: &selected.fields,
            label_selector: &selected.labels,
            ..base
        },
        (None, Some(n)) => Attributes {
            verb: &n.verb,
            path: &n.path,
            ..base
        },
        (None, None) => base,
    };
    let ruling = server.access.authorization.rule(server, &attributes).await;
    let mut errors: Vec<String> = ruling.error.into_iter().collect();
    errors.extend(selected.problems);
    let mut status = SubjectAccessReviewStatus {
        evaluation_error: errors.join("; ").into(),
        ..SubjectAccessReviewStatus::default()
    };
    match ruling.decision {
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
    status
}

fn rules(
    server: &Server,
    user: &UserInfo,
    review: &mut SelfSubjectRulesReview,
) -> Result<(), Status> {
    if review.spec.namespace.is_empty() {
        return Err(Status::bad_request("no namespace on request"));
    }
    review.metadata = ObjectMeta::default();
    let namespace = std::mem::take(&mut review.spec.namespace);
    let found = server
        .access
        .authorization
        .rules_for(server, user, &namespace);
    // Upstream answers without the question.
    review.metadata = ObjectMeta::default();
    review.status.resource_rules = found.resource.into();
    review.status.non_resource_rules = found.non_resource.into();
    review.status.incomplete = found.incomplete;
    review.status.evaluation_error = found.error.into();
    Ok(())
}
