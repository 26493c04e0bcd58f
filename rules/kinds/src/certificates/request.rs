//! CertificateSigningRequests: who asked, what approval and status may change, table. Leaves out the
//! signatures of requests, which signers check.

use super::columns;
use crate::checks::{self, Errors};
use crate::names;
use crate::rules::{Rules, with_status};
use crate::{Column, Context, FieldError, cells};
use corten_api::certificates::v1::{
    CertificateSigningRequest, CertificateSigningRequestSpec, CertificateSigningRequestStatus,
};
use corten_core::{List, Path, Str, Time, Value};

/// The strategy of CertificateSigningRequests.
pub struct CertificateSigningRequests;

impl Rules for CertificateSigningRequests {
    type Of = CertificateSigningRequest;
    with_status!();

    fn prepare_create(&self, cx: &Context, new: &mut CertificateSigningRequest) {
        new.spec.username = cx.caller.name.into();
        new.spec.uid = cx.caller.uid.into();
        new.spec.groups = cx
            .caller
            .groups
            .iter()
            .map(|g| Str::from(g.as_str()))
            .collect();
        let extra = cx.caller.extra.into_iter().flatten();
        new.spec.extra = extra
            .map(|(key, values)| {
                let values: List<Str> = values.iter().map(|v| Str::from(v.as_str())).collect();
                (Str::from(key.as_str()), values)
            })
            .collect();
    }
    fn prepare_update(
        &self,
        cx: &Context,
        part: &str,
        new: &mut CertificateSigningRequest,
        old: &CertificateSigningRequest,
    ) {
        new.spec = old.spec.clone();
        match part {
            "status" => {
                for kind in ["Approved", "Denied"] {
                    keep_conditions(kind, &mut new.status, &old.status);
                }
                fill_times(cx.now, &mut new.status, &old.status);
            }
            "approval" => {
                fill_times(cx.now, &mut new.status, &old.status);
                let conditions = std::mem::take(&mut new.status.conditions);
                new.status = old.status.clone();
                new.status.conditions = conditions;
            }
            _ => {}
        }
    }
    fn validate_create(&self, _cx: &Context, new: &CertificateSigningRequest) -> Vec<FieldError> {
        let mut errors = validate_request(new);
        errors.extend(validate(&new.spec));
        errors
    }
    fn validate_update(
        &self,
        _cx: &Context,
        part: &str,
        new: &CertificateSigningRequest,
        old: &CertificateSigningRequest,
    ) -> Vec<FieldError> {
        let mut errors = validate(&new.spec);
        validate_conditions(&mut errors, &new.status);
        validate_kept(&mut errors, part, &new.status, &old.status);
        errors
    }
    fn invalid_name(&self, name: &str, prefix: bool) -> Vec<String> {
        names::path_segment(name, prefix)
    }
    fn columns(&self) -> &'static [Column] {
        &columns::CERTIFICATE_SIGNING_REQUEST
    }
    fn cells(&self, obj: &CertificateSigningRequest, now: &Time) -> Vec<Value> {
        let signer = if obj.spec.signer_name.is_empty() {
            "<none>"
        } else {
            &obj.spec.signer_name
        };
        let asked = obj
            .spec
            .expiration_seconds
            .map(|s| cells::duration(i64::from(s)));
        vec![
            Value::from(&obj.metadata.name),
            cells::age(&obj.metadata.creation_timestamp, now),
            Value::from(signer),
            Value::from(&obj.spec.username),
            Value::from(asked.unwrap_or_else(|| "<none>".to_owned())),
            Value::from(state(&obj.status)),
        ]
    }
    fn field_labels(&self) -> &'static [&'static str] {
        &["spec.signerName"]
    }
    fn field_values(&self, obj: &CertificateSigningRequest) -> Vec<Str> {
        vec![obj.spec.signer_name.clone()]
    }
}

type Status = CertificateSigningRequestStatus;

/// Conditions of a type that are neither added nor removed stay as they were.
fn keep_conditions(kind: &str, new: &mut Status, old: &Status) {
    let before: Vec<_> = old.conditions.iter().filter(|c| c.type_ == kind).collect();
    let mut now: Vec<_> = new
        .conditions
        .iter_mut()
        .filter(|c| c.type_ == kind)
        .collect();
    if before.len() == now.len() {
        for (new, old) in now.iter_mut().zip(before) {
            **new = old.clone();
        }
    }
}

fn fill_times(now: Time, new: &mut Status, old: &Status) {
    for condition in &mut new.conditions {
        if condition.last_update_time.is_zero() {
            condition.last_update_time = now;
        }
        if condition.last_transition_time.is_zero() {
            let same = old.conditions.iter().find(|o| {
                o.type_ == condition.type_
                    && o.status == condition.status
                    && !o.last_transition_time.is_zero()
            });
            condition.last_transition_time = same.map_or(now, |o| o.last_transition_time);
        }
    }
}

fn state(status: &Status) -> String {
    let is = |kind: &str| status.conditions.iter().any(|c| c.type_ == kind);
    let mut text = if is("Denied") {
        "Denied".to_owned()
    } else if is("Approved") {
        "Approved".to_owned()
    } else {
        "Pending".to_owned()
    };
    if is("Failed") {
        text.push_str(",Failed");
    }
    if !status.certificate.is_empty() {
        text.push_str(",Issued");
    }
    text
}

const USAGES: [&str; 23] = [
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];

