//! What a signer may write into the status of a PodCertificateRequest.
//!
//! Invariant: one condition settles the request for ever, and a certificate that is issued is for the key that was asked
//! for, with the times that the status says. Leaves out whether the chain leads anywhere.

use super::der::{Certificate, Request, blocks};
use crate::checks::Errors;
use crate::metadata::validate_conditions;
use crate::{FieldError, names};
use corten_api::certificates::v1beta1::{PodCertificateRequest, PodCertificateRequestStatus};
use corten_core::{Path, Time, Value, semantic_eq};

const KNOWN: [&str; 3] = ["Issued", "Denied", "Failed"];
/// Bytes of a chain at most.
const CHAIN_MAX: usize = 100 << 10;
const CHAIN: &str = "status.certificateChain";
const NOT_BEFORE: &str = "status.notBefore";
const NOT_AFTER: &str = "status.notAfter";
const REFRESH: &str = "status.beginRefreshAt";

type Status = PodCertificateRequestStatus;

fn has(status: &Status, kind: &str) -> bool {
    let mut conditions = status.conditions.iter();
    conditions.any(|c| c.type_ == kind && c.status == "True")
}

pub(super) fn validate_status(
    new: &PodCertificateRequest,
    old: &PodCertificateRequest,
    now: Time,
) -> Errors {
    let errors = conditions(&new.status);
    if !errors.is_empty() {
        return errors;
    }
    let same = |other: &Status, why: &str| match semantic_eq(&new.status, other) {
        true => Vec::new(),
        false => vec![FieldError::invalid("status", Value::Null, why)],
    };
    if KNOWN.iter().any(|kind| has(&old.status, kind)) {
        let why = "immutable after PodCertificateRequest is issued, denied, or failed";
        return same(&old.status, why);
    }
    if has(&new.status, "Denied") || has(&new.status, "Failed") {
        let bare = Status {
            conditions: new.status.conditions.clone(),
            ..Status::default()
        };
        let why = "non-condition status fields must be empty when denying or failing the PodCertificateRequest";
        return same(&bare, why);
    }
    if has(&new.status, "Issued") {
        return issued(new, old, now).err().unwrap_or_default();
    }
    let why = r#"status is immutable unless transitioning to "Issued", "Denied", or "Failed""#;
    same(&old.status, why)
}

fn conditions(status: &Status) -> Errors {
    let mut errors = Vec::new();
    let path = Path::Root.f("status");
    let path = path.f("conditions");
    let mut known = 0;
    for (i, condition) in status.conditions.iter().enumerate() {
        // Upstream writes the index as a name of its own.
        let name = format!("[{i}]");
        let at = path.f(&name);
        if !KNOWN.contains(&condition.type_.as_str()) {
            errors.push(FieldError::not_supported(
                at.f("type"),
                &condition.type_,
                &KNOWN,
            ));
            continue;
        }
        known += 1;
        if known > 1 {
            errors.push(FieldError::invalid(
                at.f("type"),
                &condition.type_,
                r#"There may be at most one condition with type "Issued", "Denied", or "Failed""#,
            ));
        }
        if condition.status != "True" {
            let at = at.f("status");
            errors.push(FieldError::not_supported(at, &condition.status, &["True"]));
        }
    }
    errors.extend(validate_conditions(&status.conditions, &path));
    errors
}

fn one(field: &str, shown: impl Into<Value>, why: impl Into<String>) -> Errors {
    vec![FieldError::invalid(field, shown, why)]
}

/// A duration as Go prints it.
fn go_duration(seconds: i64) -> String {
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{rest}s"),
        (0, _) => format!("{minutes}m{rest}s"),
        _ => format!("{hours}h{minutes}m{rest}s"),
    }
}

