//! The API's Status as plain data: every refusal of an API server, in process or over HTTP, is one of these.
//! Invariant: code, reason and message are exactly what upstream's `apierrors` constructors give.

use std::fmt;

/// A refusal (or, rarely, a success) as the API words it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// HTTP status code.
    pub code: u16,
    /// Machine-readable reason (`NotFound`, `Conflict`, ...), empty for none.
    pub reason: String,
    /// For people.
    pub message: String,
    /// What it is about; `None` when upstream leaves details out.
    pub details: Option<Box<Details>>,
    /// A continue token to go on with after an expired one; empty for none.
    pub continue_token: String,
}

/// The details of a Status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details {
    /// Object name.
    pub name: String,
    /// API group.
    pub group: String,
    /// Kind or, as upstream does it, plural resource.
    pub kind: String,
    /// UID.
    pub uid: String,
    /// One per error.
    pub causes: Vec<Cause>,
    /// Seconds to wait before the next try; 0 for none.
    pub retry_after_seconds: i32,
}

/// One cause of a Status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cause {
    /// `FieldValueInvalid` and so on.
    pub reason: String,
    /// For people.
    pub message: String,
    /// Path of the field.
    pub field: String,
}

/// A resource as messages name it: `deployments.apps`.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// API group, empty for core.
    pub group: &'a str,
    /// Plural resource, or the kind where upstream puts the kind.
    pub resource: &'a str,
    /// Object name.
    pub name: &'a str,
}