fn validate(spec: &CertificateSigningRequestSpec) -> Errors {
    let mut errors = Vec::new();
    let path = Path::Root.f("spec");
    let usages = path.f("usages");
    if spec.usages.is_empty() {
        errors.push(FieldError::required(usages, ""));
    }
    for (i, usage) in spec.usages.iter().enumerate() {
        crate::checks::known(&mut errors, &usages.i(i), usage, &USAGES);
    }
    for (i, usage) in spec.usages.iter().enumerate() {
        if spec.usages[..i].contains(usage) {
            errors.push(FieldError::duplicate(usages.i(i), usage));
        }
    }
    validate_signer(&mut errors, &path.f("signerName"), &spec.signer_name);
    if let Some(seconds) = spec.expiration_seconds.filter(|s| *s < 600) {
        let text = "may not specify a duration less than 600 seconds (10 minutes)";
        errors.push(FieldError::invalid(
            path.f("expirationSeconds"),
            seconds,
            text,
        ));
    }
    errors
}

pub(crate) fn validate_signer(errors: &mut Errors, path: &Path, name: &str) {
    if name == "kubernetes.io/legacy-unknown" {
        let text = "the legacy signerName is not allowed via this API version";
        errors.push(FieldError::invalid(path, name, text));
        return;
    }
    if name.is_empty() {
        errors.push(FieldError::required(path, ""));
        return;
    }
    let Some((domain, rest)) = name.split_once('/').filter(|(_, rest)| !rest.contains('/')) else {
        let text =
            "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        errors.push(FieldError::invalid(path, name, text));
        return;
    };
    let lists: [(&str, fn(&str) -> Vec<String>); 2] =
        [(domain, names::dns_label), (rest, names::dns_subdomain)];
    for (text, wrong) in lists {
        for label in text.split('.') {
            for m in wrong(label) {
                let detail = format!("validating label {label:?}: {m}");
                errors.push(FieldError::invalid(path, text, detail));
            }
        }
    }
    if !domain.contains('.') {
        let text = "should be a domain with at least two segments separated by dots";
        errors.push(FieldError::invalid(path, domain, text));
    }
}

/// Whether the request is one. Leaves out its signature, which needs cryptography: the signer checks it.
fn validate_request(new: &CertificateSigningRequest) -> Errors {
    let text = String::from_utf8_lossy(&new.spec.request);
    let is_block = text.contains("-----BEGIN CERTIFICATE REQUEST-----")
        || text.contains("-----BEGIN NEW CERTIFICATE REQUEST-----");
    if is_block {
        return Vec::new();
    }
    let shown = corten_core::MsgRef::new(&new.spec)
        .get("request")
        .and_then(|r| r.to_value().ok());
    let shown = shown.filter(|v| !v.is_null()).unwrap_or_else(|| "".into());
    let text = "PEM block type must be CERTIFICATE REQUEST";
    vec![FieldError::invalid("spec.request", shown, text)]
}

fn validate_conditions(errors: &mut Errors, status: &Status) {
    let path = Path::Root.f("status");
    let path = path.f("conditions");
    let (mut approved, mut denied) = (false, false);
    for (i, condition) in status.conditions.iter().enumerate() {
        let at = path.i(i);
        let kind = condition.type_.as_str();
        checks::required(errors, &at.f("type"), kind);
        let settled = matches!(kind, "Approved" | "Denied" | "Failed");
        let known: &[&str] = if settled {
            &["True"]
        } else {
            &["False", "True", "Unknown"]
        };
        checks::one_of(errors, &at.f("status"), &condition.status, known);
        approved |= kind == "Approved";
        denied |= kind == "Denied";
        if approved && denied && matches!(kind, "Approved" | "Denied") {
            let text = "Approved and Denied conditions are mutually exclusive";
            errors.push(FieldError::invalid(&path, kind, text));
        }
        if status.conditions[..i].iter().any(|c| c.type_ == kind) {
            errors.push(FieldError::duplicate(at.f("type"), kind));
        }
    }
}

/// Nothing settled is taken back, Approved and Denied change through the approval only, a certificate is set once.
fn validate_kept(errors: &mut Errors, part: &str, new: &Status, old: &Status) {
    let path = Path::Root.f("status");
    let of = |status: &Status, kind: &str| {
        let found = status.conditions.iter().filter(|c| c.type_ == kind);
        found.cloned().collect::<Vec<_>>()
    };
    let conditions = path.f("conditions");
    for kind in ["Approved", "Denied", "Failed"] {
        if of(new, kind).len() < of(old, kind).len() {
            let text = format!("updates may not remove a condition of type {kind:?}");
            errors.push(FieldError::forbidden(&conditions, text));
        }
    }
    for kind in ["Approved", "Denied"].iter().filter(|_| part != "approval") {
        let (now, before) = (of(new, kind), of(old, kind));
        let verb = match now.len().cmp(&before.len()) {
            std::cmp::Ordering::Greater => "add",
            std::cmp::Ordering::Equal if now != before => "modify",
            _ => continue,
        };
        let text = format!("updates may not {verb} a condition of type {kind:?}");
        errors.push(FieldError::forbidden(&conditions, text));
    }
    if *new.certificate != *old.certificate {
        let at = path.f("certificate");
        if part != "status" {
            errors.push(FieldError::forbidden(
                &at,
                "updates may not set certificate content",
            ));
        } else if !old.certificate.is_empty() {
            let text = "updates may not modify existing certificate content";
            errors.push(FieldError::forbidden(&at, text));
        } else if !String::from_utf8_lossy(&new.certificate).contains("-----BEGIN CERTIFICATE-----")
        {
            let text = "must contain at least one CERTIFICATE PEM block";
            errors.push(FieldError::invalid(&at, "<certificate data>", text));
        }
    }
}
