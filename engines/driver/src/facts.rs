//! How the server confirms what a plan takes for given.
//!
//! Invariant: a snapshot is never asked whether something is absent or still there; each probe is one uncached request
//! whose answer alone decides.

use crate::requests::request;
use corten_api::apiextensions::v1::CustomResourceDefinition;
use corten_api::authorization::v1::{SubjectAccessReview, SubjectAccessReviewSpec};
use corten_api::{Kind, Object, resource_of};
use corten_client::{Body, Error, ListAnswer, Request, Status, Verb, WatchRequest};
use corten_controllers::{Fact, Target, custom};
use corten_core::Str;
use corten_meta::{GroupVersionResource, ObjectKey, Snapshot};
use std::sync::Arc;

/// One question to the server.
#[derive(Debug)]
pub enum Probe {
    /// Get this: it must not be there, or be another object.
    Gone(Box<Request>, Str),
    /// Get this: it must be there with this UID.
    Present(Box<Request>, Str),
    /// List this: nothing must be in it.
    Empty(WatchRequest),
    /// Create this review: it must say yes.
    Allowed(Box<Request>),
    /// List the definitions of custom resources: each that serves must be among these resources.
    Followed(WatchRequest, Vec<GroupVersionResource>),
}

/// The questions that settle `facts`; `followed` gives the resources that `snapshot` shows.
pub(crate) fn probes(
    facts: &[Fact],
    snapshot: &Snapshot,
    followed: &impl Fn() -> Vec<GroupVersionResource>,
) -> Vec<Probe> {
    facts
        .iter()
        .flat_map(|fact| match fact {
            Fact::Gone(target) => vec![Probe::Gone(look(target), target.uid.clone())],
            Fact::Present(target) => vec![Probe::Present(look(target), target.uid.clone())],
            Fact::Allowed(spec) => vec![Probe::Allowed(Box::new(review(spec)))],
            Fact::Empty { namespace } => emptiness(namespace, snapshot, &followed()),
        })
        .collect()
}

fn look(target: &Target) -> Box<Request> {
    let resource = target.resource.clone();
    Box::new(request(Verb::Get, resource, "", &target.key, Body::None))
}

fn review(spec: &SubjectAccessReviewSpec) -> Request {
    let object = SubjectAccessReview {
        spec: spec.clone(),
        ..SubjectAccessReview::default()
    };
    let body = Body::Object(Arc::new(Object::from(object.with_type())));
    let resource = GroupVersionResource::of::<SubjectAccessReview>();
    request(Verb::Create, resource, "", &ObjectKey::new("", ""), body)
}

fn emptiness(
    namespace: &str,
    snapshot: &Snapshot,
    followed: &[GroupVersionResource],
) -> Vec<Probe> {
    let list = |resource: &GroupVersionResource, namespace: &str| WatchRequest {
        resource: resource.clone(),
        namespace: namespace.to_owned(),
        ..WatchRequest::default()
    };
    let definitions = GroupVersionResource::of::<CustomResourceDefinition>();
    let mut probes = Vec::new();
    if followed.contains(&definitions) {
        probes.push(Probe::Followed(list(&definitions, ""), followed.to_vec()));
    }
    let namespaced = |resource: &&GroupVersionResource| {
        let built_in = resource_of(&resource.group, &resource.version, &resource.resource);
        built_in.map_or_else(
            || {
                let scope = custom::scope(snapshot, &resource.group_resource());
                scope == Some(custom::Scope::Namespaced)
            },
            |r| r.namespaced,
        )
    };
    let resources = followed.iter().filter(namespaced);
    probes.extend(resources.map(|r| Probe::Empty(list(r, namespace))));
    probes
}

/// The refusal that stands for a fact that does not hold: whoever planned was behind.
fn disproved(why: String) -> Error {
    Status::new(409, "Conflict", why).into()
}

fn went(request: &Request) -> Error {
    let (resource, name) = (&request.resource.resource, &request.name);
    disproved(format!("{resource} {name} has gone"))
}

/// Whether the refusal says that there is no object of that name.
fn names(error: &Error, name: &str) -> bool {
    let status = error.status().filter(|s| s.is_not_found());
    let details = status.and_then(|s| s.details.as_deref());
    details.is_some_and(|d| d.name == name)
}

/// What a review said; a refusal when it said no.
fn allowed(review: &Object) -> Result<(), Error> {
    let Some(review) = review.downcast_ref::<SubjectAccessReview>() else {
        return Err(Error::Connection(
            "the server answered no review".to_owned(),
        ));
    };
    if review.status.allowed {
        return Ok(());
    }
    let asked = review.spec.resource_attributes.as_deref();
    let what = asked.map_or(String::new(), |a| {
        format!("{} {}/{}", a.verb, a.resource, a.subresource)
    });
    let why = format!(
        "{} may not {what}: {}",
        review.spec.user, review.status.reason
    );
    Err(Status::new(403, "Forbidden", why).into())
}

impl Probe {
    /// What the answer to [`Probe::Gone`], [`Probe::Present`] or [`Probe::Allowed`] means.
    ///
    /// # Errors
    /// A conflict when the object exists that should not, or the other way round; a refusal when the review says no; what the server answered when it could not
    /// tell.
    pub fn judge_object(&self, answer: Result<Arc<Object>, Error>) -> Result<(), Error> {
        match (self, answer) {
            (Probe::Allowed(_), Ok(review)) => allowed(&review),
            (Probe::Gone(request, uid), Ok(found))
                if uid.is_empty() || found.meta().uid == *uid =>
            {
                let (resource, name) = (&request.resource.resource, &request.name);
                Err(disproved(format!("{resource} {name} is not gone")))
            }
            (Probe::Present(request, uid), Ok(found)) if found.meta().uid != *uid => {
                Err(went(request))
            }
            (_, Ok(_)) => Ok(()),
            (Probe::Present(request, _), Err(error)) if names(&error, &request.name) => {
                Err(went(request))
            }
            // Of the object, not of its resource: what is not served here may be kept all the same.
            (Probe::Gone(request, _), Err(error)) if names(&error, &request.name) => Ok(()),
            (_, Err(error)) => Err(error),
        }
    }

    /// What the answer to the other probes means.
    ///
    /// # Errors
    /// A conflict when there is something; what the server answered when it could not tell.
    pub fn judge_list(&self, answer: Result<ListAnswer, Error>) -> Result<(), Error> {
        match self {
            Probe::Empty(_) => match answer {
                // The definition of a custom resource went meanwhile, and its objects with it.
                Err(error) if error.is_not_found() => Ok(()),
                Err(error) => Err(error),
                Ok(answer) => match answer.items.first() {
                    None => Ok(()),
                    Some(object) => {
                        let (kind, name) = (object.kind(), object.meta().full_name());
                        Err(disproved(format!("{kind} {name} is left")))
                    }
                },
            },
            Probe::Followed(_, known) => {
                let answer = answer?;
                let mut definitions = answer.items.iter().filter_map(|o| o.downcast_ref());
                let served = definitions.find_map(|d: &CustomResourceDefinition| {
                    custom::resource_of(d).filter(|resource| !known.contains(resource))
                });
                match served {
                    None => Ok(()),
                    Some(resource) => Err(disproved(format!("{resource} is not followed yet"))),
                }
            }
            Probe::Gone(..) | Probe::Present(..) | Probe::Allowed(_) => Ok(()),
        }
    }
}
