//! Whether the user may: every request, in process or not, is decided here before it reaches a ladder.
//! The decision itself is `corten_access::authorize`; this file turns requests into attributes and refusals into 403s.

use corten_access::{Attributes, Decision, UserInfo};
use corten_client::{Status, Target};

use crate::info::RequestInfo;
use crate::server::Server;

/// Decides one request. `Err` = 403.
pub(crate) fn authorize(
    server: &Server,
    user: &UserInfo,
    info: &RequestInfo,
    field_selector: &str,
    label_selector: &str,
) -> Result<(), Status> {
    let attributes = Attributes {
        user,
        verb: &info.verb,
        group: &info.group,
        version: &info.version,
        resource: &info.resource,
        subresource: &info.subresource,
        namespace: &info.namespace,
        name: &info.name,
        path: &info.path,
        resource_request: info.is_resource,
        field_selector,
        label_selector,
    };
    match server.authorize(&attributes) {
        Decision::Allow(_) => Ok(()),
        Decision::Deny(reason) | Decision::NoOpinion(reason) => {
            Err(forbidden(&attributes, &reason))
        }
    }
}

/// Upstream's 403 text.
pub(crate) fn forbidden(a: &Attributes<'_>, reason: &str) -> Status {
    if !a.resource_request {
        let why = format!("User {:?} cannot {} path {:?}", a.user.name, a.verb, a.path);
        let target = Target {
            group: "",
            resource: "",
            name: "",
        };
        return Status::forbidden(target, &with_reason(why, reason));
    }
    let mut resource = a.resource.to_owned();
    if !a.subresource.is_empty() {
        resource = format!("{resource}/{}", a.subresource);
    }
    let mut why = format!(
        "User {:?} cannot {} resource {resource:?} in API group {:?}",
        a.user.name, a.verb, a.group
    );
    match a.namespace {
        "" => why.push_str(" at the cluster scope"),
        namespace => why.push_str(&format!(" in the namespace {namespace:?}")),
    }
    let target = Target {
        group: a.group,
        resource: a.resource,
        name: a.name,
    };
    Status::forbidden(target, &with_reason(why, reason))
}

fn with_reason(text: String, reason: &str) -> String {
    if reason.is_empty() {
        text
    } else {
        format!("{text}: {reason}")
    }
}
