//! Configuration files of access, as data: `AuthenticationConfiguration` and `AuthorizationConfiguration` of
//! `apiserver.config.k8s.io`. Invariant: what is in use was found valid; messages are upstream's field errors.
//! Leaves out: reading files, and asking anybody who is elsewhere.

mod authentication;
mod authorization;
mod claims;
mod expression;

pub use authentication::{
    AnonymousConfiguration, AuthenticationConfiguration, ClaimMappings, ClaimOrExpression,
    ClaimValidationRule, ExtraMapping, Issuer, JwtAuthenticator, PrefixedClaimOrExpression,
    UserValidationRule,
};
pub use authorization::{
    AuthorizationConfiguration, AuthorizerConfiguration, ConnectionInfo, FailurePolicy,
    WebhookAuthorizer, duration,
};
pub use claims::Mapping;
pub use expression::Expression;

const GROUP: &str = "apiserver.config.k8s.io";

/// Checks what a file says it is.
fn check_type(
    api_version: &str,
    kind: &str,
    expected: &str,
    versions: &[&str],
) -> Result<(), String> {
    let known = |v: &&str| api_version == format!("{GROUP}/{v}");
    if kind == expected && versions.iter().any(known) {
        return Ok(());
    }
    Err(format!(
        "no kind {kind:?} is registered for version {api_version:?}, {expected} of {GROUP}/{} is expected",
        versions[0]
    ))
}

/// Several errors as upstream prints them.
fn aggregate(errors: Vec<String>) -> Result<(), String> {
    match errors.len() {
        0 => Ok(()),
        1 => Err(errors.into_iter().next().unwrap_or_default()),
        _ => Err(format!("[{}]", errors.join(", "))),
    }
}

fn invalid(path: &str, value: &str, why: &str) -> String {
    format!("{path}: Invalid value: {value:?}: {why}")
}

fn required(path: &str, why: &str) -> String {
    match why.is_empty() {
        true => format!("{path}: Required value"),
        false => format!("{path}: Required value: {why}"),
    }
}

fn duplicate(path: &str, value: &str) -> String {
    format!("{path}: Duplicate value: {value:?}")
}