fn issued(
    new: &PodCertificateRequest,
    old: &PodCertificateRequest,
    now: Time,
) -> Result<(), Errors> {
    let chain = new.status.certificate_chain.as_str();
    if chain.len() > CHAIN_MAX {
        return Err(vec![FieldError::too_long(CHAIN, CHAIN_MAX)]);
    }
    let mut found = blocks(chain);
    let Some(leaf) = found.next() else {
        let why = "issued certificate chain must contain at least one certificate";
        return Err(one(CHAIN, chain, why));
    };
    if leaf.kind != "CERTIFICATE" {
        let why = "issued certificate chain must consist entirely of CERTIFICATE PEM blocks";
        return Err(one(CHAIN, chain, why));
    }
    let Some(leaf) = Certificate::parse(&leaf.bytes) else {
        return Err(one(
            CHAIN,
            chain,
            "leaf certificate does not parse as valid X.509",
        ));
    };
    let mut errors = alternative_names(&leaf);
    let request = Request::parse(&old.spec.stub_pkcs10_request);
    let key = request.map_or(&old.spec.pkix_public_key[..], |r| r.key);
    if key != leaf.key {
        let why = "leaf certificate was not issued to the requested public key";
        errors.extend(one(CHAIN, chain, why));
        return Err(errors);
    }
    times(new, &leaf, now, &mut errors)?;
    for block in found {
        let why = if block.kind != "CERTIFICATE" {
            // Upstream's message misspells the word.
            "issued certificate chain must consist entirely of CERTFICATE PEM blocks"
        } else if Certificate::parse(&block.bytes).is_none() {
            "intermediate certificate does not parse as valid X.509"
        } else {
            continue;
        };
        errors.extend(one(CHAIN, chain, why));
        return Err(errors);
    }
    match errors.is_empty() {
        true => Ok(()),
        false => Err(errors),
    }
}

fn alternative_names(leaf: &Certificate) -> Errors {
    let mut errors = Vec::new();
    let mut wrong = |shown: &str, why: &str| errors.extend(one(CHAIN, shown, why));
    for name in &leaf.dns_names {
        if name.is_empty() {
            wrong(name, "leaf certificate should not contain empty DNSName");
        }
        if name.contains("..") {
            wrong(name, "leaf certificate's DNSName should not contain '..'");
        }
        if name.starts_with('.') || name.ends_with('.') {
            wrong(
                name,
                "leaf certificate's DNSName should not start or end with '.'",
            );
        }
    }
    for email in &leaf.emails {
        let mailbox = email.split_once('@');
        let fine = mailbox.is_some_and(|(who, host)| {
            !who.is_empty() && names::dns_subdomain(&host.to_lowercase()).is_empty()
        });
        if !fine {
            wrong(
                email,
                "leaf certificate should not contain invalid EmailAddress",
            );
        }
    }
    errors
}

/// Start, end and refreshment, which must all be told.
fn told_times(status: &Status, errors: &mut Errors) -> Result<[Time; 3], Errors> {
    let consistent = "must be present and consistent with the issued certificate";
    let given = [
        (NOT_BEFORE, status.not_before, consistent),
        (NOT_AFTER, status.not_after, consistent),
        (
            REFRESH,
            status.begin_refresh_at,
            "must be present and in the range [notbefore+10min, notafter-10min]",
        ),
    ];
    for (field, time, why) in given {
        if time.is_none() {
            errors.push(FieldError::required(field, why));
        }
    }
    match given.map(|(_, time, _)| time) {
        [Some(from), Some(until), Some(refresh)] if errors.is_empty() => Ok([from, until, refresh]),
        _ => Err(std::mem::take(errors)),
    }
}

fn times(
    new: &PodCertificateRequest,
    leaf: &Certificate,
    now: Time,
    errors: &mut Errors,
) -> Result<(), Errors> {
    let [from, until, refresh] = told_times(&new.status, errors)?;
    let at = |time: Time| crate::metadata::time_value(Some(time));
    let life = until.seconds_since(from);
    let life_max = i64::from(new.spec.max_expiration_seconds.unwrap_or_default());
    let checks = [
        (
            from == leaf.not_before,
            (NOT_BEFORE, at(from)),
            "must be set to the NotBefore time encoded in the leaf certificate".to_owned(),
        ),
        (
            from.seconds_since(now).abs() <= 300,
            (NOT_BEFORE, at(from)),
            "must be set to within 5 minutes of kube-apiserver's current time".to_owned(),
        ),
        (
            until == leaf.not_after,
            (NOT_AFTER, at(until)),
            "must be set to the NotAfter time encoded in the leaf certificate".to_owned(),
        ),
        (
            life >= 3600,
            (CHAIN, go_duration(life).into()),
            "leaf certificate lifetime must be >= 1 hour".to_owned(),
        ),
        (
            life <= life_max,
            (CHAIN, go_duration(life).into()),
            format!("leaf certificate lifetime must be <= spec.maxExpirationSeconds ({life_max})"),
        ),
        (
            refresh.seconds_since(from) >= 600,
            (REFRESH, at(refresh)),
            "must be at least 10 minutes after status.notBefore".to_owned(),
        ),
        (
            until.seconds_since(refresh) >= 600,
            (REFRESH, at(refresh)),
            "must be at least 10 minutes before status.notAfter".to_owned(),
        ),
    ];
    for (is_fine, (field, shown), why) in checks {
        if !is_fine {
            return Err(one(field, shown, why));
        }
    }
    Ok(())
}