impl Target<'_> {
    /// `deployments.apps`, or `pods` for core.
    pub fn qualified(&self) -> String {
        if self.group.is_empty() {
            self.resource.to_owned()
        } else {
            format!("{}.{}", self.resource, self.group)
        }
    }

    fn details(&self) -> Option<Box<Details>> {
        Some(Box::new(Details {
            name: self.name.to_owned(),
            group: self.group.to_owned(),
            kind: self.resource.to_owned(),
            ..Details::default()
        }))
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Status {}

impl Status {
    /// A status with code, reason and message and no details.
    pub fn new(code: u16, reason: &str, message: impl Into<String>) -> Status {
        Status {
            code,
            reason: reason.to_owned(),
            message: message.into(),
            details: None,
            continue_token: String::new(),
        }
    }

    fn about(code: u16, reason: &str, target: Target<'_>, message: String) -> Status {
        Status {
            code,
            reason: reason.to_owned(),
            message,
            details: target.details(),
            continue_token: String::new(),
        }
    }

    /// 404: `pods "x" not found`.
    pub fn not_found(t: Target<'_>) -> Status {
        Status::about(
            404,
            "NotFound",
            t,
            format!("{} {:?} not found", t.qualified(), t.name),
        )
    }

    /// 409: `pods "x" already exists`.
    pub fn already_exists(t: Target<'_>) -> Status {
        Status::about(
            409,
            "AlreadyExists",
            t,
            format!("{} {:?} already exists", t.qualified(), t.name),
        )
    }

    /// 409: `Operation cannot be fulfilled on pods "x": why`.
    pub fn conflict(t: Target<'_>, why: &str) -> Status {
        let message = format!(
            "Operation cannot be fulfilled on {} {:?}: {why}",
            t.qualified(),
            t.name
        );
        Status::about(409, "Conflict", t, message)
    }

    /// 409 after a lost race on resourceVersion.
    pub fn modified(t: Target<'_>) -> Status {
        Status::conflict(
            t,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    /// 403: `pods "x" is forbidden: why`.
    pub fn forbidden(t: Target<'_>, why: &str) -> Status {
        let message = match (t.resource, t.name) {
            ("", _) => format!("forbidden: {why}"),
            (_, "") => format!("{} is forbidden: {why}", t.qualified()),
            _ => format!("{} {:?} is forbidden: {why}", t.qualified(), t.name),
        };
        Status::about(403, "Forbidden", t, message)
    }

    /// 422: `Pod "x" is invalid: ...`. `t.resource` holds the kind.
    pub fn invalid(t: Target<'_>, causes: Vec<Cause>, joined: &str) -> Status {
        let message = format!("{} {:?} is invalid: {joined}", t.qualified(), t.name);
        let mut status = Status::about(422, "Invalid", t, message);
        if let Some(details) = &mut status.details {
            details.causes = causes;
        }
        status
    }

    /// 200: what a deletion that leaves nothing to show answers.
    pub fn success(t: Target<'_>, uid: &str) -> Status {
        let mut status = Status::about(200, "", t, String::new());
        if let Some(details) = &mut status.details {
            details.uid = uid.to_owned();
        }
        status
    }

    /// 400.
    pub fn bad_request(message: impl Into<String>) -> Status {
        Status::new(400, "BadRequest", message)
    }

    /// 401.
    pub fn unauthorized() -> Status {
        Status::new(401, "Unauthorized", "Unauthorized")
    }

    /// 405: `the server does not allow this method on the requested resource`.
    pub fn method_not_allowed() -> Status {
        let mut status = Status::new(
            405,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        );
        status.details = Some(Box::default());
        status
    }

    /// 404 of a path that no handler serves.
    pub fn no_such_path() -> Status {
        let mut status = Status::new(
            404,
            "NotFound",
            "the server could not find the requested resource",
        );
        status.details = Some(Box::default());
        status
    }

    /// 406.
    pub fn not_acceptable(accepted: &[&str]) -> Status {
        let list = accepted.join(", ");
        Status::new(
            406,
            "NotAcceptable",
            format!("only the following media types are accepted: {list}"),
        )
    }

    /// 410 with reason Expired.
    pub fn expired(message: impl Into<String>) -> Status {
        Status::new(410, "Expired", message)
    }

    /// 410 of a watch whose start is too old.
    pub fn gone(message: impl Into<String>) -> Status {
        Status::new(410, "Expired", message)
    }

    /// 415.
    pub fn unsupported_media(accepted: &[&str], given: &str) -> Status {
        let _ = given;
        let list = accepted.join(", ");
        Status::new(
            415,
            "UnsupportedMediaType",
            format!(
                "the body of the request was in an unknown format - accepted media types include: {list}"
            ),
        )
    }

    /// 413.
    pub fn too_large(message: impl Into<String>) -> Status {
        Status::new(413, "RequestEntityTooLarge", message)
    }

    /// 500.
    pub fn internal(message: impl fmt::Display) -> Status {
        let mut status = Status::new(
            500,
            "InternalError",
            format!("Internal error occurred: {message}"),
        );
        status.details = Some(Box::new(Details {
            causes: vec![Cause {
                message: message.to_string(),
                ..Cause::default()
            }],
            ..Details::default()
        }));
        status
    }

    /// 503.
    pub fn unavailable(message: impl Into<String>) -> Status {
        Status::new(503, "ServiceUnavailable", message)
    }

    /// 429 with the seconds after which to try again.
    pub fn too_many_requests(message: impl Into<String>, retry_after_seconds: i32) -> Status {
        let mut status = Status::new(429, "TooManyRequests", message);
        status.details = Some(Box::new(Details {
            retry_after_seconds,
            ..Details::default()
        }));
        status
    }

    /// 504 with reason Timeout.
    pub fn timeout(message: impl Into<String>) -> Status {
        Status::new(504, "Timeout", message)
    }

    /// Whether it says that the object does not exist.
    pub fn is_not_found(&self) -> bool {
        self.code == 404
    }

    /// Whether it says that the object exists already.
    pub fn is_already_exists(&self) -> bool {
        self.reason == "AlreadyExists"
    }

    /// Whether it is a lost race.
    pub fn is_conflict(&self) -> bool {
        self.reason == "Conflict" || self.is_another()
    }

    /// Whether a patch named a uid that the object of that name does not have: it was made again meanwhile.
    fn is_another(&self) -> bool {
        let causes = self.details.as_ref().map(|details| &details.causes);
        let mut causes = causes.into_iter().flatten();
        self.code == 422 && causes.any(|cause| cause.field == "metadata.uid")
    }

    /// Whether a watch or continue token is too old.
    pub fn is_expired(&self) -> bool {
        self.code == 410
    }
}
